/* pool: equal objects of one type, reused instead of freed: the steady state takes nothing from the
 * heap, and the bound is one number. */
#ifndef PIPIT_CONNECTION_POOL_H
#define PIPIT_CONNECTION_POOL_H

#include <stddef.h>

struct hub_pool_block;
struct hub_pool {
    size_t item_bytes;
    size_t item_max; /* never more objects in use */
    size_t used;
    void *free_items;
    struct hub_pool_block *blocks;
};

/* Takes no memory yet. */
void hub_pool_init(struct hub_pool *pool, size_t item_bytes, size_t item_max);
/* All objects are gone afterwards, in use or not. */
void hub_pool_finish(struct hub_pool *pool);
/* Zeroed; NULL when item_max objects are in use or the heap is exhausted. */
void *hub_pool_take(struct hub_pool *pool) __attribute__((warn_unused_result));
/* item came from this pool; NULL is accepted. */
void hub_pool_give(struct hub_pool *pool, void *item);

#endif
