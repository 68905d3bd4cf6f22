/* service: the skeleton every process shares: arguments, configuration, logs, signals, operations
 * port, readiness and drain. A service's main.c only fills in the table and its four functions. */
#ifndef PIPIT_COMMON_SERVICE_H
#define PIPIT_COMMON_SERVICE_H

#include "common/conf.h"
#include "common/loop.h"
#include "common/ops.h"

/* First members of every service's settings struct; their rows are SERVICE_CONF_ROWS(type). */
struct service_settings {
    const char *log_level;  /* error warn info debug */
    const char *log_format; /* logfmt json */
    const char *ops_listen; /* operations port */
    uint64_t drain_us;      /* SIGTERM: at most this long until exit */
};
/* clang-format off */
#define SERVICE_CONF_ROWS(section, settings_type, ops_default)                                     \
    {section, "log_level", CONF_TEXT, offsetof(settings_type, service.log_level), "info", NULL,    \
     NULL, "Least severe level that is logged: error, warn, info or debug."},                      \
    {section, "log_format", CONF_TEXT, offsetof(settings_type, service.log_format), "logfmt",      \
     NULL, NULL, "Form of a log line: logfmt or json."},                                           \
    {section, "ops_listen", CONF_TEXT, offsetof(settings_type, service.ops_listen), ops_default,   \
     NULL, NULL, "Address of /livez, /readyz and /metrics; keep it off the public network."},      \
    {section, "drain", CONF_DURATION, offsetof(settings_type, service.drain_us), "10s", "0ms",     \
     "10m", "After SIGTERM: time to flush and tell clients before the process exits."}
/* clang-format on */

struct service {
    struct loop *loop; /* main thread */
    struct ops *ops;
    void *settings;
    void *state; /* the service's own */
};
/* Something a service can do instead of running: it is given the settings, works, and ends. */
struct service_command {
    const char *option; /* "--migrate-from"; takes a value */
    const char *help;   /* lines of --help, each ending in a newline */
    /* Logs what it does. Failure: fills `problem` with one line; the process exits 1. Signals end
     * the process at once. */
    enum err (*run)(void *settings, const char *value, struct buf *problem);
};
struct service_definition {
    const char *name; /* "storage": also the INI section and the log's module */
    const struct conf_row *rows;
    size_t row_count;
    void *settings; /* struct that begins with struct service_settings service */
    /* Builds everything; sets service->state. Failure: fills `problem` with one line that says what
     * to do; the process exits 1. */
    enum err (*start)(struct service *service, struct buf *problem);
    /* SIGTERM or SIGINT: stop accepting, begin to flush; call service_stopped when done. A second
     * signal or settings.drain ends the process without waiting. */
    void (*drain)(struct service *service);
    /* SIGHUP: reload what can be reloaded (certificates, log level). May be NULL. */
    void (*reload)(struct service *service);
    /* Frees everything (leak-checked in tests); may be NULL. */
    void (*stop)(struct service *service);
    /* Registers every metric of the service without any other effect: called before start, and
     * alone for --describe-metrics. May be NULL: then only metrics that start registers exist. */
    void (*register_metrics)(void);
    const struct service_command *command; /* NULL = none */
};

/* main() of every service: handles --config FILE, --print-config, --describe-config,
 * --describe-metrics, --version, --help and the service's command; ignores SIGPIPE; runs the loop.
 * Returns the exit status: 0 clean, 1 start failed, 2 usage. A drain that is cut short (a second
 * signal, or settings.drain is over, also while stop() or the libraries' exit handlers hang) ends
 * the process with 3. Signals are blocked before any thread starts. Call once, on the main thread.
 */
int service_main(const struct service_definition *definition, int argc, char **argv);
/* The drain is done: the loop ends after this turn. Any thread. */
void service_stopped(struct service *service);
/* For unrecoverable failures (a failed fsync): logs, stops acknowledging by leaving at once through
 * _exit(70). Any thread. */
_Noreturn void service_die(const char *reason);

#define PIPIT_VERSION "0.1.0"

#endif
