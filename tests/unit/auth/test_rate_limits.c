/* rate_limits: quotas refill over a minute, successes are free, a victim is never locked out, and
 * the table stays bounded. Time is a number here. */
#include "services/auth/rate_limits.h"

#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND_US 1000000u

static struct rate_limits *limits;
static struct rate_refusal refusal;

static int setup(void **state) {
    (void)state;
    const struct rate_limits_config config = {.per_user = 3, .per_address = 6, .entries_max = 16};
    return rate_limits_create(&config, &limits) == ERR_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    rate_limits_destroy(&limits);
    rate_limits_destroy(&limits);
    return 0;
}

static bool take(const char *address, const char *user, uint64_t now_us) {
    memset(&refusal, 0, sizeof refusal);
    return rate_limits_take(limits, address, user, now_us, &refusal);
}

static void test_quota_and_refill(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_true(take("192.0.2.1", "u_ann", 0));
    }
    assert_false(take("192.0.2.1", "u_ann", 0));
    assert_string_equal(refusal.bucket, "login");
    assert_int_equal(refusal.quota, 3);
    assert_true(refusal.retry_ms >= 20000 && refusal.retry_ms <= 20001); /* 60 s / 3 */
    assert_false(take("192.0.2.1", "u_ann", 20 * SECOND_US - 1));
    assert_true(take("192.0.2.1", "u_ann", 20 * SECOND_US));
    assert_false(take("192.0.2.1", "u_ann", 20 * SECOND_US));
    /* A pause of any length gives one quota, not more. */
    uint64_t later_us = 100000ull * SECOND_US;
    for (int i = 0; i < 3; i++) {
        assert_true(take("192.0.2.1", "u_ann", later_us));
    }
    assert_false(take("192.0.2.1", "u_ann", later_us));
}

static void test_retry_time_is_true(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_true(take("192.0.2.1", "u_ann", (uint64_t)i * 777777));
    }
    uint64_t now_us = 3000000;
    assert_false(take("192.0.2.1", "u_ann", now_us));
    assert_true(take("192.0.2.1", "u_ann", now_us + refusal.retry_ms * 1000ull));
}

/* Asking often must not lose the fractions of tokens that build up in between. */
static void test_impatience_is_not_punished(void **state) {
    (void)state;
    int granted = 0;
    for (uint64_t now_us = 0; now_us <= 60ull * SECOND_US; now_us += 500) {
        granted += take("192.0.2.1", "u_ann", now_us);
    }
    assert_int_equal(granted, 6); /* three at once, three by refill */
}

static void test_victim_is_not_locked_out(void **state) {
    (void)state;
    while (take("192.0.2.66", "u_victim", 0)) {
    }
    assert_true(take("192.0.2.1", "u_victim", 0));
    assert_true(take("192.0.2.66", "u_other", 0));
}

static void test_address_quota(void **state) {
    (void)state;
    char user[16];
    for (int i = 0; i < 6; i++) {
        (void)snprintf(user, sizeof user, "u_%d", i);
        assert_true(take("192.0.2.1", user, 0));
    }
    assert_false(take("192.0.2.1", "u_7", 0));
    assert_string_equal(refusal.bucket, "login_address");
    assert_false(take("192.0.2.1", "", 0));
    /* A refusal by one bucket took nothing from the other. */
    assert_true(take("192.0.2.1", "u_7", 60 * SECOND_US));
    assert_true(take("192.0.2.1", "u_7", 60 * SECOND_US));
    assert_true(take("192.0.2.1", "u_7", 60 * SECOND_US));
    assert_false(take("192.0.2.1", "u_7", 60 * SECOND_US));
}

static void test_successes_are_free(void **state) {
    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_true(take("192.0.2.1", "u_ann", 0));
        rate_limits_give_back(limits, "192.0.2.1", "u_ann", 0);
    }
    for (int i = 0; i < 3; i++) {
        assert_true(take("192.0.2.1", "u_ann", 0));
    }
    assert_false(take("192.0.2.1", "u_ann", 0));
    /* Giving back what was never taken does not exceed the quota. */
    for (int i = 0; i < 10; i++) {
        rate_limits_give_back(limits, "192.0.2.1", "u_ann", 0);
    }
    for (int i = 0; i < 3; i++) {
        assert_true(take("192.0.2.1", "u_ann", 0));
    }
    assert_false(take("192.0.2.1", "u_ann", 0));
    rate_limits_give_back(limits, "203.0.113.9", "u_nobody", 0); /* unknown: no effect */
}

static void test_table_is_bounded(void **state) {
    (void)state;
    char address[32];
    while (take("192.0.2.1", "u_ann", 0)) {
    }
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(address, sizeof address, "198.51.%d.%d", i / 250, i % 250);
        assert_true(take(address, "u_bob", 0));
        assert_true(rate_limits_count(limits) <= 16);
    }
    assert_true(take("192.0.2.1", "u_ann", 0)); /* forgotten: the longest silent one */
}

static void test_recently_used_stays(void **state) {
    (void)state;
    char address[32];
    while (take("192.0.2.1", "u_ann", 0)) {
    }
    for (int i = 0; i < 100; i++) {
        (void)snprintf(address, sizeof address, "198.51.100.%d", i);
        assert_true(take(address, "u_bob", 0));
        assert_false(take("192.0.2.1", "u_ann", 0));
    }
}

static void test_clock_that_stands_or_goes_back(void **state) {
    (void)state;
    assert_true(take("192.0.2.1", "u_ann", 50 * SECOND_US));
    assert_true(take("192.0.2.1", "u_ann", 10 * SECOND_US));
    assert_true(take("192.0.2.1", "u_ann", 10 * SECOND_US));
    assert_false(take("192.0.2.1", "u_ann", 10 * SECOND_US));
}

static void test_out_of_memory(void **state) {
    (void)state;
    const struct rate_limits_config config = {.per_user = 3, .per_address = 6, .entries_max = 16};
    struct rate_limits *other = NULL;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        (void)mem_fault_set(nth, 1);
        assert_int_equal(rate_limits_create(&config, &other), ERR_NO_MEMORY);
        (void)mem_fault_set(0, 0);
        assert_null(other);
    }
    (void)mem_fault_set(1, 2);
    assert_true(take("192.0.2.1", "u_ann", 0)); /* not counted, not refused */
    (void)mem_fault_set(0, 0);
    assert_int_equal(rate_limits_count(limits), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_quota_and_refill),
                                       TEST(test_retry_time_is_true),
                                       TEST(test_impatience_is_not_punished),
                                       TEST(test_victim_is_not_locked_out),
                                       TEST(test_address_quota),
                                       TEST(test_successes_are_free),
                                       TEST(test_table_is_bounded),
                                       TEST(test_recently_used_stays),
                                       TEST(test_clock_that_stands_or_goes_back),
                                       TEST(test_out_of_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
