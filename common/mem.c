/* mem: the one entry to the heap.
 *
 * One entry means one place to make allocations fail on purpose: a test runs an operation, learns
 * how many allocations it made, and repeats it with each of them failing. The hook counts only
 * after the first mem_fault_set, so a service pays one relaxed load an allocation. Counting is
 * atomic and over all threads; with several threads allocating at once, which of them meets the
 * failure is theirs to race for, but exactly `repeat` allocations fail. */
#include "common/mem.h"

#include "common/contract.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static atomic_bool fault_counting;
static atomic_uint_fast64_t fault_asked; /* allocations since the last mem_fault_set */
static atomic_uint_fast64_t fault_first; /* number of the first that fails; 0 = none */
static atomic_uint_fast64_t fault_end;   /* number of the first that succeeds again */

static bool fault_due(void) {
    if (!atomic_load_explicit(&fault_counting, memory_order_relaxed)) {
        return false;
    }
    uint64_t number = atomic_fetch_add(&fault_asked, 1) + 1;
    uint64_t first = atomic_load(&fault_first);
    if (first == 0 || number < first || number >= atomic_load(&fault_end)) {
        return false;
    }
    errno = ENOMEM;
    return true;
}

void *mem_alloc(size_t bytes) {
    CONTRACT(bytes > 0);
    return fault_due() ? NULL : malloc(bytes);
}

void *mem_zalloc(size_t count, size_t bytes) {
    size_t total = 0;
    CONTRACT(count > 0 && bytes > 0);
    if (fault_due() || __builtin_mul_overflow(count, bytes, &total)) {
        return NULL;
    }
    return calloc(1, total);
}

void *mem_realloc(void *old, size_t bytes) {
    CONTRACT(bytes > 0);
    return fault_due() ? NULL : realloc(old, bytes);
}

void mem_free(void *pointer) {
    free(pointer);
}

char *mem_strdup(const char *text) {
    size_t bytes = strlen(text) + 1;
    char *copy = mem_alloc(bytes);
    if (copy != NULL) {
        memcpy(copy, text, bytes);
    }
    return copy;
}

uint64_t mem_fault_set(uint64_t nth, uint64_t repeat) {
    atomic_store(&fault_first, 0); /* nothing fails while the range changes */
    uint64_t asked = atomic_exchange(&fault_asked, 0);
    atomic_store(&fault_end, repeat > UINT64_MAX - nth ? UINT64_MAX : nth + repeat);
    atomic_store(&fault_first, nth);
    atomic_store(&fault_counting, true);
    return asked;
}
