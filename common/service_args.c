/* service_args: reads the command line.
 *
 * Four services, one command line: whoever knows one knows all. Everything that can be configured
 * is a setting (file or environment), never an option here, so there is one place to look. getopt
 * is not used because it permutes, abbreviates and prints by itself. */
#include "common/service_args.h"

#include <stddef.h>
#include <string.h>

/* `option value` or `option=value` at argv[*at]; NULL: it is something else. */
static const char *read_value(int argc, char **argv, int *at, const char *option) {
    size_t count = strlen(option);
    const char *argument = argv[*at];
    if (strncmp(argument, option, count) != 0) {
        return NULL;
    }
    if (argument[count] == '=' && argument[count + 1] != '\0') {
        return argument + count + 1;
    }
    if (argument[count] == '\0' && *at + 1 < argc && argv[*at + 1][0] != '\0') {
        return argv[++*at];
    }
    return NULL;
}

enum err service_args_read(int argc, char **argv, const char *command, struct service_args *args,
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
        const char *value = read_value(argc, argv, &i, "--config");
        if (value != NULL) {
            read.config = value;
            continue;
        }
        value = command != NULL ? read_value(argc, argv, &i, command) : NULL;
        if (value != NULL) {
            read.action = SERVICE_COMMAND;
            read.value = value;
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
