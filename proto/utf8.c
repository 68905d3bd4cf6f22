/* Strict UTF-8 validation, once for whole texts and once in pieces: a WebSocket message may be cut
 * inside a character, by fragments and by the network.
 *
 * Chat is ASCII or CJK. Runs of ASCII go eight bytes a step; everything else takes one step a byte
 * through the bounds of the next byte (Unicode table 3-7): the lead byte sets them, which is all
 * that overlong forms, surrogates and values beyond U+10FFFF need to be caught at the first byte
 * that is wrong. A feed that returned false leaves the state meaningless; callers end the
 * connection. */
#include "proto/utf8.h"

#include <string.h>

#define HIGH_BITS UINT64_C(0x8080808080808080)

static size_t ascii_run(const uint8_t *bytes, size_t count) {
    size_t at = 0;
    while (count - at >= 8) {
        uint64_t word;
        memcpy(&word, bytes + at, 8);
        if ((word & HIGH_BITS) != 0) {
            break;
        }
        at += 8;
    }
    while (at < count && bytes[at] < 0x80) {
        at++;
    }
    return at;
}

/* Sets what must follow a byte >= 0x80 at a boundary. */
static bool take_lead(struct utf8_state *state, uint8_t byte) {
    state->low = 0x80;
    state->high = 0xBF;
    if (byte >= 0xC2 && byte <= 0xDF) {
        state->missing = 1;
    } else if (byte >= 0xE0 && byte <= 0xEF) {
        state->missing = 2;
        if (byte == 0xE0) {
            state->low = 0xA0; /* below: overlong */
        } else if (byte == 0xED) {
            state->high = 0x9F; /* above: surrogates */
        }
    } else if (byte >= 0xF0 && byte <= 0xF4) {
        state->missing = 3;
        if (byte == 0xF0) {
            state->low = 0x90; /* below: overlong */
        } else if (byte == 0xF4) {
            state->high = 0x8F; /* above: > U+10FFFF */
        }
    } else {
        return false;
    }
    return true;
}

bool utf8_feed(struct utf8_state *state, const uint8_t *bytes, size_t count) {
    struct utf8_state now = *state;
    size_t at = 0;
    while (at < count) {
        if (now.missing == 0) {
            at += ascii_run(bytes + at, count - at);
            if (at == count) {
                break;
            }
            if (!take_lead(&now, bytes[at])) {
                return false;
            }
        } else {
            if (bytes[at] < now.low || bytes[at] > now.high) {
                return false;
            }
            now.low = 0x80;
            now.high = 0xBF;
            now.missing--;
        }
        at++;
    }
    *state = now;
    return true;
}

bool utf8_valid(const uint8_t *bytes, size_t count) {
    struct utf8_state state = {0};
    return utf8_feed(&state, bytes, count) && utf8_complete(&state);
}

size_t utf8_decode(const uint8_t *bytes, size_t count, uint32_t *code_point) {
    if (count == 0) {
        return 0;
    }
    if (bytes[0] < 0x80) {
        *code_point = bytes[0];
        return 1;
    }
    struct utf8_state state = {0};
    if (!take_lead(&state, bytes[0])) {
        return 0;
    }
    size_t length = (size_t)state.missing + 1;
    if (length > count || !utf8_feed(&state, bytes + 1, length - 1)) {
        return 0;
    }
    static const uint8_t lead_mask[] = {0, 0, 0x1F, 0x0F, 0x07};
    uint32_t value = bytes[0] & lead_mask[length];
    for (size_t i = 1; i < length; i++) {
        value = value << 6 | (bytes[i] & 0x3Fu);
    }
    *code_point = value;
    return length;
}

size_t utf8_encode(uint32_t code_point, uint8_t bytes[4]) {
    if (code_point < 0x80) {
        bytes[0] = (uint8_t)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        bytes[0] = (uint8_t)(0xC0 | code_point >> 6);
        bytes[1] = (uint8_t)(0x80 | (code_point & 0x3F));
        return 2;
    }
    if (code_point < 0x10000) {
        bytes[0] = (uint8_t)(0xE0 | code_point >> 12);
        bytes[1] = (uint8_t)(0x80 | (code_point >> 6 & 0x3F));
        bytes[2] = (uint8_t)(0x80 | (code_point & 0x3F));
        return 3;
    }
    bytes[0] = (uint8_t)(0xF0 | code_point >> 18);
    bytes[1] = (uint8_t)(0x80 | (code_point >> 12 & 0x3F));
    bytes[2] = (uint8_t)(0x80 | (code_point >> 6 & 0x3F));
    bytes[3] = (uint8_t)(0x80 | (code_point & 0x3F));
    return 4;
}
