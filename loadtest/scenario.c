/* scenario: their names. */
#include "loadtest/scenario.h"

#include <string.h>

const struct scenario *scenario_find(const char *name) {
    static const struct scenario *const all[] = {&scenario_direct, &scenario_group, &scenario_mixed,
                                                 &scenario_login,  &scenario_send,  &scenario_idle,
                                                 &scenario_storm};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i]->name, name) == 0) {
            return all[i];
        }
    }
    return NULL;
}
