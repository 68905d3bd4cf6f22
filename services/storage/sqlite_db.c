/* sqlite_db: everything that is true of every connection.
 *
 * Durability: WAL with synchronous=FULL, so that COMMIT returns after the log's fsync; the popular
 * NORMAL lost acknowledged rows in 13 of 60 power cuts (reference/reliability.md section 4).
 * SQLite's own automatic checkpoint is off because it swallows a failed fsync; sqlite_checkpoint.c
 * does it. Files are not memory-mapped: a full or failing disk must be an error code, not a SIGBUS.
 *
 * Statements are prepared once per connection and found by the address of their text, so SQL stands
 * where it is used. A statement that is still running when it is queried again is a bug of ours.
 *
 * Error codes: a constraint is an answer (ERR_EXISTS); a full disk, a failing disk and damage are
 * told apart because callers act differently; a failed fsync ends the process. SQLITE_IOERR_SHMSIZE
 * means that the shared index could not grow, which is a full disk. */
#include "services/storage/sqlite_db.h"

#include "common/contract.h"
#include "common/log.h"
#include "common/service.h"
#include <errno.h>
#include <protobuf-c/protobuf-c.h>

/* The shared-memory file must not be taken over by another process: the lock file keeps others out,
 * so the ordinary locking mode is enough and lets our own readers in. */
static const char PRAGMAS[] = "PRAGMA journal_mode=WAL;"
                              "PRAGMA synchronous=FULL;"
                              "PRAGMA wal_autocheckpoint=0;"
                              "PRAGMA journal_size_limit=67108864;"
                              "PRAGMA temp_store=MEMORY;"
                              "PRAGMA mmap_size=0;"
                              "PRAGMA foreign_keys=OFF;"
                              "PRAGMA trusted_schema=OFF;"
                              "PRAGMA cell_size_check=ON;";

enum err sqlite_db_open(struct sqlite_db *db, const char *path, size_t cache_bytes) {
    *db = (struct sqlite_db){0};
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int code = sqlite3_open_v2(path, &db->handle, flags, NULL);
    if (code == SQLITE_OK) {
        (void)sqlite3_extended_result_codes(db->handle, 1);                /* cannot fail */
        (void)sqlite3_busy_timeout(db->handle, SQLITE_DB_BUSY_TIMEOUT_MS); /* cannot fail */
        /* Closing must not checkpoint behind our back: errors of that fsync would be lost. */
        (void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        code = sqlite3_exec(db->handle, PRAGMAS, NULL, NULL, NULL);
    }
    if (code == SQLITE_OK) {
        char text[64];
        (void)sqlite3_snprintf(sizeof(text), text, "PRAGMA cache_size=-%d",
                               (int)(cache_bytes / 1024));
        code = sqlite3_exec(db->handle, text, NULL, NULL, NULL);
    }
    if (code != SQLITE_OK) {
        enum err error = sqlite_db_error(db, code);
        sqlite_db_close(db);
        return error;
    }
    return ERR_OK;
}

void sqlite_db_close(struct sqlite_db *db) {
    for (size_t i = 0; i < SQLITE_DB_STATEMENTS; i++) {
        (void)sqlite3_finalize(db->slots[i].statement); /* repeats the statement's last error */
    }
    if (db->handle != NULL) {
        int code = sqlite3_close(db->handle);
        CONTRACT(code == SQLITE_OK); /* busy only while a statement of ours is left */
    }
    *db = (struct sqlite_db){0};
}

static void log_failure(struct sqlite_db *db, int code, enum err error) {
    static struct log_limit limit;
    if (log_allowed(&limit, 2)) {
        log_event(LOG_ERROR, "store operation failed", F_ERR(error), F_INT("sqlite_code", code),
                  F_TEXT("sqlite", sqlite3_errstr(code)),
                  F_INT("errno", db->handle != NULL ? sqlite3_system_errno(db->handle) : 0));
    }
}

enum err sqlite_db_error(struct sqlite_db *db, int code) {
    if (code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC) {
        service_die("fsync of the store failed: what it covered may be lost; check the disk");
    }
    enum err error = ERR_INTERNAL;
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return ERR_OK;
    case SQLITE_CONSTRAINT:
        return ERR_EXISTS;
    case SQLITE_NOMEM:
        return ERR_NO_MEMORY; /* logging may need memory, too */
    case SQLITE_FULL:
        error = ERR_NO_SPACE;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        error = ERR_CORRUPT;
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_INTERRUPT:
        error = ERR_UNAVAILABLE;
        break;
    case SQLITE_IOERR:
        error = code == SQLITE_IOERR_NOMEM ? ERR_NO_MEMORY : ERR_IO;
        if (code == SQLITE_IOERR_SHMSIZE || sqlite3_system_errno(db->handle) == ENOSPC) {
            error = ERR_NO_SPACE;
        }
        db->stale = true;
        break;
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        error = ERR_IO;
        db->stale = true;
        break;
    case SQLITE_TOOBIG:
        error = ERR_TOO_LARGE;
        break;
    default:
        break;
    }
    log_failure(db, code, error);
    return error;
}

/* Finds or prepares the statement of a static text; open addressing by the text's address. */
static enum err statement_of(struct sqlite_db *db, const char *sql, sqlite3_stmt **statement) {
    size_t mask = SQLITE_DB_STATEMENTS - 1;
    size_t slot = (size_t)(((uintptr_t)sql * 0x9e3779b97f4a7c15u) >> 32) & mask;
    while (db->slots[slot].sql != NULL) {
        if (db->slots[slot].sql == sql) {
            *statement = db->slots[slot].statement;
            CONTRACT(!sqlite3_stmt_busy(*statement));
            return ERR_OK;
        }
        slot = (slot + 1) & mask;
    }
    CONTRACT(db->statement_count < SQLITE_DB_STATEMENTS / 2);
    int code = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
    if (code != SQLITE_OK) {
        return sqlite_db_error(db, code);
    }
    db->slots[slot].sql = sql;
    db->slots[slot].statement = *statement;
    db->statement_count++;
    return ERR_OK;
}

static int bind(sqlite3_stmt *statement, int index, const struct sql_value *value) {
    switch (value->kind) {
    case SQL_VALUE_UINT:
        return sqlite3_bind_int64(statement, index, (sqlite3_int64)value->number);
    case SQL_VALUE_TEXT:
        return sqlite3_bind_text64(statement, index, value->bytes, value->count, SQLITE_STATIC,
                                   SQLITE_UTF8);
    case SQL_VALUE_BLOB:
        if (value->count == 0) {
            return sqlite3_bind_zeroblob(statement, index, 0); /* a NULL pointer would be NULL */
        }
        return sqlite3_bind_blob64(statement, index, value->bytes, value->count, SQLITE_STATIC);
    case SQL_VALUE_NULL:
    case SQL_VALUE_END:
        break;
    }
    return sqlite3_bind_null(statement, index);
}

struct sql_rows sql_query(struct sqlite_db *db, const char *sql, const struct sql_value *values) {
    struct sql_rows rows = {.db = db};
    rows.error = statement_of(db, sql, &rows.statement);
    if (rows.error != ERR_OK) {
        rows.statement = NULL;
        return rows;
    }
    int index = 0;
    for (; values[index].kind != SQL_VALUE_END && rows.error == ERR_OK; index++) {
        int code = bind(rows.statement, index + 1, &values[index]);
        if (code != SQLITE_OK) {
            rows.error = sqlite_db_error(db, code);
        }
    }
    CONTRACT(rows.error != ERR_OK || index == sqlite3_bind_parameter_count(rows.statement));
    return rows;
}

bool sql_next(struct sql_rows *rows) {
    if (rows->error != ERR_OK) {
        return false;
    }
    int code = sqlite3_step(rows->statement);
    if (code == SQLITE_ROW) {
        return true;
    }
    if (code != SQLITE_DONE) {
        rows->error = sqlite_db_error(rows->db, code);
    }
    return false;
}

enum err sql_end(struct sql_rows *rows) {
    if (rows->statement != NULL) {
        (void)sqlite3_reset(rows->statement); /* repeats the code that step returned */
        rows->statement = NULL;
    }
    return rows->error;
}

uint64_t sql_uint(const struct sql_rows *rows, int column) {
    return (uint64_t)sqlite3_column_int64(rows->statement, column);
}

bool sql_bool(const struct sql_rows *rows, int column) {
    return sqlite3_column_int64(rows->statement, column) != 0;
}

const char *sql_peek_text(const struct sql_rows *rows, int column) {
    const char *text = (const char *)sqlite3_column_text(rows->statement, column);
    return text != NULL ? text : "";
}

const void *sql_peek_blob(const struct sql_rows *rows, int column, size_t *count) {
    const void *bytes = sqlite3_column_blob(rows->statement, column);
    *count = bytes != NULL ? (size_t)sqlite3_column_bytes(rows->statement, column) : 0;
    return bytes;
}

char *sql_text(struct sql_rows *rows, int column, struct arena *arena) {
    const char *text = sql_peek_text(rows, column);
    char *copy = arena_copy(arena, text, strlen(text));
    if (copy == NULL) {
        rows->error = ERR_NO_MEMORY;
        return (char *)protobuf_c_empty_string;
    }
    return copy;
}

uint8_t *sql_blob(struct sql_rows *rows, int column, struct arena *arena, size_t *count) {
    const void *bytes = sql_peek_blob(rows, column, count);
    uint8_t *copy = (uint8_t *)arena_copy(arena, bytes, *count);
    if (copy == NULL) {
        rows->error = ERR_NO_MEMORY;
        *count = 0;
    }
    return copy;
}

enum err sql_run(struct sqlite_db *db, const char *sql, const struct sql_value *values) {
    struct sql_rows rows = sql_query(db, sql, values);
    (void)sql_next(&rows); /* its error is sql_end's */
    return sql_end(&rows);
}

enum err sql_number(struct sqlite_db *db, const char *sql, const struct sql_value *values,
                    uint64_t *number) {
    struct sql_rows rows = sql_query(db, sql, values);
    uint64_t found = sql_next(&rows) ? sql_uint(&rows, 0) : 0;
    enum err error = sql_end(&rows);
    if (error == ERR_OK) {
        *number = found;
    }
    return error;
}

uint64_t sql_changes(struct sqlite_db *db) {
    return (uint64_t)sqlite3_changes64(db->handle);
}
