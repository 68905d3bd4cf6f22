/* mqtt_connect: CONNECT, who is it, and CONNACK.
 *
 * The user name is a user's name or id and the password an access token of that user, checked here
 * without asking anybody. The client id names the device within the account: a second connection
 * with the same one takes over, and only the same user's can. A session that is not clean goes on
 * from the device's delivered cursors, which storage keeps; so "session present" needs no state
 * here.
 *
 * What the client may do is told in CONNACK (MQTT 5): receive maximum, packet size, aliases,
 * keep-alive, how long its session is kept, that nothing is retained. A refusal carries the code of
 * the reason table and, for MQTT 5, its sentence. */
#include "services/connection/mqtt_private.h"

#include "common/id.h"
#include "proto/names.h"

#include <string.h>

void mqtt_on_bad_connect(struct mqtt_session *ms, const uint8_t *bytes, size_t count) {
    size_t at = 1;
    while (at < count && at < 5 && (bytes[at] & 0x80) != 0) {
        at++; /* remaining length */
    }
    at++;
    if (count < at + 7 || bytes[0] != 0x10 || memcmp(bytes + at, "\0\4MQTT", 6) != 0) {
        return;
    }
    ms->connect_seen = true;
    ms->request_problem = true;
    ms->version = bytes[at + 6] == MQTT_V5 ? MQTT_V5 : MQTT_V3;
}

/* May a CONNACK with this reason be sent? 3.1.1 has codes for a few and wants the others closed
 * without one (v3 [MQTT-3.1.4-1]); a client that did not even send a CONNECT is told of its version
 * alone. */
enum err mqtt_append_refusal(struct mqtt_session *ms, enum reason reason) {
    bool v5 = mqtt_is_v5(ms);
    uint8_t code = v5 ? reason_mqtt5(reason, REASON_IN_CONNACK) : reason_mqtt3_connack(reason);
    bool malformed = reason == REASON_MALFORMED || reason == REASON_PROTOCOL_ERROR ||
                     reason == REASON_BAD_UTF8 || reason == REASON_TOO_LARGE;
    bool told = ms->connect_seen ? v5 || !malformed : reason == REASON_PROTOCOL_TOO_OLD;
    if (!told) {
        return ERR_OK;
    }
    struct mqtt_properties properties;
    return mqtt_encode_connack(conn_out(&ms->conn), v5 ? MQTT_V5 : MQTT_V3, false, code,
                               mqtt_reason_properties(ms, reason, &properties));
}

/* --- CONNECT */

static void take_properties(struct mqtt_session *ms, const struct mqtt_connect *connect) {
    const struct mqtt_properties *properties = &connect->properties;
    uint64_t expiry_max_s = mqtt_settings(ms)->mqtt_session_expiry_max_us / 1000000u;
    ms->version = (uint8_t)connect->version;
    ms->clean = connect->clean_start;
    ms->keep_alive_s = connect->keep_alive_s;
    ms->request_problem = true;
    if (connect->version != MQTT_V5) {
        return;
    }
    ms->request_problem = properties->request_problem;
    ms->request_response = properties->request_response;
    if ((properties->present & MQTT_HAS_SESSION_EXPIRY) != 0) {
        ms->session_expiry_s = properties->session_expiry_s;
        if (ms->session_expiry_s > expiry_max_s) {
            ms->session_expiry_s = (uint32_t)expiry_max_s;
            ms->expiry_capped = true;
        }
    }
    if ((properties->present & MQTT_HAS_MAXIMUM_PACKET_BYTES) != 0) {
        ms->maximum_packet_bytes = properties->maximum_packet_bytes;
    }
    if ((properties->present & MQTT_HAS_RECEIVE_MAXIMUM) != 0) {
        mqtt_inflight_init(&ms->inflight, &ms->conn.table->flights, properties->receive_maximum);
    }
    if (ms->keep_alive_s == 0 || ms->keep_alive_s > LIMIT_MQTT_KEEP_ALIVE_MAX_S) {
        ms->told_keep_alive_s = LIMIT_MQTT_KEEP_ALIVE_MAX_S;
    } else if (ms->keep_alive_s < LIMIT_MQTT_KEEP_ALIVE_MIN_S) {
        ms->told_keep_alive_s = LIMIT_MQTT_KEEP_ALIVE_MIN_S;
    }
    if (ms->told_keep_alive_s != 0) {
        ms->keep_alive_s = ms->told_keep_alive_s;
    }
}

static enum reason take_client_id(struct mqtt_session *ms, const struct mqtt_connect *connect) {
    struct slice id = connect->client_id;
    if (id.count == 0) {
        if (connect->version == MQTT_V3 && !connect->clean_start) {
            return REASON_CLIENT_ID_INVALID; /* v3 [MQTT-3.1.3-8] */
        }
        id_random_text("auto-", ms->client_id, sizeof ms->client_id);
        ms->assigned_id = true;
        return REASON_OK;
    }
    if (!names_label_valid((const char *)id.bytes, id.count, LIMIT_MQTT_CLIENT_ID_BYTES)) {
        return REASON_CLIENT_ID_INVALID;
    }
    memcpy(ms->client_id, id.bytes, id.count);
    ms->client_id[id.count] = '\0';
    return REASON_OK;
}

static enum reason check_login(const struct mqtt_session *ms, const struct mqtt_connect *connect,
                               struct token_claims *claims) {
    char user[LIMIT_USER_ID_BYTES + 1];
    if (connect->version == MQTT_V5 && (connect->properties.present & MQTT_HAS_AUTH_METHOD) != 0) {
        return REASON_BAD_AUTH_METHOD;
    }
    if (!connect->has_user_name || !connect->has_password) {
        return REASON_NOT_AUTHENTICATED;
    }
    if (names_user_id_accept((const char *)connect->user_name.bytes, connect->user_name.count,
                             user) != ERR_OK ||
        connect->password.count == 0) {
        return REASON_BAD_TOKEN;
    }
    enum reason reason = hub_check_token(ms->conn.table->hub, (const char *)connect->password.bytes,
                                         connect->password.count, claims);
    if (reason == REASON_OK && strcmp(user, claims->user) != 0) {
        reason = REASON_BAD_TOKEN;
    }
    return reason;
}

static enum reason open_session(struct mqtt_session *ms, const struct token_claims *claims) {
    char device[sizeof ms->session.device] = "m:";
    memcpy(device + 2, ms->client_id, strlen(ms->client_id) + 1);
    struct session_open open = {.claims = claims,
                                .device = device,
                                .exclusive = true,
                                .wants_backlog = true,
                                .new_backlog = ms->clean};
    ms->attached = true;
    conn_pause(&ms->conn); /* what follows CONNECT needs the session */
    enum err error = session_open(ms->conn.table->hub, &ms->session, &mqtt_session_ops, &open);
    if (error == ERR_OK) {
        return REASON_OK;
    }
    ms->attached = false;
    return error == ERR_FULL ? REASON_TOO_MANY_SESSIONS : reason_from_err(error);
}

void mqtt_on_connect(struct mqtt_session *ms, const struct mqtt_connect *connect) {
    struct token_claims claims;
    ms->connect_seen = true;
    take_properties(ms, connect);
    enum reason reason = ms->conn.refusal;
    if (reason == REASON_OK) {
        conn_move(&ms->conn, CONN_LOGIN);
        reason = take_client_id(ms, connect);
    }
    if (reason == REASON_OK) {
        reason = check_login(ms, connect, &claims);
    }
    if (reason == REASON_OK) {
        reason = mqtt_will_keep(ms, connect);
    }
    if (reason == REASON_OK) {
        reason = open_session(ms, &claims);
    }
    if (reason != REASON_OK) {
        conn_end(&ms->conn, reason);
    }
}

/* --- CONNACK */

static enum err append_connack(struct mqtt_session *ms) {
    struct mqtt_properties properties;
    mqtt_properties_init(&properties);
    properties.present = MQTT_HAS_RECEIVE_MAXIMUM | MQTT_HAS_RETAIN_AVAILABLE |
                         MQTT_HAS_MAXIMUM_PACKET_BYTES | MQTT_HAS_TOPIC_ALIAS_MAXIMUM |
                         MQTT_HAS_SHARED_AVAILABLE;
    properties.receive_maximum = LIMIT_MQTT_RECEIVE_MAXIMUM;
    properties.retain_available = false;
    properties.maximum_packet_bytes = (uint32_t)mqtt_settings(ms)->mqtt_packet_bytes_max;
    properties.topic_alias_maximum = LIMIT_MQTT_TOPIC_ALIASES;
    properties.shared_available = false;
    if (ms->expiry_capped) {
        properties.present |= MQTT_HAS_SESSION_EXPIRY;
        properties.session_expiry_s = ms->session_expiry_s;
    }
    if (ms->assigned_id) {
        properties.present |= MQTT_HAS_ASSIGNED_CLIENT_ID;
        properties.assigned_client_id = slice_text(ms->client_id);
    }
    if (ms->told_keep_alive_s != 0) {
        properties.present |= MQTT_HAS_SERVER_KEEP_ALIVE;
        properties.server_keep_alive_s = ms->told_keep_alive_s;
    }
    if (ms->request_response) {
        properties.present |= MQTT_HAS_RESPONSE_INFORMATION;
        properties.response_information = slice_text("pipit/me/");
    }
    bool present = !ms->clean && ms->session.resumed;
    return mqtt_encode_connack(conn_out(&ms->conn), ms->version, present, 0, &properties);
}

void mqtt_on_opened(struct session *session, enum reason reason) {
    struct mqtt_session *ms = mqtt_of_session(session);
    if (!conn_is_open(&ms->conn)) {
        return;
    }
    if (reason != REASON_OK) {
        ms->attached = false;
        conn_end(&ms->conn, reason);
        return;
    }
    ms->connected = true;
    conn_wrote(&ms->conn, append_connack(ms));
    if (conn_is_open(&ms->conn)) {
        conn_move(&ms->conn, CONN_LIVE);
        if (!ms->clean && ms->session.resumed) {
            mqtt_resume_subscription(ms);
        }
    }
    if (conn_is_open(&ms->conn)) {
        conn_resume(&ms->conn);
    }
}
