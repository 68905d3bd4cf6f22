/* sqlite_checkpoint: moves committed pages from the write-ahead log into the database, on a thread
 * of its own so that commits need not wait for random writes (an SD card takes a second for 4 MiB
 * of them). */
#ifndef PIPIT_STORAGE_SQLITE_CHECKPOINT_H
#define PIPIT_STORAGE_SQLITE_CHECKPOINT_H

#include "services/storage/sqlite_db.h"
#include <pthread.h>
#include <stdatomic.h>

#define SQLITE_CHECKPOINT_FRAMES 1000      /* 4 MiB of log: SQLite's own default */
#define SQLITE_CHECKPOINT_FRAMES_MAX 8000u /* 32 MiB: the writer itself does it before going on */

struct sqlite_checkpoint {
    const char *path; /* borrowed */
    struct sqlite_db db;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards stop and wanted */
    pthread_cond_t wake;
    bool stop, wanted;
    pthread_mutex_t running;     /* one checkpoint at a time */
    atomic_uint_fast64_t frames; /* in the log after the last commit */
};

void sqlite_checkpoint_init(struct sqlite_checkpoint *checkpoint);
void sqlite_checkpoint_finish(struct sqlite_checkpoint *checkpoint); /* stopped before */
/* Opens its connection and starts the thread. path is borrowed until stop. */
enum err sqlite_checkpoint_start(struct sqlite_checkpoint *checkpoint, const char *path) MUST_CHECK;
void sqlite_checkpoint_stop(struct sqlite_checkpoint *checkpoint); /* accepts one never started */
/* Counts the frames of this connection's commits; again after each reopening. */
void sqlite_checkpoint_watch(struct sqlite_checkpoint *checkpoint, struct sqlite_db *writer);
/* On the writer's thread between transactions: does the work at once when the log has outgrown the
 * thread. */
void sqlite_checkpoint_maintain(struct sqlite_checkpoint *checkpoint, struct sqlite_db *writer);
/* Empties the log (at close). */
enum err sqlite_checkpoint_all(struct sqlite_checkpoint *checkpoint,
                               struct sqlite_db *writer) MUST_CHECK;

#endif
