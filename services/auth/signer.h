/* signer: ES256 keys and the access tokens they sign. */
#ifndef PIPIT_AUTH_SIGNER_H
#define PIPIT_AUTH_SIGNER_H

#include "common/err.h"
#include "common/token.h"
#include <stddef.h>
#include <stdint.h>

#define SIGNER_PEM_BYTES 512 /* a P-256 key in PEM takes 227 */

struct signer_key {
    char kid[TOKEN_KID_BYTES];
    char private_pem[SIGNER_PEM_BYTES]; /* NUL-terminated; wipe with sodium_memzero */
    uint8_t x[32], y[32];
};
/* A fresh P-256 key with a random kid. ERR_NO_MEMORY. */
enum err signer_key_make(struct signer_key *key) MUST_CHECK;

struct signer_claims {
    const char *issuer, *audience, *user, *device, *jti;
    uint64_t issued_s, expires_s;
    bool admin; /* scope "admin" */
};
/* Writes the signed token, NUL-terminated, into token[TOKEN_BYTES_MAX]. ERR_INVALID: not a key;
 * ERR_TOO_LARGE, ERR_NO_MEMORY. */
enum err signer_sign(const struct signer_key *key, const struct signer_claims *claims,
                     char token[TOKEN_BYTES_MAX]) MUST_CHECK;

#endif
