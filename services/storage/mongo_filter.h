/* mongo_filter: filters and composed ids that several mongo_*.c files need. */
#ifndef PIPIT_STORAGE_MONGO_FILTER_H
#define PIPIT_STORAGE_MONGO_FILTER_H

#include "services/storage/store_mongo.h"

/* What belongs to a user, or to a user and another id, has the parts as its _id, joined by a byte
 * that no id contains; what belongs to one user is then a range of the _id index. */
#define MONGO_JOINT "\x1f"
#define MONGO_JOINT_END "\x20" /* follows every id that begins with the same part */
#define MONGO_JOINED_BYTES (3u * (STORE_ID_BYTES_MAX + 1u) + 1u)

/* Joins two or three (third may be NULL) ids of at most STORE_ID_BYTES_MAX bytes. Returns out. */
const char *mongo_join(char out[MONGO_JOINED_BYTES], const char *first, const char *second,
                       const char *third);
/* Appends "_id": all ids whose first part (second NULL) or first two parts are these. The begun
 * document lets the caller add conditions (such as $ne) before bson_append_document_end. */
void mongo_append_range(bson_t *filter, const char *first, const char *second, bson_t *range);
/* {"_id": the range} alone. */
void mongo_range_filter(bson_t *filter, const char *first, const char *second);
/* Appends key: {"$in": [texts]}. */
void mongo_append_in(bson_t *filter, const char *key, const char *const *texts, size_t count);
/* {"_id": 1}: the order of ids. */
void mongo_sort_by_id(bson_t *sort);
/* {"_id": text} */
void mongo_id_filter(bson_t *filter, const char *id);
/* One update of the document whose _id is this text. */
enum err mongo_update_by_id(struct mongo_session *session, enum mongo_collection collection,
                            const char *id, bson_t *update, bool upsert,
                            size_t *matched) MUST_CHECK;
/* One document. ERR_EXISTS. */
enum err mongo_insert_one(struct mongo_session *session, enum mongo_collection collection,
                          const bson_t *doc) MUST_CHECK;

#endif
