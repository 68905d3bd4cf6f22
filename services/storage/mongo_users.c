/* mongo_users: accounts: {_id, name, display, hash, admin, disabled, created, changed, invite,
 * rev}. The password hash leaves the store only when asked for (with_secret). The revision counts
 * new devices (mongo_devices.c).
 *
 * An account that needs an invite takes a use of it first (mongo_claims.c), is inserted under its
 * unique _id, and remembers the invite; when the name turns out to be taken the use goes back. A
 * crash in between leaves a use that counts as taken until the claim is found stale. */
#include "services/storage/mongo_accounts.h"
#include "services/storage/mongo_swap.h"

Pipit__User *mongo_user_decode(const bson_t *doc, bool with_secret, struct arena *arena) {
    Pipit__User *user = arena_alloc(arena, sizeof(*user));
    if (user == NULL) {
        return NULL;
    }
    pipit__user__init(user);
    user->id = mongo_text(doc, "_id", arena);
    user->name = mongo_text(doc, "name", arena);
    user->display_name = mongo_text(doc, "display", arena);
    if (with_secret) {
        user->password_hash = mongo_text(doc, "hash", arena);
    }
    if (user->id == NULL || user->name == NULL || user->display_name == NULL ||
        user->password_hash == NULL) {
        return NULL;
    }
    user->admin = mongo_bool(doc, "admin");
    user->disabled = mongo_bool(doc, "disabled");
    user->created_ms = mongo_u64(doc, "created");
    user->changed_ms = mongo_u64(doc, "changed");
    return user;
}

enum err mongo_user_usable(struct mongo_session *session, const char *user) {
    bson_t doc;
    if (!mongo_id_valid(user)) {
        return ERR_NOT_FOUND;
    }
    enum err error = mongo_get(session, MONGO_USERS, user, &doc);
    if (error == ERR_OK && mongo_bool(&doc, "disabled")) {
        error = ERR_DISABLED;
    }
    bson_destroy(&doc);
    return error;
}

enum err mongo_users_find(struct mongo_session *session, const char *const *ids, size_t count,
                          enum err (*each)(const bson_t *doc, void *user), void *user) {
    if (count == 0) {
        return ERR_OK;
    }
    bson_t filter = BSON_INITIALIZER;
    bson_t projection = BSON_INITIALIZER;
    mongo_append_in(&filter, "_id", ids, count);
    BSON_APPEND_INT32(&projection, "disabled", 1);
    BSON_APPEND_INT32(&projection, "invite", 1);
    struct mongo_find find = {
        .collection = MONGO_USERS, .filter = &filter, .projection = &projection};
    enum err error = mongo_find(session, &find, each, user);
    bson_destroy(&projection);
    bson_destroy(&filter);
    return error;
}

static enum err count_usable(const bson_t *doc, void *user) {
    *(size_t *)user += !mongo_bool(doc, "disabled");
    return ERR_OK;
}

static bool named_before(const char *const *ids, size_t place) {
    for (size_t i = 0; i < place; i++) {
        if (strcmp(ids[i], ids[place]) == 0) {
            return true;
        }
    }
    return false;
}

enum err mongo_users_usable(struct mongo_session *session, const char *const *ids, size_t count) {
    size_t usable = 0;
    size_t distinct = 0;
    for (size_t i = 0; i < count; i++) {
        distinct += !named_before(ids, i);
    }
    enum err error = mongo_users_find(session, ids, count, count_usable, &usable);
    return error == ERR_OK && usable < distinct ? ERR_NOT_FOUND : error;
}

enum err mongo_user_load(struct mongo_session *session, const char *id, bool with_secret,
                         struct arena *arena, Pipit__User **user) {
    bson_t doc;
    if (!mongo_id_valid(id)) {
        return ERR_NOT_FOUND;
    }
    enum err error = mongo_get(session, MONGO_USERS, id, &doc);
    if (error == ERR_OK) {
        Pipit__User *found = mongo_user_decode(&doc, with_secret, arena);
        error = found == NULL ? ERR_NO_MEMORY : ERR_OK;
        *user = found != NULL ? found : *user;
    }
    bson_destroy(&doc);
    return error;
}

/* --- creating */

static bool new_user_valid(const Pipit__User *user) {
    return user != NULL && mongo_id_valid(user->id) && strncmp(user->id, "u_", 2) == 0 &&
           strcmp(user->id + 2, user->name) == 0 && user->name[0] != '\0' &&
           mongo_text_valid(user->display_name) && mongo_text_valid(user->password_hash);
}

void mongo_user_encode(const Pipit__User *user, const char *invite, bson_t *doc) {
    BSON_APPEND_UTF8(doc, "_id", user->id);
    BSON_APPEND_UTF8(doc, "name", user->name);
    BSON_APPEND_UTF8(doc, "display", user->display_name);
    BSON_APPEND_UTF8(doc, "hash", user->password_hash);
    BSON_APPEND_BOOL(doc, "admin", user->admin != 0);
    BSON_APPEND_BOOL(doc, "disabled", user->disabled != 0);
    BSON_APPEND_INT64(doc, "created", (int64_t)user->created_ms);
    BSON_APPEND_INT64(doc, "changed", (int64_t)user->changed_ms);
    if (invite != NULL) {
        BSON_APPEND_UTF8(doc, "invite", invite);
    }
}

static enum err insert(struct mongo_session *session, const Pipit__UserCreate *request,
                       bool admin) {
    Pipit__User user = *request->user;
    bool invited = request->invite_hash.len > 0;
    char invite[MONGO_HASH_TEXT_BYTES];
    bson_t doc = BSON_INITIALIZER;
    user.admin = admin;
    user.created_ms = user.changed_ms = request->now_ms;
    mongo_user_encode(&user, invited ? mongo_hash_text(invite, &request->invite_hash) : NULL, &doc);
    enum err error = mongo_insert_one(session, MONGO_USERS, &doc);
    bson_destroy(&doc);
    return error;
}

struct owner {
    const char *invite;
    bool owns;
};

static enum err compare_invite(const bson_t *doc, void *user) {
    struct owner *owner = user;
    bson_iter_t iter;
    owner->owns = bson_iter_init_find(&iter, doc, "invite") && BSON_ITER_HOLDS_UTF8(&iter) &&
                  strcmp(bson_iter_utf8(&iter, NULL), owner->invite) == 0;
    return ERR_OK;
}

/* The name is taken: the use goes back, unless that account was made with this very invite, by an
 * earlier try whose answer was lost. */
static enum err return_use(struct mongo_session *session, const Pipit__UserCreate *request,
                           struct arena *arena) {
    char invite[MONGO_HASH_TEXT_BYTES];
    struct owner owner = {.invite = mongo_hash_text(invite, &request->invite_hash)};
    const char *id = request->user->id;
    enum err error = mongo_users_find(session, &id, 1, compare_invite, &owner);
    if (error != ERR_OK || owner.owns) {
        return error;
    }
    return mongo_invite_return(session, &request->invite_hash, id, arena);
}

static enum err create(struct mongo_session *session, const Pipit__UserCreate *request,
                       struct arena *arena, Pipit__UserReply *reply) {
    const Pipit__User *user = request->user;
    bool invited = request->invite_hash.len > 0;
    bool admin = user->admin != 0;
    enum err error = ERR_OK;
    if (invited) {
        error = mongo_invite_claim(session, &request->invite_hash, user->id, request->now_ms, arena,
                                   &admin);
    }
    if (error != ERR_OK) {
        return error;
    }
    error = insert(session, request, admin);
    if (error == ERR_EXISTS && invited) {
        enum err returned = return_use(session, request, arena);
        return returned != ERR_OK ? returned : ERR_EXISTS;
    }
    return error != ERR_OK ? error : mongo_user_load(session, user->id, false, arena, &reply->user);
}

enum err mongo_user_create(struct store *store, const Pipit__UserCreate *request,
                           struct arena *arena, Pipit__UserReply *reply) {
    struct mongo_session session;
    if (!new_user_valid(request->user)) {
        return ERR_INVALID;
    }
    if (request->invite_hash.len > MONGO_HASH_BYTES_MAX) {
        return ERR_DENIED; /* no invite has such a hash */
    }
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    error = create(&session, request, arena, reply);
    mongo_end(&session);
    return error;
}

enum err mongo_user_get(struct store *store, const Pipit__UserGet *request, struct arena *arena,
                        Pipit__UserReply *reply) {
    struct mongo_session session;
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    error = mongo_user_load(&session, request->id, request->with_secret != 0, arena, &reply->user);
    mongo_end(&session);
    return error;
}

/* --- updating */

static void encode_update(const Pipit__UserUpdate *request, bson_t *update) {
    bson_t set;
    bson_t newest;
    if (request->set_display_name || request->set_password_hash || request->set_disabled ||
        request->set_admin) { /* an empty $set is an error */
        BSON_APPEND_DOCUMENT_BEGIN(update, "$set", &set);
        if (request->set_display_name) {
            BSON_APPEND_UTF8(&set, "display", request->display_name);
        }
        if (request->set_password_hash) {
            BSON_APPEND_UTF8(&set, "hash", request->password_hash);
        }
        if (request->set_disabled) {
            BSON_APPEND_BOOL(&set, "disabled", request->disabled != 0);
        }
        if (request->set_admin) {
            BSON_APPEND_BOOL(&set, "admin", request->admin != 0);
        }
        bson_append_document_end(update, &set);
    }
    BSON_APPEND_DOCUMENT_BEGIN(update, "$max", &newest);
    BSON_APPEND_INT64(&newest, "changed", (int64_t)request->now_ms);
    bson_append_document_end(update, &newest);
}

enum err mongo_user_update(struct store *store, const Pipit__UserUpdate *request,
                           struct arena *arena, Pipit__UserReply *reply) {
    struct mongo_session session;
    if (!mongo_text_valid(request->display_name) || !mongo_text_valid(request->password_hash)) {
        return ERR_INVALID;
    }
    if (!mongo_id_valid(request->id)) {
        return ERR_NOT_FOUND;
    }
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    bson_t update = BSON_INITIALIZER;
    size_t matched = 0;
    encode_update(request, &update);
    mongo_swap_lock(request->id); /* a login compares the revision */
    error = mongo_update_by_id(&session, MONGO_USERS, request->id, &update, false, &matched);
    mongo_swap_unlock(request->id);
    bson_destroy(&update);
    if (error == ERR_OK && matched == 0) {
        error = ERR_NOT_FOUND;
    }
    if (error == ERR_OK) {
        error = mongo_user_load(&session, request->id, false, arena, &reply->user);
    }
    mongo_end(&session);
    return error;
}
