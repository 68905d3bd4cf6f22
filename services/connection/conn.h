/* conn: one client socket: its state, buffers and times. The protocols (ws_session, mqtt_session)
 * embed struct conn as their first member and are called back through struct conn_protocol; the
 * transport below is plain or TLS. Everything of a conn_table belongs to one event loop's thread.
 *
 * Life: TLS -> OPENING -> LOGIN -> LIVE -> CLOSING -> DEAD, any step may be skipped forwards;
 * conn_move is the one function that changes the state, and each state has one list. A dead
 * connection's memory is reclaimed at the end of the turn, so callbacks may close whatever they
 * like. */
#ifndef PIPIT_CONNECTION_CONN_H
#define PIPIT_CONNECTION_CONN_H

#include "common/buf.h"
#include "services/connection/conn_pool.h"
#include "services/connection/connection_metrics.h"
#include "services/connection/hub.h"
#include "services/connection/janitor.h"
#include "services/connection/limits.h"
#include "services/connection/transport.h"

#define CONN_READ_BYTES 65536u         /* taken from a socket at once */
#define CONN_READ_FRONT_BYTES 16384u   /* room in front for what an earlier read left over */
#define CONN_CLOSE_TIMEOUT_US 2000000u /* from our goodbye to closing without the peer's */
#define CONN_STALL_TIMEOUT_US                                                                      \
    8000000u /* output waits and the socket takes nothing: slow reader.                            \
                Source: goal A4, closed with a reason within 10 s */
#define CONN_BEHIND_TIMEOUT_US                                                                     \
    2000000u                 /* messages wait in history and less than half a queue went out */
#define CONN_TAKE_PERCENT 75 /* of the send queue: beyond it no stored message is taken */
#define CONN_KERNEL_SEND_BYTES                                                                     \
    131072 /* SO_SNDBUF: without it the kernel grows to 4 MiB and a                                \
              stalled reader is noticed after thousands of messages */

enum conn_state {
    CONN_TLS,     /* TLS handshake */
    CONN_OPENING, /* HTTP request or CONNECT awaited */
    CONN_LOGIN,   /* speaks the protocol, not logged in yet */
    CONN_LIVE,    /* session open */
    CONN_CLOSING, /* goodbye written: flush, wait for the peer, at most CONN_CLOSE_TIMEOUT_US */
    CONN_GHOST,   /* socket gone, the protocol still has something to do (an MQTT will) */
    CONN_DEAD,    /* reclaimed at the end of the turn */
    CONN_STATE_COUNT
};
/* In shedding order from the end: what a slow reader does without. */
enum conn_priority { CONN_MUST, CONN_RECEIPT, CONN_TYPING, CONN_PRESENCE };

struct conn;
struct conn_protocol {
    enum conn_kind kind;
    const char *name; /* for logs */
    size_t object_bytes;
    /* A fresh object (zeroed but for conn): prepare it. Cannot fail, must not close. */
    void (*on_start)(struct conn *conn);
    /* Consumes from the front of bytes[count], which it may change, and returns how many. Stops
     * early for an incomplete unit or when it paused or ended the connection. Also in CLOSING. */
    size_t (*on_input)(struct conn *conn, uint8_t *bytes, size_t count);
    /* The output queue fell below half of its limit. */
    void (*on_room)(struct conn *conn);
    /* The connection ends for this reason: detach the session, append the goodbye. */
    void (*on_end)(struct conn *conn, enum reason reason);
    /* The socket is gone: detach the session, free what hangs on the object. True: the object must
     * live on as a ghost until conn_release. */
    bool (*on_closed)(struct conn *conn, bool graceful);
    /* A ghost must go now, whatever it waits for: detach the session. NULL when there are none. */
    void (*on_abandon)(struct conn *conn);
    /* Time check in LIVE and GHOST: returns when to look again (absolute), after acting on what is
     * due. May end the connection. */
    uint64_t (*on_check)(struct conn *conn, uint64_t now_us);
    /* Bytes of the whole protocol unit that starts at bytes[0]. */
    size_t (*unit_bytes)(const uint8_t *bytes, size_t count);
    bool (*is_busy)(const struct conn *conn); /* the client waits for an answer from us */
};

struct conn_table;
struct conn {
    struct loop_fd watch;
    struct list_node state_node, dirty_node, wait_node;
    struct janitor_entry check;
    struct conn_table *table;
    const struct conn_protocol *protocol;
    struct transport transport;
    struct limits_share share;
    struct buf in;  /* what could not be consumed yet */
    struct buf out; /* what the socket has not taken yet */
    uint64_t opened_us, heard_us;
    uint64_t progress_us; /* the socket last took bytes, or output began to wait */
    uint64_t closing_us;
    uint64_t sent_bytes;
    uint64_t behind_us, behind_sent_bytes; /* conn_may_take said no since then; 0 = it did not */
    uint64_t resume_us;                    /* on the table's waiting list */
    uint32_t unit_left_bytes;              /* of a partly sent unit at the front of out */
    uint32_t accounted_bytes;              /* of out, in limits */
    enum conn_state state;
    enum reason refusal; /* let in only to be told this */
    enum reason reason;  /* why it ended */
    bool paused;         /* nothing is read */
    bool starved;        /* on_room is owed */
    bool close_when_flushed;
    bool write_ended;
    bool leaving; /* drain: its goodbye waits for answers */
    uint64_t leaving_us;
};

struct conn_table {
    struct loop *loop;
    struct hub *hub;
    const struct connection_settings *settings;
    struct limits *limits;
    struct list states[CONN_STATE_COUNT];
    struct list dirty, waiting;
    struct conn_pool pools[CONN_KIND_COUNT];
    struct conn_pool flights, publishings; /* of MQTT sessions, see mqtt_private.h */
    struct janitor janitor;
    struct loop_hook hook;
    struct loop_timer wait_timer;
    uint8_t *read_area;    /* CONN_READ_FRONT_BYTES + CONN_READ_BYTES */
    struct buf scratch;    /* for encoding one frame; cleared by whoever uses it */
    struct buf scratch2;   /* for a body inside it */
    struct buf spares[32]; /* empty output buffers with memory */
    size_t spare_count;
    uint32_t retry_max_ms; /* drain: over how long clients should spread their return; 0 = usual */
};

/* --- the table (conn.c) */
/* hub may be NULL in tests of sockets alone. */
enum err conn_table_create(struct loop *loop, struct hub *hub,
                           const struct connection_settings *settings, struct limits *limits,
                           struct conn_table **out) MUST_CHECK;
/* Closes what is open, without goodbye. */
void conn_table_destroy(struct conn_table **table);
size_t conn_table_count(const struct conn_table *table); /* not dead, not ghosts */

/* --- connections (conn.c) */
/* Takes fd and share; tls_context NULL = plain. refusal REASON_OK, or what the client is told
 * before it is closed. On an error the caller still has both. ERR_NO_MEMORY, ERR_FULL, ERR_IO. */
enum err conn_open(struct conn_table *table, const struct conn_protocol *protocol, int fd,
                   void *tls_context, const struct limits_share *share,
                   enum reason refusal) MUST_CHECK;
void conn_move(struct conn *conn, enum conn_state state);
/* Ends with the protocol's goodbye. No-op when it is closing or gone. */
void conn_end(struct conn *conn, enum reason reason);
/* Closes at once. lost: the peer went without a word. No-op when gone. */
void conn_drop(struct conn *conn, enum reason reason, bool lost);
/* A ghost has nothing left to do. */
void conn_release(struct conn *conn);
/* A ghost must go although it has. */
void conn_abandon(struct conn *conn);
/* Looks at the connection's times no later than due_us. */
void conn_check_by(struct conn *conn, uint64_t due_us);
static inline bool conn_is_open(const struct conn *conn) {
    return conn->state < CONN_CLOSING;
}
static inline uint64_t conn_now_us(const struct conn *conn) {
    return loop_now_us(conn->table->loop);
}

/* --- reading (conn_input.c) */
void conn_on_ready(struct loop_fd *watch, uint32_t events);
/* Stops calling on_input until conn_resume, or until resume_us (absolute). */
void conn_pause(struct conn *conn);
void conn_pause_until(struct conn *conn, uint64_t resume_us);
/* Goes on soon, with what is left over from before first. No-op when not paused. */
void conn_resume(struct conn *conn);
void conn_on_wait_timer(struct loop_timer *timer);
/* Asks the loop for input unless paused, and for room while output waits. */
void conn_update_events(struct conn *conn);

/* --- writing (conn_output.c) */
/* May `bytes` more be queued? False: shed (counted), or for CONN_MUST the connection has been ended
 * as a slow reader; also when it is ending already. */
bool conn_may_queue(struct conn *conn, enum conn_priority priority, size_t bytes);
/* The buffer to append whole units to; follow with conn_wrote. The bytes leave at the end of the
 * turn. */
struct buf *conn_out(struct conn *conn);
/* error: of the appending. A unit that could not be appended ends the connection. */
void conn_wrote(struct conn *conn, enum err error);
/* The next bytes appended to an empty queue are no protocol unit (an HTTP answer). */
void conn_wrote_raw(struct conn *conn, size_t bytes);
/* May a stored message be queued, or is it better left in history? on_room is called when that
 * turns true again. Never closes the connection. */
bool conn_may_take(struct conn *conn);
/* Has the client taken too little for too long? Else *due_us tells when to ask again. */
bool conn_is_too_slow(struct conn *conn, uint64_t now_us, uint64_t *due_us);
/* Output waits and is above half of the limit; on_room will be called. Never closes the connection.
 */
bool conn_is_starved(struct conn *conn);
/* Drops queued units of which nothing was sent. */
void conn_drop_queued(struct conn *conn);
/* Writes what the socket takes. The connection may be dead afterwards. */
void conn_flush(struct conn *conn);
void conn_flush_dirty(struct conn_table *table);
/* Forgets what is queued. */
void conn_free_out(struct conn *conn);

#endif
