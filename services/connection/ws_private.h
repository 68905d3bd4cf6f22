/* ws_private: what ws_session.c, ws_frames.c, ws_request.c and ws_sync.c share; nothing else
 * includes it. */
#ifndef PIPIT_CONNECTION_WS_PRIVATE_H
#define PIPIT_CONNECTION_WS_PRIVATE_H

#include "common/contract.h"
#include "common/rate.h"
#include "proto/frame.h"
#include "proto/ws_frame.h"
#include "services/connection/conn.h"
#include "services/connection/session.h"

#define WS_SYNCS_MAX 8 /* syncs of one connection that wait; each covers 256 conversations */

struct ws_session {
    struct conn conn; /* first: see conn.h */
    struct session session;
    struct ws_reader reader;
    struct rate_bucket rate; /* of frames, in front of the user's rate of messages */
    struct list syncs;       /* struct ws_sync, the first one is worked on */
    uint64_t login_id;       /* of the auth frame being answered */
    uint64_t pinged_us;
    uint16_t http_status; /* a refused handshake's answer */
    uint16_t echo_code;   /* the peer's close code */
    bool upgraded;
    bool attached;    /* session_open was called: session_close is due */
    bool unreadable;  /* the reader failed: input is thrown away */
    bool peer_closed; /* its close frame came */
    bool waits_for_answers;
};

static inline struct ws_session *ws_of(struct conn *conn) {
    return CONTAINER_OF(conn, struct ws_session, conn);
}
static inline struct ws_session *ws_of_session(struct session *session) {
    return CONTAINER_OF(session, struct ws_session, session);
}

/* --- ws_frames.c: bytes to frames, frames to bytes */
size_t ws_on_input(struct conn *conn, uint8_t *bytes, size_t count);
size_t ws_unit_bytes(const uint8_t *bytes, size_t count);
/* Queues a text frame; true when it was. */
bool ws_send(struct ws_session *ws, enum conn_priority priority, const uint8_t *bytes,
             size_t count);
/* The table's scratch buffer, cleared; then sends what was encoded into it. */
struct buf *ws_scratch(struct ws_session *ws);
void ws_send_scratch(struct ws_session *ws, enum err error);
void ws_send_err(struct ws_session *ws, uint64_t id, enum reason reason, const char *text,
                 uint32_t retry_ms);

/* --- ws_request.c: what frames ask for */
void ws_on_text(struct ws_session *ws, const uint8_t *bytes, size_t count);
extern const struct session_ops ws_session_ops;

/* --- ws_sync.c */
void ws_sync_begin(struct ws_session *ws, uint64_t id, const struct frame_sync *sync);
void ws_sync_go_on(struct ws_session *ws);
void ws_sync_page(struct ws_session *ws, const struct session_page *page);
void ws_sync_forget(struct ws_session *ws);

#endif
