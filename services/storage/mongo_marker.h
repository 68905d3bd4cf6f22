/* mongo_marker: the document by which a migration into this database is known: how far it is, and
 * that nobody may use the database before it is complete. */
#ifndef PIPIT_STORAGE_MONGO_MARKER_H
#define PIPIT_STORAGE_MONGO_MARKER_H

#include "services/storage/store_mongo.h"

struct mongo_marker {
    bool found, done;
    char source[MONGO_EPOCH_BYTES]; /* history epoch of the store that is moved here */
    uint64_t row;                   /* messages up to this row of the source are here */
};

/* found false when there is none. */
enum err mongo_marker_read(struct mongo_session *session, struct mongo_marker *marker) MUST_CHECK;
/* A migration from `source` begins. ERR_EXISTS: there is a marker already. */
enum err mongo_marker_begin(struct mongo_session *session, const char *source) MUST_CHECK;
enum err mongo_marker_advance(struct mongo_session *session, uint64_t row) MUST_CHECK;
enum err mongo_marker_finish(struct mongo_session *session) MUST_CHECK;
/* For every other program: ERR_UNSUPPORTED while a migration is not complete; problem gets a line
 * that says what to do. */
enum err mongo_marker_admits(struct mongo_session *session, struct buf *problem) MUST_CHECK;

#endif
