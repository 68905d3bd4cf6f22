/* test_buf: appending and consuming against a model, the cap to the byte, and failing growth. */
#include "common/buf.h"
#include "common/mem.h"
#include "tests/unit/common/support_process.h"

#include <stdlib.h>
#include <string.h>

static void bytes_go_in_and_out(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 1000);
    assert_int_equal(buf_len(&buf), 0);
    assert_null(buf_data(&buf));
    assert_int_equal(buf_append(&buf, NULL, 0), ERR_OK);
    assert_int_equal(buf_append_text(&buf, "hello "), ERR_OK);
    assert_int_equal(buf_append_format(&buf, "%s-%d", "world", 42), ERR_OK);
    assert_int_equal(buf_len(&buf), 14);
    assert_memory_equal(buf_data(&buf), "hello world-42", 14);
    buf_consume(&buf, 6);
    assert_memory_equal(buf_data(&buf), "world-42", 8);
    buf_consume(&buf, 8);
    assert_int_equal(buf_len(&buf), 0);
    assert_int_equal(buf.start, 0);
    buf_shrink(&buf);
    assert_null(buf.bytes);
    buf_finish(&buf);
}

static void shrink_keeps_content(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 1000);
    assert_int_equal(buf_append_text(&buf, "x"), ERR_OK);
    buf_shrink(&buf);
    assert_int_equal(buf_len(&buf), 1);
    buf_clear(&buf);
    buf_shrink(&buf);
    assert_int_equal(buf.held, 0);
    buf_finish(&buf);
}

static void the_cap_is_exact(void **state) {
    (void)state;
    struct buf buf;
    uint8_t *room = NULL;
    buf_init(&buf, 10);
    assert_int_equal(buf_append_format(&buf, "%s", "0123456789"), ERR_OK); /* NUL does not count */
    assert_int_equal(buf_append(&buf, "x", 1), ERR_TOO_LARGE);
    assert_int_equal(buf_append_format(&buf, "%d", 1), ERR_TOO_LARGE);
    assert_int_equal(buf_reserve(&buf, SIZE_MAX, &room), ERR_TOO_LARGE);
    assert_null(room);
    assert_memory_equal(buf_data(&buf), "0123456789", 10);
    buf_consume(&buf, 4);
    assert_int_equal(buf_append(&buf, "abcd", 4), ERR_OK); /* the hole is closed for it */
    assert_memory_equal(buf_data(&buf), "456789abcd", 10);
    assert_true(buf.held <= 10);
    buf_finish(&buf);
}

static void commit_after_reserve(void **state) {
    (void)state;
    struct buf buf;
    uint8_t *room = NULL;
    buf_init(&buf, 4096);
    assert_int_equal(buf_reserve(&buf, 1000, &room), ERR_OK);
    memset(room, 'a', 1000);
    buf_commit(&buf, 700);
    assert_int_equal(buf_len(&buf), 700);
    buf_finish(&buf);
}

static struct buf broken;
static void commit_too_much(void) {
    buf_init(&broken, 10);
    buf_commit(&broken, 1);
}
static void consume_too_much(void) {
    buf_init(&broken, 10);
    buf_consume(&broken, 1);
}

static void overruns_are_contracts(void **state) {
    (void)state;
    assert_true(support_aborts(commit_too_much));
    assert_true(support_aborts(consume_too_much));
}

/* Random appends and consumes, the same in a plain array that never moves. */
static void a_long_life_equals_the_model(void **state) {
    (void)state;
    enum { CAP = 3000, TOTAL = 2000000 };
    static uint8_t model[TOTAL];
    struct buf buf;
    size_t in = 0;
    size_t out = 0;
    uint32_t seed = 12345;
    buf_init(&buf, CAP);
    while (in + 400 < TOTAL) {
        seed = seed * 1664525u + 1013904223u;
        size_t count = seed >> 8 & 0xff;
        if ((seed & 1) != 0) {
            for (size_t i = 0; i < count; i++) {
                model[in + i] = (uint8_t)(in + i * 7);
            }
            enum err error = buf_append(&buf, model + in, count);
            assert_int_equal(error, in - out + count > CAP ? ERR_TOO_LARGE : ERR_OK);
            in += error == ERR_OK ? count : 0;
        } else {
            size_t less = count < in - out ? count : in - out;
            buf_consume(&buf, less);
            out += less;
        }
        assert_int_equal(buf_len(&buf), in - out);
        if (in > out) {
            assert_memory_equal(buf_data(&buf), model + out, in - out);
        }
        assert_true(buf.held <= CAP);
    }
    buf_finish(&buf);
}

static void failed_growth_changes_nothing(void **state) {
    (void)state;
    struct buf buf;
    char large[2000];
    memset(large, 'l', sizeof(large));
    buf_init(&buf, 10000);
    (void)mem_fault_set(1, 1);
    assert_int_equal(buf_append_text(&buf, "x"), ERR_NO_MEMORY);
    assert_int_equal(buf_append_text(&buf, "kept"), ERR_OK);
    (void)mem_fault_set(1, 2);
    assert_int_equal(buf_append(&buf, large, sizeof(large)), ERR_NO_MEMORY);
    assert_int_equal(buf_append_format(&buf, "%2000d", 1), ERR_NO_MEMORY);
    (void)mem_fault_set(0, 0);
    assert_int_equal(buf_len(&buf), 4);
    assert_memory_equal(buf_data(&buf), "kept", 4);
    assert_int_equal(buf_append(&buf, large, sizeof(large)), ERR_OK);
    assert_int_equal(buf_len(&buf), 2004);
    buf_finish(&buf);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_go_in_and_out),
                                       cmocka_unit_test(shrink_keeps_content),
                                       cmocka_unit_test(the_cap_is_exact),
                                       cmocka_unit_test(commit_after_reserve),
                                       cmocka_unit_test(overruns_are_contracts),
                                       cmocka_unit_test(a_long_life_equals_the_model),
                                       cmocka_unit_test(failed_growth_changes_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
