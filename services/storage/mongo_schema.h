/* mongo_schema: indexes, version and history epoch of the MongoDB back end. */
#ifndef PIPIT_STORAGE_MONGO_SCHEMA_H
#define PIPIT_STORAGE_MONGO_SCHEMA_H

#include "services/storage/store_mongo.h"

#define MONGO_INDEX_KEYS_MAX 3

/* All ascending; MongoDB walks them backwards as well. Every collection has one on _id besides. */
struct mongo_index {
    enum mongo_collection collection;
    const char *name;
    bool unique;
    const char *keys[MONGO_INDEX_KEYS_MAX]; /* NULL after the last */
};
extern const struct mongo_index mongo_indexes[];
extern const size_t mongo_index_count;

/* steps[n] brings version n to n + 1; never edited once released, only appended to. Each must be
 * repeatable, and several instances may run it at once: there is no transaction around it. */
typedef enum err (*mongo_schema_step)(struct mongo_session *session);
extern const mongo_schema_step mongo_schema_steps[];
extern const uint32_t mongo_schema_step_count; /* = the version this program speaks */

/* Brings the database to version `count`; the version is raised after each step and never lowered.
 * *found is the version it had. ERR_UNSUPPORTED: the database is newer; untouched. */
enum err mongo_schema_migrate(struct mongo_session *session, const mongo_schema_step *steps,
                              uint32_t count, uint32_t *found) MUST_CHECK;
/* Makes the indexes that are missing; the others are left alone. */
enum err mongo_schema_index(struct mongo_session *session) MUST_CHECK;
/* Each time the server comes (back): indexes, migration, epoch; forgets what was known of the data,
 * which may be another now. `store` is a struct mongo_store; its `prepared` keeps what is returned.
 * problem: one line. */
enum err mongo_schema_prepare(struct mongo_session *session, void *store,
                              struct buf *problem) MUST_CHECK;

#endif
