/* test_sqlite_cache: bounded, least recently used out first. */
#include "tests/unit/storage/support.h"

#include "common/mem.h"
#include "services/storage/sqlite_cache.h"
#include <stdio.h>

static void add(struct sqlite_cache *cache, const char *id, uint64_t key) {
    struct sqlite_conversation *entry = NULL;
    assert_int_equal(sqlite_cache_add(cache, id, &entry), ERR_OK);
    entry->key = key;
}

static void finds_what_was_added(void **state) {
    (void)state;
    struct sqlite_cache cache;
    assert_int_equal(sqlite_cache_init(&cache, 10), ERR_OK);
    assert_null(sqlite_cache_find(&cache, "c_a"));
    add(&cache, "c_a", 1);
    add(&cache, "c_ab", 2);
    assert_int_equal(sqlite_cache_find(&cache, "c_a")->key, 1);
    assert_int_equal(sqlite_cache_find(&cache, "c_ab")->key, 2);
    assert_string_equal(sqlite_cache_find(&cache, "c_ab")->id, "c_ab");
    sqlite_cache_clear(&cache);
    assert_null(sqlite_cache_find(&cache, "c_a"));
    add(&cache, "c_a", 3);
    assert_int_equal(sqlite_cache_find(&cache, "c_a")->key, 3);
    sqlite_cache_finish(&cache);
}

static void the_least_recently_used_goes(void **state) {
    (void)state;
    struct sqlite_cache cache;
    assert_int_equal(sqlite_cache_init(&cache, 3), ERR_OK);
    add(&cache, "c_1", 1);
    add(&cache, "c_2", 2);
    add(&cache, "c_3", 3);
    assert_non_null(sqlite_cache_find(&cache, "c_1")); /* now c_2 is the oldest */
    add(&cache, "c_4", 4);
    assert_null(sqlite_cache_find(&cache, "c_2"));
    assert_non_null(sqlite_cache_find(&cache, "c_1"));
    assert_non_null(sqlite_cache_find(&cache, "c_3"));
    assert_non_null(sqlite_cache_find(&cache, "c_4"));
    for (uint64_t i = 10; i < 1000; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "c_%u", (unsigned)i);
        add(&cache, id, i);
        assert_true(cache.by_id.count <= 3);
    }
    sqlite_cache_finish(&cache);
}

static void out_of_memory_leaves_it_whole(void **state) {
    (void)state;
    struct sqlite_cache cache;
    struct sqlite_conversation *entry = NULL;
    (void)mem_fault_set(1, 1);
    assert_int_equal(sqlite_cache_init(&cache, 2), ERR_NO_MEMORY);
    (void)mem_fault_set(0, 0);
    assert_int_equal(sqlite_cache_init(&cache, 2), ERR_OK);
    add(&cache, "c_1", 1);
    add(&cache, "c_2", 2);
    (void)mem_fault_set(1, 1);
    assert_int_equal(sqlite_cache_add(&cache, "c_3", &entry), ERR_NO_MEMORY);
    (void)mem_fault_set(0, 0);
    assert_non_null(sqlite_cache_find(&cache, "c_1"));
    assert_non_null(sqlite_cache_find(&cache, "c_2"));
    sqlite_cache_finish(&cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_added),
        cmocka_unit_test(the_least_recently_used_goes),
        cmocka_unit_test(out_of_memory_leaves_it_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
