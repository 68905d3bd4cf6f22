/* session: the side of the hub that protocols see.
 *
 * States: CLOSED -> OPENING -> LIVE -> ENDED -> CLOSED, or back to CLOSED from any of them. OPENING
 * and LIVE sessions are attached: found by id, counted at their user, known to routing. detach is
 * the one way out; after it no callback comes, because everything that could call back looks the
 * session up by id first or was told to forget it.
 *
 * Callbacks may close any session. Lists of sessions are therefore walked with a session_walk: the
 * walks in progress hang on the hub, and detaching moves those that stood on the session onward.
 *
 * Take-over within a hub happens here, at once; between hubs routing compares opening times and
 * kicks. Both may name the same session; the second finds it gone. */
#include "services/connection/hub_private.h"

#include "common/clock.h"
#include "services/connection/backlog.h"
#include "services/connection/expiry.h"
#include "services/connection/ingress.h"
#include "services/connection/interest.h"
#include "services/connection/marks.h"
#include "services/connection/opening.h"
#include "services/connection/presence.h"
#include "services/connection/sync.h"
#include "services/connection/users.h"
#include <string.h>

bool session_map_match(const struct map_node *node, const void *key, size_t key_bytes) {
    (void)key_bytes; /* always an id */
    return memcmp(&CONTAINER_OF(node, struct session, id_node)->id, key, sizeof(uint64_t)) == 0;
}

struct session *session_find(struct hub *hub, uint64_t id) {
    struct map_node *node = map_find(&hub->sessions_by_id, &id, sizeof id);
    return node != NULL ? CONTAINER_OF(node, struct session, id_node) : NULL;
}

const char *session_user_id(const struct session *session) {
    return session->user != NULL ? session->user->id : "";
}

static struct metric_gauge *gauge_of(const struct session *session) {
    bool mqtt = strcmp(session->ops->protocol, "mqtt") == 0;
    return &hub_metrics.sessions[mqtt ? HUB_PROTOCOL_MQTT : HUB_PROTOCOL_WS];
}

/* --- walks */

struct session *session_walk_first(struct hub *hub, const struct list *sessions,
                                   struct session_walk *walk) {
    *walk = (struct session_walk){
        .outer = hub->walks, .hub = hub, .next = list_first(sessions), .sessions = sessions};
    hub->walks = walk;
    return session_walk_next(walk);
}

struct session *session_walk_next(struct session_walk *walk) {
    struct list_node *node = walk->next;
    if (node == NULL) {
        session_walk_end(walk);
        return NULL;
    }
    walk->next = list_next(walk->sessions, node);
    return CONTAINER_OF(node, struct session, user_node);
}

void session_walk_end(struct session_walk *walk) {
    CONTRACT(walk->hub->walks == walk);
    walk->hub->walks = walk->outer;
}

/* --- attaching and detaching */

static void attach(struct hub *hub, struct session *session, struct hub_user *user) {
    session->state = SESSION_OPENING;
    map_insert(&hub->sessions_by_id, &session->id_node, &session->id, sizeof session->id);
    list_push_back(&hub->sessions, &session->all_node);
    hub_user_attach(hub, user, session);
    hub_interest_session(hub, session->id);
    hub_expiry_add(hub, session);
    metric_shift(gauge_of(session), 1);
}

static void detach(struct session *session, enum session_state state) {
    struct hub *hub = session->hub;
    hub_opening_forget(hub, session);
    hub_backlog_close(hub, session);
    hub_expiry_remove(hub, session);
    map_remove(&hub->sessions_by_id, &session->id_node);
    hub_interest_forget_session(hub, session);
    list_remove(&hub->sessions, &session->all_node);
    hub_user_detach(hub, session->user, session);
    session->user = NULL;
    session->state = (uint8_t)state;
    session->unanswered = 0;
    hub_marks_flush(hub);
    metric_shift(gauge_of(session), -1);
}

void session_end(struct session *session, enum reason reason) {
    if (session->state == SESSION_OPENING) {
        session_opened(session, reason);
        return;
    }
    CONTRACT(session->state == SESSION_LIVE);
    metric_add(&hub_metrics.ended, 1);
    detach(session, SESSION_ENDED);
    session->ops->on_end(session, reason);
}

void session_opened(struct session *session, enum reason reason) {
    struct hub *hub = session->hub;
    CONTRACT(session->state == SESSION_OPENING);
    if (reason != REASON_OK) {
        detach(session, SESSION_CLOSED);
    } else {
        session->state = SESSION_LIVE;
        metric_observe(&hub_metrics.open_us, hub_now_us(hub) - session->begun_us);
        hub_presence_online(hub, session->user);
        hub_backlog_begin(hub, session);
    }
    session->ops->on_opened(session, reason);
}

static void take_over(struct hub *hub, struct hub_user *user, const char *device) {
    struct session_walk walk;
    struct session *session = session_walk_first(hub, &user->sessions, &walk);
    for (; session != NULL; session = session_walk_next(&walk)) {
        if (strcmp(session->device, device) == 0) {
            session_end(session, REASON_SESSION_TAKEN_OVER);
        }
    }
}

enum err session_open(struct hub *hub, struct session *session, const struct session_ops *ops,
                      const struct session_open *open) {
    CONTRACT(session->state == SESSION_CLOSED);
    size_t device_bytes = strlen(open->device);
    if (hub->leaving) {
        return ERR_UNAVAILABLE;
    }
    if (device_bytes >= sizeof session->device || open->claims->user[0] == '\0' ||
        strlen(open->claims->user) > LIMIT_USER_ID_BYTES) {
        return ERR_INVALID;
    }
    struct hub_user *user = hub_user_get(hub, open->claims->user);
    if (user == NULL) {
        return ERR_FULL;
    }
    if (open->exclusive) {
        take_over(hub, user, open->device);
    }
    if (user->sessions.count >= hub->settings->sessions_per_user_max) {
        hub_metrics_limit(HUB_LIMIT_SESSIONS_PER_USER);
        return ERR_FULL;
    }
    *session = (struct session){
        .ops = ops,
        .hub = hub,
        .token_issued_ms = open->claims->issued_ms,
        .token_expires_ms = open->claims->expires_ms,
        .opened_ms = clock_wall_ms(),
        .exclusive = open->exclusive,
        .wants_backlog = open->wants_backlog || open->new_backlog,
        .new_backlog = open->new_backlog,
    };
    do {
        session->id = id_random_u64();
    } while (session->id == 0 || session_find(hub, session->id) != NULL);
    memcpy(session->device, open->device, device_bytes + 1);
    memcpy(session->token_device, open->claims->device, sizeof session->token_device);
    list_init(&session->backlogs);
    attach(hub, session, user);
    hub_opening_start(hub, session);
    return ERR_OK;
}

void session_close(struct session *session) {
    if (session->state == SESSION_OPENING || session->state == SESSION_LIVE) {
        detach(session, SESSION_CLOSED);
    }
    session->state = SESSION_CLOSED;
}

enum reason session_renew(struct session *session, const struct token_claims *claims) {
    if (session->state != SESSION_LIVE) {
        return REASON_NOT_AUTHENTICATED;
    }
    if (strcmp(claims->user, session->user->id) != 0 ||
        strcmp(claims->device, session->token_device) != 0) {
        return REASON_BAD_TOKEN;
    }
    session->token_issued_ms = claims->issued_ms;
    session->token_expires_ms = claims->expires_ms;
    hub_expiry_add(session->hub, session);
    return REASON_OK;
}

/* --- requests of a live session */

enum err session_submit(struct session *session, const struct session_submit *submit,
                        uint32_t *retry_ms) {
    struct hub *hub = session->hub;
    if (session->state != SESSION_LIVE) {
        return ERR_CLOSED;
    }
    if (session->unanswered >= hub->settings->inflight_per_session_max) {
        hub_metrics_limit(HUB_LIMIT_INFLIGHT);
        return ERR_FULL;
    }
    uint64_t wait_us =
        rate_take(&session->user->submit_rate, (uint32_t)hub->settings->messages_per_second,
                  (uint32_t)hub->settings->messages_burst, hub_now_us(hub));
    if (wait_us > 0) {
        hub_metrics_limit(HUB_LIMIT_RATE);
        *retry_ms = (uint32_t)((wait_us + 999u) / 1000u);
        return ERR_RATE_LIMITED;
    }
    enum err error = hub_ingress_submit(hub, session, submit);
    if (error == ERR_OK) {
        session->unanswered++;
    }
    return error;
}

enum err session_mark(struct session *session, const char *conversation, uint64_t delivered_seq,
                      uint64_t read_seq) {
    if (session->state != SESSION_LIVE) {
        return ERR_CLOSED;
    }
    struct hub_conversation *known = hub_conversation_find(session->hub, conversation);
    if (known == NULL || hub_membership_find(session->user, known) == NULL) {
        return ERR_NOT_MEMBER;
    }
    return hub_marks_add(session->hub, session, known, delivered_seq, read_seq);
}

enum err session_typing(struct session *session, const char *conversation, bool active) {
    return session->state == SESSION_LIVE
               ? hub_presence_typing(session->hub, session, conversation, active)
               : ERR_CLOSED;
}

enum err session_presence(struct session *session, const char *status) {
    return session->state == SESSION_LIVE ? hub_presence_set(session->hub, session, status)
                                          : ERR_CLOSED;
}

enum err session_presence_query(struct session *session, uint64_t request,
                                const char *conversation) {
    return session->state == SESSION_LIVE
               ? hub_presence_query(session->hub, session, request, conversation)
               : ERR_CLOSED;
}

enum err session_history(struct session *session, uint64_t request, const char *conversation,
                         uint64_t after_seq, uint32_t limit) {
    return session->state == SESSION_LIVE
               ? hub_sync_page(session->hub, session, request, conversation, after_seq, limit)
               : ERR_CLOSED;
}

void session_writable(struct session *session) {
    if (session->state == SESSION_LIVE) {
        hub_backlog_writable(session->hub, session);
    }
}
