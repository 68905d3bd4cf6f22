/* chat: latency counts from the moment a message was due, whatever happened to the ones before, so
 * a server that stalls cannot hide its stall (coordinated omission). */
#include "loadtest/chat.h"

#include "common/clock.h"
#include "common/contract.h"
#include "loadtest/scenario.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RING LOAD_WINDOW_MAX /* unanswered sends of one client; a power of two */

bool chat_send(struct client *client, uint64_t intended_us) {
    struct engine *engine = client->engine;
    static char payload[4096];
    if (client->in_flight >= RING) {
        return false;
    }
    if (client->sent_at_us == NULL) {
        client->sent_at_us = calloc(RING, sizeof *client->sent_at_us);
        CONTRACT(client->sent_at_us != NULL);
    }
    int head = snprintf(payload, sizeof payload, "~%u.%u.%llu~", client->index, client->sent,
                        (unsigned long long)intended_us);
    size_t bytes = engine->options->payload_bytes;
    if ((size_t)head < bytes) {
        memset(payload + head, 'x', bytes - (size_t)head);
    } else {
        bytes = (size_t)head;
    }
    client->sent_at_us[client->sent++ % RING] = intended_us;
    client->in_flight++;
    engine->result->sent++;
    engine->result->expected += engine->options->group_size - 1;
    client->protocol->send(client, payload, bytes);
    return true;
}

void chat_on_acked(struct client *client, uint32_t count) {
    struct engine *engine = client->engine;
    uint64_t now_us = clock_mono_us();
    for (uint32_t i = 0; i < count && client->in_flight > 0; i++) {
        histogram_record(&engine->result->ack, now_us - client->sent_at_us[client->acked % RING]);
        client->acked++;
        client->in_flight--;
        engine->result->acked++;
        engine_second(engine, now_us)->acked++;
    }
    if (engine->stop_us == 0 && engine->scenario->acked != NULL) {
        engine->scenario->acked(client);
    }
}

void chat_on_message(struct client *client, uint32_t sender, uint32_t number, uint64_t sent_us) {
    struct engine *engine = client->engine;
    struct result *result = engine->result;
    uint64_t now_us = clock_mono_us();
    if (sender == client->index) {
        result->echoes++; /* brokers send a publisher its own message; Pipit does not */
        return;
    }
    CONTRACT(tracker_same_group(&engine->tracker, client->index, sender));
    result->received++;
    engine_second(engine, now_us)->delivered++;
    histogram_record(&result->delivery, now_us - sent_us);
    if (result->logins > 0 && result->logins < engine->options->clients) {
        histogram_record(&result->delivery_during_logins, now_us - sent_us);
    }
    enum tracker_verdict verdict = tracker_arrived(&engine->tracker, client->index, sender, number);
    result->reordered += verdict == TRACKER_LATE;
    result->duplicated += verdict == TRACKER_AGAIN;
}
