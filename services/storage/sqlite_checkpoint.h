/* sqlite_checkpoint: moves committed pages from the write-ahead log into the database, on a thread
 * of its own so that commits need not wait for random writes (an SD card takes a second for 4 MiB
 * of them). */
#ifndef PIPIT_STORAGE_SQLITE_CHECKPOINT_H
#define PIPIT_STORAGE_SQLITE_CHECKPOINT_H

#include "services/storage/sqlite_db.h"
#include <pthread.h>
#include <stdatomic.h>

/* 16 MiB of log. Source: measured with 64 and 256 messages a commit in 200 conversations: 10-15 %
 * more messages a second and 20 % less CPU each than SQLite's default of 1000, since index pages
 * that change again and again are copied once. */
#define SQLITE_CHECKPOINT_FRAMES 4000
#define SQLITE_CHECKPOINT_FRAMES_MAX                                                               \
    16000u /* 64 MiB: the writer itself does it before going on                                    \
            */

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
    uint64_t frames_max;         /* SQLITE_CHECKPOINT_FRAMES_MAX; tests lower it */
};

/* path is borrowed until finish. */
void sqlite_checkpoint_init(struct sqlite_checkpoint *checkpoint, const char *path);
void sqlite_checkpoint_finish(struct sqlite_checkpoint *checkpoint); /* stopped before */
/* Bytes of the database and its log on disk. Any thread. */
uint64_t sqlite_checkpoint_store_bytes(const char *path);
/* Opens its connection and starts the thread. */
enum err sqlite_checkpoint_start(struct sqlite_checkpoint *checkpoint) MUST_CHECK;
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
