/* sqlite_keys: the signing keys that all auth instances share. Two instances may make a key at the
 * same moment; expected_count lets one of them win, and the other reads what won. */
#include "services/storage/store_sqlite.h"

#define LIVE "(retires_ms=0 OR retires_ms>?)"

static enum err put(struct sqlite_db *db, const Pipit__KeyPut *request) {
    const Pipit__SigningKey *key = request->key;
    uint64_t live = 0;
    enum err error = sql_number(db, "SELECT count(*) FROM signing_keys WHERE " LIVE,
                                SQL_VALUES(SQL_UINT(request->now_ms)), &live);
    if (error == ERR_OK && live != request->expected_count) {
        error = ERR_CONFLICT;
    }
    if (error == ERR_OK) { /* nothing signed by a retired key is alive */
        error = sql_run(db, "DELETE FROM signing_keys WHERE NOT " LIVE,
                        SQL_VALUES(SQL_UINT(request->now_ms)));
    }
    if (error != ERR_OK) {
        return error;
    }
    error = sql_run(
        db,
        "INSERT INTO signing_keys(kid, private_pem, x, y, created_ms, signs_from_ms, retires_ms)"
        " VALUES(?,?,?,?,?,?,?)",
        SQL_VALUES(SQL_TEXT(key->kid), SQL_BLOB(key->private_pem.data, key->private_pem.len),
                   SQL_BLOB(key->x.data, key->x.len), SQL_BLOB(key->y.data, key->y.len),
                   SQL_UINT(key->created_ms), SQL_UINT(key->signs_from_ms),
                   SQL_UINT(key->retires_ms)));
    return error == ERR_EXISTS ? ERR_CONFLICT : error;
}

enum err sqlite_key_put(struct store *store, const Pipit__KeyPut *request, struct arena *arena,
                        Pipit__StatusReply *reply) {
    (void)arena;
    (void)reply;
    struct sqlite_store *self = sqlite_store_of(store);
    const Pipit__SigningKey *key = request->key;
    if (key == NULL || !sqlite_id_valid(key->kid) || key->x.len != 32 || key->y.len != 32 ||
        key->private_pem.len > STORE_TEXT_BYTES_MAX) {
        return ERR_INVALID;
    }
    enum err error = sqlite_write_begin(self);
    return error != ERR_OK ? error : sqlite_write_end(self, put(&self->writer, request));
}

static enum err retire(struct sqlite_db *db, const Pipit__KeyRetire *request) {
    enum err error = sql_run(db, "UPDATE signing_keys SET retires_ms=? WHERE kid=?",
                             SQL_VALUES(SQL_UINT(request->retires_ms), SQL_TEXT(request->kid)));
    return error == ERR_OK && sql_changes(db) == 0 ? ERR_NOT_FOUND : error;
}

enum err sqlite_key_retire(struct store *store, const Pipit__KeyRetire *request,
                           struct arena *arena, Pipit__StatusReply *reply) {
    (void)arena;
    (void)reply;
    struct sqlite_store *self = sqlite_store_of(store);
    enum err error = sqlite_write_begin(self);
    return error != ERR_OK ? error : sqlite_write_end(self, retire(&self->writer, request));
}

static Pipit__SigningKey *read_key(struct sql_rows *rows, bool with_private, struct arena *arena) {
    Pipit__SigningKey *key = arena_alloc(arena, sizeof(*key));
    if (key == NULL) {
        rows->error = ERR_NO_MEMORY;
        return NULL;
    }
    pipit__signing_key__init(key);
    key->kid = sql_text(rows, 0, arena);
    if (with_private) {
        key->private_pem.data = sql_blob(rows, 1, arena, &key->private_pem.len);
    }
    key->x.data = sql_blob(rows, 2, arena, &key->x.len);
    key->y.data = sql_blob(rows, 3, arena, &key->y.len);
    key->created_ms = sql_uint(rows, 4);
    key->signs_from_ms = sql_uint(rows, 5);
    key->retires_ms = sql_uint(rows, 6);
    return key;
}

static enum err list(struct sqlite_db *db, const Pipit__KeysRequest *request, struct arena *arena,
                     Pipit__KeysReply *reply) {
    uint64_t room = 0;
    enum err error = sql_number(db, "SELECT count(*) FROM signing_keys", SQL_NONE, &room);
    if (error != ERR_OK || room == 0) {
        return error;
    }
    reply->keys = arena_alloc(arena, room * sizeof(*reply->keys));
    if (reply->keys == NULL) {
        return ERR_NO_MEMORY;
    }
    struct sql_rows rows =
        sql_query(db,
                  "SELECT kid, private_pem, x, y, created_ms, signs_from_ms, retires_ms"
                  " FROM signing_keys WHERE " LIVE " ORDER BY created_ms, kid",
                  SQL_VALUES(SQL_UINT(request->now_ms)));
    while (reply->n_keys < room && sql_next(&rows)) {
        Pipit__SigningKey *key = read_key(&rows, request->with_private != 0, arena);
        if (key != NULL) {
            reply->keys[reply->n_keys++] = key;
        }
    }
    return sql_end(&rows);
}

enum err sqlite_keys(struct store *store, const Pipit__KeysRequest *request, struct arena *arena,
                     Pipit__KeysReply *reply) {
    struct sqlite_store *self = sqlite_store_of(store);
    struct sqlite_db *db = NULL;
    enum err error = sqlite_read_begin(self, &db);
    return error != ERR_OK ? error : sqlite_read_end(self, db, list(db, request, arena, reply));
}
