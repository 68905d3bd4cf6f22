/* sqlite_users: accounts. The password hash leaves the store only when asked for (with_secret).
 *
 * Creating an account consumes its invite in the same transaction, invite first: a taken name then
 * undoes both, and names cannot be probed without an invite. */
#include "services/storage/store_sqlite.h"

#define USER_COLUMNS                                                                               \
    "id, name, display_name, password_hash, admin, disabled, created_ms, changed_ms"

static Pipit__User *read_user(struct sql_rows *rows, bool with_secret, struct arena *arena) {
    Pipit__User *user = arena_alloc(arena, sizeof(*user));
    if (user == NULL) {
        rows->error = ERR_NO_MEMORY;
        return NULL;
    }
    pipit__user__init(user);
    user->id = sql_text(rows, 0, arena);
    user->name = sql_text(rows, 1, arena);
    user->display_name = sql_text(rows, 2, arena);
    if (with_secret) {
        user->password_hash = sql_text(rows, 3, arena);
    }
    user->admin = sql_bool(rows, 4);
    user->disabled = sql_bool(rows, 5);
    user->created_ms = sql_uint(rows, 6);
    user->changed_ms = sql_uint(rows, 7);
    return user;
}

enum err sqlite_user_usable(struct sqlite_db *db, const char *user) {
    struct sql_rows rows =
        sql_query(db, "SELECT disabled FROM users WHERE id=?", SQL_VALUES(SQL_TEXT(user)));
    enum err answer = ERR_NOT_FOUND;
    if (sql_next(&rows)) {
        answer = sql_bool(&rows, 0) ? ERR_DISABLED : ERR_OK;
    }
    enum err error = sql_end(&rows);
    return error != ERR_OK ? error : answer;
}

enum err sqlite_user_load(struct sqlite_db *db, const char *id, bool with_secret,
                          struct arena *arena, Pipit__User **user) {
    struct sql_rows rows =
        sql_query(db, "SELECT " USER_COLUMNS " FROM users WHERE id=?", SQL_VALUES(SQL_TEXT(id)));
    Pipit__User *found = sql_next(&rows) ? read_user(&rows, with_secret, arena) : NULL;
    enum err error = sql_end(&rows);
    if (error == ERR_OK && found == NULL) {
        return ERR_NOT_FOUND;
    }
    if (error == ERR_OK) {
        *user = found;
    }
    return error;
}

static bool new_user_valid(const Pipit__User *user) {
    return user != NULL && sqlite_id_valid(user->id) && strncmp(user->id, "u_", 2) == 0 &&
           strcmp(user->id + 2, user->name) == 0 && user->name[0] != '\0' &&
           sqlite_text_valid(user->display_name) && sqlite_text_valid(user->password_hash);
}

static enum err create(struct sqlite_db *db, const Pipit__UserCreate *request, struct arena *arena,
                       Pipit__UserReply *reply) {
    const Pipit__User *user = request->user;
    bool admin = user->admin != 0;
    if (request->invite_hash.len > 0) {
        enum err error = sqlite_invite_consume(db, &request->invite_hash, request->now_ms, &admin);
        if (error != ERR_OK) {
            return error;
        }
    }
    enum err error = sql_run(db, "INSERT INTO users(" USER_COLUMNS ") VALUES(?,?,?,?,?,?,?,?)",
                             SQL_VALUES(SQL_TEXT(user->id), SQL_TEXT(user->name),
                                        SQL_TEXT(user->display_name), SQL_TEXT(user->password_hash),
                                        SQL_UINT(admin), SQL_UINT(user->disabled != 0),
                                        SQL_UINT(request->now_ms), SQL_UINT(request->now_ms)));
    return error != ERR_OK ? error : sqlite_user_load(db, user->id, false, arena, &reply->user);
}

enum err sqlite_user_create(struct store *store, const Pipit__UserCreate *request,
                            struct arena *arena, Pipit__UserReply *reply) {
    struct sqlite_store *self = sqlite_store_of(store);
    if (!new_user_valid(request->user)) {
        return ERR_INVALID;
    }
    enum err error = sqlite_write_begin(self);
    return error != ERR_OK ? error
                           : sqlite_write_end(self, create(&self->writer, request, arena, reply));
}

enum err sqlite_user_get(struct store *store, const Pipit__UserGet *request, struct arena *arena,
                         Pipit__UserReply *reply) {
    struct sqlite_store *self = sqlite_store_of(store);
    struct sqlite_db *db = NULL;
    enum err error = sqlite_read_begin(self, &db);
    if (error != ERR_OK) {
        return error;
    }
    error = sqlite_user_load(db, request->id, request->with_secret != 0, arena, &reply->user);
    return sqlite_read_end(self, db, error);
}

static enum err update(struct sqlite_db *db, const Pipit__UserUpdate *request, struct arena *arena,
                       Pipit__UserReply *reply) {
    enum err error = sql_run(
        db,
        "UPDATE users SET display_name=iif(?2, ?3, display_name),"
        " password_hash=iif(?4, ?5, password_hash), disabled=iif(?6, ?7, disabled),"
        " admin=iif(?8, ?9, admin), changed_ms=max(changed_ms, ?10) WHERE id=?1",
        SQL_VALUES(SQL_TEXT(request->id), SQL_UINT(request->set_display_name != 0),
                   SQL_TEXT(request->display_name), SQL_UINT(request->set_password_hash != 0),
                   SQL_TEXT(request->password_hash), SQL_UINT(request->set_disabled != 0),
                   SQL_UINT(request->disabled != 0), SQL_UINT(request->set_admin != 0),
                   SQL_UINT(request->admin != 0), SQL_UINT(request->now_ms)));
    return error != ERR_OK ? error : sqlite_user_load(db, request->id, false, arena, &reply->user);
}

enum err sqlite_user_update(struct store *store, const Pipit__UserUpdate *request,
                            struct arena *arena, Pipit__UserReply *reply) {
    struct sqlite_store *self = sqlite_store_of(store);
    if (!sqlite_text_valid(request->display_name) || !sqlite_text_valid(request->password_hash)) {
        return ERR_INVALID;
    }
    enum err error = sqlite_write_begin(self);
    return error != ERR_OK ? error
                           : sqlite_write_end(self, update(&self->writer, request, arena, reply));
}

static enum err search(struct sqlite_db *db, const Pipit__UsersRequest *request, uint32_t limit,
                       struct arena *arena, Pipit__UsersReply *reply) {
    /* One row more than asked for tells whether there is a next page. instr() takes the query
     * literally, where LIKE would read % and _ as wildcards. */
    struct sql_rows rows =
        sql_query(db,
                  "SELECT " USER_COLUMNS " FROM users WHERE id>?1 AND (?2 OR disabled=0) AND"
                  " (instr(name, lower(?3))=1 OR instr(lower(display_name), lower(?3))>0)"
                  " ORDER BY id LIMIT ?4",
                  SQL_VALUES(SQL_TEXT(request->after), SQL_UINT(request->with_disabled != 0),
                             SQL_TEXT(request->query), SQL_UINT(limit + 1)));
    while (sql_next(&rows)) {
        if (reply->n_users == limit) {
            reply->next = reply->users[limit - 1]->id;
            break;
        }
        Pipit__User *user = read_user(&rows, false, arena);
        if (user != NULL) {
            reply->users[reply->n_users++] = user;
        }
    }
    return sql_end(&rows);
}

enum err sqlite_users(struct store *store, const Pipit__UsersRequest *request, struct arena *arena,
                      Pipit__UsersReply *reply) {
    struct sqlite_store *self = sqlite_store_of(store);
    uint32_t limit = sqlite_limit(request->limit, STORE_USERS_LIMIT_MAX);
    reply->users = arena_alloc(arena, limit * sizeof(*reply->users));
    if (reply->users == NULL) {
        return ERR_NO_MEMORY;
    }
    struct sqlite_db *db = NULL;
    enum err error = sqlite_read_begin(self, &db);
    return error != ERR_OK ? error
                           : sqlite_read_end(self, db, search(db, request, limit, arena, reply));
}
