/* sqlite_blocks: who blocks whom, and what that does to their direct conversation.
 *
 * A block is one row, and both members of the direct conversation become BLOCKED: neither sends nor
 * receives. It ends when neither blocks the other any more; joined_seq stays, so both see all
 * history again. Blocking somebody without a conversation is remembered for conversation_create. */
#include "services/storage/sqlite_members.h"

#include "proto/names.h"

enum err sqlite_blocked_between(struct sqlite_db *db, const char *user, const char *other,
                                bool *blocked) {
    uint64_t found = 0;
    enum err error = sql_number(db,
                                "SELECT EXISTS(SELECT 1 FROM blocks WHERE user=?1 AND blocked=?2)"
                                " OR EXISTS(SELECT 1 FROM blocks WHERE user=?2 AND blocked=?1)",
                                SQL_VALUES(SQL_TEXT(user), SQL_TEXT(other)), &found);
    if (error == ERR_OK) {
        *blocked = found != 0;
    }
    return error;
}

/* Gives every member of the direct conversation the state; announces what changed. */
static enum err set_states(struct sqlite_store *self, struct sqlite_conversation *entry,
                           Pipit__MemberState state, const Pipit__BlockChange *request,
                           struct arena *arena, Pipit__MembersChanged **changed) {
    Pipit__Conversation *conversation = NULL;
    enum err error = sqlite_conversation_read(&self->writer, entry->id, arena, &conversation);
    if (error != ERR_OK) {
        return error;
    }
    size_t count = 0;
    Pipit__Member **rows = arena_alloc(arena, (conversation->n_members + 1) * sizeof(*rows));
    if (rows == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < conversation->n_members && error == ERR_OK; i++) {
        Pipit__Member *member = conversation->members[i];
        if (member->state != state) {
            member->state = state;
            rows[count++] = member;
            error = sqlite_member_write(&self->writer, entry->key, member, 0, request->now_ms);
        }
    }
    if (error != ERR_OK || count == 0) {
        return error;
    }
    error = sqlite_conversation_touch(self, entry, request->now_ms);
    conversation->members_version = entry->members_version;
    return error != ERR_OK ? error
                           : sqlite_members_announce(conversation, rows, count, request->user,
                                                     false, arena, changed);
}

static enum err write_block(struct sqlite_db *db, const Pipit__BlockChange *request) {
    if (!request->on) {
        return sql_run(db, "DELETE FROM blocks WHERE user=? AND blocked=?",
                       SQL_VALUES(SQL_TEXT(request->user), SQL_TEXT(request->blocked)));
    }
    return sql_run(
        db, "INSERT OR IGNORE INTO blocks(user, blocked, since_ms) VALUES(?,?,?)",
        SQL_VALUES(SQL_TEXT(request->user), SQL_TEXT(request->blocked), SQL_UINT(request->now_ms)));
}

static enum err check_user(struct sqlite_db *db, const char *user) {
    enum err error = sqlite_user_usable(db, user);
    return error == ERR_DISABLED ? ERR_OK : error; /* may come back */
}

static enum err change(struct sqlite_store *self, const Pipit__BlockChange *request,
                       struct arena *arena, Pipit__MembersChanged **changed) {
    struct sqlite_db *db = &self->writer;
    char direct[LIMIT_CONVERSATION_ID_BYTES + 1];
    enum err error = check_user(db, request->user);
    if (error == ERR_OK) {
        error = check_user(db, request->blocked);
    }
    if (error == ERR_OK) {
        error = names_direct_conversation(request->user, request->blocked, direct);
    }
    if (error == ERR_OK) {
        error = write_block(db, request);
    }
    bool blocked = false;
    if (error == ERR_OK) {
        error = sqlite_blocked_between(db, request->user, request->blocked, &blocked);
    }
    if (error != ERR_OK) {
        return error;
    }
    struct sqlite_conversation *entry = NULL;
    error = sqlite_conversation_find(self, direct, &entry);
    if (error != ERR_OK) {
        return error == ERR_NOT_FOUND ? ERR_OK : error; /* they never talked */
    }
    return set_states(self, entry,
                      blocked ? PIPIT__MEMBER_STATE__MEMBER_BLOCKED
                              : PIPIT__MEMBER_STATE__MEMBER_ACTIVE,
                      request, arena, changed);
}

enum err sqlite_block_change(struct store *store, const Pipit__BlockChange *request,
                             struct arena *arena, Pipit__StatusReply *reply,
                             Pipit__MembersChanged **changed) {
    (void)reply;
    struct sqlite_store *self = sqlite_store_of(store);
    *changed = NULL;
    if (!sqlite_id_valid(request->user) || !sqlite_id_valid(request->blocked) ||
        strcmp(request->user, request->blocked) == 0) {
        return ERR_INVALID;
    }
    enum err error = sqlite_write_begin(self);
    if (error != ERR_OK) {
        return error;
    }
    return sqlite_write_end(self, change(self, request, arena, changed));
}

static enum err list(struct sqlite_db *db, const char *user, struct arena *arena,
                     Pipit__BlocksReply *reply) {
    uint64_t room = 0;
    enum err error = sql_number(db, "SELECT count(*) FROM blocks WHERE user=?",
                                SQL_VALUES(SQL_TEXT(user)), &room);
    if (error != ERR_OK || room == 0) {
        return error;
    }
    char **found = arena_alloc(arena, room * sizeof(*found));
    if (found == NULL) {
        return ERR_NO_MEMORY;
    }
    struct sql_rows rows = sql_query(db, "SELECT blocked FROM blocks WHERE user=? ORDER BY blocked",
                                     SQL_VALUES(SQL_TEXT(user)));
    size_t used = 0;
    while (used < room && sql_next(&rows)) {
        found[used++] = sql_text(&rows, 0, arena);
    }
    reply->blocked = found;
    reply->n_blocked = used;
    return sql_end(&rows);
}

enum err sqlite_blocks(struct store *store, const Pipit__BlocksRequest *request,
                       struct arena *arena, Pipit__BlocksReply *reply) {
    struct sqlite_store *self = sqlite_store_of(store);
    struct sqlite_db *db = NULL;
    enum err error = sqlite_read_begin(self, &db);
    return error != ERR_OK ? error
                           : sqlite_read_end(self, db, list(db, request->user, arena, reply));
}
