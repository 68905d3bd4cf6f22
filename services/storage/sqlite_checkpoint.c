/* sqlite_checkpoint: keeping the write-ahead log short without delaying commits.
 *
 * Two tiers. After each commit SQLite tells how many frames the log has; from 4000 on the thread
 * here runs a passive checkpoint, which copies pages while the writer goes on appending. When
 * everything is copied and no reader stands in the log, the writer starts the log from its
 * beginning. A steady stream of commits can prevent that for ever, so from 16000 frames on the
 * writer itself waits for a restart checkpoint between two groups: that is the bound on the log
 * (I8), and back-pressure.
 *
 * SQLite's automatic checkpoint is not used because it ignores errors: after a failed fsync of the
 * database the next attempt would see a success that the kernel did not mean. Here a failed fsync
 * ends the process (sqlite_db_error). A full disk only postpones: commits go on into the log while
 * they can, and the next commit wakes the thread again. */
#include "services/storage/sqlite_checkpoint.h"

#include "common/contract.h"
#include "services/storage/metrics.h"
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#define CHECKPOINT_CACHE_BYTES (256u * 1024u)

static uint64_t file_bytes(const char *path, const char *suffix) {
    char name[PATH_MAX + 8];
    struct stat status;
    (void)snprintf(name, sizeof(name), "%s%s", path, suffix);
    return stat(name, &status) == 0 ? (uint64_t)status.st_size : 0;
}

uint64_t sqlite_checkpoint_store_bytes(const char *path) {
    return file_bytes(path, "") + file_bytes(path, "-wal");
}

static enum err run(struct sqlite_checkpoint *checkpoint, struct sqlite_db *db, int mode) {
    (void)pthread_mutex_lock(&checkpoint->running); /* cannot fail: initialised, not recursive */
    int log_frames = 0;
    int copied_frames = 0;
    int code = sqlite3_wal_checkpoint_v2(db->handle, "main", mode, &log_frames, &copied_frames);
    (void)pthread_mutex_unlock(&checkpoint->running);
    if (code == SQLITE_OK && log_frames == copied_frames) {
        atomic_store(&checkpoint->frames, 0);
    }
    storage_metrics_store_bytes(sqlite_checkpoint_store_bytes(checkpoint->path));
    /* Busy: readers stand in the log; the next commit asks again. */
    return code == SQLITE_BUSY ? ERR_OK : sqlite_db_error(db, code);
}

/* The thread's own connection, fresh after an I/O error. */
static void run_in_background(struct sqlite_checkpoint *checkpoint) {
    if (checkpoint->db.stale || checkpoint->db.handle == NULL) {
        sqlite_db_close(&checkpoint->db);
        if (sqlite_db_open(&checkpoint->db, checkpoint->path, CHECKPOINT_CACHE_BYTES) != ERR_OK) {
            return; /* logged inside; the next commit asks again */
        }
    }
    (void)run(checkpoint, &checkpoint->db, SQLITE_CHECKPOINT_PASSIVE); /* logged inside */
}

static void *thread_main(void *argument) {
    struct sqlite_checkpoint *checkpoint = argument;
    (void)pthread_mutex_lock(&checkpoint->lock);
    while (!checkpoint->stop) {
        if (!checkpoint->wanted) {
            (void)pthread_cond_wait(&checkpoint->wake, &checkpoint->lock);
            continue;
        }
        checkpoint->wanted = false;
        (void)pthread_mutex_unlock(&checkpoint->lock);
        run_in_background(checkpoint);
        (void)pthread_mutex_lock(&checkpoint->lock);
    }
    (void)pthread_mutex_unlock(&checkpoint->lock);
    return NULL;
}

void sqlite_checkpoint_init(struct sqlite_checkpoint *checkpoint, const char *path) {
    *checkpoint =
        (struct sqlite_checkpoint){.path = path, .frames_max = SQLITE_CHECKPOINT_FRAMES_MAX};
    (void)pthread_mutex_init(&checkpoint->lock, NULL); /* default attributes cannot fail on Linux */
    (void)pthread_mutex_init(&checkpoint->running, NULL);
    (void)pthread_cond_init(&checkpoint->wake, NULL);
}

void sqlite_checkpoint_finish(struct sqlite_checkpoint *checkpoint) {
    CONTRACT(!checkpoint->started);
    (void)pthread_cond_destroy(&checkpoint->wake);
    (void)pthread_mutex_destroy(&checkpoint->running);
    (void)pthread_mutex_destroy(&checkpoint->lock);
}

enum err sqlite_checkpoint_start(struct sqlite_checkpoint *checkpoint) {
    enum err error = sqlite_db_open(&checkpoint->db, checkpoint->path, CHECKPOINT_CACHE_BYTES);
    if (error != ERR_OK) {
        return error;
    }
    if (pthread_create(&checkpoint->thread, NULL, thread_main, checkpoint) != 0) {
        sqlite_db_close(&checkpoint->db);
        return ERR_FULL;
    }
    (void)pthread_setname_np(checkpoint->thread, "checkpoint"); /* a name is only for humans */
    storage_metrics_store_bytes(sqlite_checkpoint_store_bytes(checkpoint->path));
    checkpoint->started = true;
    return ERR_OK;
}

void sqlite_checkpoint_stop(struct sqlite_checkpoint *checkpoint) {
    if (!checkpoint->started) {
        return;
    }
    (void)pthread_mutex_lock(&checkpoint->lock);
    checkpoint->stop = true;
    (void)pthread_cond_signal(&checkpoint->wake);
    (void)pthread_mutex_unlock(&checkpoint->lock);
    (void)pthread_join(checkpoint->thread, NULL); /* ours, joined once */
    sqlite_db_close(&checkpoint->db);
    checkpoint->started = false;
}

/* Called by SQLite at the end of each commit, on the writer's thread. */
static int on_commit(void *user, sqlite3 *handle, const char *name, int frames) {
    (void)handle;
    (void)name;
    struct sqlite_checkpoint *checkpoint = user;
    atomic_store(&checkpoint->frames, (uint64_t)frames);
    storage_metrics_wal_frames((uint64_t)frames);
    if (frames >= SQLITE_CHECKPOINT_FRAMES && checkpoint->started) {
        (void)pthread_mutex_lock(&checkpoint->lock);
        checkpoint->wanted = true;
        (void)pthread_cond_signal(&checkpoint->wake);
        (void)pthread_mutex_unlock(&checkpoint->lock);
    }
    return SQLITE_OK;
}

void sqlite_checkpoint_watch(struct sqlite_checkpoint *checkpoint, struct sqlite_db *writer) {
    (void)sqlite3_wal_hook(writer->handle, on_commit, checkpoint); /* returns the former argument */
}

void sqlite_checkpoint_maintain(struct sqlite_checkpoint *checkpoint, struct sqlite_db *writer) {
    if (atomic_load(&checkpoint->frames) < checkpoint->frames_max) {
        return;
    }
    (void)run(checkpoint, writer, SQLITE_CHECKPOINT_RESTART); /* logged inside; tried again later */
}

enum err sqlite_checkpoint_all(struct sqlite_checkpoint *checkpoint, struct sqlite_db *writer) {
    return run(checkpoint, writer, SQLITE_CHECKPOINT_TRUNCATE);
}
