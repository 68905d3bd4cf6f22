/* service: the life of a process, the same for all four services.
 *
 *   arguments -> settings -> log -> signals blocked -> loop, operations port -> start() -> loop
 *   SIGTERM -> readiness fails -> drain() -> service_stopped() -> loop ends -> stop() -> exit 0
 *
 * Signals arrive through a signalfd on the loop, so no handler runs beside the code; they are
 * blocked before the first thread, because threads inherit the mask. Only once the drain has begun
 * do real handlers take over: a second SIGTERM or the alarm at the end of settings.drain must work
 * although the loop, stop() or a library's exit handler hangs, so they do nothing but _exit. What a
 * failed start has made is left to the end of the process. */
#include "common/service.h"

#include "common/contract.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/service_args.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef PIPIT_COMMIT
#define PIPIT_COMMIT "unknown"
#endif

/* Calls from other threads that wait for one turn of the loop; 40 bytes each. */
#define SERVICE_POSTED_MAX 4096u
#define SERVICE_PROBLEM_BYTES 2048u
#define SERVICE_OUTPUT_BYTES (1024u * 1024u)

enum { EXIT_CLEAN = 0, EXIT_START_FAILED = 1, EXIT_USAGE = 2, EXIT_DRAIN_CUT = 3, EXIT_DEAD = 70 };

struct process {
    struct service service;
    const struct service_definition *definition;
    struct conf *conf;
    struct loop_fd signals;
    bool draining;
};

/* Every section of the shared file: what is not ours is another service's. */
static const char *const sections[] = {"auth", "connection", "routing", "storage", "bus", NULL};

static const struct service_settings *settings_of(const struct process *process) {
    return process->definition->settings;
}

/* --- output of the --print and --describe actions */

static int finish_output(struct buf *out, enum err error) {
    int status = EXIT_START_FAILED;
    if (error != ERR_OK) {
        (void)fprintf(stderr, "pipit: %s\n", err_text(error)); /* stderr is all there is */
    } else if (fwrite(buf_data(out), 1, buf_len(out), stdout) == buf_len(out) &&
               fflush(stdout) == 0) {
        status = EXIT_CLEAN;
    }
    buf_finish(out);
    return status;
}

static int print_config(const struct conf *conf) {
    struct buf out;
    buf_init(&out, SERVICE_OUTPUT_BYTES);
    return finish_output(&out, conf_print(conf, &out));
}

static int describe_config(const struct service_definition *definition) {
    struct buf out;
    buf_init(&out, SERVICE_OUTPUT_BYTES);
    return finish_output(&out, conf_describe(definition->rows, definition->row_count, &out));
}

static void register_metrics(const struct service_definition *definition, const char *version,
                             const char *commit) {
    metrics_register_process(version, commit);
    if (definition->register_metrics != NULL) {
        definition->register_metrics();
    }
}

/* One field of "name\ttype\thelp\tlabels\n" as a cell; *line moves behind the field. */
static enum err put_cell(struct buf *out, const char **line, const char *quote) {
    size_t length = strcspn(*line, "\t\n");
    const char *marks = length > 0 ? quote : "";
    enum err error = buf_append_format(out, "| %s%.*s%s ", marks, (int)length, *line, marks);
    *line += length + ((*line)[length] == '\t' ? 1 : 0);
    return error;
}

static enum err put_metrics_table(struct buf *out, const char *lines) {
    static const char *const quotes[] = {"`", "", "", "`"};
    enum err error =
        buf_append_text(out, "| Metric | Type | Meaning | Labels |\n|---|---|---|---|\n");
    for (const char *at = lines; *at != '\0' && error == ERR_OK; at++) {
        for (size_t i = 0; i < 4 && error == ERR_OK; i++) {
            error = put_cell(out, &at, quotes[i]);
        }
        if (error == ERR_OK) {
            error = buf_append_text(out, "|\n");
        }
    }
    return error;
}

/* As Markdown, and without what differs from build to build: the page is checked in. */
static int describe_metrics(const struct service_definition *definition) {
    struct buf lines;
    struct buf out;
    buf_init(&lines, SERVICE_OUTPUT_BYTES);
    buf_init(&out, SERVICE_OUTPUT_BYTES);
    register_metrics(definition, "...", "...");
    enum err error = metrics_describe(&lines);
    if (error == ERR_OK) {
        error = buf_append(&lines, "", 1);
    }
    if (error == ERR_OK) {
        error = put_metrics_table(&out, (const char *)buf_data(&lines));
    }
    buf_finish(&lines);
    return finish_output(&out, error);
}

/* --- settings and log */

static enum err load_settings(struct process *process, const char *file, struct buf *problem) {
    const struct service_definition *definition = process->definition;
    return conf_load(definition->rows, definition->row_count, sections, file, definition->settings,
                     &process->conf, problem);
}

/* Position of text in a list that NULL ends; false when it is not there. */
static bool find_word(const char *const *words, const char *text, int *position) {
    for (int i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], text) == 0) {
            *position = i;
            return true;
        }
    }
    return false;
}

static enum err start_log(const struct process *process, struct buf *problem) {
    static const char *const levels[] = {"error", "warn", "info", "debug", NULL};
    static const char *const formats[] = {"logfmt", "json", NULL};
    const struct service_settings *settings = settings_of(process);
    int level = 0;
    int format = 0;
    enum err error = ERR_OK;
    if (!find_word(levels, settings->log_level, &level)) {
        error = buf_append_format(problem,
                                  "[%s] log_level: \"%.32s\" is not error, warn, info or debug",
                                  process->definition->name, settings->log_level);
        return error == ERR_OK ? ERR_INVALID : error;
    }
    if (!find_word(formats, settings->log_format, &format)) {
        error = buf_append_format(problem, "[%s] log_format: \"%.32s\" is not logfmt or json",
                                  process->definition->name, settings->log_format);
        return error == ERR_OK ? ERR_INVALID : error;
    }
    log_init(process->definition->name, (enum log_level)level, (enum log_format)format);
    return ERR_OK;
}

/* --- signals and drain */

/* Runs as a real signal handler, perhaps while anything else hangs. */
static void on_give_up(int signal_number) {
    static const char late[] = "level=warn msg=\"drain cut short: its time is over\"\n";
    static const char again[] = "level=warn msg=\"drain cut short: second signal\"\n";
    const char *text = signal_number == SIGALRM ? late : again;
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written; /* the process ends either way */
    _exit(EXIT_DRAIN_CUT);
}

static void arm_give_up(uint64_t drain_us) {
    struct sigaction action = {.sa_handler = on_give_up};
    sigset_t ending;
    CONTRACT(sigemptyset(&ending) == 0);
    CONTRACT(sigaddset(&ending, SIGTERM) == 0 && sigaddset(&ending, SIGINT) == 0 &&
             sigaddset(&ending, SIGALRM) == 0);
    action.sa_mask = ending;
    CONTRACT(sigaction(SIGTERM, &action, NULL) == 0 && sigaction(SIGINT, &action, NULL) == 0 &&
             sigaction(SIGALRM, &action, NULL) == 0);
    uint64_t wait_us = drain_us > 0 ? drain_us : 1; /* 0 would disarm the timer */
    struct itimerval timer = {.it_value = {.tv_sec = (time_t)(wait_us / 1000000u),
                                           .tv_usec = (suseconds_t)(wait_us % 1000000u)}};
    CONTRACT(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    CONTRACT(pthread_sigmask(SIG_UNBLOCK, &ending, NULL) == 0);
}

static void begin_drain(struct process *process, int signal_number) {
    if (process->draining) {
        on_give_up(signal_number);
    }
    process->draining = true;
    log_event(LOG_INFO, "draining", F_INT("signal", signal_number),
              F_UINT("drain_us", settings_of(process)->drain_us));
    ops_drain(process->service.ops);
    arm_give_up(settings_of(process)->drain_us);
    if (process->definition->drain != NULL) {
        process->definition->drain(&process->service);
    } else {
        service_stopped(&process->service);
    }
}

static void on_signals(struct loop_fd *watch, uint32_t events) {
    struct process *process = CONTAINER_OF(watch, struct process, signals);
    struct signalfd_siginfo info;
    (void)events; /* only reading is watched */
    while (read(watch->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo != SIGHUP) {
            begin_drain(process, (int)info.ssi_signo);
        } else if (process->definition->reload != NULL && !process->draining) {
            log_event(LOG_INFO, "reloading");
            process->definition->reload(&process->service);
        }
    }
}

/* Before the first thread starts. Returns the signalfd. */
static int block_signals(void) {
    sigset_t blocked;
    CONTRACT(sigemptyset(&blocked) == 0);
    CONTRACT(sigaddset(&blocked, SIGTERM) == 0 && sigaddset(&blocked, SIGINT) == 0 &&
             sigaddset(&blocked, SIGHUP) == 0);
    int fd = signalfd(-1, &blocked, SFD_NONBLOCK | SFD_CLOEXEC);
    CONTRACT(sigaddset(&blocked, SIGALRM) == 0); /* only ever meant for the main thread */
    CONTRACT(pthread_sigmask(SIG_BLOCK, &blocked, NULL) == 0);
    CONTRACT(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    return fd;
}

void service_stopped(struct service *service) {
    loop_stop(service->loop);
}

_Noreturn void service_die(const char *reason) {
    log_event(LOG_ERROR, "leaving at once", F_TEXT("reason", reason));
    _exit(EXIT_DEAD);
}

/* --- the run */

/* Fills problem when it has something to say. */
static enum err start(struct process *process, struct buf *problem) {
    const struct service_settings *settings = settings_of(process);
    int fd = block_signals();
    if (fd < 0) {
        return err_from_errno(errno);
    }
    enum err error = loop_create(SERVICE_POSTED_MAX, &process->service.loop);
    if (error == ERR_OK) {
        error = loop_fd_add(process->service.loop, &process->signals, fd, EPOLLIN, on_signals);
    }
    if (error != ERR_OK) {
        return error;
    }
    register_metrics(process->definition, PIPIT_VERSION, PIPIT_COMMIT);
    error = ops_create(process->service.loop, settings->ops_listen, &process->service.ops);
    if (error != ERR_OK) {
        enum err said = buf_append_format(
            problem, "[%s] ops_listen: cannot listen on %.64s: %s", process->definition->name,
            settings->ops_listen,
            error == ERR_EXISTS ? "the address is in use; choose another port" : err_text(error));
        return said == ERR_OK ? error : said;
    }
    return process->definition->start(&process->service, problem);
}

static int report_failure(struct buf *problem, enum err error) {
    if (buf_len(problem) > 0 && buf_append(problem, "", 1) == ERR_OK) {
        log_event(LOG_ERROR, "cannot start", F_TEXT("problem", (const char *)buf_data(problem)),
                  F_ERR(error));
    } else {
        log_event(LOG_ERROR, "cannot start", F_TEXT("problem", err_text(error)), F_ERR(error));
    }
    buf_finish(problem);
    return EXIT_START_FAILED;
}

/* Reverse order of start. */
static void finish(struct process *process) {
    if (process->definition->stop != NULL) {
        process->definition->stop(&process->service);
    }
    ops_destroy(&process->service.ops);
    loop_fd_remove(process->service.loop, &process->signals);
    (void)close(process->signals.fd); /* only read from */
    loop_destroy(&process->service.loop);
    conf_destroy(&process->conf);
}

static int run(struct process *process) {
    log_event(LOG_INFO, "started", F_TEXT("version", PIPIT_VERSION), F_TEXT("commit", PIPIT_COMMIT),
              F_INT("ops_port", ops_port(process->service.ops)));
    enum err error = loop_run(process->service.loop);
    if (error != ERR_OK) {
        log_event(LOG_ERROR, "the event loop failed; leaving", F_ERR(error));
        return EXIT_START_FAILED;
    }
    bool frees = process->definition->stop != NULL;
    finish(process);
    log_event(LOG_INFO, "stopped");
    if (!frees) {
        /* The service's threads still run: leaving through exit() would pull the ground from under
         * them. */
        (void)fflush(NULL);
        _exit(EXIT_CLEAN);
    }
    return EXIT_CLEAN;
}

static int run_command(struct process *process, const struct service_args *args,
                       struct buf *problem) {
    CONTRACT(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    const struct service_command *command = process->definition->command;
    enum err error = command->run(process->service.settings, args->value, problem);
    if (error != ERR_OK) {
        bool told = buf_len(problem) > 0 && buf_append(problem, "", 1) == ERR_OK;
        log_event(LOG_ERROR, "failed", F_TEXT("command", command->option),
                  F_TEXT("problem", told ? (const char *)buf_data(problem) : err_text(error)),
                  F_ERR(error));
    }
    buf_finish(problem);
    conf_destroy(&process->conf);
    return error == ERR_OK ? EXIT_CLEAN : EXIT_START_FAILED;
}

static int load_and_run(const struct service_definition *definition,
                        const struct service_args *args) {
    struct process process = {.definition = definition};
    struct buf problem;
    process.service.settings = definition->settings;
    buf_init(&problem, SERVICE_PROBLEM_BYTES);
    log_init(definition->name, LOG_INFO, LOG_LOGFMT); /* until the settings are known */
    enum err error = load_settings(&process, args->config, &problem);
    if (error == ERR_OK && args->action == SERVICE_PRINT_CONFIG) {
        int status = print_config(process.conf);
        conf_destroy(&process.conf);
        return status;
    }
    if (error == ERR_OK) {
        error = start_log(&process, &problem);
    }
    if (error == ERR_OK && args->action == SERVICE_COMMAND) {
        return run_command(&process, args, &problem);
    }
    if (error == ERR_OK) {
        error = start(&process, &problem);
    }
    if (error != ERR_OK) {
        int status = report_failure(&problem, error);
        if (process.service.loop != NULL) {
            /* Threads that a half-done start has made may still run: no exit handlers. */
            (void)fflush(NULL);
            _exit(status);
        }
        conf_destroy(&process.conf);
        return status;
    }
    buf_finish(&problem);
    return run(&process);
}

static int print_help(const struct service_definition *definition) {
    const struct service_command *command = definition->command;
    int printed = printf(SERVICE_ARGS_HELP, definition->name, command != NULL ? command->help : "");
    return printed > 0 ? EXIT_CLEAN : EXIT_START_FAILED;
}

int service_main(const struct service_definition *definition, int argc, char **argv) {
    struct service_args args = {0};
    const char *offender = NULL;
    const struct service_command *command = definition->command;
    if (service_args_read(argc, argv, command != NULL ? command->option : NULL, &args, &offender) !=
        ERR_OK) {
        (void)fprintf(stderr, "pipit-%s: unknown or incomplete argument %s; try --help\n",
                      definition->name, offender); /* stderr is all there is */
        return EXIT_USAGE;
    }
    switch (args.action) {
    case SERVICE_HELP:
        return print_help(definition);
    case SERVICE_VERSION:
        return printf("pipit-%s %s (%s)\n", definition->name, PIPIT_VERSION, PIPIT_COMMIT) > 0
                   ? EXIT_CLEAN
                   : EXIT_START_FAILED;
    case SERVICE_DESCRIBE_CONFIG:
        return describe_config(definition);
    case SERVICE_DESCRIBE_METRICS:
        return describe_metrics(definition);
    case SERVICE_PRINT_CONFIG:
    case SERVICE_RUN:
    case SERVICE_COMMAND:
        break;
    }
    return load_and_run(definition, &args);
}
