/* mqtt_inflight: QoS 1 packets that were published to a client and are not acknowledged yet, and
 * how far its delivered cursors may move. A cursor never passes a message that was not
 * acknowledged, in whatever order a client answers. */
#ifndef PIPIT_CONNECTION_MQTT_INFLIGHT_H
#define PIPIT_CONNECTION_MQTT_INFLIGHT_H

#include "common/err.h"
#include "proto/limits.h"
#include "services/connection/conn_pool.h"
#include <stdbool.h>
#include <stdint.h>

#define MQTT_INFLIGHT_WINDOW_MAX 64 /* unacknowledged to one client, whatever it would allow */

struct mqtt_flight {
    struct list_node node;
    uint64_t seq;       /* 0 = an event without a cursor */
    uint16_t packet_id; /* 0 = was not sent: acknowledged from the start */
    bool acked;
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
};
struct mqtt_inflight {
    struct list flights; /* in the order of sending */
    struct conn_pool *pool;
    uint16_t window, unacked;
    uint16_t last_packet_id;
};
/* Where a delivered cursor may go; seq 0 = nowhere. */
struct mqtt_delivered {
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    uint64_t seq;
};

/* pool: of struct mqtt_flight, shared by the connections of a loop. receive_maximum: the client's.
 */
void mqtt_inflight_init(struct mqtt_inflight *inflight, struct conn_pool *pool,
                        uint16_t receive_maximum);
void mqtt_inflight_finish(struct mqtt_inflight *inflight);
/* May one more be sent? Acknowledged ones that wait for an earlier one count too, up to twice the
 * window, so a client that never answers the first cannot make us remember the others for ever. */
bool mqtt_inflight_has_room(const struct mqtt_inflight *inflight);
/* Before sending: *packet_id is free and never 0. conversation NULL: an event without a cursor.
 * ERR_FULL without room; ERR_NO_MEMORY. */
enum err mqtt_inflight_add(struct mqtt_inflight *inflight, const char *conversation, uint64_t seq,
                           uint16_t *packet_id) MUST_CHECK;
/* A message the client does not get (no subscription, too large for it): it counts as acknowledged.
 * Errors as above; *cursor tells where the cursor goes now. */
enum err mqtt_inflight_skip(struct mqtt_inflight *inflight, const char *conversation, uint64_t seq,
                            struct mqtt_delivered *cursor) MUST_CHECK;
/* PUBACK. False: no such packet is in flight (a client may repeat itself; harmless). */
bool mqtt_inflight_ack(struct mqtt_inflight *inflight, uint16_t packet_id,
                       struct mqtt_delivered *cursor);

#endif
