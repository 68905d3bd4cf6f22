/* mongo_stats: the store's figures for the administrator's page.
 *
 * Whole collections are counted from the server's metadata, which a crash of the server may leave
 * off by a few; only the disabled accounts are counted one by one, in their index. The size on disk
 * is what dbStats says about data and indexes of this database. */
#include "services/storage/mongo_schema.h"

static enum err count_all(struct mongo_session *session, enum mongo_collection collection,
                          uint64_t *count) {
    bson_t filter = BSON_INITIALIZER;
    enum err error = mongo_count(session, collection, &filter, count);
    bson_destroy(&filter);
    return error;
}

static enum err count_disabled(struct mongo_session *session, uint64_t *count) {
    bson_t filter = BSON_INITIALIZER;
    BSON_APPEND_BOOL(&filter, "disabled", true);
    enum err error = mongo_count(session, MONGO_USERS, &filter, count);
    bson_destroy(&filter);
    return error;
}

static enum err measure(struct mongo_session *session, uint64_t *bytes) {
    bson_t command = BSON_INITIALIZER;
    bson_t reply;
    BSON_APPEND_INT32(&command, "dbStats", 1);
    enum err error = mongo_command(session, &command, &reply);
    if (error == ERR_OK) {
        *bytes = mongo_u64(&reply, "storageSize") + mongo_u64(&reply, "indexSize");
    }
    bson_destroy(&reply);
    bson_destroy(&command);
    return error;
}

static enum err fill(struct mongo_session *session, Pipit__StatsReply *reply) {
    enum err error = count_all(session, MONGO_USERS, &reply->users);
    if (error == ERR_OK) {
        error = count_disabled(session, &reply->users_disabled);
    }
    if (error == ERR_OK) {
        error = count_all(session, MONGO_DEVICES, &reply->devices);
    }
    if (error == ERR_OK) {
        error = count_all(session, MONGO_CONVERSATIONS, &reply->conversations);
    }
    if (error == ERR_OK) {
        error = count_all(session, MONGO_MESSAGES, &reply->messages);
    }
    return error != ERR_OK ? error : measure(session, &reply->store_bytes);
}

enum err mongo_stats(struct store *store, const Pipit__StatsRequest *request, struct arena *arena,
                     Pipit__StatsReply *reply) {
    struct mongo_store *self = mongo_store_of(store);
    struct mongo_session session;
    (void)request;
    char *epoch = mongo_store_epoch(self, arena);
    if (epoch == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = mongo_begin(self->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    reply->epoch = epoch;
    reply->backend = "mongodb";
    reply->schema_version = mongo_schema_step_count;
    error = fill(&session, reply);
    mongo_end(&session);
    return error;
}
