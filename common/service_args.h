/* service_args: the command line that all services share. For common/service alone. */
#ifndef PIPIT_COMMON_SERVICE_ARGS_H
#define PIPIT_COMMON_SERVICE_ARGS_H

#include "common/err.h"

enum service_action {
    SERVICE_RUN,
    SERVICE_PRINT_CONFIG,
    SERVICE_DESCRIBE_CONFIG,
    SERVICE_DESCRIBE_METRICS,
    SERVICE_VERSION,
    SERVICE_HELP
};
struct service_args {
    enum service_action action;
    const char *config; /* borrowed from argv; NULL = none */
};

/* ERR_INVALID: *offender is the argument that nobody knows or that lacks its value. The last action
 * counts; *args is untouched on failure. */
enum err service_args_read(int argc, char **argv, struct service_args *args,
                           const char **offender) MUST_CHECK;
/* A printf format with one %s for the service's name. */
#define SERVICE_ARGS_HELP                                                                          \
    "usage: pipit-%s [--config FILE]\n"                                                            \
    "\n"                                                                                           \
    "  --config FILE        read settings from FILE; PIPIT_* variables override it\n"              \
    "  --print-config       print every setting, its value and where it came from\n"               \
    "  --describe-config    print the settings this service knows, as Markdown\n"                  \
    "  --describe-metrics   print the metrics this service exports\n"                              \
    "  --version            print the version\n"                                                   \
    "  --help               print this\n"                                                          \
    "\n"                                                                                           \
    "Signals: TERM or INT drains and exits, a second one exits at once, HUP reloads.\n"

#endif
