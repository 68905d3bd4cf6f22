/* id: identifiers and randomness. Message ids are UUIDv7 (RFC 9562 section 5.7). */
#ifndef PIPIT_COMMON_ID_H
#define PIPIT_COMMON_ID_H

#include "common/err.h"
#include <stddef.h>
#include <stdint.h>

#define ID_UUID_BYTES 16
#define ID_UUID_TEXT_BYTES 37 /* 8-4-4-4-12 lower-case hex and NUL */

/* New UUIDv7 for wall_ms; monotonic within a thread for equal milliseconds: rand_a counts up from a
 * random start, and when it is used up the time field runs ahead by one. Any thread.
 * Source: RFC 9562 section 6.2, method 1 and "counter rollover". */
void id_uuid7_make(uint64_t wall_ms, uint8_t uuid[ID_UUID_BYTES]);
/* Accepts exactly 36 characters, either case, and only version 7 with the RFC variant: else
 * ERR_INVALID. */
enum err id_uuid7_parse(const char *text, size_t text_bytes,
                        uint8_t uuid[ID_UUID_BYTES]) MUST_CHECK;
void id_uuid_format(const uint8_t uuid[ID_UUID_BYTES], char text[ID_UUID_TEXT_BYTES]);
uint64_t id_uuid7_wall_ms(const uint8_t uuid[ID_UUID_BYTES]);

/* Cryptographic randomness (libsodium). */
void id_random(void *bytes, size_t count);
uint64_t id_random_u64(void);
/* Lower-case RFC 4648 base32 without padding: text needs (count * 8 + 4) / 5 + 1 bytes. */
void id_base32(const uint8_t *bytes, size_t count, char *text);
/* `prefix` + 16 random base32 characters (80 bits) + NUL, for example "d_k3...". */
void id_random_text(const char *prefix, char *text, size_t text_bytes);

#endif
