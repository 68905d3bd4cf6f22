/* sqlite_members: member rows, and the change of a membership.
 *
 * A change loads all rows of the conversation, lets membership.c decide, and writes back what it
 * marked: a group has at most some thousand rows and changes seldom, and so the rules need no SQL.
 * Every effective change raises members_version by one, in the same transaction. */
#include "services/storage/sqlite_members.h"

#include "services/storage/membership.h"

static Pipit__Member *read_member(struct sql_rows *rows, struct arena *arena) {
    Pipit__Member *member = arena_alloc(arena, sizeof(*member));
    if (member == NULL) {
        rows->error = ERR_NO_MEMORY;
        return NULL;
    }
    pipit__member__init(member);
    member->user = sql_text(rows, 0, arena);
    member->role = (Pipit__MemberRole)sql_uint(rows, 1);
    member->state = (Pipit__MemberState)sql_uint(rows, 2);
    member->joined_seq = sql_uint(rows, 3);
    member->read_seq = sql_uint(rows, 4);
    member->delivered_seq = sql_uint(rows, 5);
    member->muted = sql_bool(rows, 6);
    return member;
}

enum err sqlite_members_read(struct sqlite_db *db, uint64_t conversation, bool with_left,
                             struct arena *arena, Pipit__Member ***members, size_t *count) {
    uint64_t room = 0;
    enum err error = sql_number(db, "SELECT count(*) FROM members WHERE conversation=?",
                                SQL_VALUES(SQL_UINT(conversation)), &room);
    Pipit__Member **found = NULL;
    if (error == ERR_OK && room > 0) {
        found = arena_alloc(arena, room * sizeof(*found));
        error = found == NULL ? ERR_NO_MEMORY : ERR_OK;
    }
    if (error != ERR_OK) {
        return error;
    }
    struct sql_rows rows =
        sql_query(db,
                  "SELECT user, role, state, joined_seq, read_seq, delivered_seq, muted"
                  " FROM members WHERE conversation=? AND (state<>? OR ?)"
                  " ORDER BY joined_version, user",
                  SQL_VALUES(SQL_UINT(conversation), SQL_UINT(PIPIT__MEMBER_STATE__MEMBER_LEFT),
                             SQL_UINT(with_left)));
    size_t used = 0;
    while (used < room && sql_next(&rows)) {
        Pipit__Member *member = read_member(&rows, arena);
        if (member != NULL) {
            found[used++] = member;
        }
    }
    error = sql_end(&rows);
    if (error == ERR_OK) {
        *members = found;
        *count = used;
    }
    return error;
}

enum err sqlite_member_write(struct sqlite_db *db, uint64_t conversation,
                             const Pipit__Member *member, uint64_t joined_version,
                             uint64_t now_ms) {
    return sql_run(
        db,
        "INSERT INTO members(conversation, user, role, state, joined_seq, read_seq,"
        " delivered_seq, muted, joined_version, changed_ms)"
        " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)"
        " ON CONFLICT(conversation, user) DO UPDATE SET role=?3, state=?4, joined_seq=?5,"
        " read_seq=?6, delivered_seq=?7, muted=?8,"
        " joined_version=iif(?9=0, joined_version, ?9), changed_ms=max(changed_ms, ?10)",
        SQL_VALUES(SQL_UINT(conversation), SQL_TEXT(member->user), SQL_UINT(member->role),
                   SQL_UINT(member->state), SQL_UINT(member->joined_seq),
                   SQL_UINT(member->read_seq), SQL_UINT(member->delivered_seq),
                   SQL_UINT(member->muted != 0), SQL_UINT(joined_version), SQL_UINT(now_ms)));
}

enum err sqlite_members_announce(const Pipit__Conversation *conversation,
                                 Pipit__Member **changed_members, size_t count, const char *actor,
                                 bool title_changed, struct arena *arena,
                                 Pipit__MembersChanged **changed) {
    Pipit__MembersChanged *event = arena_alloc(arena, sizeof(*event));
    if (event == NULL) {
        return ERR_NO_MEMORY;
    }
    pipit__members_changed__init(event);
    event->conversation = conversation->id;
    event->kind = conversation->kind;
    event->title = conversation->title;
    event->members_version = conversation->members_version;
    event->head = conversation->head;
    event->changed = changed_members;
    event->n_changed = count;
    event->actor = (char *)actor; /* only read from now on */
    event->title_changed = title_changed;
    *changed = event;
    return ERR_OK;
}

static enum err load_membership(struct sqlite_store *self, const struct sqlite_conversation *entry,
                                size_t additions, struct arena *arena,
                                struct membership *membership) {
    Pipit__Member **members = NULL;
    size_t count = 0;
    struct sqlite_db *db = &self->writer;
    enum err error = sqlite_members_read(db, entry->key, true, arena, &members, &count);
    if (error != ERR_OK) {
        return error;
    }
    membership->rows = arena_alloc(arena, (count + additions) * sizeof(*membership->rows));
    if (membership->rows == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        membership->rows[i] = (struct membership_row){.member = members[i]};
    }
    membership->count = count;
    membership->head = entry->head;
    membership->members_max = self->members_max;
    struct sql_rows rows = sql_query(db, "SELECT kind, title FROM conversations WHERE key=?",
                                     SQL_VALUES(SQL_UINT(entry->key)));
    if (sql_next(&rows)) {
        membership->kind = (Pipit__ConversationKind)sql_uint(&rows, 0);
        membership->title = sql_text(&rows, 1, arena);
    }
    return sql_end(&rows);
}

static enum err check_additions(struct sqlite_db *db, const Pipit__MembersChange *request) {
    if (request->action != PIPIT__MEMBER_ACTION__MEMBERS_ADD) {
        return ERR_OK;
    }
    for (size_t i = 0; i < request->n_users; i++) {
        enum err error = sqlite_user_usable(db, request->users[i]);
        if (error != ERR_OK) {
            return error == ERR_DISABLED ? ERR_NOT_FOUND : error;
        }
    }
    return ERR_OK;
}

/* Writes the marked rows; lists them for the announcement. */
static enum err store_membership(struct sqlite_store *self, struct sqlite_conversation *entry,
                                 const struct membership *membership, uint64_t now_ms,
                                 Pipit__Member **changed, size_t *count) {
    enum err error = sqlite_conversation_touch(self, entry, now_ms);
    if (error == ERR_OK && membership->title_changed) {
        error = sql_run(&self->writer, "UPDATE conversations SET title=? WHERE key=?",
                        SQL_VALUES(SQL_TEXT(membership->title), SQL_UINT(entry->key)));
    }
    size_t used = 0;
    for (size_t i = 0; i < membership->count && error == ERR_OK; i++) {
        const struct membership_row *row = &membership->rows[i];
        if (row->changed) {
            changed[used++] = row->member;
            error = sqlite_member_write(&self->writer, entry->key, row->member,
                                        row->joined ? entry->members_version : 0, now_ms);
        }
    }
    *count = used;
    return error;
}

static enum err change(struct sqlite_store *self, const Pipit__MembersChange *request,
                       struct arena *arena, Pipit__ConversationReply *reply,
                       Pipit__MembersChanged **changed) {
    struct sqlite_conversation *entry = NULL;
    struct membership membership = {.count = 0};
    enum err error = sqlite_conversation_find(self, request->conversation, &entry);
    if (error == ERR_OK) {
        error = load_membership(self, entry, request->n_users, arena, &membership);
    }
    if (error == ERR_OK) {
        error = membership_apply(&membership, request, arena);
    }
    if (error == ERR_OK) {
        error = check_additions(&self->writer, request);
    }
    if (error != ERR_OK) {
        return error;
    }
    bool effective = membership_changed(&membership);
    Pipit__Member **rows = arena_alloc(arena, (membership.count + 1) * sizeof(*rows));
    size_t count = 0;
    if (rows == NULL) {
        return ERR_NO_MEMORY;
    }
    if (effective) {
        error = store_membership(self, entry, &membership, request->now_ms, rows, &count);
    }
    if (error == ERR_OK) {
        error = sqlite_conversation_read(&self->writer, request->conversation, arena,
                                         &reply->conversation);
    }
    if (error != ERR_OK || !effective) {
        return error;
    }
    return sqlite_members_announce(reply->conversation, rows, count, request->actor,
                                   membership.title_changed, arena, changed);
}

static bool request_valid(const Pipit__MembersChange *request) {
    for (size_t i = 0; i < request->n_users; i++) {
        if (!sqlite_id_valid(request->users[i])) {
            return false;
        }
    }
    return sqlite_text_valid(request->title);
}

enum err sqlite_members_change(struct store *store, const Pipit__MembersChange *request,
                               struct arena *arena, Pipit__ConversationReply *reply,
                               Pipit__MembersChanged **changed) {
    struct sqlite_store *self = sqlite_store_of(store);
    *changed = NULL;
    if (!request_valid(request)) {
        return ERR_INVALID;
    }
    enum err error = sqlite_write_begin(self);
    if (error != ERR_OK) {
        return error;
    }
    return sqlite_write_end(self, change(self, request, arena, reply, changed));
}
