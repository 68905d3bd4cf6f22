/* sqlite_conversations: conversations as rows: finding, loading, creating.
 *
 * The writer finds a conversation through its cache, a reader through the table. Creation is
 * idempotent because a client or routing repeats it after an unknown outcome: the id decides, and
 * what exists is compared, not overwritten. */
#include "services/storage/sqlite_members.h"

#include "services/storage/conversation_shape.h"

#define DIRECT PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT

enum err sqlite_conversation_find(struct sqlite_store *self, const char *id,
                                  struct sqlite_conversation **out) {
    struct sqlite_conversation *entry = sqlite_cache_find(&self->cache, id);
    if (entry != NULL) {
        *out = entry;
        return ERR_OK;
    }
    struct sqlite_db *db = &self->writer;
    struct sql_rows rows = sql_query(
        db, "SELECT key, members_version FROM conversations WHERE id=?", SQL_VALUES(SQL_TEXT(id)));
    bool found = sql_next(&rows);
    uint64_t key = found ? sql_uint(&rows, 0) : 0;
    uint64_t members_version = found ? sql_uint(&rows, 1) : 0;
    enum err error = sql_end(&rows);
    if (error != ERR_OK || !found) {
        return error != ERR_OK ? error : ERR_NOT_FOUND;
    }
    uint64_t head = 0;
    error = sqlite_head(db, key, &head);
    if (error == ERR_OK) {
        error = sqlite_cache_add(&self->cache, id, &entry);
    }
    if (error != ERR_OK) {
        return error;
    }
    entry->key = key;
    entry->head = head;
    entry->members_version = members_version;
    *out = entry;
    return ERR_OK;
}

enum err sqlite_conversation_touch(struct sqlite_store *self, struct sqlite_conversation *entry,
                                   uint64_t now_ms) {
    enum err error = sql_run(&self->writer,
                             "UPDATE conversations SET members_version=members_version+1,"
                             " changed_ms=max(changed_ms, ?) WHERE key=?",
                             SQL_VALUES(SQL_UINT(now_ms), SQL_UINT(entry->key)));
    if (error == ERR_OK) {
        entry->members_version++;
    }
    return error;
}

enum err sqlite_conversation_read(struct sqlite_db *db, const char *id, struct arena *arena,
                                  Pipit__Conversation **out) {
    Pipit__Conversation *conversation = arena_alloc(arena, sizeof(*conversation));
    if (conversation == NULL) {
        return ERR_NO_MEMORY;
    }
    pipit__conversation__init(conversation);
    struct sql_rows rows =
        sql_query(db,
                  "SELECT key, kind, title, created_ms, members_version,"
                  " (SELECT max(seq) FROM messages m WHERE m.conversation = c.key), id"
                  " FROM conversations c WHERE id=?",
                  SQL_VALUES(SQL_TEXT(id)));
    bool found = sql_next(&rows);
    uint64_t key = 0;
    if (found) {
        key = sql_uint(&rows, 0);
        conversation->kind = (Pipit__ConversationKind)sql_uint(&rows, 1);
        conversation->title = sql_text(&rows, 2, arena);
        conversation->created_ms = sql_uint(&rows, 3);
        conversation->members_version = sql_uint(&rows, 4);
        conversation->head = sql_uint(&rows, 5);
        conversation->id = sql_text(&rows, 6, arena);
    }
    enum err error = sql_end(&rows);
    if (error != ERR_OK || !found) {
        return error != ERR_OK ? error : ERR_NOT_FOUND;
    }
    error = sqlite_members_read(db, key, false, arena, &conversation->members,
                                &conversation->n_members);
    if (error == ERR_OK) {
        *out = conversation;
    }
    return error;
}

enum err sqlite_conversation_load(struct store *store, const Pipit__ConversationLoad *request,
                                  struct arena *arena, Pipit__ConversationReply *reply) {
    struct sqlite_store *self = sqlite_store_of(store);
    struct sqlite_db *db = NULL;
    enum err error = sqlite_read_begin(self, &db);
    if (error != ERR_OK) {
        return error;
    }
    error = sqlite_conversation_read(db, request->conversation, arena, &reply->conversation);
    return sqlite_read_end(self, db, error);
}

/* ERR_OK: there is one, and it is what the request asks for. ERR_NOT_FOUND: none. ERR_EXISTS: also
 * for a creator who is no longer in the group, since the answer would show it (I4). */
static enum err compare_existing(struct sqlite_db *db, const Pipit__ConversationCreate *request) {
    struct sql_rows rows =
        sql_query(db,
                  "SELECT c.kind, c.creator=?2 AND EXISTS(SELECT 1 FROM members m"
                  " WHERE m.conversation=c.key AND m.user=?2 AND m.state=?3) FROM conversations c "
                  "WHERE id=?1",
                  SQL_VALUES(SQL_TEXT(request->id), SQL_TEXT(request->creator),
                             SQL_UINT(PIPIT__MEMBER_STATE__MEMBER_ACTIVE)));
    bool found = sql_next(&rows);
    bool same = found && sql_uint(&rows, 0) == (uint64_t)request->kind &&
                (request->kind == DIRECT || sql_bool(&rows, 1));
    enum err error = sql_end(&rows);
    if (error != ERR_OK) {
        return error;
    }
    if (!found) {
        return ERR_NOT_FOUND;
    }
    return same ? ERR_OK : ERR_EXISTS;
}

static enum err insert(struct sqlite_db *db, const Pipit__ConversationCreate *request, char **users,
                       size_t count) {
    for (size_t i = 0; i < count; i++) {
        enum err error = sqlite_user_usable(db, users[i]);
        if (error != ERR_OK) {
            return error == ERR_DISABLED ? ERR_NOT_FOUND : error;
        }
    }
    bool direct = request->kind == DIRECT;
    enum err error =
        sql_run(db,
                "INSERT INTO conversations(id, kind, title, creator, created_ms, changed_ms,"
                " members_version) VALUES(?,?,?,?,?,?,1)",
                SQL_VALUES(SQL_TEXT(request->id), SQL_UINT(request->kind),
                           SQL_TEXT(direct ? "" : request->title), SQL_TEXT(request->creator),
                           SQL_UINT(request->now_ms), SQL_UINT(request->now_ms)));
    uint64_t key = error == ERR_OK ? (uint64_t)sqlite3_last_insert_rowid(db->handle) : 0;
    for (size_t i = 0; i < count && error == ERR_OK; i++) {
        bool owns = i == 0 && !direct;
        Pipit__Member member = PIPIT__MEMBER__INIT;
        member.user = users[i];
        member.role = owns ? PIPIT__MEMBER_ROLE__ROLE_OWNER : PIPIT__MEMBER_ROLE__ROLE_MEMBER;
        error = sqlite_member_write(db, key, &member, 1, request->now_ms);
    }
    return error;
}

static enum err create(struct sqlite_store *self, const Pipit__ConversationCreate *request,
                       struct arena *arena, Pipit__ConversationReply *reply,
                       Pipit__MembersChanged **changed) {
    struct conversation_shape shape;
    struct sqlite_db *db = &self->writer;
    enum err error = conversation_shape_read(request, self->members_max, arena, &shape);
    if (error == ERR_OK && request->kind == DIRECT && shape.count == 2) {
        bool blocked = false;
        error = sqlite_blocked_between(db, shape.users[0], shape.users[1], &blocked);
        if (error == ERR_OK && blocked) {
            return ERR_BLOCKED;
        }
    }
    if (error == ERR_OK) {
        error = compare_existing(db, request);
    }
    bool created = error == ERR_NOT_FOUND;
    if (created) {
        error = insert(db, request, shape.users, shape.count);
    }
    if (error == ERR_OK) {
        error = sqlite_conversation_read(db, request->id, arena, &reply->conversation);
    }
    if (error != ERR_OK || !created) {
        return error;
    }
    reply->created = true;
    return sqlite_members_announce(reply->conversation, reply->conversation->members,
                                   reply->conversation->n_members, request->creator, true, arena,
                                   changed);
}

enum err sqlite_conversation_create(struct store *store, const Pipit__ConversationCreate *request,
                                    struct arena *arena, Pipit__ConversationReply *reply,
                                    Pipit__MembersChanged **changed) {
    struct sqlite_store *self = sqlite_store_of(store);
    *changed = NULL;
    enum err error = sqlite_write_begin(self);
    if (error != ERR_OK) {
        return error;
    }
    return sqlite_write_end(self, create(self, request, arena, reply, changed));
}
