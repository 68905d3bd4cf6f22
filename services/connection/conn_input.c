/* conn_input: from ready sockets to the protocols.
 *
 * One read a socket and turn, into one area that all connections of the loop share. The protocol
 * parses in place; what it leaves over (half a frame, or whole ones while it is paused) is copied
 * out to the connection. The next read then puts that rest in front of the area, so a unit is
 * contiguous without a second copy; only rests longer than that room are appended to instead.
 *
 * A paused connection is not asked for input, so backpressure reaches the sender through TCP.
 * Leftovers are parsed again from a timer of the loop, never inside the callback that resumed. */
#include "services/connection/conn.h"

#include "common/contract.h"

#include <string.h>
#include <sys/epoll.h>

/* A pause is mostly over before the next input comes, so EPOLLIN goes off only when an event has
 * shown that it is needed. */
static void set_events(struct conn *conn, bool input_came) {
    bool reads = !conn->paused || (!input_came && (conn->watch.events & EPOLLIN) != 0);
    bool writes = conn->accounted_bytes > 0 || conn->transport.wants_write;
    uint32_t events = (reads ? (uint32_t)EPOLLIN : 0) | (writes ? (uint32_t)EPOLLOUT : 0);
    if (loop_fd_set_events(conn->table->loop, &conn->watch, events) != ERR_OK) {
        conn_drop(conn, REASON_SERVER_ERROR, false);
    }
}

void conn_update_events(struct conn *conn) {
    if (conn->state < CONN_GHOST) {
        set_events(conn, false);
    }
}

/* Hands bytes[count] to the protocol; false when the connection is gone. */
static bool feed(struct conn *conn, uint8_t *bytes, size_t count, size_t *used) {
    *used = 0;
    if (!conn->paused) {
        *used = conn->protocol->on_input(conn, bytes, count);
        CONTRACT(*used <= count);
    }
    return conn->state < CONN_GHOST;
}

/* Parses what is kept in conn->in. */
static void feed_kept(struct conn *conn) {
    size_t count = buf_len(&conn->in);
    if (count == 0) {
        return;
    }
    size_t used = 0;
    if (!feed(conn, conn->in.bytes + conn->in.start, count, &used)) {
        return;
    }
    buf_consume(&conn->in, used);
    if (buf_len(&conn->in) == 0 || conn->state == CONN_CLOSING) {
        buf_finish(&conn->in);
    }
}

static void keep_rest(struct conn *conn, const uint8_t *bytes, size_t count) {
    buf_clear(&conn->in);
    if (count == 0 || conn->state == CONN_CLOSING) {
        buf_finish(&conn->in);
    } else if (buf_append(&conn->in, bytes, count) != ERR_OK) {
        connection_metrics_limit(LIMIT_HIT_MEMORY);
        conn_end(conn, REASON_OVERLOAD);
    }
}

static void take_input(struct conn *conn, size_t got) {
    uint8_t *area = conn->table->read_area + CONN_READ_FRONT_BYTES;
    size_t kept = buf_len(&conn->in);
    if (kept > CONN_READ_FRONT_BYTES) {
        if (buf_append(&conn->in, area, got) != ERR_OK) {
            connection_metrics_limit(LIMIT_HIT_MEMORY);
            conn_end(conn, REASON_OVERLOAD);
            return;
        }
        feed_kept(conn);
        return;
    }
    uint8_t *bytes = area - kept;
    if (kept > 0) {
        memcpy(bytes, buf_data(&conn->in), kept);
    }
    size_t used = 0;
    if (feed(conn, bytes, kept + got, &used)) {
        keep_rest(conn, bytes + used, kept + got - used);
    }
}

static void read_once(struct conn *conn) {
    size_t got = 0;
    enum err error = conn->transport.ops->read(
        &conn->transport, conn->table->read_area + CONN_READ_FRONT_BYTES, CONN_READ_BYTES, &got);
    if (error == ERR_CLOSED) {
        conn_drop(conn, REASON_OK, true);
        return;
    }
    if (error == ERR_OK) {
        conn->heard_us = conn_now_us(conn);
        take_input(conn, got);
    }
    if (conn->state < CONN_GHOST) {
        if (!conn->paused && conn->transport.ops->has_pending(&conn->transport)) {
            conn->paused = true; /* the socket will not say so: come back for it */
            conn_resume(conn);
        }
        set_events(conn, false);
    }
}

static void go_on_with_handshake(struct conn *conn) {
    enum err error = conn->transport.ops->handshake(&conn->transport);
    if (error == ERR_CLOSED) {
        conn_drop(conn, REASON_PROTOCOL_ERROR, false);
        return;
    }
    if (error == ERR_OK) {
        conn_move(conn, CONN_OPENING);
    }
    set_events(conn, false);
}

void conn_on_ready(struct loop_fd *watch, uint32_t events) {
    struct conn *conn = CONTAINER_OF(watch, struct conn, watch);
    if (conn->state == CONN_TLS) {
        go_on_with_handshake(conn);
        if (conn->state != CONN_OPENING) {
            return;
        }
        events |= EPOLLIN; /* the first request may have come with the handshake */
    }
    if ((events & EPOLLOUT) != 0 && conn->accounted_bytes > 0) {
        conn_flush(conn);
    }
    bool reads =
        (events & EPOLLIN) != 0 || ((events & EPOLLOUT) != 0 && conn->transport.wants_write);
    if (conn->state >= CONN_GHOST) {
        return;
    }
    if (reads && !conn->paused) {
        read_once(conn);
    } else if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        conn_drop(conn, REASON_OK, true); /* both directions are gone: no input is worth waiting */
    } else {
        set_events(conn, reads);
    }
}

/* --- pausing */

void conn_pause(struct conn *conn) {
    conn->paused = true; /* EPOLLIN goes off with the next event, if one comes */
}

static void wait_until(struct conn *conn, uint64_t resume_us) {
    struct conn_table *table = conn->table;
    conn->resume_us = resume_us;
    if (!list_node_linked(&conn->wait_node)) {
        list_push_back(&table->waiting, &conn->wait_node);
    }
    uint64_t now_us = loop_now_us(table->loop);
    if (!table->wait_timer.armed || table->wait_timer.due_us > resume_us) {
        loop_timer_start(table->loop, &table->wait_timer,
                         resume_us > now_us ? resume_us - now_us : 0, conn_on_wait_timer);
    }
}

void conn_pause_until(struct conn *conn, uint64_t resume_us) {
    conn->paused = true;
    wait_until(conn, resume_us);
}

void conn_resume(struct conn *conn) {
    if (conn->paused && conn->state < CONN_GHOST) {
        wait_until(conn, conn_now_us(conn));
    }
}

static void resume_now(struct conn *conn) {
    conn->paused = false;
    if (conn->state == CONN_CLOSING) {
        buf_finish(&conn->in);
    }
    feed_kept(conn);
    if (conn->state >= CONN_GHOST) {
        return;
    }
    if (!conn->paused && conn->transport.ops->has_pending(&conn->transport)) {
        read_once(conn);
    } else {
        set_events(conn, false);
    }
}

void conn_on_wait_timer(struct loop_timer *timer) {
    struct conn_table *table = CONTAINER_OF(timer, struct conn_table, wait_timer);
    uint64_t now_us = loop_now_us(table->loop);
    /* Those that wait again go to the back; each is looked at once. */
    for (size_t left = table->waiting.count; left > 0; left--) {
        struct list_node *node = list_pop_front(&table->waiting);
        if (node == NULL) {
            break; /* a callback closed others */
        }
        struct conn *conn = CONTAINER_OF(node, struct conn, wait_node);
        if (conn->resume_us <= now_us) {
            resume_now(conn);
        } else {
            list_push_back(&table->waiting, node);
        }
    }
    uint64_t next_us = UINT64_MAX;
    for (struct list_node *node = list_first(&table->waiting); node != NULL;
         node = list_next(&table->waiting, node)) {
        struct conn *conn = CONTAINER_OF(node, struct conn, wait_node);
        next_us = conn->resume_us < next_us ? conn->resume_us : next_us;
    }
    if (next_us != UINT64_MAX) {
        loop_timer_start(table->loop, timer, next_us > now_us ? next_us - now_us : 0,
                         conn_on_wait_timer);
    }
}
