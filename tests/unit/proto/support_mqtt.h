/* support_mqtt: builds client packets byte by byte and decodes them from exact-size blocks. */
#ifndef PIPIT_TESTS_PROTO_SUPPORT_MQTT_H
#define PIPIT_TESTS_PROTO_SUPPORT_MQTT_H

#include "proto/mqtt_packet.h"
#include "tests/unit/proto/support.h"

/* The body of a packet while it is put together. */
struct mqtt_body {
    uint8_t bytes[70000];
    size_t count;
};
void body_u8(struct mqtt_body *body, unsigned value);
void body_u16(struct mqtt_body *body, unsigned value);
void body_u32(struct mqtt_body *body, uint32_t value);
void body_text(struct mqtt_body *body, const char *text); /* with its length */
void body_raw(struct mqtt_body *body, const void *bytes, size_t count);
#define BODY_RAW(body, literal) body_raw((body), (literal), sizeof(literal) - 1)
/* Property block: its length in one byte (count < 128) and the bytes. */
#define BODY_PROPERTIES(body, literal)                                                             \
    do {                                                                                           \
        body_u8((body), sizeof(literal) - 1);                                                      \
        BODY_RAW((body), literal);                                                                 \
    } while (0)

/* Decodes the packet of that first byte and body from an exact-size block, which is kept until the
 * next call so that slices stay valid. Clears the body. On success every prefix was tried too:
 * ERR_MORE. */
enum err mqtt_try(uint8_t first_byte, struct mqtt_body *body, enum mqtt_version version,
                  struct mqtt_packet *packet, enum reason *reason);
void mqtt_expect(uint8_t first_byte, struct mqtt_body *body, enum mqtt_version version,
                 enum reason reason);

#endif
