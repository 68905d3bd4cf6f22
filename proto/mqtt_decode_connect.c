/* CONNECT, the one packet that strangers may send (5.0 section 3.1; 3.1.1 section 3.1).
 *
 * Protocol name and level come first and decide how the rest is read and in which dialect a refusal
 * is worded, so packet->version is set as soon as it is known and stays set on failure. Flags that
 * contradict each other are malformed. The client id becomes part of a session's key and appears in
 * logs, so it is bounded and free of control characters. */
#include "proto/mqtt_wire.h"

#include "proto/mqtt_topic.h"

enum {
    FLAG_RESERVED = 0x01,
    FLAG_CLEAN = 0x02,
    FLAG_WILL = 0x04,
    FLAG_WILL_QOS = 0x18,
    FLAG_WILL_RETAIN = 0x20,
    FLAG_PASSWORD = 0x40,
    FLAG_USER_NAME = 0x80
};

/* Sets packet->version as soon as a refusal could be worded. */
static enum reason take_protocol(struct mqtt_cursor *cursor, struct mqtt_packet *packet) {
    struct slice name;
    uint8_t level;
    enum reason reason = mqtt_take_string(cursor, &name);
    if (reason != REASON_OK) {
        return reason;
    }
    if (mqtt_take_u8(cursor, &level) != REASON_OK) {
        return REASON_MALFORMED;
    }
    if (slice_is(name, "MQIsdp")) { /* MQTT 3.1 */
        packet->version = MQTT_V3;
        return REASON_PROTOCOL_TOO_OLD;
    }
    if (!slice_is(name, "MQTT")) {
        return REASON_MALFORMED; /* [MQTT-3.1.2-1] */
    }
    packet->version = level < MQTT_V5 ? MQTT_V3 : MQTT_V5;
    packet->connect.version = packet->version;
    return level == MQTT_V3 || level == MQTT_V5 ? REASON_OK
                                                : REASON_PROTOCOL_TOO_OLD; /* [MQTT-3.1.2-2] */
}

static enum reason take_flags(struct mqtt_cursor *cursor, struct mqtt_connect *connect) {
    uint8_t flags;
    if (mqtt_take_u8(cursor, &flags) != REASON_OK || (flags & FLAG_RESERVED) != 0) {
        return REASON_MALFORMED; /* [MQTT-3.1.2-3] */
    }
    connect->clean_start = (flags & FLAG_CLEAN) != 0;
    connect->has_will = (flags & FLAG_WILL) != 0;
    connect->will.qos = (uint8_t)((flags & FLAG_WILL_QOS) >> 3);
    connect->will.retain = (flags & FLAG_WILL_RETAIN) != 0;
    connect->has_user_name = (flags & FLAG_USER_NAME) != 0;
    connect->has_password = (flags & FLAG_PASSWORD) != 0;
    if (connect->will.qos > 2 || /* [MQTT-3.1.2-12] */
        (!connect->has_will && (connect->will.qos != 0 || connect->will.retain))) {
        return REASON_MALFORMED; /* [MQTT-3.1.2-11] [MQTT-3.1.2-13] */
    }
    if (connect->version == MQTT_V3 && connect->has_password && !connect->has_user_name) {
        return REASON_MALFORMED; /* v3 [MQTT-3.1.2-22] */
    }
    return REASON_OK;
}

static enum reason take_client_id(struct mqtt_cursor *cursor, struct mqtt_connect *connect) {
    enum reason reason = mqtt_take_string(cursor, &connect->client_id);
    if (reason != REASON_OK) {
        return reason;
    }
    const struct slice *id = &connect->client_id;
    if (id->count > LIMIT_MQTT_CLIENT_ID_BYTES) {
        return REASON_CLIENT_ID_INVALID;
    }
    for (size_t i = 0; i < id->count; i++) {
        if (id->bytes[i] < 0x20 || id->bytes[i] == 0x7F) {
            return REASON_CLIENT_ID_INVALID;
        }
    }
    if (id->count == 0 && connect->version == MQTT_V3 && !connect->clean_start) {
        return REASON_CLIENT_ID_INVALID; /* v3 [MQTT-3.1.3-8] */
    }
    return REASON_OK;
}

static enum reason take_will(struct mqtt_cursor *cursor, struct mqtt_connect *connect) {
    struct mqtt_will *will = &connect->will;
    enum reason reason = REASON_OK;
    if (connect->version == MQTT_V5) {
        reason = mqtt_take_properties(cursor, MQTT_IN_WILL, &will->properties);
    }
    if (reason == REASON_OK) {
        reason = mqtt_take_string(cursor, &will->topic);
    }
    if (reason == REASON_OK && !mqtt_topic_valid(will->topic)) {
        reason = REASON_TOPIC_INVALID;
    }
    return reason == REASON_OK ? mqtt_take_binary(cursor, &will->payload) : reason;
}

/* Payload: client id, will, user name, password, in this order [MQTT-3.1.3-1]. */
static enum reason take_payload(struct mqtt_cursor *cursor, struct mqtt_connect *connect) {
    enum reason reason = take_client_id(cursor, connect);
    if (reason == REASON_OK && connect->has_will) {
        reason = take_will(cursor, connect);
    }
    if (reason == REASON_OK && connect->has_user_name) {
        reason = mqtt_take_string(cursor, &connect->user_name);
    }
    if (reason == REASON_OK && connect->has_password) {
        reason = mqtt_take_binary(cursor, &connect->password);
    }
    return reason;
}

enum reason mqtt_decode_connect(struct mqtt_cursor *cursor, struct mqtt_packet *packet) {
    struct mqtt_connect *connect = &packet->connect;
    enum reason reason = take_protocol(cursor, packet);
    mqtt_properties_init(&connect->properties);
    mqtt_properties_init(&connect->will.properties);
    if (reason == REASON_OK) {
        reason = take_flags(cursor, connect);
    }
    if (reason == REASON_OK) {
        reason = mqtt_take_u16(cursor, &connect->keep_alive_s);
    }
    if (reason == REASON_OK && connect->version == MQTT_V5) {
        reason = mqtt_take_properties(cursor, MQTT_CONNECT, &connect->properties);
    }
    return reason == REASON_OK ? take_payload(cursor, connect) : reason;
}
