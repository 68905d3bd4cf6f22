/* send: messages over REST into the groups, as scripts and home automation send
 * them. With a rate: request k is due at start + k / rate; without one, each connection asks again
 * as soon as it has its answer. */
#include "loadtest/chat.h"
#include "loadtest/rest.h"
#include "loadtest/scenario.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/id.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct rest_link *links; /* of the one run of this process */

static void ask(struct engine *engine, struct rest_link *link, uint64_t due_us) {
    static char body[4096];
    struct client *client = &engine->clients[link->index % engine->active];
    uint8_t uuid[ID_UUID_BYTES];
    char id[ID_UUID_TEXT_BYTES], path[256], group[LOAD_NAME_BYTES];
    id_uuid7_make(clock_wall_ms(), uuid);
    id_uuid_format(uuid, id);
    (void)snprintf(path, sizeof path, "/v1/conversations/%s/messages/%s",
                   engine_group_of(engine, client->index, group), id);
    (void)snprintf(body, sizeof body, "{\"body\":{\"text\":\"%0*u\"}}",
                   (int)engine->options->payload_bytes, client->sent++);
    link->due_us = due_us;
    engine->result->sent++;
    rest_ask(link, "PUT", path, client->token, body);
}

static void on_answer(struct rest_link *link, const struct rest_answer *answer) {
    struct engine *engine = link->user;
    struct result *result = engine->result;
    uint64_t now_us = clock_mono_us();
    link->index += engine->options->links;
    if (answer->status == 200 || answer->status == 201) {
        result->acked++;
        engine_second(engine, now_us)->acked++;
        histogram_record(&result->ack, now_us - link->due_us);
    } else if (result->refused++ < 3) {
        (void)fprintf(stderr, "send: %d %s\n", answer->status, answer->body);
    }
    if (engine->stop_us == 0 && engine->options->rate <= 0) {
        ask(engine, link, now_us);
    }
}

static void begin(struct engine *engine) {
    links = calloc(engine->options->links, sizeof *links);
    CONTRACT(links != NULL);
    for (uint32_t i = 0; i < engine->options->links; i++) {
        rest_create(&links[i], engine->loop, engine->options->rest_port, on_answer);
        links[i].user = engine;
        links[i].index = i;
        if (engine->options->rate <= 0) {
            ask(engine, &links[i], clock_mono_us());
        }
    }
}

static void tick(struct engine *engine, uint64_t now_us) {
    for (uint32_t i = 0; engine->options->rate > 0 && i < engine->options->links; i++) {
        uint64_t due_us = links[i].busy ? UINT64_MAX : engine_take_due(engine, now_us);
        if (due_us != UINT64_MAX) {
            ask(engine, &links[i], due_us);
        }
    }
}

static void end(struct engine *engine) {
    for (uint32_t i = 0; i < engine->options->links; i++) {
        rest_destroy(&links[i]);
    }
    free(links);
}

const struct scenario scenario_send = {.name = "send",
                                       .protocol = "rest",
                                       .needs_rest = true,
                                       .in_groups = true,
                                       .begin = begin,
                                       .tick = tick,
                                       .end = end};
