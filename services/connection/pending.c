/* pending: a table in blocks that never move. A ref is the entry's index and a number that changes
 * with each use, so an answer that comes after its entry was given to somebody else finds nothing.
 * Blocks are kept: their number is the highest load there was, and bounded. Entries are reused
 * oldest first, which makes it as long as possible until an index is used again. */
#include "services/connection/pending.h"

#include "common/contract.h"
#include "common/mem.h"

void hub_pendings_init(struct hub_pendings *pendings, size_t count_max) {
    CONTRACT(count_max > 0 && count_max <= HUB_PENDING_BLOCK * HUB_PENDING_BLOCKS_MAX);
    *pendings = (struct hub_pendings){.count_max = count_max};
    list_init(&pendings->unused);
}

void hub_pendings_finish(struct hub_pendings *pendings) {
    for (size_t i = 0; i < pendings->block_count; i++) {
        mem_free(pendings->blocks[i]);
    }
    pendings->block_count = 0;
    list_init(&pendings->unused);
}

static void grow(struct hub_pendings *pendings) {
    if (pendings->block_count * HUB_PENDING_BLOCK >= pendings->count_max) {
        return;
    }
    struct hub_pending *block = mem_zalloc(HUB_PENDING_BLOCK, sizeof *block);
    if (block == NULL) {
        return;
    }
    size_t first = pendings->block_count * HUB_PENDING_BLOCK;
    pendings->blocks[pendings->block_count++] = block;
    for (size_t i = 0; i < HUB_PENDING_BLOCK && first + i < pendings->count_max; i++) {
        block[i].request = first + i; /* its index, while unused */
        list_push_back(&pendings->unused, &block[i].node);
    }
}

struct hub_pending *hub_pending_take(struct hub_pendings *pendings) {
    if (pendings->unused.count == 0) {
        grow(pendings);
    }
    struct list_node *node = list_pop_front(&pendings->unused);
    if (node == NULL) {
        return NULL;
    }
    struct hub_pending *pending = CONTAINER_OF(node, struct hub_pending, node);
    pendings->generation = pendings->generation == UINT32_MAX ? 1 : pendings->generation + 1;
    pending->ref = (uint64_t)pendings->generation << 32u | pending->request;
    pending->owner = NULL;
    pending->lane = NULL;
    pending->in_doubt = pending->refused = false;
    return pending;
}

void hub_pending_free(struct hub_pendings *pendings, struct hub_pending *pending) {
    CONTRACT(pending->ref != 0);
    pending->request = pending->ref & UINT32_MAX;
    pending->ref = 0;
    list_push_back(&pendings->unused, &pending->node);
}

struct hub_pending *hub_pending_find(struct hub_pendings *pendings, uint64_t ref) {
    uint64_t index = ref & UINT32_MAX;
    uint64_t block = index / HUB_PENDING_BLOCK;
    if (ref == 0 || block >= pendings->block_count) {
        return NULL;
    }
    struct hub_pending *pending = &pendings->blocks[block][index % HUB_PENDING_BLOCK];
    return pending->ref == ref ? pending : NULL;
}
