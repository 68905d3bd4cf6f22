/* histogram: a log-linear histogram of microseconds: fixed memory, relative error at most 1/64,
 * merge by addition, percentiles. Source: the bucket scheme of HdrHistogram, which Debian does not
 * ship. */
#ifndef PIPIT_LOADTEST_HISTOGRAM_H
#define PIPIT_LOADTEST_HISTOGRAM_H

#include <stdbool.h>
#include <stdint.h>

#define HISTOGRAM_SUB_BITS 6 /* 64 linear steps per power of two */
#define HISTOGRAM_BUCKETS ((40 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total, max_us;
    double sum_us;
};
void histogram_record(struct histogram *histogram, uint64_t us); /* above 2^40 us counts as that */
/* The smallest recorded magnitude that `fraction` (0..1) of all values do not exceed; 0 when empty.
 */
uint64_t histogram_percentile(const struct histogram *histogram, double fraction);
/* Calls fn for each bucket that is not empty, in order, until it returns false. */
void histogram_each(const struct histogram *histogram,
                    bool (*fn)(uint64_t upper_us, uint64_t count, void *user), void *user);

#endif
