/* The data types of MQTT, bounds first: nothing is read before the bytes that are left have been
 * compared with the bytes it takes, by subtraction that cannot wrap. Over-reads of truncated
 * packets are the most frequent fault of C brokers (NanoMQ #2268, #2270, CVE-2025-59947), so all of
 * them go through here. */
#include "proto/mqtt_wire.h"

#include "common/contract.h"
#include "proto/utf8.h"

enum reason mqtt_take_u8(struct mqtt_cursor *cursor, uint8_t *value) {
    if (mqtt_left(cursor) < 1) {
        return REASON_MALFORMED;
    }
    *value = *cursor->at++;
    return REASON_OK;
}

enum reason mqtt_take_u16(struct mqtt_cursor *cursor, uint16_t *value) {
    if (mqtt_left(cursor) < 2) {
        return REASON_MALFORMED;
    }
    *value = (uint16_t)(cursor->at[0] << 8 | cursor->at[1]);
    cursor->at += 2;
    return REASON_OK;
}

enum reason mqtt_take_u32(struct mqtt_cursor *cursor, uint32_t *value) {
    if (mqtt_left(cursor) < 4) {
        return REASON_MALFORMED;
    }
    *value = (uint32_t)cursor->at[0] << 24 | (uint32_t)cursor->at[1] << 16 |
             (uint32_t)cursor->at[2] << 8 | cursor->at[3];
    cursor->at += 4;
    return REASON_OK;
}

enum reason mqtt_take_varint(struct mqtt_cursor *cursor, uint32_t *value) {
    uint32_t result = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint8_t byte;
        if (mqtt_take_u8(cursor, &byte) != REASON_OK) {
            return REASON_MALFORMED;
        }
        result |= (uint32_t)(byte & 0x7F) << (7 * i);
        if ((byte & 0x80) == 0) {
            if (byte == 0 && i > 0) {
                return REASON_MALFORMED; /* a longer form than needed */
            }
            *value = result;
            return REASON_OK;
        }
    }
    return REASON_MALFORMED;
}

enum reason mqtt_take_binary(struct mqtt_cursor *cursor, struct slice *value) {
    uint16_t count;
    if (mqtt_take_u16(cursor, &count) != REASON_OK || mqtt_left(cursor) < count) {
        return REASON_MALFORMED;
    }
    *value = slice_make(cursor->at, count);
    cursor->at += count;
    return REASON_OK;
}

enum reason mqtt_take_string(struct mqtt_cursor *cursor, struct slice *value) {
    struct slice text;
    if (mqtt_take_binary(cursor, &text) != REASON_OK) {
        return REASON_MALFORMED;
    }
    if (text.count > 0 &&
        (!utf8_valid(text.bytes, text.count) || memchr(text.bytes, '\0', text.count) != NULL)) {
        return REASON_BAD_UTF8;
    }
    *value = text;
    return REASON_OK;
}

enum reason mqtt_take_packet_id(struct mqtt_cursor *cursor, uint16_t *value) {
    if (mqtt_take_u16(cursor, value) != REASON_OK) {
        return REASON_MALFORMED;
    }
    return *value != 0 ? REASON_OK : REASON_PROTOCOL_ERROR;
}

size_t mqtt_varint_bytes(uint32_t value) {
    CONTRACT(value <= LIMIT_MQTT_REMAINING_BYTES);
    return value < 1u << 7 ? 1 : value < 1u << 14 ? 2 : value < 1u << 21 ? 3 : 4;
}

uint8_t *mqtt_put_varint(uint8_t *at, uint32_t value) {
    CONTRACT(value <= LIMIT_MQTT_REMAINING_BYTES);
    while (value >= 0x80) {
        *at++ = (uint8_t)(0x80 | (value & 0x7F));
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

uint8_t *mqtt_put_u16(uint8_t *at, uint16_t value) {
    *at++ = (uint8_t)(value >> 8);
    *at++ = (uint8_t)(value & 0xFF);
    return at;
}

uint8_t *mqtt_put_u32(uint8_t *at, uint32_t value) {
    at = mqtt_put_u16(at, (uint16_t)(value >> 16));
    return mqtt_put_u16(at, (uint16_t)(value & 0xFFFF));
}

uint8_t *mqtt_put_binary(uint8_t *at, struct slice value) {
    CONTRACT(value.count <= UINT16_MAX);
    at = mqtt_put_u16(at, (uint16_t)value.count);
    if (value.count > 0) {
        memcpy(at, value.bytes, value.count);
    }
    return at + value.count;
}
