/* json_reader: strict JSON (RFC 8259) over a byte slice, without allocation. One pass checks the
 * whole document; after that the walk over members and values cannot fail and costs only skipping,
 * and any value can be taken raw, so a message body passes through byte for byte.
 *
 * Stricter than the RFC: valid UTF-8 only, no byte order mark, no duplicate keys in an object
 * (compared after unescaping), no lone surrogate escapes, no \u0000 in keys, numbers that fit a
 * double, nesting and member counts as in limits.h. */
#ifndef PIPIT_PROTO_JSON_READER_H
#define PIPIT_PROTO_JSON_READER_H

#include "common/err.h"
#include "proto/slice.h"

enum json_kind {
    JSON_OBJECT,
    JSON_ARRAY,
    JSON_STRING,
    JSON_NUMBER,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL
};

/* A checked value; raw is its text without surrounding space ({...}, "...", 12). */
struct json_value {
    struct slice raw;
    enum json_kind kind;
    bool escaped; /* strings: contains a backslash */
};

struct json_problem {
    const char *text; /* what is wrong; static, never NULL */
    size_t offset;    /* byte where it was found */
};

/* Checks bytes[count] and gives the root. ERR_INVALID: malformed; ERR_TOO_LARGE: beyond a limit.
 * *root is untouched on failure; problem may be NULL and is written on failure only. The value
 * borrows the bytes. About 13 KiB of stack. */
enum err json_parse(const uint8_t *bytes, size_t count, struct json_value *root,
                    struct json_problem *problem) MUST_CHECK;

/* Walks the members of an object or the elements of an array that json_parse checked. */
struct json_iter {
    const uint8_t *at, *end;
};
struct json_member {
    struct json_value key; /* JSON_STRING; raw includes the quotes */
    struct json_value value;
};
/* value.kind must be JSON_OBJECT (JSON_ARRAY for elements). */
void json_iter_begin(struct json_iter *iter, const struct json_value *value);
/* False at the end. */
bool json_next_member(struct json_iter *iter, struct json_member *member);
bool json_next_element(struct json_iter *iter, struct json_value *element);
/* Member of an object by name; false when absent. Linear. */
bool json_find(const struct json_value *object, const char *name, struct json_value *value);

/* True when the unescaped string equals text. value.kind must be JSON_STRING; text has at most
 * LIMIT_JSON_KEY_BYTES (longer: false when the string has escapes). */
bool json_string_is(const struct json_value *value, const char *text);
/* Bytes of the unescaped string. */
size_t json_string_bytes(const struct json_value *value);
/* Unescapes into text[capacity] and adds a NUL. ERR_TOO_LARGE: string and NUL do not fit;
 * ERR_INVALID: not a string, or it contains U+0000 (C strings cannot hold it). *text is untouched
 * on failure. */
enum err json_string_copy(const struct json_value *value, char *text, size_t capacity) MUST_CHECK;
/* The string's bytes without copying; ERR_INVALID when it is no string or has escapes. */
enum err json_string_slice(const struct json_value *value, struct slice *slice) MUST_CHECK;
/* A non-negative integer without fraction or exponent. ERR_INVALID; ERR_TOO_LARGE above max. */
enum err json_u64(const struct json_value *value, uint64_t max, uint64_t *number) MUST_CHECK;
enum err json_bool(const struct json_value *value, bool *flag) MUST_CHECK;

#endif
