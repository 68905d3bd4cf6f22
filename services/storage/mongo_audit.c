/* mongo_audit: the log of administrative acts.
 *
 * An entry's _id is the time in microseconds, or the newest _id + 1 where that is more, so ids only
 * grow whatever the clocks of several instances say; two that take the same one are told apart by
 * the unique _id, and the second takes the next. The oldest entries beyond the bound are dropped
 * once in a while: looking is a count, which need not be paid by each act. */
#include "services/storage/mongo_accounts.h"

#include "common/id.h"

#include <stdatomic.h>

#define TRIM_EVERY 256u        /* entries between two looks at the bound */
#define TRIM_ENTRIES_MAX 1024u /* dropped in one look */

static enum err note_any(const bson_t *doc, void *user) {
    (void)doc;
    *(bool *)user = true;
    return ERR_EXISTS; /* one is enough */
}

enum err mongo_has_any(struct mongo_session *session, enum mongo_collection collection, bool *any) {
    bson_t filter = BSON_INITIALIZER;
    bson_t projection = BSON_INITIALIZER;
    bool found = false;
    BSON_APPEND_INT32(&projection, "_id", 1);
    struct mongo_find find = {
        .collection = collection, .filter = &filter, .projection = &projection, .limit = 1};
    enum err error = mongo_find(session, &find, note_any, &found);
    bson_destroy(&projection);
    bson_destroy(&filter);
    if (error == ERR_OK) {
        *any = found;
    }
    return error;
}

/* --- appending */

static enum err note_id(const bson_t *doc, void *user) {
    *(uint64_t *)user = mongo_u64(doc, "_id");
    return ERR_OK;
}

/* The last _id of the first `limit` in this direction (1 oldest first, -1 newest first); 0 = none.
 */
static enum err find_id(struct mongo_session *session, int direction, uint32_t limit,
                        uint64_t *id) {
    bson_t filter = BSON_INITIALIZER;
    bson_t projection = BSON_INITIALIZER;
    bson_t sort = BSON_INITIALIZER;
    BSON_APPEND_INT32(&projection, "_id", 1);
    BSON_APPEND_INT32(&sort, "_id", direction);
    struct mongo_find find = {.collection = MONGO_AUDIT,
                              .filter = &filter,
                              .projection = &projection,
                              .sort = &sort,
                              .limit = limit};
    *id = 0;
    enum err error = mongo_find(session, &find, note_id, id);
    bson_destroy(&sort);
    bson_destroy(&projection);
    bson_destroy(&filter);
    return error;
}

void mongo_audit_encode(const Pipit__AuditEntry *entry, bson_t *doc) {
    BSON_APPEND_INT64(doc, "_id", (int64_t)entry->id);
    BSON_APPEND_UTF8(doc, "actor", entry->actor);
    BSON_APPEND_UTF8(doc, "action", entry->action);
    BSON_APPEND_UTF8(doc, "subject", entry->subject);
    BSON_APPEND_UTF8(doc, "detail", entry->detail);
    BSON_APPEND_INT64(doc, "at", (int64_t)entry->at_ms);
    BSON_APPEND_UTF8(doc, "address", entry->address);
}

static enum err insert(struct mongo_session *session, const Pipit__AuditAppend *request,
                       uint64_t id) {
    Pipit__AuditEntry entry = PIPIT__AUDIT_ENTRY__INIT;
    entry.id = id;
    entry.actor = request->actor;
    entry.action = request->action;
    entry.subject = request->subject;
    entry.detail = request->detail;
    entry.at_ms = request->now_ms;
    entry.address = request->address;
    bson_t doc = BSON_INITIALIZER;
    mongo_audit_encode(&entry, &doc);
    enum err error = mongo_insert_one(session, MONGO_AUDIT, &doc);
    bson_destroy(&doc);
    return error;
}

static enum err append(struct mongo_session *session, const Pipit__AuditAppend *request) {
    enum err error = ERR_EXISTS;
    for (unsigned i = 0; i < MONGO_RETRIES_MAX && error == ERR_EXISTS; i++) {
        uint64_t newest = 0;
        error = find_id(session, -1, 1, &newest);
        if (error == ERR_OK) {
            uint64_t now_us = request->now_ms * 1000;
            uint64_t id = now_us > newest ? now_us : newest + 1;
            /* Many at once: they spread out. */
            error = insert(session, request, id + (i > 0 ? id_random_u64() % (8u << i) : 0));
        }
    }
    return error == ERR_EXISTS ? ERR_UNAVAILABLE : error;
}

static enum err trim(struct mongo_session *session) {
    bson_t filter = BSON_INITIALIZER;
    bson_t range;
    uint64_t count = 0;
    uint64_t last = 0;
    size_t deleted = 0;
    enum err error = mongo_count(session, MONGO_AUDIT, &filter, &count);
    if (error == ERR_OK && count > STORE_AUDIT_ROWS_MAX) {
        uint64_t excess = count - STORE_AUDIT_ROWS_MAX;
        error = find_id(session, 1, mongo_limit((uint32_t)excess, TRIM_ENTRIES_MAX), &last);
    }
    if (error == ERR_OK && last > 0) {
        BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &range);
        BSON_APPEND_INT64(&range, "$lte", (int64_t)last);
        bson_append_document_end(&filter, &range);
        error = mongo_delete(session, MONGO_AUDIT, &filter, &deleted);
    }
    bson_destroy(&filter);
    return error;
}

enum err mongo_audit_append(struct store *store, const Pipit__AuditAppend *request,
                            struct arena *arena, Pipit__StatusReply *reply) {
    static atomic_uint appended;
    (void)arena;
    (void)reply;
    if (!mongo_text_valid(request->actor) || !mongo_text_valid(request->action) ||
        !mongo_text_valid(request->subject) || !mongo_text_valid(request->detail) ||
        !mongo_text_valid(request->address)) {
        return ERR_INVALID;
    }
    struct mongo_session session;
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    error = append(&session, request);
    if (error == ERR_OK && atomic_fetch_add(&appended, 1) % TRIM_EVERY == TRIM_EVERY - 1) {
        err_ignore(trim(&session)); /* the act is recorded; the next look drops what this left */
    }
    mongo_end(&session);
    return error;
}

/* --- listing */

struct listing {
    struct arena *arena;
    Pipit__AuditReply *reply;
};

static enum err add(const bson_t *doc, void *user) {
    struct listing *listing = user;
    Pipit__AuditEntry *entry = arena_alloc(listing->arena, sizeof(*entry));
    if (entry == NULL) {
        return ERR_NO_MEMORY;
    }
    pipit__audit_entry__init(entry);
    entry->id = mongo_u64(doc, "_id");
    entry->at_ms = mongo_u64(doc, "at");
    entry->actor = mongo_text(doc, "actor", listing->arena);
    entry->action = mongo_text(doc, "action", listing->arena);
    entry->subject = mongo_text(doc, "subject", listing->arena);
    entry->detail = mongo_text(doc, "detail", listing->arena);
    entry->address = mongo_text(doc, "address", listing->arena);
    if (entry->actor == NULL || entry->action == NULL || entry->subject == NULL ||
        entry->detail == NULL || entry->address == NULL) {
        return ERR_NO_MEMORY;
    }
    listing->reply->entries[listing->reply->n_entries++] = entry;
    return ERR_OK;
}

static enum err list(struct mongo_session *session, uint64_t before_id, uint32_t limit,
                     struct listing *listing) {
    bson_t filter = BSON_INITIALIZER;
    bson_t range;
    bson_t sort = BSON_INITIALIZER;
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &range);
    BSON_APPEND_INT64(&range, "$lt", (int64_t)before_id);
    bson_append_document_end(&filter, &range);
    BSON_APPEND_INT32(&sort, "_id", -1);
    struct mongo_find find = {
        .collection = MONGO_AUDIT, .filter = &filter, .sort = &sort, .limit = limit};
    enum err error = mongo_find(session, &find, add, listing);
    bson_destroy(&sort);
    bson_destroy(&filter);
    return error;
}

enum err mongo_audit(struct store *store, const Pipit__AuditRequest *request, struct arena *arena,
                     Pipit__AuditReply *reply) {
    uint32_t limit = mongo_limit(request->limit, STORE_USERS_LIMIT_MAX);
    uint64_t before_id =
        request->before_id == 0 || request->before_id > INT64_MAX ? INT64_MAX : request->before_id;
    reply->entries = arena_alloc(arena, limit * sizeof(*reply->entries));
    if (reply->entries == NULL) {
        return ERR_NO_MEMORY;
    }
    struct mongo_session session;
    struct listing listing = {.arena = arena, .reply = reply};
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    error = list(&session, before_id, limit, &listing);
    mongo_end(&session);
    return error;
}
