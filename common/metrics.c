/* metrics: the registry and the Prometheus text exposition (format 0.0.4).
 *
 * Metrics are static objects with a link inside, so registering allocates nothing and updating is
 * one relaxed atomic addition from any thread. The registry keeps the order of registration, but a
 * series goes behind the last one of its name, because the format wants the series of a name
 * together and HELP and TYPE once. A scrape reads each number by itself: a histogram's count is the
 * sum of the buckets as read, so it is consistent with them even while others add. */
#include "common/metrics.h"

#include "common/clock.h"
#include "common/contract.h"
#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define METRIC_FIRST_US 100u /* upper bound of the first bucket; each next is twice as large */

enum metric_kind { KIND_NONE, KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM, KIND_SECONDS };

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER; /* guards the links */
static struct metric_link *registry_first;

/* What all kinds have in common, as a view. KIND_SECONDS is a gauge whose read gives microseconds
 * and which is shown as a counter of seconds. */
struct series {
    const char *name, *help, *labels, *type;
};

static struct series series_of(const struct metric_link *link) {
    switch (link->kind) {
    case KIND_COUNTER: {
        const struct metric_counter *counter = CONTAINER_OF(link, struct metric_counter, link);
        return (struct series){counter->name, counter->help, counter->labels, "counter"};
    }
    case KIND_HISTOGRAM: {
        const struct metric_histogram *histogram =
            CONTAINER_OF(link, struct metric_histogram, link);
        return (struct series){histogram->name, histogram->help, histogram->labels, "histogram"};
    }
    default: {
        const struct metric_gauge *gauge = CONTAINER_OF(link, struct metric_gauge, link);
        return (struct series){gauge->name, gauge->help, gauge->labels,
                               link->kind == KIND_SECONDS ? "counter" : "gauge"};
    }
    }
}

static void enlist(struct metric_link *link, int kind) {
    CONTRACT(pthread_mutex_lock(&registry_lock) == 0);
    if (link->kind == KIND_NONE) {
        link->kind = kind;
        const char *name = series_of(link).name;
        struct metric_link **place = NULL;
        struct metric_link **end = &registry_first;
        for (; *end != NULL; end = &(*end)->next) {
            if (strcmp(series_of(*end).name, name) == 0) {
                CONTRACT((*end)->kind == kind);
                place = &(*end)->next;
            }
        }
        place = place != NULL ? place : end;
        link->next = *place;
        *place = link;
    }
    CONTRACT(pthread_mutex_unlock(&registry_lock) == 0);
}

void metric_counter_register(struct metric_counter *counter) {
    enlist(&counter->link, KIND_COUNTER);
}

void metric_gauge_register(struct metric_gauge *gauge) {
    enlist(&gauge->link, KIND_GAUGE);
}

void metric_histogram_register(struct metric_histogram *histogram) {
    enlist(&histogram->link, KIND_HISTOGRAM);
}

void metric_observe(struct metric_histogram *histogram, uint64_t value) {
    uint64_t bound = histogram->plain ? 1 : METRIC_FIRST_US;
    size_t bucket = 0;
    while (bucket < METRIC_HISTOGRAM_BUCKETS && value > bound) {
        bound *= 2;
        bucket++;
    }
    atomic_fetch_add_explicit(&histogram->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->sum, value, memory_order_relaxed);
}

/* --- exposition */

static enum err put_help(struct buf *out, const char *help) {
    for (const char *at = help; *at != '\0';) {
        size_t clean = strcspn(at, "\\\n");
        enum err error = buf_append(out, at, clean);
        at += clean;
        if (error == ERR_OK && *at != '\0') {
            error = buf_append_text(out, *at == '\n' ? "\\n" : "\\\\");
            at++;
        }
        if (error != ERR_OK) {
            return error;
        }
    }
    return buf_append_text(out, "\n");
}

static enum err put_header(struct buf *out, const struct series *series) {
    enum err error = buf_append_format(out, "# HELP %s ", series->name);
    if (error == ERR_OK) {
        error = put_help(out, series->help != NULL ? series->help : "");
    }
    if (error == ERR_OK) {
        error = buf_append_format(out, "# TYPE %s %s\n", series->name, series->type);
    }
    return error;
}

/* "name{labels}" without the braces when there are none. */
static enum err put_name(struct buf *out, const struct series *series) {
    bool labelled = series->labels != NULL && series->labels[0] != '\0';
    return labelled ? buf_append_format(out, "%s{%s}", series->name, series->labels)
                    : buf_append_text(out, series->name);
}

/* Microseconds as seconds without trailing zeros. */
static void format_seconds(uint64_t us, char text[32]) {
    int length = snprintf(text, 32, "%" PRIu64 ".%06" PRIu64, us / 1000000u, us % 1000000u);
    while (length > 1 && text[length - 1] == '0') {
        text[--length] = '\0';
    }
    if (length > 1 && text[length - 1] == '.') {
        text[length - 1] = '\0';
    }
}

static void format_value(const struct metric_histogram *histogram, uint64_t value, char text[32]) {
    if (histogram->plain) {
        (void)snprintf(text, 32, "%" PRIu64, value);
    } else {
        format_seconds(value, text);
    }
}

static enum err put_bucket(struct buf *out, const struct series *series, const char *bound,
                           uint64_t cumulative) {
    bool labelled = series->labels != NULL && series->labels[0] != '\0';
    return buf_append_format(out, "%s_bucket{%s%sle=\"%s\"} %" PRIu64 "\n", series->name,
                             labelled ? series->labels : "", labelled ? "," : "", bound,
                             cumulative);
}

static enum err put_histogram(struct buf *out, const struct series *series,
                              struct metric_histogram *histogram) {
    char text[32];
    uint64_t bound = histogram->plain ? 1 : METRIC_FIRST_US;
    uint64_t cumulative = 0;
    for (size_t i = 0; i <= METRIC_HISTOGRAM_BUCKETS; i++) {
        cumulative += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
        if (i < METRIC_HISTOGRAM_BUCKETS) {
            format_value(histogram, bound, text);
            bound *= 2;
        } else {
            (void)snprintf(text, sizeof(text), "+Inf");
        }
        enum err error = put_bucket(out, series, text, cumulative);
        if (error != ERR_OK) {
            return error;
        }
    }
    bool labelled = series->labels != NULL && series->labels[0] != '\0';
    const char *open = labelled ? "{" : "";
    const char *labels = labelled ? series->labels : "";
    const char *close = labelled ? "}" : "";
    format_value(histogram, atomic_load_explicit(&histogram->sum, memory_order_relaxed), text);
    return buf_append_format(out, "%s_sum%s%s%s %s\n%s_count%s%s%s %" PRIu64 "\n", series->name,
                             open, labels, close, text, series->name, open, labels, close,
                             cumulative);
}

static enum err put_series(struct buf *out, struct metric_link *link) {
    struct series series = series_of(link);
    if (link->kind == KIND_HISTOGRAM) {
        return put_histogram(out, &series, CONTAINER_OF(link, struct metric_histogram, link));
    }
    enum err error = put_name(out, &series);
    if (error != ERR_OK) {
        return error;
    }
    if (link->kind == KIND_COUNTER) {
        struct metric_counter *counter = CONTAINER_OF(link, struct metric_counter, link);
        return buf_append_format(
            out, " %" PRIu64 "\n",
            (uint64_t)atomic_load_explicit(&counter->value, memory_order_relaxed));
    }
    struct metric_gauge *gauge = CONTAINER_OF(link, struct metric_gauge, link);
    int64_t value = gauge->read != NULL ? gauge->read(gauge->user)
                                        : atomic_load_explicit(&gauge->value, memory_order_relaxed);
    if (link->kind == KIND_SECONDS) {
        char text[32];
        format_seconds((uint64_t)value, text);
        return buf_append_format(out, " %s\n", text);
    }
    return buf_append_format(out, " %" PRId64 "\n", value);
}

static enum err for_each(struct buf *out, enum err (*put)(struct buf *out, struct metric_link *link,
                                                          bool first_of_name)) {
    enum err error = ERR_OK;
    const char *name = "";
    CONTRACT(pthread_mutex_lock(&registry_lock) == 0);
    for (struct metric_link *link = registry_first; link != NULL && error == ERR_OK;
         link = link->next) {
        const char *own = series_of(link).name;
        error = put(out, link, strcmp(own, name) != 0);
        name = own;
    }
    CONTRACT(pthread_mutex_unlock(&registry_lock) == 0);
    return error;
}

static enum err render_one(struct buf *out, struct metric_link *link, bool first_of_name) {
    struct series series = series_of(link);
    enum err error = first_of_name ? put_header(out, &series) : ERR_OK;
    return error == ERR_OK ? put_series(out, link) : error;
}

static enum err describe_one(struct buf *out, struct metric_link *link, bool first_of_name) {
    (void)first_of_name; /* each series has its line */
    struct series series = series_of(link);
    return buf_append_format(out, "%s\t%s\t%s\t%s\n", series.name, series.type,
                             series.help != NULL ? series.help : "",
                             series.labels != NULL ? series.labels : "");
}

enum err metrics_render(struct buf *out) {
    return for_each(out, render_one);
}

enum err metrics_describe(struct buf *out) {
    return for_each(out, describe_one);
}

/* --- the process itself. Source: the names of the Prometheus client library guide. */

static int64_t read_cpu_us(void *user) {
    (void)user;
    struct timespec used = {0};
    CONTRACT(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0);
    return (int64_t)used.tv_sec * 1000000 + used.tv_nsec / 1000;
}

static int64_t read_resident_bytes(void *user) {
    (void)user;
    int64_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        if (fscanf(file, "%*d %" SCNd64, &pages) != 1) {
            pages = 0;
        }
        (void)fclose(file); /* only read */
    }
    return pages * (int64_t)sysconf(_SC_PAGESIZE);
}

static int64_t read_open_fds(void *user) {
    (void)user;
    int64_t count = -3; /* ".", ".." and the directory's own descriptor */
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) {
        return 0;
    }
    while (readdir(directory) != NULL) {
        count++;
    }
    (void)closedir(directory);
    return count;
}

void metrics_register_process(const char *version, const char *commit) {
    static char build_labels[128];
    static struct metric_gauge build = {.name = "pipit_build_info",
                                        .help = "Version and commit of this process; always 1.",
                                        .labels = build_labels,
                                        .value = 1};
    static struct metric_gauge cpu = {.name = "process_cpu_seconds_total",
                                      .help = "User and system CPU time spent, in seconds.",
                                      .read = read_cpu_us};
    static struct metric_gauge resident = {.name = "process_resident_memory_bytes",
                                           .help = "Resident memory size in bytes.",
                                           .read = read_resident_bytes};
    static struct metric_gauge fds = {
        .name = "process_open_fds", .help = "Open file descriptors.", .read = read_open_fds};
    static struct metric_gauge started = {.name = "process_start_time_seconds",
                                          .help = "Unix time at which the process started."};
    (void)snprintf(build_labels, sizeof(build_labels), "version=\"%.40s\",commit=\"%.48s\"",
                   version, commit);
    metric_set(&started, (int64_t)(clock_wall_ms() / 1000u));
    metric_gauge_register(&build);
    enlist(&cpu.link, KIND_SECONDS);
    metric_gauge_register(&resident);
    metric_gauge_register(&fds);
    metric_gauge_register(&started);
}
