/* sqlite_invites: invitations, known by the hash of their code alone. An invite can be used while
 * it has uses left and has not expired; both are checked in the statement that takes one use,
 * inside the account's transaction, so a single use cannot make two accounts. */
#include "services/storage/store_sqlite.h"

#define USABLE "uses_left>0 AND (expires_ms=0 OR expires_ms>?)"
#define HASH_BYTES_MAX 64u

enum err sqlite_invite_consume(struct sqlite_db *db, const ProtobufCBinaryData *hash,
                               uint64_t now_ms, bool *admin) {
    enum err error =
        sql_run(db, "UPDATE invites SET uses_left=uses_left-1 WHERE hash=? AND " USABLE,
                SQL_VALUES(SQL_BLOB(hash->data, hash->len), SQL_UINT(now_ms)));
    if (error != ERR_OK) {
        return error;
    }
    if (sql_changes(db) == 0) {
        return ERR_DENIED;
    }
    uint64_t makes_admin = 0;
    error = sql_number(db, "SELECT admin FROM invites WHERE hash=?",
                       SQL_VALUES(SQL_BLOB(hash->data, hash->len)), &makes_admin);
    if (error == ERR_OK && makes_admin != 0) {
        *admin = true;
    }
    return error;
}

static enum err create(struct sqlite_db *db, const Pipit__InviteCreate *request) {
    const Pipit__Invite *invite = request->invite;
    enum err error = ERR_OK;
    if (request->only_if_empty) {
        uint64_t used = 0;
        error = sql_number(db,
                           "SELECT EXISTS(SELECT 1 FROM users)"
                           " OR EXISTS(SELECT 1 FROM invites WHERE admin AND " USABLE ")",
                           SQL_VALUES(SQL_UINT(invite->created_ms)), &used);
        if (error == ERR_OK && used != 0) {
            error = ERR_CONFLICT;
        }
    }
    if (error == ERR_OK) { /* those past use are kept no longer than the next creation */
        error = sql_run(db, "DELETE FROM invites WHERE NOT (" USABLE ")",
                        SQL_VALUES(SQL_UINT(invite->created_ms)));
    }
    if (error != ERR_OK) {
        return error;
    }
    return sql_run(db,
                   "INSERT INTO invites(hash, created_by, created_ms, expires_ms, uses_left, admin,"
                   " note) VALUES(?,?,?,?,?,?,?)",
                   SQL_VALUES(SQL_BLOB(invite->hash.data, invite->hash.len),
                              SQL_TEXT(invite->created_by), SQL_UINT(invite->created_ms),
                              SQL_UINT(invite->expires_ms), SQL_UINT(invite->uses_left),
                              SQL_UINT(invite->admin != 0), SQL_TEXT(invite->note)));
}

enum err sqlite_invite_create(struct store *store, const Pipit__InviteCreate *request,
                              struct arena *arena, Pipit__StatusReply *reply) {
    (void)arena;
    (void)reply;
    struct sqlite_store *self = sqlite_store_of(store);
    const Pipit__Invite *invite = request->invite;
    if (invite == NULL || invite->hash.len == 0 || invite->hash.len > HASH_BYTES_MAX ||
        !sqlite_text_valid(invite->note) || !sqlite_text_valid(invite->created_by)) {
        return ERR_INVALID;
    }
    enum err error = sqlite_write_begin(self);
    return error != ERR_OK ? error : sqlite_write_end(self, create(&self->writer, request));
}

static enum err remove_invite(struct sqlite_db *db, const Pipit__InviteDelete *request) {
    enum err error = sql_run(db, "DELETE FROM invites WHERE hash=?",
                             SQL_VALUES(SQL_BLOB(request->hash.data, request->hash.len)));
    return error == ERR_OK && sql_changes(db) == 0 ? ERR_NOT_FOUND : error;
}

enum err sqlite_invite_delete(struct store *store, const Pipit__InviteDelete *request,
                              struct arena *arena, Pipit__StatusReply *reply) {
    (void)arena;
    (void)reply;
    struct sqlite_store *self = sqlite_store_of(store);
    enum err error = sqlite_write_begin(self);
    return error != ERR_OK ? error : sqlite_write_end(self, remove_invite(&self->writer, request));
}

static Pipit__Invite *read_invite(struct sql_rows *rows, struct arena *arena) {
    Pipit__Invite *invite = arena_alloc(arena, sizeof(*invite));
    if (invite == NULL) {
        rows->error = ERR_NO_MEMORY;
        return NULL;
    }
    pipit__invite__init(invite);
    invite->hash.data = sql_blob(rows, 0, arena, &invite->hash.len);
    invite->created_by = sql_text(rows, 1, arena);
    invite->created_ms = sql_uint(rows, 2);
    invite->expires_ms = sql_uint(rows, 3);
    invite->uses_left = (uint32_t)sql_uint(rows, 4);
    invite->admin = sql_bool(rows, 5);
    invite->note = sql_text(rows, 6, arena);
    return invite;
}

static enum err list(struct sqlite_db *db, uint64_t now_ms, struct arena *arena,
                     Pipit__InvitesReply *reply) {
    uint64_t room = 0;
    enum err error = sql_number(db, "SELECT count(*) FROM invites", SQL_NONE, &room);
    if (error != ERR_OK || room == 0) {
        return error;
    }
    reply->invites = arena_alloc(arena, room * sizeof(*reply->invites));
    if (reply->invites == NULL) {
        return ERR_NO_MEMORY;
    }
    struct sql_rows rows =
        sql_query(db,
                  "SELECT hash, created_by, created_ms, expires_ms, uses_left, admin, note"
                  " FROM invites WHERE " USABLE " ORDER BY created_ms, hash",
                  SQL_VALUES(SQL_UINT(now_ms)));
    while (reply->n_invites < room && sql_next(&rows)) {
        Pipit__Invite *invite = read_invite(&rows, arena);
        if (invite != NULL) {
            reply->invites[reply->n_invites++] = invite;
        }
    }
    return sql_end(&rows);
}

enum err sqlite_invites(struct store *store, const Pipit__InvitesRequest *request,
                        struct arena *arena, Pipit__InvitesReply *reply) {
    struct sqlite_store *self = sqlite_store_of(store);
    struct sqlite_db *db = NULL;
    enum err error = sqlite_read_begin(self, &db);
    return error != ERR_OK ? error
                           : sqlite_read_end(self, db, list(db, request->now_ms, arena, reply));
}
