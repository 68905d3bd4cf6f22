/* metrics: static objects only, so that updating one is an atomic add and can never fail.
 *
 * Requests are grouped into eight classes for their durations (a histogram is twenty series) and
 * into the rows of err.def for their errors; both tables are made by the preprocessor, so a new row
 * needs no line here. */
#include "services/storage/metrics.h"

#include "common/contract.h"
#include "common/metrics.h"
#include <stdio.h>

#define FRAME_BYTES (4096u + 24u) /* a page and its header. Source: SQLite file format 4.1 */

#define OP_HISTOGRAM(op)                                                                           \
    {.name = "pipit_store_op_duration_seconds",                                                    \
     .help = "Time from a request's arrival to its answer, by class of operation.",                \
     .labels = "op=\"" op "\""}
static struct metric_histogram op_duration[STORAGE_OP_COUNT] = {
    [STORAGE_OP_APPEND] = OP_HISTOGRAM("append"),
    [STORAGE_OP_CURSORS] = OP_HISTOGRAM("cursors"),
    [STORAGE_OP_HISTORY] = OP_HISTOGRAM("history"),
    [STORAGE_OP_LIST] = OP_HISTOGRAM("list"),
    [STORAGE_OP_MEMBERS] = OP_HISTOGRAM("members"),
    [STORAGE_OP_ACCOUNTS] = OP_HISTOGRAM("accounts"),
    [STORAGE_OP_SESSIONS] = OP_HISTOGRAM("sessions"),
    [STORAGE_OP_ADMIN] = OP_HISTOGRAM("admin"),
};

static struct metric_counter errors[] = {
#define ERR_ROW(row_name, number, text, http, retryable)                                           \
    [number] = {.name = "pipit_store_errors_total", .help = "Requests answered with an error."},
#include "common/err.def"
#undef ERR_ROW
};
#define ERROR_COUNT (sizeof(errors) / sizeof(errors[0]))
static char error_labels[ERROR_COUNT][40]; /* error="no_space" */

static struct metric_histogram fsync_duration = {
    .name = "pipit_store_fsync_duration_seconds",
    .help = "Time of a commit: writing the log and its fsync."};
static struct metric_histogram batch_messages = {.name = "pipit_commit_batch_messages",
                                                 .help = "Messages made durable by one commit.",
                                                 .plain = true};
static struct metric_counter messages_total = {.name = "pipit_store_messages_total",
                                               .help = "Messages made durable."};
static struct metric_gauge wal_bytes = {.name = "pipit_wal_bytes",
                                        .help = "Length of the write-ahead log in use."};
static struct metric_gauge store_bytes = {.name = "pipit_store_bytes",
                                          .help = "Size of the store on disk."};
static struct metric_gauge queue_requests = {.name = "pipit_store_queue_requests",
                                             .help = "Writes that wait for the next commit."};
static struct metric_counter damaged = {
    .name = "pipit_store_damaged_messages_total",
    .help = "Stored messages whose checksum failed and that were served as recalled."};
static struct metric_counter limit_hits[STORAGE_LIMIT_COUNT] = {
    [STORAGE_LIMIT_WRITE_QUEUE] = {.name = "pipit_limit_hits_total",
                                   .help = "How often a bound refused or shed something.",
                                   .labels = "limit=\"storage_write_queue\""},
    [STORAGE_LIMIT_WRITE_WAIT] = {.name = "pipit_limit_hits_total",
                                  .help = "How often a bound refused or shed something.",
                                  .labels = "limit=\"storage_write_wait\""},
    [STORAGE_LIMIT_READ_WAIT] = {.name = "pipit_limit_hits_total",
                                 .help = "How often a bound refused or shed something.",
                                 .labels = "limit=\"storage_read_wait\""},
    [STORAGE_LIMIT_READ_QUEUE] = {.name = "pipit_limit_hits_total",
                                  .help = "How often a bound refused or shed something.",
                                  .labels = "limit=\"storage_read_queue\""},
};

void storage_metrics_register(void) {
    for (size_t i = 0; i < STORAGE_OP_COUNT; i++) {
        metric_histogram_register(&op_duration[i]);
    }
    for (size_t i = 1; i < ERROR_COUNT; i++) {
        if (errors[i].name != NULL) {
            (void)snprintf(error_labels[i], sizeof(error_labels[i]), "error=\"%s\"",
                           err_name((enum err)i));
            errors[i].labels = error_labels[i];
            metric_counter_register(&errors[i]);
        }
    }
    metric_histogram_register(&fsync_duration);
    metric_histogram_register(&batch_messages);
    metric_counter_register(&messages_total);
    metric_gauge_register(&wal_bytes);
    metric_gauge_register(&store_bytes);
    metric_gauge_register(&queue_requests);
    metric_counter_register(&damaged);
    for (size_t i = 0; i < STORAGE_LIMIT_COUNT; i++) {
        metric_counter_register(&limit_hits[i]);
    }
}

void storage_metrics_request(enum storage_op op, uint64_t duration_us, enum err error) {
    CONTRACT(op < STORAGE_OP_COUNT);
    metric_observe(&op_duration[op], duration_us);
    if (error != ERR_OK && (size_t)error < ERROR_COUNT) {
        metric_add(&errors[error], 1);
    }
}

void storage_metrics_commit(uint64_t duration_us) {
    metric_observe(&fsync_duration, duration_us);
}

uint64_t storage_metrics_commits(void) {
    uint64_t sum = 0;
    for (size_t i = 0; i <= METRIC_HISTOGRAM_BUCKETS; i++) {
        sum += atomic_load(&fsync_duration.buckets[i]);
    }
    return sum;
}

void storage_metrics_group(uint64_t messages) {
    metric_observe(&batch_messages, messages);
    metric_add(&messages_total, messages);
}

void storage_metrics_wal_frames(uint64_t frames) {
    metric_set(&wal_bytes, (int64_t)(frames * FRAME_BYTES));
}

void storage_metrics_store_bytes(uint64_t bytes) {
    metric_set(&store_bytes, (int64_t)bytes);
}

void storage_metrics_damaged(void) {
    metric_add(&damaged, 1);
}

void storage_metrics_limit_hit(enum storage_limit limit) {
    CONTRACT(limit < STORAGE_LIMIT_COUNT);
    metric_add(&limit_hits[limit], 1);
}

void storage_metrics_queue(size_t waiting) {
    metric_set(&queue_requests, (int64_t)waiting);
}
