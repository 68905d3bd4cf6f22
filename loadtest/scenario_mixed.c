/* mixed: a working day begins. Everybody logs in at once over REST, connects (every other pair by
 * WebSocket, the rest by MQTT), and as soon as both of a pair are there they write to each other, a
 * message a second each, for the seconds that were asked for: chat goes on while others still log
 * in. --rate spreads the logins. */
#include "loadtest/chat.h"
#include "loadtest/logins.h"
#include "loadtest/scenario.h"

#include "common/clock.h"

#include <stdlib.h>

#define GAP_US 1000000u

static struct logins logins; /* of the one run of this process */
static uint32_t finished;

static void begin(struct engine *engine) {
    logins_create(&logins, engine, engine->options->clients, client_open);
}

static void ready(struct client *client) {
    struct client *peer = &client->engine->clients[client->index ^ 1u];
    if (peer->ready) {
        uint64_t now_us = clock_mono_us();
        client->next_due_us = now_us + (uint64_t)(drand48() * GAP_US);
        peer->next_due_us = now_us + (uint64_t)(drand48() * GAP_US);
    }
}

static void send_due(struct client *client, uint64_t now_us, uint32_t count) {
    bool sends = client->next_due_us != 0;
    while (sends && client->next_due_us <= now_us) {
        if (!client->ready || !chat_send(client, client->next_due_us)) {
            client->engine->result->refused++;
        }
        client->next_due_us += GAP_US;
        if (client->sent >= count) {
            client->next_due_us = 0;
            finished++;
            sends = false;
        }
    }
    client_flush(client);
}

static void tick(struct engine *engine, uint64_t now_us) {
    uint32_t count = (uint32_t)engine->options->seconds;
    logins_tick(&logins, now_us, engine->options->rate);
    for (uint32_t i = 0; i < engine->options->clients; i++) {
        struct client *client = &engine->clients[i];
        if (client->next_due_us != 0 && client->next_due_us <= now_us) {
            send_due(client, now_us, count);
        }
    }
}

static bool is_over(struct engine *engine, uint64_t now_us) {
    uint64_t login_us = engine->options->clients * 100000u; /* ten a second: something is wrong */
    uint64_t limit_us = (uint64_t)(engine->options->seconds * 1e6) + login_us;
    return finished + engine->result->refused >= engine->options->clients ||
           now_us - engine->start_us >= limit_us;
}

static void end(struct engine *engine) {
    engine->result->missing = engine->options->clients - finished;
    logins_destroy(&logins);
}

const struct scenario scenario_mixed = {.name = "mixed",
                                        .protocol = "mqtt+ws",
                                        .needs_port = true,
                                        .needs_rest = true,
                                        .begin = begin,
                                        .tick = tick,
                                        .is_over = is_over,
                                        .ready = ready,
                                        .end = end};
