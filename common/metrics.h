/* metrics: Prometheus counters, gauges and histograms (text format 0.0.4). Objects are static and
 * registered once at start; updates are relaxed atomics from any thread and never fail. */
#ifndef PIPIT_COMMON_METRICS_H
#define PIPIT_COMMON_METRICS_H

#include "common/buf.h"
#include <stdatomic.h>

/* Filled in by registration. */
struct metric_link {
    struct metric_link *next;
    int kind; /* 0 = not registered */
};
/* One time series. `labels` is the inside of the braces, already escaped, or NULL:
 * "proto=\"ws\"". Series of one name are registered one after another. */
struct metric_counter {
    const char *name, *help, *labels;
    atomic_uint_fast64_t value;
    struct metric_link link;
};
struct metric_gauge {
    const char *name, *help, *labels;
    atomic_int_fast64_t value;
    int64_t (*read)(void *user); /* when set, called at each scrape instead of value */
    void *user;
    struct metric_link link;
};
/* Log-scale buckets: 100 us to ~13 s, x2, and +Inf; sums in microseconds, shown in seconds. */
#define METRIC_HISTOGRAM_BUCKETS 18
struct metric_histogram {
    const char *name, *help, *labels;
    bool plain; /* values are plain numbers (1, 2, 4 ... 131072), not microseconds */
    atomic_uint_fast64_t buckets[METRIC_HISTOGRAM_BUCKETS + 1];
    atomic_uint_fast64_t sum;
    struct metric_link link;
};

/* Borrow the object for the rest of the process. Registering again is a no-op; one name under two
 * kinds is a contract violation. Any thread. */
void metric_counter_register(struct metric_counter *counter);
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
/* value: microseconds, or a plain number when histogram->plain. Any thread. */
void metric_observe(struct metric_histogram *histogram, uint64_t value);

/* pipit_build_info, process_* (cpu, resident memory, open fds, start time). Both texts are plain
 * (no quotes) and copied. Once, at start. */
void metrics_register_process(const char *version, const char *commit);
/* Appends the whole exposition. ERR_TOO_LARGE, ERR_NO_MEMORY. Any thread. */
enum err metrics_render(struct buf *out) MUST_CHECK;
/* "name\ttype\thelp\tlabels\n" of everything registered, for the generated reference page. */
enum err metrics_describe(struct buf *out) MUST_CHECK;

#endif
