/* login: how many users get in, and how long each waits. With a rate: an open loop for the seconds
 * that were asked for; without one: every account once, all at the same moment. */
#include "loadtest/logins.h"
#include "loadtest/scenario.h"

static struct logins logins; /* of the one run of this process */

static void begin(struct engine *engine) {
    const struct load_options *options = engine->options;
    uint32_t count =
        options->rate > 0 ? (uint32_t)(options->rate * options->seconds) : options->clients;
    logins_create(&logins, engine, count, NULL);
}

static void tick(struct engine *engine, uint64_t now_us) {
    logins_tick(&logins, now_us, engine->options->rate);
}

static bool is_over(struct engine *engine, uint64_t now_us) {
    const struct result *result = engine->result;
    uint64_t limit_us = (uint64_t)(engine->options->seconds * 1e6) +
                        (engine->options->rate > 0 ? ENGINE_LATE_US : 0);
    return result->logins + result->refused >= logins.count ||
           now_us - engine->start_us >= limit_us;
}

static void end(struct engine *engine) {
    engine->result->missing = logins.count - engine->result->logins;
    logins_destroy(&logins);
}

const struct scenario scenario_login = {.name = "login",
                                        .protocol = "rest",
                                        .needs_rest = true,
                                        .begin = begin,
                                        .tick = tick,
                                        .is_over = is_over,
                                        .end = end};
