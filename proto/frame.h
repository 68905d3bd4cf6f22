/* frame: the frames of pipit.v1, {"t":type,"id":n,"d":{...}}. Clients' frames are decoded into a
 * tagged union without allocation; the server's frames are appended to a buffer. A stored event is
 * encoded once: WebSocket sends the text as a frame, MQTT publishes the same text to pipit/me/inbox
 * or /events.
 *
 * Reference: docs/reference/asyncapi.yaml. Unknown members are refused by name, so a typing error
 * in a client shows at once; the server's frames may grow members, which clients must ignore. */
#ifndef PIPIT_PROTO_FRAME_H
#define PIPIT_PROTO_FRAME_H

#include "common/buf.h"
#include "common/id.h"
#include "proto/json_reader.h"
#include "proto/limits.h"
#include "proto/reason.h"

#define FRAME_PROTOCOL "pipit.v1" /* WebSocket subprotocol */
#define FRAME_PROTOCOL_VERSION 1  /* hello.proto */

/* --- from clients (frame_decode.c) ---------------------------------------------------------------
 */

enum frame_type {
    FRAME_AUTH,
    FRAME_SEND,
    FRAME_EDIT,
    FRAME_RECALL,
    FRAME_REACT,
    FRAME_SYNC,
    FRAME_MARK,
    FRAME_TYPING,
    FRAME_PRESENCE,
    FRAME_PING,
    FRAME_PONG
};
/* "send"; never NULL. */
const char *frame_type_name(enum frame_type type);

struct frame_auth {
    struct slice token;                     /* 1..TOKEN_BYTES_MAX printable ASCII bytes */
    char device[LIMIT_DEVICE_ID_BYTES + 1]; /* "" = the token's */
    char name[LIMIT_DEVICE_NAME_BYTES + 1]; /* how the device calls itself; "" = none */
};
/* send, edit, recall and react: what becomes a row of the conversation. */
struct frame_message {
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1]; /* "" with `to` */
    char to[LIMIT_USER_ID_BYTES + 1];                   /* send only: direct message to this user */
    uint8_t message[ID_UUID_BYTES];                     /* UUIDv7 made by the client */
    struct slice body;                                  /* send, edit: JSON object, verbatim */
    uint64_t reply;                                     /* send: seq answered to; 0 = none */
    uint64_t seq;                                       /* edit, recall, react: the row meant */
    char emoji[LIMIT_EMOJI_BYTES + 1];                  /* react */
    bool remove;                                        /* react: take it back */
};
struct frame_sync {
    struct json_value d;               /* walk it with frame_sync_next */
    size_t conversation_count;         /* 0..LIMIT_SYNC_CONVERSATIONS */
    char epoch[LIMIT_EPOCH_BYTES + 1]; /* "" = the client has none */
};
struct frame_mark {
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    uint64_t delivered, read; /* 0 = unchanged; at least one is given */
};
struct frame_typing {
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    bool active; /* default true */
};
struct frame_presence {
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1]; /* query: who is online; needs an id */
    char status[8];                                     /* "online", "away"; "" = only a query */
};
struct client_frame {
    enum frame_type type;
    bool has_id;
    uint64_t id;                                   /* 1..2^53 */
    char traceparent[LIMIT_TRACEPARENT_BYTES + 1]; /* d.meta.traceparent; "" = none */
    union {
        struct frame_auth auth;
        struct frame_message message; /* send, edit, recall, react */
        struct frame_sync sync;
        struct frame_mark mark;
        struct frame_typing typing;
        struct frame_presence presence;
    };
};

#define FRAME_PROBLEM_BYTES 128
struct frame_problem {
    char text[FRAME_PROBLEM_BYTES]; /* English, for `msg`; names the member; valid UTF-8 */
    uint64_t id;                    /* the frame's, 0 = none could be read */
    bool fatal; /* not a frame at all (no JSON, no type): close; else answer `err` and go on */
};

/* Decodes bytes[count], one whole text message. REASON_OK; else MALFORMED, TOO_LARGE, INVALID_ID
 * (message is no UUIDv7) or UNSUPPORTED (unknown type), with *problem filled. Slices in *frame
 * borrow the bytes; *frame is undefined on failure. Does not judge the UUID's time:
 * frame_id_in_window does. */
enum reason frame_decode(const uint8_t *bytes, size_t count, struct client_frame *frame,
                         struct frame_problem *problem) MUST_CHECK;

/* Walks the conversations of a sync frame; begin with a zeroed iterator. False at the end. */
struct frame_sync_iter {
    struct json_iter members;
    bool begun;
};
bool frame_sync_next(const struct frame_sync *sync, struct frame_sync_iter *iter,
                     char conversation[LIMIT_CONVERSATION_ID_BYTES + 1], uint64_t *last_seq);

/* True when the UUIDv7's time is at most LIMIT_ID_WINDOW_MS from now, either way. */
bool frame_id_in_window(const uint8_t id[ID_UUID_BYTES], uint64_t now_wall_ms);

/* Checks a message body that was parsed: an object of at most LIMIT_BODY_BYTES whose `text`, if
 * any, is a string of at most LIMIT_TEXT_BYTES. REASON_OK, MALFORMED, TOO_LARGE. Also for MQTT and
 * REST. */
enum reason frame_check_body(const struct json_value *body) MUST_CHECK;

/* --- to clients (frame_encode.c, frame_encode_event.c) -------------------------------------------
 */
/* Every function appends one whole frame or nothing. ERR_NO_MEMORY, ERR_TOO_LARGE (the buffer's
 * cap). Strings are valid UTF-8. id 0 = no id. */

/* Numbers as enum MessageKind in message.proto. */
enum frame_event_kind { FRAME_EVENT_MSG, FRAME_EVENT_EDIT, FRAME_EVENT_RECALL, FRAME_EVENT_REACT };
/* "msg", "edit", "recall", "react" */
const char *frame_event_kind_name(enum frame_event_kind kind);

/* A stored row of a conversation, neutral between the bus and the client protocols. Everything is
 * borrowed. */
struct frame_event {
    enum frame_event_kind kind;
    const char *conversation;
    uint64_t seq;
    const uint8_t *id;  /* ID_UUID_BYTES */
    const char *sender; /* user id */
    const char *device; /* NULL or "" = left out */
    uint64_t ts_ms;
    uint64_t target_seq; /* edit, recall, react */
    uint64_t reply_seq;  /* msg; 0 = none */
    struct slice body;   /* JSON object; react: as frame_react_body made it */
};
/* {"t":"msg","d":{"conversation","seq","message","from","device"?,"ts","body","reply"?}}
 * edit: "target" and "body"; recall: "target"; react: "target", "emoji", "removed".
 * ERR_CORRUPT: a react's stored body is not what frame_react_body makes. */
enum err frame_encode_event(struct buf *out, const struct frame_event *event) MUST_CHECK;
/* The body stored for a reaction: {"emoji":"..","removed":false}. */
enum err frame_react_body(struct buf *out, const char *emoji, bool removed) MUST_CHECK;

/* One page of history:
 * {"t":"sync","id":n,"d":{"conversation","items":[{"t":"msg",...}],"head","more"}}. Takes as many
 * events from the front as keep the frame within frame_bytes_max (at least one) and tells how many;
 * `more` is true when some are left or has_more. */
struct frame_page {
    const char *conversation;
    const struct frame_event *events; /* ascending seq */
    size_t event_count;
    uint64_t head;
    bool has_more;
};
enum err frame_encode_page(struct buf *out, uint64_t id, const struct frame_page *page,
                           size_t frame_bytes_max, size_t *encoded_count) MUST_CHECK;

struct frame_hello {
    const char *server; /* "pipit/0.1.0" */
    uint32_t heartbeat_s;
    uint64_t frame_bytes_max, text_bytes_max;
    const char *rate; /* "30/10s" */
    uint64_t now_ms;
    const char *epoch; /* NULL or "" = not known yet */
};
enum err frame_encode_hello(struct buf *out, const struct frame_hello *hello) MUST_CHECK;

struct frame_ok_auth {
    const char *user, *device;
    uint64_t expires_ms; /* of the token; sent as milliseconds, "expires_at" */
    const char *epoch;   /* NULL or "" = not known yet */
};
enum err frame_encode_ok_auth(struct buf *out, uint64_t id,
                              const struct frame_ok_auth *auth) MUST_CHECK;
/* send, edit, recall, react: on disk as this seq. */
enum err frame_encode_ok_stored(struct buf *out, uint64_t id, const char *conversation,
                                uint64_t seq, uint64_t ts_ms) MUST_CHECK;
/* All pages of a sync were sent before this. */
enum err frame_encode_ok_sync(struct buf *out, uint64_t id, const char *epoch) MUST_CHECK;
/* presence query: {"conversation","online":["u_ann"]}. */
enum err frame_encode_ok_online(struct buf *out, uint64_t id, const char *conversation,
                                const char *const *users, size_t count) MUST_CHECK;
/* d is {}: mark, typing, presence, ping that carried an id. */
enum err frame_encode_ok(struct buf *out, uint64_t id) MUST_CHECK;

/* {"code","retryable","msg","retry_ms"?}; text NULL = the reason's own; retry_ms 0 = left out. */
enum err frame_encode_err(struct buf *out, uint64_t id, enum reason reason, const char *text,
                          uint32_t retry_ms) MUST_CHECK;
/* {"code","retry_ms"?:[min,max]}; retry_max_ms 0 = left out. */
enum err frame_encode_bye(struct buf *out, enum reason reason, uint32_t retry_min_ms,
                          uint32_t retry_max_ms) MUST_CHECK;

/* {"conversation","user","delivered"?,"read"?}; 0 = left out. */
enum err frame_encode_mark(struct buf *out, const char *conversation, const char *user,
                           uint64_t delivered_seq, uint64_t read_seq) MUST_CHECK;
enum err frame_encode_typing(struct buf *out, const char *conversation, const char *user,
                             bool active) MUST_CHECK;
/* {"user","status"}; status "online", "away", "offline". */
enum err frame_encode_presence(struct buf *out, const char *user, const char *status) MUST_CHECK;

/* The user was added, or title or head changed otherwise than by a message. */
struct frame_conversation {
    const char *conversation;
    bool direct;
    const char *title;
    uint64_t members_version, head;
};
enum err frame_encode_conv(struct buf *out, const struct frame_conversation *conv) MUST_CHECK;
/* Members who came, went or changed their role. */
struct frame_member {
    const char *user;
    const char *role;  /* "member", "admin", "owner" */
    const char *state; /* "active", "left", "blocked" */
};
/* actor: user id or "" / NULL. */
enum err frame_encode_member(struct buf *out, const char *conversation, uint64_t members_version,
                             const char *actor, const struct frame_member *members,
                             size_t count) MUST_CHECK;
enum err frame_encode_ping(struct buf *out) MUST_CHECK;
/* Answer to a client's ping; id 0 = it had none. */
enum err frame_encode_pong(struct buf *out, uint64_t id) MUST_CHECK;

#endif
