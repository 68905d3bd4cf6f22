/* presence: told when it changes, never repeated, first to go under load (ingress.c sheds it).
 *
 * A client that needs to be sure asks who is online; routing's directory knows from all endpoints.
 * So a lost signal is a wrong dot in a list until the next change, and nothing else. A user online
 * through two hubs is told offline by the first one they leave; routing, which sees both, decides
 * whether that is true. */
#include "services/connection/presence.h"

#include "services/connection/conversations.h"
#include "services/connection/ingress.h"
#include "services/connection/queries.h"
#include <string.h>

static const char *status_text(enum user_presence presence) {
    switch (presence) {
    case USER_ONLINE:
        return "online";
    case USER_AWAY:
        return "away";
    default:
        return "offline";
    }
}

/* The most recently active first; returns how many. */
static size_t choose(const struct hub_user *user, struct hub_conversation **chosen) {
    size_t count = 0;
    for (struct list_node *node = list_first(&user->memberships); node != NULL;
         node = list_next(&user->memberships, node)) {
        struct hub_conversation *conversation =
            CONTAINER_OF(node, struct hub_membership, user_node)->conversation;
        size_t place = count;
        while (place > 0 && chosen[place - 1]->active_us < conversation->active_us) {
            place--;
        }
        if (place == HUB_PRESENCE_CONVERSATIONS_MAX) {
            continue;
        }
        size_t kept = count < HUB_PRESENCE_CONVERSATIONS_MAX ? count : count - 1;
        memmove(&chosen[place + 1], &chosen[place],
                (kept - place) * sizeof(struct hub_conversation *));
        chosen[place] = conversation;
        count = kept + 1;
    }
    return count;
}

static void tell(struct hub *hub, struct hub_user *user, enum user_presence presence,
                 uint64_t session) {
    user->presence = (uint8_t)presence;
    struct hub_conversation *chosen[HUB_PRESENCE_CONVERSATIONS_MAX];
    size_t count = choose(user, chosen);
    Pipit__Signal signal = PIPIT__SIGNAL__INIT;
    signal.user = user->id;
    signal.kind = PIPIT__SIGNAL_KIND__SIGNAL_PRESENCE;
    signal.active = presence != USER_OFFLINE; /* away is there, too */
    signal.status = (char *)status_text(presence);
    signal.session = session;
    for (size_t i = 0; i < count; i++) {
        signal.conversation = chosen[i]->id;
        if (!hub_ingress_signal(hub, &signal)) {
            return; /* shed: the others would be, too */
        }
    }
}

void hub_presence_online(struct hub *hub, struct hub_user *user) {
    if (user->presence != USER_ONLINE) {
        tell(hub, user, USER_ONLINE, 0);
    }
}

void hub_presence_offline(struct hub *hub, struct hub_user *user) {
    if (user->presence != USER_OFFLINE && !hub->closing && !hub->leaving) {
        tell(hub, user, USER_OFFLINE, 0);
    }
}

enum err hub_presence_set(struct hub *hub, struct session *session, const char *status) {
    bool online = strcmp(status, "online") == 0;
    if (!online && strcmp(status, "away") != 0) {
        return ERR_INVALID;
    }
    enum user_presence presence = online ? USER_ONLINE : USER_AWAY;
    if (session->user->presence != presence) {
        tell(hub, session->user, presence, session->id);
    }
    return ERR_OK;
}

enum err hub_presence_typing(struct hub *hub, struct session *session, const char *conversation,
                             bool active) {
    struct hub_user *user = session->user;
    struct hub_conversation *known = hub_conversation_find(hub, conversation);
    if (known == NULL || hub_membership_find(user, known) == NULL) {
        return ERR_NOT_MEMBER;
    }
    if (rate_take(&user->typing_rate, HUB_TYPING_PER_SECOND, HUB_TYPING_BURST, hub_now_us(hub)) >
        0) {
        metric_add(&hub_metrics.shed[HUB_SHED_TYPING], 1);
        return ERR_OK; /* best effort */
    }
    Pipit__Signal signal = PIPIT__SIGNAL__INIT;
    signal.user = user->id;
    signal.conversation = known->id;
    signal.kind = PIPIT__SIGNAL_KIND__SIGNAL_TYPING;
    signal.active = active;
    signal.session = session->id;
    (void)hub_ingress_signal(hub, &signal); /* best effort; counted when shed */
    return ERR_OK;
}

static void on_answer(struct hub *hub, const struct hub_query *query, enum err status,
                      const Pipit__PresenceReply *reply) {
    struct session *session = session_find(hub, query->session);
    if (session == NULL || session->state != SESSION_LIVE) {
        return;
    }
    enum reason reason = status == ERR_CLOSED ? REASON_UNAVAILABLE : reason_from_err(status);
    bool ok = status == ERR_OK;
    session->ops->on_online(session, query->request, reason, query->conversation,
                            ok ? (const char *const *)reply->online : NULL,
                            ok ? reply->n_online : 0);
}

enum err hub_presence_query(struct hub *hub, struct session *session, uint64_t request,
                            const char *conversation) {
    if (strlen(conversation) > LIMIT_CONVERSATION_ID_BYTES) {
        return ERR_INVALID;
    }
    struct hub_query query = {
        .session = session->id, .request = request, .answer.presence = on_answer};
    memcpy(query.conversation, conversation, strlen(conversation) + 1);
    return hub_query_presence(hub, session->user->id, &query);
}
