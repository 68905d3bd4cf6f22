/* mongo_import: writes the rows of another store into MongoDB: in batches, patient with a server
 * that is away for a while, and harmless to repeat. */
#ifndef PIPIT_STORAGE_MONGO_IMPORT_H
#define PIPIT_STORAGE_MONGO_IMPORT_H

#include "services/storage/migrate_progress.h"
#include "services/storage/mongo_marker.h"
#include "services/storage/sqlite_export.h"

#define MONGO_IMPORT_BATCH 256u           /* documents of one insert */
#define MONGO_IMPORT_BATCH_BYTES 4000000u /* a batch is full beyond this, too */
#define MONGO_IMPORT_PATIENCE_MS 120000u  /* with a server that is down */
#define MONGO_IMPORT_MARK_EVERY 1024u     /* messages between two marks of how far it is */

struct mongo_import;
/* `db` is borrowed. ERR_NO_MEMORY. */
enum err mongo_import_create(struct mongo_db *db, struct mongo_import **out) MUST_CHECK;
void mongo_import_destroy(struct mongo_import **import);
/* One line about the last error, "" when the error speaks for itself. */
const char *mongo_import_problem(const struct mongo_import *import);

/* Runs `work` with a session; while the server is away waits and runs it again, so it must be
 * repeatable. */
enum err mongo_import_patiently(struct mongo_import *import,
                                enum err (*work)(struct mongo_session *session, void *user),
                                void *user) MUST_CHECK;
/* Deletes everything but messages and what `meta` says: what a former run left of small tables. */
enum err mongo_import_clear(struct mongo_import *import) MUST_CHECK;
/* Sets the history epoch. */
enum err mongo_import_epoch(struct mongo_import *import, const char *epoch) MUST_CHECK;
/* Where the exported rows go; what they become is stored when mongo_import_flush returned ERR_OK.
 * ERR_CONFLICT: a document with that _id, and another content, is there. */
struct export_sink mongo_import_sink(struct mongo_import *import,
                                     struct migrate_progress *progress);
enum err mongo_import_flush(struct mongo_import *import) MUST_CHECK;
/* A former run stored the messages up to this row. */
void mongo_import_resume(struct mongo_import *import, uint64_t row);
/* Stores messages (flushed), those that are there already being compared; the marker advances now
 * and then. */
enum err mongo_import_messages(struct mongo_import *import, const struct export_message *messages,
                               size_t count) MUST_CHECK;
/* The marker advances to the last message stored. */
enum err mongo_import_mark(struct mongo_import *import) MUST_CHECK;
/* True when each of these messages is stored as it would be stored. count <= MONGO_IMPORT_BATCH. */
enum err mongo_import_compare(struct mongo_import *import, const struct export_message *messages,
                              size_t count, bool *same) MUST_CHECK;

#endif
