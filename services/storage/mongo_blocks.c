/* mongo_blocks: who blocks whom, and what that does to their direct conversation.
 *
 * A block is a document of its own, _id user 0x1f blocked, so that blocking twice or from two
 * devices needs no comparison. The members of the direct conversation become BLOCKED while either
 * side blocks the other. Those are two documents and no transaction, so:
 *
 *   blocking    conversation to BLOCKED, then the block, then the conversation again (stamped)
 *   unblocking  the block goes, then the conversation becomes what the remaining blocks say
 *
 * A crash in between leaves two who cannot talk although no block is listed; repeating either, or
 * asking for the conversation again, makes both agree. Whoever opens a conversation reads it first,
 * then the blocks, then compares its revision; the stamp after a new block makes that comparison
 * fail, so an opening that has not seen the block never wins over it. */
#include "services/storage/mongo_members.h"

#include "proto/names.h"
#include "services/storage/mongo_accounts.h"
#include "services/storage/mongo_swap.h"

#define ACTIVE PIPIT__MEMBER_STATE__MEMBER_ACTIVE
#define BLOCKED PIPIT__MEMBER_STATE__MEMBER_BLOCKED

static enum err note_found(const bson_t *doc, void *user) {
    (void)doc;
    *(bool *)user = true;
    return ERR_EXISTS; /* one is enough */
}

enum err mongo_blocked_between(struct mongo_session *session, const char *user, const char *other,
                               bool *blocked) {
    char there[MONGO_JOINED_BYTES];
    char back[MONGO_JOINED_BYTES];
    const char *const ids[] = {mongo_join(there, user, other, NULL),
                               mongo_join(back, other, user, NULL)};
    bool found = false;
    bson_t filter = BSON_INITIALIZER;
    mongo_append_in(&filter, "_id", ids, 2);
    struct mongo_find find = {.collection = MONGO_BLOCKS, .filter = &filter, .limit = 1};
    enum err error = mongo_find(session, &find, note_found, &found);
    bson_destroy(&filter);
    if (error == ERR_OK) {
        *blocked = found;
    }
    return error;
}

/* --- the direct conversation */

static enum err settle_once(struct mongo_session *session, const struct mongo_settle *settle,
                            struct arena *arena, struct mongo_settled *out, bool *lost) {
    struct mongo_conversation *conversation = &out->conversation;
    enum err error = mongo_conversation_read(session, settle->conversation, arena, conversation);
    if (error == ERR_OK && !settle->block) {
        error = mongo_blocked_between(session, settle->user, settle->other, &out->blocked);
    }
    if (error != ERR_OK) {
        return error;
    }
    out->blocked = out->blocked || settle->block;
    Pipit__Conversation *proto = conversation->proto;
    Pipit__MemberState state = out->blocked ? BLOCKED : ACTIVE;
    out->changed = arena_alloc(arena, (proto->n_members + 1) * sizeof(*out->changed));
    if (out->changed == NULL) {
        return ERR_NO_MEMORY;
    }
    out->changed_count = 0;
    for (size_t i = 0; i < proto->n_members; i++) {
        if (proto->members[i]->state == state) {
            continue;
        }
        proto->members[i]->state = state;
        if (settle->now_ms > conversation->member_changed_ms[i]) {
            conversation->member_changed_ms[i] = settle->now_ms;
        }
        out->changed[out->changed_count++] = proto->members[i];
    }
    if (out->changed_count == 0 && !settle->stamp) {
        return ERR_OK;
    }
    if (out->changed_count > 0) {
        proto->members_version++;
        if (settle->now_ms > conversation->changed_ms) {
            conversation->changed_ms = settle->now_ms;
        }
    }
    return mongo_conversation_write(session, conversation, lost);
}

enum err mongo_direct_settle(struct mongo_session *session, const struct mongo_settle *settle,
                             struct arena *arena, struct mongo_settled *out) {
    enum err error = ERR_UNAVAILABLE;
    bool lost = true;
    for (unsigned i = 0; i < MONGO_RETRIES_MAX && lost; i++) {
        lost = false;
        *out = (struct mongo_settled){.blocked = false};
        error = settle_once(session, settle, arena, out, &lost);
    }
    return lost ? ERR_UNAVAILABLE : error;
}

/* --- the block */

void mongo_block_encode(const char *user, const char *blocked, uint64_t since_ms, bson_t *doc) {
    char id[MONGO_JOINED_BYTES];
    BSON_APPEND_UTF8(doc, "_id", mongo_join(id, user, blocked, NULL));
    BSON_APPEND_UTF8(doc, "blocked", blocked);
    BSON_APPEND_INT64(doc, "since", (int64_t)since_ms);
}

static enum err insert_block(struct mongo_session *session, const Pipit__BlockChange *request) {
    bson_t doc = BSON_INITIALIZER;
    mongo_block_encode(request->user, request->blocked, request->now_ms, &doc);
    enum err error = mongo_insert_one(session, MONGO_BLOCKS, &doc);
    bson_destroy(&doc);
    return error == ERR_EXISTS ? ERR_OK : error;
}

static enum err delete_block(struct mongo_session *session, const Pipit__BlockChange *request) {
    char id[MONGO_JOINED_BYTES];
    bson_t filter;
    size_t deleted = 0;
    mongo_id_filter(&filter, mongo_join(id, request->user, request->blocked, NULL));
    enum err error = mongo_delete(session, MONGO_BLOCKS, &filter, &deleted);
    bson_destroy(&filter);
    return error;
}

struct block_change {
    struct mongo_session *session;
    const Pipit__BlockChange *request;
    struct arena *arena;
    char direct[LIMIT_CONVERSATION_ID_BYTES + 1];
    struct mongo_settled first, last; /* before and after the block's document */
};

static enum err settle(struct block_change *change, bool block, bool stamp,
                       struct mongo_settled *out) {
    struct mongo_settle wanted = {.conversation = change->direct,
                                  .user = change->request->user,
                                  .other = change->request->blocked,
                                  .now_ms = change->request->now_ms,
                                  .block = block,
                                  .stamp = stamp};
    enum err error = mongo_direct_settle(change->session, &wanted, change->arena, out);
    return error == ERR_NOT_FOUND ? ERR_OK : error; /* they never talked */
}

static enum err announce(struct block_change *change, Pipit__MembersChanged **changed) {
    struct mongo_settled *last = &change->last;
    if (change->first.changed_count + last->changed_count == 0) {
        return ERR_OK;
    }
    Pipit__Conversation *proto = last->conversation.proto;
    enum err error = mongo_conversation_finish(change->session, &last->conversation, change->arena);
    return error != ERR_OK
               ? error
               : mongo_members_announce(proto, proto->members, proto->n_members,
                                        change->request->user, false, change->arena, changed);
}

static enum err check_users(struct mongo_session *session, const Pipit__BlockChange *request) {
    const char *const users[] = {request->user, request->blocked};
    for (size_t i = 0; i < 2; i++) {
        enum err error = mongo_user_usable(session, users[i]);
        if (error != ERR_OK && error != ERR_DISABLED) { /* who is disabled may come back */
            return error;
        }
    }
    return ERR_OK;
}

static enum err apply(struct block_change *change, Pipit__MembersChanged **changed) {
    bool on = change->request->on != 0;
    enum err error = check_users(change->session, change->request);
    if (error == ERR_OK) {
        error = names_direct_conversation(change->request->user, change->request->blocked,
                                          change->direct);
    }
    if (error == ERR_OK && on) {
        error = settle(change, true, false, &change->first);
    }
    if (error == ERR_OK) {
        error = on ? insert_block(change->session, change->request)
                   : delete_block(change->session, change->request);
    }
    if (error == ERR_OK) {
        error = settle(change, false, on, &change->last);
    }
    return error != ERR_OK ? error : announce(change, changed);
}

enum err mongo_block_change(struct store *store, const Pipit__BlockChange *request,
                            struct arena *arena, Pipit__StatusReply *reply,
                            Pipit__MembersChanged **changed) {
    (void)reply;
    *changed = NULL;
    if (!mongo_id_valid(request->user) || !mongo_id_valid(request->blocked) ||
        strcmp(request->user, request->blocked) == 0) {
        return ERR_INVALID;
    }
    struct mongo_session session;
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    struct block_change change = {.session = &session, .request = request, .arena = arena};
    error = apply(&change, changed);
    mongo_end(&session);
    return error;
}

/* --- listing */

struct listing {
    struct arena *arena;
    char **users;
    size_t count, room;
};

static enum err add_blocked(const bson_t *doc, void *user) {
    struct listing *listing = user;
    if (listing->count == listing->room) {
        size_t room = listing->room == 0 ? 16 : listing->room * 2;
        char **users = arena_alloc(listing->arena, room * sizeof(*users));
        if (users == NULL) {
            return ERR_NO_MEMORY;
        }
        if (listing->count > 0) {
            memcpy(users, listing->users, listing->count * sizeof(*users));
        }
        listing->users = users;
        listing->room = room;
    }
    char *blocked = mongo_text(doc, "blocked", listing->arena);
    if (blocked == NULL) {
        return ERR_NO_MEMORY;
    }
    listing->users[listing->count++] = blocked;
    return ERR_OK;
}

enum err mongo_blocks(struct store *store, const Pipit__BlocksRequest *request, struct arena *arena,
                      Pipit__BlocksReply *reply) {
    struct mongo_session session;
    if (!mongo_id_valid(request->user)) {
        return ERR_OK; /* nobody's list */
    }
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    struct listing listing = {.arena = arena};
    bson_t filter;
    bson_t sort;
    mongo_range_filter(&filter, request->user, NULL);
    mongo_sort_by_id(&sort);
    struct mongo_find find = {.collection = MONGO_BLOCKS, .filter = &filter, .sort = &sort};
    error = mongo_find(&session, &find, add_blocked, &listing);
    bson_destroy(&sort);
    bson_destroy(&filter);
    mongo_end(&session);
    if (error == ERR_OK) {
        reply->blocked = listing.users;
        reply->n_blocked = listing.count;
    }
    return error;
}
