/* mongo_marker: {_id: "migration", source, state: "running" or "done", row} in `meta`.
 *
 * The marker is inserted into an empty database before anything else and is what makes a migration
 * restartable: the same source goes on at `row`, any other is refused. While it is not "done" the
 * database holds a part of the truth, and a service that used it would answer wrongly, so
 * mongo_schema_prepare asks here first. It stays for ever, saying where the data came from. */
#include "services/storage/mongo_marker.h"

#include "services/storage/mongo_filter.h"
#include <stdio.h>

#define MARKER_ID "migration"
#define RUNNING "running"
#define DONE "done"

enum err mongo_marker_read(struct mongo_session *session, struct mongo_marker *marker) {
    bson_t doc;
    *marker = (struct mongo_marker){.found = false};
    enum err error = mongo_get(session, MONGO_META, MARKER_ID, &doc);
    if (error == ERR_OK) {
        marker->found = true;
        marker->done = strcmp(mongo_peek(&doc, "state"), DONE) == 0;
        marker->row = mongo_u64(&doc, "row");
        (void)snprintf(marker->source, sizeof(marker->source), "%s", mongo_peek(&doc, "source"));
    }
    bson_destroy(&doc);
    return error == ERR_NOT_FOUND ? ERR_OK : error;
}

enum err mongo_marker_begin(struct mongo_session *session, const char *source) {
    bson_t doc = BSON_INITIALIZER;
    BSON_APPEND_UTF8(&doc, "_id", MARKER_ID);
    BSON_APPEND_UTF8(&doc, "source", source);
    BSON_APPEND_UTF8(&doc, "state", RUNNING);
    BSON_APPEND_INT64(&doc, "row", 0);
    enum err error = mongo_insert_one(session, MONGO_META, &doc);
    bson_destroy(&doc);
    return error;
}

static enum err change(struct mongo_session *session, const bson_t *fields) {
    bson_t update = BSON_INITIALIZER;
    size_t matched = 0;
    BSON_APPEND_DOCUMENT(&update, "$set", fields);
    enum err error = mongo_update_by_id(session, MONGO_META, MARKER_ID, &update, false, &matched);
    bson_destroy(&update);
    return error == ERR_OK && matched == 0 ? ERR_CORRUPT : error; /* somebody deleted it */
}

enum err mongo_marker_advance(struct mongo_session *session, uint64_t row) {
    bson_t fields = BSON_INITIALIZER;
    BSON_APPEND_INT64(&fields, "row", (int64_t)row);
    enum err error = change(session, &fields);
    bson_destroy(&fields);
    return error;
}

enum err mongo_marker_finish(struct mongo_session *session) {
    bson_t fields = BSON_INITIALIZER;
    BSON_APPEND_UTF8(&fields, "state", DONE);
    enum err error = change(session, &fields);
    bson_destroy(&fields);
    return error;
}

enum err mongo_marker_admits(struct mongo_session *session, struct buf *problem) {
    struct mongo_marker marker;
    enum err error = mongo_marker_read(session, &marker);
    if (error != ERR_OK || !marker.found || marker.done) {
        return error;
    }
    err_ignore(buf_append_text(problem, /* a cut line is better than none */
                               "a migration into this database is not complete; run pipit-storage "
                               "--migrate-from again to its end, or drop the database"));
    return ERR_UNSUPPORTED;
}
