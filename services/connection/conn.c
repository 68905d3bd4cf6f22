/* conn: the life of client sockets on one event loop.
 *
 * Every connection is in exactly one state and on that state's list; conn_move is the only place
 * that changes both. Whoever wants to be rid of a connection calls conn_end (with a goodbye) or
 * conn_drop (without), from any callback and as often as it likes: the socket closes, the session
 * is detached at once, and the memory is given back at the end of the turn, when no caller can
 * still hold it.
 *
 * A goodbye must reach the client: closing a socket with unread input makes the kernel send RST,
 * which can overtake it. So a closing connection writes its rest, says that nothing more will come
 * (half-close), and reads on until the peer has closed too, at most CONN_CLOSE_TIMEOUT_US.
 *
 * An idle connection holds its object and no buffer: input is parsed in the table's read area,
 * output leaves with the turn; only rests are kept. */
#include "services/connection/conn.h"

#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONN_REFUSAL_TIMEOUT_US 3000000u /* a refused client has this long to listen */
#define CONN_USER_TIMEOUT_MS 20000       /* unacknowledged data: the peer or the path is dead */
#define CONN_KEEPALIVE_IDLE_S 60
#define CONN_KEEPALIVE_INTERVAL_S 15
#define CONN_KEEPALIVE_PROBES 3

static void on_turn_end(struct loop_hook *hook);
static void on_check(struct janitor_entry *entry, uint64_t now_us);

/* --- the table */

enum err conn_table_create(struct loop *loop, struct hub *hub,
                           const struct connection_settings *settings, struct limits *limits,
                           struct conn_table **out) {
    struct conn_table *table = mem_zalloc(1, sizeof *table);
    if (table == NULL) {
        return ERR_NO_MEMORY;
    }
    table->read_area = mem_alloc(CONN_READ_FRONT_BYTES + CONN_READ_BYTES);
    if (table->read_area == NULL) {
        mem_free(table);
        return ERR_NO_MEMORY;
    }
    table->loop = loop;
    table->hub = hub;
    table->settings = settings;
    table->limits = limits;
    for (size_t i = 0; i < CONN_STATE_COUNT; i++) {
        list_init(&table->states[i]);
    }
    list_init(&table->dirty);
    list_init(&table->waiting);
    buf_init(&table->scratch, 4u * 1024 * 1024);
    buf_init(&table->scratch2, 1024u * 1024);
    janitor_start(&table->janitor, loop, on_check);
    loop_hook_add(loop, &table->hook, on_turn_end);
    *out = table;
    return ERR_OK;
}

static struct conn *first_of(struct conn_table *table, enum conn_state state) {
    struct list_node *node = list_first(&table->states[state]);
    return node != NULL ? CONTAINER_OF(node, struct conn, state_node) : NULL;
}

static void reclaim(struct conn_table *table) {
    struct list_node *node = list_pop_front(&table->states[CONN_DEAD]);
    while (node != NULL) {
        struct conn *conn = CONTAINER_OF(node, struct conn, state_node);
        buf_finish(&conn->in); /* not before: the protocol may have been parsing in it */
        buf_finish(&conn->out);
        conn_pool_give(&table->pools[conn->protocol->kind], conn);
        node = list_pop_front(&table->states[CONN_DEAD]);
    }
}

void conn_table_destroy(struct conn_table **table) {
    struct conn_table *gone = *table;
    if (gone == NULL) {
        return;
    }
    *table = NULL;
    for (enum conn_state state = CONN_TLS; state < CONN_DEAD; state++) {
        struct conn *conn = first_of(gone, state);
        while (conn != NULL) {
            if (state != CONN_GHOST) {
                conn_drop(conn, REASON_DRAIN, false);
            }
            conn_abandon(conn);
            conn = first_of(gone, state);
        }
    }
    reclaim(gone);
    for (size_t i = 0; i < CONN_KIND_COUNT; i++) {
        if (gone->pools[i].object_bytes != 0) {
            conn_pool_finish(&gone->pools[i]);
        }
    }
    if (gone->flights.object_bytes != 0) {
        conn_pool_finish(&gone->flights);
        conn_pool_finish(&gone->publishings);
    }
    while (gone->spare_count > 0) {
        buf_finish(&gone->spares[--gone->spare_count]);
    }
    loop_hook_remove(gone->loop, &gone->hook);
    loop_timer_stop(gone->loop, &gone->wait_timer);
    janitor_stop(&gone->janitor);
    buf_finish(&gone->scratch);
    buf_finish(&gone->scratch2);
    mem_free(gone->read_area);
    mem_free(gone);
}

size_t conn_table_count(const struct conn_table *table) {
    size_t count = 0;
    for (enum conn_state state = CONN_TLS; state <= CONN_CLOSING; state++) {
        count += table->states[state].count;
    }
    return count;
}

static void on_turn_end(struct loop_hook *hook) {
    struct conn_table *table = CONTAINER_OF(hook, struct conn_table, hook);
    conn_flush_dirty(table);
    reclaim(table);
}

/* --- opening */

/* Failures are harmless: the socket only lacks the option. */
static void set_options(int fd) {
    const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, CONN_KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, CONN_KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, CONN_KEEPALIVE_PROBES},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, CONN_USER_TIMEOUT_MS},
        {SOL_SOCKET, SO_SNDBUF, CONN_KERNEL_SEND_BYTES},
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                         sizeof options[i].value);
    }
}

static void init_buffers(struct conn *conn) {
    const struct connection_settings *settings = conn->table->settings;
    size_t unit = settings->frame_bytes_max > settings->mqtt_packet_bytes_max
                      ? settings->frame_bytes_max
                      : settings->mqtt_packet_bytes_max;
    buf_init(&conn->in, unit + CONN_READ_FRONT_BYTES + CONN_READ_BYTES);
    buf_init(&conn->out, settings->send_queue_bytes_max + 2 * (unit + CONN_READ_BYTES));
}

enum err conn_open(struct conn_table *table, const struct conn_protocol *protocol, int fd,
                   void *tls_context, const struct limits_share *share, enum reason refusal) {
    struct conn_pool *pool = &table->pools[protocol->kind];
    if (pool->object_bytes == 0) {
        conn_pool_init(pool, protocol->object_bytes,
                       table->limits->connections_max + LIMITS_REFUSALS_MAX);
    }
    struct conn *conn = conn_pool_take(pool);
    if (conn == NULL) {
        connection_metrics_limit(LIMIT_HIT_MEMORY);
        return ERR_NO_MEMORY;
    }
    transport_tcp_init(&conn->transport, fd);
    enum err error = loop_fd_add(table->loop, &conn->watch, fd, EPOLLIN, conn_on_ready);
    if (error == ERR_OK && tls_context != NULL) {
        error = transport_tls_init(&conn->transport, fd, tls_context);
        if (error != ERR_OK) {
            loop_fd_remove(table->loop, &conn->watch);
        }
    }
    if (error != ERR_OK) {
        conn_pool_give(pool, conn);
        return error;
    }
    set_options(fd);
    conn->table = table;
    conn->protocol = protocol;
    conn->share = *share;
    conn->refusal = refusal;
    conn->opened_us = conn->heard_us = loop_now_us(table->loop);
    init_buffers(conn);
    conn->state = tls_context != NULL ? CONN_TLS : CONN_OPENING;
    list_push_back(&table->states[conn->state], &conn->state_node);
    protocol->on_start(conn);
    connection_metrics_opened(protocol->kind);
    conn_check_by(conn,
                  conn->opened_us + (refusal != REASON_OK ? CONN_REFUSAL_TIMEOUT_US
                                                          : table->settings->login_timeout_us));
    return ERR_OK;
}

/* --- states */

void conn_move(struct conn *conn, enum conn_state state) {
    CONTRACT(state > conn->state);
    list_remove(&conn->table->states[conn->state], &conn->state_node);
    conn->state = state;
    list_push_back(&conn->table->states[state], &conn->state_node);
    if (state == CONN_LIVE) {
        conn_check_by(conn, conn_now_us(conn)); /* the protocol's times begin */
    }
}

void conn_end(struct conn *conn, enum reason reason) {
    if (!conn_is_open(conn)) {
        return;
    }
    if (conn->state == CONN_TLS) {
        conn_drop(conn, reason, false); /* no way to say anything yet */
        return;
    }
    conn->reason = reason;
    conn->closing_us = conn_now_us(conn);
    conn_move(conn, CONN_CLOSING);
    conn->protocol->on_end(conn, reason);
    if (conn->state != CONN_CLOSING) {
        return;
    }
    conn->paused = true; /* what was left over is thrown away, then reading goes on */
    conn_resume(conn);
    conn_check_by(conn, conn->closing_us + CONN_CLOSE_TIMEOUT_US);
    conn_wrote(conn, ERR_OK); /* the flush half-closes, also when nothing was appended */
}

static void unlink_all(struct conn *conn) {
    struct conn_table *table = conn->table;
    if (list_node_linked(&conn->dirty_node)) {
        list_remove(&table->dirty, &conn->dirty_node);
    }
    if (list_node_linked(&conn->wait_node)) {
        list_remove(&table->waiting, &conn->wait_node);
    }
    janitor_forget(&table->janitor, &conn->check);
}

void conn_drop(struct conn *conn, enum reason reason, bool lost) {
    if (conn->state >= CONN_GHOST) {
        return;
    }
    bool graceful = conn->state == CONN_CLOSING;
    if (!graceful) {
        conn->reason = reason;
    }
    if (conn->state == CONN_TLS) {
        connection_metrics_tls_failed();
    }
    unlink_all(conn);
    loop_fd_remove(conn->table->loop, &conn->watch);
    conn->transport.ops->close(&conn->transport);
    conn_free_out(conn);
    limits_leave(conn->table->limits, &conn->share);
    connection_metrics_closed(conn->protocol->kind, conn->reason, lost && !graceful);
    conn_move(conn, CONN_GHOST);
    log_event(LOG_DEBUG, "connection closed", F_TEXT("proto", conn->protocol->name),
              F_TEXT("reason", lost && !graceful ? "lost" : reason_code(conn->reason)));
    if (!conn->protocol->on_closed(conn, graceful)) {
        conn_release(conn);
    }
}

void conn_release(struct conn *conn) {
    if (conn->state == CONN_GHOST) {
        unlink_all(conn);
        conn_move(conn, CONN_DEAD);
    }
}

void conn_abandon(struct conn *conn) {
    if (conn->state == CONN_GHOST) {
        conn->protocol->on_abandon(conn);
        conn_release(conn);
    }
}

/* --- times */

void conn_check_by(struct conn *conn, uint64_t due_us) {
    janitor_watch(&conn->table->janitor, &conn->check, due_us);
}

static void check_login(struct conn *conn, uint64_t now_us) {
    uint64_t allowed_us = conn->refusal != REASON_OK ? CONN_REFUSAL_TIMEOUT_US
                                                     : conn->table->settings->login_timeout_us;
    if (now_us >= conn->opened_us + allowed_us) {
        conn_end(conn, REASON_LOGIN_TIMEOUT);
    } else {
        conn_check_by(conn, conn->opened_us + allowed_us);
    }
}

static void check_live(struct conn *conn, uint64_t now_us) {
    uint64_t due_us = UINT64_MAX;
    if (conn_is_too_slow(conn, now_us, &due_us)) {
        connection_metrics_limit(LIMIT_HIT_SEND_QUEUE);
        conn_end(conn, REASON_SLOW_READER);
        return;
    }
    uint64_t protocol_us = conn->protocol->on_check(conn, now_us);
    if (conn->state == CONN_LIVE) {
        conn_check_by(conn, protocol_us < due_us ? protocol_us : due_us);
    }
}

static void on_check(struct janitor_entry *entry, uint64_t now_us) {
    struct conn *conn = CONTAINER_OF(entry, struct conn, check);
    switch (conn->state) {
    case CONN_TLS:
    case CONN_OPENING:
    case CONN_LOGIN:
        check_login(conn, now_us);
        break;
    case CONN_LIVE:
        check_live(conn, now_us);
        break;
    case CONN_CLOSING:
        if (now_us >= conn->closing_us + CONN_CLOSE_TIMEOUT_US) {
            conn_drop(conn, conn->reason, false);
        } else {
            conn_check_by(conn, conn->closing_us + CONN_CLOSE_TIMEOUT_US);
        }
        break;
    case CONN_GHOST: {
        uint64_t due_us = conn->protocol->on_check(conn, now_us);
        if (conn->state == CONN_GHOST) {
            conn_check_by(conn, due_us);
        }
        break;
    }
    case CONN_DEAD:
    case CONN_STATE_COUNT:
        break;
    }
}
