/* map: an intrusive chained hash map.
 *
 * Sessions, conversations and ids are found by keys that peers choose, so the hash must be one they
 * cannot aim: SipHash-2-4 with a key drawn at the first use of the process. The node keeps the
 * whole hash, so growing never needs the keys and a lookup calls the caller's comparison almost
 * only for the right object. The table doubles when it holds one object a slot; if that allocation
 * fails the map goes on with longer chains and tries again at the next insertion. Lookups and
 * removals never allocate and never fail. */
#include "common/map.h"

#include "common/contract.h"
#include "common/id.h"
#include "common/mem.h"
#include <pthread.h>
#include <sodium.h>

#define MAP_SLOTS_MIN 8u

static uint8_t hash_key[crypto_shorthash_KEYBYTES];
static pthread_once_t hash_once = PTHREAD_ONCE_INIT;

static void make_hash_key(void) {
    id_random(hash_key, sizeof(hash_key));
}

enum err map_init(struct map *map, size_t expected_count, map_match_fn match) {
    CONTRACT(match != NULL && expected_count <= SIZE_MAX / 4 / sizeof(struct map_node *));
    size_t slot_count = MAP_SLOTS_MIN;
    while (slot_count < expected_count) {
        slot_count *= 2;
    }
    struct map_node **slots = mem_zalloc(slot_count, sizeof(struct map_node *));
    if (slots == NULL) {
        return ERR_NO_MEMORY;
    }
    *map = (struct map){.slots = slots, .slot_count = slot_count, .match = match};
    return ERR_OK;
}

void map_finish(struct map *map) {
    mem_free(map->slots);
    *map = (struct map){0};
}

uint64_t map_hash(const void *key, size_t key_bytes) {
    (void)pthread_once(&hash_once, make_hash_key); /* cannot fail with a valid control */
    uint64_t hash = 0;
    _Static_assert(sizeof(hash) == crypto_shorthash_BYTES, "SipHash-2-4 gives 64 bits");
    (void)crypto_shorthash((uint8_t *)&hash, key, key_bytes, hash_key); /* always 0 */
    return hash;
}

static struct map_node **slot_of(const struct map *map, uint64_t hash) {
    return &map->slots[hash & (map->slot_count - 1)];
}

static struct map_node *find_hashed(const struct map *map, uint64_t hash, const void *key,
                                    size_t key_bytes) {
    for (struct map_node *node = *slot_of(map, hash); node != NULL; node = node->next) {
        if (node->hash == hash && map->match(node, key, key_bytes)) {
            return node;
        }
    }
    return NULL;
}

struct map_node *map_find(const struct map *map, const void *key, size_t key_bytes) {
    return map->count > 0 ? find_hashed(map, map_hash(key, key_bytes), key, key_bytes) : NULL;
}

static void grow(struct map *map) {
    if (map->slot_count > SIZE_MAX / 4 / sizeof(struct map_node *)) {
        return;
    }
    struct map larger = *map;
    larger.slot_count = map->slot_count * 2;
    larger.slots = mem_zalloc(larger.slot_count, sizeof(struct map_node *));
    if (larger.slots == NULL) {
        return; /* longer chains until a later insertion succeeds in growing */
    }
    for (size_t i = 0; i < map->slot_count; i++) {
        struct map_node *node = map->slots[i];
        while (node != NULL) {
            struct map_node *next = node->next;
            struct map_node **slot = slot_of(&larger, node->hash);
            node->next = *slot;
            *slot = node;
            node = next;
        }
    }
    mem_free(map->slots);
    *map = larger;
}

void map_insert(struct map *map, struct map_node *node, const void *key, size_t key_bytes) {
    uint64_t hash = map_hash(key, key_bytes);
    CONTRACT(find_hashed(map, hash, key, key_bytes) == NULL);
    if (map->count >= map->slot_count) {
        grow(map);
    }
    struct map_node **slot = slot_of(map, hash);
    node->hash = hash;
    node->next = *slot;
    *slot = node;
    map->count++;
}

void map_remove(struct map *map, struct map_node *node) {
    struct map_node **link = slot_of(map, node->hash);
    while (*link != NULL && *link != node) {
        link = &(*link)->next;
    }
    CONTRACT(*link == node);
    *link = node->next;
    node->next = NULL;
    map->count--;
}

/* First node at or after iter->slot; remembers its follower so that the node may be removed. */
static struct map_node *from_slot(const struct map *map, struct map_iter *iter) {
    while (iter->slot < map->slot_count) {
        struct map_node *node = map->slots[iter->slot++];
        if (node != NULL) {
            iter->following = node->next;
            return node;
        }
    }
    return NULL;
}

struct map_node *map_iter_first(const struct map *map, struct map_iter *iter) {
    *iter = (struct map_iter){0};
    return from_slot(map, iter);
}

struct map_node *map_iter_next(const struct map *map, struct map_iter *iter) {
    struct map_node *node = iter->following;
    if (node == NULL) {
        return from_slot(map, iter);
    }
    iter->following = node->next;
    return node;
}
