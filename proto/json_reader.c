/* The walk over a document that json_parse has checked: members, elements and scalar values.
 *
 * Because the text is known to be well-formed, a value is skipped by finding its end alone: the
 * closing quote of a string, the matching bracket of a container (brackets inside strings do not
 * count), the next delimiter of a number or word. So decoding a frame reads its body twice, once to
 * check and once to skip, and copies nothing. Only the typed getters can fail: the sender chose
 * another type or too large a value. */
#include "proto/json_reader.h"

#include "common/contract.h"
#include "proto/json_text.h"
#include "proto/limits.h"

static const uint8_t *skip_space(const uint8_t *at, const uint8_t *end) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) {
        at++;
    }
    return at;
}

/* at is on the opening quote; returns the byte behind the closing one. */
static const uint8_t *skip_string(const uint8_t *at, const uint8_t *end) {
    at = json_text_delimiter(at + 1, end);
    while (*at != '"') {
        at = json_text_delimiter(at + 2, end);
    }
    return at + 1;
}

static const uint8_t *skip_container(const uint8_t *at, const uint8_t *end) {
    size_t depth = 0;
    for (;;) {
        switch (*at) {
        case '{':
        case '[':
            depth++;
            at++;
            break;
        case '}':
        case ']':
            at++;
            if (--depth == 0) {
                return at;
            }
            break;
        case '"':
            at = skip_string(at, end);
            break;
        default:
            at++;
            break;
        }
    }
}

static const uint8_t *skip_value(const uint8_t *at, const uint8_t *end) {
    if (*at == '"') {
        return skip_string(at, end);
    }
    if (*at == '{' || *at == '[') {
        return skip_container(at, end);
    }
    while (at < end && *at != ',' && *at != '}' && *at != ']' && *at > ' ') {
        at++;
    }
    return at;
}

static struct json_value take_value(struct json_iter *iter) {
    const uint8_t *from = skip_space(iter->at, iter->end);
    iter->at = skip_value(from, iter->end);
    return json_text_value(from, iter->at);
}

void json_iter_begin(struct json_iter *iter, const struct json_value *value) {
    CONTRACT(value->kind == JSON_OBJECT || value->kind == JSON_ARRAY);
    iter->at = value->raw.bytes + 1;
    iter->end = value->raw.bytes + value->raw.count - 1; /* on the closing bracket */
}

/* To the next member or element; false at the end. */
static bool advance(struct json_iter *iter) {
    iter->at = skip_space(iter->at, iter->end);
    if (iter->at < iter->end && *iter->at == ',') {
        iter->at = skip_space(iter->at + 1, iter->end);
    }
    return iter->at < iter->end;
}

bool json_next_member(struct json_iter *iter, struct json_member *member) {
    if (!advance(iter)) {
        return false;
    }
    member->key = take_value(iter);
    iter->at = skip_space(iter->at, iter->end) + 1; /* the colon */
    member->value = take_value(iter);
    return true;
}

bool json_next_element(struct json_iter *iter, struct json_value *element) {
    if (!advance(iter)) {
        return false;
    }
    *element = take_value(iter);
    return true;
}

bool json_find(const struct json_value *object, const char *name, struct json_value *value) {
    struct json_iter iter;
    struct json_member member;
    json_iter_begin(&iter, object);
    while (json_next_member(&iter, &member)) {
        if (json_string_is(&member.key, name)) {
            *value = member.value;
            return true;
        }
    }
    return false;
}

/* Between the quotes. */
static struct slice inner(const struct json_value *value) {
    return slice_make(value->raw.bytes + 1, value->raw.count - 2);
}

static bool escaped_is(struct slice raw, const char *text) {
    uint8_t scratch[LIMIT_JSON_KEY_BYTES];
    size_t bytes = json_text_unescape(raw.bytes, raw.count, scratch, sizeof scratch);
    return bytes == strlen(text) && bytes <= sizeof scratch && memcmp(scratch, text, bytes) == 0;
}

bool json_string_is(const struct json_value *value, const char *text) {
    CONTRACT(value->kind == JSON_STRING);
    struct slice raw = inner(value);
    return value->escaped ? escaped_is(raw, text) : slice_is(raw, text);
}

size_t json_string_bytes(const struct json_value *value) {
    CONTRACT(value->kind == JSON_STRING);
    struct slice raw = inner(value);
    return value->escaped ? json_text_unescape(raw.bytes, raw.count, NULL, 0) : raw.count;
}

enum err json_string_copy(const struct json_value *value, char *text, size_t capacity) {
    if (value->kind != JSON_STRING) {
        return ERR_INVALID;
    }
    struct slice raw = inner(value);
    if (!value->escaped) {
        if (raw.count >= capacity) {
            return ERR_TOO_LARGE;
        }
        memcpy(text, raw.bytes, raw.count);
        text[raw.count] = '\0';
        return ERR_OK;
    }
    if (json_text_has_nul(raw.bytes, raw.count)) {
        return ERR_INVALID;
    }
    if (json_string_bytes(value) >= capacity) {
        return ERR_TOO_LARGE;
    }
    text[json_text_unescape(raw.bytes, raw.count, (uint8_t *)text, capacity)] = '\0';
    return ERR_OK;
}

enum err json_string_slice(const struct json_value *value, struct slice *slice) {
    if (value->kind != JSON_STRING || value->escaped) {
        return ERR_INVALID;
    }
    *slice = inner(value);
    return ERR_OK;
}

enum err json_u64(const struct json_value *value, uint64_t max, uint64_t *number) {
    if (value->kind != JSON_NUMBER) {
        return ERR_INVALID;
    }
    uint64_t result = 0;
    bool is_above = false;
    for (size_t i = 0; i < value->raw.count; i++) {
        uint8_t byte = value->raw.bytes[i];
        if (byte < '0' || byte > '9') {
            return ERR_INVALID;
        }
        uint64_t digit = byte - (uint64_t)'0';
        is_above = is_above || result > (UINT64_MAX - digit) / 10;
        result = result * 10 + digit;
    }
    if (is_above || result > max) {
        return ERR_TOO_LARGE;
    }
    *number = result;
    return ERR_OK;
}

enum err json_bool(const struct json_value *value, bool *flag) {
    if (value->kind != JSON_TRUE && value->kind != JSON_FALSE) {
        return ERR_INVALID;
    }
    *flag = value->kind == JSON_TRUE;
    return ERR_OK;
}
