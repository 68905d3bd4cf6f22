/* key_ring: a rollover needs no leader. Every instance looks at the shared keys every few seconds
 * and does what is due: KeyPut names the number of keys it saw, so of two instances that make a key
 * at once one is refused and takes the other's; setting a retirement twice is the same as once. The
 * time between publishing a key and its first use (key_schedule.h) is far longer than the refresh
 * interval, so no instance meets a token whose key it has not seen.
 *
 * Unless it was stopped or cut off from storage for that long. Such an instance must neither sign
 * with a key whose successor has taken over (it leaves the published set while the token lives) nor
 * call a token forged because it does not know its key: when its keys are old enough for a
 * successor that it has not seen, it says "unavailable" until it has looked. */
#include "services/auth/key_ring.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/json_writer.h"
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define JWKS_BYTES_EXPECTED 512u
#define STALE_MS_MIN 1000u /* twice the keeper's shortest interval */
#define BASE64_BYTES 44    /* 32 bytes as base64url without padding: 43 and NUL */

struct ring_key {
    struct signer_key key;
    struct key_times times;
    uint64_t created_ms;
};
struct ring_keys {
    size_t count;
    struct ring_key keys[TOKEN_KEYS_MAX];
    struct key_times times[TOKEN_KEYS_MAX]; /* the same, for the schedule */
};
struct key_ring {
    struct key_policy policy;
    const char *issuer, *audience;
    pthread_rwlock_t lock;  /* guards all below */
    struct ring_keys *keys; /* never NULL */
    struct token_keys *verifier;
    uint64_t looked_ms; /* when storage was asked for them */
};

static void destroy_keys(struct ring_keys **keys) {
    if (*keys != NULL) {
        sodium_memzero(*keys, sizeof **keys);
        mem_free(*keys);
        *keys = NULL;
    }
}

enum err key_ring_create(const struct key_policy *policy, const char *issuer, const char *audience,
                         struct key_ring **out) {
    struct key_ring *ring = mem_zalloc(1, sizeof *ring);
    if (ring == NULL) {
        return ERR_NO_MEMORY;
    }
    ring->policy = *policy;
    ring->issuer = issuer;
    ring->audience = audience;
    ring->keys = mem_zalloc(1, sizeof *ring->keys);
    enum err error =
        ring->keys != NULL ? token_keys_create(issuer, audience, &ring->verifier) : ERR_NO_MEMORY;
    if (error != ERR_OK) {
        destroy_keys(&ring->keys);
        mem_free(ring);
        return error;
    }
    CONTRACT(pthread_rwlock_init(&ring->lock, NULL) == 0);
    *out = ring;
    return ERR_OK;
}

void key_ring_destroy(struct key_ring **ring) {
    if (*ring == NULL) {
        return;
    }
    destroy_keys(&(*ring)->keys);
    token_keys_destroy(&(*ring)->verifier);
    CONTRACT(pthread_rwlock_destroy(&(*ring)->lock) == 0);
    mem_free(*ring);
    *ring = NULL;
}

/* --- what storage has */

/* False: not a key we can use; it is skipped and logged. */
static bool take_key(const Pipit__SigningKey *stored, struct ring_key *key) {
    size_t kid_bytes = strlen(stored->kid);
    bool fits = kid_bytes > 0 && kid_bytes < sizeof key->key.kid && stored->x.len == 32 &&
                stored->y.len == 32 && stored->private_pem.len > 0 &&
                stored->private_pem.len < sizeof key->key.private_pem;
    if (!fits) {
        log_event(LOG_ERROR, "a stored signing key is damaged; not used",
                  F_TEXT("kid", stored->kid));
        return false;
    }
    memcpy(key->key.kid, stored->kid, kid_bytes + 1);
    memcpy(key->key.private_pem, stored->private_pem.data, stored->private_pem.len);
    key->key.private_pem[stored->private_pem.len] = '\0';
    memcpy(key->key.x, stored->x.data, 32);
    memcpy(key->key.y, stored->y.data, 32);
    key->created_ms = stored->created_ms;
    key->times = (struct key_times){stored->signs_from_ms, stored->retires_ms};
    return true;
}

/* Replaces the content of *keys; *live is the number that storage counts. */
static enum err load(struct ask *ask, uint64_t now_ms, struct ring_keys *keys, uint32_t *live) {
    Pipit__KeysRequest request = PIPIT__KEYS_REQUEST__INIT;
    Pipit__KeysReply *reply = NULL;
    request.with_private = true;
    request.now_ms = now_ms;
    enum err error = ASK(ask, KEYS_REQUEST, &request, KEYS_REPLY, &reply);
    if (error != ERR_OK) {
        return error;
    }
    /* Oldest first: should there be more than verifiers hold, the newest count. */
    size_t skip = reply->n_keys > TOKEN_KEYS_MAX ? reply->n_keys - TOKEN_KEYS_MAX : 0;
    keys->count = 0;
    for (size_t i = skip; i < reply->n_keys; i++) {
        if (take_key(reply->keys[i], &keys->keys[keys->count])) {
            keys->times[keys->count] = keys->keys[keys->count].times;
            keys->count++;
        }
        sodium_memzero(reply->keys[i]->private_pem.data, reply->keys[i]->private_pem.len);
    }
    sodium_memzero(ask->reply.bytes, ask->reply.held); /* the packed form, too */
    *live = (uint32_t)reply->n_keys;
    return ERR_OK;
}

/* --- what is due */

static enum err put_new(struct ask *ask, uint32_t live, uint64_t signs_from_ms, uint64_t now_ms) {
    struct signer_key key;
    Pipit__SigningKey stored = PIPIT__SIGNING_KEY__INIT;
    Pipit__KeyPut request = PIPIT__KEY_PUT__INIT;
    Pipit__StatusReply *reply = NULL;
    enum err error = signer_key_make(&key);
    if (error != ERR_OK) {
        return error;
    }
    stored.kid = key.kid;
    stored.private_pem = ask_bytes(key.private_pem, strlen(key.private_pem));
    stored.x = ask_bytes(key.x, sizeof key.x);
    stored.y = ask_bytes(key.y, sizeof key.y);
    stored.created_ms = now_ms;
    stored.signs_from_ms = signs_from_ms;
    request.key = &stored;
    request.expected_count = live;
    request.now_ms = now_ms;
    error = ASK(ask, KEY_PUT, &request, STATUS_REPLY, &reply);
    if (error == ERR_OK) {
        log_event(LOG_INFO, "made a signing key", F_TEXT("kid", key.kid),
                  F_UINT("signs_in_ms", signs_from_ms - now_ms));
    }
    sodium_memzero(&key, sizeof key);
    sodium_memzero(ask->request.bytes, ask->request.held);
    return error == ERR_CONFLICT ? ERR_OK : error; /* another instance was faster */
}

static enum err retire(struct key_ring *ring, struct ask *ask, struct ring_keys *keys) {
    for (size_t i = 0; i < keys->count; i++) {
        uint64_t retires_ms = key_schedule_retires(keys->times, keys->count, i, &ring->policy);
        if (keys->times[i].retires_ms != 0 || retires_ms == 0) {
            continue;
        }
        Pipit__KeyRetire request = PIPIT__KEY_RETIRE__INIT;
        Pipit__StatusReply *reply = NULL;
        request.kid = keys->keys[i].key.kid;
        request.retires_ms = retires_ms;
        enum err error = ASK(ask, KEY_RETIRE, &request, STATUS_REPLY, &reply);
        if (error != ERR_OK && error != ERR_NOT_FOUND) {
            return error;
        }
        keys->times[i].retires_ms = retires_ms;
        keys->keys[i].times.retires_ms = retires_ms;
    }
    return ERR_OK;
}

static bool same_set(const struct ring_keys *a, const struct ring_keys *b) {
    if (a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->keys[i].key.kid, b->keys[i].key.kid) != 0) {
            return false;
        }
    }
    return true;
}

/* Puts *keys in the place of the ring's and gives the former ones back in *keys. */
static enum err install(struct key_ring *ring, struct ring_keys **keys, uint64_t now_ms,
                        bool *changed) {
    struct token_keys *verifier = NULL;
    enum err error = token_keys_create(ring->issuer, ring->audience, &verifier);
    for (size_t i = 0; error == ERR_OK && i < (*keys)->count; i++) {
        const struct signer_key *key = &(*keys)->keys[i].key;
        error = token_keys_add(verifier, key->kid, key->x, key->y);
    }
    if (error != ERR_OK) {
        token_keys_destroy(&verifier);
        return error;
    }
    CONTRACT(pthread_rwlock_wrlock(&ring->lock) == 0);
    struct ring_keys *former = ring->keys;
    struct token_keys *former_verifier = ring->verifier;
    *changed = !same_set(former, *keys);
    ring->keys = *keys;
    ring->verifier = verifier;
    ring->looked_ms = now_ms;
    CONTRACT(pthread_rwlock_unlock(&ring->lock) == 0);
    *keys = former;
    token_keys_destroy(&former_verifier);
    return ERR_OK;
}

enum err key_ring_refresh(struct key_ring *ring, struct ask *ask, uint64_t now_ms, bool *changed) {
    struct ring_keys *keys = mem_zalloc(1, sizeof *keys);
    uint32_t live = 0;
    uint64_t signs_from_ms = 0;
    if (keys == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = load(ask, now_ms, keys, &live);
    if (error == ERR_OK && live < TOKEN_KEYS_MAX &&
        key_schedule_wants_new(keys->times, keys->count, &ring->policy, now_ms, &signs_from_ms)) {
        error = put_new(ask, live, signs_from_ms, now_ms);
        if (error == ERR_OK) {
            error = load(ask, now_ms, keys, &live);
        }
    }
    if (error == ERR_OK && keys->count == 0) {
        error = ERR_UNAVAILABLE; /* all are damaged, or gone between two questions */
    }
    if (error == ERR_OK) {
        error = retire(ring, ask, keys);
    }
    if (error == ERR_OK) {
        error = install(ring, &keys, now_ms, changed);
    }
    destroy_keys(&keys);
    return error;
}

/* --- use */

bool key_ring_ready(struct key_ring *ring) {
    CONTRACT(pthread_rwlock_rdlock(&ring->lock) == 0);
    bool ready = ring->keys->count > 0;
    CONTRACT(pthread_rwlock_unlock(&ring->lock) == 0);
    return ready;
}

/* True when a successor that we do not know may be signing. The lock is held. */
static bool may_miss_key(const struct key_ring *ring, uint64_t now_ms) {
    uint64_t margin_ms =
        ring->policy.margin_ms > STALE_MS_MIN ? ring->policy.margin_ms : STALE_MS_MIN;
    bool stale = now_ms > ring->looked_ms + margin_ms;
    return stale && now_ms >= key_schedule_successor_signs(ring->keys->times, ring->keys->count,
                                                           &ring->policy);
}

enum err key_ring_sign(struct key_ring *ring, const struct signer_claims *claims, uint64_t now_ms,
                       char token[TOKEN_BYTES_MAX]) {
    struct signer_claims whole = *claims;
    whole.issuer = ring->issuer;
    whole.audience = ring->audience;
    CONTRACT(pthread_rwlock_rdlock(&ring->lock) == 0);
    size_t signer = key_schedule_signer(ring->keys->times, ring->keys->count, now_ms);
    enum err error = signer == KEY_SCHEDULE_NONE || may_miss_key(ring, now_ms)
                         ? ERR_UNAVAILABLE
                         : signer_sign(&ring->keys->keys[signer].key, &whole, token);
    CONTRACT(pthread_rwlock_unlock(&ring->lock) == 0);
    return error;
}

enum err key_ring_verify(struct key_ring *ring, const char *token, size_t token_bytes,
                         uint64_t now_ms, struct token_claims *claims) {
    CONTRACT(pthread_rwlock_rdlock(&ring->lock) == 0);
    enum err error = token_keys_count(ring->verifier) == 0
                         ? ERR_UNAVAILABLE
                         : token_verify(ring->verifier, token, token_bytes, now_ms, claims);
    if (error == ERR_NOT_FOUND && may_miss_key(ring, now_ms)) {
        error = ERR_UNAVAILABLE;
    }
    CONTRACT(pthread_rwlock_unlock(&ring->lock) == 0);
    return error;
}

static void write_coordinate(struct json_writer *writer, const char *name,
                             const uint8_t bytes[32]) {
    char text[BASE64_BYTES];
    sodium_bin2base64(text, sizeof text, bytes, 32, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    json_write_key_text(writer, name, text);
}

enum err key_ring_jwks(struct key_ring *ring, struct buf *out) {
    struct json_writer writer;
    json_write_begin(&writer, out, JWKS_BYTES_EXPECTED);
    json_write_open(&writer);
    json_write_key(&writer, "keys");
    json_write_open_array(&writer);
    CONTRACT(pthread_rwlock_rdlock(&ring->lock) == 0);
    for (size_t i = 0; i < ring->keys->count; i++) {
        const struct signer_key *key = &ring->keys->keys[i].key;
        json_write_open(&writer);
        json_write_key_text(&writer, "kty", "EC");
        json_write_key_text(&writer, "crv", "P-256");
        json_write_key_text(&writer, "alg", "ES256");
        json_write_key_text(&writer, "use", "sig");
        json_write_key_text(&writer, "kid", key->kid);
        write_coordinate(&writer, "x", key->x);
        write_coordinate(&writer, "y", key->y);
        json_write_close(&writer);
    }
    CONTRACT(pthread_rwlock_unlock(&ring->lock) == 0);
    json_write_close_array(&writer);
    json_write_close(&writer);
    return json_write_end(&writer);
}

static Pipit__SigningKey *copy_public(const struct ring_key *from, struct arena *arena) {
    Pipit__SigningKey *key = arena_alloc(arena, sizeof *key);
    char *kid = arena_copy(arena, from->key.kid, strlen(from->key.kid));
    char *x = arena_copy(arena, from->key.x, 32);
    char *y = arena_copy(arena, from->key.y, 32);
    if (key == NULL || kid == NULL || x == NULL || y == NULL) {
        return NULL;
    }
    pipit__signing_key__init(key);
    key->kid = kid;
    key->x = ask_bytes(x, 32);
    key->y = ask_bytes(y, 32);
    key->created_ms = from->created_ms;
    key->signs_from_ms = from->times.signs_from_ms;
    key->retires_ms = from->times.retires_ms;
    return key;
}

enum err key_ring_public(struct key_ring *ring, struct arena *arena, Pipit__SigningKey ***keys,
                         size_t *count) {
    CONTRACT(pthread_rwlock_rdlock(&ring->lock) == 0);
    size_t held = ring->keys->count;
    Pipit__SigningKey **made = arena_alloc(arena, (held + 1) * sizeof(Pipit__SigningKey *));
    bool whole = made != NULL;
    for (size_t i = 0; whole && i < held; i++) {
        made[i] = copy_public(&ring->keys->keys[i], arena);
        whole = made[i] != NULL;
    }
    CONTRACT(pthread_rwlock_unlock(&ring->lock) == 0);
    if (!whole || held == 0) {
        return whole ? ERR_UNAVAILABLE : ERR_NO_MEMORY;
    }
    *keys = made;
    *count = held;
    return ERR_OK;
}
