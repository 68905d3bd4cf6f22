/* mongo_members: the change of a membership.
 *
 * A change reads the conversation with all its members, lets membership.c decide, and writes the
 * document back by comparing its revision; who lost the comparison reads and decides again. A
 * joiner's joined_seq is the stored head just before that: never behind a message that was
 * acknowledged before the change was asked for.
 *
 * Unknown outcome: the repeated change finds nothing to do and announces nothing. Nobody is told
 * too much for that: the next append answers with the new version, and routing loads the members
 * before it publishes (docs/decisions/0006). */
#include "services/storage/mongo_members.h"

#include "services/storage/membership.h"
#include "services/storage/mongo_accounts.h"
#include "services/storage/mongo_swap.h"
#include <stdlib.h>

struct change {
    struct mongo_store *store;
    struct mongo_session session;
    const Pipit__MembersChange *request;
    struct arena *arena;
    Pipit__ConversationReply *reply;
    Pipit__MembersChanged **changed;
    /* of one round */
    struct mongo_conversation conversation;
    struct membership membership;
};

static enum err load(struct change *change) {
    struct mongo_conversation *conversation = &change->conversation;
    struct membership *membership = &change->membership;
    const char *id = change->request->conversation;
    enum err error = mongo_conversation_read(&change->session, id, change->arena, conversation);
    if (error != ERR_OK) {
        return error;
    }
    const Pipit__Conversation *proto = conversation->proto;
    size_t room = proto->n_members + change->request->n_users + 1;
    *membership = (struct membership){.kind = proto->kind,
                                      .members_max = change->store->members_max,
                                      .count = proto->n_members,
                                      .title = proto->title};
    membership->rows = arena_alloc(change->arena, room * sizeof(*membership->rows));
    if (membership->rows == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < proto->n_members; i++) {
        membership->rows[i] = (struct membership_row){.member = proto->members[i]};
    }
    uint64_t ts_ms = 0;
    return mongo_heads_read(&change->session, &id, 1, &membership->head, &ts_ms);
}

static enum err check_additions(struct change *change) {
    const Pipit__MembersChange *request = change->request;
    if (request->action != PIPIT__MEMBER_ACTION__MEMBERS_ADD) {
        return ERR_OK;
    }
    return mongo_users_usable(&change->session, (const char *const *)request->users,
                              request->n_users);
}

static int compare_members(const void *left, const void *right) {
    const struct mongo_member *a = left;
    const struct mongo_member *b = right;
    return strcmp(a->member->user, b->member->user);
}

/* The new order: who stays in place, then who joins now, by name. */
static enum err order_members(struct change *change) {
    const struct membership *membership = &change->membership;
    const struct mongo_conversation *conversation = &change->conversation;
    uint64_t now_ms = change->request->now_ms;
    struct mongo_member *order =
        arena_alloc(change->arena, (membership->count + 1) * sizeof(*order));
    if (order == NULL) {
        return ERR_NO_MEMORY;
    }
    size_t used = 0;
    size_t stayed = 0;
    for (int joined = 0; joined < 2; joined++) {
        for (size_t i = 0; i < membership->count; i++) {
            const struct membership_row *row = &membership->rows[i];
            if (row->joined != (joined == 1)) {
                continue;
            }
            uint64_t then_ms =
                i < conversation->proto->n_members ? conversation->member_changed_ms[i] : 0;
            order[used++] = (struct mongo_member){
                .member = row->member,
                .changed_ms = row->changed && now_ms > then_ms ? now_ms : then_ms};
        }
        stayed = joined == 0 ? used : stayed;
    }
    qsort(order + stayed, used - stayed, sizeof(*order), compare_members);
    return mongo_conversation_set_members(&change->conversation, order, used,
                                          change->store->members_max, change->arena);
}

/* Writes what the rules marked; lists it for the announcement. */
static enum err store_change(struct change *change, Pipit__Member **rows, size_t *count,
                             bool *lost) {
    struct mongo_conversation *conversation = &change->conversation;
    const struct membership *membership = &change->membership;
    enum err error = order_members(change);
    if (error != ERR_OK) {
        return error;
    }
    if (change->request->now_ms > conversation->changed_ms) {
        conversation->changed_ms = change->request->now_ms;
    }
    conversation->proto->members_version++;
    conversation->proto->title = (char *)membership->title; /* only read from now on */
    for (size_t i = 0; i < membership->count; i++) {
        if (membership->rows[i].changed) {
            rows[(*count)++] = membership->rows[i].member;
        }
    }
    return mongo_conversation_write(&change->session, conversation, lost);
}

static enum err attempt(struct change *change, bool *lost) {
    struct membership *membership = &change->membership;
    enum err error = load(change);
    if (error == ERR_OK) {
        error = membership_apply(membership, change->request, change->arena);
    }
    if (error == ERR_OK) {
        error = check_additions(change);
    }
    if (error != ERR_OK) {
        return error;
    }
    bool effective = membership_changed(membership);
    size_t count = 0;
    Pipit__Member **rows = arena_alloc(change->arena, (membership->count + 1) * sizeof(*rows));
    if (rows == NULL) {
        return ERR_NO_MEMORY;
    }
    if (effective) {
        error = store_change(change, rows, &count, lost);
    }
    if (error == ERR_OK && !*lost) {
        error = mongo_conversation_finish(&change->session, &change->conversation, change->arena);
    }
    if (error != ERR_OK || *lost) {
        return error;
    }
    change->reply->conversation = change->conversation.proto;
    return !effective ? ERR_OK
                      : mongo_members_announce(change->conversation.proto, rows, count,
                                               change->request->actor, membership->title_changed,
                                               change->arena, change->changed);
}

static bool request_valid(const Pipit__MembersChange *request) {
    for (size_t i = 0; i < request->n_users; i++) {
        if (!mongo_id_valid(request->users[i])) {
            return false;
        }
    }
    return mongo_text_valid(request->title);
}

enum err mongo_members_change(struct store *store, const Pipit__MembersChange *request,
                              struct arena *arena, Pipit__ConversationReply *reply,
                              Pipit__MembersChanged **changed) {
    struct change change = {.store = mongo_store_of(store),
                            .request = request,
                            .arena = arena,
                            .reply = reply,
                            .changed = changed};
    *changed = NULL;
    if (!request_valid(request)) {
        return ERR_INVALID;
    }
    enum err error = mongo_begin(change.store->db, &change.session);
    if (error != ERR_OK) {
        return error;
    }
    bool lost = true;
    for (unsigned i = 0; i < MONGO_RETRIES_MAX && lost; i++) {
        lost = false;
        error = attempt(&change, &lost);
    }
    mongo_end(&change.session);
    return lost ? ERR_UNAVAILABLE : error;
}
