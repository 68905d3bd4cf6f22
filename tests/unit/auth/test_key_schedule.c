/* key_schedule: ten years of rollover in a loop: at every moment there is a signer that was
 * published long enough before, and no key leaves before its last token died. Then the edges by
 * hand. */
#include "services/auth/key_schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MINUTE_MS 60000ull
#define DAY_MS (24 * 60 * MINUTE_MS)
#define KEYS_MAX 8

static const struct key_policy policy = {
    .lifetime_ms = 15 * MINUTE_MS, .rotation_ms = 90 * DAY_MS, .margin_ms = 6 * MINUTE_MS};
#define LEAD_MS (21 * MINUTE_MS)
#define START_MS 1795262400000ull

struct ring {
    struct key_times keys[KEYS_MAX];
    uint64_t made_ms[KEYS_MAX];
    size_t count;
};

/* What an instance does at a refresh. */
static void refresh(struct ring *ring, uint64_t now_ms) {
    uint64_t signs_from_ms = 0;
    for (size_t i = 0; i < ring->count;) { /* storage leaves out retired keys */
        if (ring->keys[i].retires_ms != 0 && ring->keys[i].retires_ms <= now_ms) {
            memmove(&ring->keys[i], &ring->keys[i + 1],
                    (ring->count - i - 1) * sizeof ring->keys[0]);
            memmove(&ring->made_ms[i], &ring->made_ms[i + 1],
                    (ring->count - i - 1) * sizeof ring->made_ms[0]);
            ring->count--;
        } else {
            i++;
        }
    }
    if (key_schedule_wants_new(ring->keys, ring->count, &policy, now_ms, &signs_from_ms)) {
        assert_true(ring->count < KEYS_MAX);
        ring->keys[ring->count] = (struct key_times){.signs_from_ms = signs_from_ms};
        ring->made_ms[ring->count++] = now_ms;
    }
    for (size_t i = 0; i < ring->count; i++) {
        if (ring->keys[i].retires_ms == 0) {
            ring->keys[i].retires_ms = key_schedule_retires(ring->keys, ring->count, i, &policy);
        }
    }
}

static void test_ten_years(void **state) {
    (void)state;
    struct ring ring = {.count = 0};
    uint64_t last_signed_ms[64] = {0}; /* by number of the key */
    uint64_t first_ms[64] = {0};
    size_t keys_made = 0;
    size_t published_max = 0;
    for (uint64_t now_ms = START_MS; now_ms < START_MS + 3650 * DAY_MS; now_ms += 7 * MINUTE_MS) {
        size_t before = ring.count == 0 ? 0 : keys_made;
        uint64_t newest_ms = ring.count > 0 ? ring.keys[ring.count - 1].signs_from_ms : 0;
        refresh(&ring, now_ms);
        if (before == 0 || ring.keys[ring.count - 1].signs_from_ms != newest_ms) {
            first_ms[keys_made++] = ring.keys[ring.count - 1].signs_from_ms;
        }
        published_max = ring.count > published_max ? ring.count : published_max;
        size_t signer = key_schedule_signer(ring.keys, ring.count, now_ms);
        assert_true(signer < ring.count);
        bool first = keys_made == 1;
        assert_true(first || now_ms - ring.made_ms[signer] >= LEAD_MS);
        /* The token signed now dies at now + lifetime; its key must still be published then. */
        assert_true(ring.keys[signer].retires_ms == 0 ||
                    ring.keys[signer].retires_ms >= now_ms + policy.lifetime_ms);
        for (size_t i = 0; i < keys_made; i++) {
            last_signed_ms[i] =
                ring.keys[signer].signs_from_ms == first_ms[i] ? now_ms : last_signed_ms[i];
        }
    }
    assert_true(keys_made >= 40 && keys_made <= 41);
    assert_int_equal(published_max, 2);
    for (size_t i = 0; i + 1 < keys_made; i++) {
        assert_true(last_signed_ms[i] - first_ms[i] <= policy.rotation_ms + LEAD_MS);
    }
}

static void test_first_key_signs_at_once(void **state) {
    (void)state;
    uint64_t signs_from_ms = 0;
    assert_true(key_schedule_wants_new(NULL, 0, &policy, START_MS, &signs_from_ms));
    assert_int_equal(signs_from_ms, START_MS);
    assert_true(key_schedule_signer(NULL, 0, START_MS) == KEY_SCHEDULE_NONE);
}

static void test_next_key_is_due_a_lead_before(void **state) {
    (void)state;
    const struct key_times one[] = {{.signs_from_ms = START_MS}};
    uint64_t due_ms = START_MS + policy.rotation_ms - LEAD_MS;
    uint64_t signs_from_ms = 0;
    assert_false(key_schedule_wants_new(one, 1, &policy, due_ms - 1, &signs_from_ms));
    assert_true(key_schedule_wants_new(one, 1, &policy, due_ms, &signs_from_ms));
    assert_int_equal(signs_from_ms, START_MS + policy.rotation_ms);
    /* A server that was off for a year publishes first all the same. */
    assert_true(key_schedule_wants_new(one, 1, &policy, START_MS + 365 * DAY_MS, &signs_from_ms));
    assert_int_equal(signs_from_ms, START_MS + 365 * DAY_MS + LEAD_MS);
}

static void test_two_keys(void **state) {
    (void)state;
    const struct key_times two[] = {{.signs_from_ms = START_MS + 1000},
                                    {.signs_from_ms = START_MS}};
    uint64_t signs_from_ms = 0;
    assert_int_equal(key_schedule_signer(two, 2, START_MS + 999), 1);
    assert_int_equal(key_schedule_signer(two, 2, START_MS + 1000), 0);
    assert_int_equal(key_schedule_signer(two, 2, START_MS - 5 * DAY_MS), 1); /* clock went back */
    assert_int_equal(key_schedule_retires(two, 2, 0, &policy), 0);
    assert_int_equal(key_schedule_retires(two, 2, 1, &policy), START_MS + 1000 + LEAD_MS);
    assert_false(key_schedule_wants_new(two, 2, &policy, START_MS, &signs_from_ms));
}

static void test_three_keys_retire_one_after_another(void **state) {
    (void)state;
    const struct key_times three[] = {{.signs_from_ms = START_MS},
                                      {.signs_from_ms = START_MS + 10},
                                      {.signs_from_ms = START_MS + 20}};
    assert_int_equal(key_schedule_retires(three, 3, 0, &policy), START_MS + 10 + LEAD_MS);
    assert_int_equal(key_schedule_retires(three, 3, 1, &policy), START_MS + 20 + LEAD_MS);
    assert_int_equal(key_schedule_retires(three, 3, 2, &policy), 0);
}

static void test_when_a_successor_signs(void **state) {
    (void)state;
    const struct key_times two[] = {{.signs_from_ms = START_MS + 1000},
                                    {.signs_from_ms = START_MS}};
    assert_int_equal(key_schedule_successor_signs(NULL, 0, &policy), 0);
    assert_int_equal(key_schedule_successor_signs(two, 2, &policy),
                     START_MS + 1000 + policy.rotation_ms);
    /* No instance, however early it looks, makes one that signs before that. */
    for (uint64_t now_ms = START_MS; now_ms < START_MS + 91 * DAY_MS; now_ms += 3 * MINUTE_MS) {
        uint64_t signs_from_ms = UINT64_MAX;
        (void)key_schedule_wants_new(two, 2, &policy, now_ms, &signs_from_ms);
        assert_true(signs_from_ms >= key_schedule_successor_signs(two, 2, &policy));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ten_years),
                                       cmocka_unit_test(test_first_key_signs_at_once),
                                       cmocka_unit_test(test_next_key_is_due_a_lead_before),
                                       cmocka_unit_test(test_two_keys),
                                       cmocka_unit_test(test_three_keys_retire_one_after_another),
                                       cmocka_unit_test(test_when_a_successor_signs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
