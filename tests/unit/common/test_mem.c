/* test_mem: the fault hook counts and fails exactly what it was told, from any thread. */
#include "common/mem.h"
#include "tests/unit/common/support_process.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static void *volatile sink;
static volatile size_t zero;

static void memory_is_usable(void **state) {
    (void)state;
    char *text = mem_strdup("hello");
    assert_string_equal(text, "hello");
    text = mem_realloc(text, 100);
    assert_string_equal(text, "hello");
    mem_free(text);
    uint8_t *zeroed = mem_zalloc(3, 100);
    for (size_t i = 0; i < 300; i++) {
        assert_int_equal(zeroed[i], 0);
    }
    mem_free(zeroed);
    mem_free(NULL);
}

static void the_nth_allocation_fails(void **state) {
    (void)state;
    (void)mem_fault_set(3, 2);
    void *first = mem_alloc(1);
    char *second = mem_strdup("x");
    assert_non_null(first);
    assert_non_null(second);
    errno = 0;
    assert_null(mem_zalloc(1, 1)); /* third */
    assert_int_equal(errno, ENOMEM);
    assert_null(mem_realloc(first, 50)); /* fourth; the old block stays */
    first = mem_realloc(first, 50);      /* fifth */
    assert_non_null(first);
    assert_int_equal(mem_fault_set(0, 0), 5);
    mem_free(first);
    mem_free(second);
}

static void off_means_off_and_the_count_restarts(void **state) {
    (void)state;
    (void)mem_fault_set(1, UINT64_MAX);
    assert_null(mem_alloc(1));
    assert_null(mem_strdup("x"));
    assert_int_equal(mem_fault_set(0, 0), 2);
    void *block = mem_alloc(1);
    assert_non_null(block);
    mem_free(block);
    assert_int_equal(mem_fault_set(0, 0), 1);
    assert_int_equal(mem_fault_set(0, 0), 0);
}

static void alloc_zero(void) {
    sink = mem_alloc(zero);
}
static void zalloc_zero(void) {
    sink = mem_zalloc(1, zero);
}
static void realloc_zero(void) {
    sink = mem_realloc(NULL, zero);
}

static void nothing_is_not_a_size(void **state) {
    (void)state;
    assert_true(support_aborts(alloc_zero));
    assert_true(support_aborts(zalloc_zero));
    assert_true(support_aborts(realloc_zero));
}

static void sizes_that_overflow_are_refused(void **state) {
    (void)state;
    volatile size_t half = SIZE_MAX / 2 + 1;
    assert_null(mem_zalloc(half, 2));
}

static atomic_uint failures;

static void *allocate_many(void *unused) {
    (void)unused;
    for (int i = 0; i < 1000; i++) {
        void *block = mem_alloc(16);
        if (block == NULL) {
            atomic_fetch_add(&failures, 1);
        }
        mem_free(block);
    }
    return NULL;
}

static void threads_share_one_count(void **state) {
    (void)state;
    pthread_t threads[4];
    atomic_store(&failures, 0);
    (void)mem_fault_set(1500, 37);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, allocate_many, NULL), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(mem_fault_set(0, 0), 4000);
    assert_int_equal(atomic_load(&failures), 37);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_is_usable),
                                       cmocka_unit_test(the_nth_allocation_fails),
                                       cmocka_unit_test(off_means_off_and_the_count_restarts),
                                       cmocka_unit_test(nothing_is_not_a_size),
                                       cmocka_unit_test(sizes_that_overflow_are_refused),
                                       cmocka_unit_test(threads_share_one_count)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
