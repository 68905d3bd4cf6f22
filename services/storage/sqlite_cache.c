/* sqlite_cache: the writer's memory of conversations.
 *
 * Without it each run of an append would cost two index lookups before its first insert. The
 * entries follow the open transaction, so a rollback must clear them all: that is rare, and
 * reloading is one lookup each. The bound is a count; an entry costs about 150 bytes. An eviction
 * reuses nothing: ids differ in length, and misses are rare beside appends. */
#include "services/storage/sqlite_cache.h"

#include "common/contract.h"
#include "common/mem.h"
#include <string.h>

static bool has_id(const struct map_node *node, const void *key, size_t key_bytes) {
    const struct sqlite_conversation *entry = CONTAINER_OF(node, struct sqlite_conversation, by_id);
    return entry->id_bytes == key_bytes && memcmp(entry->id, key, key_bytes) == 0;
}

enum err sqlite_cache_init(struct sqlite_cache *cache, size_t count_max) {
    CONTRACT(count_max > 0);
    list_init(&cache->by_use);
    cache->count_max = count_max;
    return map_init(&cache->by_id, 64, has_id);
}

static void drop(struct sqlite_cache *cache, struct sqlite_conversation *entry) {
    map_remove(&cache->by_id, &entry->by_id);
    list_remove(&cache->by_use, &entry->by_use);
    mem_free(entry);
}

void sqlite_cache_clear(struct sqlite_cache *cache) {
    struct list_node *node = NULL;
    while ((node = list_first(&cache->by_use)) != NULL) {
        drop(cache, CONTAINER_OF(node, struct sqlite_conversation, by_use));
    }
}

void sqlite_cache_finish(struct sqlite_cache *cache) {
    sqlite_cache_clear(cache);
    map_finish(&cache->by_id);
}

struct sqlite_conversation *sqlite_cache_find(struct sqlite_cache *cache, const char *id) {
    struct map_node *node = map_find(&cache->by_id, id, strlen(id));
    if (node == NULL) {
        return NULL;
    }
    struct sqlite_conversation *entry = CONTAINER_OF(node, struct sqlite_conversation, by_id);
    list_remove(&cache->by_use, &entry->by_use);
    list_push_front(&cache->by_use, &entry->by_use);
    return entry;
}

enum err sqlite_cache_add(struct sqlite_cache *cache, const char *id,
                          struct sqlite_conversation **out) {
    size_t id_bytes = strlen(id);
    struct sqlite_conversation *entry = mem_zalloc(1, sizeof(*entry) + id_bytes + 1);
    if (entry == NULL) {
        return ERR_NO_MEMORY;
    }
    if (cache->by_use.count >= cache->count_max) {
        drop(cache, CONTAINER_OF(cache->by_use.head.prev, struct sqlite_conversation, by_use));
    }
    entry->id_bytes = id_bytes;
    memcpy(entry->id, id, id_bytes + 1);
    map_insert(&cache->by_id, &entry->by_id, id, id_bytes);
    list_push_front(&cache->by_use, &entry->by_use);
    *out = entry;
    return ERR_OK;
}
