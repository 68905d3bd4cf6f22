/* The check of a whole JSON document, in one pass and without allocation.
 *
 * A parser that accepts what its neighbour reads otherwise is how requests get smuggled: duplicate
 * keys, lone surrogates and bad UTF-8 mean different things to different readers, so none of them
 * passes. After this file has said yes, json_reader.c walks the text without looking back.
 *
 * No recursion: open containers live in an array of LIMIT_JSON_DEPTH, the keys of open objects in
 * another, so hostile nesting costs an error instead of a stack. Duplicate keys: up to
 * KEYS_COMPARED members are compared pairwise (frames have fewer); beyond that by SipHash with the
 * process's random key, so nobody can make keys collide. Costs per document are linear, except for
 * that comparison of 8-byte hashes within one object of at most LIMIT_JSON_MEMBERS. */
#include "proto/json_reader.h"

#include "common/map.h"
#include "proto/json_text.h"
#include "proto/limits.h"
#include "proto/utf8.h"

#define KEYS_COMPARED 8
#define KEY_RAW_BYTES_MAX (6 * LIMIT_JSON_KEY_BYTES) /* every character as \uXXXX */
#define NUMBER_DIGITS_MAX 308                        /* below 1e308: a finite double */

/* A key of an object that is still open. */
struct open_key {
    uint32_t offset;    /* behind the opening quote */
    uint16_t raw_bytes; /* up to the closing quote */
    bool escaped;
    uint32_t hash; /* only beyond KEYS_COMPARED members */
};
struct level {
    uint32_t first_key; /* index into keys */
    bool is_object;
};
struct parser {
    const uint8_t *start, *at, *end;
    const char *problem;
    size_t depth;
    uint32_t key_count;
    struct level levels[LIMIT_JSON_DEPTH];
    struct open_key keys[LIMIT_JSON_OPEN_MEMBERS];
};

static enum err fail(struct parser *parser, enum err error, const char *problem) {
    parser->problem = problem;
    return error;
}

static void skip_space(struct parser *parser) {
    while (parser->at < parser->end && (*parser->at == ' ' || *parser->at == '\n' ||
                                        *parser->at == '\r' || *parser->at == '\t')) {
        parser->at++;
    }
}

/* --- strings -----------------------------------------------------------------------------------
 */

static bool is_hex(uint8_t byte) {
    return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f') ||
           (byte >= 'A' && byte <= 'F');
}

static bool is_unicode_escape(const uint8_t *at, const uint8_t *end) {
    return end - at >= 6 && at[0] == '\\' && at[1] == 'u' && is_hex(at[2]) && is_hex(at[3]) &&
           is_hex(at[4]) && is_hex(at[5]);
}

/* parser->at is on a backslash. */
static enum err check_escape(struct parser *parser) {
    const uint8_t *at = parser->at;
    if (parser->end - at < 2) {
        return fail(parser, ERR_INVALID, "unfinished escape");
    }
    if (memchr("\"\\/bfnrt", at[1], 8) != NULL) {
        parser->at += 2;
        return ERR_OK;
    }
    if (!is_unicode_escape(at, parser->end)) {
        return fail(parser, ERR_INVALID, "invalid escape");
    }
    uint32_t unit = json_text_hex4(at + 2);
    if (unit < 0xD800 || unit > 0xDFFF) {
        parser->at += 6;
        return ERR_OK;
    }
    if (unit > 0xDBFF || !is_unicode_escape(at + 6, parser->end)) {
        return fail(parser, ERR_INVALID, "lone surrogate escape");
    }
    uint32_t low = json_text_hex4(at + 8);
    if (low < 0xDC00 || low > 0xDFFF) {
        return fail(parser, ERR_INVALID, "lone surrogate escape");
    }
    parser->at += 12;
    return ERR_OK;
}

/* parser->at is behind the opening quote; ends behind the closing one. */
static enum err check_string(struct parser *parser, bool *escaped) {
    *escaped = false;
    for (;;) {
        parser->at = json_text_plain(parser->at, parser->end);
        if (parser->at == parser->end) {
            return fail(parser, ERR_INVALID, "unfinished string");
        }
        uint8_t byte = *parser->at;
        if (byte == '"') {
            parser->at++;
            return ERR_OK;
        }
        if (byte == '\\') {
            *escaped = true;
            enum err error = check_escape(parser);
            if (error != ERR_OK) {
                return error;
            }
        } else if (byte >= 0x80) {
            const uint8_t *run = parser->at;
            while (parser->at < parser->end && *parser->at >= 0x80) {
                parser->at++;
            }
            if (!utf8_valid(run, (size_t)(parser->at - run))) {
                parser->at = run;
                return fail(parser, ERR_INVALID, "invalid UTF-8");
            }
        } else {
            return fail(parser, ERR_INVALID, "control character in a string");
        }
    }
}

/* --- keys --------------------------------------------------------------------------------------
 */

/* The key's unescaped text: in place when it has no escapes, else in scratch. */
static struct slice key_text(const struct parser *parser, const struct open_key *key,
                             uint8_t scratch[LIMIT_JSON_KEY_BYTES]) {
    const uint8_t *raw = parser->start + key->offset;
    if (!key->escaped) {
        return slice_make(raw, key->raw_bytes);
    }
    size_t count = json_text_unescape(raw, key->raw_bytes, scratch, LIMIT_JSON_KEY_BYTES);
    return slice_make(scratch, count);
}

static uint32_t key_hash(const struct parser *parser, const struct open_key *key) {
    uint8_t scratch[LIMIT_JSON_KEY_BYTES];
    struct slice text = key_text(parser, key, scratch);
    return (uint32_t)map_hash(text.bytes, text.count);
}

/* The rare path on its own: its scratch memory is cleared on entry (-ftrivial-auto-var-init). */
static bool escaped_keys_equal(const struct parser *parser, const struct open_key *one,
                               const struct open_key *two) {
    uint8_t scratch_one[LIMIT_JSON_KEY_BYTES], scratch_two[LIMIT_JSON_KEY_BYTES];
    struct slice text_one = key_text(parser, one, scratch_one);
    struct slice text_two = key_text(parser, two, scratch_two);
    return text_one.count == text_two.count &&
           memcmp(text_one.bytes, text_two.bytes, text_one.count) == 0;
}

static bool keys_equal(const struct parser *parser, const struct open_key *one,
                       const struct open_key *two) {
    if (one->escaped || two->escaped) {
        return escaped_keys_equal(parser, one, two);
    }
    return one->raw_bytes == two->raw_bytes &&
           memcmp(parser->start + one->offset, parser->start + two->offset, one->raw_bytes) == 0;
}

/* Is keys[key_count] (not counted yet) among the keys of its object? */
static bool key_is_duplicate(struct parser *parser, uint32_t first) {
    struct open_key *fresh = &parser->keys[parser->key_count];
    uint32_t before = parser->key_count - first;
    if (before < KEYS_COMPARED) {
        for (uint32_t i = first; i < parser->key_count; i++) {
            if (keys_equal(parser, &parser->keys[i], fresh)) {
                return true;
            }
        }
        return false;
    }
    if (before == KEYS_COMPARED) {
        for (uint32_t i = first; i < parser->key_count; i++) {
            parser->keys[i].hash = key_hash(parser, &parser->keys[i]);
        }
    }
    fresh->hash = key_hash(parser, fresh);
    for (uint32_t i = first; i < parser->key_count; i++) {
        if (parser->keys[i].hash == fresh->hash && keys_equal(parser, &parser->keys[i], fresh)) {
            return true;
        }
    }
    return false;
}

static enum err check_escaped_key(struct parser *parser, const uint8_t *raw, size_t raw_bytes) {
    uint8_t scratch[LIMIT_JSON_KEY_BYTES];
    if (raw_bytes > KEY_RAW_BYTES_MAX ||
        json_text_unescape(raw, raw_bytes, scratch, sizeof scratch) > sizeof scratch) {
        return fail(parser, ERR_TOO_LARGE, "member name too long");
    }
    if (json_text_has_nul(raw, raw_bytes)) {
        return fail(parser, ERR_INVALID, "NUL in a member name");
    }
    return ERR_OK;
}

/* A key and its colon, in the innermost object. */
static enum err check_key(struct parser *parser) {
    skip_space(parser);
    if (parser->at == parser->end || *parser->at != '"') {
        return fail(parser, ERR_INVALID, "a member name in quotes is expected");
    }
    uint32_t first = parser->levels[parser->depth - 1].first_key;
    if (parser->key_count - first >= LIMIT_JSON_MEMBERS ||
        parser->key_count >= LIMIT_JSON_OPEN_MEMBERS) {
        return fail(parser, ERR_TOO_LARGE, "too many members");
    }
    const uint8_t *raw = ++parser->at;
    bool escaped;
    enum err error = check_string(parser, &escaped);
    if (error != ERR_OK) {
        return error;
    }
    size_t raw_bytes = (size_t)(parser->at - 1 - raw);
    error = escaped ? check_escaped_key(parser, raw, raw_bytes) : ERR_OK;
    if (error == ERR_OK && !escaped && raw_bytes > LIMIT_JSON_KEY_BYTES) {
        error = fail(parser, ERR_TOO_LARGE, "member name too long");
    }
    if (error != ERR_OK) {
        return error;
    }
    parser->keys[parser->key_count] = (struct open_key){.offset = (uint32_t)(raw - parser->start),
                                                        .raw_bytes = (uint16_t)raw_bytes,
                                                        .escaped = escaped};
    if (key_is_duplicate(parser, first)) {
        parser->at = raw;
        return fail(parser, ERR_INVALID, "member name given twice");
    }
    parser->key_count++;
    skip_space(parser);
    if (parser->at == parser->end || *parser->at != ':') {
        return fail(parser, ERR_INVALID, "a colon is expected");
    }
    parser->at++;
    return ERR_OK;
}

/* --- numbers and words -------------------------------------------------------------------------
 */

static size_t skip_digits(struct parser *parser) {
    const uint8_t *from = parser->at;
    while (parser->at < parser->end && *parser->at >= '0' && *parser->at <= '9') {
        parser->at++;
    }
    return (size_t)(parser->at - from);
}

static bool next_is(const struct parser *parser, uint8_t byte) {
    return parser->at < parser->end && *parser->at == byte;
}

/* [eE][+-]?digits; parser->at is behind the letter. Returns false when there are no digits. */
static bool check_exponent(struct parser *parser, long *exponent) {
    bool is_negative = next_is(parser, '-');
    if (is_negative || next_is(parser, '+')) {
        parser->at++;
    }
    const uint8_t *digits = parser->at;
    if (skip_digits(parser) == 0) {
        return false;
    }
    long value = 0;
    for (; digits < parser->at && value < 100000; digits++) {
        value = value * 10 + (*digits - '0');
    }
    *exponent = is_negative ? -value : value;
    return true;
}

static enum err check_number(struct parser *parser) {
    const uint8_t *from = parser->at;
    long exponent = 0;
    if (next_is(parser, '-')) {
        parser->at++;
    }
    bool leads_with_zero = next_is(parser, '0');
    size_t digits = skip_digits(parser);
    if (digits == 0 || (leads_with_zero && digits > 1)) {
        return fail(parser, ERR_INVALID, "malformed number");
    }
    if (next_is(parser, '.')) {
        parser->at++;
        if (skip_digits(parser) == 0) {
            return fail(parser, ERR_INVALID, "malformed number");
        }
    }
    if (next_is(parser, 'e') || next_is(parser, 'E')) {
        parser->at++;
        if (!check_exponent(parser, &exponent)) {
            return fail(parser, ERR_INVALID, "malformed number");
        }
    }
    long magnitude = (leads_with_zero ? 0 : (long)digits) + exponent;
    if (parser->at - from > LIMIT_JSON_NUMBER_BYTES || magnitude > NUMBER_DIGITS_MAX) {
        return fail(parser, ERR_TOO_LARGE, "number out of range");
    }
    return ERR_OK;
}

static enum err check_word(struct parser *parser, const char *word) {
    size_t bytes = strlen(word);
    if ((size_t)(parser->end - parser->at) < bytes || memcmp(parser->at, word, bytes) != 0) {
        return fail(parser, ERR_INVALID, "a value is expected");
    }
    parser->at += bytes;
    return ERR_OK;
}

static enum err check_scalar(struct parser *parser) {
    bool escaped;
    switch (*parser->at) {
    case '"':
        parser->at++;
        return check_string(parser, &escaped);
    case 't':
        return check_word(parser, "true");
    case 'f':
        return check_word(parser, "false");
    case 'n':
        return check_word(parser, "null");
    default:
        if (*parser->at == '-' || (*parser->at >= '0' && *parser->at <= '9')) {
            return check_number(parser);
        }
        return fail(parser, ERR_INVALID, "a value is expected");
    }
}

/* --- structure ---------------------------------------------------------------------------------
 */

/* parser->at is on { or [. Leaves the parser before the first value, or behind the closed empty
 * container with *is_open false. */
static enum err open_container(struct parser *parser, bool *is_open) {
    bool is_object = *parser->at == '{';
    if (parser->depth == LIMIT_JSON_DEPTH) {
        return fail(parser, ERR_TOO_LARGE, "nested too deeply");
    }
    parser->at++;
    skip_space(parser);
    *is_open = !next_is(parser, is_object ? '}' : ']');
    if (!*is_open) {
        parser->at++;
        return ERR_OK;
    }
    parser->levels[parser->depth++] =
        (struct level){.first_key = parser->key_count, .is_object = is_object};
    return is_object ? check_key(parser) : ERR_OK;
}

/* Behind a value: closes what ends here. *is_done: the root is complete; else a value follows. */
static enum err follow_value(struct parser *parser, bool *is_done) {
    while (parser->depth > 0) {
        const struct level *level = &parser->levels[parser->depth - 1];
        skip_space(parser);
        if (next_is(parser, ',')) {
            parser->at++;
            *is_done = false;
            return level->is_object ? check_key(parser) : ERR_OK;
        }
        if (!next_is(parser, level->is_object ? '}' : ']')) {
            return fail(parser, ERR_INVALID, "a comma or the end of the container is expected");
        }
        parser->at++;
        parser->key_count = level->first_key;
        parser->depth--;
    }
    *is_done = true;
    return ERR_OK;
}

static enum err check_document(struct parser *parser) {
    for (bool is_done = false; !is_done;) {
        skip_space(parser);
        if (parser->at == parser->end) {
            return fail(parser, ERR_INVALID, "a value is expected");
        }
        bool is_open = false;
        enum err error = *parser->at == '{' || *parser->at == '[' ? open_container(parser, &is_open)
                                                                  : check_scalar(parser);
        if (error == ERR_OK && !is_open) {
            error = follow_value(parser, &is_done);
        }
        if (error != ERR_OK) {
            return error;
        }
    }
    return ERR_OK;
}

enum err json_parse(const uint8_t *bytes, size_t count, struct json_value *root,
                    struct json_problem *problem) {
    /* Not cleared: 12 KiB of keys that are written before they are read. */
    __attribute__((uninitialized)) struct parser parser;
    parser.start = bytes;
    parser.at = bytes;
    parser.end = count > 0 ? bytes + count : bytes;
    parser.problem = "";
    parser.depth = 0;
    parser.key_count = 0;
    enum err error = ERR_OK;
    const uint8_t *root_end = NULL;
    if (count > UINT32_MAX) {
        error = fail(&parser, ERR_TOO_LARGE, "document too large");
    } else {
        error = check_document(&parser);
        root_end = parser.at;
        skip_space(&parser);
        if (error == ERR_OK && parser.at != parser.end) {
            error = fail(&parser, ERR_INVALID, "text behind the end of the document");
        }
    }
    if (error != ERR_OK) {
        if (problem != NULL) {
            problem->text = parser.problem;
            problem->offset = (size_t)(parser.at - parser.start);
        }
        return error;
    }
    parser.at = bytes;
    skip_space(&parser);
    *root = json_text_value(parser.at, root_end);
    return ERR_OK;
}
