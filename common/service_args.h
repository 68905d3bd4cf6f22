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
    SERVICE_HELP,
    SERVICE_COMMAND
};
struct service_args {
    enum service_action action;
    const char *config; /* borrowed from argv; NULL = none */
    const char *value;  /* SERVICE_COMMAND: the argument of the option; borrowed */
};

/* command: the option of a service of its own that takes a value ("--migrate-from"); NULL = it has
 * none. ERR_INVALID: *offender is the argument that nobody knows or that lacks its value. The last
 * action counts; *args is untouched on failure. */
enum err service_args_read(int argc, char **argv, const char *command, struct service_args *args,
                           const char **offender) MUST_CHECK;
/* A printf format with a %s for the service's name and one for its command. */
#define SERVICE_ARGS_HELP                                                                          \
    "usage: pipit-%s [--config FILE]\n"                                                            \
    "\n"                                                                                           \
    "  --config FILE        read settings from FILE; PIPIT_* variables override it\n"              \
    "  --print-config       print every setting, its value and where it came from\n"               \
    "  --describe-config    print the settings this service knows, as Markdown\n"                  \
    "  --describe-metrics   print the metrics this service exports\n"                              \
    "  --version            print the version\n"                                                   \
    "  --help               print this\n"                                                          \
    "%s"                                                                                           \
    "\n"                                                                                           \
    "Signals: TERM or INT drains and exits, a second one exits at once, HUP reloads.\n"

#endif
