/* Values below 64 us have a bucket each; above, every power of two is cut into 64 equal steps, so a
 * percentile is off by at most 1/64 of itself. The bucket index is the position of the leading bit
 * and the six bits after it. */
#include "loadtest/histogram.h"

#include <stddef.h>

static size_t bucket_of(uint64_t us) {
    if (us < (1u << HISTOGRAM_SUB_BITS)) {
        return (size_t)us;
    }
    unsigned exponent = 63u - (unsigned)__builtin_clzll(us);
    unsigned shift = exponent - HISTOGRAM_SUB_BITS;
    size_t sub = (size_t)(us >> shift) & ((1u << HISTOGRAM_SUB_BITS) - 1);
    size_t bucket = ((size_t)(shift + 1) << HISTOGRAM_SUB_BITS) + sub;
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t bucket_top(size_t bucket) {
    if (bucket < (1u << HISTOGRAM_SUB_BITS)) {
        return bucket;
    }
    unsigned shift = (unsigned)(bucket >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t sub = bucket & ((1u << HISTOGRAM_SUB_BITS) - 1);
    return (((1u << HISTOGRAM_SUB_BITS) + sub + 1) << shift) - 1;
}

void histogram_record(struct histogram *histogram, uint64_t us) {
    histogram->counts[bucket_of(us)]++;
    histogram->total++;
    histogram->sum_us += (double)us;
    if (us > histogram->max_us) {
        histogram->max_us = us;
    }
}

uint64_t histogram_percentile(const struct histogram *histogram, double fraction) {
    uint64_t wanted = (uint64_t)(fraction * (double)histogram->total + 0.5), seen = 0;
    if (histogram->total == 0) {
        return 0;
    }
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->counts[i];
        if (seen >= wanted && seen > 0) {
            uint64_t top = bucket_top(i);
            return top < histogram->max_us ? top : histogram->max_us;
        }
    }
    return histogram->max_us;
}

void histogram_each(const struct histogram *histogram,
                    bool (*fn)(uint64_t upper_us, uint64_t count, void *user), void *user) {
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (histogram->counts[i] > 0 && !fn(bucket_top(i), histogram->counts[i], user)) {
            return;
        }
    }
}
