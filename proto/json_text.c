/* Steps over JSON text: the fast scan for bytes that need a look, and unescaping of what was
 * checked.
 *
 * The scan tests eight bytes at a time with the usual arithmetic for "some byte is zero" and "some
 * byte is below 32" (Mycroft, 1987); a hit is then located byte by byte, which keeps it independent
 * of byte order. Unescaping trusts its input: json_parse has checked every escape. */
#include "proto/json_text.h"

#include "proto/utf8.h"

#define ONES UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

/* High bits of the bytes that are quotes or backslashes; zero when there are none. */
static inline uint64_t delimiters(uint64_t word) {
    uint64_t quote = word ^ (ONES * '"');
    uint64_t backslash = word ^ (ONES * '\\');
    return (((quote - ONES) & ~quote) | ((backslash - ONES) & ~backslash)) & HIGHS;
}

static inline bool word_is_plain(uint64_t word) {
    uint64_t control = (word - ONES * 0x20) & ~word;
    return (delimiters(word) | ((control | word) & HIGHS)) == 0;
}

const uint8_t *json_text_plain(const uint8_t *at, const uint8_t *end) {
    while (end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        if (!word_is_plain(word)) {
            break;
        }
        at += 8;
    }
    while (at < end && *at >= 0x20 && *at < 0x80 && *at != '"' && *at != '\\') {
        at++;
    }
    return at;
}

const uint8_t *json_text_delimiter(const uint8_t *at, const uint8_t *end) {
    while (end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        if (delimiters(word) != 0) {
            break;
        }
        at += 8;
    }
    while (at < end && *at != '"' && *at != '\\') {
        at++;
    }
    return at;
}

static uint32_t hex_digit(uint8_t digit) {
    return digit <= '9' ? digit - (uint32_t)'0' : (digit | 0x20u) - (uint32_t)'a' + 10;
}

uint32_t json_text_hex4(const uint8_t *digits) {
    return hex_digit(digits[0]) << 12 | hex_digit(digits[1]) << 8 | hex_digit(digits[2]) << 4 |
           hex_digit(digits[3]);
}

bool json_text_has_nul(const uint8_t *raw, size_t raw_bytes) {
    const uint8_t *at = raw, *end = raw + raw_bytes;
    while (at < end && (at = memchr(at, '\\', (size_t)(end - at))) != NULL) {
        if (at[1] != 'u') {
            at += 2;
        } else if (json_text_hex4(at + 2) == 0) {
            return true;
        } else {
            at += 6;
        }
    }
    return false;
}

/* Decodes the escape at raw (a backslash), returns the bytes it took. */
static size_t unescape_one(const uint8_t *raw, uint8_t text[4], size_t *text_bytes) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    if (raw[1] != 'u') {
        const char *name = memchr(names, raw[1], 8);
        text[0] = (uint8_t)values[name - names];
        *text_bytes = 1;
        return 2;
    }
    uint32_t unit = json_text_hex4(raw + 2);
    if (unit < 0xD800 || unit > 0xDBFF) {
        *text_bytes = utf8_encode(unit, text);
        return 6;
    }
    uint32_t low = json_text_hex4(raw + 8);
    *text_bytes = utf8_encode(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00), text);
    return 12;
}

/* Copies what fits. */
static void put(uint8_t *text, size_t capacity, size_t offset, const uint8_t *bytes, size_t count) {
    if (offset < capacity) {
        size_t room = capacity - offset;
        memcpy(text + offset, bytes, count < room ? count : room);
    }
}

size_t json_text_unescape(const uint8_t *raw, size_t raw_bytes, uint8_t *text, size_t capacity) {
    size_t total = 0;
    for (size_t at = 0; at < raw_bytes;) {
        if (raw[at] == '\\') {
            uint8_t decoded[4];
            size_t decoded_bytes;
            at += unescape_one(raw + at, decoded, &decoded_bytes);
            put(text, capacity, total, decoded, decoded_bytes);
            total += decoded_bytes;
        } else {
            const uint8_t *stop = memchr(raw + at, '\\', raw_bytes - at);
            size_t run = stop != NULL ? (size_t)(stop - (raw + at)) : raw_bytes - at;
            put(text, capacity, total, raw + at, run);
            total += run;
            at += run;
        }
    }
    return total;
}

struct json_value json_text_value(const uint8_t *from, const uint8_t *end) {
    struct json_value value = {.raw = slice_make(from, (size_t)(end - from))};
    switch (*from) {
    case '{':
        value.kind = JSON_OBJECT;
        break;
    case '[':
        value.kind = JSON_ARRAY;
        break;
    case '"':
        value.kind = JSON_STRING;
        value.escaped = memchr(from, '\\', value.raw.count) != NULL;
        break;
    case 't':
        value.kind = JSON_TRUE;
        break;
    case 'f':
        value.kind = JSON_FALSE;
        break;
    case 'n':
        value.kind = JSON_NULL;
        break;
    default:
        value.kind = JSON_NUMBER;
        break;
    }
    return value;
}
