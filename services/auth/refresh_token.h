/* refresh_token: "pr_" and 256 random bits as base64url. Only its SHA-256 leaves this process; the
 * token has no structure to guess and needs no slow hash. */
#ifndef PIPIT_AUTH_REFRESH_TOKEN_H
#define PIPIT_AUTH_REFRESH_TOKEN_H

#include "common/err.h"
#include <stdint.h>

#define REFRESH_TOKEN_TEXT_BYTES 47 /* 3 + 43 and NUL */
#define REFRESH_TOKEN_HASH_BYTES 32

void refresh_token_make(char token[REFRESH_TOKEN_TEXT_BYTES]);
/* ERR_INVALID: not of this shape (padding and unused bits included: one token has one spelling). */
enum err refresh_token_hash(const char *token, uint8_t hash[REFRESH_TOKEN_HASH_BYTES]) MUST_CHECK;

#endif
