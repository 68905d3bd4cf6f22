/* store_sqlite: opening the embedded store, its transactions, its readers, and its vtable.
 *
 * One connection writes, under a recursive lock that a group holds from begin to end; so a group is
 * one transaction whatever members it calls, and each member inside is a savepoint that can be
 * undone alone. Append and cursors need no savepoint: their statements stand alone.
 *
 * Failure modes. SQLite may undo the whole transaction on a full or failing disk; then the group is
 * lost: the members that follow are refused at once and group_end tells the error, so nothing of it
 * is acknowledged. After any undo the conversation cache is cleared, since it followed the
 * transaction. After an I/O error the connection is closed and opened again before its next use:
 * its view of the log may be half-read. A failed fsync never comes back here (sqlite_db_error).
 *
 * Readers are a few connections, each a snapshot from begin to end; a caller waits for a free one.
 */
#include "services/storage/store_sqlite.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/id.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/storage/data_dir.h"
#include "services/storage/metrics.h"
#include "services/storage/schema.h"
#include <errno.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <unistd.h>

#define DATABASE_NAME "pipit.db"
#define RESTORED_NAME "restored" /* put there by a restore: the store then takes a new epoch */

/* --- writing */

static enum err writer_open(struct sqlite_store *self) {
    enum err error = sqlite_db_open(&self->writer, self->path, SQLITE_WRITER_CACHE_BYTES);
    if (error == ERR_OK) {
        sqlite_checkpoint_watch(&self->checkpoint, &self->writer);
    }
    return error;
}

static enum err begin_transaction(struct sqlite_store *self) {
    if (self->writer.stale || self->writer.handle == NULL) {
        sqlite_db_close(&self->writer);
        enum err error = writer_open(self);
        if (error != ERR_OK) {
            return error;
        }
        log_event(LOG_WARN, "store connection opened again after an I/O error");
    }
    return sql_run(&self->writer, "BEGIN IMMEDIATE", SQL_NONE);
}

static void roll_back(struct sqlite_store *self) {
    if (self->writer.handle != NULL && sqlite3_get_autocommit(self->writer.handle) == 0) {
        err_ignore(sql_run(&self->writer, "ROLLBACK", SQL_NONE)); /* the first error counts */
        if (sqlite3_get_autocommit(self->writer.handle) == 0) {
            self->writer.stale = true; /* closing undoes it */
        }
    }
    sqlite_cache_clear(&self->cache);
}

/* The log is written and synced before its index in shared memory. When the index cannot grow, the
 * transaction is undone, but until another one has taken its place in the log a crash brings it
 * back: whoever asked must not be told that nothing was stored. */
static enum err judge_failed_commit(const struct sqlite_store *self, enum err error) {
    switch (sqlite3_extended_errcode(self->writer.handle)) {
    case SQLITE_IOERR_SHMSIZE:
    case SQLITE_IOERR_SHMMAP:
    case SQLITE_IOERR_SHMOPEN:
        return ERR_UNAVAILABLE;
    default:
        return error;
    }
}

static enum err commit(struct sqlite_store *self) {
    int changes = sqlite3_total_changes(self->writer.handle);
    uint64_t begin_us = clock_mono_us();
    enum err error = sql_run(&self->writer, "COMMIT", SQL_NONE);
    if (error != ERR_OK) {
        error = judge_failed_commit(self, error);
        roll_back(self);
    } else if (changes != self->committed_changes) {
        self->committed_changes = changes;
        storage_metrics_commit(clock_mono_us() - begin_us);
    }
    return error;
}

static void lock_writer(struct sqlite_store *self) {
    int code = pthread_mutex_lock(&self->write_lock);
    CONTRACT(code == 0);
}

static void unlock_writer(struct sqlite_store *self) {
    int code = pthread_mutex_unlock(&self->write_lock);
    CONTRACT(code == 0); /* only the thread that began may end */
}

static enum err group_begin(struct store *store) {
    struct sqlite_store *self = sqlite_store_of(store);
    lock_writer(self);
    CONTRACT(!self->in_group);
    enum err error = begin_transaction(self);
    if (error != ERR_OK) {
        roll_back(self);
        unlock_writer(self);
        return error;
    }
    self->in_group = true;
    self->group_error = ERR_OK;
    return ERR_OK;
}

static enum err group_end(struct store *store) {
    struct sqlite_store *self = sqlite_store_of(store);
    CONTRACT(self->in_group);
    enum err error = self->group_error;
    if (error == ERR_OK) {
        error = commit(self);
    } else {
        roll_back(self);
    }
    self->in_group = false;
    unlock_writer(self);
    return error;
}

enum err sqlite_bulk_begin(struct sqlite_store *self) {
    lock_writer(self);
    enum err error = self->in_group ? self->group_error : begin_transaction(self);
    if (error != ERR_OK) {
        if (!self->in_group) {
            roll_back(self);
        }
        unlock_writer(self);
    }
    return error;
}

enum err sqlite_bulk_end(struct sqlite_store *self, enum err outcome) {
    if (self->in_group) {
        if (outcome != ERR_OK) {
            self->group_error = outcome;
        }
    } else if (outcome == ERR_OK) {
        outcome = commit(self);
    } else {
        roll_back(self);
    }
    unlock_writer(self);
    return outcome;
}

enum err sqlite_write_begin(struct sqlite_store *self) {
    enum err error = sqlite_bulk_begin(self);
    if (error == ERR_OK && self->in_group) {
        error = sql_run(&self->writer, "SAVEPOINT member", SQL_NONE);
        if (error != ERR_OK) {
            self->group_error = error;
            unlock_writer(self);
        }
    }
    return error;
}

enum err sqlite_write_end(struct sqlite_store *self, enum err outcome) {
    if (!self->in_group) {
        return sqlite_bulk_end(self, outcome);
    }
    enum err error = ERR_OK;
    if (sqlite3_get_autocommit(self->writer.handle) != 0) {
        error = outcome == ERR_OK ? ERR_INTERNAL : outcome; /* SQLite undid everything */
    } else {
        if (outcome != ERR_OK) {
            sqlite_cache_clear(&self->cache);
            error = sql_run(&self->writer, "ROLLBACK TO member", SQL_NONE);
        }
        if (error == ERR_OK) {
            error = sql_run(&self->writer, "RELEASE member", SQL_NONE);
        }
    }
    if (error != ERR_OK) {
        self->group_error = error;
        outcome = outcome == ERR_OK ? error : outcome;
    }
    unlock_writer(self);
    return outcome;
}

static void maintain(struct store *store) {
    struct sqlite_store *self = sqlite_store_of(store);
    lock_writer(self);
    CONTRACT(!self->in_group);
    if (self->writer.handle != NULL && !self->writer.stale) {
        sqlite_checkpoint_maintain(&self->checkpoint, &self->writer);
    }
    unlock_writer(self);
}

/* --- reading */

static struct sqlite_db *take_reader(struct sqlite_store *self) {
    (void)pthread_mutex_lock(&self->reader_lock); /* cannot fail: initialised, not recursive */
    for (;;) {
        for (size_t i = 0; i < self->reader_count; i++) {
            if (!self->reader_taken[i]) {
                self->reader_taken[i] = true;
                (void)pthread_mutex_unlock(&self->reader_lock);
                return &self->readers[i];
            }
        }
        (void)pthread_cond_wait(&self->reader_returned, &self->reader_lock);
    }
}

static void return_reader(struct sqlite_store *self, struct sqlite_db *db) {
    (void)pthread_mutex_lock(&self->reader_lock);
    self->reader_taken[db - self->readers] = false;
    (void)pthread_cond_signal(&self->reader_returned);
    (void)pthread_mutex_unlock(&self->reader_lock);
}

enum err sqlite_read_begin(struct sqlite_store *self, struct sqlite_db **db) {
    struct sqlite_db *reader = take_reader(self);
    enum err error = ERR_OK;
    if (reader->stale || reader->handle == NULL) {
        sqlite_db_close(reader);
        error = sqlite_db_open(reader, self->path, SQLITE_READER_CACHE_BYTES);
    }
    if (error == ERR_OK) {
        error = sql_run(reader, "BEGIN", SQL_NONE);
    }
    if (error != ERR_OK) {
        return_reader(self, reader);
        return error;
    }
    *db = reader;
    return ERR_OK;
}

enum err sqlite_read_end(struct sqlite_store *self, struct sqlite_db *db, enum err outcome) {
    if (sqlite3_get_autocommit(db->handle) == 0) {
        enum err error = sql_run(db, "COMMIT", SQL_NONE);
        if (error != ERR_OK) {
            db->stale = true; /* what was read is still good */
        }
    }
    return_reader(self, db);
    return outcome;
}

/* --- opening */

/* Reads the epoch, or makes one: in a new store, and after a restore. */
static enum err load_epoch(struct sqlite_store *self, const char *restored_path) {
    struct sqlite_db *db = &self->writer;
    struct sql_rows rows = sql_query(db, "SELECT value FROM meta WHERE name='epoch'", SQL_NONE);
    self->epoch[0] = '\0';
    if (sql_next(&rows)) {
        (void)snprintf(self->epoch, sizeof(self->epoch), "%s", sql_peek_text(&rows, 0));
    }
    enum err error = sql_end(&rows);
    bool restored = access(restored_path, F_OK) == 0;
    if (error != ERR_OK || (self->epoch[0] != '\0' && !restored)) {
        return error;
    }
    id_random_text("e_", self->epoch, sizeof(self->epoch));
    error = sql_run(db, "INSERT OR REPLACE INTO meta(name, value) VALUES('epoch', ?)",
                    SQL_VALUES(SQL_TEXT(self->epoch)));
    if (error == ERR_OK && restored) {
        log_event(LOG_WARN, "store was restored from a backup: clients rebuild their history",
                  F_TEXT("epoch", self->epoch));
        (void)unlink(restored_path); /* left behind, it costs one more rebuild */
    }
    return error;
}

/* SQLite falls back to a read-only view when it cannot open its shared index for writing, and keeps
 * it as long as any connection is open. Better no start than a store that refuses every write. */
static enum err prove_writable(struct sqlite_store *self) {
    enum err error = sql_run(&self->writer, "BEGIN IMMEDIATE", SQL_NONE);
    return error == ERR_OK ? sql_run(&self->writer, "ROLLBACK", SQL_NONE) : error;
}

static enum err open_files(struct sqlite_store *self, const char *dir, struct buf *problem) {
    char restored_path[PATH_MAX];
    if ((size_t)snprintf(restored_path, sizeof(restored_path), "%s/%s", dir, RESTORED_NAME) >=
        sizeof(restored_path)) {
        return ERR_INVALID;
    }
    enum err error = data_dir_make_file(self->path, problem);
    if (error != ERR_OK) {
        return error;
    }
    error = writer_open(self);
    if (error != ERR_OK) {
        return error;
    }
    uint32_t found = 0;
    error = schema_migrate(&self->writer, schema_steps, schema_step_count, &found);
    if (error == ERR_UNSUPPORTED) {
        err_ignore(
            buf_append_format(problem,
                              "store: %s has schema version %u, this program knows up to %u; "
                              "start the newer version, or restore a backup",
                              self->path, found, schema_step_count));
    } else if (error == ERR_OK && found != 0 && found != schema_step_count) {
        log_event(LOG_INFO, "store schema migrated", F_UINT("from", found),
                  F_UINT("to", schema_step_count));
    }
    if (error == ERR_OK) {
        error = load_epoch(self, restored_path);
    }
    if (error == ERR_OK) {
        error = prove_writable(self);
    }
    return error == ERR_OK ? data_dir_sync(dir, problem) : error;
}

static enum err open_readers(struct sqlite_store *self, uint32_t count) {
    self->readers = mem_zalloc(count, sizeof(*self->readers));
    self->reader_taken = mem_zalloc(count, sizeof(*self->reader_taken));
    if (self->readers == NULL || self->reader_taken == NULL) {
        return ERR_NO_MEMORY;
    }
    self->reader_count = count;
    for (uint32_t i = 0; i < count; i++) {
        enum err error = sqlite_db_open(&self->readers[i], self->path, SQLITE_READER_CACHE_BYTES);
        if (error != ERR_OK) {
            return error;
        }
    }
    return ERR_OK;
}

static void sqlite_close(struct store *store) {
    struct sqlite_store *self = sqlite_store_of(store);
    sqlite_checkpoint_stop(&self->checkpoint);
    for (size_t i = 0; i < self->reader_count; i++) {
        sqlite_db_close(&self->readers[i]);
    }
    if (self->writer.handle != NULL && self->lock_fd >= 0) {
        /* Not needed for durability: the log is synced. Errors are logged inside. */
        err_ignore(sqlite_checkpoint_all(&self->checkpoint, &self->writer));
    }
    sqlite_db_close(&self->writer);
    sqlite_checkpoint_finish(&self->checkpoint);
    sqlite_cache_finish(&self->cache);
    body_packer_finish(&self->packer);
    (void)pthread_cond_destroy(&self->reader_returned);
    (void)pthread_mutex_destroy(&self->reader_lock);
    (void)pthread_mutex_destroy(&self->write_lock);
    if (self->lock_fd >= 0) {
        (void)close(self->lock_fd); /* lets go of the lock; nothing is buffered */
    }
    mem_free(self->readers);
    mem_free(self->reader_taken);
    mem_free(self->path);
    mem_free(self);
}

static const struct store_ops SQLITE_OPS = {
    .group_begin = group_begin,
    .group_end = group_end,
    .maintain = maintain,
    .append = sqlite_append,
    .history = sqlite_history,
    .heads = sqlite_heads,
    .origin = sqlite_origin,
    .cursors = sqlite_cursors,
    .conversations = sqlite_conversations,
    .conversation_load = sqlite_conversation_load,
    .conversation_create = sqlite_conversation_create,
    .members_change = sqlite_members_change,
    .block_change = sqlite_block_change,
    .blocks = sqlite_blocks,
    .user_create = sqlite_user_create,
    .user_get = sqlite_user_get,
    .user_update = sqlite_user_update,
    .users = sqlite_users,
    .devices = sqlite_devices,
    .session_create = sqlite_session_create,
    .session_rotate = sqlite_session_rotate,
    .revoke = sqlite_revoke,
    .revocations = sqlite_revocations,
    .invite_create = sqlite_invite_create,
    .invites = sqlite_invites,
    .invite_delete = sqlite_invite_delete,
    .key_put = sqlite_key_put,
    .key_retire = sqlite_key_retire,
    .keys = sqlite_keys,
    .stats = sqlite_stats,
    .audit_append = sqlite_audit_append,
    .audit = sqlite_audit,
    .close = sqlite_close,
};

static enum err create(const char *dir, uint32_t members_max, struct sqlite_store **out) {
    struct sqlite_store *self = mem_zalloc(1, sizeof(*self));
    if (self == NULL) {
        return ERR_NO_MEMORY;
    }
    self->store.ops = &SQLITE_OPS;
    self->lock_fd = -1;
    self->members_max = members_max;
    size_t path_bytes = strlen(dir) + sizeof("/" DATABASE_NAME);
    self->path = mem_alloc(path_bytes);
    if (self->path == NULL ||
        sqlite_cache_init(&self->cache, SQLITE_CACHED_CONVERSATIONS) != ERR_OK) {
        mem_free(self->path);
        mem_free(self);
        return ERR_NO_MEMORY;
    }
    (void)snprintf(self->path, path_bytes, "%s/%s", dir, DATABASE_NAME);
    pthread_mutexattr_t attributes;
    (void)pthread_mutexattr_init(&attributes); /* none of these can fail on Linux */
    (void)pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    (void)pthread_mutex_init(&self->write_lock, &attributes);
    (void)pthread_mutexattr_destroy(&attributes);
    (void)pthread_mutex_init(&self->reader_lock, NULL);
    (void)pthread_cond_init(&self->reader_returned, NULL);
    sqlite_checkpoint_init(&self->checkpoint, self->path);
    *out = self;
    return ERR_OK;
}

/* In place of SQLite's own way to a directory, which it syncs without looking at the error. The
 * answer says that there is nothing left to sync. */
static int sync_directory(const char *path, int *fd) {
    (void)fd;
    data_dir_sync_around(path);
    return SQLITE_CANTOPEN;
}

static enum err replace_directory_sync(void) {
    sqlite3_vfs *vfs = sqlite3_vfs_find("unix");
    if (vfs == NULL || vfs->iVersion < 3 ||
        vfs->xSetSystemCall(vfs, "openDirectory", (sqlite3_syscall_ptr)sync_directory) !=
            SQLITE_OK) {
        return ERR_UNSUPPORTED;
    }
    return ERR_OK;
}

enum err store_sqlite_open(const char *dir, const struct store_config *config, struct store **out,
                           struct buf *problem) {
    struct sqlite_store *self = NULL;
    /* Counting SQLite's memory would take a global lock per allocation; refused, harmlessly, when
     * SQLite is in use already. */
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    if (sodium_init() < 0) {
        return ERR_INTERNAL;
    }
    enum err error = replace_directory_sync();
    if (error == ERR_OK) {
        error = create(dir, config->members_max, &self);
    }
    if (error != ERR_OK) {
        return error;
    }
    error = data_dir_take(dir, &self->lock_fd, problem);
    if (error == ERR_OK) {
        error = open_files(self, dir, problem);
    }
    if (error == ERR_OK) {
        error = open_readers(self, config->readers);
    }
    if (error == ERR_OK) {
        error = sqlite_checkpoint_start(&self->checkpoint);
    }
    if (error != ERR_OK) {
        if (buf_len(problem) == 0) {
            err_ignore(buf_append_format(problem, "store: cannot open %s: %s", self->path,
                                         err_text(error)));
        }
        sqlite_close(&self->store);
        return error;
    }
    *out = &self->store;
    return ERR_OK;
}
