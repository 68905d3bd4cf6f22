/* MQTT packets for tests; see support_mqtt.h. Every packet that decodes is also tried cut short in
 * two ways: as a prefix, which must ask for more, and with its length corrected, which may be
 * anything but must not read past its block. */
#include "tests/unit/proto/support_mqtt.h"

void body_u8(struct mqtt_body *body, unsigned value) {
    body->bytes[body->count++] = (uint8_t)value;
}

void body_u16(struct mqtt_body *body, unsigned value) {
    body_u8(body, value >> 8);
    body_u8(body, value & 0xFF);
}

void body_u32(struct mqtt_body *body, uint32_t value) {
    body_u16(body, value >> 16);
    body_u16(body, value & 0xFFFF);
}

void body_raw(struct mqtt_body *body, const void *bytes, size_t count) {
    memcpy(body->bytes + body->count, bytes, count);
    body->count += count;
}

void body_text(struct mqtt_body *body, const char *text) {
    body_u16(body, (unsigned)strlen(text));
    body_raw(body, text, strlen(text));
}

static size_t put_length(uint8_t *at, size_t length) {
    size_t bytes = 0;
    do {
        at[bytes++] = (uint8_t)((length & 0x7F) | (length > 0x7F ? 0x80 : 0));
        length >>= 7;
    } while (length > 0);
    return bytes;
}

static uint8_t *assemble(uint8_t first_byte, const uint8_t *bytes, size_t count, size_t *total) {
    uint8_t header[5] = {first_byte};
    size_t header_bytes = 1 + put_length(header + 1, count);
    uint8_t *block = malloc(header_bytes + count);
    assert_non_null(block);
    memcpy(block, header, header_bytes);
    memcpy(block + header_bytes, bytes, count);
    *total = header_bytes + count;
    return block;
}

static void try_cut_short(uint8_t first_byte, const struct mqtt_body *body, const uint8_t *whole,
                          size_t total, enum mqtt_version version) {
    struct mqtt_packet packet;
    enum reason reason;
    size_t step = total > 2000 ? 97 : 1;
    for (size_t cut = 0; cut < total; cut += step) {
        uint8_t *prefix = support_copy(whole, cut);
        size_t needed = 0;
        assert_int_equal(
            mqtt_decode(prefix, cut, version, LIMIT_MQTT_PACKET_BYTES, &packet, &needed, &reason),
            ERR_MORE);
        assert_true(needed > cut && needed <= total);
        free(prefix);
    }
    for (size_t cut = 0; cut < body->count; cut += step) {
        size_t size;
        uint8_t *block = assemble(first_byte, body->bytes, cut, &size);
        size_t used = 0;
        enum err error =
            mqtt_decode(block, size, version, LIMIT_MQTT_PACKET_BYTES, &packet, &used, &reason);
        assert_true(error == ERR_OK || error == ERR_INVALID);
        free(block);
    }
}

enum err mqtt_try(uint8_t first_byte, struct mqtt_body *body, enum mqtt_version version,
                  struct mqtt_packet *packet, enum reason *reason) {
    static uint8_t *block;
    size_t total, used = 0;
    free(block);
    block = assemble(first_byte, body->bytes, body->count, &total);
    enum err error =
        mqtt_decode(block, total, version, LIMIT_MQTT_PACKET_BYTES, packet, &used, reason);
    if (error == ERR_OK) {
        assert_int_equal(used, total);
        try_cut_short(first_byte, body, block, total, version);
    }
    body->count = 0;
    return error;
}

void mqtt_expect(uint8_t first_byte, struct mqtt_body *body, enum mqtt_version version,
                 enum reason reason) {
    struct mqtt_packet packet;
    enum reason given = REASON_OK;
    enum err error = mqtt_try(first_byte, body, version, &packet, &given);
    assert_int_equal(error, reason == REASON_OK ? ERR_OK : ERR_INVALID);
    assert_int_equal(given, reason);
}
