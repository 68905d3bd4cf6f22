/* ws_request: what each frame of a client asks for, and the session's answers.
 *
 * The number that the session echoes in its answer is the frame's own id, so no table of open
 * requests is kept: an answer carries all that its frame needs. Before login only `auth` and `ping`
 * are taken, and any mistake ends the connection; after it a refused request is answered with `err`
 * and the connection goes on. A renewal of the token that fails leaves the old one in force. */
#include "services/connection/ws_private.h"

#include "common/clock.h"
#include "common/contract.h"
#include "services/connection/text_limit.h"

#include <string.h>

#define SUBMIT_RETRY_MS 200 /* routing is away or its batches are full */

/* Refuses the frame; before login that is the end. */
static void refuse(struct ws_session *ws, uint64_t id, enum reason reason, const char *text,
                   uint32_t retry_ms) {
    bool ends = ws->conn.state != CONN_LIVE;
    ws_send_err(ws, id, reason, text, retry_ms);
    if (ends) {
        conn_end(&ws->conn, reason);
    }
}

/* ok {} for frames that need no answer but carried an id. */
static void answer(struct ws_session *ws, uint64_t id, enum err error) {
    if (id == 0) {
        return;
    }
    if (error != ERR_OK) {
        refuse(ws, id, reason_from_err(error), NULL, 0);
    } else {
        ws_send_scratch(ws, frame_encode_ok(ws_scratch(ws), id));
    }
}

/* --- auth */

static void send_ok_auth(struct ws_session *ws, uint64_t id) {
    struct frame_ok_auth ok = {.user = session_user_id(&ws->session),
                               .device = ws->session.token_device,
                               .expires_ms = ws->session.token_expires_ms,
                               .epoch = hub_epoch(ws->conn.table->hub)};
    ws_send_scratch(ws, frame_encode_ok_auth(ws_scratch(ws), id, &ok));
}

static void log_in(struct ws_session *ws, uint64_t id, const struct token_claims *claims) {
    struct session_open open = {.claims = claims, .device = claims->device};
    ws->login_id = id;
    ws->attached = true;
    conn_pause(&ws->conn); /* until on_opened: what follows needs the session */
    enum err error = session_open(ws->conn.table->hub, &ws->session, &ws_session_ops, &open);
    if (error != ERR_OK) {
        ws->attached = false;
        refuse(ws, id, error == ERR_FULL ? REASON_TOO_MANY_SESSIONS : reason_from_err(error), NULL,
               0);
    }
}

static void on_auth(struct ws_session *ws, uint64_t id, const struct frame_auth *auth) {
    struct token_claims claims;
    enum reason reason = hub_check_token(ws->conn.table->hub, (const char *)auth->token.bytes,
                                         auth->token.count, &claims);
    if (reason == REASON_OK && auth->device[0] != '\0' &&
        strcmp(auth->device, claims.device) != 0) {
        reason = REASON_BAD_TOKEN;
    }
    if (reason != REASON_OK) {
        refuse(ws, id, reason, NULL, 0);
    } else if (ws->conn.state == CONN_LOGIN) {
        log_in(ws, id, &claims);
    } else {
        reason = session_renew(&ws->session, &claims);
        if (reason == REASON_OK) {
            send_ok_auth(ws, id);
        } else {
            refuse(ws, id, reason, NULL, 0);
        }
    }
}

static void on_opened(struct session *session, enum reason reason) {
    struct ws_session *ws = ws_of_session(session);
    if (!conn_is_open(&ws->conn)) {
        return;
    }
    if (reason != REASON_OK) {
        ws->attached = false;
        refuse(ws, ws->login_id, reason, NULL, 0);
        return;
    }
    ws->reader.message_bytes_max = (uint32_t)ws->conn.table->settings->frame_bytes_max;
    conn_move(&ws->conn, CONN_LIVE);
    send_ok_auth(ws, ws->login_id);
    conn_resume(&ws->conn);
}

/* --- send, edit, recall, react */

static enum reason check_message(const struct ws_session *ws, const struct client_frame *frame) {
    if (!frame_id_in_window(frame->message.message, clock_wall_ms())) {
        return REASON_ID_OUT_OF_WINDOW;
    }
    if (frame->type != FRAME_SEND && frame->type != FRAME_EDIT) {
        return REASON_OK;
    }
    return text_limit_check(frame->message.body, ws->conn.table->settings->text_bytes_max);
}

static void on_message(struct ws_session *ws, const struct client_frame *frame) {
    static const uint8_t nothing[] = "{}";
    const struct frame_message *message = &frame->message;
    enum reason reason = check_message(ws, frame);
    if (reason != REASON_OK) {
        refuse(ws, frame->id, reason, NULL, 0);
        return;
    }
    struct session_submit submit = {
        .request = frame->id,
        .conversation = message->conversation[0] != '\0' ? message->conversation : NULL,
        .to_user = message->to[0] != '\0' ? message->to : NULL,
        .kind = frame->type == FRAME_SEND     ? FRAME_EVENT_MSG
                : frame->type == FRAME_EDIT   ? FRAME_EVENT_EDIT
                : frame->type == FRAME_RECALL ? FRAME_EVENT_RECALL
                                              : FRAME_EVENT_REACT,
        .id = message->message,
        .target_seq = message->seq,
        .reply_seq = message->reply,
        .body = message->body.bytes,
        .body_bytes = message->body.count};
    if (frame->type == FRAME_RECALL) {
        submit.body = nothing;
        submit.body_bytes = 2;
    } else if (frame->type == FRAME_REACT) {
        struct buf *body = &ws->conn.table->scratch2;
        buf_clear(body);
        enum err error = frame_react_body(body, message->emoji, message->remove);
        if (error != ERR_OK) {
            refuse(ws, frame->id, reason_from_err(error), NULL, 0);
            return;
        }
        submit.body = buf_data(body);
        submit.body_bytes = buf_len(body);
    }
    uint32_t retry_ms = 0;
    enum err error = session_submit(&ws->session, &submit, &retry_ms);
    if (error != ERR_OK) {
        refuse(ws, frame->id, error == ERR_FULL ? REASON_OVERLOAD : reason_from_err(error), NULL,
               retry_ms > 0 || !err_retryable(error) ? retry_ms : SUBMIT_RETRY_MS);
    }
}

static void on_result(struct session *session, uint64_t request,
                      const struct session_result *result) {
    struct ws_session *ws = ws_of_session(session);
    if (result->reason == REASON_OK) {
        ws_send_scratch(ws, frame_encode_ok_stored(ws_scratch(ws), request, result->conversation,
                                                   result->seq, result->ts_ms));
    } else {
        ws_send_err(ws, request, result->reason, NULL, result->retry_ms);
    }
    if (ws->waits_for_answers && !ws->conn.leaving) {
        ws->waits_for_answers = false;
        conn_resume(&ws->conn);
    }
}

/* --- the others */

static void on_mark(struct ws_session *ws, uint64_t id, const struct frame_mark *mark) {
    uint64_t delivered = mark->delivered > mark->read ? mark->delivered : mark->read;
    answer(ws, id, session_mark(&ws->session, mark->conversation, delivered, mark->read));
}

static void on_presence(struct ws_session *ws, uint64_t id, const struct frame_presence *presence) {
    enum err error = ERR_OK;
    if (presence->status[0] != '\0') {
        error = session_presence(&ws->session, presence->status);
    }
    if (presence->conversation[0] == '\0' || error != ERR_OK) {
        answer(ws, id, error);
        return;
    }
    error = session_presence_query(&ws->session, id, presence->conversation);
    if (error != ERR_OK) {
        answer(ws, id, error);
    }
}

static void on_online(struct session *session, uint64_t request, enum reason reason,
                      const char *conversation, const char *const *users, size_t count) {
    struct ws_session *ws = ws_of_session(session);
    if (reason != REASON_OK) {
        ws_send_err(ws, request, reason, NULL, 0);
        return;
    }
    ws_send_scratch(ws,
                    frame_encode_ok_online(ws_scratch(ws), request, conversation, users, count));
}

static void on_frame(struct ws_session *ws, const struct client_frame *frame) {
    uint64_t id = frame->has_id ? frame->id : 0;
    if (ws->conn.state != CONN_LIVE && frame->type != FRAME_AUTH && frame->type != FRAME_PING &&
        frame->type != FRAME_PONG) {
        refuse(ws, id, REASON_NOT_AUTHENTICATED, NULL, 0);
        return;
    }
    switch (frame->type) {
    case FRAME_AUTH:
        on_auth(ws, id, &frame->auth);
        break;
    case FRAME_SEND:
    case FRAME_EDIT:
    case FRAME_RECALL:
    case FRAME_REACT:
        on_message(ws, frame);
        break;
    case FRAME_SYNC:
        ws_sync_begin(ws, id, &frame->sync);
        break;
    case FRAME_MARK:
        on_mark(ws, id, &frame->mark);
        break;
    case FRAME_TYPING:
        answer(ws, id,
               session_typing(&ws->session, frame->typing.conversation, frame->typing.active));
        break;
    case FRAME_PRESENCE:
        on_presence(ws, id, &frame->presence);
        break;
    case FRAME_PING:
        ws_send_scratch(ws, frame_encode_pong(ws_scratch(ws), id));
        break;
    case FRAME_PONG:
        break;
    }
}

void ws_on_text(struct ws_session *ws, const uint8_t *bytes, size_t count) {
    struct client_frame frame;
    struct frame_problem problem;
    enum reason reason = frame_decode(bytes, count, &frame, &problem);
    if (reason == REASON_OK) {
        on_frame(ws, &frame);
        return;
    }
    refuse(ws, problem.id, reason, problem.text, 0);
    if (problem.fatal) {
        conn_end(&ws->conn, reason);
    }
}

/* --- from the hub */

static void on_page(struct session *session, uint64_t request, const struct session_page *page) {
    (void)request; /* one is open at a time */
    ws_sync_page(ws_of_session(session), page);
}

static void on_event(struct session *session, const struct event *event) {
    static const enum conn_priority priorities[] = {[EVENT_MESSAGE] = CONN_MUST,
                                                    [EVENT_CONVERSATION] = CONN_MUST,
                                                    [EVENT_RECEIPT] = CONN_RECEIPT,
                                                    [EVENT_TYPING] = CONN_TYPING,
                                                    [EVENT_PRESENCE] = CONN_PRESENCE};
    (void)ws_send(ws_of_session(session), priorities[event->class], event->frame,
                  event->frame_bytes); /* shed, or the connection is ending */
}

static bool can_take(const struct session *session) {
    struct conn *conn = &CONTAINER_OF(session, struct ws_session, session)->conn;
    return conn->state == CONN_LIVE && conn_may_take(conn);
}

static void on_end(struct session *session, enum reason reason) {
    conn_end(&ws_of_session(session)->conn, reason); /* closes the session */
}

const struct session_ops ws_session_ops = {.protocol = "ws",
                                           .on_opened = on_opened,
                                           .on_result = on_result,
                                           .on_page = on_page,
                                           .on_online = on_online,
                                           .on_event = on_event,
                                           .can_take = can_take,
                                           .on_end = on_end};
