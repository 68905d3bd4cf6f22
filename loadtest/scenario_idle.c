/* idle: what a connection costs that only stays: memory, and CPU for keeping it alive. Clients ping
 * as apps do. */
#include "loadtest/scenario.h"

#define PING_US 60000000u

static void tick(struct engine *engine, uint64_t now_us) {
    double share = (double)(now_us - engine->start_us) / PING_US;
    uint64_t due = (uint64_t)(share * engine->options->clients);
    for (; engine->scheduled < due; engine->scheduled++) {
        struct client *client = &engine->clients[engine->scheduled % engine->options->clients];
        if (client->ready) {
            client->protocol->ping(client);
            client_flush(client);
        }
    }
}

static void end(struct engine *engine) {
    for (uint32_t i = 0; i < engine->options->clients; i++) {
        engine->result->missing += !engine->clients[i].ready;
    }
}

const struct scenario scenario_idle = {.name = "idle",
                                       .needs_port = true,
                                       .shares_accounts = true,
                                       .connects = true,
                                       .tick = tick,
                                       .end = end};
