/* sqlite_cache: conversation id -> key, head and members_version, for the writer alone: an append
 * then reads nothing before it inserts. Bounded; the least recently used entry makes room. Not
 * thread-safe: the store's write lock guards it. */
#ifndef PIPIT_STORAGE_SQLITE_CACHE_H
#define PIPIT_STORAGE_SQLITE_CACHE_H

#include "common/list.h"
#include "common/map.h"

struct sqlite_conversation {
    uint64_t key; /* conversations.key */
    uint64_t head;
    uint64_t members_version;
    struct map_node by_id;
    struct list_node by_use;
    size_t id_bytes;
    char id[]; /* NUL-terminated */
};
struct sqlite_cache {
    struct map by_id;
    struct list by_use; /* most recent first */
    size_t count_max;
};

enum err sqlite_cache_init(struct sqlite_cache *cache, size_t count_max) MUST_CHECK;
void sqlite_cache_finish(struct sqlite_cache *cache);
/* NULL when absent. */
struct sqlite_conversation *sqlite_cache_find(struct sqlite_cache *cache, const char *id);
/* The id must be absent. May evict another entry. ERR_NO_MEMORY. */
enum err sqlite_cache_add(struct sqlite_cache *cache, const char *id,
                          struct sqlite_conversation **out) MUST_CHECK;
/* Forgets everything: after a rollback the entries may be ahead of the tables. */
void sqlite_cache_clear(struct sqlite_cache *cache);

#endif
