/* mongo_commands: reading and writing through a session.
 *
 * Writes go through libmongoc's bulk operations: they send documents beside the command, so a batch
 * is bounded by a message (48 MB) and not by a document (16 MB), and split by the server's own
 * limits. Each carries {w: majority, j: true, wtimeout}; when the reply says that this was not met,
 * the outcome is unknown whatever else it says.
 *
 * An ordered insert stops at its first error, which is what the order of messages rests on; a
 * server that goes on nevertheless is caught by its own counts. FerretDB 1.24 does so from its
 * second hundred of documents on, hence the small batches for everything that is no replica set.
 *
 * An upsert can lose a race against another of the same _id; libmongoc does not repeat it, we do.
 */
#include "services/storage/mongo_private.h"

#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"
#include <stdio.h>
#include <string.h>

#define BATCH_DOCUMENTS_SINGLE 100u /* Source: FerretDB 1.24 handler BatchSize */
#define BATCH_DOCUMENTS_SET 1000u
#define UPSERT_TRIES                                                                               \
    4u /* of one that loses against others; each loss means that another one won                   \
        */
#define FIND_BATCH_MAX 1000u

static mongoc_collection_t *collection_of(struct mongo_session *session,
                                          enum mongo_collection collection) {
    return mongoc_client_get_collection(session->client, session->db->name,
                                        mongo_collection_name(collection));
}

/* --- reading */

static bool on_set(const struct mongo_session *session) {
    return atomic_load(&session->db->kind) == MONGO_KIND_SET;
}

static void append_read_options(struct mongo_session *session, bson_t *opts) {
    struct mongo_db *db = session->db;
    BSON_APPEND_INT64(opts, "maxTimeMS", db->server_ms_max);
    if (on_set(session)) {
        (void)mongoc_read_concern_append(db->majority, opts); /* valid: it has a level */
    }
}

static void find_options(struct mongo_session *session, const struct mongo_find *find,
                         bson_t *opts) {
    uint32_t batch = find->batch != 0 ? find->batch : FIND_BATCH_MAX;
    if (find->limit != 0 && find->limit < batch) {
        batch = find->limit;
    }
    append_read_options(session, opts);
    BSON_APPEND_INT64(opts, "batchSize", batch);
    if (find->projection != NULL) {
        BSON_APPEND_DOCUMENT(opts, "projection", find->projection);
    }
    if (find->sort != NULL) {
        BSON_APPEND_DOCUMENT(opts, "sort", find->sort);
    }
    if (find->limit != 0) {
        BSON_APPEND_INT64(opts, "limit", find->limit);
    }
}

enum err mongo_find(struct mongo_session *session, const struct mongo_find *find,
                    enum err (*each)(const bson_t *doc, void *user), void *user) {
    bson_t opts = BSON_INITIALIZER;
    find_options(session, find, &opts);
    mongoc_collection_t *collection = collection_of(session, find->collection);
    mongoc_cursor_t *cursor =
        mongoc_collection_find_with_opts(collection, find->filter, &opts, NULL);
    const bson_t *doc = NULL;
    enum err error = ERR_OK;
    while (error == ERR_OK && mongoc_cursor_next(cursor, &doc)) {
        error = each(doc, user);
    }
    bson_error_t failure = {0};
    if (error == ERR_OK && mongoc_cursor_error(cursor, &failure)) {
        error = mongo_failed(session->db, MONGO_READS, "find", &failure);
        CONTRACT(error != ERR_OK);
        if (error == ERR_EXISTS) {
            error = ERR_CORRUPT; /* a find meets no unique index */
        }
    } else if (error == ERR_EXISTS) {
        error = ERR_OK; /* enough */
    }
    mongoc_cursor_destroy(cursor);
    mongoc_collection_destroy(collection);
    bson_destroy(&opts);
    return error;
}

struct first {
    bson_t *out;
    bool found;
};

static enum err keep_first(const bson_t *doc, void *user) {
    struct first *first = user;
    bson_destroy(first->out);
    bson_copy_to(doc, first->out);
    first->found = true;
    return ERR_EXISTS;
}

enum err mongo_find_one(struct mongo_session *session, const struct mongo_find *find, bson_t *out) {
    struct mongo_find one = *find;
    struct first first = {.out = out};
    one.limit = 1;
    bson_init(out);
    enum err error = mongo_find(session, &one, keep_first, &first);
    return error == ERR_OK && !first.found ? ERR_NOT_FOUND : error;
}

enum err mongo_get(struct mongo_session *session, enum mongo_collection collection, const char *id,
                   bson_t *out) {
    bson_t filter = BSON_INITIALIZER;
    BSON_APPEND_UTF8(&filter, "_id", id);
    struct mongo_find find = {.collection = collection, .filter = &filter};
    enum err error = mongo_find_one(session, &find, out);
    bson_destroy(&filter);
    return error;
}

/* --- writing */

struct outcome {
    uint64_t inserted, matched, removed;
    size_t failed_at; /* index of the first write error */
    enum err error;   /* of the whole */
};

static bool has_elements(const bson_t *reply, const char *key) {
    bson_iter_t iter;
    bson_iter_t item;
    return bson_iter_init_find(&iter, reply, key) && BSON_ITER_HOLDS_ARRAY(&iter) &&
           bson_iter_recurse(&iter, &item) && bson_iter_next(&item);
}

static enum err first_write_error(struct mongo_db *db, const bson_t *item, const char *what,
                                  size_t *failed_at) {
    bson_iter_t iter;
    bson_error_t failure = {.domain = MONGOC_ERROR_SERVER};
    failure.code = (uint32_t)mongo_u64(item, "code");
    if (bson_iter_init_find(&iter, item, "errmsg") && BSON_ITER_HOLDS_UTF8(&iter)) {
        (void)snprintf(failure.message, sizeof(failure.message), "%s", bson_iter_utf8(&iter, NULL));
    }
    *failed_at = (size_t)mongo_u64(item, "index");
    return mongo_failed(db, MONGO_WRITES, what, &failure);
}

struct write_errors {
    struct mongo_db *db;
    const char *what;
    struct outcome *outcome;
};

static enum err on_write_error(const bson_t *item, void *user) {
    struct write_errors *errors = user;
    struct outcome *outcome = errors->outcome;
    size_t at = 0;
    enum err error = first_write_error(errors->db, item, errors->what, &at);
    if (outcome->error == ERR_OK || at < outcome->failed_at) {
        outcome->error = error;
        outcome->failed_at = at;
    }
    return ERR_OK;
}

static void execute(struct mongo_session *session, mongoc_bulk_operation_t *bulk, const char *what,
                    struct outcome *outcome) {
    bson_t reply;
    bson_error_t failure = {0};
    bool done = mongoc_bulk_operation_execute(bulk, &reply, &failure) != 0;
    outcome->inserted = mongo_u64(&reply, "nInserted");
    outcome->matched = mongo_u64(&reply, "nMatched") + mongo_u64(&reply, "nUpserted");
    outcome->removed = mongo_u64(&reply, "nRemoved");
    outcome->error = ERR_OK;
    if (has_elements(&reply, "writeConcernErrors")) {
        failure.domain = MONGOC_ERROR_WRITE_CONCERN; /* also when a write error came with it */
        outcome->inserted = 0;                       /* it may all be undone by a failover */
        outcome->error = mongo_failed(session->db, MONGO_WRITES, what, &failure);
    } else if (has_elements(&reply, "writeErrors")) {
        struct write_errors errors = {session->db, what, outcome};
        outcome->error = mongo_each(&reply, "writeErrors", on_write_error, &errors);
    }
    if (!done && outcome->error == ERR_OK) {
        outcome->error = mongo_failed(session->db, MONGO_WRITES, what, &failure);
    }
    bson_destroy(&reply);
}

/* While it is known that nothing is stored, a write is not even tried: each would wait for its own
 * time-out, one after another on the one thread that writes. */
static enum err may_write(const struct mongo_session *session) {
    return session->preparing ? ERR_OK : mongo_health_now(&session->db->health);
}

static mongoc_bulk_operation_t *bulk_begin(struct mongo_session *session,
                                           mongoc_collection_t *collection, bool ordered) {
    bson_t opts;
    bson_copy_to(&session->db->durable, &opts);
    BSON_APPEND_BOOL(&opts, "ordered", ordered);
    mongoc_bulk_operation_t *bulk =
        mongoc_collection_create_bulk_operation_with_opts(collection, &opts);
    bson_destroy(&opts);
    return bulk;
}

/* One batch; ERR_INVALID: a document that the library refuses is the first that is not stored. */
static enum err insert_batch(struct mongo_session *session, mongoc_collection_t *collection,
                             const bson_t *const *docs, size_t count, size_t *inserted) {
    mongoc_bulk_operation_t *bulk = bulk_begin(session, collection, true);
    bson_error_t failure = {0};
    struct outcome outcome = {0};
    size_t good = 0;
    while (good < count &&
           mongoc_bulk_operation_insert_with_opts(bulk, docs[good], NULL, &failure)) {
        good++;
    }
    if (good > 0) {
        execute(session, bulk, "insert", &outcome);
    }
    mongoc_bulk_operation_destroy(bulk);
    *inserted = (size_t)outcome.inserted;
    if (outcome.error == ERR_OK) {
        return good < count ? mongo_failed(session->db, MONGO_WRITES, "insert", &failure) : ERR_OK;
    }
    if (outcome.error == ERR_EXISTS && outcome.inserted != outcome.failed_at) {
        log_event(LOG_ERROR, "the server went on after an error of an ordered insert",
                  F_UINT("stored", outcome.inserted), F_UINT("failed_at", outcome.failed_at));
        return ERR_CORRUPT;
    }
    return outcome.error;
}

enum err mongo_insert(struct mongo_session *session, enum mongo_collection collection,
                      const bson_t *const *docs, size_t count, size_t *inserted) {
    size_t batch_max = on_set(session) ? BATCH_DOCUMENTS_SET : BATCH_DOCUMENTS_SINGLE;
    mongoc_collection_t *place = collection_of(session, collection);
    enum err error = may_write(session);
    *inserted = 0;
    while (error == ERR_OK && *inserted < count) {
        size_t left = count - *inserted;
        size_t batch = left < batch_max ? left : batch_max;
        size_t done = 0;
        error = insert_batch(session, place, docs + *inserted, batch, &done);
        if (error == ERR_OK && done != batch) {
            error = ERR_CORRUPT; /* neither stored nor refused: a reply that makes no sense */
        }
        *inserted += done;
    }
    mongoc_collection_destroy(place);
    return error;
}

static enum err update_bulk(struct mongo_session *session, mongoc_collection_t *collection,
                            const struct mongo_update *updates, size_t count, size_t *matched) {
    mongoc_bulk_operation_t *bulk = bulk_begin(session, collection, false);
    bson_error_t failure = {0};
    struct outcome outcome = {0};
    bool good = true;
    for (size_t i = 0; i < count && good; i++) {
        bson_t opts = BSON_INITIALIZER;
        BSON_APPEND_BOOL(&opts, "upsert", updates[i].upsert);
        good = mongoc_bulk_operation_update_one_with_opts(bulk, updates[i].filter,
                                                          updates[i].update, &opts, &failure);
        bson_destroy(&opts);
    }
    if (good) {
        execute(session, bulk, "update", &outcome);
    } else {
        failure.domain = MONGOC_ERROR_BSON; /* a document that the library refuses */
        outcome.error = mongo_failed(session->db, MONGO_WRITES, "update", &failure);
    }
    mongoc_bulk_operation_destroy(bulk);
    *matched = (size_t)outcome.matched;
    return outcome.error;
}

static enum err update_one(struct mongo_session *session, mongoc_collection_t *collection,
                           const struct mongo_update *update, size_t *matched) {
    enum err error = ERR_EXISTS;
    for (unsigned i = 0; i < UPSERT_TRIES && error == ERR_EXISTS; i++) {
        error = update_bulk(session, collection, update, 1, matched);
        if (!update->upsert) {
            break;
        }
    }
    return error;
}

enum err mongo_update(struct mongo_session *session, enum mongo_collection collection,
                      const struct mongo_update *updates, size_t count, size_t *matched) {
    *matched = 0;
    enum err error = may_write(session);
    if (count == 0 || error != ERR_OK) {
        return count == 0 ? ERR_OK : error;
    }
    mongoc_collection_t *place = collection_of(session, collection);
    error = ERR_EXISTS;
    if (count > 1) {
        error = update_bulk(session, place, updates, count, matched);
    }
    if (error == ERR_EXISTS) { /* alone, or one of several lost a race: each alone */
        *matched = 0;
        error = ERR_OK;
        for (size_t i = 0; i < count && error == ERR_OK; i++) {
            size_t found = 0;
            error = update_one(session, place, &updates[i], &found);
            *matched += found;
        }
    }
    mongoc_collection_destroy(place);
    return error;
}

enum err mongo_delete(struct mongo_session *session, enum mongo_collection collection,
                      const bson_t *filter, size_t *deleted) {
    *deleted = 0;
    enum err error = may_write(session);
    if (error != ERR_OK) {
        return error;
    }
    mongoc_collection_t *place = collection_of(session, collection);
    mongoc_bulk_operation_t *bulk = bulk_begin(session, place, true);
    bson_error_t failure = {0};
    struct outcome outcome = {0};
    if (mongoc_bulk_operation_remove_many_with_opts(bulk, filter, NULL, &failure)) {
        execute(session, bulk, "delete", &outcome);
    } else {
        outcome.error = mongo_failed(session->db, MONGO_WRITES, "delete", &failure);
    }
    mongoc_bulk_operation_destroy(bulk);
    mongoc_collection_destroy(place);
    *deleted = (size_t)outcome.removed;
    return outcome.error;
}

/* --- other commands */

enum err mongo_count(struct mongo_session *session, enum mongo_collection collection,
                     const bson_t *filter, uint64_t *count) {
    bson_t command = BSON_INITIALIZER;
    bson_t opts = BSON_INITIALIZER;
    bson_t reply;
    bson_error_t failure = {0};
    BSON_APPEND_UTF8(&command, "count", mongo_collection_name(collection));
    BSON_APPEND_DOCUMENT(&command, "query", filter);
    append_read_options(session, &opts);
    bool done = mongoc_client_read_command_with_opts(session->client, session->db->name, &command,
                                                     NULL, &opts, &reply, &failure);
    enum err error = done ? ERR_OK : mongo_failed(session->db, MONGO_READS, "count", &failure);
    if (done) {
        *count = mongo_u64(&reply, "n");
    }
    bson_destroy(&reply);
    bson_destroy(&opts);
    bson_destroy(&command);
    return error;
}

enum err mongo_command(struct mongo_session *session, const bson_t *command, bson_t *reply) {
    bson_error_t failure = {0};
    bool done = mongoc_client_write_command_with_opts(session->client, session->db->name, command,
                                                      &session->db->durable, reply, &failure);
    return done ? ERR_OK : mongo_failed(session->db, MONGO_WRITES, "command", &failure);
}
