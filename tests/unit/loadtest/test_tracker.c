/* tracker: what is next, ahead, late or there again, for each pair of people. */
#include "loadtest/tracker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void in_order_all_are_next(void **state) {
    (void)state;
    struct tracker tracker;
    tracker_create(&tracker, 4, 2);
    for (uint32_t number = 0; number < 1000; number++) {
        assert_int_equal(tracker_arrived(&tracker, 1, 0, number), TRACKER_NEXT);
        assert_int_equal(tracker_arrived(&tracker, 0, 1, number), TRACKER_NEXT);
    }
    assert_int_equal(tracker_arrived(&tracker, 3, 2, 0), TRACKER_NEXT);
    tracker_destroy(&tracker);
}

static void what_came_before_comes_again(void **state) {
    (void)state;
    struct tracker tracker;
    tracker_create(&tracker, 2, 2);
    for (uint32_t number = 0; number < 200; number++) {
        (void)tracker_arrived(&tracker, 1, 0, number);
    }
    assert_int_equal(tracker_arrived(&tracker, 1, 0, 199), TRACKER_AGAIN);
    assert_int_equal(tracker_arrived(&tracker, 1, 0, 136), TRACKER_AGAIN); /* 63 behind */
    assert_int_equal(tracker_arrived(&tracker, 1, 0, 0), TRACKER_AGAIN);   /* out of sight */
    assert_int_equal(tracker_arrived(&tracker, 1, 0, 200), TRACKER_NEXT);
    tracker_destroy(&tracker);
}

static void a_hole_may_be_filled_once(void **state) {
    (void)state;
    struct tracker tracker;
    tracker_create(&tracker, 2, 2);
    assert_int_equal(tracker_arrived(&tracker, 1, 0, 0), TRACKER_NEXT);
    assert_int_equal(tracker_arrived(&tracker, 1, 0, 3), TRACKER_AHEAD);
    assert_int_equal(tracker_arrived(&tracker, 1, 0, 2), TRACKER_LATE);
    assert_int_equal(tracker_arrived(&tracker, 1, 0, 2), TRACKER_AGAIN);
    assert_int_equal(tracker_arrived(&tracker, 1, 0, 3), TRACKER_AGAIN);
    assert_int_equal(tracker_arrived(&tracker, 1, 0, 1), TRACKER_LATE);
    assert_int_equal(tracker_arrived(&tracker, 1, 0, 4), TRACKER_NEXT);
    assert_int_equal(tracker_arrived(&tracker, 1, 0, 68), TRACKER_AHEAD); /* the window's width */
    assert_int_equal(tracker_arrived(&tracker, 1, 0, 5), TRACKER_LATE);
    assert_int_equal(tracker_arrived(&tracker, 1, 0, 1000), TRACKER_AHEAD); /* far beyond it */
    assert_int_equal(tracker_arrived(&tracker, 1, 0, 999), TRACKER_LATE);
    tracker_destroy(&tracker);
}

static void groups_are_blocks_of_clients(void **state) {
    (void)state;
    struct tracker tracker;
    tracker_create(&tracker, 9, 3);
    assert_true(tracker_same_group(&tracker, 3, 5));
    assert_false(tracker_same_group(&tracker, 3, 6));
    assert_false(tracker_same_group(&tracker, 8, 9)); /* there is none */
    for (uint32_t receiver = 6; receiver < 9; receiver++) {
        for (uint32_t sender = 6; sender < 9; sender++) {
            assert_int_equal(tracker_arrived(&tracker, receiver, sender, 0), TRACKER_NEXT);
        }
    }
    tracker_destroy(&tracker);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(in_order_all_are_next),
                                       cmocka_unit_test(what_came_before_comes_again),
                                       cmocka_unit_test(a_hole_may_be_filled_once),
                                       cmocka_unit_test(groups_are_blocks_of_clients)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
