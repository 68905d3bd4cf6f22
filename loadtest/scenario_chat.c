/* direct and group: everybody writes to the others of its group; a pair is a group of two. With a
 * rate, message k is due at start + k / rate and is sent by client k modulo their number (open
 * loop); without one, each client keeps a window of unanswered sends, which finds the saturated
 * rate. */
#include "loadtest/chat.h"
#include "loadtest/scenario.h"

#include "common/clock.h"

static void fill_window(struct client *client) {
    struct engine *engine = client->engine;
    bool sends = client->ready && client->index < engine->active && engine->options->rate <= 0;
    while (sends && client->in_flight < engine->options->window) {
        sends = chat_send(client, clock_mono_us());
    }
}

static void begin(struct engine *engine) {
    for (uint32_t i = 0; i < engine->active; i++) {
        fill_window(&engine->clients[i]);
        client_flush(&engine->clients[i]);
    }
}

static void tick(struct engine *engine, uint64_t now_us) {
    if (engine->options->rate <= 0) {
        return;
    }
    uint64_t due_us = 0;
    while ((due_us = engine_take_due(engine, now_us)) != UINT64_MAX) {
        struct client *client = &engine->clients[(engine->scheduled - 1) % engine->active];
        if (!client->ready || !chat_send(client, due_us)) {
            engine->result->refused++; /* nobody could have written so much to it */
            continue;
        }
        client_flush(client);
    }
}

const struct scenario scenario_direct = {.name = "direct",
                                         .needs_port = true,
                                         .connects = true,
                                         .begin = begin,
                                         .tick = tick,
                                         .acked = fill_window};
const struct scenario scenario_group = {.name = "group",
                                        .in_groups = true,
                                        .needs_port = true,
                                        .connects = true,
                                        .begin = begin,
                                        .tick = tick,
                                        .acked = fill_window};
