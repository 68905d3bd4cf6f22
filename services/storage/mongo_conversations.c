/* mongo_conversations: loading and creating conversations.
 *
 * A group is one insert: its unique _id decides between two creators. A direct conversation is
 * inserted as blocked and opened by mongo_direct_settle, which looks at the blocks after the
 * insert: a block that is made at the same moment sees the conversation, or is seen. A crash in
 * between leaves a conversation in which nobody can write; creating it again, which is what a
 * client does with an unknown outcome, opens it.
 *
 * What exists is compared, not overwritten (store.h). */
#include "services/storage/mongo_members.h"

#include "services/storage/conversation_shape.h"
#include "services/storage/mongo_accounts.h"
#include <stdlib.h>

#define DIRECT PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT
#define ACTIVE PIPIT__MEMBER_STATE__MEMBER_ACTIVE
#define BLOCKED PIPIT__MEMBER_STATE__MEMBER_BLOCKED
#define LEFT PIPIT__MEMBER_STATE__MEMBER_LEFT

static void drop_former(Pipit__Conversation *proto) {
    size_t used = 0;
    for (size_t i = 0; i < proto->n_members; i++) {
        if (proto->members[i]->state != LEFT) {
            proto->members[used++] = proto->members[i];
        }
    }
    proto->n_members = used;
}

static enum err fill_cursors(struct mongo_session *session, Pipit__Conversation *proto,
                             struct arena *arena) {
    size_t count = proto->n_members;
    if (count == 0) {
        return ERR_OK;
    }
    const char **ids = arena_alloc(arena, count * sizeof(*ids));
    const char **users = arena_alloc(arena, count * sizeof(*users));
    struct mongo_cursor *cursors = arena_alloc(arena, count * sizeof(*cursors));
    if (ids == NULL || users == NULL || cursors == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        ids[i] = proto->id;
        users[i] = proto->members[i]->user;
    }
    enum err error = mongo_cursors_read(session, ids, users, count, cursors);
    for (size_t i = 0; i < count && error == ERR_OK; i++) {
        proto->members[i]->read_seq = cursors[i].read_seq;
        proto->members[i]->delivered_seq = cursors[i].delivered_seq;
    }
    return error;
}

enum err mongo_conversation_finish(struct mongo_session *session,
                                   struct mongo_conversation *conversation, struct arena *arena) {
    Pipit__Conversation *proto = conversation->proto;
    const char *id = proto->id;
    uint64_t ts_ms = 0;
    drop_former(proto);
    enum err error = mongo_heads_read(session, &id, 1, &proto->head, &ts_ms);
    return error != ERR_OK ? error : fill_cursors(session, proto, arena);
}

enum err mongo_members_announce(const Pipit__Conversation *conversation,
                                Pipit__Member **changed_members, size_t count, const char *actor,
                                bool title_changed, struct arena *arena,
                                Pipit__MembersChanged **changed) {
    Pipit__MembersChanged *event = arena_alloc(arena, sizeof(*event));
    if (event == NULL) {
        return ERR_NO_MEMORY;
    }
    pipit__members_changed__init(event);
    event->conversation = conversation->id;
    event->kind = conversation->kind;
    event->title = conversation->title;
    event->members_version = conversation->members_version;
    event->head = conversation->head;
    event->changed = changed_members;
    event->n_changed = count;
    event->actor = (char *)actor; /* only read from now on */
    event->title_changed = title_changed;
    *changed = event;
    return ERR_OK;
}

enum err mongo_conversation_load(struct store *store, const Pipit__ConversationLoad *request,
                                 struct arena *arena, Pipit__ConversationReply *reply) {
    struct mongo_session session;
    struct mongo_conversation conversation = {.proto = NULL};
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    error = mongo_conversation_read(&session, request->conversation, arena, &conversation);
    if (error == ERR_OK) {
        error = mongo_conversation_finish(&session, &conversation, arena);
    }
    if (error == ERR_OK) {
        reply->conversation = conversation.proto;
    }
    mongo_end(&session);
    return error;
}

/* --- creating */

struct creation {
    struct mongo_session session;
    const Pipit__ConversationCreate *request;
    struct arena *arena;
    struct conversation_shape shape;
    Pipit__ConversationReply *reply;
    Pipit__MembersChanged **changed;
};

static int compare_users(const void *left, const void *right) {
    const char *const *a = left;
    const char *const *b = right;
    return strcmp(*a, *b);
}

static enum err make_members(struct creation *creation, struct mongo_conversation *conversation) {
    const Pipit__ConversationCreate *request = creation->request;
    bool direct = request->kind == DIRECT;
    size_t count = creation->shape.count;
    struct mongo_member *order = arena_alloc(creation->arena, count * sizeof(*order));
    Pipit__Member *members = arena_alloc(creation->arena, count * sizeof(*members));
    if (order == NULL || members == NULL) {
        return ERR_NO_MEMORY;
    }
    /* They all join at once: then the names decide who stands longest. */
    qsort(creation->shape.users, count, sizeof(*creation->shape.users), compare_users);
    for (size_t i = 0; i < count; i++) {
        pipit__member__init(&members[i]);
        members[i].user = creation->shape.users[i];
        bool owns = !direct && strcmp(members[i].user, request->creator) == 0;
        members[i].role = owns ? PIPIT__MEMBER_ROLE__ROLE_OWNER : PIPIT__MEMBER_ROLE__ROLE_MEMBER;
        members[i].state = direct ? BLOCKED : ACTIVE;
        order[i] = (struct mongo_member){.member = &members[i], .changed_ms = request->now_ms};
    }
    return mongo_conversation_set_members(conversation, order, count, 0, creation->arena);
}

static enum err insert(struct creation *creation, struct mongo_conversation *conversation) {
    const Pipit__ConversationCreate *request = creation->request;
    Pipit__Conversation *proto = arena_alloc(creation->arena, sizeof(*proto));
    if (proto == NULL) {
        return ERR_NO_MEMORY;
    }
    pipit__conversation__init(proto);
    proto->id = request->id;
    proto->kind = request->kind;
    proto->title = request->kind == DIRECT ? "" : request->title;
    proto->created_ms = request->now_ms;
    proto->members_version = 1;
    *conversation = (struct mongo_conversation){
        .proto = proto, .creator = request->creator, .changed_ms = request->now_ms, .rev = 1};
    enum err error = make_members(creation, conversation);
    if (error != ERR_OK) {
        return error;
    }
    bson_t doc = BSON_INITIALIZER;
    mongo_conversation_encode(conversation, &doc);
    error = mongo_insert_one(&creation->session, MONGO_CONVERSATIONS, &doc);
    bson_destroy(&doc);
    return error;
}

/* ERR_EXISTS also for a creator who is no longer in the group: the answer would show it (I4). */
static enum err compare_existing(const struct creation *creation,
                                 const struct mongo_conversation *found) {
    const Pipit__ConversationCreate *request = creation->request;
    if (found->proto->kind != request->kind) {
        return ERR_EXISTS;
    }
    if (request->kind == DIRECT) {
        return ERR_OK;
    }
    const Pipit__Member *creator = mongo_member_of(found, request->creator);
    bool same = strcmp(found->creator, request->creator) == 0 && creator != NULL &&
                creator->state == ACTIVE;
    return same ? ERR_OK : ERR_EXISTS;
}

/* Finds what exists, or inserts. *created: it was us. */
static enum err find_or_insert(struct creation *creation, struct mongo_conversation *conversation,
                               bool *created) {
    const struct conversation_shape *shape = &creation->shape;
    const char *id = creation->request->id;
    *created = false;
    enum err error = mongo_conversation_read(&creation->session, id, creation->arena, conversation);
    if (error != ERR_NOT_FOUND) {
        return error != ERR_OK ? error : compare_existing(creation, conversation);
    }
    error = mongo_users_usable(&creation->session, (const char *const *)shape->users, shape->count);
    if (error == ERR_OK) {
        error = insert(creation, conversation);
    }
    if (error == ERR_EXISTS) { /* somebody was faster */
        error = mongo_conversation_read(&creation->session, id, creation->arena, conversation);
        return error != ERR_OK ? error : compare_existing(creation, conversation);
    }
    *created = error == ERR_OK;
    return error;
}

static enum err answer(struct creation *creation, struct mongo_conversation *conversation,
                       bool created, bool announce) {
    Pipit__Conversation *proto = conversation->proto;
    enum err error = mongo_conversation_finish(&creation->session, conversation, creation->arena);
    if (error != ERR_OK) {
        return error;
    }
    creation->reply->conversation = proto;
    creation->reply->created = created;
    return !announce ? ERR_OK
                     : mongo_members_announce(proto, proto->members, proto->n_members,
                                              creation->request->creator, created, creation->arena,
                                              creation->changed);
}

static enum err create_direct(struct creation *creation) {
    const char *user = creation->shape.users[0];
    const char *other = creation->shape.users[creation->shape.count - 1];
    struct mongo_conversation conversation = {.proto = NULL};
    bool blocked = false;
    bool created = false;
    enum err error = mongo_blocked_between(&creation->session, user, other, &blocked);
    if (error == ERR_OK) {
        error = blocked ? ERR_BLOCKED : find_or_insert(creation, &conversation, &created);
    }
    if (error != ERR_OK) {
        return error;
    }
    struct mongo_settle settle = {.conversation = creation->request->id,
                                  .user = user,
                                  .other = other,
                                  .now_ms = creation->request->now_ms};
    struct mongo_settled settled;
    error = mongo_direct_settle(&creation->session, &settle, creation->arena, &settled);
    if (error != ERR_OK) {
        return error;
    }
    if (settled.blocked) {
        return ERR_BLOCKED;
    }
    return answer(creation, &settled.conversation, created, settled.changed_count > 0);
}

static enum err create_group(struct creation *creation) {
    struct mongo_conversation conversation = {.proto = NULL};
    bool created = false;
    enum err error = find_or_insert(creation, &conversation, &created);
    return error != ERR_OK ? error : answer(creation, &conversation, created, created);
}

enum err mongo_conversation_create(struct store *store, const Pipit__ConversationCreate *request,
                                   struct arena *arena, Pipit__ConversationReply *reply,
                                   Pipit__MembersChanged **changed) {
    struct mongo_store *self = mongo_store_of(store);
    struct creation creation = {
        .request = request, .arena = arena, .reply = reply, .changed = changed};
    *changed = NULL;
    if (!mongo_id_valid(request->id) || !mongo_text_valid(request->title)) {
        return ERR_INVALID;
    }
    enum err error = conversation_shape_read(request, self->members_max, arena, &creation.shape);
    if (error == ERR_OK) {
        error = mongo_begin(self->db, &creation.session);
    }
    if (error != ERR_OK) {
        return error;
    }
    error = request->kind == DIRECT ? create_direct(&creation) : create_group(&creation);
    mongo_end(&creation.session);
    return error;
}
