/* test_service: whole processes: children of this test run service_main with a small service, and
 * the parent sends signals, reads their log and judges their exit. Nothing waits by time: each step
 * is seen in the log first. */
#include "common/service.h"
#include "common/log.h"
#include "common/metrics.h"
#include "tests/unit/common/support_http.h"
#include "tests/unit/common/support_process.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct settings {
    struct service_settings service;
    const char *how; /* what the small service does */
};
static struct settings settings;
static const struct conf_row rows[] = {SERVICE_CONF_ROWS("storage", struct settings, "127.0.0.1:0"),
                                       {"storage", "how", CONF_TEXT, offsetof(struct settings, how),
                                        "well", NULL, NULL, "Behaviour."}};

static bool behaves(const char *how) {
    return strcmp(settings.how, how) == 0;
}

static struct ops_check check = {.name = "self"};
static struct metric_counter counter = {
    .name = "t_service_total", .help = "A test.", .labels = "a=\"b\""};
static struct loop_timer timer;

static void on_die(struct loop_timer *unused) {
    (void)unused;
    service_die("the disk failed");
}

static void register_all(void) {
    metric_counter_register(&counter);
}

static enum err start(struct service *service, struct buf *problem) {
    if (behaves("no start")) {
        return buf_append_text(problem, "plug in the disk") == ERR_OK ? ERR_NOT_FOUND
                                                                      : ERR_NO_MEMORY;
    }
    service->state = malloc(100); /* freed by stop: the leak checker watches */
    ops_check_add(service->ops, &check);
    check.ready = true;
    if (behaves("die")) {
        loop_timer_start(service->loop, &timer, 0, on_die);
    }
    return ERR_OK;
}

static void drain(struct service *service) {
    log_event(LOG_INFO, "drain called", F_INT("ready", ops_is_ready(service->ops)));
    if (behaves("well") || behaves("hang in stop")) {
        service_stopped(service);
    }
    while (behaves("hang in drain")) {
        (void)pause();
    }
}

static void reload(struct service *service) {
    log_event(LOG_INFO, "reload called", F_INT("state", service->state != NULL));
}

static void stop(struct service *service) {
    log_event(LOG_INFO, "stop called");
    while (behaves("hang in stop")) {
        (void)pause();
    }
    free(service->state);
}

static struct service_definition definition = {.name = "storage",
                                               .rows = rows,
                                               .row_count = sizeof(rows) / sizeof(rows[0]),
                                               .settings = &settings,
                                               .start = start,
                                               .drain = drain,
                                               .reload = reload,
                                               .stop = stop,
                                               .register_metrics = register_all};

/* --- the parent's side */

struct child {
    pid_t pid;
    int output; /* its stdout and stderr */
    char text[65536];
    size_t bytes;
};

static void spawn(struct child *child, const char *const *arguments) {
    int ends[2];
    (void)fflush(NULL);
    memset(child, 0, sizeof(*child));
    assert_int_equal(pipe(ends), 0);
    child->pid = fork();
    assert_true(child->pid >= 0);
    if (child->pid == 0) {
        char *argv[8] = {"pipit-storage"};
        int argc = 1;
        for (; arguments[argc - 1] != NULL; argc++) {
            argv[argc] = (char *)(uintptr_t)arguments[argc - 1];
        }
        (void)signal(SIGTERM, SIG_DFL);
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        exit(service_main(&definition, argc, argv));
    }
    (void)close(ends[1]);
    child->output = ends[0];
}

/* Reads on until the text stands in the output; false when the output ended before. */
static bool wait_text(struct child *child, const char *text) {
    while (strstr(child->text, text) == NULL) {
        struct pollfd ready = {.fd = child->output, .events = POLLIN};
        assert_int_equal(poll(&ready, 1, 30000), 1);
        ssize_t got =
            read(child->output, child->text + child->bytes, sizeof(child->text) - child->bytes - 1);
        if (got <= 0) {
            return false;
        }
        child->bytes += (size_t)got;
    }
    return true;
}

static int wait_exit(struct child *child) {
    int status = 0;
    (void)wait_text(child, "\x01 never said");
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    (void)close(child->output);
    if (!WIFEXITED(status)) {
        print_message("killed by signal %d after:\n%s\n", WTERMSIG(status), child->text);
    }
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static uint16_t start_child(struct child *child, const char *how, const char *drain_time) {
    static const char *const none[] = {NULL};
    assert_int_equal(setenv("PIPIT_STORAGE_HOW", how, 1), 0);
    assert_int_equal(setenv("PIPIT_STORAGE_DRAIN", drain_time, 1), 0);
    spawn(child, none);
    if (!wait_text(child, "ops_port=") || !wait_text(child, "\n")) {
        fail_msg("%s", child->text);
    }
    return (uint16_t)strtoul(strstr(child->text, "ops_port=") + 9, NULL, 10);
}

static int run_with(struct child *child, const char *argument) {
    const char *const arguments[] = {argument, NULL};
    spawn(child, arguments);
    return wait_exit(child);
}

static int clean_environment(void **state) {
    (void)state;
    assert_int_equal(unsetenv("PIPIT_STORAGE_HOW"), 0);
    assert_int_equal(unsetenv("PIPIT_STORAGE_DRAIN"), 0);
    assert_int_equal(unsetenv("PIPIT_STORAGE_LOG_LEVEL"), 0);
    assert_int_equal(unsetenv("PIPIT_STORAGE_LOG_FORMAT"), 0);
    assert_int_equal(unsetenv("PIPIT_STORAGE_OPS_LISTEN"), 0);
    return 0;
}

static struct child child;
static struct support_reply reply;

static void questions_are_answered(void **state) {
    (void)state;
    assert_int_equal(run_with(&child, "--help"), 0);
    assert_non_null(strstr(child.text, "usage: pipit-storage [--config FILE]"));
    assert_int_equal(run_with(&child, "--version"), 0);
    assert_non_null(strstr(child.text, "pipit-storage " PIPIT_VERSION " ("));
    assert_int_equal(run_with(&child, "--describe-config"), 0);
    assert_non_null(strstr(child.text, "| `[storage] drain` | `PIPIT_STORAGE_DRAIN` | duration | "
                                       "`10s` | 0ms to 10m |"));
    assert_int_equal(run_with(&child, "--describe-metrics"), 0);
    assert_non_null(strstr(child.text, "| `t_service_total` | counter | A test. | `a=\"b\"` |\n"));
    assert_non_null(
        strstr(child.text, "| `process_open_fds` | gauge | Open file descriptors. |  |\n"));
    assert_non_null(strstr(child.text, "`version=\"...\",commit=\"...\"`"));
    assert_int_equal(run_with(&child, "--nonsense"), 2);
    assert_non_null(strstr(child.text, "--nonsense"));
}

static void settings_are_printed(void **state) {
    (void)state;
    const char *file = support_file("[storage]\nlog_level = warn\n[auth]\nlisten = elsewhere\n");
    const char *const arguments[] = {"--print-config", "--config", file, NULL};
    spawn(&child, arguments);
    assert_int_equal(wait_exit(&child), 0);
    assert_non_null(strstr(child.text, "[storage]\nlog_level = warn  # /tmp/"));
    assert_non_null(strstr(child.text, "drain = 10s  # default\n"));
}

static void wrong_settings_stop_the_start(void **state) {
    (void)state;
    assert_int_equal(run_with(&child, "--config=/nonexistent.ini"), 1);
    assert_non_null(
        strstr(child.text, "/nonexistent.ini: cannot read the configuration: not found"));
    assert_int_equal(setenv("PIPIT_STORAGE_LOG_LEVEL", "loud", 1), 0);
    assert_int_equal(run_with(&child, NULL), 1);
    assert_non_null(strstr(child.text, "is not error, warn, info or debug"));
    (void)clean_environment(state);
    assert_int_equal(setenv("PIPIT_STORAGE_LOG_FORMAT", "xml", 1), 0);
    assert_int_equal(run_with(&child, NULL), 1);
    assert_non_null(strstr(child.text, "is not logfmt or json"));
    (void)clean_environment(state);
    assert_int_equal(setenv("PIPIT_STORAGE_OPS_LISTEN", "192.0.2.1:9", 1), 0);
    assert_int_equal(run_with(&child, NULL), 1);
    assert_non_null(strstr(child.text, "[storage] ops_listen: cannot listen on 192.0.2.1:9"));
    (void)clean_environment(state);
    assert_int_equal(setenv("PIPIT_STORAGE_HOW", "no start", 1), 0);
    assert_int_equal(run_with(&child, NULL), 1);
    assert_non_null(strstr(child.text, "problem=\"plug in the disk\" err=not_found"));
}

static void a_life_in_order(void **state) {
    (void)state;
    uint16_t port = start_child(&child, "well", "10s");
    support_http_get(port, "/readyz?verbose", &reply);
    assert_string_equal(reply.body, "[+]self ok\nready\n");
    support_http_get(port, "/livez", &reply);
    assert_int_equal(reply.status, 200);
    support_http_get(port, "/metrics", &reply);
    assert_non_null(strstr(reply.body, "\nt_service_total{a=\"b\"} 0\n"));
    assert_non_null(strstr(reply.body, "pipit_build_info{version=\"" PIPIT_VERSION "\""));
    assert_int_equal(kill(child.pid, SIGPIPE), 0); /* ignored */
    assert_int_equal(kill(child.pid, SIGHUP), 0);
    assert_true(wait_text(&child, "msg=\"reload called\" state=1\n"));
    assert_int_equal(kill(child.pid, SIGTERM), 0);
    assert_int_equal(wait_exit(&child), 0);
    const char *draining = strstr(child.text, "msg=\"draining\" signal=15");
    const char *drained = strstr(child.text, "msg=\"drain called\" ready=0\n");
    const char *stopped = strstr(child.text, "msg=\"stop called\"\n");
    assert_true(draining != NULL && drained > draining && stopped > drained);
    assert_non_null(strstr(stopped, "msg=\"stopped\"\n"));
}

static void readiness_fails_while_draining(void **state) {
    (void)state;
    uint16_t port = start_child(&child, "drain for ever", "10m");
    assert_int_equal(kill(child.pid, SIGINT), 0);
    assert_true(wait_text(&child, "drain called"));
    support_http_get(port, "/readyz", &reply);
    assert_int_equal(reply.status, 503);
    assert_string_equal(reply.body, "draining\n");
    support_http_get(port, "/livez", &reply);
    assert_int_equal(reply.status, 200);
    assert_int_equal(kill(child.pid, SIGTERM), 0); /* the second signal */
    assert_int_equal(wait_exit(&child), 3);
    assert_non_null(strstr(child.text, "drain cut short: second signal"));
}

static void a_drain_ends_in_time(void **state) {
    (void)state;
    static const char *const ways[] = {"drain for ever", "hang in drain"};
    for (size_t i = 0; i < 2; i++) {
        (void)start_child(&child, ways[i], i == 0 ? "0" : "50ms");
        assert_int_equal(kill(child.pid, SIGTERM), 0);
        assert_int_equal(wait_exit(&child), 3);
        assert_non_null(strstr(child.text, "drain cut short: its time is over"));
    }
}

static void a_hanging_stop_ends_in_time(void **state) {
    (void)state;
    (void)start_child(&child, "hang in stop", "100ms");
    assert_int_equal(kill(child.pid, SIGTERM), 0);
    assert_int_equal(wait_exit(&child), 3);
}

static void a_service_may_leave_its_threads(void **state) {
    (void)state;
    definition.stop = NULL;
    (void)start_child(&child, "well", "10s");
    assert_int_equal(kill(child.pid, SIGTERM), 0);
    assert_int_equal(wait_exit(&child), 0);
    definition.stop = stop;
    assert_non_null(strstr(child.text, "msg=\"stopped\"\n"));
}

static void dying_is_at_once(void **state) {
    (void)state;
    (void)start_child(&child, "die", "10s");
    assert_int_equal(wait_exit(&child), 70);
    assert_non_null(strstr(child.text, "level=error module=storage msg=\"leaving at once\" "
                                       "reason=\"the disk failed\"\n"));
    assert_null(strstr(child.text, "stop called"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, clean_environment, clean_environment)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(questions_are_answered),
                                       TEST(settings_are_printed),
                                       TEST(wrong_settings_stop_the_start),
                                       TEST(a_life_in_order),
                                       TEST(readiness_fails_while_draining),
                                       TEST(a_drain_ends_in_time),
                                       TEST(a_hanging_stop_ends_in_time),
                                       TEST(a_service_may_leave_its_threads),
                                       TEST(dying_is_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
