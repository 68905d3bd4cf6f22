/* members: who may get what, kept true.
 *
 * An event carries the version of the conversation's members after it. The next version is applied
 * as it is; a jump means that an event was lost, so it is applied and the whole list asked for; an
 * old one was applied already and only told to the clients if that has not been done. Sessions of a
 * user who left are detached in the same call that tells them: nothing later can reach them.
 *
 * The list is asked for on behalf of one of our members, because storage answers members alone. If
 * that one is none any more we have learnt something, and ask for the next. The answer names all
 * active members, so whoever is missing in it has left, and users of ours who are in it without a
 * membership here were added. */
#include "services/connection/members.h"

#include "services/connection/egress.h"
#include "services/connection/loads.h"
#include "services/connection/queries.h"
#include "services/connection/repair.h"
#include <string.h>

#define MEMBERS_TOLD_MAX 256 /* in one frame; a change names a handful */

/* --- frames */

static bool conv_event(struct hub *hub, const struct frame_conversation *conv,
                       struct event *event) {
    buf_clear(&hub->frame);
    if (frame_encode_conv(&hub->frame, conv) != ERR_OK) {
        return false;
    }
    *event = (struct event){.class = EVENT_CONVERSATION,
                            .conversation = conv->conversation,
                            .frame = buf_data(&hub->frame),
                            .frame_bytes = buf_len(&hub->frame)};
    return true;
}

static bool member_event(struct hub *hub, const char *conversation, uint64_t version,
                         const char *actor, const struct frame_member *members, size_t count,
                         struct event *event) {
    buf_clear(&hub->frame);
    if (frame_encode_member(&hub->frame, conversation, version, actor, members, count) != ERR_OK) {
        return false;
    }
    *event = (struct event){.class = EVENT_CONVERSATION,
                            .conversation = conversation,
                            .frame = buf_data(&hub->frame),
                            .frame_bytes = buf_len(&hub->frame)};
    return true;
}

void hub_members_tell_added(struct hub *hub, struct hub_user *user,
                            const Pipit__Conversation *conversation) {
    struct frame_conversation conv = {
        .conversation = conversation->id,
        .direct = conversation->kind == PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT,
        .title = conversation->title,
        .members_version = conversation->members_version,
        .head = conversation->head,
    };
    struct event event;
    if (conv_event(hub, &conv, &event)) {
        hub_egress_to_user(hub, user, &event, 0);
    }
}

void hub_members_tell_left(struct hub *hub, struct hub_user *user,
                           const struct hub_conversation *conversation) {
    struct frame_member member = {.user = user->id, .role = "member", .state = "left"};
    struct event event;
    if (member_event(hub, conversation->id, conversation->members_version, NULL, &member, 1,
                     &event)) {
        hub_egress_to_user(hub, user, &event, 0);
    }
}

static const char *role_text(Pipit__MemberRole role) {
    switch (role) {
    case PIPIT__MEMBER_ROLE__ROLE_OWNER:
        return "owner";
    case PIPIT__MEMBER_ROLE__ROLE_ADMIN:
        return "admin";
    default:
        return "member";
    }
}

static const char *state_text(Pipit__MemberState state) {
    switch (state) {
    case PIPIT__MEMBER_STATE__MEMBER_ACTIVE:
        return "active";
    case PIPIT__MEMBER_STATE__MEMBER_BLOCKED:
        return "blocked";
    default:
        return "left";
    }
}

/* --- events */

/* To everybody who was a member before the change, whoever it concerns. */
static void tell_change(struct hub *hub, struct hub_conversation *conversation,
                        const Pipit__MembersChanged *change) {
    struct frame_member members[MEMBERS_TOLD_MAX];
    for (size_t at = 0; at < change->n_changed;) {
        size_t count = 0;
        for (; at < change->n_changed && count < MEMBERS_TOLD_MAX; at++) {
            const Pipit__Member *member = change->changed[at];
            members[count++] = (struct frame_member){.user = member->user,
                                                     .role = role_text(member->role),
                                                     .state = state_text(member->state)};
        }
        struct event event;
        if (member_event(hub, conversation->id, change->members_version, change->actor, members,
                         count, &event)) {
            hub_egress_to_members(hub, conversation, &event, 0, NULL);
        }
    }
}

static void drop_former(struct hub *hub, const Pipit__MembersChanged *change) {
    for (size_t i = 0; i < change->n_changed; i++) {
        const Pipit__Member *member = change->changed[i];
        struct hub_conversation *conversation = hub_conversation_find(hub, change->conversation);
        struct hub_user *user = hub_user_find(hub, member->user);
        if (conversation == NULL || user == NULL ||
            member->state == PIPIT__MEMBER_STATE__MEMBER_ACTIVE) {
            continue;
        }
        struct hub_membership *membership = hub_membership_find(user, conversation);
        if (membership != NULL) {
            hub_membership_drop(hub, membership);
        }
    }
}

/* True when the user was no member here before. */
static bool admit(struct hub *hub, struct hub_user *user, const Pipit__Conversation *conversation,
                  uint64_t joined_seq, struct hub_membership **out) {
    struct hub_join join = {.conversation = conversation->id,
                            .last = conversation->head,
                            .members_version = conversation->members_version,
                            .joined_seq = joined_seq};
    bool is_new = false;
    *out = NULL;
    if (hub_membership_join(hub, user, &join, out, &is_new) != ERR_OK) {
        /* A limit, and counted: without the membership nothing reaches the user, so the sessions
         * must not believe to be live. */
        struct session_walk walk;
        struct session *session = session_walk_first(hub, &user->sessions, &walk);
        for (; session != NULL; session = session_walk_next(&walk)) {
            session_end(session, REASON_OVERLOAD);
        }
        return false;
    }
    (*out)->generation = hub_load_generation(hub);
    if (is_new) {
        hub_members_tell_added(hub, user, conversation);
    }
    return is_new;
}

static void admit_added(struct hub *hub, const Pipit__MembersChanged *change,
                        const Pipit__Conversation *conversation) {
    for (size_t i = 0; i < change->n_changed; i++) {
        const Pipit__Member *member = change->changed[i];
        struct hub_user *user = hub_user_find(hub, member->user);
        struct hub_membership *membership = NULL;
        if (user != NULL && user->sessions.count > 0 &&
            member->state == PIPIT__MEMBER_STATE__MEMBER_ACTIVE) {
            (void)admit(hub, user, conversation, member->joined_seq, &membership); /* told inside */
        }
    }
}

static void tell_title(struct hub *hub, struct hub_conversation *conversation,
                       const Pipit__Conversation *told) {
    struct frame_conversation conv = {
        .conversation = conversation->id,
        .direct = told->kind == PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT,
        .title = told->title,
        .members_version = told->members_version,
        .head = told->head,
    };
    struct event event;
    if (conv_event(hub, &conv, &event)) {
        hub_egress_to_members(hub, conversation, &event, 0, NULL);
    }
}

void hub_members_changed(struct hub *hub, const Pipit__MembersChanged *change) {
    struct hub_conversation *known = hub_conversation_find(hub, change->conversation);
    bool interesting = known != NULL && known->memberships.count > 0;
    if (interesting && change->members_version <= known->announced_version) {
        return; /* every routing instance tells it; once is enough */
    }
    Pipit__Conversation told = PIPIT__CONVERSATION__INIT;
    told.id = change->conversation;
    told.kind = change->kind;
    told.title = change->title;
    told.members_version = change->members_version;
    told.head = change->head;

    uint64_t before = interesting ? known->members_version : 0;
    if (interesting) {
        known->announced_version = change->members_version;
        tell_change(hub, known, change);
        if (change->title_changed) {
            tell_title(hub, known, &told);
        }
    }
    if (interesting && change->members_version <= before) {
        return; /* a refresh was faster */
    }
    /* Added first: a conversation whose only member here is exchanged stays interesting. */
    admit_added(hub, change, &told);
    drop_former(hub, change);
    known = hub_conversation_find(hub, change->conversation);
    if (!interesting || known == NULL || known->memberships.count == 0) {
        return;
    }
    if (change->members_version == before + 1) {
        known->members_version = change->members_version;
    } else {
        hub_repair_members(hub, known, change->members_version);
    }
}

/* --- the whole list */

static void on_answer(struct hub *hub, const struct hub_query *query, enum err status,
                      const Pipit__ConversationsReply *reply);

enum err hub_members_refresh(struct hub *hub, struct hub_conversation *conversation) {
    struct list_node *node = list_first(&conversation->memberships);
    if (node == NULL) {
        return ERR_NOT_FOUND;
    }
    struct hub_user *user = CONTAINER_OF(node, struct hub_membership, conversation_node)->user;
    struct hub_conversations_ask ask = {.user = user->id, .device = "", .after = ""};
    struct hub_query query = {.object = conversation,
                              .request = map_hash(user->id, strlen(user->id)), /* who was asked */
                              .answer.conversations = on_answer};
    memcpy(query.conversation, conversation->id, sizeof query.conversation);
    return hub_query_conversations(hub, &ask, &query);
}

static void leave(struct hub *hub, struct hub_membership *membership) {
    hub_members_tell_left(hub, membership->user, membership->conversation);
    hub_membership_drop(hub, membership);
}

/* Storage answers members alone, and this one got no answer. */
static void on_no_member(struct hub *hub, struct hub_conversation *conversation, uint64_t asked) {
    const struct list *here = &conversation->memberships;
    for (struct list_node *node = list_first(here); node != NULL; node = list_next(here, node)) {
        struct hub_membership *membership =
            CONTAINER_OF(node, struct hub_membership, conversation_node);
        if (map_hash(membership->user->id, strlen(membership->user->id)) == asked) {
            leave(hub, membership);
            return;
        }
    }
}

static void compare(struct hub *hub, struct hub_conversation *conversation,
                    const Pipit__Conversation *told) {
    struct list *here = &conversation->memberships;
    for (struct list_node *node = list_first(here); node != NULL; node = list_next(here, node)) {
        CONTAINER_OF(node, struct hub_membership, conversation_node)->seen = false;
    }
    for (size_t i = 0; i < told->n_members; i++) {
        const Pipit__Member *member = told->members[i];
        struct hub_user *user = hub_user_find(hub, member->user);
        if (user == NULL || member->state != PIPIT__MEMBER_STATE__MEMBER_ACTIVE) {
            continue;
        }
        struct hub_membership *membership = hub_membership_find(user, conversation);
        if (membership != NULL) {
            membership->joined_seq = member->joined_seq;
        } else if (user->sessions.count > 0) {
            (void)admit(hub, user, told, member->joined_seq, &membership); /* told inside */
        }
        if (membership != NULL) {
            membership->seen = true;
        }
    }
    struct list_node *node = list_first(here);
    while (node != NULL) {
        struct list_node *next = list_next(here, node);
        struct hub_membership *membership =
            CONTAINER_OF(node, struct hub_membership, conversation_node);
        if (!membership->seen) {
            leave(hub, membership);
        }
        node = next;
    }
}

static void on_answer(struct hub *hub, const struct hub_query *query, enum err status,
                      const Pipit__ConversationsReply *reply) {
    struct hub_conversation *conversation = query->object;
    if (conversation->memberships.count == 0) {
        hub_repair_refreshed(hub, conversation, ERR_OK);
        return;
    }
    const Pipit__ConversationItem *item =
        status == ERR_OK && reply->n_items > 0 ? reply->items[0] : NULL;
    if (item != NULL && item->conversation != NULL && item->conversation->n_members > 0) {
        const Pipit__Conversation *told = item->conversation;
        if (strcmp(told->id, conversation->id) != 0) {
            status = ERR_INVALID;
        } else if (told->members_version >= conversation->members_version) {
            conversation->members_version = told->members_version;
            compare(hub, conversation, told);
        }
    } else if (status == ERR_OK || status == ERR_NOT_MEMBER || status == ERR_NOT_FOUND) {
        on_no_member(hub, conversation, query->request);
        status =
            conversation->memberships.count > 0 ? hub_members_refresh(hub, conversation) : ERR_OK;
        if (status == ERR_OK && conversation->memberships.count > 0) {
            return; /* asked for the next */
        }
    }
    hub_repair_refreshed(hub, conversation, status);
}
