/* arena: bump allocation for one batch or one turn: many small objects, one reset, no free. */
#ifndef PIPIT_COMMON_ARENA_H
#define PIPIT_COMMON_ARENA_H

#include "common/err.h"
#include <stddef.h>
#include <stdint.h>

struct arena_block;
struct arena {
    struct arena_block *first;   /* kept across resets */
    struct arena_block *current; /* block that serves the next allocation */
    size_t block_bytes;
    size_t cap_bytes;  /* refuses to hold more than this */
    size_t held_bytes; /* sum of all blocks */
};

/* Prepares an empty arena; takes memory with the first allocation. cap_bytes bounds all blocks. */
void arena_init(struct arena *arena, size_t block_bytes, size_t cap_bytes);
/* 16-byte aligned memory that lives until the next reset; NULL when the cap or the heap is
 * exhausted (the arena stays usable). Not zeroed. */
void *arena_alloc(struct arena *arena, size_t bytes) __attribute__((warn_unused_result));
/* Copies bytes and appends a NUL; NULL as arena_alloc. */
char *arena_copy(struct arena *arena, const void *bytes, size_t count);
/* Forgets all allocations; keeps the first block unless it was made for one allocation larger than
 * block_bytes, returns the others to the heap. */
void arena_reset(struct arena *arena);
void arena_finish(struct arena *arena);

#endif
