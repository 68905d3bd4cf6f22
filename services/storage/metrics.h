/* metrics: what storage tells Prometheus (docs: reference/ux.md 6.2). */
#ifndef PIPIT_STORAGE_METRICS_H
#define PIPIT_STORAGE_METRICS_H

#include "common/err.h"
#include <stddef.h>
#include <stdint.h>

/* Label op of pipit_store_op_duration_seconds: classes, so that the series stay few. */
enum storage_op {
    STORAGE_OP_APPEND,
    STORAGE_OP_CURSORS,
    STORAGE_OP_HISTORY,
    STORAGE_OP_LIST,
    STORAGE_OP_MEMBERS,
    STORAGE_OP_ACCOUNTS,
    STORAGE_OP_SESSIONS,
    STORAGE_OP_ADMIN,
    STORAGE_OP_COUNT
};
enum storage_limit {
    STORAGE_LIMIT_WRITE_QUEUE,
    STORAGE_LIMIT_WRITE_WAIT, /* waited longer than its caller */
    STORAGE_LIMIT_READ_QUEUE,
    STORAGE_LIMIT_READ_WAIT,
    STORAGE_LIMIT_COUNT
};

void storage_metrics_register(void);
/* One request answered: from its arrival to its reply. Any thread, as all below. */
void storage_metrics_request(enum storage_op op, uint64_t duration_us, enum err error);
void storage_metrics_commit(uint64_t duration_us); /* write of the log and its fsync */
void storage_metrics_group(uint64_t messages);     /* messages in one commit */
void storage_metrics_wal_frames(uint64_t frames);
void storage_metrics_store_bytes(uint64_t bytes);
void storage_metrics_damaged(void);
void storage_metrics_limit_hit(enum storage_limit limit);
void storage_metrics_queue(size_t waiting);
/* Commits so far: what tests wait for and count. */
uint64_t storage_metrics_commits(void);

#endif
