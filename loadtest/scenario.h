/* scenario: the loads that pipit-load can offer. */
#ifndef PIPIT_LOADTEST_SCENARIO_H
#define PIPIT_LOADTEST_SCENARIO_H

#include "loadtest/engine.h"

/* Callbacks may be NULL unless said otherwise. */
struct scenario {
    const char *name;
    const char *protocol; /* NULL: the option's */
    bool needs_port, needs_rest;
    bool in_groups;       /* of --group-size; the others chat in pairs */
    bool shares_accounts; /* several connections of one account will do */
    bool connects; /* all clients are connected before begin; else the scenario does that itself */
    void (*begin)(struct engine *engine);                 /* measuring has begun */
    void (*tick)(struct engine *engine, uint64_t now_us); /* every ENGINE_TICK_US */
    /* Measuring ends; NULL: when the seconds are over. */
    bool (*is_over)(struct engine *engine, uint64_t now_us);
    void (*ready)(struct client *client);
    void (*acked)(struct client *client); /* there is room for another send */
    void (*closed)(struct client *client);
    void (*end)(struct engine *engine); /* counts what is missing, frees its own */
};
extern const struct scenario scenario_direct, scenario_group, scenario_mixed, scenario_login,
    scenario_send, scenario_idle, scenario_storm;

/* NULL: there is none of that name. */
const struct scenario *scenario_find(const char *name);

#endif
