/* engine: connects the clients of a scenario, lets it measure for its time, and waits for what is
 * still on its way. One thread, one event loop. */
#ifndef PIPIT_LOADTEST_ENGINE_H
#define PIPIT_LOADTEST_ENGINE_H

#include "loadtest/client.h"
#include "loadtest/result.h"
#include "loadtest/tracker.h"

#define ENGINE_TICK_US 500u
#define ENGINE_LATE_US 5000000u /* for what was sent and has not arrived */

struct scenario;
struct engine {
    const struct load_options *options;
    const struct scenario *scenario;
    struct result *result;
    struct loop *loop;
    struct client *clients; /* options->clients; those that only listen are the last ones */
    char (*groups)[LOAD_NAME_BYTES]; /* conversation of each group; NULL: they are g0, g1, ... */
    struct tracker tracker;
    uint32_t active; /* clients that send */
    uint32_t opened, ready;
    uint64_t born_us, start_us, stop_us; /* 0: not yet */
    uint64_t scheduled;                  /* sends of the open loop so far */
    struct loop_timer tick, progress;
    void *own; /* the scenario's */
};

/* Runs the scenario to its end. False: it could not begin, and the reason is on stderr. */
bool engine_run(const struct load_options *options, struct result *result);

/* --- for scenarios */
/* The entry of this second; never NULL. */
struct second *engine_second(const struct engine *engine, uint64_t now_us);
/* Intended time of the next send of the open loop, or UINT64_MAX when it lies ahead. Takes it. */
uint64_t engine_take_due(struct engine *engine, uint64_t now_us);
const char *engine_group_of(const struct engine *engine, uint32_t client,
                            char name[LOAD_NAME_BYTES]);

#endif
