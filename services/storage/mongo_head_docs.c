/* mongo_head_docs: the stored heads: one small document a conversation, {_id: conversation, head,
 * ts}.
 *
 * They spare every reader the search for the end of a log, and they are what readers may see: a
 * head is raised after its messages were stored durably and before anybody is told, so what is
 * below it cannot be undone by a failover, and what is above it is nobody's knowledge yet. $max
 * makes the order in which instances raise it irrelevant. */
#include "services/storage/mongo_filter.h"
#include "services/storage/mongo_places.h"

#include "common/mem.h"

/* $max is atomic on MongoDB; FerretDB reads, changes and writes the document, which is right as
 * long as one process does it once at a time. */
static pthread_mutex_t raising = PTHREAD_MUTEX_INITIALIZER;

struct reading {
    struct mongo_places places;
    uint64_t *heads, *ts_ms;
};

static enum err read_one(const bson_t *doc, void *user) {
    struct reading *reading = user;
    size_t count = 0;
    const struct mongo_place *place =
        mongo_places_find(&reading->places, mongo_peek(doc, "_id"), &count);
    for (size_t i = 0; i < count; i++) {
        reading->heads[place[i].place] = mongo_u64(doc, "head");
        reading->ts_ms[place[i].place] = mongo_u64(doc, "ts");
    }
    return ERR_OK;
}

enum err mongo_heads_read(struct mongo_session *session, const char *const *ids, size_t count,
                          uint64_t *heads, uint64_t *ts_ms) {
    struct reading reading = {.heads = heads, .ts_ms = ts_ms};
    for (size_t i = 0; i < count; i++) {
        heads[i] = 0;
        ts_ms[i] = 0;
    }
    if (count == 0) {
        return ERR_OK;
    }
    enum err error = mongo_places_init(&reading.places, ids, count);
    if (error != ERR_OK) {
        return error;
    }
    bson_t filter = BSON_INITIALIZER;
    if (count == 1) {
        BSON_APPEND_UTF8(&filter, "_id", ids[0]);
    } else {
        mongo_append_in(&filter, "_id", ids, count);
    }
    struct mongo_find find = {.collection = MONGO_HEADS, .filter = &filter};
    error = mongo_find(session, &find, read_one, &reading);
    bson_destroy(&filter);
    mongo_places_finish(&reading.places);
    return error;
}

static void make_update(const struct mongo_head *head, struct mongo_update *update) {
    bson_t max;
    update->filter = bson_new();
    update->update = bson_new();
    update->upsert = true;
    BSON_APPEND_UTF8(update->filter, "_id", head->id);
    BSON_APPEND_DOCUMENT_BEGIN(update->update, "$max", &max);
    BSON_APPEND_INT64(&max, "head", (int64_t)head->head);
    BSON_APPEND_INT64(&max, "ts", (int64_t)head->ts_ms);
    bson_append_document_end(update->update, &max);
}

enum err mongo_heads_raise(struct mongo_session *session, const struct mongo_head *heads,
                           size_t count) {
    size_t matched = 0;
    if (count == 0) {
        return ERR_OK;
    }
    struct mongo_update *updates = mem_alloc(count * sizeof(*updates));
    if (updates == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        make_update(&heads[i], &updates[i]);
    }
    (void)pthread_mutex_lock(&raising); /* cannot fail: static, not recursive */
    enum err error = mongo_update(session, MONGO_HEADS, updates, count, &matched);
    (void)pthread_mutex_unlock(&raising);
    if (error == ERR_OK && matched != count) {
        error = ERR_CORRUPT; /* neither found nor made: a reply that makes no sense */
    }
    for (size_t i = 0; i < count; i++) {
        bson_destroy(updates[i].filter);
        bson_destroy(updates[i].update);
    }
    mem_free(updates);
    return error;
}
