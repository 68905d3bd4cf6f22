/* mqtt_publish: PUBLISH and PUBREL from a client.
 *
 * Each PUBLISH becomes an entry of mqtt_publishing.c, also one that is refused at once, so that
 * answers keep their order. A packet that comes again while its answer is due (DUP=1) is the same
 * one and is not submitted twice; a QoS 2 packet that comes again before its PUBREL gets its PUBREC
 * again. A packet that the session cannot take now is left in the buffer and read again later. */
#include "services/connection/mqtt_private.h"

#include "common/mem.h"

#include <string.h>

#define PAUSE_US 10000u /* the session is full although we wait for nothing */
#define BUSY_MS 5u      /* about one round trip to routing and the disk */

/* --- topic aliases (MQTT 5 section 3.3.2.3.4) */

static bool remember_alias(struct mqtt_session *ms, uint16_t alias, struct slice topic) {
    if (ms->aliases == NULL) {
        ms->aliases = mem_zalloc(LIMIT_MQTT_TOPIC_ALIASES, sizeof ms->aliases[0]);
    }
    uint8_t *copy = ms->aliases != NULL ? mem_alloc(topic.count) : NULL;
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, topic.bytes, topic.count);
    struct slice *slot = &ms->aliases[alias - 1];
    mem_free((void *)(uintptr_t)slot->bytes);
    *slot = slice_make(copy, topic.count);
    return true;
}

/* Fills in the topic that an alias stands for. */
static enum reason resolve_alias(struct mqtt_session *ms, struct mqtt_publish *publish) {
    if (!mqtt_is_v5(ms) || (publish->properties.present & MQTT_HAS_TOPIC_ALIAS) == 0) {
        return publish->topic.count > 0 ? REASON_OK : REASON_PROTOCOL_ERROR;
    }
    uint16_t alias = publish->properties.topic_alias;
    if (alias == 0 || alias > LIMIT_MQTT_TOPIC_ALIASES) {
        return REASON_TOPIC_ALIAS_INVALID;
    }
    if (publish->topic.count > 0) {
        return remember_alias(ms, alias, publish->topic) ? REASON_OK : REASON_OVERLOAD;
    }
    if (ms->aliases == NULL || ms->aliases[alias - 1].count == 0) {
        return REASON_TOPIC_ALIAS_INVALID;
    }
    publish->topic = ms->aliases[alias - 1];
    return REASON_OK;
}

/* --- QoS 2 */

static bool find_released(const struct mqtt_session *ms, uint16_t packet_id, size_t *index) {
    for (size_t i = 0; i < ms->released_count; i++) {
        if (ms->released[i] == packet_id) {
            *index = i;
            return true;
        }
    }
    return false;
}

void mqtt_on_pubrel(struct mqtt_session *ms, uint16_t packet_id) {
    size_t index = 0;
    uint8_t code = 0;
    if (find_released(ms, packet_id, &index)) {
        ms->released[index] = ms->released[--ms->released_count];
        if (ms->released_count == 0) {
            mem_free(ms->released);
            ms->released = NULL;
        }
    } else {
        code = mqtt_is_v5(ms) ? 0x92 : 0; /* Packet Identifier not found: a new connection */
    }
    mqtt_send_ack(ms, MQTT_PUBCOMP, packet_id, code, NULL);
}

/* --- PUBLISH */

/* QoS 1 and 2 packets without an answer. */
static size_t unanswered(const struct mqtt_session *ms) {
    size_t count = 0;
    for (struct list_node *node = list_first(&ms->publishings); node != NULL;
         node = list_next(&ms->publishings, node)) {
        count += CONTAINER_OF(node, struct mqtt_publishing, node)->qos > 0 ? 1 : 0;
    }
    return count;
}

enum verdict { NEW, SEEN, ENDED };

/* Is the packet a new message, one we know, or against the rules? */
static enum verdict judge(struct mqtt_session *ms, const struct mqtt_publish *publish) {
    size_t index = 0;
    if (publish->qos == 0) {
        return NEW;
    }
    if (publish->qos == 2 && find_released(ms, publish->packet_id, &index)) {
        mqtt_send_ack(ms, MQTT_PUBREC, publish->packet_id, 0, NULL);
        return SEEN;
    }
    if (mqtt_publishing_find(ms, publish->packet_id) != NULL) {
        if (publish->dup) {
            return SEEN; /* its answer is on the way */
        }
        conn_end(&ms->conn, REASON_PACKET_ID_IN_USE);
        return ENDED;
    }
    size_t open = ms->released_count + (mqtt_is_v5(ms) ? unanswered(ms) : 0);
    if (open >= LIMIT_MQTT_RECEIVE_MAXIMUM) {
        conn_end(&ms->conn, REASON_RECEIVE_MAXIMUM_EXCEEDED);
        return ENDED;
    }
    return NEW;
}

/* Where the client wants the answer, if that is one of its own topics. */
static struct mqtt_response *keep_response(const struct mqtt_session *ms,
                                           const struct mqtt_publish *publish) {
    static const char own[] = "pipit/me/";
    const struct mqtt_properties *properties = &publish->properties;
    struct slice topic = properties->response_topic;
    if (!mqtt_is_v5(ms) || (properties->present & MQTT_HAS_RESPONSE_TOPIC) == 0 ||
        topic.count < sizeof own || memcmp(topic.bytes, own, sizeof own - 1) != 0) {
        return NULL;
    }
    struct slice data = (properties->present & MQTT_HAS_CORRELATION_DATA) != 0
                            ? properties->correlation_data
                            : slice_make(NULL, 0);
    struct mqtt_response *response = mem_alloc(sizeof *response + topic.count + data.count);
    if (response == NULL) {
        return NULL; /* the acknowledgement tells the same */
    }
    memcpy(response->bytes, topic.bytes, topic.count);
    response->topic = slice_make(response->bytes, topic.count);
    if (data.count > 0) {
        memcpy(response->bytes + topic.count, data.bytes, data.count);
    }
    response->correlation = slice_make(response->bytes + topic.count, data.count);
    return response;
}

/* The session cannot take the message now: leave the packet where it is. */
static bool wait_for_room(struct mqtt_session *ms, struct mqtt_publishing *publishing,
                          uint32_t retry_ms) {
    mqtt_publishing_remove(ms, publishing);
    uint64_t now_us = conn_now_us(&ms->conn);
    if (retry_ms > 0) {
        connection_metrics_limit(LIMIT_HIT_RATE);
        conn_pause_until(&ms->conn, now_us + (uint64_t)retry_ms * 1000);
    } else if (ms->publishings.count > 0) {
        connection_metrics_limit(LIMIT_HIT_INFLIGHT);
        ms->waits_for_answers = true;
        conn_pause(&ms->conn);
    } else {
        connection_metrics_limit(LIMIT_HIT_INFLIGHT);
        conn_pause_until(&ms->conn, now_us + PAUSE_US);
    }
    return false;
}

static bool submit(struct mqtt_session *ms, struct mqtt_publishing *publishing,
                   const struct mqtt_message *message) {
    uint32_t retry_ms = 0;
    if (mqtt_publishing_waits(ms)) {
        return wait_for_room(ms, publishing, 0); /* behind the one that is tried again */
    }
    if (!mqtt_is_v5(ms) || message->qos == 0) {
        publishing->copy = mqtt_message_copy(message);
        if (publishing->copy == NULL) {
            connection_metrics_limit(LIMIT_HIT_MEMORY);
            return wait_for_room(ms, publishing, 100);
        }
    }
    enum err error = mqtt_publishing_submit(ms, publishing, message, &retry_ms);
    if (error == ERR_RATE_LIMITED || error == ERR_FULL) {
        return wait_for_room(ms, publishing,
                             error == ERR_RATE_LIMITED && retry_ms == 0 ? 1 : retry_ms);
    }
    if (error == ERR_UNAVAILABLE && hub_has_routing(ms->conn.table->hub)) {
        return wait_for_room(ms, publishing, BUSY_MS); /* its batches are full: for moments only */
    }
    if (error != ERR_OK && publishing->copy != NULL && err_retryable(error)) {
        publishing->again = true;
        publishing->retry_us = conn_now_us(&ms->conn) + 1; /* at the next look */
        conn_check_by(&ms->conn, publishing->retry_us);
    } else if (error != ERR_OK) {
        mqtt_publishing_fail(ms, publishing, reason_from_err(error), retry_ms);
    }
    return true;
}

bool mqtt_on_publish(struct mqtt_session *ms, const struct mqtt_publish *packet) {
    struct mqtt_publish publish = *packet;
    enum reason reason = resolve_alias(ms, &publish);
    if (reason == REASON_OK && publish.retain && mqtt_is_v5(ms)) {
        reason = REASON_RETAIN_NOT_SUPPORTED; /* told in CONNACK; [MQTT-3.2.2-14] */
    }
    if (reason != REASON_OK) {
        conn_end(&ms->conn, reason);
        return true;
    }
    if (judge(ms, &publish) != NEW) {
        return true;
    }
    struct mqtt_publishing *publishing = mqtt_publishing_add(ms, publish.qos, publish.packet_id);
    if (publishing == NULL) {
        conn_end(&ms->conn, REASON_OVERLOAD);
        return true;
    }
    struct mqtt_message message;
    publishing->response = keep_response(ms, &publish);
    reason = mqtt_message_read(mqtt_settings(ms), &publish, &ms->conn.table->scratch2, &message);
    if (reason != REASON_OK) {
        mqtt_publishing_fail(ms, publishing, reason, 0);
        return true;
    }
    return submit(ms, publishing, &message);
}
