/* mqtt_session: the life of an MQTT connection: packets to their handlers, keep-alive, the end.
 *
 * What a server may say at the end differs: before CONNACK the CONNACK itself carries the reason;
 * MQTT 5 has DISCONNECT with a code and a sentence; a 3.1.1 client only sees the socket close, so
 * the reason is in our log. A session that ends without the client's DISCONNECT leaves its will
 * behind (mqtt_will.c), for which the object may outlive its socket as a ghost.
 *
 * Reading pauses while as many of the client's messages are on their way to the disk as may be: a
 * publisher that is faster than the disk is slowed down by TCP, not refused. */
#include "services/connection/mqtt_session.h"

#include "common/log.h"
#include "common/mem.h"
#include "services/connection/goodbye.h"
#include "services/connection/mqtt_private.h"

#include <string.h>

static void on_start(struct conn *conn) {
    struct mqtt_session *ms = mqtt_of(conn);
    struct conn_table *table = conn->table;
    list_init(&ms->subscriptions);
    list_init(&ms->publishings);
    list_init(&ms->deferred);
    ms->inbox_qos = ms->events_qos = ms->ctl_qos = MQTT_QOS_NONE;
    ms->maximum_packet_bytes = UINT32_MAX;
    rate_init(&ms->rate, (uint32_t)table->settings->messages_burst, conn->opened_us);
    if (table->flights.object_bytes == 0) {
        uint64_t connections = table->limits->connections_max + LIMITS_REFUSALS_MAX;
        conn_pool_init(&table->flights, sizeof(struct mqtt_flight),
                       connections * 2 * MQTT_INFLIGHT_WINDOW_MAX);
        conn_pool_init(&table->publishings, sizeof(struct mqtt_publishing),
                       connections * (table->settings->inflight_per_session_max + 1));
    }
    mqtt_inflight_init(&ms->inflight, &table->flights, UINT16_MAX);
}

/* --- packets out */

const struct mqtt_properties *mqtt_reason_properties(const struct mqtt_session *ms,
                                                     enum reason reason,
                                                     struct mqtt_properties *properties) {
    if (!mqtt_is_v5(ms) || !ms->request_problem || reason == REASON_OK) {
        return NULL;
    }
    mqtt_properties_init(properties);
    properties->present = MQTT_HAS_REASON_STRING;
    properties->reason_string = slice_text(reason_text(reason));
    return properties;
}

void mqtt_send_ack(struct mqtt_session *ms, enum mqtt_type type, uint16_t packet_id, uint8_t code,
                   const struct mqtt_properties *properties) {
    struct conn *conn = &ms->conn;
    if (!conn_is_open(conn) || !conn_may_queue(conn, CONN_MUST, MQTT_REASON_STRING_BYTES)) {
        return;
    }
    if (ms->maximum_packet_bytes < MQTT_REASON_STRING_BYTES) {
        properties = NULL; /* [MQTT-3.4.2-2], [MQTT-3.4.2-3] and the like */
    }
    conn_wrote(conn,
               mqtt_encode_ack(conn_out(conn), ms->version, type, packet_id, code, properties));
}

static void send_pingresp(struct mqtt_session *ms) {
    if (conn_may_queue(&ms->conn, CONN_MUST, 2)) {
        conn_wrote(&ms->conn, mqtt_encode_pingresp(conn_out(&ms->conn)));
    }
}

static size_t unit_bytes(const uint8_t *bytes, size_t count) {
    size_t remaining = 0;
    size_t at = 1;
    uint8_t byte = 0x80;
    while ((byte & 0x80) != 0) {
        CONTRACT(at < count && at < 5);
        byte = bytes[at];
        remaining |= (size_t)(byte & 0x7F) << 7 * (at - 1);
        at++;
    }
    return at + remaining;
}

/* --- packets in */

/* DISCONNECT: code 0x04 asks for the will all the same. [MQTT-3.14.4-3] */
static void on_disconnect(struct mqtt_session *ms, const struct mqtt_ack *disconnect) {
    bool new_expiry = (disconnect->properties.present & MQTT_HAS_SESSION_EXPIRY) != 0;
    if (mqtt_is_v5(ms) && new_expiry && ms->session_expiry_s == 0 &&
        disconnect->properties.session_expiry_s != 0) {
        conn_end(&ms->conn, REASON_PROTOCOL_ERROR); /* section 3.14.2.2.2 */
        return;
    }
    if (disconnect->code == 0) {
        mqtt_will_forget(ms);
    }
    ms->disconnected = true;
    ms->conn.close_when_flushed = true; /* acknowledgements of this turn still leave */
    conn_end(&ms->conn, REASON_OK);
}

/* False: the packet has to wait. */
static bool on_packet(struct mqtt_session *ms, const struct mqtt_packet *packet) {
    connection_metrics_mqtt(packet->type);
    if (ms->connect_seen == (packet->type == MQTT_CONNECT)) {
        conn_end(&ms->conn, REASON_PROTOCOL_ERROR); /* [MQTT-3.1.0-1] [MQTT-3.1.0-2] */
        return true;
    }
    switch (packet->type) {
    case MQTT_CONNECT:
        mqtt_on_connect(ms, &packet->connect);
        return true;
    case MQTT_PUBLISH:
        return mqtt_on_publish(ms, &packet->publish);
    case MQTT_PUBACK:
        mqtt_on_puback(ms, packet->ack.packet_id);
        return true;
    case MQTT_PUBREL:
        mqtt_on_pubrel(ms, packet->ack.packet_id);
        return true;
    case MQTT_SUBSCRIBE:
        mqtt_on_subscribe(ms, packet);
        return true;
    case MQTT_UNSUBSCRIBE:
        mqtt_on_unsubscribe(ms, packet);
        return true;
    case MQTT_PINGREQ:
        send_pingresp(ms);
        return true;
    case MQTT_DISCONNECT:
        on_disconnect(ms, &packet->ack);
        return true;
    case MQTT_PUBREC: /* we never send QoS 2 */
    case MQTT_PUBCOMP:
    case MQTT_AUTH: /* enhanced authentication was not agreed on */
    case MQTT_CONNACK:
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
    case MQTT_PINGRESP:
        conn_end(&ms->conn, REASON_PROTOCOL_ERROR);
        return true;
    }
    return true;
}

static void mind_rate(struct mqtt_session *ms) {
    const struct connection_settings *settings = mqtt_settings(ms);
    uint64_t now_us = conn_now_us(&ms->conn);
    uint64_t wait_us = rate_take(&ms->rate, (uint32_t)settings->messages_per_second * 4,
                                 (uint32_t)settings->messages_burst, now_us);
    if (wait_us > 0 && conn_is_open(&ms->conn) && !ms->conn.paused) {
        connection_metrics_limit(LIMIT_HIT_RATE);
        conn_pause_until(&ms->conn, now_us + wait_us);
    }
}

static bool must_wait(struct mqtt_session *ms) {
    if (ms->conn.state == CONN_LIVE &&
        (ms->conn.leaving ||
         ms->publishings.count >= mqtt_settings(ms)->inflight_per_session_max)) {
        connection_metrics_limit(LIMIT_HIT_INFLIGHT);
        ms->waits_for_answers = true;
        conn_pause(&ms->conn);
        return true;
    }
    return false;
}

static size_t on_input(struct conn *conn, uint8_t *bytes, size_t count) {
    struct mqtt_session *ms = mqtt_of(conn);
    size_t used = 0;
    while (used < count && !conn->paused && conn_is_open(conn) && !must_wait(ms)) {
        struct mqtt_packet packet;
        size_t packet_bytes = 0;
        enum reason reason = REASON_MALFORMED;
        size_t max = ms->connected ? mqtt_settings(ms)->mqtt_packet_bytes_max
                                   : LIMIT_MQTT_LOGIN_PACKET_BYTES;
        enum mqtt_version version = ms->version != 0 ? ms->version : MQTT_V3;
        enum err error =
            mqtt_decode(bytes + used, count - used, version, max, &packet, &packet_bytes, &reason);
        if (error == ERR_MORE) {
            break;
        }
        if (error != ERR_OK) {
            if (!ms->connect_seen) {
                mqtt_on_bad_connect(ms, bytes + used, count - used);
            }
            conn_end(conn, reason);
            break;
        }
        if (!on_packet(ms, &packet)) {
            break;
        }
        used += packet_bytes;
        mind_rate(ms);
    }
    return conn_is_open(conn) ? used : count; /* what a closing client says is thrown away */
}

/* --- the end */

static void detach(struct mqtt_session *ms) {
    if (ms->attached) {
        ms->attached = false;
        session_close(&ms->session);
    }
    mqtt_forget_publishings(ms);
}

/* For all versions: who listens on the control topic. */
static enum err append_bye(struct mqtt_session *ms, enum reason reason) {
    struct buf *scratch = &ms->conn.table->scratch;
    if (ms->ctl_qos == MQTT_QOS_NONE) {
        return ERR_OK;
    }
    enum err error = goodbye_encode(ms->conn.table, reason);
    if (error != ERR_OK) {
        return error;
    }
    struct mqtt_publish publish = {.topic = slice_text(MQTT_TOPIC_CTL),
                                   .payload = slice_make(buf_data(scratch), buf_len(scratch))};
    mqtt_properties_init(&publish.properties);
    return mqtt_publish_bytes(ms->version, &publish) <= ms->maximum_packet_bytes
               ? mqtt_encode_publish(conn_out(&ms->conn), ms->version, &publish)
               : ERR_OK;
}

static enum err append_disconnect(struct mqtt_session *ms, enum reason reason) {
    struct mqtt_properties properties;
    return mqtt_encode_disconnect(conn_out(&ms->conn), reason_mqtt5(reason, REASON_IN_DISCONNECT),
                                  mqtt_reason_properties(ms, reason, &properties));
}

static void on_end(struct conn *conn, enum reason reason) {
    struct mqtt_session *ms = mqtt_of(conn);
    static struct log_limit limit;
    if (reason != REASON_OK && ms->connected && !mqtt_is_v5(ms) && log_allowed(&limit, 10)) {
        log_event(LOG_INFO, "MQTT 3.1.1 connection closed; the protocol cannot tell the client why",
                  F_TEXT("client_id", ms->client_id), F_TEXT("reason", reason_code(reason)));
    }
    if (!mqtt_will_trigger(ms, reason)) {
        detach(ms);
    }
    enum err error = ERR_OK;
    if (ms->disconnected) {
        return; /* the client wants to hear nothing more */
    }
    if (!ms->connected) {
        error = mqtt_append_refusal(ms, reason);
    } else {
        if (reason == REASON_SLOW_READER) {
            conn_drop_queued(conn);
        }
        error = append_bye(ms, reason);
    }
    if (error == ERR_OK && ms->connected && mqtt_is_v5(ms)) {
        error = append_disconnect(ms, reason);
    }
    (void)error; /* without memory for a goodbye the socket just closes */
}

static bool on_closed(struct conn *conn, bool graceful) {
    struct mqtt_session *ms = mqtt_of(conn);
    bool will = graceful ? ms->will != NULL : mqtt_will_trigger(ms, REASON_OK);
    mqtt_forget_subscriptions(ms);
    mqtt_forget_deferred(ms);
    mqtt_inflight_finish(&ms->inflight);
    for (size_t i = 0; ms->aliases != NULL && i < LIMIT_MQTT_TOPIC_ALIASES; i++) {
        mem_free((void *)(uintptr_t)ms->aliases[i].bytes);
    }
    mem_free(ms->aliases);
    ms->aliases = NULL;
    mem_free(ms->released);
    ms->released = NULL;
    if (will && ms->attached) {
        conn_check_by(conn, conn_now_us(conn));
        return true;
    }
    mqtt_will_forget(ms);
    detach(ms);
    return false;
}

static void on_abandon(struct conn *conn) {
    struct mqtt_session *ms = mqtt_of(conn);
    mqtt_will_forget(ms);
    detach(ms);
}

/* The hub ends the session: taken over, token expired or revoked, account disabled. */
static void on_session_end(struct session *session, enum reason reason) {
    struct mqtt_session *ms = mqtt_of_session(session);
    if (conn_is_open(&ms->conn)) {
        conn_end(&ms->conn, reason);
    }
    mqtt_will_forget(ms); /* sent just now, or its user may not speak any more */
    detach(ms);
    conn_release(&ms->conn); /* when it was a ghost */
}

/* --- times */

static uint64_t on_check(struct conn *conn, uint64_t now_us) {
    struct mqtt_session *ms = mqtt_of(conn);
    uint64_t due_us = mqtt_retry(ms, now_us);
    if (conn->state == CONN_GHOST) {
        uint64_t will_us = mqtt_will_check(ms, now_us);
        if (ms->will == NULL) {
            detach(ms);
            conn_release(conn);
            return UINT64_MAX;
        }
        return will_us < due_us ? will_us : due_us;
    }
    if (!conn_is_open(conn) || ms->keep_alive_s == 0) {
        return due_us;
    }
    uint64_t silent_us = (uint64_t)ms->keep_alive_s * 1500000u; /* [MQTT-3.1.2-22] */
    uint64_t idle_us = (conn->paused ? now_us : conn->heard_us) + silent_us;
    if (now_us >= idle_us) {
        conn_end(conn, REASON_IDLE_TIMEOUT);
        return UINT64_MAX;
    }
    return idle_us < due_us ? idle_us : due_us;
}

static void on_room(struct conn *conn) {
    mqtt_room(mqtt_of(conn));
}

static bool is_busy(const struct conn *conn) {
    return CONTAINER_OF(conn, struct mqtt_session, conn)->session.unanswered > 0;
}

const struct conn_protocol mqtt_protocol = {.kind = CONN_MQTT,
                                            .name = "mqtt",
                                            .object_bytes = sizeof(struct mqtt_session),
                                            .on_start = on_start,
                                            .on_input = on_input,
                                            .on_room = on_room,
                                            .on_end = on_end,
                                            .on_closed = on_closed,
                                            .on_abandon = on_abandon,
                                            .on_check = on_check,
                                            .unit_bytes = unit_bytes,
                                            .is_busy = is_busy};

/* MQTT has no history pages and no presence query. */
static void on_page(struct session *session, uint64_t request, const struct session_page *page) {
    (void)session;
    (void)request;
    (void)page;
    contract_failed("no history was asked for", __FILE__, __LINE__);
}
static void on_online(struct session *session, uint64_t request, enum reason reason,
                      const char *conversation, const char *const *users, size_t count) {
    (void)session;
    (void)request;
    (void)reason;
    (void)conversation;
    (void)users;
    (void)count;
    contract_failed("no presence was asked for", __FILE__, __LINE__);
}

const struct session_ops mqtt_session_ops = {.protocol = "mqtt",
                                             .on_opened = mqtt_on_opened,
                                             .on_result = mqtt_on_result,
                                             .on_page = on_page,
                                             .on_online = on_online,
                                             .on_event = mqtt_on_event,
                                             .can_take = mqtt_can_take,
                                             .on_end = on_session_end};
