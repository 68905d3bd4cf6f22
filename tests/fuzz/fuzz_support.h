/* fuzz_support: every target copies its input to a heap block of exactly that size, so the address
 * sanitizer sees the first byte read or written too far, and checks with CONTRACT what the contract
 * promises. */
#ifndef PIPIT_TESTS_FUZZ_SUPPORT_H
#define PIPIT_TESTS_FUZZ_SUPPORT_H

#include "common/contract.h"
#include "proto/slice.h"
#include <stdlib.h>

static inline uint8_t *fuzz_copy(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size > 0 ? size : 1);
    CONTRACT(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

/* The slice lies within the block. */
static inline void fuzz_inside(struct slice slice, const uint8_t *block, size_t size) {
    if (slice.count > 0) {
        CONTRACT(slice.bytes >= block && slice.bytes + slice.count <= block + size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
