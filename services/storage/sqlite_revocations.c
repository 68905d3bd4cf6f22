/* sqlite_revocations: ending sessions, and remembering it while access tokens could outlive them.
 *
 * Access tokens are checked without asking anybody, so a revocation must be known everywhere until
 * the last token issued before it has expired; after that the row is pruned at the next revocation.
 * The same target revoked again moves its row on instead of adding one. */
#include "services/storage/store_sqlite.h"

/* The devices a revocation is about. ?1 user, ?2 device or '', ?3 the one that stays or ''. */
#define TARGET(column) "user=?1 AND (?2='' OR " column "=?2) AND " column "<>?3"

static enum err check_target(struct sqlite_db *db, const Pipit__Revoke *request) {
    enum err error = sqlite_user_usable(db, request->user);
    if (error == ERR_DISABLED) {
        error = ERR_OK;
    }
    if (error != ERR_OK || request->device[0] == '\0') {
        return error;
    }
    uint64_t known = 0;
    error = sql_number(db, "SELECT count(*) FROM devices WHERE user=? AND id=?",
                       SQL_VALUES(SQL_TEXT(request->user), SQL_TEXT(request->device)), &known);
    return error == ERR_OK && known == 0 ? ERR_NOT_FOUND : error;
}

static enum err end_sessions(struct sqlite_db *db, const Pipit__Revoke *request,
                             const char *except_device) {
    const struct sql_value target[] = {SQL_TEXT(request->user), SQL_TEXT(request->device),
                                       SQL_TEXT(except_device), SQL_END};
    enum err error = sql_run(db,
                             "DELETE FROM refresh_tokens WHERE family IN"
                             " (SELECT key FROM families WHERE " TARGET("device") ")",
                             target);
    if (error == ERR_OK) {
        error = sql_run(db, "DELETE FROM families WHERE " TARGET("device"), target);
    }
    if (error == ERR_OK && request->delete_device) {
        error = sql_run(db, "DELETE FROM device_cursors WHERE " TARGET("device"), target);
    }
    if (error == ERR_OK && request->delete_device) {
        error = sql_run(db, "DELETE FROM devices WHERE " TARGET("id"), target);
    }
    return error;
}

static enum err revoke(struct sqlite_db *db, const Pipit__Revoke *request) {
    const char *except_device = request->device[0] == '\0' ? request->except_device : "";
    enum err error = check_target(db, request);
    if (error == ERR_OK) {
        error = end_sessions(db, request, except_device);
    }
    if (error == ERR_OK) {
        error = sql_run(db, "DELETE FROM revocations WHERE until_ms<=?",
                        SQL_VALUES(SQL_UINT(request->now_ms)));
    }
    if (error != ERR_OK) {
        return error;
    }
    return sql_run(db,
                   "INSERT INTO revocations(user, device, except_device, before_ms, until_ms)"
                   " VALUES(?1,?2,?3,?4,?5) ON CONFLICT(user, device, except_device) DO UPDATE SET"
                   " before_ms=max(before_ms, ?4), until_ms=max(until_ms, ?5)",
                   SQL_VALUES(SQL_TEXT(request->user), SQL_TEXT(request->device),
                              SQL_TEXT(except_device), SQL_UINT(request->now_ms),
                              SQL_UINT(request->until_ms)));
}

enum err sqlite_revoke(struct store *store, const Pipit__Revoke *request, struct arena *arena,
                       Pipit__StatusReply *reply) {
    (void)arena;
    (void)reply;
    struct sqlite_store *self = sqlite_store_of(store);
    enum err error = sqlite_write_begin(self);
    return error != ERR_OK ? error : sqlite_write_end(self, revoke(&self->writer, request));
}

static Pipit__Revocation *read_revocation(struct sql_rows *rows, struct arena *arena) {
    Pipit__Revocation *revocation = arena_alloc(arena, sizeof(*revocation));
    if (revocation == NULL) {
        rows->error = ERR_NO_MEMORY;
        return NULL;
    }
    pipit__revocation__init(revocation);
    revocation->user = sql_text(rows, 0, arena);
    revocation->device = sql_text(rows, 1, arena);
    revocation->except_device = sql_text(rows, 2, arena);
    revocation->before_ms = sql_uint(rows, 3);
    revocation->until_ms = sql_uint(rows, 4);
    revocation->disabled = sql_bool(rows, 5);
    return revocation;
}

static enum err list(struct sqlite_db *db, uint64_t now_ms, struct arena *arena,
                     Pipit__RevocationsReply *reply) {
    uint64_t room = 0;
    enum err error = sql_number(db, "SELECT count(*) FROM revocations", SQL_NONE, &room);
    if (error != ERR_OK || room == 0) {
        return error;
    }
    reply->revocations = arena_alloc(arena, room * sizeof(*reply->revocations));
    if (reply->revocations == NULL) {
        return ERR_NO_MEMORY;
    }
    struct sql_rows rows =
        sql_query(db,
                  "SELECT r.user, r.device, r.except_device, r.before_ms, r.until_ms, u.disabled"
                  " FROM revocations r LEFT JOIN users u ON u.id = r.user WHERE r.until_ms>?"
                  " ORDER BY r.before_ms, r.user, r.device",
                  SQL_VALUES(SQL_UINT(now_ms)));
    while (reply->n_revocations < room && sql_next(&rows)) {
        Pipit__Revocation *revocation = read_revocation(&rows, arena);
        if (revocation != NULL) {
            reply->revocations[reply->n_revocations++] = revocation;
        }
    }
    return sql_end(&rows);
}

enum err sqlite_revocations(struct store *store, const Pipit__RevocationsRequest *request,
                            struct arena *arena, Pipit__RevocationsReply *reply) {
    struct sqlite_store *self = sqlite_store_of(store);
    struct sqlite_db *db = NULL;
    enum err error = sqlite_read_begin(self, &db);
    return error != ERR_OK ? error
                           : sqlite_read_end(self, db, list(db, request->now_ms, arena, reply));
}
