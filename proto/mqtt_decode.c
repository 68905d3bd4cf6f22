/* MQTT packets from clients: the fixed header, and the bodies of all packets but CONNECT and
 * SUBSCRIBE.
 *
 * The first byte and the announced length are judged before the body has arrived, so a packet that
 * is too large or not allowed costs no buffer. A body is then read through a cursor that ends where
 * the packet ends; bytes left over are as wrong as bytes missing. The caller closes the connection
 * on any error: MQTT has no way to go on behind a malformed packet ([MQTT-4.8.0-1] of 3.1.1,
 * section 4.13 of 5.0). */
#include "proto/mqtt_wire.h"

#include "proto/mqtt_topic.h"

const char *mqtt_type_name(enum mqtt_type type) {
    static const char *const names[] = {"unknown",   "CONNECT",  "CONNACK",     "PUBLISH",
                                        "PUBACK",    "PUBREC",   "PUBREL",      "PUBCOMP",
                                        "SUBSCRIBE", "SUBACK",   "UNSUBSCRIBE", "UNSUBACK",
                                        "PINGREQ",   "PINGRESP", "DISCONNECT",  "AUTH"};
    return names[(unsigned)type < sizeof names / sizeof names[0] ? (unsigned)type : 0];
}

/* Flags in the first byte, which most types fix [MQTT-2.1.3-1]. */
static enum reason check_first_byte(uint8_t byte, enum mqtt_version version) {
    uint8_t flags = byte & 0x0F;
    switch (byte >> 4) {
    case MQTT_PUBLISH:
        if ((flags & 0x06) == 0x06) {
            return REASON_MALFORMED; /* QoS 3, [MQTT-3.3.1-4] */
        }
        return (flags & 0x0E) == 0x08 ? REASON_MALFORMED
                                      : REASON_OK; /* DUP, QoS 0 [MQTT-3.3.1-2] */
    case MQTT_PUBREL:
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return flags == 0x02 ? REASON_OK : REASON_MALFORMED;
    case MQTT_CONNECT:
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBCOMP:
    case MQTT_PINGREQ:
    case MQTT_DISCONNECT:
        return flags == 0 ? REASON_OK : REASON_MALFORMED;
    case MQTT_AUTH:
        if (version != MQTT_V5) {
            return REASON_PROTOCOL_ERROR; /* reserved in 3.1.1 */
        }
        return flags == 0 ? REASON_OK : REASON_MALFORMED;
    default: /* 0 is reserved; the others are the server's */
        return REASON_PROTOCOL_ERROR;
    }
}

static enum reason decode_publish(struct mqtt_cursor *cursor, uint8_t flags,
                                  struct mqtt_packet *packet) {
    struct mqtt_publish *publish = &packet->publish;
    publish->dup = (flags & 0x08) != 0;
    publish->qos = (flags >> 1) & 0x03;
    publish->retain = (flags & 0x01) != 0;
    enum reason reason = mqtt_take_string(cursor, &publish->topic);
    if (reason == REASON_OK && publish->qos > 0) {
        reason = mqtt_take_packet_id(cursor, &publish->packet_id);
    }
    if (reason == REASON_OK && packet->version == MQTT_V5) {
        reason = mqtt_take_properties(cursor, MQTT_PUBLISH, &publish->properties);
    }
    if (reason != REASON_OK) {
        return reason;
    }
    bool has_alias = (publish->properties.present & MQTT_HAS_TOPIC_ALIAS) != 0;
    if (has_alias && publish->properties.topic_alias > LIMIT_MQTT_TOPIC_ALIASES) {
        return REASON_TOPIC_ALIAS_INVALID; /* [MQTT-3.3.2-9] */
    }
    if (publish->topic.count == 0 && packet->version == MQTT_V5) {
        if (!has_alias) {
            return REASON_PROTOCOL_ERROR; /* section 3.3.2.1 */
        }
    } else if (!mqtt_topic_valid(publish->topic)) {
        return REASON_TOPIC_INVALID; /* [MQTT-3.3.2-2] */
    }
    publish->payload = slice_make(cursor->at, mqtt_left(cursor));
    cursor->at = cursor->end;
    return REASON_OK;
}

/* Which codes a client may put into which packet: 5.0
 * sections 3.4.2.1, 3.6.2.1, 3.14.2.1, 3.15.2.1. */
static bool code_allowed(enum mqtt_type type, uint8_t code) {
    static const uint8_t ack[] = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99};
    static const uint8_t release[] = {0x00, 0x92};
    static const uint8_t disconnect[] = {0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90,
                                         0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99};
    static const uint8_t auth[] = {0x18, 0x19};
    switch (type) {
    case MQTT_PUBACK:
    case MQTT_PUBREC:
        return memchr(ack, code, sizeof ack) != NULL;
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return memchr(release, code, sizeof release) != NULL;
    case MQTT_DISCONNECT:
        return memchr(disconnect, code, sizeof disconnect) != NULL;
    default:
        return memchr(auth, code, sizeof auth) != NULL;
    }
}

/* Reason code and properties at the end of a v5 packet; both may be left out. */
static enum reason decode_code(struct mqtt_cursor *cursor, enum mqtt_type type,
                               struct mqtt_ack *ack) {
    mqtt_properties_init(&ack->properties);
    if (mqtt_left(cursor) > 0) {
        if (mqtt_take_u8(cursor, &ack->code) != REASON_OK) {
            return REASON_MALFORMED;
        }
        if (!code_allowed(type, ack->code)) {
            return REASON_PROTOCOL_ERROR;
        }
    }
    return mqtt_left(cursor) > 0 ? mqtt_take_properties(cursor, type, &ack->properties) : REASON_OK;
}

static enum reason decode_ack(struct mqtt_cursor *cursor, struct mqtt_packet *packet) {
    enum reason reason = mqtt_take_packet_id(cursor, &packet->ack.packet_id);
    if (reason != REASON_OK || packet->version != MQTT_V5) {
        return reason;
    }
    return decode_code(cursor, packet->type, &packet->ack);
}

static enum reason decode_disconnect(struct mqtt_cursor *cursor, struct mqtt_packet *packet) {
    if (packet->version != MQTT_V5) {
        return REASON_OK;
    }
    enum reason reason = decode_code(cursor, MQTT_DISCONNECT, &packet->ack);
    if (reason == REASON_OK && (packet->ack.properties.present & MQTT_HAS_SERVER_REFERENCE) != 0) {
        return REASON_PROTOCOL_ERROR; /* the server's, section 3.14.2.2.5 */
    }
    return reason;
}

static enum reason decode_auth(struct mqtt_cursor *cursor, struct mqtt_packet *packet) {
    enum reason reason = decode_code(cursor, MQTT_AUTH, &packet->ack);
    if (reason == REASON_OK && (packet->ack.properties.present & MQTT_HAS_AUTH_METHOD) == 0) {
        return REASON_PROTOCOL_ERROR; /* section 3.15.2.2.2 */
    }
    return reason;
}

static enum reason decode_body(struct mqtt_cursor *cursor, uint8_t first_byte,
                               struct mqtt_packet *packet) {
    switch (packet->type) {
    case MQTT_CONNECT:
        return mqtt_decode_connect(cursor, packet);
    case MQTT_PUBLISH:
        return decode_publish(cursor, first_byte & 0x0F, packet);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return mqtt_decode_subscribe(cursor, packet);
    case MQTT_DISCONNECT:
        return decode_disconnect(cursor, packet);
    case MQTT_AUTH:
        return decode_auth(cursor, packet);
    case MQTT_PINGREQ:
        return REASON_OK;
    default:
        return decode_ack(cursor, packet);
    }
}

/* Fixed header: *body_offset and *total are set when it is whole. */
static enum err read_fixed_header(const uint8_t *bytes, size_t count, size_t packet_bytes_max,
                                  size_t *body_offset, size_t *total, enum reason *reason) {
    struct mqtt_cursor cursor = {.at = bytes + 1, .end = bytes + (count < 5 ? count : 5)};
    uint32_t remaining;
    if (mqtt_take_varint(&cursor, &remaining) != REASON_OK) {
        /* Cut off in the middle; or more than four bytes, or a padded form. */
        bool is_cut = count < 5;
        for (size_t i = 1; i < count && is_cut; i++) {
            is_cut = (bytes[i] & 0x80) != 0;
        }
        *total = count + 1;
        if (!is_cut) {
            *reason = REASON_MALFORMED;
        }
        return is_cut ? ERR_MORE : ERR_INVALID;
    }
    *body_offset = (size_t)(cursor.at - bytes);
    *total = *body_offset + remaining;
    if (*total > packet_bytes_max) {
        *reason = REASON_TOO_LARGE;
        return ERR_INVALID;
    }
    return count < *total ? ERR_MORE : ERR_OK;
}

enum err mqtt_decode(const uint8_t *bytes, size_t count, enum mqtt_version version,
                     size_t packet_bytes_max, struct mqtt_packet *packet, size_t *packet_bytes,
                     enum reason *reason) {
    size_t body_offset = 0;
    *packet = (struct mqtt_packet){0};
    if (count == 0) {
        *packet_bytes = 2;
        return ERR_MORE;
    }
    enum reason judgement = check_first_byte(bytes[0], version);
    if (judgement != REASON_OK) {
        *reason = judgement;
        return ERR_INVALID;
    }
    enum err error =
        read_fixed_header(bytes, count, packet_bytes_max, &body_offset, packet_bytes, reason);
    if (error != ERR_OK) {
        return error;
    }
    packet->type = (enum mqtt_type)(bytes[0] >> 4);
    if (packet->type != MQTT_CONNECT) {
        packet->version = version;
    }
    struct mqtt_cursor cursor = {.at = bytes + body_offset, .end = bytes + *packet_bytes};
    judgement = decode_body(&cursor, bytes[0], packet);
    if (judgement == REASON_OK && mqtt_left(&cursor) > 0) {
        judgement = REASON_MALFORMED;
    }
    if (judgement != REASON_OK) {
        *reason = judgement;
        return ERR_INVALID;
    }
    return ERR_OK;
}
