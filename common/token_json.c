/* token_json: reads the header and the claims.
 *
 * Two parsers that disagree about a duplicate key would see two different tokens, so duplicates are
 * errors; so is anything behind the object. The depth is checked over the raw bytes first, because
 * the parser recurses. Texts are taken only whole: one that does not fit its field is refused,
 * never cut, since a cut user id is another user. Times are whole seconds in the range of JSON's
 * exact integers, so the milliseconds cannot overflow. */
#include "common/token_json.h"

#include <jansson.h>
#include <string.h>

#define TOKEN_SECONDS_MAX 9007199254740 /* as milliseconds below 2^53 */

/* Counts brackets outside strings; broken JSON may give any answer, the parser refuses it later. */
static bool too_deep(const char *json, size_t json_bytes) {
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < json_bytes; i++) {
        char character = json[i];
        if (in_string) {
            i += character == '\\' ? 1 : 0;
            in_string = character != '"';
        } else if (character == '"') {
            in_string = true;
        } else if (character == '{' || character == '[') {
            if (++depth > TOKEN_JSON_DEPTH_MAX) {
                return true;
            }
        } else if ((character == '}' || character == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

/* ERR_NO_MEMORY or ERR_INVALID; the object is released with json_decref. */
static enum err parse(const char *json, size_t json_bytes, json_t **out) {
    json_error_t problem;
    if (too_deep(json, json_bytes)) {
        return ERR_INVALID;
    }
    json_t *object = json_loadb(json, json_bytes, JSON_REJECT_DUPLICATES, &problem);
    if (object == NULL) {
        return json_error_code(&problem) == json_error_out_of_memory ? ERR_NO_MEMORY : ERR_INVALID;
    }
    if (!json_is_object(object)) {
        json_decref(object);
        return ERR_INVALID;
    }
    *out = object;
    return ERR_OK;
}

static bool text_is(const json_t *object, const char *key, const char *expected) {
    const json_t *value = json_object_get(object, key);
    return json_is_string(value) && json_string_length(value) == strlen(expected) &&
           memcmp(json_string_value(value), expected, strlen(expected)) == 0;
}

/* Non-empty, without control characters, whole. */
static bool copy_text(const json_t *object, const char *key, char *out, size_t out_bytes) {
    const json_t *value = json_object_get(object, key);
    size_t length = json_is_string(value) ? json_string_length(value) : 0;
    const char *text = json_string_value(value);
    if (length == 0 || length >= out_bytes) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            return false;
        }
    }
    memcpy(out, text, length);
    out[length] = '\0';
    return true;
}

static bool copy_seconds(const json_t *object, const char *key, uint64_t *milliseconds) {
    const json_t *value = json_object_get(object, key);
    json_int_t seconds = json_is_integer(value) ? json_integer_value(value) : -1;
    if (seconds < 0 || seconds > TOKEN_SECONDS_MAX) {
        return false;
    }
    *milliseconds = (uint64_t)seconds * 1000u;
    return true;
}

enum err token_json_header(const char *json, size_t json_bytes, char kid[TOKEN_KID_BYTES]) {
    static const char *const refused[] = {"crit", "jku", "jwk", "x5u", "x5c"};
    json_t *object = NULL;
    enum err error = parse(json, json_bytes, &object);
    if (error != ERR_OK) {
        return error;
    }
    char read[TOKEN_KID_BYTES];
    /* RFC 9068 asks for "at+jwt"; libjwt 1.10 writes "JWT" whatever it is told. The keys sign
     * access tokens alone, so the weaker name confuses nothing. */
    bool typ = text_is(object, "typ", "at+jwt") || text_is(object, "typ", "JWT");
    bool valid =
        typ && text_is(object, "alg", "ES256") && copy_text(object, "kid", read, sizeof(read));
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        valid = valid && json_object_get(object, refused[i]) == NULL;
    }
    json_decref(object);
    if (!valid) {
        return ERR_INVALID;
    }
    memcpy(kid, read, sizeof(read));
    return ERR_OK;
}

/* Absent is an empty scope; "administrator" is not "admin". */
static bool read_scope(const json_t *object, bool *admin) {
    const json_t *value = json_object_get(object, "scope");
    *admin = false;
    if (value == NULL) {
        return true;
    }
    if (!json_is_string(value) || json_string_length(value) != strlen(json_string_value(value))) {
        return false;
    }
    const char *at = json_string_value(value);
    while (*at != '\0') {
        size_t length = strcspn(at, " ");
        *admin = *admin || (length == 5 && memcmp(at, "admin", 5) == 0);
        at += length;
        at += strspn(at, " ");
    }
    return true;
}

enum err token_json_claims(const char *json, size_t json_bytes, const char *issuer,
                           const char *audience, struct token_claims *claims,
                           uint64_t *not_before_ms) {
    json_t *object = NULL;
    enum err error = parse(json, json_bytes, &object);
    if (error != ERR_OK) {
        return error;
    }
    struct token_claims read = {0};
    uint64_t not_before = 0;
    bool valid = text_is(object, "iss", issuer) && text_is(object, "aud", audience) &&
                 copy_text(object, "sub", read.user, sizeof(read.user)) &&
                 copy_text(object, "did", read.device, sizeof(read.device)) &&
                 copy_text(object, "jti", read.jti, sizeof(read.jti)) &&
                 copy_seconds(object, "iat", &read.issued_ms) &&
                 copy_seconds(object, "exp", &read.expires_ms) && read_scope(object, &read.admin);
    if (json_object_get(object, "nbf") != NULL) {
        valid = valid && copy_seconds(object, "nbf", &not_before);
    }
    json_decref(object);
    if (!valid) {
        return ERR_INVALID;
    }
    *claims = read;
    *not_before_ms = not_before;
    return ERR_OK;
}
