/* test_mongo_places: every place of every text, whatever the order, and no other. */
#include "common/mem.h"
#include "tests/unit/storage/support.h"

#include "services/storage/mongo_places.h"
#include <stdio.h>

static void nothing_is_found_in_nothing(void **state) {
    (void)state;
    struct mongo_places places;
    size_t count = 7;
    assert_int_equal(mongo_places_init(&places, NULL, 0), ERR_OK);
    assert_null(mongo_places_find(&places, "x", &count));
    assert_int_equal(count, 0);
    mongo_places_finish(&places);
}

static void all_places_of_a_text_are_found(void **state) {
    (void)state;
    static const char *const texts[] = {"c_b", "c_a", "", "c_b", "c_ab", "c_b"};
    struct mongo_places places;
    assert_int_equal(mongo_places_init(&places, texts, 6), ERR_OK);
    size_t count = 0;
    const struct mongo_place *found = mongo_places_find(&places, "c_b", &count);
    assert_int_equal(count, 3);
    size_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(found[i].text, "c_b");
        sum += found[i].place;
    }
    assert_int_equal(sum, 0 + 3 + 5);
    assert_int_equal(mongo_places_find(&places, "", &count)->place, 2);
    assert_int_equal(count, 1);
    static const char *const missing[] = {"a", "c_", "c_aa", "c_b\x01", "z"};
    for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
        assert_null(mongo_places_find(&places, missing[i], &count));
    }
    mongo_places_finish(&places);
    mongo_places_finish(&places); /* harmless */
}

static void many_are_told_apart(void **state) {
    (void)state;
    static char room[1024][8];
    const char *texts[1024];
    for (unsigned i = 0; i < 1024; i++) {
        (void)snprintf(room[i], sizeof(room[i]), "%u", (i * 37u) % 1024u);
        texts[i] = room[i];
    }
    struct mongo_places places;
    assert_int_equal(mongo_places_init(&places, texts, 1024), ERR_OK);
    for (unsigned i = 0; i < 1024; i++) {
        size_t count = 0;
        const struct mongo_place *found = mongo_places_find(&places, texts[i], &count);
        assert_int_equal(count, 1);
        assert_int_equal(found->place, i);
    }
    mongo_places_finish(&places);
}

static void no_memory_is_told(void **state) {
    (void)state;
    static const char *const texts[] = {"a"};
    struct mongo_places places;
    (void)mem_fault_set(1, 1);
    assert_int_equal(mongo_places_init(&places, texts, 1), ERR_NO_MEMORY);
    (void)mem_fault_set(0, 0);
    mongo_places_finish(&places);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_found_in_nothing),
        cmocka_unit_test(all_places_of_a_text_are_found),
        cmocka_unit_test(many_are_told_apart),
        cmocka_unit_test(no_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
