/* conn_output: the send queue of a connection.
 *
 * Protocols append whole units (frames, packets) during the turn; at its end each dirty socket gets
 * one write. What the socket does not take stays queued, counts against the connection's and the
 * process's limits, and is written when the socket says so. Buffers of connections that were
 * drained go round to the next ones, so a busy turn allocates nothing and an idle connection holds
 * nothing.
 *
 * Slow readers: from 50, 60 and 75 % of the limit on presence, typing and receipts are left out.
 * Stored messages are not taken from the hub beyond 75 %: they stay in history and are handed over
 * later, so a burst hurts nobody. A reader that then takes less than half a queue in two seconds,
 * or nothing at all in eight, is closed, and so is one whose answers alone overflow the queue. To
 * say so, the units of which nothing was sent are dropped first: unit_left_bytes tells where the
 * partly sent one ends, and committed_bytes what TLS insists on. */
#include "services/connection/conn.h"

#include "common/contract.h"

#define SPARE_BYTES_MAX 16384u /* larger buffers are given back */
#define UNSENT_FLOOR_BYTES                                                                         \
    16384u /* what a connection may hold when the process is over its budget */

/* Percent of send_queue_bytes_max from which on each class is left out. */
static const uint8_t shed_percent[] = {
    [CONN_MUST] = 100, [CONN_RECEIPT] = 75, [CONN_TYPING] = 60, [CONN_PRESENCE] = 50};

static uint64_t queue_max(const struct conn *conn) {
    uint64_t max = conn->table->settings->send_queue_bytes_max;
    return limits_unsent_exceeded(conn->table->limits) && max > UNSENT_FLOOR_BYTES
               ? UNSENT_FLOOR_BYTES
               : max;
}

static void shed(enum conn_priority priority) {
    connection_metrics_shed(priority == CONN_RECEIPT  ? SHED_RECEIPT
                            : priority == CONN_TYPING ? SHED_TYPING
                                                      : SHED_PRESENCE);
}

struct buf *conn_out(struct conn *conn) {
    struct conn_table *table = conn->table;
    if (conn->out.bytes == NULL && table->spare_count > 0) {
        struct buf *spare = &table->spares[--table->spare_count];
        conn->out.bytes = spare->bytes;
        conn->out.held = spare->held;
        conn->out.start = conn->out.end = 0;
    }
    return &conn->out;
}

static void free_out(struct conn *conn) {
    struct conn_table *table = conn->table;
    if (conn->out.bytes != NULL && conn->out.held <= SPARE_BYTES_MAX &&
        table->spare_count < sizeof table->spares / sizeof table->spares[0]) {
        table->spares[table->spare_count++] = conn->out;
        conn->out.bytes = NULL;
        conn->out.held = conn->out.start = conn->out.end = 0;
        return;
    }
    buf_finish(&conn->out);
}

static void account(struct conn *conn, size_t waiting) {
    if (waiting != conn->accounted_bytes) {
        limits_unsent(conn->table->limits, (int64_t)waiting - (int64_t)conn->accounted_bytes);
        conn->accounted_bytes = (uint32_t)waiting;
    }
}

void conn_free_out(struct conn *conn) {
    account(conn, 0);
    conn->out.end = conn->out.start;
    free_out(conn);
}

void conn_wrote(struct conn *conn, enum err error) {
    if (conn->state >= CONN_GHOST) {
        return;
    }
    if (error != ERR_OK) {
        connection_metrics_limit(LIMIT_HIT_MEMORY);
        conn_end(conn, REASON_OVERLOAD);
        return;
    }
    if (!list_node_linked(&conn->dirty_node)) {
        list_push_back(&conn->table->dirty, &conn->dirty_node);
    }
}

void conn_wrote_raw(struct conn *conn, size_t bytes) {
    conn->unit_left_bytes = (uint32_t)bytes;
    conn_wrote(conn, ERR_OK);
}

/* Where the first unit ends that begins at or after `from` bytes into the queue. */
static size_t unit_boundary(const struct conn *conn, size_t from) {
    const uint8_t *bytes = buf_data(&conn->out);
    size_t total = buf_len(&conn->out);
    size_t at = conn->unit_left_bytes;
    while (at < from) {
        size_t unit = conn->protocol->unit_bytes(bytes + at, total - at);
        CONTRACT(unit > 0 && unit <= total - at);
        at += unit;
    }
    return at;
}

/* Writes what the socket takes, without any consequence but the accounting; false when it is
 * broken. */
static bool push(struct conn *conn) {
    size_t total = buf_len(&conn->out);
    size_t count = 0;
    enum err error =
        conn->transport.ops->write(&conn->transport, buf_data(&conn->out), total, &count);
    if (error == ERR_CLOSED) {
        return false;
    }
    size_t rest = total - count;
    conn->unit_left_bytes = rest > 0 ? (uint32_t)(unit_boundary(conn, count) - count) : 0;
    buf_consume(&conn->out, count);
    conn->sent_bytes += count;
    if (count > 0 || conn->accounted_bytes == 0) {
        conn->progress_us = conn_now_us(conn);
    }
    if (rest > 0 && conn->accounted_bytes == 0) {
        conn_check_by(conn, conn->progress_us + CONN_STALL_TIMEOUT_US);
    }
    account(conn, rest);
    return true;
}

/* Is there room for `bytes` more of this class? What must be sent may overshoot by one unit: a
 * single large message is not the reader's fault. */
static bool has_room(const struct conn *conn, enum conn_priority priority, size_t bytes) {
    uint64_t allowed = queue_max(conn) * shed_percent[priority] / 100;
    size_t queued = buf_len(&conn->out);
    return priority == CONN_MUST ? queued < allowed : queued + bytes <= allowed;
}

bool conn_may_queue(struct conn *conn, enum conn_priority priority, size_t bytes) {
    if (!conn_is_open(conn)) {
        return false;
    }
    if (has_room(conn, priority, bytes)) {
        return true;
    }
    /* Much may have been queued in this turn alone: only what the socket refuses makes a reader
     * slow.
     */
    if (conn->accounted_bytes == 0) {
        if (!push(conn)) {
            return false; /* the end of the turn finds it broken */
        }
        if (has_room(conn, priority, bytes)) {
            return true;
        }
    }
    if (priority != CONN_MUST) {
        shed(priority);
        return false;
    }
    connection_metrics_limit(queue_max(conn) < conn->table->settings->send_queue_bytes_max
                                 ? LIMIT_HIT_UNSENT
                                 : LIMIT_HIT_SEND_QUEUE);
    conn_end(conn, REASON_SLOW_READER);
    return false;
}

bool conn_is_starved(struct conn *conn) {
    if (conn->accounted_bytes == 0 && buf_len(&conn->out) > queue_max(conn) / 2) {
        (void)push(conn); /* a broken socket shows at the end of the turn */
    }
    conn->starved = buf_len(&conn->out) > queue_max(conn) / 2;
    return conn->starved;
}

bool conn_may_take(struct conn *conn) {
    uint64_t allowed = queue_max(conn) * CONN_TAKE_PERCENT / 100;
    if (conn->accounted_bytes == 0 && buf_len(&conn->out) > allowed) {
        (void)push(conn); /* as above */
    }
    if (buf_len(&conn->out) <= allowed) {
        return true;
    }
    conn->starved = true;
    if (conn->behind_us == 0) {
        conn->behind_us = conn_now_us(conn);
        conn->behind_sent_bytes = conn->sent_bytes;
        conn_check_by(conn, conn->behind_us + CONN_BEHIND_TIMEOUT_US);
    }
    return false;
}

bool conn_is_too_slow(struct conn *conn, uint64_t now_us, uint64_t *due_us) {
    uint64_t stall_us = UINT64_MAX;
    uint64_t behind_us = UINT64_MAX;
    if (conn->accounted_bytes > 0) {
        stall_us = conn->progress_us + CONN_STALL_TIMEOUT_US;
    }
    if (conn->behind_us != 0) {
        behind_us = conn->behind_us + CONN_BEHIND_TIMEOUT_US;
        if (now_us >= behind_us &&
            conn->sent_bytes - conn->behind_sent_bytes >= queue_max(conn) / 2) {
            conn->behind_us = now_us; /* slow, but not that slow */
            conn->behind_sent_bytes = conn->sent_bytes;
            behind_us = now_us + CONN_BEHIND_TIMEOUT_US;
        }
    }
    *due_us = stall_us < behind_us ? stall_us : behind_us;
    return now_us >= *due_us;
}

void conn_drop_queued(struct conn *conn) {
    size_t total = buf_len(&conn->out);
    size_t kept = unit_boundary(conn, conn->transport.committed_bytes);
    if (kept < total) {
        conn->out.end = conn->out.start + kept;
    }
}

static void on_flushed(struct conn *conn) {
    free_out(conn);
    if (conn->state != CONN_CLOSING) {
        return;
    }
    if (conn->close_when_flushed) {
        conn_drop(conn, conn->reason, false);
    } else if (!conn->write_ended) {
        conn->write_ended = true;
        conn->transport.ops->end(&conn->transport);
    }
}

void conn_flush(struct conn *conn) {
    if (buf_len(&conn->out) > 0 && !push(conn)) {
        conn_drop(conn, REASON_OK, true);
        return;
    }
    if (conn->accounted_bytes == 0) {
        on_flushed(conn);
    }
    if (conn->state >= CONN_GHOST) {
        return;
    }
    conn_update_events(conn);
    if (conn->starved && conn->accounted_bytes <= queue_max(conn) / 2) {
        conn->starved = false;
        conn->behind_us = 0;
        if (conn->state == CONN_LIVE) {
            conn->protocol->on_room(conn);
        }
    }
}

void conn_flush_dirty(struct conn_table *table) {
    struct list_node *node = list_pop_front(&table->dirty);
    while (node != NULL) {
        struct conn *conn = CONTAINER_OF(node, struct conn, dirty_node);
        conn_flush(conn);
        node = list_pop_front(&table->dirty);
    }
}
