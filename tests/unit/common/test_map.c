/* test_map: many keys, removal while iterating, and a table that cannot grow. */
#include "common/map.h"
#include "common/contract.h"
#include "common/mem.h"
#include "tests/unit/common/support_process.h"

#include <string.h>

struct entry {
    uint32_t key;
    unsigned visits;
    struct map_node node;
};

static bool match(const struct map_node *node, const void *key, size_t key_bytes) {
    const struct entry *entry = CONTAINER_OF(node, struct entry, node);
    return key_bytes == sizeof(entry->key) && memcmp(&entry->key, key, key_bytes) == 0;
}

enum { COUNT = 5000 };
static struct entry entries[COUNT];

static void fill(struct map *map) {
    for (uint32_t i = 0; i < COUNT; i++) {
        entries[i] = (struct entry){.key = i};
        map_insert(map, &entries[i].node, &entries[i].key, sizeof(uint32_t));
    }
}

static void check_all(const struct map *map) {
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_ptr_equal(map_find(map, &i, sizeof(i)), &entries[i].node);
    }
    uint32_t absent = COUNT;
    assert_null(map_find(map, &absent, sizeof(absent)));
    assert_null(map_find(map, "", 0));
}

static void keys_are_found_and_removed(void **state) {
    (void)state;
    struct map map;
    assert_int_equal(map_init(&map, 0, match), ERR_OK);
    assert_int_equal(map.slot_count, 8);
    uint32_t key = 1;
    assert_null(map_find(&map, &key, sizeof(key)));
    fill(&map);
    assert_int_equal(map.count, COUNT);
    assert_true(map.slot_count >= COUNT);
    check_all(&map);
    for (uint32_t i = 0; i < COUNT; i += 2) {
        map_remove(&map, &entries[i].node);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(map_find(&map, &i, sizeof(i)) != NULL, i % 2 == 1);
    }
    assert_int_equal(map.count, COUNT / 2);
    map_finish(&map);
}

static void the_first_table_is_sized(void **state) {
    (void)state;
    struct map map;
    assert_int_equal(map_init(&map, 1000, match), ERR_OK);
    assert_int_equal(map.slot_count, 1024);
    map_finish(&map);
}

static void iteration_visits_each_once_and_may_remove(void **state) {
    (void)state;
    struct map map;
    struct map_iter iter;
    assert_int_equal(map_init(&map, 0, match), ERR_OK);
    assert_null(map_iter_first(&map, &iter));
    fill(&map);
    struct map_node *node = map_iter_first(&map, &iter);
    while (node != NULL) {
        struct entry *entry = CONTAINER_OF(node, struct entry, node);
        entry->visits++;
        if (entry->key % 3 != 0) {
            map_remove(&map, node);
        }
        node = map_iter_next(&map, &iter);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(entries[i].visits, 1);
        assert_int_equal(map_find(&map, &i, sizeof(i)) != NULL, i % 3 == 0);
    }
    map_finish(&map);
}

static void without_memory_chains_get_longer(void **state) {
    (void)state;
    struct map map;
    (void)mem_fault_set(1, 1);
    assert_int_equal(map_init(&map, 0, match), ERR_NO_MEMORY);
    assert_int_equal(map_init(&map, 0, match), ERR_OK);
    (void)mem_fault_set(1, UINT64_MAX);
    fill(&map);
    (void)mem_fault_set(0, 0);
    assert_int_equal(map.slot_count, 8);
    check_all(&map);
    struct entry extra = {.key = COUNT + 1};
    map_insert(&map, &extra.node, &extra.key, sizeof(extra.key)); /* grows again when it can */
    assert_int_equal(map.slot_count, 16);
    check_all(&map);
    map_finish(&map);
}

static void the_hash_is_of_all_bytes(void **state) {
    (void)state;
    assert_true(map_hash("abc", 3) == map_hash("abcd", 3));
    assert_true(map_hash("abc", 3) != map_hash("abd", 3));
    assert_true(map_hash("abc", 3) != map_hash("abc", 2));
}

static void insert_twice(void) {
    struct map map;
    struct entry twin = {.key = 7};
    struct entry entry = {.key = 7};
    if (map_init(&map, 0, match) == ERR_OK) {
        map_insert(&map, &entry.node, &entry.key, sizeof(entry.key));
        map_insert(&map, &twin.node, &twin.key, sizeof(twin.key));
    }
}
static void remove_absent(void) {
    struct map map;
    struct entry entry = {.key = 7};
    if (map_init(&map, 0, match) == ERR_OK) {
        map_remove(&map, &entry.node);
    }
}

static void misuse_is_a_contract(void **state) {
    (void)state;
    assert_true(support_aborts(insert_twice));
    assert_true(support_aborts(remove_absent));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(keys_are_found_and_removed),
                                       cmocka_unit_test(the_first_table_is_sized),
                                       cmocka_unit_test(iteration_visits_each_once_and_may_remove),
                                       cmocka_unit_test(without_memory_chains_get_longer),
                                       cmocka_unit_test(the_hash_is_of_all_bytes),
                                       cmocka_unit_test(misuse_is_a_contract)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
