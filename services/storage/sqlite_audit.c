/* sqlite_audit: the log of administrative acts, and the store's figures.
 *
 * Audit ids only grow (AUTOINCREMENT), so dropping the oldest beyond the bound is a range of the
 * key. Counting messages is max(rowid): the table is append-only and its rowids are dense. */
#include "services/storage/store_sqlite.h"

#include "services/storage/schema.h"

static enum err append(struct sqlite_db *db, const Pipit__AuditAppend *request) {
    enum err error = sql_run(
        db, "INSERT INTO audit(actor, action, subject, detail, at_ms, address) VALUES(?,?,?,?,?,?)",
        SQL_VALUES(SQL_TEXT(request->actor), SQL_TEXT(request->action), SQL_TEXT(request->subject),
                   SQL_TEXT(request->detail), SQL_UINT(request->now_ms),
                   SQL_TEXT(request->address)));
    uint64_t id = error == ERR_OK ? (uint64_t)sqlite3_last_insert_rowid(db->handle) : 0;
    if (id > STORE_AUDIT_ROWS_MAX) {
        error = sql_run(db, "DELETE FROM audit WHERE id<=?",
                        SQL_VALUES(SQL_UINT(id - STORE_AUDIT_ROWS_MAX)));
    }
    return error;
}

enum err sqlite_audit_append(struct store *store, const Pipit__AuditAppend *request,
                             struct arena *arena, Pipit__StatusReply *reply) {
    (void)arena;
    (void)reply;
    struct sqlite_store *self = sqlite_store_of(store);
    if (!sqlite_text_valid(request->actor) || !sqlite_text_valid(request->action) ||
        !sqlite_text_valid(request->subject) || !sqlite_text_valid(request->detail) ||
        !sqlite_text_valid(request->address)) {
        return ERR_INVALID;
    }
    enum err error = sqlite_write_begin(self);
    return error != ERR_OK ? error : sqlite_write_end(self, append(&self->writer, request));
}

static Pipit__AuditEntry *read_entry(struct sql_rows *rows, struct arena *arena) {
    Pipit__AuditEntry *entry = arena_alloc(arena, sizeof(*entry));
    if (entry == NULL) {
        rows->error = ERR_NO_MEMORY;
        return NULL;
    }
    pipit__audit_entry__init(entry);
    entry->id = sql_uint(rows, 0);
    entry->actor = sql_text(rows, 1, arena);
    entry->action = sql_text(rows, 2, arena);
    entry->subject = sql_text(rows, 3, arena);
    entry->detail = sql_text(rows, 4, arena);
    entry->at_ms = sql_uint(rows, 5);
    entry->address = sql_text(rows, 6, arena);
    return entry;
}

static enum err list(struct sqlite_db *db, uint64_t before_id, uint32_t limit, struct arena *arena,
                     Pipit__AuditReply *reply) {
    struct sql_rows rows =
        sql_query(db,
                  "SELECT id, actor, action, subject, detail, at_ms, address FROM audit"
                  " WHERE id<? ORDER BY id DESC LIMIT ?",
                  SQL_VALUES(SQL_UINT(before_id), SQL_UINT(limit)));
    while (reply->n_entries < limit && sql_next(&rows)) {
        Pipit__AuditEntry *entry = read_entry(&rows, arena);
        if (entry != NULL) {
            reply->entries[reply->n_entries++] = entry;
        }
    }
    return sql_end(&rows);
}

enum err sqlite_audit(struct store *store, const Pipit__AuditRequest *request, struct arena *arena,
                      Pipit__AuditReply *reply) {
    struct sqlite_store *self = sqlite_store_of(store);
    uint32_t limit = sqlite_limit(request->limit, STORE_USERS_LIMIT_MAX);
    uint64_t before_id =
        request->before_id == 0 || request->before_id > INT64_MAX ? INT64_MAX : request->before_id;
    reply->entries = arena_alloc(arena, limit * sizeof(*reply->entries));
    if (reply->entries == NULL) {
        return ERR_NO_MEMORY;
    }
    struct sqlite_db *db = NULL;
    enum err error = sqlite_read_begin(self, &db);
    return error != ERR_OK ? error
                           : sqlite_read_end(self, db, list(db, before_id, limit, arena, reply));
}

static enum err count_all(struct sqlite_db *db, Pipit__StatsReply *reply) {
    enum err error = sql_number(db, "SELECT count(*) FROM users", SQL_NONE, &reply->users);
    if (error == ERR_OK) {
        error = sql_number(db, "SELECT count(*) FROM users WHERE disabled", SQL_NONE,
                           &reply->users_disabled);
    }
    if (error == ERR_OK) {
        error = sql_number(db, "SELECT count(*) FROM devices", SQL_NONE, &reply->devices);
    }
    if (error == ERR_OK) {
        error =
            sql_number(db, "SELECT max(key) FROM conversations", SQL_NONE, &reply->conversations);
    }
    if (error == ERR_OK) {
        error = sql_number(db, "SELECT max(rowid) FROM messages", SQL_NONE, &reply->messages);
    }
    return error;
}

enum err sqlite_stats(struct store *store, const Pipit__StatsRequest *request, struct arena *arena,
                      Pipit__StatsReply *reply) {
    (void)request;
    (void)arena;
    struct sqlite_store *self = sqlite_store_of(store);
    struct sqlite_db *db = NULL;
    enum err error = sqlite_read_begin(self, &db);
    if (error != ERR_OK) {
        return error;
    }
    reply->epoch = self->epoch;
    reply->backend = "sqlite";
    reply->schema_version = schema_step_count;
    reply->store_bytes = sqlite_checkpoint_store_bytes(self->path);
    return sqlite_read_end(self, db, count_all(db, reply));
}
