/* The shape of names, and ids derived from them.
 *
 * Names travel into topics, file names, logs and SQL, so their alphabet is small and lower case:
 * "Ann" and "ann" cannot be two people, and no name can act as an MQTT wildcard (CVE-2017-7650: a
 * user called "#" passed every pattern rule of a broker). The prefixes u_, c_ and d_ keep the kinds
 * of ids apart, and a user name that began with "u_" would make "u_bob" ambiguous, so there is
 * none.
 *
 * The id of a direct conversation is a hash of its two users: both sides find it without asking,
 * and nobody can take it for a group because group ids may not begin with "c_dm-". SHA-256 rather
 * than something faster: a web page can compute it too. */
#include "proto/names.h"

#include "common/id.h"
#include "common/token.h"
#include "proto/utf8.h"
#include <sodium.h>
#include <string.h>

#define DIRECT_HASH_BYTES 16 /* 26 base32 characters */

_Static_assert(LIMIT_USER_ID_BYTES < TOKEN_USER_BYTES, "a token holds every user id");
_Static_assert(LIMIT_DEVICE_ID_BYTES < TOKEN_DEVICE_BYTES, "a token holds every device id");

enum {
    CLASS_LOWER = 1, /* a-z 0-9 */
    CLASS_UPPER = 2,
    CLASS_DASH = 4, /* - and _ */
    CLASS_DOT = 8
};

static bool byte_in(char byte, unsigned classes) {
    if ((byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9')) {
        return (classes & CLASS_LOWER) != 0;
    }
    if (byte >= 'A' && byte <= 'Z') {
        return (classes & CLASS_UPPER) != 0;
    }
    if (byte == '-' || byte == '_') {
        return (classes & CLASS_DASH) != 0;
    }
    return byte == '.' && (classes & CLASS_DOT) != 0;
}

static bool all_in(const char *text, size_t count, unsigned classes) {
    for (size_t i = 0; i < count; i++) {
        if (!byte_in(text[i], classes)) {
            return false;
        }
    }
    return true;
}

static bool has_prefix(const char *text, size_t count, const char *prefix) {
    size_t bytes = strlen(prefix);
    return count >= bytes && memcmp(text, prefix, bytes) == 0;
}

bool names_user_name_valid(const char *name, size_t count) {
    return count >= 1 && count <= LIMIT_USER_NAME_BYTES && byte_in(name[0], CLASS_LOWER) &&
           all_in(name, count, CLASS_LOWER | CLASS_DASH | CLASS_DOT) &&
           !has_prefix(name, count, "u_");
}

bool names_user_id_valid(const char *id, size_t count) {
    return has_prefix(id, count, "u_") && names_user_name_valid(id + 2, count - 2);
}

bool names_conversation_id_valid(const char *id, size_t count) {
    return count >= 3 && count <= LIMIT_CONVERSATION_ID_BYTES && has_prefix(id, count, "c_") &&
           all_in(id + 2, count - 2, CLASS_LOWER | CLASS_DASH);
}

bool names_is_direct(const char *conversation, size_t count) {
    return has_prefix(conversation, count, NAMES_DIRECT_PREFIX);
}

bool names_group_id_valid(const char *id, size_t count) {
    return names_conversation_id_valid(id, count) && !names_is_direct(id, count);
}

bool names_device_id_valid(const char *id, size_t count) {
    return count >= 3 && count <= LIMIT_DEVICE_ID_BYTES && has_prefix(id, count, "d_") &&
           all_in(id + 2, count - 2, CLASS_LOWER | CLASS_UPPER | CLASS_DASH);
}

/* C0, DEL, C1, and the characters that end a line or turn the direction of text. */
static bool is_control(uint32_t code_point) {
    return code_point < 0x20 || (code_point >= 0x7F && code_point <= 0x9F) ||
           (code_point >= 0x2028 && code_point <= 0x202E) ||
           (code_point >= 0x2066 && code_point <= 0x2069) || code_point == 0xFEFF;
}

static bool is_space(uint32_t code_point) {
    return code_point == ' ' || code_point == 0xA0 || code_point == 0x1680 ||
           (code_point >= 0x2000 && code_point <= 0x200A) || code_point == 0x202F ||
           code_point == 0x205F || code_point == 0x3000;
}

/* Valid UTF-8 without controls; counts the characters that are no spaces, and the spaces. */
static bool scan_label(const char *text, size_t count, size_t *visible, size_t *spaces) {
    const uint8_t *bytes = (const uint8_t *)text;
    *visible = 0;
    *spaces = 0;
    for (size_t at = 0; at < count;) {
        uint32_t code_point;
        size_t length = utf8_decode(bytes + at, count - at, &code_point);
        if (length == 0 || is_control(code_point)) {
            return false;
        }
        *(is_space(code_point) ? spaces : visible) += 1;
        at += length;
    }
    return true;
}

bool names_emoji_valid(const char *emoji, size_t count) {
    size_t visible, spaces;
    return count >= 1 && count <= LIMIT_EMOJI_BYTES &&
           scan_label(emoji, count, &visible, &spaces) && spaces == 0;
}

bool names_label_valid(const char *label, size_t count, size_t max_bytes) {
    size_t visible, spaces;
    return count >= 1 && count <= max_bytes && scan_label(label, count, &visible, &spaces) &&
           visible > 0;
}

static void prefixed(const char *prefix, const char *text, size_t count, char *id) {
    memcpy(id, prefix, 2);
    memcpy(id + 2, text, count);
    id[2 + count] = '\0';
}

enum err names_user_id(const char *name, size_t count, char id[LIMIT_USER_ID_BYTES + 1]) {
    if (!names_user_name_valid(name, count)) {
        return ERR_INVALID;
    }
    prefixed("u_", name, count, id);
    return ERR_OK;
}

enum err names_user_id_accept(const char *text, size_t count, char id[LIMIT_USER_ID_BYTES + 1]) {
    if (has_prefix(text, count, "u_")) {
        return names_user_id(text + 2, count - 2, id);
    }
    return names_user_id(text, count, id);
}

enum err names_conversation_id_accept(const char *text, size_t count,
                                      char id[LIMIT_CONVERSATION_ID_BYTES + 1]) {
    size_t skip = has_prefix(text, count, "c_") ? 2 : 0;
    if (count - skip < 1 || count - skip > LIMIT_CONVERSATION_ID_BYTES - 2 ||
        !all_in(text + skip, count - skip, CLASS_LOWER | CLASS_DASH)) {
        return ERR_INVALID;
    }
    prefixed("c_", text + skip, count - skip, id);
    return ERR_OK;
}

enum err names_direct_conversation(const char *user, const char *other,
                                   char id[LIMIT_CONVERSATION_ID_BYTES + 1]) {
    size_t user_bytes = strlen(user), other_bytes = strlen(other);
    if (!names_user_id_valid(user, user_bytes) || !names_user_id_valid(other, other_bytes)) {
        return ERR_INVALID;
    }
    char pair[2 * LIMIT_USER_ID_BYTES + 1];
    bool in_order = strcmp(user, other) <= 0;
    const char *first = in_order ? user : other, *second = in_order ? other : user;
    size_t first_bytes = in_order ? user_bytes : other_bytes;
    size_t second_bytes = in_order ? other_bytes : user_bytes;
    memcpy(pair, first, first_bytes);
    pair[first_bytes] = '\n';
    memcpy(pair + first_bytes + 1, second, second_bytes);

    uint8_t hash[crypto_hash_sha256_BYTES];
    (void)crypto_hash_sha256(hash, (const uint8_t *)pair,
                             first_bytes + 1 + second_bytes); /* always 0 */
    size_t prefix_bytes = strlen(NAMES_DIRECT_PREFIX);
    memcpy(id, NAMES_DIRECT_PREFIX, prefix_bytes);
    id_base32(hash, DIRECT_HASH_BYTES, id + prefix_bytes);
    return ERR_OK;
}
