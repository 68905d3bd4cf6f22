/* mongo_revocations: ending sessions, and remembering it while access tokens could outlive them:
 * {_id: user 0x1f device 0x1f except, user, device, except, before, until}.
 *
 * Access tokens are checked without asking anybody, so a revocation must be known everywhere until
 * the last token issued before it has expired; after that it is deleted at the next revocation. The
 * same target revoked again moves its document on instead of adding one ($max).
 *
 * The revocation is written first: it is what kills tokens. Families follow, then, when the device
 * is to be forgotten, its cursors, and last the device itself; so whatever a crash leaves undone is
 * done when the request is repeated, because the device is still there to be named. */
#include "services/storage/mongo_accounts.h"

#include "services/storage/mongo_places.h"
#include <stdio.h>
#include <stdlib.h>

static enum err check_target(struct mongo_session *session, const Pipit__Revoke *request,
                             struct arena *arena) {
    Pipit__Device *device = NULL;
    enum err error = mongo_user_usable(session, request->user);
    if (error == ERR_DISABLED) {
        error = ERR_OK;
    }
    if (error != ERR_OK || request->device[0] == '\0') {
        return error;
    }
    return !mongo_id_valid(request->device)
               ? ERR_NOT_FOUND
               : mongo_device_load(session, request->user, request->device, arena, &device);
}

/* What of `collection` belongs to the target, its ids being user 0x1f device. */
static enum err delete_of_target(struct mongo_session *session, enum mongo_collection collection,
                                 const Pipit__Revoke *request, const char *except) {
    char id[MONGO_JOINED_BYTES];
    bson_t filter;
    bson_t range;
    size_t deleted = 0;
    if (request->device[0] != '\0') {
        mongo_id_filter(&filter, mongo_join(id, request->user, request->device, NULL));
    } else {
        bson_init(&filter);
        mongo_append_range(&filter, request->user, NULL, &range);
        if (except[0] != '\0') {
            BSON_APPEND_UTF8(&range, "$ne", mongo_join(id, request->user, except, NULL));
        }
        bson_append_document_end(&filter, &range);
    }
    enum err error = mongo_delete(session, collection, &filter, &deleted);
    bson_destroy(&filter);
    return error;
}

static enum err delete_range(struct mongo_session *session, const char *from, const char *to) {
    bson_t filter = BSON_INITIALIZER;
    bson_t range;
    size_t deleted = 0;
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &range);
    BSON_APPEND_UTF8(&range, "$gte", from);
    BSON_APPEND_UTF8(&range, "$lt", to);
    bson_append_document_end(&filter, &range);
    enum err error = mongo_delete(session, MONGO_DEVICE_CURSORS, &filter, &deleted);
    bson_destroy(&filter);
    return error;
}

/* Ids are user 0x1f device 0x1f conversation: one range, or the two beside the device that stays.
 */
static enum err delete_cursors(struct mongo_session *session, const Pipit__Revoke *request,
                               const char *except) {
    char from[MONGO_JOINED_BYTES + 1];
    char to[MONGO_JOINED_BYTES + 1];
    const char *user = request->user;
    const char *device = request->device;
    if (device[0] != '\0') {
        (void)snprintf(from, sizeof(from), "%s" MONGO_JOINT "%s" MONGO_JOINT, user, device);
        (void)snprintf(to, sizeof(to), "%s" MONGO_JOINT "%s" MONGO_JOINT_END, user, device);
        return delete_range(session, from, to);
    }
    (void)snprintf(from, sizeof(from), "%s" MONGO_JOINT, user);
    (void)snprintf(to, sizeof(to), "%s" MONGO_JOINT_END, user);
    if (except[0] == '\0') {
        return delete_range(session, from, to);
    }
    char edge[MONGO_JOINED_BYTES + 1];
    (void)snprintf(edge, sizeof(edge), "%s" MONGO_JOINT "%s" MONGO_JOINT, user, except);
    enum err error = delete_range(session, from, edge);
    (void)snprintf(edge, sizeof(edge), "%s" MONGO_JOINT "%s" MONGO_JOINT_END, user, except);
    return error != ERR_OK ? error : delete_range(session, edge, to);
}

static enum err end_sessions(struct mongo_session *session, const Pipit__Revoke *request,
                             const char *except) {
    enum err error = delete_of_target(session, MONGO_FAMILIES, request, except);
    if (error == ERR_OK && request->delete_device) {
        error = delete_cursors(session, request, except);
    }
    if (error == ERR_OK && request->delete_device) {
        error = delete_of_target(session, MONGO_DEVICES, request, except);
    }
    return error;
}

static enum err drop_expired(struct mongo_session *session, uint64_t now_ms) {
    bson_t filter = BSON_INITIALIZER;
    bson_t until;
    size_t deleted = 0;
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "until", &until);
    BSON_APPEND_INT64(&until, "$lte", (int64_t)now_ms);
    bson_append_document_end(&filter, &until);
    enum err error = mongo_delete(session, MONGO_REVOCATIONS, &filter, &deleted);
    bson_destroy(&filter);
    return error;
}

void mongo_revocation_encode(const Pipit__Revocation *revocation, bson_t *doc) {
    char id[MONGO_JOINED_BYTES];
    BSON_APPEND_UTF8(
        doc, "_id",
        mongo_join(id, revocation->user, revocation->device, revocation->except_device));
    BSON_APPEND_UTF8(doc, "user", revocation->user);
    BSON_APPEND_UTF8(doc, "device", revocation->device);
    BSON_APPEND_UTF8(doc, "except", revocation->except_device);
    BSON_APPEND_INT64(doc, "before", (int64_t)revocation->before_ms);
    BSON_APPEND_INT64(doc, "until", (int64_t)revocation->until_ms);
}

static enum err remember(struct mongo_session *session, const Pipit__Revoke *request,
                         const char *except) {
    char id[MONGO_JOINED_BYTES];
    bson_t update = BSON_INITIALIZER;
    bson_t part;
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$setOnInsert", &part);
    BSON_APPEND_UTF8(&part, "user", request->user);
    BSON_APPEND_UTF8(&part, "device", request->device);
    BSON_APPEND_UTF8(&part, "except", except);
    bson_append_document_end(&update, &part);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$max", &part);
    BSON_APPEND_INT64(&part, "before", (int64_t)request->now_ms);
    BSON_APPEND_INT64(&part, "until", (int64_t)request->until_ms);
    bson_append_document_end(&update, &part);
    size_t matched = 0;
    enum err error = mongo_update_by_id(session, MONGO_REVOCATIONS,
                                        mongo_join(id, request->user, request->device, except),
                                        &update, true, &matched);
    bson_destroy(&update);
    return error;
}

enum err mongo_revoke(struct store *store, const Pipit__Revoke *request, struct arena *arena,
                      Pipit__StatusReply *reply) {
    (void)reply;
    const char *except = request->device[0] == '\0' ? request->except_device : "";
    struct mongo_session session;
    if (!mongo_id_valid(request->user) || (except[0] != '\0' && !mongo_id_valid(except))) {
        return ERR_NOT_FOUND;
    }
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    error = check_target(&session, request, arena);
    if (error == ERR_OK) {
        error = drop_expired(&session, request->now_ms);
    }
    if (error == ERR_OK) {
        error = remember(&session, request, except);
    }
    if (error == ERR_OK) {
        error = end_sessions(&session, request, except);
    }
    mongo_end(&session);
    return error;
}

/* --- listing */

struct listing {
    struct arena *arena;
    Pipit__Revocation **items;
    size_t count, room;
    struct mongo_places places; /* of the items' users */
};

static Pipit__Revocation *decode(const bson_t *doc, struct arena *arena) {
    Pipit__Revocation *revocation = arena_alloc(arena, sizeof(*revocation));
    if (revocation == NULL) {
        return NULL;
    }
    pipit__revocation__init(revocation);
    revocation->user = mongo_text(doc, "user", arena);
    revocation->device = mongo_text(doc, "device", arena);
    revocation->except_device = mongo_text(doc, "except", arena);
    if (revocation->user == NULL || revocation->device == NULL ||
        revocation->except_device == NULL) {
        return NULL;
    }
    revocation->before_ms = mongo_u64(doc, "before");
    revocation->until_ms = mongo_u64(doc, "until");
    return revocation;
}

static enum err add(const bson_t *doc, void *user) {
    struct listing *listing = user;
    if (listing->count == listing->room) {
        size_t room = listing->room == 0 ? 16 : listing->room * 2;
        Pipit__Revocation **items = arena_alloc(listing->arena, room * sizeof(*items));
        if (items == NULL) {
            return ERR_NO_MEMORY;
        }
        if (listing->count > 0) {
            memcpy(items, listing->items, listing->count * sizeof(*items));
        }
        listing->items = items;
        listing->room = room;
    }
    Pipit__Revocation *revocation = decode(doc, listing->arena);
    if (revocation == NULL) {
        return ERR_NO_MEMORY;
    }
    listing->items[listing->count++] = revocation;
    return ERR_OK;
}

static enum err read_valid(struct mongo_session *session, uint64_t now_ms,
                           struct listing *listing) {
    bson_t filter = BSON_INITIALIZER;
    bson_t until;
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "until", &until);
    BSON_APPEND_INT64(&until, "$gt", (int64_t)now_ms);
    bson_append_document_end(&filter, &until);
    struct mongo_find find = {.collection = MONGO_REVOCATIONS, .filter = &filter};
    enum err error = mongo_find(session, &find, add, listing);
    bson_destroy(&filter);
    return error;
}

static enum err note_disabled(const bson_t *doc, void *user) {
    struct listing *listing = user;
    bson_iter_t id;
    if (!bson_iter_init_find(&id, doc, "_id") || !BSON_ITER_HOLDS_UTF8(&id)) {
        return ERR_CORRUPT;
    }
    size_t count = 0;
    const struct mongo_place *found =
        mongo_places_find(&listing->places, bson_iter_utf8(&id, NULL), &count);
    for (size_t i = 0; i < count; i++) {
        listing->items[found[i].place]->disabled = mongo_bool(doc, "disabled");
    }
    return ERR_OK;
}

/* The reason to tell clients: is the account disabled? */
static enum err add_reasons(struct mongo_session *session, struct listing *listing) {
    const char **users = arena_alloc(listing->arena, (listing->count + 1) * sizeof(*users));
    if (users == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < listing->count; i++) {
        users[i] = listing->items[i]->user;
    }
    enum err error = mongo_places_init(&listing->places, users, listing->count);
    if (error == ERR_OK) {
        error = mongo_users_find(session, users, listing->count, note_disabled, listing);
        mongo_places_finish(&listing->places);
    }
    return error;
}

static int compare(const void *left, const void *right) {
    const Pipit__Revocation *a = *(Pipit__Revocation *const *)left;
    const Pipit__Revocation *b = *(Pipit__Revocation *const *)right;
    if (a->before_ms != b->before_ms) {
        return a->before_ms < b->before_ms ? -1 : 1;
    }
    int order = strcmp(a->user, b->user);
    return order != 0 ? order : strcmp(a->device, b->device);
}

enum err mongo_revocations(struct store *store, const Pipit__RevocationsRequest *request,
                           struct arena *arena, Pipit__RevocationsReply *reply) {
    struct mongo_session session;
    struct listing listing = {.arena = arena};
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    error = read_valid(&session, request->now_ms, &listing);
    if (error == ERR_OK && listing.count > 0) {
        error = add_reasons(&session, &listing);
    }
    mongo_end(&session);
    if (error == ERR_OK && listing.count > 0) {
        qsort(listing.items, listing.count, sizeof(*listing.items), compare);
        reply->revocations = listing.items;
        reply->n_revocations = listing.count;
    }
    return error;
}
