/* token_cache: hash of the token -> its claims, least recently used first out.
 *
 * The key is a cryptographic hash of the whole token, signature included: whoever finds a second
 * token with the same one may as well forge signatures. The token itself is not kept. Revocation is
 * not cached; the caller checks it each time. */
#include "services/connection/token_cache.h"

#include "common/contract.h"
#include "common/list.h"
#include "common/map.h"
#include "common/mem.h"
#include "services/connection/pool.h"
#include <sodium.h>
#include <string.h>

#define TOKEN_HASH_BYTES 32

struct cached {
    struct map_node node;
    struct list_node used;
    struct token_claims claims;
    uint8_t hash[TOKEN_HASH_BYTES];
};
struct hub_token_cache {
    struct map map;
    struct list used; /* least recently used first */
    struct hub_pool pool;
};

static bool match_hash(const struct map_node *node, const void *key, size_t key_bytes) {
    return memcmp(CONTAINER_OF(node, struct cached, node)->hash, key, key_bytes) == 0;
}

enum err hub_token_cache_create(size_t count_max, struct hub_token_cache **out) {
    struct hub_token_cache *cache = mem_zalloc(1, sizeof *cache);
    if (cache == NULL) {
        return ERR_NO_MEMORY;
    }
    hub_pool_init(&cache->pool, sizeof(struct cached), count_max);
    list_init(&cache->used);
    enum err error = map_init(&cache->map, 16, match_hash);
    if (error != ERR_OK) {
        mem_free(cache);
        return error;
    }
    *out = cache;
    return ERR_OK;
}

void hub_token_cache_destroy(struct hub_token_cache **cache) {
    if (*cache != NULL) {
        map_finish(&(*cache)->map);
        hub_pool_finish(&(*cache)->pool);
        mem_free(*cache);
        *cache = NULL;
    }
}

static void hash_of(const char *token, size_t token_bytes, uint8_t hash[TOKEN_HASH_BYTES]) {
    /* Fails only for sizes it does not support. */
    (void)crypto_generichash(hash, TOKEN_HASH_BYTES, (const unsigned char *)token, token_bytes,
                             NULL, 0);
}

static void drop(struct hub_token_cache *cache, struct cached *cached) {
    map_remove(&cache->map, &cached->node);
    list_remove(&cache->used, &cached->used);
    hub_pool_give(&cache->pool, cached);
}

bool hub_token_cache_find(struct hub_token_cache *cache, const char *token, size_t token_bytes,
                          uint64_t now_wall_ms, struct token_claims *claims) {
    uint8_t hash[TOKEN_HASH_BYTES];
    hash_of(token, token_bytes, hash);
    struct map_node *node = map_find(&cache->map, hash, sizeof hash);
    if (node == NULL) {
        return false;
    }
    struct cached *cached = CONTAINER_OF(node, struct cached, node);
    if (cached->claims.expires_ms + TOKEN_LEEWAY_MS <= now_wall_ms) {
        drop(cache, cached); /* the full check says why */
        return false;
    }
    list_remove(&cache->used, &cached->used);
    list_push_back(&cache->used, &cached->used);
    *claims = cached->claims;
    return true;
}

void hub_token_cache_add(struct hub_token_cache *cache, const char *token, size_t token_bytes,
                         const struct token_claims *claims) {
    uint8_t hash[TOKEN_HASH_BYTES];
    hash_of(token, token_bytes, hash);
    if (map_find(&cache->map, hash, sizeof hash) != NULL) {
        return;
    }
    struct cached *cached = hub_pool_take(&cache->pool);
    if (cached == NULL && cache->used.count > 0) {
        drop(cache, CONTAINER_OF(list_first(&cache->used), struct cached, used));
        cached = hub_pool_take(&cache->pool);
    }
    if (cached == NULL) {
        return; /* no memory: verified again next time */
    }
    cached->claims = *claims;
    memcpy(cached->hash, hash, sizeof hash);
    map_insert(&cache->map, &cached->node, hash, sizeof hash);
    list_push_back(&cache->used, &cached->used);
}

void hub_token_cache_clear(struct hub_token_cache *cache) {
    struct list_node *node = NULL;
    while ((node = list_first(&cache->used)) != NULL) {
        drop(cache, CONTAINER_OF(node, struct cached, used));
    }
}
