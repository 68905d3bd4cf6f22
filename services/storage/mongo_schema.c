/* mongo_schema: what must exist in the database before the first request.
 *
 * The unique index on (conv, seq) is the order of every conversation (I2), so it is not only made
 * by the first start but looked after at each one, and whenever the server comes back: a dump may
 * have been restored without indexes, or into an empty server. createIndexes is a lookup when they
 * are there. An index that cannot be made, because the data contradicts it, keeps requests out.
 *
 * The version is a document in `meta`, raised by $max after each step. Without transactions a crash
 * leaves a step half done: steps are repeatable, and instances that start together may run one at
 * the same time.
 *
 * The epoch is a document, too. Who restores a backup deletes it ({_id: "epoch"} in `meta`);
 * the next instance that sees the database makes a new one, and clients rebuild their history. */
#include "services/storage/mongo_schema.h"

#include "common/id.h"
#include "common/log.h"
#include "services/storage/mongo_filter.h"
#include "services/storage/mongo_marker.h"
#include <stdio.h>

#define META_SCHEMA "schema"
#define META_EPOCH "epoch"

const struct mongo_index mongo_indexes[] = {
    {MONGO_MESSAGES, "conv_seq", true, {"conv", "seq"}},
    {MONGO_CONVERSATIONS, "members_u", false, {"members.u", "_id"}},
    {MONGO_FAMILIES, "tokens_h", false, {"tokens.h"}},
    {MONGO_REVOCATIONS, "until", false, {"until"}},
    {MONGO_USERS, "disabled", false, {"disabled"}},
};
const size_t mongo_index_count = sizeof(mongo_indexes) / sizeof(mongo_indexes[0]);

/* Version 1 is indexes alone, and those are made at every start. */
static enum err version_1(struct mongo_session *session) {
    return mongo_schema_index(session);
}

const mongo_schema_step mongo_schema_steps[] = {version_1};
const uint32_t mongo_schema_step_count = sizeof(mongo_schema_steps) / sizeof(mongo_schema_steps[0]);

static void append_index(bson_t *array, unsigned position, const struct mongo_index *index) {
    char place[16];
    bson_t item;
    bson_t key;
    (void)snprintf(place, sizeof(place), "%u", position);
    bson_append_document_begin(array, place, -1, &item);
    BSON_APPEND_DOCUMENT_BEGIN(&item, "key", &key);
    for (size_t i = 0; i < MONGO_INDEX_KEYS_MAX && index->keys[i] != NULL; i++) {
        BSON_APPEND_INT32(&key, index->keys[i], 1);
    }
    bson_append_document_end(&item, &key);
    BSON_APPEND_UTF8(&item, "name", index->name);
    if (index->unique) {
        BSON_APPEND_BOOL(&item, "unique", true);
    }
    bson_append_document_end(array, &item);
}

static enum err make_indexes(struct mongo_session *session, enum mongo_collection collection) {
    bson_t command = BSON_INITIALIZER;
    bson_t array;
    bson_t reply;
    unsigned count = 0;
    BSON_APPEND_UTF8(&command, "createIndexes", mongo_collection_name(collection));
    BSON_APPEND_ARRAY_BEGIN(&command, "indexes", &array);
    for (size_t i = 0; i < mongo_index_count; i++) {
        if (mongo_indexes[i].collection == collection) {
            append_index(&array, count++, &mongo_indexes[i]);
        }
    }
    bson_append_array_end(&command, &array);
    enum err error = ERR_OK;
    if (count > 0) {
        error = mongo_command(session, &command, &reply);
        bson_destroy(&reply);
    }
    bson_destroy(&command);
    return error;
}

enum err mongo_schema_index(struct mongo_session *session) {
    enum err error = ERR_OK;
    for (unsigned i = 0; i < MONGO_COLLECTION_COUNT && error == ERR_OK; i++) {
        error = make_indexes(session, (enum mongo_collection)i);
    }
    return error;
}

static enum err raise_version(struct mongo_session *session, uint32_t version) {
    bson_t update = BSON_INITIALIZER;
    bson_t max;
    size_t matched = 0;
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$max", &max);
    BSON_APPEND_INT64(&max, "version", version);
    bson_append_document_end(&update, &max);
    enum err error = mongo_update_by_id(session, MONGO_META, META_SCHEMA, &update, true, &matched);
    bson_destroy(&update);
    return error;
}

enum err mongo_schema_migrate(struct mongo_session *session, const mongo_schema_step *steps,
                              uint32_t count, uint32_t *found) {
    bson_t doc;
    enum err error = mongo_get(session, MONGO_META, META_SCHEMA, &doc);
    uint64_t version = error == ERR_OK ? mongo_u64(&doc, "version") : 0;
    bson_destroy(&doc);
    if (error != ERR_OK && error != ERR_NOT_FOUND) {
        return error;
    }
    *found = (uint32_t)version;
    if (version > count) {
        return ERR_UNSUPPORTED;
    }
    error = ERR_OK;
    for (uint32_t next = (uint32_t)version; next < count && error == ERR_OK; next++) {
        error = steps[next](session);
        if (error == ERR_OK) {
            error = raise_version(session, next + 1);
        }
    }
    return error;
}

/* Inserted, never replaced: of instances that start together one wins and all read its epoch. */
static enum err make_epoch(struct mongo_session *session) {
    char epoch[MONGO_EPOCH_BYTES];
    bson_t doc = BSON_INITIALIZER;
    id_random_text("e_", epoch, sizeof(epoch));
    BSON_APPEND_UTF8(&doc, "_id", META_EPOCH);
    BSON_APPEND_UTF8(&doc, "value", epoch);
    enum err error = mongo_insert_one(session, MONGO_META, &doc);
    bson_destroy(&doc);
    return error == ERR_EXISTS ? ERR_OK : error;
}

static enum err read_epoch(struct mongo_session *session, struct mongo_store *store) {
    bson_t doc;
    enum err error = mongo_get(session, MONGO_META, META_EPOCH, &doc);
    if (error == ERR_OK) {
        (void)pthread_mutex_lock(&store->epoch_lock); /* cannot fail: ours, not recursive */
        (void)snprintf(store->epoch, sizeof(store->epoch), "%s", mongo_peek(&doc, "value"));
        (void)pthread_mutex_unlock(&store->epoch_lock);
    }
    bson_destroy(&doc);
    return error;
}

static enum err load_epoch(struct mongo_session *session, struct mongo_store *store) {
    enum err error = read_epoch(session, store);
    if (error == ERR_NOT_FOUND) {
        error = make_epoch(session);
        if (error == ERR_OK) {
            error = read_epoch(session, store);
        }
    }
    return error;
}

static enum err migrate(struct mongo_session *session, struct buf *problem) {
    uint32_t found = 0;
    enum err error =
        mongo_schema_migrate(session, mongo_schema_steps, mongo_schema_step_count, &found);
    if (error == ERR_UNSUPPORTED) {
        err_ignore(buf_append_format(problem, /* a cut line is better than none */
                                     "the database has schema version %u, this program knows up "
                                     "to %u; start the newer version, or restore a backup",
                                     found, mongo_schema_step_count));
    } else if (error == ERR_OK && found != 0 && found != mongo_schema_step_count) {
        log_event(LOG_INFO, "store schema migrated", F_UINT("from", found),
                  F_UINT("to", mongo_schema_step_count));
    }
    return error;
}

enum err mongo_schema_prepare(struct mongo_session *session, void *store, struct buf *problem) {
    struct mongo_store *self = store;
    enum err error = mongo_marker_admits(session, problem);
    if (error == ERR_OK) {
        error = migrate(session, problem);
    }
    if (error == ERR_OK) {
        error = mongo_schema_index(session);
        if (error != ERR_OK) {
            err_ignore(buf_append_format(problem, "its indexes cannot be made: %s; see the log",
                                         err_text(error))); /* a cut line is better than none */
        }
    }
    if (error == ERR_OK) {
        error = load_epoch(session, self);
    }
    if (error == ERR_OK) {
        mongo_heads_clear(&self->heads);
    }
    atomic_store(&self->prepared, error);
    return error;
}
