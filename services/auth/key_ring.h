/* key_ring: the signing keys that all auth instances share through storage, held in memory: signs
 * access tokens, verifies them, and publishes the public parts. Any thread unless said. */
#ifndef PIPIT_AUTH_KEY_RING_H
#define PIPIT_AUTH_KEY_RING_H

#include "services/auth/ask.h"
#include "services/auth/key_schedule.h"
#include "services/auth/signer.h"

struct key_ring;
/* Texts are borrowed for the ring's life. The ring starts without keys. ERR_NO_MEMORY. */
enum err key_ring_create(const struct key_policy *policy, const char *issuer, const char *audience,
                         struct key_ring **out) MUST_CHECK;
void key_ring_destroy(struct key_ring **ring);

/* Loads the keys from storage; makes, announces and retires what the schedule says is due. Another
 * instance that does the same at the same time is no error. *changed: the published set is another
 * than before. Blocks; one thread at a time. Errors of ask_storage; the ring is as before then. */
enum err key_ring_refresh(struct key_ring *ring, struct ask *ask, uint64_t now_ms,
                          bool *changed) MUST_CHECK;
bool key_ring_ready(struct key_ring *ring); /* has at least one key */

/* claims' issuer and audience are the ring's. ERR_UNAVAILABLE: no keys yet, or they are so old that
 * others may sign with one that is not here; errors of signer_sign. */
enum err key_ring_sign(struct key_ring *ring, const struct signer_claims *claims, uint64_t now_ms,
                       char token[TOKEN_BYTES_MAX]) MUST_CHECK;
/* ERR_UNAVAILABLE: no keys yet, or an unknown one where ours are that old; errors of token_verify.
 */
enum err key_ring_verify(struct key_ring *ring, const char *token, size_t token_bytes,
                         uint64_t now_ms, struct token_claims *claims) MUST_CHECK;
/* Appends the JWK set (RFC 7517). ERR_NO_MEMORY, ERR_TOO_LARGE. */
enum err key_ring_jwks(struct key_ring *ring, struct buf *out) MUST_CHECK;
/* The public parts, copied into the arena. ERR_UNAVAILABLE: no keys yet; ERR_NO_MEMORY. */
enum err key_ring_public(struct key_ring *ring, struct arena *arena, Pipit__SigningKey ***keys,
                         size_t *count) MUST_CHECK;

#endif
