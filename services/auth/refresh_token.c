/* refresh_token: the shape is checked before the hash, so nonsense never becomes a question to
 * storage; comparing is storage's look-up by hash, which leaks nothing about the token. */
#include "services/auth/refresh_token.h"

#include "common/contract.h"
#include "common/id.h"
#include <sodium.h>
#include <string.h>

#define RANDOM_BYTES 32
static const char prefix[] = "pr_";
#define PREFIX_BYTES (sizeof prefix - 1)
/* libsodium 1.0.18 takes some bytes above 0x7f for letters, so the alphabet is checked here. */
static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void refresh_token_make(char token[REFRESH_TOKEN_TEXT_BYTES]) {
    uint8_t random[RANDOM_BYTES];
    id_random(random, sizeof random);
    memcpy(token, prefix, PREFIX_BYTES);
    CONTRACT(sodium_bin2base64(token + PREFIX_BYTES, REFRESH_TOKEN_TEXT_BYTES - PREFIX_BYTES,
                               random, sizeof random,
                               sodium_base64_VARIANT_URLSAFE_NO_PADDING) != NULL);
    sodium_memzero(random, sizeof random);
}

enum err refresh_token_hash(const char *token, uint8_t hash[REFRESH_TOKEN_HASH_BYTES]) {
    uint8_t random[RANDOM_BYTES];
    size_t random_bytes = 0;
    const char *end = NULL;
    size_t length = strnlen(token, REFRESH_TOKEN_TEXT_BYTES);
    if (length != REFRESH_TOKEN_TEXT_BYTES - 1 || memcmp(token, prefix, PREFIX_BYTES) != 0 ||
        strspn(token + PREFIX_BYTES, alphabet) != length - PREFIX_BYTES ||
        sodium_base642bin(random, sizeof random, token + PREFIX_BYTES, length - PREFIX_BYTES, NULL,
                          &random_bytes, &end, sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
        end != token + length || random_bytes != sizeof random) {
        return ERR_INVALID;
    }
    sodium_memzero(random, sizeof random);
    (void)crypto_hash_sha256(hash, (const uint8_t *)token, length); /* always 0 */
    return ERR_OK;
}
