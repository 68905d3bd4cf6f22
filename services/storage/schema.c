/* schema: tables and migration.
 *
 * `messages` is a plain rowid table, so every insert goes to its end; the two unique indexes
 * enforce order (conversation, seq) and once-ness (id). Clustering by conversation instead gave
 * 26-41k msg/s against 131k (design section 6). Conversations are integers in it: rows and the
 * index stay small. Rows are never deleted or changed, so max(rowid) is their count. `hash` is over
 * the whole row: a damaged page must not become a wrong message (body.h).
 *
 * Everything that belongs to a user or a conversation and is looked up by it is clustered by that
 * key (WITHOUT ROWID). joined_version orders members by how long they have been there.
 *
 * The version is SQLite's user_version, written in the transaction that brings it about. */
#include "services/storage/schema.h"

static const char VERSION_1[] =
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"

    "CREATE TABLE conversations(key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
    " kind INTEGER NOT NULL, title TEXT NOT NULL, creator TEXT NOT NULL,"
    " created_ms INTEGER NOT NULL, changed_ms INTEGER NOT NULL,"
    " members_version INTEGER NOT NULL) STRICT;"

    "CREATE TABLE messages(conversation INTEGER NOT NULL, seq INTEGER NOT NULL,"
    " id BLOB NOT NULL UNIQUE, kind INTEGER NOT NULL, target_seq INTEGER NOT NULL,"
    " reply_seq INTEGER NOT NULL, ts_ms INTEGER NOT NULL, raw_bytes INTEGER NOT NULL,"
    " hash INTEGER NOT NULL, sender TEXT NOT NULL, device TEXT NOT NULL,"
    " origin_device TEXT, origin_packet INTEGER, origin_hash BLOB, body BLOB NOT NULL,"
    " UNIQUE(conversation, seq)) STRICT;"

    "CREATE TABLE members(conversation INTEGER NOT NULL, user TEXT NOT NULL,"
    " role INTEGER NOT NULL, state INTEGER NOT NULL, joined_seq INTEGER NOT NULL,"
    " read_seq INTEGER NOT NULL, delivered_seq INTEGER NOT NULL, muted INTEGER NOT NULL,"
    " joined_version INTEGER NOT NULL, changed_ms INTEGER NOT NULL,"
    " PRIMARY KEY(conversation, user)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX members_by_user ON members(user);"

    "CREATE TABLE device_cursors(user TEXT NOT NULL, device TEXT NOT NULL,"
    " conversation INTEGER NOT NULL, delivered_seq INTEGER NOT NULL,"
    " PRIMARY KEY(user, device, conversation)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE blocks(user TEXT NOT NULL, blocked TEXT NOT NULL, since_ms INTEGER NOT NULL,"
    " PRIMARY KEY(user, blocked)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE users(id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    " display_name TEXT NOT NULL, password_hash TEXT NOT NULL, admin INTEGER NOT NULL,"
    " disabled INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
    " changed_ms INTEGER NOT NULL) STRICT;"

    "CREATE TABLE devices(user TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL,"
    " platform TEXT NOT NULL, created_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL,"
    " PRIMARY KEY(user, id)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE families(key INTEGER PRIMARY KEY, user TEXT NOT NULL, device TEXT NOT NULL,"
    " current INTEGER NOT NULL, UNIQUE(user, device)) STRICT;"
    "CREATE TABLE refresh_tokens(hash BLOB PRIMARY KEY, family INTEGER NOT NULL,"
    " generation INTEGER NOT NULL, expires_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE INDEX refresh_tokens_by_family ON refresh_tokens(family, generation);"

    "CREATE TABLE revocations(user TEXT NOT NULL, device TEXT NOT NULL,"
    " except_device TEXT NOT NULL, before_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL,"
    " PRIMARY KEY(user, device, except_device)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE invites(hash BLOB PRIMARY KEY, created_by TEXT NOT NULL,"
    " created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, uses_left INTEGER NOT NULL,"
    " admin INTEGER NOT NULL, note TEXT NOT NULL) STRICT, WITHOUT ROWID;"

    "CREATE TABLE signing_keys(kid TEXT PRIMARY KEY, private_pem BLOB NOT NULL, x BLOB NOT NULL,"
    " y BLOB NOT NULL, created_ms INTEGER NOT NULL, signs_from_ms INTEGER NOT NULL,"
    " retires_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;"

    "CREATE TABLE audit(id INTEGER PRIMARY KEY AUTOINCREMENT, actor TEXT NOT NULL,"
    " action TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL,"
    " at_ms INTEGER NOT NULL, address TEXT NOT NULL) STRICT;";

const char *const schema_steps[] = {VERSION_1};
const uint32_t schema_step_count = sizeof(schema_steps) / sizeof(schema_steps[0]);

static enum err execute(struct sqlite_db *db, const char *sql) {
    return sqlite_db_error(db, sqlite3_exec(db->handle, sql, NULL, NULL, NULL));
}

static enum err apply(struct sqlite_db *db, const char *step, uint32_t version) {
    char set_version[48];
    (void)sqlite3_snprintf(sizeof(set_version), set_version, "PRAGMA user_version=%u", version);
    enum err error = execute(db, "BEGIN IMMEDIATE");
    if (error != ERR_OK) {
        return error;
    }
    error = execute(db, step);
    if (error == ERR_OK) {
        error = execute(db, set_version);
    }
    if (error == ERR_OK) {
        error = execute(db, "COMMIT");
    }
    if (error != ERR_OK && sqlite3_get_autocommit(db->handle) == 0) {
        (void)execute(db, "ROLLBACK"); /* the first error is the one that counts */
    }
    return error;
}

enum err schema_migrate(struct sqlite_db *db, const char *const *steps, uint32_t count,
                        uint32_t *found) {
    struct sql_rows rows = sql_query(db, "PRAGMA user_version", SQL_NONE);
    uint64_t version = sql_next(&rows) ? sql_uint(&rows, 0) : 0;
    enum err error = sql_end(&rows);
    if (error != ERR_OK) {
        return error;
    }
    *found = (uint32_t)version;
    if (version > count) {
        return ERR_UNSUPPORTED;
    }
    for (uint32_t next = (uint32_t)version; next < count; next++) {
        error = apply(db, steps[next], next + 1);
        if (error != ERR_OK) {
            return error;
        }
    }
    return ERR_OK;
}
