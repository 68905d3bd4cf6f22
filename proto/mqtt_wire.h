/* mqtt_wire: the data types of MQTT (5.0 section 1.5) and what the decoder's and encoder's files
 * share. Not for other folders. */
#ifndef PIPIT_PROTO_MQTT_WIRE_H
#define PIPIT_PROTO_MQTT_WIRE_H

#include "proto/mqtt_packet.h"

/* --- reading: a cursor over the bytes of one packet. Every take_ returns REASON_OK and moves on,
 * or REASON_MALFORMED at the end of the bytes.
 * ------------------------------------------------------- */

struct mqtt_cursor {
    const uint8_t *at, *end;
};
static inline size_t mqtt_left(const struct mqtt_cursor *cursor) {
    return (size_t)(cursor->end - cursor->at);
}
enum reason mqtt_take_u8(struct mqtt_cursor *cursor, uint8_t *value) MUST_CHECK;
enum reason mqtt_take_u16(struct mqtt_cursor *cursor, uint16_t *value) MUST_CHECK;
enum reason mqtt_take_u32(struct mqtt_cursor *cursor, uint32_t *value) MUST_CHECK;
/* Variable byte integer, minimal form only [MQTT-1.5.5-1]. */
enum reason mqtt_take_varint(struct mqtt_cursor *cursor, uint32_t *value) MUST_CHECK;
/* Two bytes of length and that many bytes. */
enum reason mqtt_take_binary(struct mqtt_cursor *cursor, struct slice *value) MUST_CHECK;
/* The same, and REASON_BAD_UTF8 unless UTF-8 without U+0000 [MQTT-1.5.4-1] [MQTT-1.5.4-2]. */
enum reason mqtt_take_string(struct mqtt_cursor *cursor, struct slice *value) MUST_CHECK;
/* A non-zero packet identifier; zero is REASON_PROTOCOL_ERROR [MQTT-2.2.1-3]. */
enum reason mqtt_take_packet_id(struct mqtt_cursor *cursor, uint16_t *value) MUST_CHECK;

/* Properties are checked against the packet that carries them. */
#define MQTT_IN_WILL 0u /* beside enum mqtt_type */
/* Property length and properties. REASON_MALFORMED, PROTOCOL_ERROR (twice, wrong packet, bad
 * value), TOO_LARGE (LIMIT_MQTT_USER_PROPERTIES), TOPIC_INVALID, TOPIC_ALIAS_INVALID, BAD_UTF8. */
enum reason mqtt_take_properties(struct mqtt_cursor *cursor, unsigned packet,
                                 struct mqtt_properties *properties) MUST_CHECK;

/* Bodies of packets that fill a file of their own; the cursor covers the packet behind its fixed
 * header. */
enum reason mqtt_decode_connect(struct mqtt_cursor *cursor, struct mqtt_packet *packet) MUST_CHECK;
enum reason mqtt_decode_subscribe(struct mqtt_cursor *cursor,
                                  struct mqtt_packet *packet) MUST_CHECK;

/* --- writing: into room of known size; each returns the byte behind. -----------------------------
 */

/* Bytes of the variable byte integer, 1..4; value <= LIMIT_MQTT_REMAINING_BYTES. */
size_t mqtt_varint_bytes(uint32_t value);
uint8_t *mqtt_put_varint(uint8_t *at, uint32_t value);
uint8_t *mqtt_put_u16(uint8_t *at, uint16_t value);
uint8_t *mqtt_put_u32(uint8_t *at, uint32_t value);
/* Length and bytes; count <= 65535. */
uint8_t *mqtt_put_binary(uint8_t *at, struct slice value);

/* Size of the properties that this packet may carry, without their length; SIZE_MAX when a string
 * is longer than 65,535 bytes. NULL = none. */
size_t mqtt_properties_bytes(unsigned packet, const struct mqtt_properties *properties);
uint8_t *mqtt_put_properties(uint8_t *at, unsigned packet,
                             const struct mqtt_properties *properties);

#endif
