/* mongo_filter: composed ids and the filters over them.
 *
 * MongoDB compares strings byte by byte (no collation is used), so the documents of one user are a
 * range of the _id index and need no second one. 0x1f cannot be part of an id: every service checks
 * names before they come here, and a longer id than STORE_ID_BYTES_MAX is refused by the callers,
 * which is what bounds the composed ones. */
#include "services/storage/mongo_filter.h"

#include "common/contract.h"
#include <stdio.h>

const char *mongo_join(char out[MONGO_JOINED_BYTES], const char *first, const char *second,
                       const char *third) {
    int bytes = third == NULL
                    ? snprintf(out, MONGO_JOINED_BYTES, "%s" MONGO_JOINT "%s", first, second)
                    : snprintf(out, MONGO_JOINED_BYTES, "%s" MONGO_JOINT "%s" MONGO_JOINT "%s",
                               first, second, third);
    CONTRACT(bytes > 0 && (size_t)bytes < MONGO_JOINED_BYTES);
    return out;
}

static void append_edge(bson_t *range, const char *comparison, const char *first,
                        const char *second, const char *last_byte) {
    char edge[MONGO_JOINED_BYTES];
    int bytes = second == NULL ? snprintf(edge, sizeof(edge), "%s%s", first, last_byte)
                               : snprintf(edge, sizeof(edge), "%s" MONGO_JOINT "%s%s", first,
                                          second, last_byte);
    CONTRACT(bytes > 0 && (size_t)bytes < sizeof(edge));
    BSON_APPEND_UTF8(range, comparison, edge);
}

void mongo_append_range(bson_t *filter, const char *first, const char *second, bson_t *range) {
    BSON_APPEND_DOCUMENT_BEGIN(filter, "_id", range);
    append_edge(range, "$gte", first, second, MONGO_JOINT);
    append_edge(range, "$lt", first, second, MONGO_JOINT_END);
}

void mongo_range_filter(bson_t *filter, const char *first, const char *second) {
    bson_t range;
    bson_init(filter);
    mongo_append_range(filter, first, second, &range);
    bson_append_document_end(filter, &range);
}

void mongo_append_in(bson_t *filter, const char *key, const char *const *texts, size_t count) {
    bson_t condition;
    bson_t array;
    BSON_APPEND_DOCUMENT_BEGIN(filter, key, &condition);
    BSON_APPEND_ARRAY_BEGIN(&condition, "$in", &array);
    uint32_t used = 0;
    for (size_t i = 0; i < count; i++) {
        char room[16];
        const char *place = NULL;
        if (bson_utf8_validate(texts[i], strlen(texts[i]), false)) { /* else it matches nothing */
            (void)bson_uint32_to_string(used++, &place, room, sizeof(room));
            BSON_APPEND_UTF8(&array, place, texts[i]);
        }
    }
    bson_append_array_end(&condition, &array);
    bson_append_document_end(filter, &condition);
}

void mongo_sort_by_id(bson_t *sort) {
    bson_init(sort);
    BSON_APPEND_INT32(sort, "_id", 1);
}

void mongo_id_filter(bson_t *filter, const char *id) {
    bson_init(filter);
    BSON_APPEND_UTF8(filter, "_id", id);
}

enum err mongo_update_by_id(struct mongo_session *session, enum mongo_collection collection,
                            const char *id, bson_t *update, bool upsert, size_t *matched) {
    bson_t filter;
    mongo_id_filter(&filter, id);
    struct mongo_update change = {.filter = &filter, .update = update, .upsert = upsert};
    enum err error = mongo_update(session, collection, &change, 1, matched);
    bson_destroy(&filter);
    return error;
}

enum err mongo_insert_one(struct mongo_session *session, enum mongo_collection collection,
                          const bson_t *doc) {
    size_t inserted = 0;
    return mongo_insert(session, collection, &doc, 1, &inserted);
}
