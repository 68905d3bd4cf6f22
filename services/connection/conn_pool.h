/* conn_pool: objects of one size for one event loop: connections and their requests. Taken and
 * given back in a few instructions; a chunk of which nothing is in use goes back to the heap, so
 * memory falls again after a wave of connections. Not thread-safe. */
#ifndef PIPIT_CONNECTION_CONN_POOL_H
#define PIPIT_CONNECTION_CONN_POOL_H

#include "common/list.h"
#include <stddef.h>

struct conn_pool {
    struct list chunks; /* with a free object come first */
    size_t object_bytes;
    size_t used, count_max;
    size_t idle_chunks; /* chunks without any object in use */
};
void conn_pool_init(struct conn_pool *pool, size_t object_bytes, size_t count_max);
/* All objects must have been given back. */
void conn_pool_finish(struct conn_pool *pool);
/* Zeroed, 16-byte aligned; NULL when count_max are in use or memory is short. */
void *conn_pool_take(struct conn_pool *pool) __attribute__((warn_unused_result));
void conn_pool_give(struct conn_pool *pool, void *object);

#endif
