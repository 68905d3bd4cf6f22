/* arena: bump allocation in a chain of blocks.
 *
 * Decoding one batch makes hundreds of small objects that all die together; freeing them one by one
 * costs more than decoding. Blocks of block_bytes are chained from `first`; an allocation that does
 * not fit a normal block gets a block of its own behind the current one, whose rest stays in use.
 * A reset keeps one normal block, so the steady state takes nothing from the heap, and gives back
 * what a burst took. Every block counts against cap_bytes, so a hostile batch is refused, not
 * served. */
#include "common/arena.h"

#include "common/contract.h"
#include "common/mem.h"
#include <stddef.h>
#include <string.h>

#define ARENA_ALIGN 16u

struct arena_block {
    struct arena_block *next;
    size_t size; /* of bytes */
    size_t used;
    _Alignas(ARENA_ALIGN) uint8_t bytes[];
};

void arena_init(struct arena *arena, size_t block_bytes, size_t cap_bytes) {
    CONTRACT(block_bytes > 0 && cap_bytes >= block_bytes && cap_bytes <= SIZE_MAX / 2);
    *arena =
        (struct arena){.block_bytes = (block_bytes + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1),
                       .cap_bytes = cap_bytes};
    if (arena->block_bytes > cap_bytes) {
        arena->block_bytes = cap_bytes; /* the last bytes of an unaligned cap are not used */
    }
}

static void *take(struct arena_block *block, size_t bytes) {
    void *at = block->bytes + block->used;
    block->used += bytes;
    return at;
}

/* A new block behind the current one; current itself only when it is of normal size. */
static struct arena_block *add_block(struct arena *arena, size_t bytes) {
    size_t size = bytes > arena->block_bytes ? bytes : arena->block_bytes;
    if (size > arena->cap_bytes - arena->held_bytes) {
        return NULL;
    }
    struct arena_block *block = mem_alloc(sizeof(*block) + size);
    if (block == NULL) {
        return NULL;
    }
    block->size = size;
    block->used = 0;
    arena->held_bytes += size;
    if (arena->current == NULL) {
        block->next = NULL;
        arena->first = block;
        arena->current = block;
        return block;
    }
    block->next = arena->current->next;
    arena->current->next = block;
    if (size == arena->block_bytes) {
        arena->current = block;
    }
    return block;
}

void *arena_alloc(struct arena *arena, size_t bytes) {
    if (bytes > arena->cap_bytes) {
        return NULL;
    }
    size_t rounded =
        bytes == 0 ? ARENA_ALIGN : (bytes + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    struct arena_block *block = arena->current;
    if (block == NULL || block->size - block->used < rounded) {
        block = add_block(arena, rounded);
        if (block == NULL) {
            return NULL;
        }
    }
    return take(block, rounded);
}

char *arena_copy(struct arena *arena, const void *bytes, size_t count) {
    if (count == SIZE_MAX) {
        return NULL;
    }
    char *copy = arena_alloc(arena, count + 1);
    if (copy != NULL) {
        if (count > 0) {
            memcpy(copy, bytes, count);
        }
        copy[count] = '\0';
    }
    return copy;
}

static void free_chain(struct arena *arena, struct arena_block *block) {
    while (block != NULL) {
        struct arena_block *next = block->next;
        arena->held_bytes -= block->size;
        mem_free(block);
        block = next;
    }
}

void arena_reset(struct arena *arena) {
    struct arena_block *first = arena->first;
    if (first == NULL) {
        return;
    }
    free_chain(arena, first->next);
    first->next = NULL;
    first->used = 0;
    arena->current = first;
    if (first->size > arena->block_bytes) {
        arena_finish(arena);
    }
}

void arena_finish(struct arena *arena) {
    free_chain(arena, arena->first);
    arena->first = NULL;
    arena->current = NULL;
}
