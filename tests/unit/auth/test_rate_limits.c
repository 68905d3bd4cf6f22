/* rate_limits: quotas refill over a minute, successes are free, a victim is never locked out, the
 * table stays bounded, and two tables that tell each other allow what one would. Time is a number
 * here. */
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

static struct rate_limits *limits, *other;
static struct rate_refusal refusal;

static int setup(void **state) {
    (void)state;
    const struct rate_limits_config config = {.per_user = 3, .per_address = 6, .entries_max = 16};
    return rate_limits_create(&config, &limits) == ERR_OK &&
                   rate_limits_create(&config, &other) == ERR_OK
               ? 0
               : -1;
}

static int teardown(void **state) {
    (void)state;
    rate_limits_destroy(&limits);
    rate_limits_destroy(&limits);
    rate_limits_destroy(&other);
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
    struct rate_limits *made = NULL;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        (void)mem_fault_set(nth, 1);
        assert_int_equal(rate_limits_create(&config, &made), ERR_NO_MEMORY);
        (void)mem_fault_set(0, 0);
        assert_null(made);
    }
    (void)mem_fault_set(1, 2);
    assert_true(take("192.0.2.1", "u_ann", 0)); /* not counted, not refused */
    (void)mem_fault_set(0, 0);
    assert_int_equal(rate_limits_count(limits), 0);
    struct rate_count count = {.scope = RATE_LOGIN, .count = 3};
    (void)mem_fault_set(1, 1);
    rate_limits_add(limits, &count, 0);
    (void)mem_fault_set(0, 0);
    assert_int_equal(rate_limits_count(limits), 0);
}

/* --- two instances */

/* A failed attempt at one of them. */
static bool fail_at(struct rate_limits *at, const char *address, const char *user,
                    uint64_t now_us) {
    memset(&refusal, 0, sizeof refusal);
    if (!rate_limits_take(at, address, user, now_us, &refusal)) {
        return false;
    }
    rate_limits_failed(at, address, user);
    return true;
}

/* Everything untold at one goes to the other; returns the number of counts. */
static size_t tell(struct rate_limits *from, struct rate_limits *to, uint64_t now_us) {
    struct rate_count counts[4];
    size_t total = 0;
    size_t count = 0;
    while ((count = rate_limits_untold(from, counts, 4)) > 0) {
        for (size_t i = 0; i < count; i++) {
            rate_limits_add(to, &counts[i], now_us);
        }
        total += count;
    }
    return total;
}

static void test_failures_count_at_both(void **state) {
    (void)state;
    assert_true(fail_at(limits, "192.0.2.1", "u_ann", 0));
    assert_true(fail_at(limits, "192.0.2.1", "u_ann", 0));
    assert_int_equal(tell(limits, other, 0), 2); /* one count a bucket, not a failure */
    assert_true(fail_at(other, "192.0.2.1", "u_ann", 0));
    assert_false(fail_at(other, "192.0.2.1", "u_ann", 0));
    assert_string_equal(refusal.bucket, "login");
    assert_int_equal(tell(other, limits, 0), 2);
    assert_false(fail_at(limits, "192.0.2.1", "u_ann", 0));
    /* Three of the address's six are used; another user of it has the other three. */
    for (int i = 0; i < 3; i++) {
        assert_true(fail_at(i % 2 == 0 ? limits : other, "192.0.2.1", "u_bob", 0));
        (void)tell(limits, other, 0);
        (void)tell(other, limits, 0);
    }
    assert_false(fail_at(limits, "192.0.2.1", "u_carl", 0));
    assert_string_equal(refusal.bucket, "login_address");
    assert_false(fail_at(other, "192.0.2.1", "u_carl", 0));
    /* Told is told: nothing comes back. */
    assert_int_equal(tell(limits, other, 0), 0);
    assert_int_equal(tell(other, limits, 0), 0);
}

static void test_successes_are_told_nobody(void **state) {
    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_true(take("192.0.2.1", "u_ann", 0));
        assert_int_equal(tell(limits, other, 0), 0); /* under way: not failed yet */
        rate_limits_give_back(limits, "192.0.2.1", "u_ann", 0);
    }
    assert_int_equal(tell(limits, other, 0), 0);
    for (int i = 0; i < 3; i++) {
        assert_true(fail_at(other, "192.0.2.1", "u_ann", 0));
    }
}

/* What both allowed at the same moment is paid back: over time it is one quota, not two. */
static void test_debt_keeps_the_average(void **state) {
    (void)state;
    unsigned failed = 0;
    for (uint64_t now_us = 0; now_us <= 600ull * SECOND_US; now_us += SECOND_US) {
        /* The worst case: attempts at both first, then the news of them. */
        bool here = fail_at(limits, "192.0.2.1", "u_ann", now_us);
        bool there = fail_at(other, "192.0.2.1", "u_ann", now_us);
        failed += (unsigned)here + (unsigned)there;
        (void)tell(limits, other, now_us);
        (void)tell(other, limits, now_us);
    }
    /* 3 at once, 30 in ten minutes, and what one of the two bursts was ahead. */
    assert_true(failed >= 30 && failed <= 3 + 30 + 3);
}

static void test_debt_is_bounded(void **state) {
    (void)state;
    assert_true(fail_at(limits, "192.0.2.1", "u_ann", 0));
    struct rate_count counts[2];
    assert_int_equal(rate_limits_untold(limits, counts, 2), 2);
    counts[0].count = counts[1].count = UINT32_MAX;
    for (int i = 0; i < 100; i++) {
        rate_limits_add(other, &counts[i % 2], 0);
    }
    assert_false(fail_at(other, "192.0.2.1", "u_ann", 0));
    uint64_t wait_ms = refusal.retry_ms;
    assert_true(wait_ms > 60000u && wait_ms <= (RATE_LIMITS_DEBT_WINDOWS * 60 + 20) * 1000 + 1);
    assert_false(fail_at(other, "192.0.2.1", "u_ann", (wait_ms - 100) * 1000));
    assert_true(fail_at(other, "192.0.2.1", "u_ann", 260 * SECOND_US + 2000));
    /* After a long time all is forgiven, and no more than that. */
    rate_limits_add(other, &counts[0], 300 * SECOND_US);
    rate_limits_add(other, &counts[1], 300 * SECOND_US);
    for (int i = 0; i < 3; i++) {
        assert_true(fail_at(other, "192.0.2.1", "u_ann", 3000ull * SECOND_US));
    }
    assert_false(fail_at(other, "192.0.2.1", "u_ann", 3000ull * SECOND_US));
}

static void test_counts_are_taken_in_portions(void **state) {
    (void)state;
    char user[16];
    struct rate_count counts[3];
    for (int i = 0; i < 5; i++) {
        (void)snprintf(user, sizeof user, "u_%d", i);
        assert_true(fail_at(limits, "192.0.2.1", user, 0));
    }
    assert_int_equal(rate_limits_untold(limits, counts, 0), 0);
    assert_int_equal(rate_limits_untold(limits, counts, 3), 3);
    assert_int_equal(counts[0].scope, RATE_ADDRESS); /* failed first */
    assert_int_equal(counts[0].count, 5);
    assert_int_equal(counts[1].scope, RATE_LOGIN);
    assert_int_equal(counts[1].count, 1);
    assert_int_equal(rate_limits_untold(limits, counts, 3), 3);
    assert_int_equal(rate_limits_untold(limits, counts, 3), 0);
    /* No name or address in what is sent. */
    assert_null(memmem(counts, sizeof counts, "192.0.2.1", 9));
    assert_null(memmem(counts, sizeof counts, "u_0", 3));
}

/* Told counts fill the table no further than attempts do, and what is pushed out is not told. */
static void test_told_counts_are_bounded(void **state) {
    (void)state;
    struct rate_count count = {.scope = RATE_ADDRESS, .count = 1};
    assert_true(fail_at(limits, "192.0.2.1", "u_ann", 0));
    for (unsigned i = 0; i < 1000; i++) {
        memcpy(count.key, &i, sizeof i);
        rate_limits_add(limits, &count, 0);
        assert_true(rate_limits_count(limits) <= 16);
    }
    assert_int_equal(tell(limits, other, 0), 0);
    rate_limits_failed(limits, "192.0.2.1", "u_ann"); /* pushed out while it was tried: no effect */
    assert_int_equal(tell(limits, other, 0), 0);
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
                                       TEST(test_out_of_memory),
                                       TEST(test_failures_count_at_both),
                                       TEST(test_successes_are_told_nobody),
                                       TEST(test_debt_keeps_the_average),
                                       TEST(test_debt_is_bounded),
                                       TEST(test_counts_are_taken_in_portions),
                                       TEST(test_told_counts_are_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
