/* test_mongo_heads: lower bounds only, bounded, least recently used out first. */
#include "tests/unit/storage/support.h"

#include "common/mem.h"
#include "services/storage/mongo_heads.h"
#include <stdio.h>

static void check(struct mongo_heads *heads, const char *id, bool known, uint64_t expected) {
    uint64_t head = 0;
    assert_int_equal(mongo_heads_find(heads, id, &head), known);
    assert_int_equal(head, expected);
}

static void never_lowered(void **state) {
    (void)state;
    struct mongo_heads heads;
    assert_int_equal(mongo_heads_init(&heads, 10), ERR_OK);
    check(&heads, "c_a", false, 0);
    mongo_heads_learn(&heads, "c_a", 0);
    check(&heads, "c_a", true, 0); /* it exists */
    mongo_heads_learn(&heads, "c_a", 7);
    mongo_heads_learn(&heads, "c_a", 5);
    mongo_heads_learn(&heads, "c_ab", 1);
    check(&heads, "c_a", true, 7);
    check(&heads, "c_ab", true, 1);
    mongo_heads_forget(&heads, "c_ab");
    mongo_heads_forget(&heads, "c_none");
    check(&heads, "c_ab", false, 0);
    check(&heads, "c_a", true, 7);
    mongo_heads_clear(&heads);
    check(&heads, "c_a", false, 0);
    mongo_heads_learn(&heads, "c_a", 2);
    check(&heads, "c_a", true, 2);
    mongo_heads_finish(&heads);
}

static void bounded(void **state) {
    (void)state;
    struct mongo_heads heads;
    assert_int_equal(mongo_heads_init(&heads, 3), ERR_OK);
    mongo_heads_learn(&heads, "c_1", 1);
    mongo_heads_learn(&heads, "c_2", 2);
    mongo_heads_learn(&heads, "c_3", 3);
    check(&heads, "c_1", true, 1); /* now c_2 is the oldest */
    mongo_heads_learn(&heads, "c_4", 4);
    check(&heads, "c_2", false, 0);
    check(&heads, "c_1", true, 1);
    check(&heads, "c_3", true, 3);
    check(&heads, "c_4", true, 4);
    for (unsigned i = 0; i < 1000; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "c_%u", i);
        mongo_heads_learn(&heads, id, i);
    }
    assert_int_equal(heads.by_use.count, 3);
    mongo_heads_finish(&heads);
}

static void no_memory_only_forgets(void **state) {
    (void)state;
    struct mongo_heads heads;
    assert_int_equal(mongo_heads_init(&heads, 3), ERR_OK);
    mongo_heads_learn(&heads, "c_1", 1);
    (void)mem_fault_set(1, 1);
    mongo_heads_learn(&heads, "c_2", 2);
    (void)mem_fault_set(0, 0);
    check(&heads, "c_2", false, 0);
    check(&heads, "c_1", true, 1);
    mongo_heads_finish(&heads);
    (void)mem_fault_set(1, 1);
    assert_int_equal(mongo_heads_init(&heads, 3), ERR_NO_MEMORY);
    (void)mem_fault_set(0, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_lowered),
        cmocka_unit_test(bounded),
        cmocka_unit_test(no_memory_only_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
