/* test_batch: when a batch leaves: at once, with the beat, or full. */
#include "common/batch.h"
#include "tests/unit/common/support_process.h"

static void alone_it_leaves_at_once(void **state) {
    (void)state;
    struct batch batch = {0};
    assert_false(batch_due(&batch, 5));
    assert_true(batch_due_in_us(&batch, 5) == UINT64_MAX);
    batch_add(&batch, 10);
    assert_true(batch_due(&batch, 5));
    assert_int_equal(batch_due_in_us(&batch, 5), 0);
    batch_sent(&batch, 5);
    assert_int_equal(batch.count, 0);
    assert_int_equal(batch.bytes, 0);
    assert_int_equal(batch.flights, 1);
    assert_false(batch_due(&batch, 5));
    batch_returned(&batch);
    batch_add(&batch, 10); /* one after the other: nobody waits */
    assert_true(batch_due(&batch, 6));
}

static void behind_a_flight_it_waits_for_the_beat(void **state) {
    (void)state;
    struct batch batch = {0};
    batch_add(&batch, 10);
    batch_sent(&batch, 3 * BATCH_BEAT_US + 700);
    batch_add(&batch, 10);
    assert_false(batch_due(&batch, 3 * BATCH_BEAT_US + 701));
    assert_int_equal(batch_due_in_us(&batch, 4 * BATCH_BEAT_US - 300), 300);
    assert_true(batch_due(&batch, 4 * BATCH_BEAT_US));
    assert_true(batch_due(&batch, 9 * BATCH_BEAT_US + 1));
    batch_returned(&batch);
    assert_true(batch_due(&batch, 3 * BATCH_BEAT_US + 702)); /* nothing else came beside it */
}

static void under_load_the_beat_is_kept(void **state) {
    (void)state;
    struct batch batch = {0};
    batch_add(&batch, 10);
    batch_add(&batch, 10);
    batch_sent(&batch, BATCH_BEAT_US);
    batch_returned(&batch); /* answered at once, and still */
    batch_add(&batch, 10);
    assert_int_equal(batch_due_in_us(&batch, BATCH_BEAT_US + 1), BATCH_BEAT_US - 1);
    batch_sent(&batch, 2 * BATCH_BEAT_US); /* only one this time: the load is over */
    batch_returned(&batch);
    batch_add(&batch, 10);
    assert_true(batch_due(&batch, 2 * BATCH_BEAT_US + 1));
}

static void a_later_hop_has_a_later_phase(void **state) {
    (void)state;
    struct batch batch = {.flights = 1, .last_count = 2, .phase_us = 500};
    batch.last_us = 5 * BATCH_BEAT_US + 500;
    batch_add(&batch, 10);
    assert_int_equal(batch_due_in_us(&batch, 5 * BATCH_BEAT_US + 600), BATCH_BEAT_US - 100);
    batch.last_us = 5 * BATCH_BEAT_US + 499; /* a full one left just before the beat */
    assert_int_equal(batch_due_in_us(&batch, 5 * BATCH_BEAT_US + 499), 1);
}

static void full_is_due(void **state) {
    (void)state;
    struct batch counted = {.flights = 1, .last_us = 100};
    for (int i = 0; i < BATCH_COUNT_MAX; i++) {
        assert_false(batch_due(&counted, 100));
        batch_add(&counted, 1);
    }
    assert_true(batch_due(&counted, 100));
    struct batch sized = {.flights = 1, .last_us = 100};
    batch_add(&sized, BATCH_BYTES_MAX - 1);
    assert_false(batch_due(&sized, 100));
    batch_add(&sized, 1);
    assert_true(batch_due(&sized, 100));
}

static void send_nothing(void) {
    struct batch batch = {0};
    batch_sent(&batch, 0);
}
static void return_nothing(void) {
    struct batch batch = {0};
    batch_returned(&batch);
}

static void misuse_is_a_contract(void **state) {
    (void)state;
    assert_true(support_aborts(send_nothing));
    assert_true(support_aborts(return_nothing));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(alone_it_leaves_at_once),
                                       cmocka_unit_test(behind_a_flight_it_waits_for_the_beat),
                                       cmocka_unit_test(under_load_the_beat_is_kept),
                                       cmocka_unit_test(a_later_hop_has_a_later_phase),
                                       cmocka_unit_test(full_is_due),
                                       cmocka_unit_test(misuse_is_a_contract)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
