/* ws_frames: from the bytes of a WebSocket to its messages and back.
 *
 * The opening handshake is answered and followed at once by `hello`, so a client has the limits
 * before it sends anything. Frames are read one by one where they lie. Before each one it is asked
 * whether answers to earlier ones are due: then the socket is left alone until they come, which is
 * how a sender that is faster than the disk is slowed down, without an error and without a queue.
 *
 * A frame that breaks the protocol ends the connection; what follows it is read and thrown away
 * until the client has gone. */
#include "services/connection/ws_private.h"

#include "common/clock.h"
#include "common/contract.h"
#include "proto/ws_handshake.h"

#include <stdio.h>
#include <strings.h>

/* --- to the client */

struct buf *ws_scratch(struct ws_session *ws) {
    buf_clear(&ws->conn.table->scratch);
    return &ws->conn.table->scratch;
}

bool ws_send(struct ws_session *ws, enum conn_priority priority, const uint8_t *bytes,
             size_t count) {
    struct conn *conn = &ws->conn;
    if (!conn_is_open(conn) || !conn_may_queue(conn, priority, count + WS_HEADER_BYTES_MAX)) {
        return false;
    }
    conn_wrote(conn, ws_append(conn_out(conn), WS_TEXT, bytes, count));
    return true;
}

void ws_send_scratch(struct ws_session *ws, enum err error) {
    struct buf *scratch = &ws->conn.table->scratch;
    if (error != ERR_OK) {
        connection_metrics_limit(LIMIT_HIT_MEMORY);
        conn_end(&ws->conn, REASON_OVERLOAD);
        return;
    }
    (void)ws_send(ws, CONN_MUST, buf_data(scratch), buf_len(scratch)); /* else it is ending */
}

void ws_send_err(struct ws_session *ws, uint64_t id, enum reason reason, const char *text,
                 uint32_t retry_ms) {
    connection_metrics_rejected(CONN_WS);
    ws_send_scratch(ws, frame_encode_err(ws_scratch(ws), id, reason, text, retry_ms));
}

size_t ws_unit_bytes(const uint8_t *bytes, size_t count) {
    CONTRACT(count >= 2);
    size_t length = bytes[1] & 0x7F;
    size_t header = 2;
    if (length == 126) {
        header = 4;
        length = (size_t)bytes[2] << 8 | bytes[3];
    } else if (length == 127) {
        header = 10;
        length = 0;
        for (size_t i = 2; i < 10; i++) {
            length = length << 8 | bytes[i];
        }
    }
    return header + length;
}

/* --- the opening handshake */

static void send_hello(struct ws_session *ws) {
    const struct connection_settings *settings = ws->conn.table->settings;
    char rate[32];
    (void)snprintf(rate, sizeof rate, "%llu/1s",
                   (unsigned long long)settings->messages_per_second); /* fits */
    struct frame_hello hello = {.server = "pipit/" PIPIT_VERSION,
                                .heartbeat_s =
                                    (uint32_t)((settings->heartbeat_us + 999999) / 1000000),
                                .frame_bytes_max = settings->frame_bytes_max,
                                .text_bytes_max = settings->text_bytes_max,
                                .rate = rate,
                                .now_ms = clock_wall_ms(),
                                .epoch = hub_epoch(ws->conn.table->hub)};
    ws_send_scratch(ws, frame_encode_hello(ws_scratch(ws), &hello));
}

/* The host without its port. */
static struct slice host_name(struct slice authority) {
    size_t bytes = authority.count;
    for (size_t i = authority.count; i > 0 && authority.bytes[i - 1] != ']'; i--) {
        if (authority.bytes[i - 1] == ':') {
            bytes = i - 1;
        }
    }
    return slice_make(authority.bytes, bytes);
}

/* With nothing configured a page of the same host may connect whatever its port: the bundled web
 * client is served by auth's port. */
static bool origin_allowed(const struct ws_handshake *handshake, const char *allowed) {
    if (ws_origin_allowed(handshake->origin, handshake->host, allowed)) {
        return true;
    }
    if (allowed[0] != '\0') {
        return false;
    }
    const uint8_t *mark = memmem(handshake->origin.bytes, handshake->origin.count, "://", 3);
    if (mark == NULL) {
        return false;
    }
    const uint8_t *end = handshake->origin.bytes + handshake->origin.count;
    struct slice origin = host_name(slice_make(mark + 3, (size_t)(end - mark) - 3));
    struct slice host = host_name(handshake->host);
    return origin.count > 0 && origin.count == host.count &&
           strncasecmp((const char *)origin.bytes, (const char *)host.bytes, host.count) == 0;
}

static void refuse_upgrade(struct ws_session *ws, int status, enum reason reason) {
    ws->http_status = (uint16_t)status;
    conn_end(&ws->conn, reason);
}

static size_t upgrade(struct ws_session *ws, const uint8_t *bytes, size_t count) {
    struct conn *conn = &ws->conn;
    struct ws_handshake handshake;
    int status = 500;
    enum err error = ws_handshake_parse(bytes, count, &handshake, &status);
    if (error == ERR_MORE) {
        return 0;
    }
    if (conn->refusal != REASON_OK) {
        refuse_upgrade(ws, 503, conn->refusal); /* whatever it asked for */
        return count;
    }
    if (error != ERR_OK) {
        refuse_upgrade(ws, status, REASON_MALFORMED);
        return count;
    }
    if (!origin_allowed(&handshake, conn->table->settings->allowed_origins)) {
        refuse_upgrade(ws, 403, REASON_FORBIDDEN);
        return count;
    }
    error = ws_handshake_accept(conn_out(conn), &handshake);
    if (error != ERR_OK) {
        refuse_upgrade(ws, 503, REASON_OVERLOAD);
        return count;
    }
    conn_wrote_raw(conn, buf_len(&conn->out));
    ws->upgraded = true;
    conn_move(conn, CONN_LOGIN);
    send_hello(ws);
    return handshake.head_bytes;
}

/* --- frames */

static void on_close_frame(struct ws_session *ws, uint16_t code) {
    struct conn *conn = &ws->conn;
    ws->unreadable = true; /* nothing may follow */
    if (conn->state == CONN_CLOSING) {
        conn_drop(conn, conn->reason, false); /* our close is answered */
        return;
    }
    ws->peer_closed = true;
    ws->echo_code = code;
    conn_end(conn, REASON_OK);
}

static void on_frame(struct ws_session *ws, const struct ws_event *event) {
    struct conn *conn = &ws->conn;
    switch (event->opcode) {
    case WS_CLOSE:
        on_close_frame(ws, event->close_code);
        break;
    case WS_TEXT:
        if (conn_is_open(conn)) {
            ws_on_text(ws, event->payload.bytes, event->payload.count);
        }
        break;
    case WS_PING:
        if (conn_is_open(conn) &&
            conn_may_queue(conn, CONN_MUST, event->payload.count + WS_HEADER_BYTES_MAX)) {
            conn_wrote(conn, ws_append(conn_out(conn), WS_PONG, event->payload.bytes,
                                       event->payload.count));
        }
        break;
    case WS_PONG:
    case WS_CONTINUATION:
    case WS_BINARY: /* the reader refuses it */
        break;
    }
}

/* After each frame: a client above its rate is read more slowly. */
static void mind_rate(struct ws_session *ws) {
    const struct connection_settings *settings = ws->conn.table->settings;
    uint64_t now_us = conn_now_us(&ws->conn);
    uint64_t wait_us = rate_take(&ws->rate, (uint32_t)settings->messages_per_second * 2,
                                 (uint32_t)settings->messages_burst, now_us);
    if (wait_us > 0 && conn_is_open(&ws->conn) && !ws->conn.paused) {
        connection_metrics_limit(LIMIT_HIT_RATE);
        conn_pause_until(&ws->conn, now_us + wait_us);
    }
}

static size_t read_frame(struct ws_session *ws, uint8_t *bytes, size_t count) {
    struct conn *conn = &ws->conn;
    if (conn->state == CONN_LIVE &&
        (conn->leaving ||
         ws->session.unanswered >= conn->table->settings->inflight_per_session_max)) {
        connection_metrics_limit(LIMIT_HIT_INFLIGHT);
        ws->waits_for_answers = true;
        conn_pause(conn);
        return 0;
    }
    struct ws_event event;
    enum reason reason = REASON_PROTOCOL_ERROR;
    enum err error = ws_read(&ws->reader, bytes, count, &event, &reason);
    if (error == ERR_MORE) {
        return 0;
    }
    if (error != ERR_OK) {
        ws->unreadable = true;
        if (conn_is_open(conn)) {
            ws_send_err(ws, 0, reason, NULL, 0);
        }
        conn_end(conn, reason);
        return count;
    }
    on_frame(ws, &event);
    mind_rate(ws);
    return event.frame_bytes;
}

size_t ws_on_input(struct conn *conn, uint8_t *bytes, size_t count) {
    struct ws_session *ws = ws_of(conn);
    size_t used = 0;
    while (used < count && !conn->paused && conn->state <= CONN_CLOSING) {
        if (ws->unreadable || (conn->state == CONN_CLOSING && !ws->upgraded)) {
            return count;
        }
        size_t taken = ws->upgraded ? read_frame(ws, bytes + used, count - used)
                                    : upgrade(ws, bytes + used, count - used);
        if (taken == 0) {
            break;
        }
        used += taken;
    }
    return used;
}
