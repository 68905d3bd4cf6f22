/* mongo_invites: making, listing and deleting invitations, known by the hash of their code alone.
 *
 * Only the first invite (only_if_empty) is made at most once: it has a fixed _id, so of two auth
 * instances that start at once one inserts it and the other finds it. A later start may replace it
 * when it has expired unused, by comparing its revision; taking a use of it changes the revision,
 * so a slow starter cannot replace an invite that has just made the first account.
 *
 * Invites past use go when the next one is made. */
#include "services/storage/mongo_claims.h"

#include "services/storage/mongo_swap.h"
#include <stdlib.h>

#define CLEANED_MAX 64u /* in one go */

static void encode(const Pipit__Invite *invite, bson_t *doc) {
    bson_t claims;
    BSON_APPEND_BINARY(doc, "hash", BSON_SUBTYPE_BINARY, invite->hash.data,
                       (uint32_t)invite->hash.len);
    BSON_APPEND_UTF8(doc, "by", invite->created_by);
    BSON_APPEND_INT64(doc, "created", (int64_t)invite->created_ms);
    BSON_APPEND_INT64(doc, "expires", (int64_t)invite->expires_ms);
    BSON_APPEND_INT64(doc, "uses", (int64_t)invite->uses_left);
    BSON_APPEND_BOOL(doc, "admin", invite->admin != 0);
    BSON_APPEND_UTF8(doc, "note", invite->note);
    BSON_APPEND_ARRAY_BEGIN(doc, "claims", &claims);
    bson_append_array_end(doc, &claims);
}

void mongo_invite_encode(const Pipit__Invite *invite, const char *id, bson_t *doc) {
    BSON_APPEND_UTF8(doc, "_id", id);
    encode(invite, doc);
    BSON_APPEND_INT64(doc, MONGO_REV, 1);
}

static enum err insert(struct mongo_session *session, const char *id, const Pipit__Invite *invite) {
    bson_t doc = BSON_INITIALIZER;
    mongo_invite_encode(invite, id, &doc);
    enum err error = mongo_insert_one(session, MONGO_INVITES, &doc);
    bson_destroy(&doc);
    return error;
}

/* --- all invites */

struct collection {
    struct arena *arena;
    struct mongo_invite *invites;
    size_t count, room;
};

static enum err collect(const bson_t *doc, void *user) {
    struct collection *collection = user;
    if (collection->count == collection->room) {
        size_t room = collection->room == 0 ? 16 : collection->room * 2;
        struct mongo_invite *invites = arena_alloc(collection->arena, room * sizeof(*invites));
        if (invites == NULL) {
            return ERR_NO_MEMORY;
        }
        if (collection->count > 0) {
            memcpy(invites, collection->invites, collection->count * sizeof(*invites));
        }
        collection->invites = invites;
        collection->room = room;
    }
    enum err error =
        mongo_invite_decode(doc, collection->arena, &collection->invites[collection->count]);
    collection->count += error == ERR_OK;
    return error;
}

static enum err read_all(struct mongo_session *session, struct collection *collection) {
    bson_t filter = BSON_INITIALIZER;
    bson_t sort;
    mongo_sort_by_id(&sort);
    struct mongo_find find = {.collection = MONGO_INVITES, .filter = &filter, .sort = &sort};
    enum err error = mongo_find(session, &find, collect, collection);
    bson_destroy(&sort);
    bson_destroy(&filter);
    return error;
}

/* --- making */

/* Deletes the invite when it can never be used again. */
static enum err clean(struct mongo_session *session, struct mongo_invite *invite, uint64_t now_ms,
                      struct arena *arena) {
    bool expired = invite->proto->expires_ms != 0 && invite->proto->expires_ms <= now_ms;
    bool pending = false;
    bool lost = false;
    enum err error = ERR_OK;
    if (strcmp(invite->id, MONGO_FIRST_INVITE) == 0 || mongo_invite_usable(invite, now_ms)) {
        return ERR_OK; /* the first one's document stays: its revision is compared */
    }
    if (!expired) {
        error = mongo_claims_settle(session, invite, now_ms, arena, &pending, &lost);
        if (error != ERR_OK || lost || pending || mongo_invite_usable(invite, now_ms)) {
            return error;
        }
    }
    return mongo_swap_delete(session, MONGO_INVITES, invite->id, invite->rev, NULL, &lost);
}

static enum err clean_all(struct mongo_session *session, struct collection *collection,
                          uint64_t now_ms) {
    enum err error = ERR_OK;
    size_t cleaned = 0;
    for (size_t i = 0; i < collection->count && cleaned < CLEANED_MAX && error == ERR_OK; i++) {
        cleaned += !mongo_invite_usable(&collection->invites[i], now_ms);
        error = clean(session, &collection->invites[i], now_ms, collection->arena);
    }
    return error;
}

/* Another invite makes administrators already, or is just making one. */
static enum err check_no_other(struct mongo_session *session, struct collection *collection,
                               uint64_t now_ms, bool *lost) {
    for (size_t i = 0; i < collection->count; i++) {
        struct mongo_invite *invite = &collection->invites[i];
        bool expired = invite->proto->expires_ms != 0 && invite->proto->expires_ms <= now_ms;
        bool pending = false;
        if (!invite->proto->admin || expired) {
            continue;
        }
        if (invite->proto->uses_left == 0) {
            enum err error =
                mongo_claims_settle(session, invite, now_ms, collection->arena, &pending, lost);
            if (error != ERR_OK || *lost) {
                return error;
            }
        }
        if (pending || mongo_invite_usable(invite, now_ms)) {
            return ERR_CONFLICT;
        }
    }
    return ERR_OK;
}

static const struct mongo_invite *find_first(const struct collection *collection) {
    for (size_t i = 0; i < collection->count; i++) {
        if (strcmp(collection->invites[i].id, MONGO_FIRST_INVITE) == 0) {
            return &collection->invites[i];
        }
    }
    return NULL;
}

/* Invites first, accounts second: an account that one of them made meanwhile is seen, or has
 * changed the revision. */
static enum err create_first_once(struct mongo_session *session, const Pipit__Invite *invite,
                                  struct arena *arena, bool *lost) {
    struct collection collection = {.arena = arena};
    bool any = false;
    enum err error = read_all(session, &collection);
    if (error == ERR_OK) {
        error = mongo_has_any(session, MONGO_USERS, &any);
    }
    if (error != ERR_OK || any) {
        return error != ERR_OK ? error : ERR_CONFLICT;
    }
    error = check_no_other(session, &collection, invite->created_ms, lost);
    if (error != ERR_OK || *lost) {
        return error;
    }
    const struct mongo_invite *former = find_first(&collection);
    if (former == NULL) {
        error = insert(session, MONGO_FIRST_INVITE, invite);
        return error == ERR_EXISTS ? ERR_CONFLICT : error;
    }
    bson_t fields = BSON_INITIALIZER;
    encode(invite, &fields);
    error =
        mongo_swap(session, MONGO_INVITES, MONGO_FIRST_INVITE, former->rev, NULL, &fields, lost);
    bson_destroy(&fields);
    return error;
}

static enum err create_first(struct mongo_session *session, const Pipit__Invite *invite,
                             struct arena *arena) {
    enum err error = ERR_OK;
    bool lost = true;
    for (unsigned i = 0; i < MONGO_RETRIES_MAX && lost; i++) {
        lost = false;
        error = create_first_once(session, invite, arena, &lost);
    }
    return lost ? ERR_UNAVAILABLE : error;
}

static enum err create(struct mongo_session *session, const Pipit__Invite *invite,
                       struct arena *arena) {
    struct collection collection = {.arena = arena};
    char id[MONGO_HASH_TEXT_BYTES];
    enum err error = read_all(session, &collection);
    if (error == ERR_OK) {
        error = clean_all(session, &collection, invite->created_ms);
    }
    const struct mongo_invite *first = find_first(&collection);
    if (error == ERR_OK && first != NULL && first->proto->hash.len == invite->hash.len &&
        memcmp(first->proto->hash.data, invite->hash.data, invite->hash.len) == 0) {
        return ERR_EXISTS;
    }
    return error != ERR_OK ? error : insert(session, mongo_hash_text(id, &invite->hash), invite);
}

enum err mongo_invite_create(struct store *store, const Pipit__InviteCreate *request,
                             struct arena *arena, Pipit__StatusReply *reply) {
    (void)reply;
    const Pipit__Invite *invite = request->invite;
    if (invite == NULL || !mongo_hash_valid(&invite->hash) || !mongo_text_valid(invite->note) ||
        !mongo_text_valid(invite->created_by)) {
        return ERR_INVALID;
    }
    struct mongo_session session;
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    error = request->only_if_empty ? create_first(&session, invite, arena)
                                   : create(&session, invite, arena);
    mongo_end(&session);
    return error;
}

/* --- deleting and listing */

enum err mongo_invite_delete(struct store *store, const Pipit__InviteDelete *request,
                             struct arena *arena, Pipit__StatusReply *reply) {
    (void)reply;
    struct mongo_session session;
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    bool lost = true;
    for (unsigned i = 0; i < MONGO_RETRIES_MAX && lost && error == ERR_OK; i++) {
        struct mongo_invite invite;
        lost = false;
        error = mongo_invite_find(&session, &request->hash, arena, &invite);
        if (error == ERR_OK) {
            error = mongo_swap_delete(&session, MONGO_INVITES, invite.id, invite.rev, NULL, &lost);
        }
    }
    mongo_end(&session);
    return lost ? ERR_UNAVAILABLE : error;
}

static int compare_invites(const void *left, const void *right) {
    const Pipit__Invite *a = *(Pipit__Invite *const *)left;
    const Pipit__Invite *b = *(Pipit__Invite *const *)right;
    if (a->created_ms != b->created_ms) {
        return a->created_ms < b->created_ms ? -1 : 1;
    }
    size_t shorter = a->hash.len < b->hash.len ? a->hash.len : b->hash.len;
    int order = shorter == 0 ? 0 : memcmp(a->hash.data, b->hash.data, shorter);
    return order != 0 ? order : (a->hash.len > b->hash.len) - (a->hash.len < b->hash.len);
}

enum err mongo_invites(struct store *store, const Pipit__InvitesRequest *request,
                       struct arena *arena, Pipit__InvitesReply *reply) {
    struct mongo_session session;
    struct collection collection = {.arena = arena};
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    error = read_all(&session, &collection);
    mongo_end(&session);
    if (error != ERR_OK || collection.count == 0) {
        return error;
    }
    reply->invites = arena_alloc(arena, collection.count * sizeof(*reply->invites));
    if (reply->invites == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < collection.count; i++) {
        if (mongo_invite_usable(&collection.invites[i], request->now_ms)) {
            reply->invites[reply->n_invites++] = collection.invites[i].proto;
        }
    }
    qsort(reply->invites, reply->n_invites, sizeof(*reply->invites), compare_invites);
    return ERR_OK;
}
