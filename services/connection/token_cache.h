/* token_cache: access tokens that were verified before: a client that reconnects costs a hash
 * instead of a signature check (0.1 ms on a Pi 4). */
#ifndef PIPIT_CONNECTION_TOKEN_CACHE_H
#define PIPIT_CONNECTION_TOKEN_CACHE_H

#include "common/token.h"
#include <stdbool.h>

struct hub_token_cache;
/* Remembers the count_max tokens used last. */
enum err hub_token_cache_create(size_t count_max, struct hub_token_cache **out) MUST_CHECK;
void hub_token_cache_destroy(struct hub_token_cache **cache);
/* True and *claims, when the token was added and its expiry (with TOKEN_LEEWAY_MS) is not reached.
 */
bool hub_token_cache_find(struct hub_token_cache *cache, const char *token, size_t token_bytes,
                          uint64_t now_wall_ms, struct token_claims *claims);
/* The token must have been verified. */
void hub_token_cache_add(struct hub_token_cache *cache, const char *token, size_t token_bytes,
                         const struct token_claims *claims);
/* The keys changed: what they signed must be verified anew. */
void hub_token_cache_clear(struct hub_token_cache *cache);

#endif
