/* mem: the one entry to the heap, with a fault hook so that tests can fail the n-th allocation. */
#ifndef PIPIT_COMMON_MEM_H
#define PIPIT_COMMON_MEM_H

#include <stddef.h>
#include <stdint.h>

/* As malloc/calloc/realloc/free; NULL on failure. bytes 0 is a contract violation except for
 * mem_realloc to 0, which is not allowed either: use mem_free. Any thread. */
void *mem_alloc(size_t bytes) __attribute__((malloc, warn_unused_result));
void *mem_zalloc(size_t count, size_t bytes) __attribute__((malloc, warn_unused_result));
void *mem_realloc(void *old, size_t bytes) __attribute__((warn_unused_result));
void mem_free(void *pointer);
char *mem_strdup(const char *text) __attribute__((malloc, warn_unused_result));

/* Tests: the `nth` allocation from now (1 = the next) fails, and so do the `repeat - 1` that
 * follow; nth 0 turns the hook off. Returns how many allocations were asked for since the last
 * call, 0 at the first call: counting starts there, so that a process that never asks pays one
 * relaxed load. Any thread; allocations of all threads are counted together. */
uint64_t mem_fault_set(uint64_t nth, uint64_t repeat);

#endif
