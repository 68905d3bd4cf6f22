/* Helpers of the tests of proto; see support.h. Copies are made with malloc itself and not with
 * mem_alloc, so that counting allocations in a test counts those of the code under test alone. */
#include "tests/unit/proto/support.h"

uint8_t *support_copy(const void *bytes, size_t count) {
    uint8_t *copy = malloc(count > 0 ? count : 1);
    assert_non_null(copy);
    if (count > 0) {
        memcpy(copy, bytes, count);
    }
    return copy;
}

void support_expect_slice(struct slice slice, const char *text) {
    assert_int_equal(slice.count, strlen(text));
    if (slice.count > 0) {
        assert_memory_equal(slice.bytes, text, slice.count);
    }
}

void support_expect_bytes(struct buf *buf, const void *bytes, size_t count) {
    assert_int_equal(buf_len(buf), count);
    if (count > 0) {
        assert_memory_equal(buf_data(buf), bytes, count);
    }
    buf_clear(buf);
}

void support_expect_text(struct buf *buf, const char *text) {
    char *copy = malloc(buf_len(buf) + 1);
    assert_non_null(copy);
    if (buf_len(buf) > 0) {
        memcpy(copy, buf_data(buf), buf_len(buf));
    }
    copy[buf_len(buf)] = '\0';
    assert_string_equal(copy, text);
    free(copy);
    buf_clear(buf);
}

uint64_t support_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545F4914F6CDD1D);
}
