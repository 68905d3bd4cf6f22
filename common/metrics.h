/* metrics: Prometheus counters, gauges and histograms (text format 0.0.4). Objects are static and
 * registered once at start; updates are relaxed atomics from any thread and never fail. */
#ifndef PIPIT_COMMON_METRICS_H
#define PIPIT_COMMON_METRICS_H

#include "common/buf.h"
#include <stdatomic.h>

/* One time series. `labels` is the inside of the braces, already escaped, or NULL:
 * "proto=\"ws\"". Series of one name are registered one after another. */
struct metric_counter {
    const char *name, *help, *labels;
    atomic_uint_fast64_t value;
    void *next;
};
struct metric_gauge {
    const char *name, *help, *labels;
    atomic_int_fast64_t value;
    int64_t (*read)(void *user); /* when set, called at each scrape instead of value */
    void *user;
    void *next;
};
/* Log-scale buckets: 100 us to ~13 s, x2, and +Inf; sums in microseconds, shown in seconds. */
#define METRIC_HISTOGRAM_BUCKETS 18
struct metric_histogram {
    const char *name, *help, *labels;
    bool plain; /* values are plain numbers (1, 2, 4 ... 131072), not microseconds */
    atomic_uint_fast64_t buckets[METRIC_HISTOGRAM_BUCKETS + 1];
    atomic_uint_fast64_t sum;
    void *next;
};

void metric_counter_register(struct metric_counter *counter); /* before threads start */
void metric_gauge_register(struct metric_gauge *gauge);
void metric_histogram_register(struct metric_histogram *histogram);
static inline void metric_add(struct metric_counter *counter, uint64_t amount) {
    atomic_fetch_add_explicit(&counter->value, amount, memory_order_relaxed);
}
static inline void metric_set(struct metric_gauge *gauge, int64_t value) {
    atomic_store_explicit(&gauge->value, value, memory_order_relaxed);
}
static inline void metric_shift(struct metric_gauge *gauge, int64_t difference) {
    atomic_fetch_add_explicit(&gauge->value, difference, memory_order_relaxed);
}
void metric_observe(struct metric_histogram *histogram, uint64_t value);

/* pipit_build_info, process_* (cpu, resident memory, open fds, start time). */
void metrics_register_process(const char *version, const char *commit);
/* Appends the whole exposition. ERR_TOO_LARGE, ERR_NO_MEMORY. Any thread. */
enum err metrics_render(struct buf *out) MUST_CHECK;
/* "name type help labels" lines of everything registered, for the generated reference page. */
enum err metrics_describe(struct buf *out) MUST_CHECK;

#endif
