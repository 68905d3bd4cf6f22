/* conn_pool: bounded, zeroed, and memory goes back when a wave is over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/mem.h"
#include "services/connection/conn_pool.h"
#include <stdlib.h>
#include <string.h>

static void test_objects_are_zeroed_aligned_and_bounded(void **state) {
    (void)state;
    struct conn_pool pool;
    void *objects[100];
    conn_pool_init(&pool, 41, 100);
    for (size_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < 100; i++) {
            uint8_t *object = objects[i] = conn_pool_take(&pool);
            assert_non_null(object);
            assert_int_equal((uintptr_t)object % 16, 0);
            for (size_t k = 0; k < 41; k++) {
                assert_int_equal(object[k], 0);
            }
            memset(object, 0xAA, 41);
        }
        assert_null(conn_pool_take(&pool));
        for (size_t i = 0; i < 100; i++) {
            conn_pool_give(&pool, objects[i]);
        }
        assert_int_equal(pool.used, 0);
    }
    conn_pool_finish(&pool);
}

static void test_memory_returns_after_a_wave(void **state) {
    (void)state;
    struct conn_pool pool;
    static void *objects[2000];
    conn_pool_init(&pool, 700, 2000);
    for (size_t i = 0; i < 2000; i++) {
        objects[i] = conn_pool_take(&pool);
    }
    size_t most = pool.chunks.count;
    for (size_t i = 0; i < 2000; i++) {
        conn_pool_give(&pool, objects[i]);
    }
    assert_true(most > 1);
    assert_true(pool.chunks.count <= 1);
    conn_pool_finish(&pool);
}

static void test_random_use_against_a_model(void **state) {
    (void)state;
    struct conn_pool pool;
    uint64_t *held[300] = {0};
    size_t count = 0;
    conn_pool_init(&pool, sizeof(uint64_t), 300);
    srand(11);
    for (uint64_t step = 1; step < 20000; step++) {
        size_t pick = (size_t)rand() % 300;
        if (held[pick] == NULL) {
            held[pick] = conn_pool_take(&pool);
            assert_non_null(held[pick]);
            assert_int_equal(*held[pick], 0);
            *held[pick] = pick + 1;
            count++;
        } else {
            assert_int_equal(*held[pick], pick + 1); /* nobody else wrote to it */
            conn_pool_give(&pool, held[pick]);
            held[pick] = NULL;
            count--;
        }
        assert_int_equal(pool.used, count);
    }
    for (size_t i = 0; i < 300; i++) {
        if (held[i] != NULL) {
            conn_pool_give(&pool, held[i]);
        }
    }
    conn_pool_finish(&pool);
}

static void test_without_memory(void **state) {
    (void)state;
    struct conn_pool pool;
    conn_pool_init(&pool, 10, 10);
    (void)mem_fault_set(1, 1);
    void *object = conn_pool_take(&pool);
    (void)mem_fault_set(0, 0);
    assert_null(object);
    object = conn_pool_take(&pool);
    assert_non_null(object);
    conn_pool_give(&pool, object);
    conn_pool_finish(&pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objects_are_zeroed_aligned_and_bounded),
        cmocka_unit_test(test_memory_returns_after_a_wave),
        cmocka_unit_test(test_random_use_against_a_model),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
