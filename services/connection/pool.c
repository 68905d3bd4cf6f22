/* pool: blocks of objects from the heap, handed out through a list threaded through the free ones.
 *
 * Blocks go back to the heap only with the pool: what a hub needed once it will need again, and a
 * process whose memory does not shrink and grow is one whose peak an operator can see. Blocks begin
 * small, so an idle hub holds little, and double up to a limit, so a busy one asks rarely. */
#include "services/connection/pool.h"

#include "common/contract.h"
#include "common/mem.h"
#include <stdint.h>
#include <string.h>

#define POOL_ITEMS_FIRST 8u
#define POOL_ITEMS_MOST 512u

struct hub_pool_block {
    struct hub_pool_block *next;
    size_t item_count;
    _Alignas(16) uint8_t items[];
};

void hub_pool_init(struct hub_pool *pool, size_t item_bytes, size_t item_max) {
    CONTRACT(item_bytes >= sizeof(void *) && item_max > 0);
    size_t aligned = (item_bytes + 15u) & ~(size_t)15u;
    *pool = (struct hub_pool){.item_bytes = aligned, .item_max = item_max};
}

void hub_pool_finish(struct hub_pool *pool) {
    while (pool->blocks != NULL) {
        struct hub_pool_block *block = pool->blocks;
        pool->blocks = block->next;
        mem_free(block);
    }
    pool->free_items = NULL;
    pool->used = 0;
}

static void put_free(struct hub_pool *pool, void *item) {
    memcpy(item, &pool->free_items, sizeof pool->free_items);
    pool->free_items = item;
}

static void grow(struct hub_pool *pool) {
    size_t count = POOL_ITEMS_FIRST;
    if (pool->blocks != NULL) {
        count = pool->blocks->item_count < POOL_ITEMS_MOST ? pool->blocks->item_count * 2
                                                           : POOL_ITEMS_MOST;
    }
    struct hub_pool_block *block = mem_alloc(sizeof *block + count * pool->item_bytes);
    if (block == NULL) {
        return;
    }
    block->item_count = count;
    block->next = pool->blocks;
    pool->blocks = block;
    for (size_t i = 0; i < count; i++) {
        put_free(pool, block->items + i * pool->item_bytes);
    }
}

void *hub_pool_take(struct hub_pool *pool) {
    if (pool->used >= pool->item_max) {
        return NULL;
    }
    if (pool->free_items == NULL) {
        grow(pool);
    }
    void *item = pool->free_items;
    if (item != NULL) {
        memcpy(&pool->free_items, item, sizeof pool->free_items);
        memset(item, 0, pool->item_bytes);
        pool->used++;
    }
    return item;
}

void hub_pool_give(struct hub_pool *pool, void *item) {
    if (item != NULL) {
        CONTRACT(pool->used > 0);
        put_free(pool, item);
        pool->used--;
    }
}
