/* mqtt_inflight: a short list in the order of sending.
 *
 * Messages of one conversation are sent in the order of their seq, so the cursor of a conversation
 * may move to the last flight before which, within that conversation, everything is acknowledged.
 * Clients acknowledge in order ([MQTT-4.6.0-2]), so nearly always the first flight matches and goes
 * at once; the list is at most twice the window, so walking it is cheap. Idle clients hold nothing.
 */
#include "services/connection/mqtt_inflight.h"

#include "common/contract.h"

#include <string.h>

void mqtt_inflight_init(struct mqtt_inflight *inflight, struct conn_pool *pool,
                        uint16_t receive_maximum) {
    CONTRACT(receive_maximum > 0);
    *inflight = (struct mqtt_inflight){.pool = pool,
                                       .window = receive_maximum < MQTT_INFLIGHT_WINDOW_MAX
                                                     ? receive_maximum
                                                     : MQTT_INFLIGHT_WINDOW_MAX};
    list_init(&inflight->flights);
}

static struct mqtt_flight *flight_of(struct list_node *node) {
    return node != NULL ? CONTAINER_OF(node, struct mqtt_flight, node) : NULL;
}

static struct mqtt_flight *first(const struct mqtt_inflight *inflight) {
    return flight_of(list_first(&inflight->flights));
}

static struct mqtt_flight *after(const struct mqtt_inflight *inflight,
                                 const struct mqtt_flight *flight) {
    return flight_of(list_next(&inflight->flights, &flight->node));
}

static void forget(struct mqtt_inflight *inflight, struct mqtt_flight *flight) {
    list_remove(&inflight->flights, &flight->node);
    conn_pool_give(inflight->pool, flight);
}

void mqtt_inflight_finish(struct mqtt_inflight *inflight) {
    struct mqtt_flight *flight = inflight->pool != NULL ? first(inflight) : NULL;
    while (flight != NULL) {
        forget(inflight, flight);
        flight = first(inflight);
    }
    inflight->unacked = 0;
}

bool mqtt_inflight_has_room(const struct mqtt_inflight *inflight) {
    return inflight->unacked < inflight->window && inflight->flights.count < 2u * inflight->window;
}

static bool packet_id_used(const struct mqtt_inflight *inflight, uint16_t packet_id) {
    for (struct mqtt_flight *flight = first(inflight); flight != NULL;
         flight = after(inflight, flight)) {
        if (!flight->acked && flight->packet_id == packet_id) {
            return true;
        }
    }
    return false;
}

static enum err append(struct mqtt_inflight *inflight, const char *conversation, uint64_t seq,
                       struct mqtt_flight **out) {
    struct mqtt_flight *flight = conn_pool_take(inflight->pool);
    if (flight == NULL) {
        return ERR_NO_MEMORY;
    }
    if (conversation != NULL) {
        size_t bytes = strlen(conversation);
        CONTRACT(bytes < sizeof flight->conversation && seq > 0);
        memcpy(flight->conversation, conversation, bytes + 1);
        flight->seq = seq;
    }
    list_push_back(&inflight->flights, &flight->node);
    *out = flight;
    return ERR_OK;
}

enum err mqtt_inflight_add(struct mqtt_inflight *inflight, const char *conversation, uint64_t seq,
                           uint16_t *packet_id) {
    if (!mqtt_inflight_has_room(inflight)) {
        return ERR_FULL;
    }
    struct mqtt_flight *flight = NULL;
    enum err error = append(inflight, conversation, seq, &flight);
    if (error != ERR_OK) {
        return error;
    }
    do {
        inflight->last_packet_id++;
    } while (inflight->last_packet_id == 0 || packet_id_used(inflight, inflight->last_packet_id));
    flight->packet_id = inflight->last_packet_id;
    inflight->unacked++;
    *packet_id = flight->packet_id;
    return ERR_OK;
}

/* The flight was acknowledged just now: moves the cursor over everything that nothing holds back.
 */
static void advance(struct mqtt_inflight *inflight, struct mqtt_flight *acked,
                    struct mqtt_delivered *cursor) {
    cursor->seq = 0;
    if (acked->seq == 0) {
        forget(inflight, acked);
        return;
    }
    memcpy(cursor->conversation, acked->conversation, sizeof cursor->conversation);
    struct mqtt_flight *flight = first(inflight);
    while (flight != NULL) {
        struct mqtt_flight *next = after(inflight, flight);
        if (flight->seq != 0 && strcmp(flight->conversation, cursor->conversation) == 0) {
            if (!flight->acked) {
                return;
            }
            cursor->seq = flight->seq;
            forget(inflight, flight);
        }
        flight = next;
    }
}

enum err mqtt_inflight_skip(struct mqtt_inflight *inflight, const char *conversation, uint64_t seq,
                            struct mqtt_delivered *cursor) {
    struct mqtt_flight *flight = NULL;
    enum err error = append(inflight, conversation, seq, &flight);
    if (error != ERR_OK) {
        return error;
    }
    flight->acked = true;
    advance(inflight, flight, cursor);
    return ERR_OK;
}

bool mqtt_inflight_ack(struct mqtt_inflight *inflight, uint16_t packet_id,
                       struct mqtt_delivered *cursor) {
    cursor->seq = 0;
    for (struct mqtt_flight *flight = first(inflight); flight != NULL;
         flight = after(inflight, flight)) {
        if (!flight->acked && flight->packet_id == packet_id) {
            flight->acked = true;
            inflight->unacked--;
            advance(inflight, flight, cursor);
            return true;
        }
    }
    return false;
}
