/* token: verification of access tokens (JWT, ES256 alone) against cached public keys. The algorithm
 * is pinned: the key table decides, never the token's header. Nothing here asks another service. */
#ifndef PIPIT_COMMON_TOKEN_H
#define PIPIT_COMMON_TOKEN_H

#include "common/err.h"
#include <stddef.h>
#include <stdint.h>

#define TOKEN_BYTES_MAX 4096
#define TOKEN_KID_BYTES 48
#define TOKEN_USER_BYTES 40   /* user id and NUL */
#define TOKEN_DEVICE_BYTES 40 /* device id and NUL */
#define TOKEN_JTI_BYTES 48
#define TOKEN_LEEWAY_MS 5000 /* clock skew between our machines that exp and nbf tolerate */

struct token_claims {
    char user[TOKEN_USER_BYTES];     /* sub */
    char device[TOKEN_DEVICE_BYTES]; /* did */
    char jti[TOKEN_JTI_BYTES];
    uint64_t issued_ms, expires_ms;
    bool admin; /* scope contains "admin" */
};
struct token_keys; /* kid -> public key */

/* issuer and audience are copied; a token must carry exactly these. */
enum err token_keys_create(const char *issuer, const char *audience,
                           struct token_keys **out) MUST_CHECK;
void token_keys_destroy(struct token_keys **keys);
/* Adds or replaces: x and y are the P-256 point's coordinates. ERR_INVALID: not on the curve. At
 * most TOKEN_KEYS_MAX (ERR_FULL). Not thread-safe with token_verify: owners swap whole sets. */
#define TOKEN_KEYS_MAX 8
enum err token_keys_add(struct token_keys *keys, const char *kid, const uint8_t x[32],
                        const uint8_t y[32]) MUST_CHECK;
void token_keys_clear(struct token_keys *keys);
size_t token_keys_count(const struct token_keys *keys);
/* Checks shape (three base64url parts, strict JSON header and claims, no duplicate keys), header
 * alg "ES256" and typ, kid known, signature, iss, aud, exp, nbf, iat, sub, did. ERR_TOO_LARGE,
 * ERR_INVALID (malformed or forged), ERR_NOT_FOUND (unknown kid: fetch keys and retry once),
 * ERR_EXPIRED. claims are untouched on failure. */
enum err token_verify(const struct token_keys *keys, const char *token, size_t token_bytes,
                      uint64_t now_wall_ms, struct token_claims *claims) MUST_CHECK;

#endif
