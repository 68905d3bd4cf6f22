/* The server's MQTT packets.
 *
 * Sizes are computed first, then the packet is written into room reserved once, so a packet is in
 * the buffer whole or not at all. Fan-out encodes one PUBLISH per session (packet id, QoS and
 * properties differ), so that path copies topic and payload and nothing else. What a version does
 * not have, reason codes and properties before 5.0, is left out here, so sessions need not care
 * which version they speak. */
#include "proto/mqtt_wire.h"

#include "common/contract.h"

/* Behind the fixed header: a few bytes, then properties, then a payload. */
struct layout {
    uint8_t first_byte;
    uint8_t head[3]; /* variable header in front of the properties */
    size_t head_bytes;
    unsigned packet; /* for the table of properties */
    bool has_properties;
    const struct mqtt_properties *properties;
    const uint8_t *payload;
    size_t payload_bytes;
};

static enum err append(struct buf *out, const struct layout *layout) {
    size_t properties_bytes = 0, remaining = layout->head_bytes + layout->payload_bytes;
    if (layout->has_properties) {
        properties_bytes = mqtt_properties_bytes(layout->packet, layout->properties);
        if (properties_bytes > LIMIT_MQTT_REMAINING_BYTES) {
            return ERR_TOO_LARGE;
        }
        remaining += mqtt_varint_bytes((uint32_t)properties_bytes) + properties_bytes;
    }
    if (remaining > LIMIT_MQTT_REMAINING_BYTES) {
        return ERR_TOO_LARGE;
    }
    size_t total = 1 + mqtt_varint_bytes((uint32_t)remaining) + remaining;
    uint8_t *room;
    enum err error = buf_reserve(out, total, &room);
    if (error != ERR_OK) {
        return error;
    }
    uint8_t *at = room;
    *at++ = layout->first_byte;
    at = mqtt_put_varint(at, (uint32_t)remaining);
    memcpy(at, layout->head, layout->head_bytes);
    at += layout->head_bytes;
    if (layout->has_properties) {
        at = mqtt_put_varint(at, (uint32_t)properties_bytes);
        at = mqtt_put_properties(at, layout->packet, layout->properties);
    }
    if (layout->payload_bytes > 0) {
        memcpy(at, layout->payload, layout->payload_bytes);
        at += layout->payload_bytes;
    }
    CONTRACT((size_t)(at - room) == total);
    buf_commit(out, total);
    return ERR_OK;
}

static uint8_t first_byte(enum mqtt_type type) {
    return (uint8_t)((unsigned)type << 4 | (type == MQTT_PUBREL ? 0x02 : 0x00));
}

enum err mqtt_encode_connack(struct buf *out, enum mqtt_version version, bool session_present,
                             uint8_t code, const struct mqtt_properties *properties) {
    struct layout layout = {.first_byte = first_byte(MQTT_CONNACK),
                            .head = {session_present && code == 0 ? 1 : 0, code},
                            .head_bytes = 2,
                            .packet = MQTT_CONNACK,
                            .has_properties = version == MQTT_V5,
                            .properties = properties};
    return append(out, &layout);
}

/* Remaining Length of the PUBLISH; SIZE_MAX when it cannot be encoded. */
static size_t publish_remaining(enum mqtt_version version, const struct mqtt_publish *publish,
                                size_t *properties_bytes) {
    size_t remaining = 2 + publish->topic.count + (publish->qos > 0 ? 2 : 0);
    *properties_bytes = 0;
    if (publish->topic.count > UINT16_MAX || publish->payload.count > LIMIT_MQTT_REMAINING_BYTES) {
        return SIZE_MAX;
    }
    if (version == MQTT_V5) {
        *properties_bytes = mqtt_properties_bytes(MQTT_PUBLISH, &publish->properties);
        if (*properties_bytes > LIMIT_MQTT_REMAINING_BYTES) {
            return SIZE_MAX;
        }
        remaining += mqtt_varint_bytes((uint32_t)*properties_bytes) + *properties_bytes;
    }
    remaining += publish->payload.count;
    return remaining <= LIMIT_MQTT_REMAINING_BYTES ? remaining : SIZE_MAX;
}

size_t mqtt_publish_bytes(enum mqtt_version version, const struct mqtt_publish *publish) {
    size_t properties_bytes;
    size_t remaining = publish_remaining(version, publish, &properties_bytes);
    return remaining == SIZE_MAX ? SIZE_MAX
                                 : 1 + mqtt_varint_bytes((uint32_t)remaining) + remaining;
}

enum err mqtt_encode_publish(struct buf *out, enum mqtt_version version,
                             const struct mqtt_publish *publish) {
    size_t properties_bytes;
    size_t remaining = publish_remaining(version, publish, &properties_bytes);
    uint8_t *room;
    CONTRACT(publish->qos <= 2 && (publish->qos == 0 || publish->packet_id != 0));
    if (remaining == SIZE_MAX) {
        return ERR_TOO_LARGE;
    }
    size_t total = 1 + mqtt_varint_bytes((uint32_t)remaining) + remaining;
    enum err error = buf_reserve(out, total, &room);
    if (error != ERR_OK) {
        return error;
    }
    uint8_t *at = room;
    *at++ = (uint8_t)(MQTT_PUBLISH << 4 | (publish->dup && publish->qos > 0 ? 0x08 : 0) |
                      publish->qos << 1 | (publish->retain ? 0x01 : 0));
    at = mqtt_put_varint(at, (uint32_t)remaining);
    at = mqtt_put_binary(at, publish->topic);
    if (publish->qos > 0) {
        at = mqtt_put_u16(at, publish->packet_id);
    }
    if (version == MQTT_V5) {
        at = mqtt_put_varint(at, (uint32_t)properties_bytes);
        at = mqtt_put_properties(at, MQTT_PUBLISH, &publish->properties);
    }
    if (publish->payload.count > 0) {
        memcpy(at, publish->payload.bytes, publish->payload.count);
        at += publish->payload.count;
    }
    CONTRACT((size_t)(at - room) == total);
    buf_commit(out, total);
    return ERR_OK;
}

enum err mqtt_encode_ack(struct buf *out, enum mqtt_version version, enum mqtt_type type,
                         uint16_t packet_id, uint8_t code,
                         const struct mqtt_properties *properties) {
    CONTRACT(type >= MQTT_PUBACK && type <= MQTT_PUBCOMP);
    /* Success without properties is two bytes in both versions (5.0 section 3.4.2.1). */
    bool has_properties = version == MQTT_V5 && mqtt_properties_bytes(type, properties) > 0;
    bool has_code = version == MQTT_V5 && (code != 0 || has_properties);
    struct layout layout = {.first_byte = first_byte(type),
                            .head = {(uint8_t)(packet_id >> 8), (uint8_t)(packet_id & 0xFF), code},
                            .head_bytes = has_code ? 3 : 2,
                            .packet = type,
                            .has_properties = has_properties,
                            .properties = properties};
    return append(out, &layout);
}

static struct layout suback_layout(enum mqtt_version version, enum mqtt_type type,
                                   uint16_t packet_id, const struct mqtt_properties *properties) {
    return (struct layout){.first_byte = first_byte(type),
                           .head = {(uint8_t)(packet_id >> 8), (uint8_t)(packet_id & 0xFF)},
                           .head_bytes = 2,
                           .packet = type,
                           .has_properties = version == MQTT_V5,
                           .properties = properties};
}

enum err mqtt_encode_suback(struct buf *out, enum mqtt_version version, uint16_t packet_id,
                            const uint8_t *codes, size_t count,
                            const struct mqtt_properties *properties) {
    uint8_t old_codes[LIMIT_MQTT_FILTERS];
    struct layout layout = suback_layout(version, MQTT_SUBACK, packet_id, properties);
    CONTRACT(count >= 1 && count <= LIMIT_MQTT_FILTERS);
    if (version == MQTT_V3) {
        for (size_t i = 0; i < count; i++) {
            old_codes[i] = codes[i] <= 2 ? codes[i] : 0x80; /* v3 [MQTT-3.9.3-2] */
        }
        codes = old_codes;
    }
    layout.payload = codes;
    layout.payload_bytes = count;
    return append(out, &layout);
}

enum err mqtt_encode_unsuback(struct buf *out, enum mqtt_version version, uint16_t packet_id,
                              const uint8_t *codes, size_t count,
                              const struct mqtt_properties *properties) {
    struct layout layout = suback_layout(version, MQTT_UNSUBACK, packet_id, properties);
    CONTRACT(count >= 1 && count <= LIMIT_MQTT_FILTERS);
    if (version == MQTT_V5) {
        layout.payload = codes;
        layout.payload_bytes = count;
    }
    return append(out, &layout);
}

enum err mqtt_encode_pingresp(struct buf *out) {
    struct layout layout = {.first_byte = first_byte(MQTT_PINGRESP)};
    return append(out, &layout);
}

enum err mqtt_encode_disconnect(struct buf *out, uint8_t code,
                                const struct mqtt_properties *properties) {
    bool has_properties = mqtt_properties_bytes(MQTT_DISCONNECT, properties) > 0;
    struct layout layout = {.first_byte = first_byte(MQTT_DISCONNECT),
                            .head = {code},
                            .head_bytes = code != 0 || has_properties ? 1 : 0,
                            .packet = MQTT_DISCONNECT,
                            .has_properties = has_properties,
                            .properties = properties};
    return append(out, &layout);
}
