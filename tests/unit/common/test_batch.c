/* test_batch: when a batch leaves: at once, with the flight, full, or old. */
#include "common/batch.h"
#include "tests/unit/common/support_process.h"

static void alone_it_leaves_at_once(void **state) {
    (void)state;
    struct batch batch = {0};
    assert_false(batch_due(&batch, 5));
    assert_true(batch_due_in_us(&batch, 5) == UINT64_MAX);
    batch_add(&batch, 10, 5);
    assert_true(batch_due(&batch, 5));
    assert_int_equal(batch_due_in_us(&batch, 5), 0);
    batch_sent(&batch);
    assert_int_equal(batch.count, 0);
    assert_int_equal(batch.bytes, 0);
    assert_int_equal(batch.flights, 1);
    assert_false(batch_due(&batch, 5));
}

static void behind_a_flight_it_waits(void **state) {
    (void)state;
    struct batch batch = {.flights = 1};
    batch_add(&batch, 10, 1000);
    batch_add(&batch, 10, 1300); /* the oldest counts */
    assert_false(batch_due(&batch, 1300));
    assert_int_equal(batch_due_in_us(&batch, 1300), 200);
    assert_int_equal(batch_due_in_us(&batch, 900), 500); /* a clock behind the entry's */
    assert_false(batch_due(&batch, 1499));
    assert_true(batch_due(&batch, 1500));
    assert_true(batch_due(&batch, 999999));
    batch_returned(&batch);
    assert_true(batch_due(&batch, 1300)); /* the flight is the clock */
}

static void full_is_due(void **state) {
    (void)state;
    struct batch counted = {.flights = 1};
    for (int i = 0; i < BATCH_COUNT_MAX; i++) {
        assert_false(batch_due(&counted, 0));
        batch_add(&counted, 1, 0);
    }
    assert_true(batch_due(&counted, 0));
    struct batch sized = {.flights = 1};
    batch_add(&sized, BATCH_BYTES_MAX - 1, 0);
    assert_false(batch_due(&sized, 0));
    batch_add(&sized, 1, 0);
    assert_true(batch_due(&sized, 0));
}

static void time_starts_with_each_batch(void **state) {
    (void)state;
    struct batch batch = {0};
    batch_add(&batch, 1, 0);
    batch_sent(&batch);
    batch_add(&batch, 1, 10000);
    assert_int_equal(batch_due_in_us(&batch, 10000), BATCH_WAIT_US);
}

static void send_nothing(void) {
    struct batch batch = {0};
    batch_sent(&batch);
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_it_leaves_at_once), cmocka_unit_test(behind_a_flight_it_waits),
        cmocka_unit_test(full_is_due), cmocka_unit_test(time_starts_with_each_batch),
        cmocka_unit_test(misuse_is_a_contract)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
