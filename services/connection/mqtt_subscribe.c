/* mqtt_subscribe: SUBSCRIBE and UNSUBSCRIBE.
 *
 * A client may subscribe to its own topics: pipit/me/inbox, /events and /ctl, by name or by a
 * wildcard that matches them, and to names below pipit/me/ that it uses as response topics.
 * Everything else is refused, filter by filter, with a code and (MQTT 5) a sentence; nothing is
 * accepted that would never deliver. QoS 2 is granted as 1. What the device missed is handed out
 * from the moment its inbox is subscribed to: a message before that would have nowhere to go.
 *
 * Filters are not stored. A session that is resumed is subscribed to its inbox at QoS 1, which is
 * what a session is kept for [MQTT-3.1.2-4]; a client that subscribes again replaces that. */
#include "services/connection/mqtt_private.h"

#include "common/mem.h"

#include <string.h>

static const char own_prefix[] = "pipit/me/";

static struct mqtt_subscription *subscription_of(struct list_node *node) {
    return node != NULL ? CONTAINER_OF(node, struct mqtt_subscription, node) : NULL;
}

static struct mqtt_subscription *first(const struct mqtt_session *ms) {
    return subscription_of(list_first(&ms->subscriptions));
}

static struct mqtt_subscription *after(const struct mqtt_session *ms,
                                       const struct mqtt_subscription *subscription) {
    return subscription_of(list_next(&ms->subscriptions, &subscription->node));
}

static struct slice filter_of(const struct mqtt_subscription *subscription) {
    return slice_make(subscription->filter, subscription->filter_bytes);
}

static struct mqtt_subscription *find(const struct mqtt_session *ms, struct slice filter) {
    struct mqtt_subscription *subscription = first(ms);
    while (subscription != NULL &&
           (subscription->filter_bytes != filter.count ||
            memcmp(subscription->filter, filter.bytes, filter.count) != 0)) {
        subscription = after(ms, subscription);
    }
    return subscription;
}

static void forget(struct mqtt_session *ms, struct mqtt_subscription *subscription) {
    list_remove(&ms->subscriptions, &subscription->node);
    mem_free(subscription);
}

void mqtt_forget_subscriptions(struct mqtt_session *ms) {
    struct mqtt_subscription *subscription = first(ms);
    while (subscription != NULL) {
        forget(ms, subscription);
        subscription = first(ms);
    }
}

/* --- what is subscribed */

uint8_t mqtt_subscribed_qos(const struct mqtt_session *ms, struct slice topic) {
    uint8_t qos = MQTT_QOS_NONE;
    for (struct mqtt_subscription *subscription = first(ms); subscription != NULL;
         subscription = after(ms, subscription)) {
        if ((qos == MQTT_QOS_NONE || subscription->qos > qos) &&
            mqtt_filter_matches(filter_of(subscription), topic)) {
            qos = subscription->qos;
        }
    }
    return qos;
}

size_t mqtt_subscription_ids(const struct mqtt_session *ms, struct slice topic, uint32_t *ids) {
    size_t count = 0;
    for (struct mqtt_subscription *subscription = first(ms); subscription != NULL;
         subscription = after(ms, subscription)) {
        if (subscription->id != 0 && mqtt_filter_matches(filter_of(subscription), topic)) {
            ids[count++] = subscription->id;
        }
    }
    return count;
}

static void update_feeds(struct mqtt_session *ms) {
    ms->inbox_qos = mqtt_subscribed_qos(ms, slice_text(MQTT_TOPIC_INBOX));
    ms->events_qos = mqtt_subscribed_qos(ms, slice_text(MQTT_TOPIC_EVENTS));
    ms->ctl_qos = mqtt_subscribed_qos(ms, slice_text(MQTT_TOPIC_CTL));
}

/* --- SUBSCRIBE */

static enum reason check_filter(const struct mqtt_session *ms, struct slice filter) {
    struct slice share;
    struct slice inner;
    if (mqtt_filter_shared(filter, &share, &inner)) {
        return REASON_SHARED_NOT_SUPPORTED;
    }
    bool own = filter.count >= sizeof own_prefix &&
               memcmp(filter.bytes, own_prefix, sizeof own_prefix - 1) == 0;
    if (mqtt_filter_feeds(filter) == 0 && !own) {
        return REASON_TOPIC_NOT_ALLOWED;
    }
    if (ms->subscriptions.count >= LIMIT_MQTT_SUBSCRIPTIONS && find(ms, filter) == NULL) {
        connection_metrics_limit(LIMIT_HIT_SUBSCRIPTIONS);
        return REASON_OVERLOAD;
    }
    return REASON_OK;
}

static enum reason subscribe(struct mqtt_session *ms, const struct mqtt_filter *filter,
                             uint32_t id) {
    enum reason reason = check_filter(ms, filter->filter);
    if (reason != REASON_OK) {
        return reason;
    }
    struct mqtt_subscription *subscription = find(ms, filter->filter);
    if (subscription == NULL) {
        subscription = mem_zalloc(1, sizeof *subscription + filter->filter.count);
        if (subscription == NULL) {
            connection_metrics_limit(LIMIT_HIT_MEMORY);
            return REASON_OVERLOAD;
        }
        subscription->filter_bytes = (uint16_t)filter->filter.count;
        memcpy(subscription->filter, filter->filter.bytes, filter->filter.count);
        subscription->feeds = (uint8_t)mqtt_filter_feeds(filter->filter);
        list_push_back(&ms->subscriptions, &subscription->node);
    }
    subscription->qos = filter->qos > 1 ? 1 : filter->qos;
    subscription->id = id;
    return REASON_OK;
}

void mqtt_resume_subscription(struct mqtt_session *ms) {
    const struct mqtt_filter inbox = {.filter = slice_text(MQTT_TOPIC_INBOX), .qos = 1};
    if (subscribe(ms, &inbox, 0) == REASON_OK) { /* else no memory: the client may subscribe */
        update_feeds(ms);
        mqtt_room(ms);
    }
}

void mqtt_on_subscribe(struct mqtt_session *ms, const struct mqtt_packet *packet) {
    const struct mqtt_subscribe *request = &packet->subscribe;
    uint8_t codes[LIMIT_MQTT_FILTERS];
    struct mqtt_filter filter;
    enum reason refusal = REASON_OK;
    size_t count = 0;
    size_t offset = 0;
    bool has_id = (request->properties.present & MQTT_HAS_SUBSCRIPTION_ID) != 0;
    while (count < LIMIT_MQTT_FILTERS && mqtt_filter_next(packet, &offset, &filter)) {
        enum reason reason =
            subscribe(ms, &filter, has_id ? request->properties.subscription_id : 0);
        if (reason != REASON_OK) {
            refusal = reason;
            connection_metrics_rejected(CONN_MQTT);
        }
        codes[count++] = reason == REASON_OK ? (filter.qos > 1 ? 1 : filter.qos)
                         : mqtt_is_v5(ms)    ? reason_mqtt5(reason, REASON_IN_SUBACK)
                                             : 0x80;
    }
    if (!conn_may_queue(&ms->conn, CONN_MUST, MQTT_REASON_STRING_BYTES + count)) {
        return;
    }
    struct mqtt_properties properties;
    conn_wrote(&ms->conn,
               mqtt_encode_suback(conn_out(&ms->conn), ms->version, request->packet_id, codes,
                                  count, mqtt_reason_properties(ms, refusal, &properties)));
    update_feeds(ms);
    if (conn_is_open(&ms->conn)) {
        mqtt_room(ms); /* the SUBACK is in front of what comes now */
    }
}

void mqtt_on_unsubscribe(struct mqtt_session *ms, const struct mqtt_packet *packet) {
    uint8_t codes[LIMIT_MQTT_FILTERS];
    struct mqtt_filter filter;
    size_t count = 0;
    size_t offset = 0;
    while (count < LIMIT_MQTT_FILTERS && mqtt_filter_next(packet, &offset, &filter)) {
        struct mqtt_subscription *subscription = find(ms, filter.filter);
        codes[count++] = subscription != NULL ? 0x00 : 0x11; /* No subscription existed */
        if (subscription != NULL) {
            forget(ms, subscription);
        }
    }
    update_feeds(ms);
    if (conn_may_queue(&ms->conn, CONN_MUST, MQTT_REASON_STRING_BYTES + count)) {
        conn_wrote(&ms->conn,
                   mqtt_encode_unsuback(conn_out(&ms->conn), ms->version,
                                        packet->subscribe.packet_id, codes, count, NULL));
    }
}
