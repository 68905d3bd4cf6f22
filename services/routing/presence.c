/* presence: online means: has a session at some endpoint, as told by interest updates; nothing is
 * polled and nothing stored. The asker must be an active member, and only members are named, so a
 * query tells nothing about people outside one's own conversations, nor whether a conversation
 * exists that one is not in. The members may have to be loaded first; the query waits in the
 * conversation for that. */
#include "services/routing/presence.h"

#include "common/contract.h"
#include "common/mem.h"
#include "proto/directory.pb-c.h"
#include "proto/names.h"
#include "services/routing/conversation.h"
#include "services/routing/directory.h"
#include "services/routing/fanout.h"
#include <string.h>

#define QUERIES_MAX 64u

struct query {
    struct list_node pool_node;
    struct conversation_waiter waiter;
    struct routing *routing;
    struct bus_request *request;
    struct conversation *conversation; /* while it waits there */
    char user[LIMIT_USER_ID_BYTES + 1];
};
struct presence {
    struct list pool;
    struct query queries[QUERIES_MAX];
};

static void on_members(struct conversation_waiter *waiter, struct conversation *conversation);

enum err presence_create(struct routing *routing, struct presence **out) {
    struct presence *presence = mem_zalloc(1, sizeof *presence);
    if (presence == NULL) {
        return ERR_NO_MEMORY;
    }
    list_init(&presence->pool);
    for (size_t i = 0; i < QUERIES_MAX; i++) {
        presence->queries[i].routing = routing;
        presence->queries[i].waiter.fn = on_members;
        list_push_back(&presence->pool, &presence->queries[i].pool_node);
    }
    *out = presence;
    return ERR_OK;
}

void presence_destroy(struct presence **presence) {
    if (*presence != NULL) {
        CONTRACT((*presence)->pool.count == QUERIES_MAX);
        mem_free(*presence);
        *presence = NULL;
    }
}

static void refuse(struct routing *routing, struct bus_request *request, enum err error) {
    Pipit__PresenceReply reply = PIPIT__PRESENCE_REPLY__INIT;
    reply.error = (uint32_t)error;
    fanout_answer(routing, request, MESSAGE_PRESENCE_REPLY, &reply.base);
}

static void answer(struct query *query, const struct member_set *members) {
    struct routing *routing = query->routing;
    struct sessions *sessions = directory_sessions(routing->directory);
    Pipit__PresenceReply reply = PIPIT__PRESENCE_REPLY__INIT;
    reply.online = arena_alloc(&routing->turn, (members->count + 1) * sizeof *reply.online);
    if (reply.online == NULL) {
        refuse(routing, query->request, ERR_NO_MEMORY);
        return;
    }
    for (size_t i = 0; i < members->count; i++) {
        const struct member_entry *member = &members->entries[i];
        if (member->state == PIPIT__MEMBER_STATE__MEMBER_ACTIVE &&
            sessions_online(sessions, member->user)) {
            reply.online[reply.n_online++] = (char *)member->user;
        }
    }
    fanout_answer(routing, query->request, MESSAGE_PRESENCE_REPLY, &reply.base);
}

static void on_members(struct conversation_waiter *waiter, struct conversation *conversation) {
    struct query *query = CONTAINER_OF(waiter, struct query, waiter);
    const struct member_entry *member =
        conversation != NULL ? member_set_find(conversation->members, query->user) : NULL;
    if (conversation == NULL && query->conversation->state != CONVERSATION_ABSENT) {
        refuse(query->routing, query->request, ERR_UNAVAILABLE); /* not loaded */
    } else if (member == NULL || member->state != PIPIT__MEMBER_STATE__MEMBER_ACTIVE) {
        refuse(query->routing, query->request, ERR_NOT_MEMBER);
    } else {
        answer(query, conversation->members);
    }
    query->request = NULL;
    query->conversation = NULL;
    list_push_front(&query->routing->presence->pool, &query->pool_node);
}

void presence_receive(struct routing *routing, struct bus_request *request, const uint8_t *body,
                      size_t body_bytes) {
    Pipit__PresenceQuery *asked = NULL;
    enum err error = ENVELOPE_UNPACK(PRESENCE_QUERY, body, body_bytes, &routing->turn, &asked);
    if (error == ERR_OK &&
        (!names_user_id_valid(asked->user, strlen(asked->user)) ||
         !names_conversation_id_valid(asked->conversation, strlen(asked->conversation)))) {
        error = ERR_INVALID;
    }
    struct conversation *conversation =
        error == ERR_OK ? conversation_get(routing, asked->conversation) : NULL;
    struct list_node *node = conversation != NULL ? list_pop_front(&routing->presence->pool) : NULL;
    if (node == NULL) {
        refuse(routing, request, error == ERR_OK ? ERR_FULL : error);
        return;
    }
    struct query *query = CONTAINER_OF(node, struct query, pool_node);
    query->request = request;
    query->conversation = conversation;
    memcpy(query->user, asked->user, strlen(asked->user) + 1);
    conversation_wait(conversation, &query->waiter);
}
