/* sqlite_sessions: devices and their refresh-token families.
 *
 * A device has one family at a time. Tokens are kept as hashes with a generation; `current` is the
 * highest generation that was ever presented. A token of generation current or current + 1 gets a
 * successor of the next generation and becomes current; an older one was stolen or copied, and the
 * family ends (RFC 9700 section 4.14.2). Because the answer to a rotation can be lost, the former
 * token works until its successor is first used, and several successors of one token may live side
 * by side (two tabs that refresh at once).
 *
 * Bounds: old generations are remembered for STORE_GENERATIONS_KEPT rotations, so that a stolen
 * token is noticed; older ones are merely unknown. Expired tokens go at each rotation; at most
 * SUCCESSORS_MAX of one generation are kept, the oldest hashes go first. */
#include "services/storage/store_sqlite.h"

#define HASH_BYTES_MAX 64u
#define SUCCESSORS_MAX 8u /* tabs of one browser that refresh at the same moment */

struct token {
    uint64_t family, generation, expires_ms, current;
    char *user, *device;
};

static bool hash_valid(const ProtobufCBinaryData *hash) {
    return hash->len > 0 && hash->len <= HASH_BYTES_MAX;
}

static Pipit__Device *read_device(struct sql_rows *rows, struct arena *arena) {
    Pipit__Device *device = arena_alloc(arena, sizeof(*device));
    if (device == NULL) {
        rows->error = ERR_NO_MEMORY;
        return NULL;
    }
    pipit__device__init(device);
    device->user = sql_text(rows, 0, arena);
    device->id = sql_text(rows, 1, arena);
    device->name = sql_text(rows, 2, arena);
    device->platform = sql_text(rows, 3, arena);
    device->created_ms = sql_uint(rows, 4);
    device->seen_ms = sql_uint(rows, 5);
    return device;
}

static enum err load_device(struct sqlite_db *db, const char *user, const char *id,
                            struct arena *arena, Pipit__Device **device) {
    struct sql_rows rows =
        sql_query(db,
                  "SELECT user, id, name, platform, created_ms, seen_ms FROM devices"
                  " WHERE user=? AND id=?",
                  SQL_VALUES(SQL_TEXT(user), SQL_TEXT(id)));
    Pipit__Device *found = sql_next(&rows) ? read_device(&rows, arena) : NULL;
    enum err error = sql_end(&rows);
    if (error == ERR_OK && found == NULL) {
        return ERR_NOT_FOUND;
    }
    if (error == ERR_OK) {
        *device = found;
    }
    return error;
}

static enum err list(struct sqlite_db *db, const char *user, struct arena *arena,
                     Pipit__DevicesReply *reply) {
    uint64_t room = 0;
    enum err error = sql_number(db, "SELECT count(*) FROM devices WHERE user=?",
                                SQL_VALUES(SQL_TEXT(user)), &room);
    if (error != ERR_OK || room == 0) {
        return error;
    }
    reply->devices = arena_alloc(arena, room * sizeof(*reply->devices));
    if (reply->devices == NULL) {
        return ERR_NO_MEMORY;
    }
    struct sql_rows rows =
        sql_query(db,
                  "SELECT user, id, name, platform, created_ms, seen_ms FROM devices"
                  " WHERE user=? ORDER BY created_ms, id",
                  SQL_VALUES(SQL_TEXT(user)));
    while (reply->n_devices < room && sql_next(&rows)) {
        Pipit__Device *device = read_device(&rows, arena);
        if (device != NULL) {
            reply->devices[reply->n_devices++] = device;
        }
    }
    return sql_end(&rows);
}

enum err sqlite_devices(struct store *store, const Pipit__DevicesRequest *request,
                        struct arena *arena, Pipit__DevicesReply *reply) {
    struct sqlite_store *self = sqlite_store_of(store);
    struct sqlite_db *db = NULL;
    enum err error = sqlite_read_begin(self, &db);
    return error != ERR_OK ? error
                           : sqlite_read_end(self, db, list(db, request->user, arena, reply));
}

static enum err end_family(struct sqlite_db *db, uint64_t family) {
    enum err error =
        sql_run(db, "DELETE FROM refresh_tokens WHERE family=?", SQL_VALUES(SQL_UINT(family)));
    return error != ERR_OK
               ? error
               : sql_run(db, "DELETE FROM families WHERE key=?", SQL_VALUES(SQL_UINT(family)));
}

static enum err add_token(struct sqlite_db *db, const ProtobufCBinaryData *hash, uint64_t family,
                          uint64_t generation, uint64_t expires_ms) {
    return sql_run(
        db, "INSERT INTO refresh_tokens(hash, family, generation, expires_ms) VALUES(?,?,?,?)",
        SQL_VALUES(SQL_BLOB(hash->data, hash->len), SQL_UINT(family), SQL_UINT(generation),
                   SQL_UINT(expires_ms)));
}

/* Upserts the device; ERR_FULL. */
static enum err put_device(struct sqlite_db *db, const Pipit__SessionCreate *request,
                           bool *created) {
    const Pipit__Device *device = request->device;
    uint64_t known = 0;
    uint64_t count = 0;
    enum err error = sql_number(db, "SELECT count(*) FROM devices WHERE user=? AND id=?",
                                SQL_VALUES(SQL_TEXT(device->user), SQL_TEXT(device->id)), &known);
    if (error == ERR_OK && known == 0) {
        error = sql_number(db, "SELECT count(*) FROM devices WHERE user=?",
                           SQL_VALUES(SQL_TEXT(device->user)), &count);
    }
    if (error != ERR_OK) {
        return error;
    }
    if (known == 0 && request->devices_max != 0 && count >= request->devices_max) {
        return ERR_FULL;
    }
    *created = known == 0;
    return sql_run(db,
                   "INSERT INTO devices(user, id, name, platform, created_ms, seen_ms)"
                   " VALUES(?1,?2,?3,?4,?5,?5) ON CONFLICT(user, id) DO UPDATE SET name=?3,"
                   " platform=?4, seen_ms=?5",
                   SQL_VALUES(SQL_TEXT(device->user), SQL_TEXT(device->id), SQL_TEXT(device->name),
                              SQL_TEXT(device->platform), SQL_UINT(request->now_ms)));
}

static enum err begin_family(struct sqlite_db *db, const Pipit__SessionCreate *request) {
    const Pipit__Device *device = request->device;
    uint64_t former = 0;
    enum err error = sql_number(db, "SELECT key FROM families WHERE user=? AND device=?",
                                SQL_VALUES(SQL_TEXT(device->user), SQL_TEXT(device->id)), &former);
    if (error == ERR_OK && former != 0) {
        error = end_family(db, former);
    }
    if (error == ERR_OK) {
        error = sql_run(db, "INSERT INTO families(user, device, current) VALUES(?,?,1)",
                        SQL_VALUES(SQL_TEXT(device->user), SQL_TEXT(device->id)));
    }
    if (error != ERR_OK) {
        return error;
    }
    uint64_t family = (uint64_t)sqlite3_last_insert_rowid(db->handle);
    return add_token(db, &request->refresh_hash, family, 1, request->expires_ms);
}

static enum err create(struct sqlite_db *db, const Pipit__SessionCreate *request,
                       struct arena *arena, Pipit__SessionReply *reply) {
    const Pipit__Device *device = request->device;
    bool created = false;
    enum err error = sqlite_user_usable(db, device->user);
    if (error == ERR_OK) {
        error = put_device(db, request, &created);
    }
    if (error == ERR_OK) {
        error = begin_family(db, request);
    }
    if (error == ERR_OK) {
        error = load_device(db, device->user, device->id, arena, &reply->device);
    }
    if (error == ERR_OK) {
        error = sqlite_user_load(db, device->user, false, arena, &reply->user);
    }
    if (error == ERR_OK) {
        reply->device_created = created;
    }
    return error;
}

enum err sqlite_session_create(struct store *store, const Pipit__SessionCreate *request,
                               struct arena *arena, Pipit__SessionReply *reply) {
    struct sqlite_store *self = sqlite_store_of(store);
    const Pipit__Device *device = request->device;
    if (device == NULL || !sqlite_id_valid(device->id) || !hash_valid(&request->refresh_hash) ||
        !sqlite_text_valid(device->name) || !sqlite_text_valid(device->platform)) {
        return ERR_INVALID;
    }
    enum err error = sqlite_write_begin(self);
    return error != ERR_OK ? error
                           : sqlite_write_end(self, create(&self->writer, request, arena, reply));
}

static enum err find_token(struct sqlite_db *db, const ProtobufCBinaryData *hash,
                           struct arena *arena, struct token *token) {
    struct sql_rows rows =
        sql_query(db,
                  "SELECT t.family, t.generation, t.expires_ms, f.current, f.user, f.device"
                  " FROM refresh_tokens t JOIN families f ON f.key = t.family WHERE t.hash=?",
                  SQL_VALUES(SQL_BLOB(hash->data, hash->len)));
    bool found = sql_next(&rows);
    if (found) {
        token->family = sql_uint(&rows, 0);
        token->generation = sql_uint(&rows, 1);
        token->expires_ms = sql_uint(&rows, 2);
        token->current = sql_uint(&rows, 3);
        token->user = sql_text(&rows, 4, arena);
        token->device = sql_text(&rows, 5, arena);
    }
    enum err error = sql_end(&rows);
    return error == ERR_OK && !found ? ERR_NOT_FOUND : error;
}

static enum err prune_family(struct sqlite_db *db, const struct token *token, uint64_t now_ms) {
    uint64_t next = token->generation + 1;
    uint64_t oldest = next > STORE_GENERATIONS_KEPT ? next - STORE_GENERATIONS_KEPT : 0;
    enum err error =
        sql_run(db, "DELETE FROM refresh_tokens WHERE family=? AND (generation<? OR expires_ms<=?)",
                SQL_VALUES(SQL_UINT(token->family), SQL_UINT(oldest), SQL_UINT(now_ms)));
    return error != ERR_OK ? error
                           : sql_run(db,
                                     "DELETE FROM refresh_tokens WHERE hash IN (SELECT hash FROM"
                                     " refresh_tokens WHERE family=? AND generation=?"
                                     " ORDER BY expires_ms DESC LIMIT -1 OFFSET ?)",
                                     SQL_VALUES(SQL_UINT(token->family), SQL_UINT(next),
                                                SQL_UINT(SUCCESSORS_MAX - 1)));
}

/* The successor of a good token. */
static enum err succeed(struct sqlite_db *db, const Pipit__SessionRotate *request,
                        const struct token *token) {
    enum err error = prune_family(db, token, request->now_ms);
    if (error == ERR_OK) {
        error = sql_run(db, "UPDATE families SET current=? WHERE key=?",
                        SQL_VALUES(SQL_UINT(token->generation), SQL_UINT(token->family)));
    }
    if (error == ERR_OK) {
        error = add_token(db, &request->new_refresh_hash, token->family, token->generation + 1,
                          request->expires_ms);
    }
    return error != ERR_OK
               ? error
               : sql_run(db, "UPDATE devices SET seen_ms=max(seen_ms, ?) WHERE user=? AND id=?",
                         SQL_VALUES(SQL_UINT(request->now_ms), SQL_TEXT(token->user),
                                    SQL_TEXT(token->device)));
}

/* *reused: the family was ended, which must be kept although the request is refused. */
static enum err rotate(struct sqlite_db *db, const Pipit__SessionRotate *request,
                       struct arena *arena, Pipit__SessionReply *reply, bool *reused) {
    struct token token = {0};
    Pipit__User *user = NULL;
    enum err error = find_token(db, &request->refresh_hash, arena, &token);
    if (error == ERR_OK) {
        error = sqlite_user_load(db, token.user, false, arena, &user);
    }
    if (error != ERR_OK) {
        return error;
    }
    if (token.generation < token.current) {
        *reused = true;
        error = end_family(db, token.family);
    } else if (token.expires_ms <= request->now_ms) {
        return ERR_EXPIRED;
    } else if (user->disabled) {
        return ERR_DISABLED;
    } else {
        error = succeed(db, request, &token);
    }
    if (error == ERR_OK) {
        error = load_device(db, token.user, token.device, arena, &reply->device);
    }
    if (error == ERR_OK) {
        reply->user = user;
    }
    return error;
}

enum err sqlite_session_rotate(struct store *store, const Pipit__SessionRotate *request,
                               struct arena *arena, Pipit__SessionReply *reply) {
    struct sqlite_store *self = sqlite_store_of(store);
    if (!hash_valid(&request->refresh_hash) || !hash_valid(&request->new_refresh_hash)) {
        return ERR_INVALID;
    }
    enum err error = sqlite_write_begin(self);
    if (error != ERR_OK) {
        return error;
    }
    bool reused = false;
    error = sqlite_write_end(self, rotate(&self->writer, request, arena, reply, &reused));
    return error == ERR_OK && reused ? ERR_REUSED : error;
}
