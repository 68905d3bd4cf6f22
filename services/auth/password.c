/* password: libsodium's argon2id in its text form, which carries its own parameters and salt.
 *
 * Lengths are counted in code points because people count characters; bytes are bounded as well,
 * and nothing is cut or normalised. A password on the list of common ones is refused whatever its
 * length, and so is the user's own name. */
#include "services/auth/password.h"

#include "common/contract.h"
#include "common/id.h"
#include "proto/utf8.h"
#include <string.h>
#include <strings.h>

static char stand_in[PASSWORD_HASH_BYTES]; /* written once, before threads */

static size_t count_points(const char *text) {
    size_t points = 0;
    for (; *text != '\0'; text++) {
        points += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return points;
}

const char *password_refusal(const struct common_passwords *common, const char *password,
                             const char *user_name) {
    size_t bytes = strlen(password);
    size_t points = count_points(password);
    if (points < PASSWORD_POINTS_MIN) {
        return "The password must have at least 8 characters.";
    }
    if (points > PASSWORD_POINTS_MAX || bytes > PASSWORD_BYTES_MAX) {
        return "The password must have at most 256 characters.";
    }
    if (strcasecmp(password, user_name) == 0) {
        return "The password must not be the user name.";
    }
    if (common_passwords_have(common, password)) {
        return "The password is on the list of common passwords; choose another.";
    }
    return NULL;
}

enum err password_hash(const char *password, char hash[PASSWORD_HASH_BYTES]) {
    int made = crypto_pwhash_str_alg(hash, password, strlen(password), PASSWORD_OPSLIMIT,
                                     PASSWORD_MEMLIMIT, crypto_pwhash_ALG_ARGON2ID13);
    return made == 0 ? ERR_OK : ERR_NO_MEMORY;
}

bool password_matches(const char *hash, const char *password) {
    bool real = hash != NULL && hash[0] != '\0';
    CONTRACT(stand_in[0] != '\0');
    int same = crypto_pwhash_str_verify(real ? hash : stand_in, password, strlen(password));
    return real && same == 0;
}

enum err password_prepare(void) {
    char random[33];
    uint8_t bytes[16];
    id_random(bytes, sizeof bytes);
    id_base32(bytes, sizeof bytes, random);
    return password_hash(random, stand_in);
}
