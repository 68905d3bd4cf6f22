/* sqlite_db: one SQLite connection: opened with the pragmas that I1 needs, statements prepared once
 * and kept, parameters bound by type, result codes translated. No other file calls sqlite3_step.
 * A connection belongs to one thread at a time. */
#ifndef PIPIT_STORAGE_SQLITE_DB_H
#define PIPIT_STORAGE_SQLITE_DB_H

#include "common/arena.h"
#include <sqlite3.h>
#include <string.h>

#define SQLITE_DB_STATEMENTS 256 /* slots, a power of two; distinct SQL texts stay below half */
#define SQLITE_DB_BUSY_TIMEOUT_MS 5000 /* a restart checkpoint waits this long for readers */

struct sqlite_db {
    sqlite3 *handle; /* NULL = closed */
    struct {
        const char *sql; /* static text: its address is the key */
        sqlite3_stmt *statement;
    } slots[SQLITE_DB_STATEMENTS];
    size_t statement_count;
    bool stale; /* an I/O error happened: close and open it again before the next use */
};

/* Opens (and makes) the file. cache_bytes bounds the page cache. Errors as sqlite_db_error. */
enum err sqlite_db_open(struct sqlite_db *db, const char *path, size_t cache_bytes) MUST_CHECK;
void sqlite_db_close(struct sqlite_db *db); /* accepts a closed one */

/* Translates a result code, logs what an operator must know (rate-limited), and ends the process
 * after a failed fsync: the kernel forgets the error and drops the pages, so a later fsync would
 * vouch for data that is gone. Source: Rebello et al., "Can Applications Recover from fsync
 * Failures?", ATC'20. */
enum err sqlite_db_error(struct sqlite_db *db, int code) MUST_CHECK;

/* --- parameters: SQL_UINT(seq), SQL_TEXT(id) ... in the order of the question marks. */
struct sql_value {
    enum { SQL_VALUE_END, SQL_VALUE_UINT, SQL_VALUE_TEXT, SQL_VALUE_BLOB, SQL_VALUE_NULL } kind;
    const void *bytes; /* borrowed until the statement ends */
    size_t count;
    uint64_t number;
};
#define SQL_UINT(value) ((struct sql_value){SQL_VALUE_UINT, NULL, 0, (uint64_t)(value)})
#define SQL_TEXT(value) ((struct sql_value){SQL_VALUE_TEXT, (value), strlen(value), 0})
#define SQL_BLOB(value, size) ((struct sql_value){SQL_VALUE_BLOB, (value), (size), 0})
#define SQL_NULL ((struct sql_value){SQL_VALUE_NULL, NULL, 0, 0})
#define SQL_END ((struct sql_value){SQL_VALUE_END, NULL, 0, 0})
#define SQL_VALUES(...) ((const struct sql_value[]){__VA_ARGS__, SQL_END})
#define SQL_NONE ((const struct sql_value[]){SQL_END})

/* --- rows. Use: struct sql_rows rows = sql_query(db, "SELECT ..", SQL_VALUES(SQL_TEXT(id)));
 *            while (sql_next(&rows)) { .. sql_uint(&rows, 0) .. }   error = sql_end(&rows);
 * The first error sticks, ends the loop and comes out of sql_end, which must be called. A text may
 * not be queried again before its sql_end. */
struct sql_rows {
    struct sqlite_db *db;
    sqlite3_stmt *statement; /* NULL after a failed preparation */
    enum err error;
};
struct sql_rows sql_query(struct sqlite_db *db, const char *sql, const struct sql_value *values);
bool sql_next(struct sql_rows *rows);
enum err sql_end(struct sql_rows *rows) MUST_CHECK;
uint64_t sql_uint(const struct sql_rows *rows, int column); /* NULL reads as 0 */
bool sql_bool(const struct sql_rows *rows, int column);
/* Copies into the arena; "" after an allocation failure, which sticks to rows. */
char *sql_text(struct sql_rows *rows, int column, struct arena *arena);
/* As sql_text, for bytes; *count is set. */
uint8_t *sql_blob(struct sql_rows *rows, int column, struct arena *arena, size_t *count);
/* Borrowed until the next sql_next. */
const char *sql_peek_text(const struct sql_rows *rows, int column);
const void *sql_peek_blob(const struct sql_rows *rows, int column, size_t *count);

/* Runs a statement that returns no rows. ERR_EXISTS: a uniqueness constraint refused it (the
 * statement alone is undone). */
enum err sql_run(struct sqlite_db *db, const char *sql, const struct sql_value *values) MUST_CHECK;
/* First column of the first row as a number; 0 without a row. */
enum err sql_number(struct sqlite_db *db, const char *sql, const struct sql_value *values,
                    uint64_t *number) MUST_CHECK;
/* Rows the last sql_run inserted, changed or deleted. */
uint64_t sql_changes(struct sqlite_db *db);

#endif
