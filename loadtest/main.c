/* pipit-load: offers load to Pipit, or MQTT load to any broker, and prints what happened as JSON.
 * Exit status: 0 everything arrived once and in order, 1 something was lost, duplicated, reordered
 * or refused, 2 wrong usage. */
#include "loadtest/engine.h"

#include <sys/resource.h>

int main(int argc, char **argv) {
    static struct load_options options;
    static struct result result;
    if (!options_parse(&options, argc, argv)) {
        return 2;
    }
    struct rlimit files = {0};
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* what it is will do for fewer clients */
    }
    if (!engine_run(&options, &result)) {
        return 1;
    }
    result_print(&options, &result);
    return result_whole(&result) ? 0 : 1;
}
