/* pending: the submits that wait for their result, found by ref. */
#ifndef PIPIT_CONNECTION_PENDING_H
#define PIPIT_CONNECTION_PENDING_H

#include "common/list.h"
#include "services/connection/pool.h"
#include <stdbool.h>
#include <stdint.h>

struct hub_lane;

#define HUB_PENDING_BLOCK 256u
#define HUB_PENDING_BLOCKS_MAX 256u

struct hub_pending {
    struct list_node node; /* the batch's, then its flight's */
    void *owner;           /* flight; NULL while collected */
    struct hub_lane *lane;
    uint64_t ref; /* 0 = free */
    uint64_t session, request, began_us;
    bool in_doubt; /* was sent once without an answer: it may be stored */
    bool refused;  /* by an instance that drains: it is not stored, and goes to another one */
};
struct hub_pendings {
    struct hub_pending *blocks[HUB_PENDING_BLOCKS_MAX];
    size_t block_count, count_max;
    struct list unused;
    uint32_t generation;
};
/* count_max <= HUB_PENDING_BLOCK * HUB_PENDING_BLOCKS_MAX. Takes no memory yet. */
void hub_pendings_init(struct hub_pendings *pendings, size_t count_max);
void hub_pendings_finish(struct hub_pendings *pendings);
/* With a new ref; NULL: count_max are in use, or no memory. */
struct hub_pending *hub_pending_take(struct hub_pendings *pendings);
/* It must be on no list. */
void hub_pending_free(struct hub_pendings *pendings, struct hub_pending *pending);
/* NULL: not (or no longer) waiting. Any number may be asked. */
struct hub_pending *hub_pending_find(struct hub_pendings *pendings, uint64_t ref);

#endif
