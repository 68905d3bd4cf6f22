/* service_args: reads the command line.
 *
 * Four services, one command line: whoever knows one knows all. Everything that can be configured
 * is a setting (file or environment), never an option here, so there is one place to look. getopt
 * is not used because it permutes, abbreviates and prints by itself. */
#include "common/service_args.h"

#include <stddef.h>
#include <string.h>

enum err service_args_read(int argc, char **argv, struct service_args *args,
                           const char **offender) {
    static const struct {
        const char *text;
        enum service_action action;
    } actions[] = {{"--print-config", SERVICE_PRINT_CONFIG},
                   {"--describe-config", SERVICE_DESCRIBE_CONFIG},
                   {"--describe-metrics", SERVICE_DESCRIBE_METRICS},
                   {"--version", SERVICE_VERSION},
                   {"--help", SERVICE_HELP}};
    struct service_args read = {.action = SERVICE_RUN};
    for (int i = 1; i < argc; i++) {
        const char *argument = argv[i];
        size_t known = 0;
        if (strcmp(argument, "--config") == 0 && i + 1 < argc && argv[i + 1][0] != '\0') {
            read.config = argv[++i];
            continue;
        }
        if (strncmp(argument, "--config=", 9) == 0 && argument[9] != '\0') {
            read.config = argument + 9;
            continue;
        }
        while (known < sizeof(actions) / sizeof(actions[0]) &&
               strcmp(argument, actions[known].text) != 0) {
            known++;
        }
        if (known == sizeof(actions) / sizeof(actions[0])) {
            *offender = argument;
            return ERR_INVALID;
        }
        read.action = actions[known].action;
    }
    *args = read;
    return ERR_OK;
}
