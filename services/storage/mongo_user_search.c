/* mongo_user_search: accounts by prefix of their name or part of their display name, in pages.
 *
 * The names are walked in the order of _id ("u_" + name) and compared here, byte by byte with ASCII
 * folded, exactly as the embedded back end does: part of a display name has no index in any server,
 * and a pattern would read characters of the query as wildcards. An installation has thousands of
 * accounts, not millions. The walk stops one account behind the page. */
#include "services/storage/mongo_accounts.h"

struct search {
    const Pipit__UsersRequest *request;
    struct arena *arena;
    uint32_t limit;
    Pipit__UsersReply *reply;
};

static char lower(char byte) {
    return byte >= 'A' && byte <= 'Z' ? (char)(byte - 'A' + 'a') : byte;
}

static bool begins_with(const char *text, const char *query) {
    while (*query != '\0' && lower(*text) == lower(*query)) {
        text++;
        query++;
    }
    return *query == '\0';
}

static bool contains(const char *text, const char *query) {
    do {
        if (begins_with(text, query)) {
            return true;
        }
    } while (*text++ != '\0');
    return false;
}

static const char *text_of(const bson_t *doc, const char *key) {
    bson_iter_t iter;
    bool found = bson_iter_init_find(&iter, doc, key) && BSON_ITER_HOLDS_UTF8(&iter);
    return found ? bson_iter_utf8(&iter, NULL) : "";
}

static enum err add(const bson_t *doc, struct search *search) {
    Pipit__User *user = mongo_user_decode(doc, false, search->arena);
    if (user == NULL) {
        return ERR_NO_MEMORY;
    }
    search->reply->users[search->reply->n_users++] = user;
    return ERR_OK;
}

static enum err visit(const bson_t *doc, void *user) {
    struct search *search = user;
    const char *query = search->request->query;
    Pipit__UsersReply *reply = search->reply;
    if (mongo_bool(doc, "disabled") && !search->request->with_disabled) {
        return ERR_OK;
    }
    if (!begins_with(text_of(doc, "name"), query) && !contains(text_of(doc, "display"), query)) {
        return ERR_OK;
    }
    if (reply->n_users == search->limit) {
        reply->next = reply->users[reply->n_users - 1]->id;
        return ERR_EXISTS; /* enough */
    }
    return add(doc, search);
}

static enum err walk(struct mongo_session *session, struct search *search) {
    bson_t filter = BSON_INITIALIZER;
    bson_t projection = BSON_INITIALIZER;
    bson_t after;
    bson_t sort;
    mongo_sort_by_id(&sort);
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &after);
    BSON_APPEND_UTF8(&after, "$gt", search->request->after);
    bson_append_document_end(&filter, &after);
    BSON_APPEND_INT32(&projection, "hash", 0);
    struct mongo_find find = {
        .collection = MONGO_USERS, .filter = &filter, .projection = &projection, .sort = &sort};
    enum err error = mongo_find(session, &find, visit, search);
    bson_destroy(&sort);
    bson_destroy(&projection);
    bson_destroy(&filter);
    return error;
}

enum err mongo_users(struct store *store, const Pipit__UsersRequest *request, struct arena *arena,
                     Pipit__UsersReply *reply) {
    struct search search = {.request = request,
                            .arena = arena,
                            .limit = mongo_limit(request->limit, STORE_USERS_LIMIT_MAX),
                            .reply = reply};
    if (!mongo_text_valid(request->after)) {
        return ERR_INVALID;
    }
    reply->users = arena_alloc(arena, search.limit * sizeof(*reply->users));
    if (reply->users == NULL) {
        return ERR_NO_MEMORY;
    }
    struct mongo_session session;
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    error = walk(&session, &search);
    mongo_end(&session);
    return error;
}
