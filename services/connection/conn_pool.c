/* conn_pool: chunks of equal objects with a free list in each.
 *
 * In front of each object stands a pointer to its chunk, so giving one back finds the chunk without
 * a search. Chunks with room stand at the front of the list, full ones at the back; one idle chunk
 * is kept against flapping at a boundary, a second one is freed. Under AddressSanitizer each object
 * is its own chunk and none is kept, so a use after free is seen. */
#include "services/connection/conn_pool.h"

#include "common/contract.h"
#include "common/mem.h"

#include <stdint.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CONN_POOL_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(CONN_POOL_SANITIZED)
#define CHUNK_OBJECTS 1
#define CHUNKS_IDLE_MAX 0
#else
#define CHUNK_OBJECTS 32
#define CHUNKS_IDLE_MAX 1
#endif

struct chunk;
struct slot {
    struct chunk *chunk;
    struct slot *next_free;
    /* the object follows, 16 bytes behind the start */
};
struct chunk {
    struct list_node node;
    struct slot *free;
    size_t used;
    uint64_t pad; /* slots start at a multiple of 16 */
    uint8_t slots[] __attribute__((aligned(16)));
};

static size_t slot_bytes(const struct conn_pool *pool) {
    return sizeof(struct slot) + ((pool->object_bytes + 15) & ~(size_t)15);
}

void conn_pool_init(struct conn_pool *pool, size_t object_bytes, size_t count_max) {
    *pool = (struct conn_pool){.object_bytes = object_bytes, .count_max = count_max};
    list_init(&pool->chunks);
}

void conn_pool_finish(struct conn_pool *pool) {
    CONTRACT(pool->used == 0);
    struct list_node *node = list_pop_front(&pool->chunks);
    while (node != NULL) {
        mem_free(CONTAINER_OF(node, struct chunk, node));
        node = list_pop_front(&pool->chunks);
    }
}

static struct chunk *chunk_create(struct conn_pool *pool) {
    size_t step = slot_bytes(pool);
    struct chunk *chunk = mem_alloc(sizeof *chunk + CHUNK_OBJECTS * step);
    if (chunk == NULL) {
        return NULL;
    }
    *chunk = (struct chunk){0};
    for (size_t i = CHUNK_OBJECTS; i-- > 0;) {
        struct slot *slot = (struct slot *)(void *)(chunk->slots + i * step);
        slot->chunk = chunk;
        slot->next_free = chunk->free;
        chunk->free = slot;
    }
    list_push_front(&pool->chunks, &chunk->node);
    pool->idle_chunks++;
    return chunk;
}

void *conn_pool_take(struct conn_pool *pool) {
    if (pool->used >= pool->count_max) {
        return NULL;
    }
    struct list_node *node = list_first(&pool->chunks);
    struct chunk *chunk = node != NULL ? CONTAINER_OF(node, struct chunk, node) : NULL;
    if (chunk == NULL || chunk->free == NULL) {
        chunk = chunk_create(pool);
        if (chunk == NULL) {
            return NULL;
        }
    }
    struct slot *slot = chunk->free;
    chunk->free = slot->next_free;
    slot->next_free = NULL;
    pool->idle_chunks -= chunk->used == 0 ? 1 : 0;
    chunk->used++;
    pool->used++;
    if (chunk->free == NULL) {
        list_remove(&pool->chunks, &chunk->node);
        list_push_back(&pool->chunks, &chunk->node);
    }
    void *object = slot + 1;
    memset(object, 0, pool->object_bytes);
    return object;
}

void conn_pool_give(struct conn_pool *pool, void *object) {
    struct slot *slot = (struct slot *)object - 1;
    struct chunk *chunk = slot->chunk;
    CONTRACT(chunk->used > 0 && pool->used > 0);
    bool was_full = chunk->free == NULL;
    slot->next_free = chunk->free;
    chunk->free = slot;
    chunk->used--;
    pool->used--;
    if (chunk->used == 0 && pool->idle_chunks + 1 > CHUNKS_IDLE_MAX) {
        list_remove(&pool->chunks, &chunk->node);
        mem_free(chunk);
        return;
    }
    pool->idle_chunks += chunk->used == 0 ? 1 : 0;
    if (was_full) {
        list_remove(&pool->chunks, &chunk->node);
        list_push_front(&pool->chunks, &chunk->node);
    }
}
