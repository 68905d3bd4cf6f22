#include "tests/unit/routing/support.h"

#include "common/mem.h"
#include "services/routing/recent.h"
#include "services/routing/targets.h"
#include "services/routing/user_rate.h"
#include <string.h>

static void number_id(uint8_t id[ID_UUID_BYTES], unsigned number) {
    memset(id, 0, ID_UUID_BYTES);
    memcpy(id, &number, sizeof number);
}

static void the_oldest_ids_are_forgotten(void **state) {
    (void)state;
    struct recent_ids *ids = NULL;
    assert_int_equal(recent_ids_create(16, &ids), ERR_OK);
    uint8_t id[ID_UUID_BYTES];
    for (unsigned i = 0; i < 100; i++) {
        number_id(id, i);
        recent_ids_add(ids, id, "c_family", "u_ann", i + 1, 1000 + i);
    }
    uint64_t seq = 0;
    uint64_t ts_ms = 0;
    for (unsigned i = 0; i < 100; i++) {
        number_id(id, i);
        assert_int_equal(recent_ids_find(ids, id, "c_family", "u_ann", &seq, &ts_ms), i >= 84);
        if (i >= 84) {
            assert_int_equal(seq, i + 1);
            assert_int_equal(ts_ms, 1000 + i);
        }
    }
    recent_ids_destroy(&ids);
    assert_null(ids);
}

static void an_id_belongs_to_conversation_and_sender(void **state) {
    (void)state;
    struct recent_ids *ids = NULL;
    assert_int_equal(recent_ids_create(16, &ids), ERR_OK);
    uint8_t id[ID_UUID_BYTES];
    number_id(id, 1);
    recent_ids_add(ids, id, "c_family", "u_ann", 7, 1);
    recent_ids_add(ids, id, "c_family", "u_ann", 9, 1); /* the first seq stays */
    uint64_t seq = 0;
    uint64_t ts_ms = 0;
    assert_true(recent_ids_find(ids, id, "c_family", "u_ann", &seq, &ts_ms));
    assert_int_equal(seq, 7);
    assert_false(recent_ids_find(ids, id, "c_family", "u_bob", &seq, &ts_ms));
    assert_false(recent_ids_find(ids, id, "c_other", "u_ann", &seq, &ts_ms));
    recent_ids_destroy(&ids);
}

static void targets_know_the_author(void **state) {
    (void)state;
    struct targets *targets = NULL;
    bool own = false;
    Pipit__MessageKind kind = PIPIT__MESSAGE_KIND__MESSAGE_REACT;
    assert_int_equal(targets_create(64, &targets), ERR_OK);
    assert_false(targets_find(targets, "c_family", 3, "u_ann", &own, &kind));
    assert_false(targets_find(targets, "c_family", 0, "u_ann", &own, &kind));
    targets_add(targets, "c_family", 3, "u_ann", PIPIT__MESSAGE_KIND__MESSAGE_TEXT);
    assert_true(targets_find(targets, "c_family", 3, "u_ann", &own, &kind));
    assert_true(own);
    assert_int_equal(kind, PIPIT__MESSAGE_KIND__MESSAGE_TEXT);
    assert_true(targets_find(targets, "c_family", 3, "u_bob", &own, &kind));
    assert_false(own);
    assert_false(targets_find(targets, "c_other", 3, "u_ann", &own, &kind));
    targets_add(targets, "c_family", 3 + 64, "u_bob", PIPIT__MESSAGE_KIND__MESSAGE_TEXT);
    assert_false(targets_find(targets, "c_family", 3, "u_ann", &own, &kind)); /* overwritten */
    targets_destroy(&targets);
}

static void each_user_has_a_bucket(void **state) {
    (void)state;
    struct user_rates *rates = NULL;
    assert_int_equal(user_rates_create(2, 10, 3, &rates), ERR_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(user_rates_take(rates, "u_ann", 1000), 0);
    }
    assert_int_equal(user_rates_take(rates, "u_ann", 1000), 100); /* ten a second */
    assert_int_equal(user_rates_take(rates, "u_bob", 1000), 0);
    assert_int_equal(user_rates_take(rates, "u_ann", 101000), 0);
    assert_int_equal(user_rates_take(rates, "u_cem", 101000), 0); /* recycles bob, not ann */
    assert_int_not_equal(user_rates_take(rates, "u_ann", 101000), 0);
    assert_int_equal(user_rates_take(rates, "u_bob", 101000), 0);
    user_rates_destroy(&rates);
    assert_int_equal(user_rates_create(2, 0, 1, &rates), ERR_OK);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(user_rates_take(rates, "u_ann", 1), 0); /* unlimited */
    }
    user_rates_destroy(&rates);
}

static void without_memory_nothing_is_made(void **state) {
    (void)state;
    struct recent_ids *ids = NULL;
    struct user_rates *rates = NULL;
    struct targets *targets = NULL;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        (void)mem_fault_set(nth, 1);
        assert_int_equal(recent_ids_create(16, &ids), ERR_NO_MEMORY);
        (void)mem_fault_set(nth, 1);
        assert_int_equal(user_rates_create(16, 1, 1, &rates), ERR_NO_MEMORY);
    }
    (void)mem_fault_set(1, 1);
    assert_int_equal(targets_create(16, &targets), ERR_NO_MEMORY);
    (void)mem_fault_set(0, 0);
    assert_true(ids == NULL && rates == NULL && targets == NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oldest_ids_are_forgotten),
        cmocka_unit_test(an_id_belongs_to_conversation_and_sender),
        cmocka_unit_test(targets_know_the_author),
        cmocka_unit_test(each_user_has_a_bucket),
        cmocka_unit_test(without_memory_nothing_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
