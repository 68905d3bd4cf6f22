/* test_rate: the long-run average, the burst, and clocks and limits at their ends. */
#include "common/rate.h"
#include "tests/unit/common/support_process.h"

static void a_burst_then_a_wait(void **state) {
    (void)state;
    struct rate_bucket bucket;
    rate_init(&bucket, 5, 1000);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(rate_take(&bucket, 10, 5, 1000), 0);
    }
    assert_int_equal(rate_take(&bucket, 10, 5, 1000), 100000);
    assert_int_equal(rate_take(&bucket, 10, 5, 1000 + 99999), 1);
    assert_int_equal(rate_take(&bucket, 10, 5, 1000 + 100000), 0);
    assert_int_equal(rate_take(&bucket, 10, 5, 1000 + 100000), 100000);
}

static void the_average_holds_however_often_it_is_asked(void **state) {
    (void)state;
    const uint32_t rates[] = {1, 3, 7, 1000, 999999};
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct rate_bucket bucket;
        uint64_t taken = 0;
        rate_init(&bucket, 2, 0);
        for (uint64_t now_us = 0; now_us <= 3000000; now_us++) {
            taken += rate_take(&bucket, rates[i], 2, now_us) == 0 ? 1 : 0;
        }
        assert_int_equal(taken, 3 * (uint64_t)rates[i] + 2);
    }
}

static void the_told_wait_is_enough(void **state) {
    (void)state;
    struct rate_bucket bucket;
    uint64_t now_us = 7;
    rate_init(&bucket, 1, now_us);
    for (int i = 0; i < 1000; i++) {
        uint64_t wait_us = rate_take(&bucket, 3, 1, now_us);
        if (wait_us > 0) {
            assert_true(wait_us <= 333334);
            now_us += wait_us;
            assert_int_equal(rate_take(&bucket, 3, 1, now_us), 0);
        }
    }
}

static void years_of_sleep_give_one_burst(void **state) {
    (void)state;
    struct rate_bucket bucket;
    rate_init(&bucket, UINT32_MAX, 0);
    bucket.micro_tokens = 0;
    assert_int_equal(rate_take(&bucket, UINT32_MAX, 3, UINT64_MAX), 0);
    assert_int_equal(rate_take(&bucket, UINT32_MAX, 3, UINT64_MAX), 0);
    assert_int_equal(rate_take(&bucket, UINT32_MAX, 3, UINT64_MAX), 0);
    assert_int_equal(rate_take(&bucket, UINT32_MAX, 3, UINT64_MAX), 1);
}

static void a_clock_that_goes_back_gives_nothing(void **state) {
    (void)state;
    struct rate_bucket bucket;
    rate_init(&bucket, 1, 1000000);
    assert_int_equal(rate_take(&bucket, 1, 1, 1000000), 0);
    assert_int_equal(rate_take(&bucket, 1, 1, 0), 1000000);
    assert_int_equal(rate_take(&bucket, 1, 1, 1000000), 1000000);
    assert_int_equal(rate_take(&bucket, 1, 1, 2000000), 0);
}

static void zero_is_unlimited_and_bursts_can_shrink(void **state) {
    (void)state;
    struct rate_bucket bucket;
    rate_init(&bucket, 100, 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(rate_take(&bucket, 0, 100, 0), 0);
    }
    assert_int_equal(rate_take(&bucket, 1, 2, 0), 0);
    assert_int_equal(rate_take(&bucket, 1, 2, 0), 0);
    assert_int_equal(rate_take(&bucket, 1, 2, 0), 1000000);
    rate_init(&bucket, 0, 0); /* counts as one */
    assert_int_equal(rate_take(&bucket, 1, 0, 0), 0);
    assert_true(rate_take(&bucket, 1, 0, 0) > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_then_a_wait),
        cmocka_unit_test(the_average_holds_however_often_it_is_asked),
        cmocka_unit_test(the_told_wait_is_enough),
        cmocka_unit_test(years_of_sleep_give_one_burst),
        cmocka_unit_test(a_clock_that_goes_back_gives_nothing),
        cmocka_unit_test(zero_is_unlimited_and_bursts_can_shrink)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
