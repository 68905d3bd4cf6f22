/* token_json: the two JSON objects of an access token, read strictly. For common/token alone. */
#ifndef PIPIT_COMMON_TOKEN_JSON_H
#define PIPIT_COMMON_TOKEN_JSON_H

#include "common/token.h"

/* Deepest nesting that is parsed: our tokens are flat objects; an auth of a later version may add
 * an object or two. */
#define TOKEN_JSON_DEPTH_MAX 4

/* {"alg":"ES256","typ":"at+jwt","kid":...}: copies kid. ERR_INVALID: any other alg or typ, no kid
 * or a long one, or a member that would bring a key or an extension (crit, jku, jwk, x5u, x5c).
 * Source: RFC 7515 section 4.1, RFC 8725 sections 3.1 and 3.10, RFC 9068 section 2.1. */
enum err token_json_header(const char *json, size_t json_bytes,
                           char kid[TOKEN_KID_BYTES]) MUST_CHECK;
/* iss and aud must equal the expected texts; sub, did, jti, iat and exp must be there; nbf may.
 * ERR_INVALID otherwise. *claims and *not_before_ms (0 = absent) are untouched on failure. */
enum err token_json_claims(const char *json, size_t json_bytes, const char *issuer,
                           const char *audience, struct token_claims *claims,
                           uint64_t *not_before_ms) MUST_CHECK;

#endif
