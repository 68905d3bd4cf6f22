/* request_pool: a free list under a lock. Last in, first out: under light load the same few
 * requests, whose arenas and buffers are warm, serve everything, and the others never allocate any.
 * Buffers that a large answer has grown are given back to the heap. */
#include "services/storage/request_pool.h"

#include "common/contract.h"
#include "common/mem.h"
#include <pthread.h>

#define ARENA_BLOCK_BYTES (16u * 1024u)
/* Unpacked protobuf of the largest bus message, its reply, and room to spare. */
#define ARENA_CAP_BYTES (64u * 1024u * 1024u)
#define BUFFER_KEPT_BYTES (64u * 1024u)
#define BUFFER_CAP_BYTES (ENVELOPE_RAW_BYTES_MAX + ENVELOPE_BYTES)

struct request_pool {
    pthread_mutex_t lock;
    struct request *free;
    size_t in_use;
    bool closed;
    size_t count;
    struct request requests[];
};

enum err request_pool_create(size_t count_max, struct storage *storage, struct request_pool **out) {
    CONTRACT(count_max > 0 && count_max <= 65536);
    struct request_pool *pool =
        mem_zalloc(1, sizeof(*pool) + count_max * sizeof(pool->requests[0]));
    if (pool == NULL) {
        return ERR_NO_MEMORY;
    }
    (void)pthread_mutex_init(&pool->lock, NULL); /* default attributes cannot fail on Linux */
    pool->count = count_max;
    for (size_t i = 0; i < count_max; i++) {
        struct request *request = &pool->requests[i];
        request->storage = storage;
        arena_init(&request->call.arena, ARENA_BLOCK_BYTES, ARENA_CAP_BYTES);
        buf_init(&request->reply, BUFFER_CAP_BYTES);
        buf_init(&request->publication, BUFFER_CAP_BYTES);
        request->next_free = pool->free;
        pool->free = request;
    }
    *out = pool;
    return ERR_OK;
}

void request_pool_destroy(struct request_pool **pool) {
    struct request_pool *old = *pool;
    if (old == NULL) {
        return;
    }
    for (size_t i = 0; i < old->count; i++) {
        arena_finish(&old->requests[i].call.arena);
        buf_finish(&old->requests[i].reply);
        buf_finish(&old->requests[i].publication);
    }
    (void)pthread_mutex_destroy(&old->lock);
    mem_free(old);
    *pool = NULL;
}

static void lock(struct request_pool *pool) {
    CONTRACT(pthread_mutex_lock(&pool->lock) == 0);
}

static void unlock(struct request_pool *pool) {
    CONTRACT(pthread_mutex_unlock(&pool->lock) == 0);
}

struct request *request_pool_take(struct request_pool *pool) {
    lock(pool);
    struct request *request = pool->closed ? NULL : pool->free;
    if (request != NULL) {
        pool->free = request->next_free;
        pool->in_use++;
    }
    unlock(pool);
    return request;
}

static void reset_buffer(struct buf *buffer) {
    buf_clear(buffer);
    if (buffer->held > BUFFER_KEPT_BYTES) {
        buf_shrink(buffer);
    }
}

bool request_pool_return(struct request_pool *pool, struct request *request) {
    arena_reset(&request->call.arena);
    reset_buffer(&request->reply);
    reset_buffer(&request->publication);
    request->call = (struct call){.arena = request->call.arena};
    request->bus = NULL;
    lock(pool);
    request->next_free = pool->free;
    pool->free = request;
    pool->in_use--;
    bool last = pool->closed && pool->in_use == 0;
    unlock(pool);
    return last;
}

bool request_pool_close(struct request_pool *pool) {
    lock(pool);
    bool idle = !pool->closed && pool->in_use == 0;
    pool->closed = true;
    unlock(pool);
    return idle;
}
