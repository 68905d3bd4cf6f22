/* session: the border between protocols (WebSocket, MQTT) and the hub. A protocol embeds struct
 * session in its own connection object, fills `ops`, and calls session_*; the hub calls back
 * through ops. All on the hub's thread. Callbacks may close the session, but the memory must stay
 * valid until the end of the loop's turn (conn.c reclaims there).
 *
 * What the hub promises to a live session: messages of a conversation arrive dense and in seq order
 * from the moment of on_opened (a hole in the stream is fetched from history before later messages
 * are handed out); nothing of a conversation after the user left it; its own sends do not come
 * back. */
#ifndef PIPIT_CONNECTION_SESSION_H
#define PIPIT_CONNECTION_SESSION_H

#include "common/list.h"
#include "common/map.h"
#include "common/token.h"
#include "proto/frame.h"
#include "proto/reason.h"
#include "services/connection/hub.h"

struct session;
struct hub_user;

/* What is handed to a session. In shedding order: the first classes go last. */
enum event_class {
    EVENT_MESSAGE,      /* stored message; has a seq; never shed: the session is closed instead */
    EVENT_CONVERSATION, /* conv, member; never shed */
    EVENT_RECEIPT,      /* mark of somebody */
    EVENT_TYPING,
    EVENT_PRESENCE
};
struct event {
    enum event_class class;
    enum frame_event_kind kind; /* for EVENT_MESSAGE: msg, edit, recall, react */
    const char *conversation;
    uint64_t seq;      /* EVENT_MESSAGE, else 0 */
    const uint8_t *id; /* EVENT_MESSAGE: 16 bytes, else NULL */
    /* The whole frame {"t":...,"d":{...}}, encoded once for all sessions of the hub; borrowed for
     * the call. WebSocket sends it as a text frame, MQTT as the payload. */
    const uint8_t *frame;
    size_t frame_bytes;
};

struct session_result {
    enum reason reason; /* REASON_OK: on disk */
    uint64_t seq, ts_ms;
    const char *conversation; /* borrowed */
    uint32_t retry_ms;
    bool replay;
};
/* One page of history for session_history. */
struct session_page {
    enum reason reason;
    const char *conversation;
    const struct frame_event *events; /* ascending seq, only what the user may see */
    size_t event_count;
    uint64_t head;
    bool has_more;
};

struct session_ops {
    const char *protocol; /* "ws" or "mqtt": metrics and logs */
    /* End of session_open. REASON_OK: live from now on. Otherwise not attached; may be freed. */
    void (*on_opened)(struct session *session, enum reason reason);
    /* Answer to session_submit with this request number; exactly one each, unless closed before. */
    void (*on_result)(struct session *session, uint64_t request,
                      const struct session_result *result);
    void (*on_page)(struct session *session, uint64_t request, const struct session_page *page);
    /* request_presence: who is online. */
    void (*on_online)(struct session *session, uint64_t request, enum reason reason,
                      const char *conversation, const char *const *users, size_t count);
    void (*on_event)(struct session *session, const struct event *event);
    /* Backlog flow control: may another EVENT_MESSAGE be handed over now? NULL = always. The
     * protocol calls session_writable when that turns true again. */
    bool (*can_take)(const struct session *session);
    /* The hub ends the session (taken over, token expired, revoked, disabled): tell the client,
     * then session_close. */
    void (*on_end)(struct session *session, enum reason reason);
};

struct session {
    const struct session_ops *ops;
    struct hub *hub;
    uint64_t id;           /* random, never 0 */
    struct hub_user *user; /* NULL until opened */
    struct list_node user_node, expiry_node, all_node;
    struct map_node id_node;
    struct list_node wait_node; /* opening.c: waits for routing's acknowledgement */
    uint64_t wait_version, wait_since_us, begun_us;
    struct list backlogs;                  /* conversations still being caught up (MQTT) */
    char device[TOKEN_DEVICE_BYTES + 32];  /* session key: token's device, or "m:" + client id */
    char token_device[TOKEN_DEVICE_BYTES]; /* did, for revocation */
    uint64_t token_issued_ms, token_expires_ms, opened_ms;
    uint64_t expiry_second; /* private to expiry.c */
    uint32_t unanswered;    /* submits in flight */
    uint8_t state, step;    /* private to session.c, opening.c */
    bool exclusive, wants_backlog, new_backlog;
    bool resumed; /* known in on_opened: storage knows the device, so it was here before */
};

struct session_open {
    const struct token_claims *claims;
    const char *device; /* session key, see above */
    bool exclusive;     /* a later session of the same (user, device) takes over */
    bool wants_backlog; /* hand over what the device missed (its delivered cursor), before live */
    bool new_backlog;   /* MQTT clean start: forget the device's cursor, begin at the heads */
};
/* Loads the user's conversations, registers interest, attaches. ERR_FULL: sessions_per_user_max. */
enum err session_open(struct hub *hub, struct session *session, const struct session_ops *ops,
                      const struct session_open *open) MUST_CHECK;
/* A fresh token on an open session. REASON_OK, or REASON_BAD_TOKEN when it is another user's or
 * device's (the old one stays in force). */
enum reason session_renew(struct session *session, const struct token_claims *claims);
/* Detaches at once: no callback afterwards. Idempotent; safe in any state. */
void session_close(struct session *session);

struct session_submit {
    uint64_t request;         /* chosen by the protocol, echoed in on_result */
    const char *conversation; /* or NULL with to_user */
    const char *to_user;
    enum frame_event_kind kind;
    const uint8_t *id; /* 16 bytes */
    uint64_t target_seq, reply_seq;
    const uint8_t *body; /* JSON object */
    size_t body_bytes;
    bool from_mqtt; /* origin below is set */
    uint16_t packet_id;
    uint8_t origin_hash[16];
    bool maybe_copy; /* DUP=1 */
    /* proto/submit.proto; 0 = refusals are told to the client */
    uint64_t turn, oldest_turn;
};
/* Copies into the batch of the owner's routing instance. ERR_FULL: inflight_per_session_max
 * reached: stop reading this socket until on_result. ERR_UNAVAILABLE: no routing instance.
 * ERR_RATE_LIMITED: *retry_ms says when. */
enum err session_submit(struct session *session, const struct session_submit *submit,
                        uint32_t *retry_ms) MUST_CHECK;
/* Cursor of this user and device; coalesced, monotonic; 0 = unchanged. Unknown conversations are
 * ignored (ERR_NOT_MEMBER). */
enum err session_mark(struct session *session, const char *conversation, uint64_t delivered_seq,
                      uint64_t read_seq) MUST_CHECK;
enum err session_typing(struct session *session, const char *conversation, bool active) MUST_CHECK;
enum err session_presence(struct session *session,
                          const char *status) MUST_CHECK; /* online, away */
enum err session_presence_query(struct session *session, uint64_t request,
                                const char *conversation) MUST_CHECK;
/* History after after_seq, ascending; on_page once. */
enum err session_history(struct session *session, uint64_t request, const char *conversation,
                         uint64_t after_seq, uint32_t limit) MUST_CHECK;
void session_writable(struct session *session); /* see can_take */
const char *session_user_id(const struct session *session);

#endif
