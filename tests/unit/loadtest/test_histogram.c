/* histogram: percentiles against the sorted values. */
#include "loadtest/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VALUES 20000u

static struct histogram histogram;
static uint64_t values[VALUES];

static int compare(const void *a, const void *b) {
    const uint64_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

/* Never below the exact one, and above it by one step of its bucket at most. */
static void percentiles_are_off_by_a_64th(void **state) {
    (void)state;
    static const double fractions[] = {0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1};
    memset(&histogram, 0, sizeof histogram);
    srand48(7);
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = (uint64_t)(drand48() * (double)(1ull << (lrand48() % 36)));
        histogram_record(&histogram, values[i]);
    }
    qsort(values, VALUES, sizeof values[0], compare);
    for (size_t i = 0; i < sizeof fractions / sizeof *fractions; i++) {
        uint64_t exact = values[(size_t)(fractions[i] * VALUES + 0.5) - 1];
        uint64_t found = histogram_percentile(&histogram, fractions[i]);
        assert_true(found >= exact);
        assert_true(found <= exact + exact / 64);
    }
    assert_int_equal(histogram.max_us, values[VALUES - 1]);
}

static void extremes_have_a_place(void **state) {
    (void)state;
    memset(&histogram, 0, sizeof histogram);
    assert_int_equal(histogram_percentile(&histogram, 0.5), 0);
    histogram_record(&histogram, 0);
    assert_int_equal(histogram_percentile(&histogram, 1), 0);
    histogram_record(&histogram, UINT64_MAX);
    assert_int_equal(histogram.total, 2);
    assert_true(histogram_percentile(&histogram, 1) > 1ull << 39);
}

struct sum {
    uint64_t count, last;
};

static bool add(uint64_t upper_us, uint64_t count, void *user) {
    struct sum *sum = user;
    assert_true(sum->count == 0 || upper_us > sum->last);
    sum->last = upper_us;
    sum->count += count;
    return sum->count < 3;
}

static void buckets_come_in_order(void **state) {
    (void)state;
    struct sum sum = {0};
    memset(&histogram, 0, sizeof histogram);
    for (uint64_t us = 1; us < 100000; us *= 10) {
        histogram_record(&histogram, us);
    }
    histogram_each(&histogram, add, &sum);
    assert_int_equal(sum.count, 3); /* stopped there */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(percentiles_are_off_by_a_64th),
                                       cmocka_unit_test(extremes_have_a_place),
                                       cmocka_unit_test(buckets_come_in_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
