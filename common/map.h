/* map: intrusive chained hash map keyed by bytes. Nodes are embedded in the caller's objects, so
 * lookups and removals never allocate; the hash is SipHash-2-4 with a random key per process, so
 * peers cannot aim for one chain. Grows by doubling; a failed growth only makes chains longer. */
#ifndef PIPIT_COMMON_MAP_H
#define PIPIT_COMMON_MAP_H

#include "common/err.h"
#include <stddef.h>
#include <stdint.h>

struct map_node {
    struct map_node *next;
    uint64_t hash;
};
/* True when the object that embeds `node` has this key. */
typedef bool (*map_match_fn)(const struct map_node *node, const void *key, size_t key_bytes);

struct map {
    struct map_node **slots;
    size_t slot_count; /* power of two */
    size_t count;
    map_match_fn match;
};

/* ERR_NO_MEMORY. expected_count sizes the first table (>= 8 slots). */
enum err map_init(struct map *map, size_t expected_count, map_match_fn match) MUST_CHECK;
void map_finish(struct map *map); /* does not touch the objects */
uint64_t map_hash(const void *key, size_t key_bytes);
struct map_node *map_find(const struct map *map, const void *key, size_t key_bytes);
/* The key must not be present. The node keeps the hash, not the key. */
void map_insert(struct map *map, struct map_node *node, const void *key, size_t key_bytes);
/* The node must be in the map. */
void map_remove(struct map *map, struct map_node *node);
/* Iteration: start with NULL. The node just returned may be removed before the next call; others
 * and insertions may not happen in between. */
struct map_iter {
    size_t slot;
    struct map_node *following;
};
struct map_node *map_iter_first(const struct map *map, struct map_iter *iter);
struct map_node *map_iter_next(const struct map *map, struct map_iter *iter);

#endif
