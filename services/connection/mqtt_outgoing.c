/* mqtt_outgoing: what is published to a client, and what its PUBACKs mean.
 *
 * Messages go to pipit/me/inbox; edits, recalls, reactions, marks and changes of conversations to
 * /events; typing and presence to /ctl. The frame was encoded once for all sessions of the loop;
 * only the packet's head is made here.
 *
 * With QoS 1 a stored event counts as delivered when the client acknowledges it, with QoS 0 when it
 * is written. One that the client cannot take (larger than its maximum packet size, no subscription
 * for its topic) is passed over and the cursor moves on, because it would block all later ones for
 * ever. The hub hands stored events over only while can_take says yes: room in flight, room in the
 * send queue, an inbox subscription; what is not taken stays in history and comes later.
 *
 * Events without a cursor that find the window full wait here in order, within the send queue's
 * limit. */
#include "services/connection/mqtt_private.h"

#include "common/mem.h"

#include <string.h>

struct mqtt_deferred {
    struct list_node node;
    size_t frame_bytes;
    uint8_t frame[];
};

enum feed { FEED_INBOX, FEED_EVENTS, FEED_CTL };
static const char *const topics[] = {[FEED_INBOX] = MQTT_TOPIC_INBOX,
                                     [FEED_EVENTS] = MQTT_TOPIC_EVENTS,
                                     [FEED_CTL] = MQTT_TOPIC_CTL};

static enum feed feed_of(const struct event *event) {
    switch (event->class) {
    case EVENT_MESSAGE:
        return event->kind == FRAME_EVENT_MSG ? FEED_INBOX : FEED_EVENTS;
    case EVENT_CONVERSATION:
    case EVENT_RECEIPT:
        return FEED_EVENTS;
    case EVENT_TYPING:
    case EVENT_PRESENCE:
        break;
    }
    return FEED_CTL;
}

static enum conn_priority priority_of(const struct event *event) {
    switch (event->class) {
    case EVENT_MESSAGE:
    case EVENT_CONVERSATION:
        return CONN_MUST;
    case EVENT_RECEIPT:
        return CONN_RECEIPT;
    case EVENT_TYPING:
        return CONN_TYPING;
    case EVENT_PRESENCE:
        break;
    }
    return CONN_PRESENCE;
}

static uint8_t qos_of(const struct mqtt_session *ms, enum feed feed) {
    uint8_t qos = feed == FEED_INBOX    ? ms->inbox_qos
                  : feed == FEED_EVENTS ? ms->events_qos
                                        : ms->ctl_qos;
    return feed == FEED_CTL && qos == 1 ? 0 : qos; /* ephemeral: never worth a second try */
}

static void mark(struct mqtt_session *ms, const char *conversation, uint64_t seq) {
    if (seq != 0 && ms->attached) {
        enum err error = session_mark(&ms->session, conversation, seq, 0);
        (void)error; /* not a member any more: nobody needs the cursor */
    }
}

/* --- flow control */

bool mqtt_can_take(const struct session *session) {
    struct mqtt_session *ms = mqtt_of_session(session);
    struct conn *conn = &ms->conn;
    bool subscribed =
        ms->inbox_qos != MQTT_QOS_NONE || (ms->clean && ms->events_qos != MQTT_QOS_NONE);
    bool takes = conn->state == CONN_LIVE && subscribed && conn_may_take(conn) &&
                 list_first(&ms->deferred) == NULL && mqtt_inflight_has_room(&ms->inflight);
    ms->wants_room = ms->wants_room || !takes;
    return takes;
}

/* --- publishing */

static void fill_publish(const struct mqtt_session *ms, struct mqtt_publish *publish,
                         struct slice topic, uint8_t qos, struct slice payload, uint32_t *ids) {
    *publish = (struct mqtt_publish){.qos = qos, .topic = topic, .payload = payload};
    mqtt_properties_init(&publish->properties);
    if (mqtt_is_v5(ms)) {
        publish->properties.subscription_ids = ids;
        publish->properties.subscription_ids_count = mqtt_subscription_ids(ms, topic, ids);
    }
}

static bool fits_client(const struct mqtt_session *ms, const struct mqtt_publish *publish) {
    return mqtt_publish_bytes(ms->version, publish) <= ms->maximum_packet_bytes;
}

static void append_publish(struct mqtt_session *ms, const struct mqtt_publish *publish) {
    conn_wrote(&ms->conn, mqtt_encode_publish(conn_out(&ms->conn), ms->version, publish));
}

static void skip(struct mqtt_session *ms, const struct event *event) {
    struct mqtt_delivered cursor;
    if (event->class != EVENT_MESSAGE) {
        return;
    }
    if (mqtt_inflight_skip(&ms->inflight, event->conversation, event->seq, &cursor) != ERR_OK) {
        connection_metrics_limit(LIMIT_HIT_MEMORY);
        conn_end(&ms->conn, REASON_OVERLOAD);
        return;
    }
    mark(ms, cursor.conversation, cursor.seq);
}

/* Keeps an event without a cursor until a packet id is free. */
static void defer(struct mqtt_session *ms, const struct event *event) {
    uint64_t max = ms->conn.table->settings->send_queue_bytes_max / 2;
    struct mqtt_deferred *deferred = NULL;
    if (ms->deferred_bytes + event->frame_bytes <= max) {
        deferred = mem_alloc(sizeof *deferred + event->frame_bytes);
    }
    if (deferred == NULL) {
        if (event->class == EVENT_RECEIPT) {
            connection_metrics_shed(SHED_RECEIPT);
        } else {
            connection_metrics_limit(LIMIT_HIT_SEND_QUEUE);
            conn_end(&ms->conn, REASON_SLOW_READER);
        }
        return;
    }
    *deferred = (struct mqtt_deferred){.frame_bytes = event->frame_bytes};
    memcpy(deferred->frame, event->frame, event->frame_bytes);
    list_push_back(&ms->deferred, &deferred->node);
    ms->deferred_bytes += (uint32_t)event->frame_bytes;
}

/* False: no packet id free. */
static bool publish_event(struct mqtt_session *ms, const struct event *event, enum feed feed,
                          uint8_t qos) {
    uint32_t ids[LIMIT_MQTT_SUBSCRIPTIONS];
    struct mqtt_publish publish;
    fill_publish(ms, &publish, slice_text(topics[feed]), qos,
                 slice_make(event->frame, event->frame_bytes), ids);
    publish.packet_id = qos > 0 ? 1 : 0; /* for the size */
    if (!fits_client(ms, &publish)) {
        skip(ms, event);
        return true;
    }
    size_t bytes = mqtt_publish_bytes(ms->version, &publish);
    if (!conn_may_queue(&ms->conn, priority_of(event), bytes)) {
        return true; /* shed, or the connection is ending */
    }
    bool has_cursor = event->class == EVENT_MESSAGE;
    if (qos > 0) {
        enum err error = mqtt_inflight_add(&ms->inflight, has_cursor ? event->conversation : NULL,
                                           has_cursor ? event->seq : 0, &publish.packet_id);
        if (error == ERR_FULL) {
            return false;
        }
        if (error != ERR_OK) {
            connection_metrics_limit(LIMIT_HIT_MEMORY);
            conn_end(&ms->conn, REASON_OVERLOAD);
            return true;
        }
    }
    append_publish(ms, &publish);
    if (qos == 0 && has_cursor) {
        skip(ms, event); /* written is delivered */
    }
    return true;
}

void mqtt_on_event(struct session *session, const struct event *event) {
    struct mqtt_session *ms = mqtt_of_session(session);
    if (ms->conn.state != CONN_LIVE) {
        return;
    }
    enum feed feed = feed_of(event);
    uint8_t qos = qos_of(ms, feed);
    if (qos == MQTT_QOS_NONE) {
        skip(ms, event);
        return;
    }
    bool stored = event->class == EVENT_MESSAGE;
    if (stored || qos == 0 || list_first(&ms->deferred) == NULL) {
        if (publish_event(ms, event, feed, qos)) {
            return;
        }
    }
    if (stored) {
        conn_end(&ms->conn, REASON_SLOW_READER); /* nothing is lost: it comes back at its cursor */
    } else {
        defer(ms, event);
    }
}

void mqtt_send_response(struct mqtt_session *ms, const struct mqtt_response *response,
                        struct slice payload) {
    uint32_t ids[LIMIT_MQTT_SUBSCRIPTIONS];
    struct mqtt_publish publish;
    uint8_t qos = mqtt_subscribed_qos(ms, response->topic);
    if (qos == MQTT_QOS_NONE || ms->conn.state != CONN_LIVE) {
        return;
    }
    fill_publish(ms, &publish, response->topic, qos, payload, ids);
    if (response->correlation.count > 0) {
        publish.properties.present |= MQTT_HAS_CORRELATION_DATA;
        publish.properties.correlation_data = response->correlation;
    }
    if (qos > 0 && mqtt_inflight_add(&ms->inflight, NULL, 0, &publish.packet_id) != ERR_OK) {
        publish.qos = 0; /* the acknowledgement says the same: better unsure than late */
    }
    if (fits_client(ms, &publish) &&
        conn_may_queue(&ms->conn, CONN_MUST, mqtt_publish_bytes(ms->version, &publish))) {
        append_publish(ms, &publish);
    }
}

/* --- acknowledged, room again */

static void send_deferred(struct mqtt_session *ms) {
    struct list_node *node = list_first(&ms->deferred);
    while (node != NULL && conn_is_open(&ms->conn)) {
        struct mqtt_deferred *deferred = CONTAINER_OF(node, struct mqtt_deferred, node);
        struct event event = {.class = EVENT_CONVERSATION,
                              .frame = deferred->frame,
                              .frame_bytes = deferred->frame_bytes};
        uint8_t qos = ms->events_qos;
        if (qos != MQTT_QOS_NONE && !publish_event(ms, &event, FEED_EVENTS, qos)) {
            return;
        }
        list_remove(&ms->deferred, node);
        ms->deferred_bytes -= (uint32_t)deferred->frame_bytes;
        mem_free(deferred);
        node = list_first(&ms->deferred);
    }
}

void mqtt_forget_deferred(struct mqtt_session *ms) {
    struct list_node *node = list_pop_front(&ms->deferred);
    while (node != NULL) {
        mem_free(CONTAINER_OF(node, struct mqtt_deferred, node));
        node = list_pop_front(&ms->deferred);
    }
    ms->deferred_bytes = 0;
}

void mqtt_room(struct mqtt_session *ms) {
    if (ms->conn.state != CONN_LIVE) {
        return;
    }
    send_deferred(ms);
    if (ms->wants_room && ms->conn.state == CONN_LIVE) {
        ms->wants_room = false;
        session_writable(&ms->session);
    }
}

void mqtt_on_puback(struct mqtt_session *ms, uint16_t packet_id) {
    struct mqtt_delivered cursor;
    if (mqtt_inflight_ack(&ms->inflight, packet_id, &cursor)) {
        mark(ms, cursor.conversation, cursor.seq);
        mqtt_room(ms);
    }
}
