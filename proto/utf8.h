/* utf8: strict validation. Refused: overlong forms, surrogates (U+D800..DFFF), values above
 * U+10FFFF, stray or missing continuation bytes. Source: RFC 3629 section 4; Unicode 15 table 3-7.
 */
#ifndef PIPIT_PROTO_UTF8_H
#define PIPIT_PROTO_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* True when bytes[count] is valid and complete. bytes may be NULL when count is 0. */
bool utf8_valid(const uint8_t *bytes, size_t count);

/* Validation in pieces: a character may be cut anywhere. All zero is the start. */
struct utf8_state {
    uint8_t missing;   /* continuation bytes still due */
    uint8_t low, high; /* bounds of the next one */
};
/* False as soon as a byte cannot belong to valid text (RFC 6455 wants the connection failed at
 * once); the state is then of no further use. */
bool utf8_feed(struct utf8_state *state, const uint8_t *bytes, size_t count);
/* True at a character boundary: the text may end here. */
static inline bool utf8_complete(const struct utf8_state *state) {
    return state->missing == 0;
}

/* Bytes of the valid character that starts at bytes[0] (1..4), and its code point; 0 when invalid
 * or count is 0. */
size_t utf8_decode(const uint8_t *bytes, size_t count, uint32_t *code_point);
/* Writes code_point (a Unicode scalar value) and returns the bytes written, 1..4. */
size_t utf8_encode(uint32_t code_point, uint8_t bytes[4]);

#endif
