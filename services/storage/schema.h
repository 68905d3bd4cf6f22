/* schema: the tables of the SQLite back end and their migration, forward only. */
#ifndef PIPIT_STORAGE_SCHEMA_H
#define PIPIT_STORAGE_SCHEMA_H

#include "services/storage/sqlite_db.h"

/* steps[n] brings version n to n + 1; never edited once released, only appended to. */
extern const char *const schema_steps[];
extern const uint32_t schema_step_count; /* = the version this program speaks */

/* Brings the store to version `count`, each step in a durable transaction of its own together with
 * its new version number, so a crash or a full disk in between is continued at the next start.
 * *found is the version it had. ERR_UNSUPPORTED: the store is newer; untouched. */
enum err schema_migrate(struct sqlite_db *db, const char *const *steps, uint32_t count,
                        uint32_t *found) MUST_CHECK;

#endif
