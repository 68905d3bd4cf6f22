/* reconnect-storm: a switch restarts. Every connection is cut at the same moment, and everybody
 * comes back at once; who is turned away tries again as apps do, after a pause that doubles from
 * half a second to 8, less a random part. */
#include "loadtest/scenario.h"

#include "common/clock.h"
#include "common/contract.h"

#include <stdlib.h>

#define PAUSE_US 500000u
#define PAUSE_DOUBLINGS 4u

static void on_retry(struct loop_timer *timer) {
    client_open(CONTAINER_OF(timer, struct client, retry));
}

static void begin(struct engine *engine) {
    engine->ready = 0;
    for (uint32_t i = 0; i < engine->options->clients; i++) {
        client_close(&engine->clients[i]);
        loop_timer_stop(engine->loop, &engine->clients[i].retry);
    }
    for (uint32_t i = 0; i < engine->options->clients; i++) {
        client_open(&engine->clients[i]);
    }
}

static void ready(struct client *client) {
    struct engine *engine = client->engine;
    if (engine->start_us > 0) {
        engine->result->back++;
        histogram_record(&engine->result->back_in, clock_mono_us() - engine->start_us);
    }
}

static void closed(struct client *client) {
    struct engine *engine = client->engine;
    engine->result->retried++;
    uint64_t pause_us = PAUSE_US << client->retries;
    client->retries += client->retries < PAUSE_DOUBLINGS;
    pause_us -= (uint64_t)(drand48() * (double)pause_us / 2);
    loop_timer_start(engine->loop, &client->retry, pause_us, on_retry);
}

static bool is_over(struct engine *engine, uint64_t now_us) {
    return engine->result->back >= engine->options->clients ||
           now_us - engine->start_us >= (uint64_t)(engine->options->seconds * 1e6);
}

static void end(struct engine *engine) {
    engine->result->missing = engine->options->clients - engine->result->back;
}

const struct scenario scenario_storm = {.name = "reconnect-storm",
                                        .needs_port = true,
                                        .shares_accounts = true,
                                        .connects = true,
                                        .begin = begin,
                                        .is_over = is_over,
                                        .ready = ready,
                                        .closed = closed,
                                        .end = end};
