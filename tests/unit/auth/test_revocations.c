/* revocations: who is dead and who is not, whole seconds, merging in any order, expiry, and what
 * happens when memory for another one is missing. */
#include "services/auth/revocations.h"

#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW_MS 1795262400000ull
#define UNTIL_MS (NOW_MS + 900000)

static struct revocations *set;

static int setup(void **state) {
    (void)state;
    return revocations_create(100, &set) == ERR_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    (void)mem_fault_set(0, 0);
    revocations_destroy(&set);
    revocations_destroy(&set);
    return 0;
}

static struct revocation make(const char *user, const char *device, const char *except,
                              uint64_t before_ms) {
    struct revocation what = {.before_ms = before_ms, .until_ms = UNTIL_MS};
    (void)snprintf(what.user, sizeof what.user, "%s", user);
    (void)snprintf(what.device, sizeof what.device, "%s", device);
    (void)snprintf(what.except, sizeof what.except, "%s", except);
    return what;
}

static void add(const char *user, const char *device, const char *except, uint64_t before_ms) {
    struct revocation what = make(user, device, except, before_ms);
    revocations_add(set, &what, NOW_MS);
}

static enum revocation_verdict check(const char *user, const char *device, uint64_t issued_ms) {
    struct token_claims claims = {.issued_ms = issued_ms};
    (void)snprintf(claims.user, sizeof claims.user, "%s", user);
    (void)snprintf(claims.device, sizeof claims.device, "%s", device);
    return revocations_check(set, &claims);
}

static void test_one_device(void **state) {
    (void)state;
    add("u_ann", "d_1", "", NOW_MS);
    assert_int_equal(check("u_ann", "d_1", NOW_MS - 1), REVOCATION_DEAD);
    assert_int_equal(check("u_ann", "d_1", NOW_MS), REVOCATION_ALIVE);
    assert_int_equal(check("u_ann", "d_2", NOW_MS - 1), REVOCATION_ALIVE);
    assert_int_equal(check("u_an", "d_1", NOW_MS - 1), REVOCATION_ALIVE);
    assert_int_equal(check("u_anna", "d_1", NOW_MS - 1), REVOCATION_ALIVE);
}

static void test_all_but_one(void **state) {
    (void)state;
    add("u_ann", "", "d_1", NOW_MS);
    assert_int_equal(check("u_ann", "d_1", 0), REVOCATION_ALIVE);
    assert_int_equal(check("u_ann", "d_2", NOW_MS - 1), REVOCATION_DEAD);
    add("u_ann", "", "d_2", NOW_MS + 1000);
    assert_int_equal(check("u_ann", "d_1", NOW_MS), REVOCATION_DEAD);
    assert_int_equal(check("u_ann", "d_2", NOW_MS), REVOCATION_ALIVE);
    assert_int_equal(check("u_ann", "d_2", NOW_MS - 1), REVOCATION_DEAD);
    add("u_ann", "", "", NOW_MS + 2000);
    assert_int_equal(check("u_ann", "d_2", NOW_MS + 1999), REVOCATION_DEAD);
}

static void test_merging_keeps_the_newest(void **state) {
    (void)state;
    add("u_ann", "d_1", "", NOW_MS + 5);
    add("u_ann", "d_1", "", NOW_MS); /* arrives late */
    add("u_ann", "d_1", "", NOW_MS + 5);
    assert_int_equal(revocations_count(set), 1);
    assert_int_equal(check("u_ann", "d_1", NOW_MS + 4), REVOCATION_DEAD);
    assert_int_equal(revocations_floor(set, "u_ann", "d_1"), NOW_MS + 5);
    assert_int_equal(revocations_floor(set, "u_ann", "d_2"), 0);
    assert_int_equal(revocations_floor(set, "u_ann", NULL), NOW_MS + 5);
    assert_int_equal(revocations_floor(set, "u_bob", NULL), 0);
}

static void test_disabled_is_told(void **state) {
    (void)state;
    struct revocation what = make("u_ann", "", "", NOW_MS);
    what.disabled = true;
    revocations_add(set, &what, NOW_MS);
    add("u_ann", "d_1", "", NOW_MS + 10);
    assert_int_equal(check("u_ann", "d_1", NOW_MS - 1), REVOCATION_DISABLED);
    assert_int_equal(check("u_ann", "d_1", NOW_MS + 1), REVOCATION_DEAD);
}

static void test_expiry(void **state) {
    (void)state;
    add("u_ann", "d_1", "", NOW_MS);
    add("u_ann", "d_2", "", NOW_MS);
    struct revocation what = make("u_bob", "d_3", "", NOW_MS);
    what.until_ms = UNTIL_MS + 1;
    revocations_add(set, &what, NOW_MS);
    revocations_expire(set, UNTIL_MS - 1);
    assert_int_equal(revocations_count(set), 3);
    revocations_expire(set, UNTIL_MS);
    assert_int_equal(revocations_count(set), 1);
    revocations_expire(set, UNTIL_MS + 1);
    assert_int_equal(revocations_count(set), 0);
    what.until_ms = NOW_MS;
    revocations_add(set, &what, NOW_MS); /* over before it came */
    assert_int_equal(revocations_count(set), 0);
}

static void test_full_is_safe(void **state) {
    (void)state;
    char user[32];
    for (int i = 0; i < 100; i++) {
        (void)snprintf(user, sizeof user, "u_%d", i);
        add(user, "d_1", "", NOW_MS);
    }
    assert_int_equal(check("u_other", "d_1", NOW_MS - 1), REVOCATION_ALIVE);
    add("u_one-more", "d_1", "", NOW_MS + 50);
    assert_int_equal(revocations_count(set), 100);
    assert_int_equal(check("u_one-more", "d_1", NOW_MS + 49), REVOCATION_DEAD);
    assert_int_equal(check("u_other", "d_1", NOW_MS + 49), REVOCATION_DEAD);
    assert_int_equal(check("u_other", "d_1", NOW_MS + 50), REVOCATION_ALIVE);
    assert_int_equal(revocations_floor(set, "u_other", "d_1"), NOW_MS + 50);
    revocations_expire(set, UNTIL_MS);
    assert_int_equal(check("u_other", "d_1", NOW_MS), REVOCATION_ALIVE);
}

static void test_out_of_memory_is_safe(void **state) {
    (void)state;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        (void)mem_fault_set(nth, 1);
        add("u_ann", "d_1", "", NOW_MS);
        (void)mem_fault_set(0, 0);
        assert_int_equal(revocations_count(set), 0);
        assert_int_equal(check("u_ann", "d_1", NOW_MS - 1), REVOCATION_DEAD);
        revocations_expire(set, UNTIL_MS);
    }
    struct revocations *other = NULL;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        (void)mem_fault_set(nth, 1);
        assert_int_equal(revocations_create(10, &other), ERR_NO_MEMORY);
        (void)mem_fault_set(0, 0);
    }
}

/* A day of logouts and logins at every phase of the second: what was issued before is dead, what is
 * issued after is alive and not too far ahead for verifiers. */
static void test_whole_seconds(void **state) {
    (void)state;
    uint64_t now_ms = NOW_MS;
    for (int round = 0; round < 5000; round++) {
        now_ms += (uint64_t)(round * 7919 % 1300);
        uint64_t floor_ms = revocations_floor(set, "u_ann", "d_1");
        uint64_t issued_s = (floor_ms > now_ms ? floor_ms : now_ms) / 1000;
        assert_true(issued_s * 1000 <= now_ms + TOKEN_LEEWAY_MS);
        assert_int_equal(check("u_ann", "d_1", issued_s * 1000), REVOCATION_ALIVE);
        if (round % 3 != 0) {
            continue;
        }
        struct revocation what = make("u_ann", "d_1", "", 0);
        what.before_ms = revocation_before_ms(now_ms, floor_ms);
        what.until_ms = now_ms + 900000;
        assert_int_equal(what.before_ms % 1000, 0);
        revocations_add(set, &what, now_ms);
        assert_int_equal(check("u_ann", "d_1", issued_s * 1000), REVOCATION_DEAD);
    }
}

static void test_before_never_runs_away(void **state) {
    (void)state;
    uint64_t floor_ms = 0;
    for (int i = 0; i < 100; i++) { /* a hundred logouts within one millisecond */
        floor_ms = revocation_before_ms(NOW_MS + 400, floor_ms);
        assert_true(floor_ms > NOW_MS + 400 && floor_ms <= NOW_MS + 400 + TOKEN_LEEWAY_MS);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_one_device),
                                       TEST(test_all_but_one),
                                       TEST(test_merging_keeps_the_newest),
                                       TEST(test_disabled_is_told),
                                       TEST(test_expiry),
                                       TEST(test_full_is_safe),
                                       TEST(test_out_of_memory_is_safe),
                                       TEST(test_whole_seconds),
                                       TEST(test_before_never_runs_away)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
