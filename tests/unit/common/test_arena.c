/* test_arena: alignment, reuse after a reset, the cap, and failing blocks. */
#include "common/arena.h"
#include "common/mem.h"
#include "tests/unit/common/support_process.h"

#include <string.h>

static void allocations_are_aligned_and_apart(void **state) {
    (void)state;
    struct arena arena;
    uint8_t *blocks[200];
    arena_init(&arena, 256, 1024 * 1024);
    assert_int_equal(arena.held_bytes, 0);
    for (size_t i = 0; i < 200; i++) {
        blocks[i] = arena_alloc(&arena, i % 40);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], (int)i, i % 40);
    }
    for (size_t i = 0; i < 200; i++) {
        for (size_t j = 0; j < i % 40; j++) {
            assert_int_equal(blocks[i][j], (uint8_t)i);
        }
    }
    arena_finish(&arena);
    assert_int_equal(arena.held_bytes, 0);
}

static void a_reset_keeps_one_block(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 128, 4096);
    void *first = arena_alloc(&arena, 100);
    for (int i = 0; i < 10; i++) {
        assert_non_null(arena_alloc(&arena, 100));
    }
    assert_true(arena.held_bytes >= 11 * 100);
    arena_reset(&arena);
    assert_int_equal(arena.held_bytes, 128);
    (void)mem_fault_set(0, 0);
    for (int i = 0; i < 100; i++) {
        assert_ptr_equal(arena_alloc(&arena, 100), first);
        arena_reset(&arena);
    }
    assert_int_equal(mem_fault_set(0, 0), 0); /* the steady state takes nothing from the heap */
    arena_finish(&arena);
    arena_reset(&arena); /* empty: no effect */
    arena_finish(&arena);
}

static void large_ones_do_not_waste_the_current_block(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 128, 64 * 1024);
    uint8_t *small = arena_alloc(&arena, 16);
    uint8_t *large = arena_alloc(&arena, 5000);
    assert_non_null(large);
    memset(large, 1, 5000);
    assert_ptr_equal(arena_alloc(&arena, 16), small + 16);
    arena_reset(&arena);
    assert_int_equal(arena.held_bytes, 128);
    arena_finish(&arena);

    arena_init(&arena, 128, 64 * 1024); /* a large one first is not kept */
    assert_non_null(arena_alloc(&arena, 5000));
    arena_reset(&arena);
    assert_int_equal(arena.held_bytes, 0);
    assert_non_null(arena_alloc(&arena, 16));
    arena_finish(&arena);
}

static void the_cap_holds(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 128, 1000);
    assert_null(arena_alloc(&arena, 1001));
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_copy(&arena, "x", SIZE_MAX));
    size_t served = 0;
    while (arena_alloc(&arena, 64) != NULL) {
        served++;
        assert_true(served < 100);
    }
    assert_int_equal(served, 14); /* seven blocks of two */
    assert_true(arena.held_bytes <= 1000);
    arena_reset(&arena);
    assert_non_null(arena_alloc(&arena, 64)); /* usable again */
    arena_finish(&arena);
}

static void copies_end_in_nul(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 128, 1000);
    assert_string_equal(arena_copy(&arena, "abcdef", 3), "abc");
    assert_string_equal(arena_copy(&arena, NULL, 0), "");
    arena_finish(&arena);
}

static void a_failing_heap_leaves_it_usable(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 128, 4096);
    (void)mem_fault_set(1, 1);
    assert_null(arena_alloc(&arena, 10));
    char *kept = arena_copy(&arena, "kept", 4);
    assert_non_null(kept);
    (void)mem_fault_set(1, 1);
    assert_null(arena_alloc(&arena, 1000));
    assert_non_null(arena_alloc(&arena, 1000));
    (void)mem_fault_set(0, 0);
    assert_string_equal(kept, "kept");
    arena_finish(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(allocations_are_aligned_and_apart),
                                       cmocka_unit_test(a_reset_keeps_one_block),
                                       cmocka_unit_test(large_ones_do_not_waste_the_current_block),
                                       cmocka_unit_test(the_cap_holds),
                                       cmocka_unit_test(copies_end_in_nul),
                                       cmocka_unit_test(a_failing_heap_leaves_it_usable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
