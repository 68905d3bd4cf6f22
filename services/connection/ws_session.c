/* ws_session: the life of a WebSocket: what happens when it starts, is silent, has room again,
 * ends.
 *
 * Silence: every byte from the client counts as life. After one heartbeat without any the server
 * pings (browsers answer by themselves), after two and a half it closes with 4002. While we do not
 * read because answers are due, silence is our own doing and does not count.
 *
 * The end: a `bye` frame says why in the protocol's words and when to come back, the close frame
 * says it to the browser. A reader that is too slow has its unsent frames dropped first, so that
 * both can reach it. When the client closes first, its code is echoed and the socket closed. */
#include "services/connection/ws_session.h"

#include "common/contract.h"
#include "proto/ws_handshake.h"
#include "services/connection/goodbye.h"
#include "services/connection/ws_private.h"

static void on_start(struct conn *conn) {
    struct ws_session *ws = ws_of(conn);
    ws_reader_init(&ws->reader, LIMIT_FRAME_LOGIN_BYTES, true);
    list_init(&ws->syncs);
    rate_init(&ws->rate, (uint32_t)conn->table->settings->messages_burst, conn->opened_us);
}

static void detach(struct ws_session *ws) {
    if (ws->attached) {
        ws->attached = false;
        session_close(&ws->session);
    }
    ws_sync_forget(ws);
}

static void on_room(struct conn *conn) {
    struct ws_session *ws = ws_of(conn);
    if (ws->attached) {
        session_writable(&ws->session);
    }
    ws_sync_go_on(ws);
}

/* --- the end */

static void refuse_handshake(struct ws_session *ws, enum reason reason) {
    int status = ws->http_status != 0 ? ws->http_status : reason_http_status(reason);
    size_t before = buf_len(&ws->conn.out);
    enum err error = ws_handshake_refuse(conn_out(&ws->conn), status);
    if (error == ERR_OK) {
        conn_wrote_raw(&ws->conn, buf_len(&ws->conn.out) - before);
    }
}

static enum err append_bye(struct ws_session *ws, enum reason reason) {
    struct buf *scratch = &ws->conn.table->scratch;
    enum err error = goodbye_encode(ws->conn.table, reason);
    return error != ERR_OK
               ? error
               : ws_append(conn_out(&ws->conn), WS_TEXT, buf_data(scratch), buf_len(scratch));
}

static void on_end(struct conn *conn, enum reason reason) {
    struct ws_session *ws = ws_of(conn);
    detach(ws);
    if (!ws->upgraded) {
        refuse_handshake(ws, reason);
        return;
    }
    enum err error = ERR_OK;
    if (ws->peer_closed) {
        conn->close_when_flushed = true;
        error = ws_append_close_echo(conn_out(conn), ws->echo_code);
    } else {
        if (reason == REASON_SLOW_READER) {
            conn_drop_queued(conn);
        }
        error = append_bye(ws, reason);
        if (error == ERR_OK) {
            error = ws_append_close(conn_out(conn), reason);
        }
    }
    (void)error; /* without memory for a goodbye the socket just closes */
}

static bool on_closed(struct conn *conn, bool graceful) {
    struct ws_session *ws = ws_of(conn);
    (void)graceful; /* correctness rests on seq, not on how a socket ended */
    detach(ws);
    ws_reader_finish(&ws->reader);
    return false;
}

/* --- silence */

static uint64_t on_check(struct conn *conn, uint64_t now_us) {
    struct ws_session *ws = ws_of(conn);
    uint64_t heartbeat_us = conn->table->settings->heartbeat_us;
    if (conn->paused) {
        return now_us + heartbeat_us;
    }
    uint64_t heard_us = conn->heard_us;
    if (now_us >= heard_us + heartbeat_us * 5 / 2) {
        conn_end(conn, REASON_IDLE_TIMEOUT);
        return UINT64_MAX;
    }
    if (now_us < heard_us + heartbeat_us) {
        return heard_us + heartbeat_us;
    }
    if (ws->pinged_us < heard_us || now_us >= ws->pinged_us + heartbeat_us) {
        ws->pinged_us = now_us;
        if (conn_may_queue(conn, CONN_MUST, 2)) {
            conn_wrote(conn, ws_append(conn_out(conn), WS_PING, NULL, 0));
        }
    }
    uint64_t again_us = ws->pinged_us + heartbeat_us;
    uint64_t end_us = heard_us + heartbeat_us * 5 / 2;
    return again_us < end_us ? again_us : end_us;
}

static bool is_busy(const struct conn *conn) {
    return CONTAINER_OF(conn, struct ws_session, conn)->session.unanswered > 0;
}

const struct conn_protocol ws_protocol = {.kind = CONN_WS,
                                          .name = "ws",
                                          .object_bytes = sizeof(struct ws_session),
                                          .on_start = on_start,
                                          .on_input = ws_on_input,
                                          .on_room = on_room,
                                          .on_end = on_end,
                                          .on_closed = on_closed,
                                          .on_check = on_check,
                                          .unit_bytes = ws_unit_bytes,
                                          .is_busy = is_busy};
