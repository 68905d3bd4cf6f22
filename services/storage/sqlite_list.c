/* sqlite_list: a user's conversations with everything a client's list shows, in one call.
 *
 * One query walks the user's memberships in the order of conversation ids; what depends on the log
 * (head, last message and its time) is one index lookup each, so sending a message writes nothing
 * per recipient. unread is derived the same way (design section 4).
 *
 * Paging is by id and filtering by time happens while walking, so a page may look at more rows than
 * it returns; `next` is set when rows were left. */
#include "services/storage/sqlite_members.h"

#define DIRECT PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT
#define LIMIT_DEFAULT 100u

struct walk {
    struct sqlite_db *db;
    const Pipit__ConversationsRequest *request;
    struct arena *arena;
    uint32_t limit;
    Pipit__ConversationItem **items;
    size_t count;
    bool more;
};
enum list_column {
    COLUMN_KEY,
    COLUMN_ID,
    COLUMN_KIND,
    COLUMN_TITLE,
    COLUMN_CREATED_MS,
    COLUMN_VERSION,
    COLUMN_CHANGED_MS,
    COLUMN_ROLE,
    COLUMN_STATE,
    COLUMN_JOINED_SEQ,
    COLUMN_READ_SEQ,
    COLUMN_DELIVERED_SEQ,
    COLUMN_MUTED,
    COLUMN_MEMBER_CHANGED_MS,
    COLUMN_HEAD
};
static const char LIST[] =
    "SELECT c.key, c.id, c.kind, c.title, c.created_ms, c.members_version, c.changed_ms,"
    " m.role, m.state, m.joined_seq, m.read_seq, m.delivered_seq, m.muted, m.changed_ms,"
    " (SELECT max(seq) FROM messages x WHERE x.conversation = c.key)"
    " FROM members m JOIN conversations c ON c.key = m.conversation"
    " WHERE m.user=?1 AND c.id>?2 AND (?3='' OR c.id=?3) ORDER BY c.id";

static void keep_newest(uint64_t *changed_ms, uint64_t ms) {
    if (ms > *changed_ms) {
        *changed_ms = ms;
    }
}

static enum err add_log_time(struct sqlite_db *db, uint64_t key, uint64_t head,
                             uint64_t *changed_ms) {
    uint64_t ts_ms = 0;
    enum err error = sql_number(db, "SELECT ts_ms FROM messages WHERE conversation=? AND seq=?",
                                SQL_VALUES(SQL_UINT(key), SQL_UINT(head)), &ts_ms);
    keep_newest(changed_ms, ts_ms);
    return error;
}

/* The other user of a direct conversation; its cursors are news, too. */
static enum err add_peer(struct walk *walk, uint64_t key, Pipit__ConversationItem *item) {
    struct sql_rows rows = sql_query(
        walk->db, "SELECT user, changed_ms FROM members WHERE conversation=? ORDER BY user=?",
        SQL_VALUES(SQL_UINT(key), SQL_TEXT(walk->request->user)));
    if (sql_next(&rows)) {
        item->peer = sql_text(&rows, 0, walk->arena);
        keep_newest(&item->changed_ms, sql_uint(&rows, 1));
    }
    return sql_end(&rows);
}

static enum err add_device(struct walk *walk, uint64_t key, Pipit__ConversationItem *item) {
    struct sql_rows rows = sql_query(
        walk->db,
        "SELECT delivered_seq FROM device_cursors"
        " WHERE user=? AND device=? AND conversation=?",
        SQL_VALUES(SQL_TEXT(walk->request->user), SQL_TEXT(walk->request->device), SQL_UINT(key)));
    if (sql_next(&rows)) {
        item->device_known = true;
        item->device_delivered_seq = sql_uint(&rows, 0);
    }
    return sql_end(&rows);
}

/* The item and its parts, from the current row alone. */
static Pipit__ConversationItem *read_item(struct sql_rows *rows, struct walk *walk) {
    Pipit__ConversationItem *item = arena_alloc(walk->arena, sizeof(*item));
    Pipit__Conversation *conversation = arena_alloc(walk->arena, sizeof(*conversation));
    Pipit__Member *self = arena_alloc(walk->arena, sizeof(*self));
    if (item == NULL || conversation == NULL || self == NULL) {
        rows->error = ERR_NO_MEMORY;
        return NULL;
    }
    pipit__conversation_item__init(item);
    pipit__conversation__init(conversation);
    pipit__member__init(self);
    item->conversation = conversation;
    item->self = self;
    conversation->id = sql_text(rows, COLUMN_ID, walk->arena);
    conversation->kind = (Pipit__ConversationKind)sql_uint(rows, COLUMN_KIND);
    self->user = walk->request->user;
    self->role = (Pipit__MemberRole)sql_uint(rows, COLUMN_ROLE);
    self->state = (Pipit__MemberState)sql_uint(rows, COLUMN_STATE);
    self->joined_seq = sql_uint(rows, COLUMN_JOINED_SEQ);
    self->read_seq = sql_uint(rows, COLUMN_READ_SEQ);
    self->delivered_seq = sql_uint(rows, COLUMN_DELIVERED_SEQ);
    self->muted = sql_bool(rows, COLUMN_MUTED);
    item->changed_ms = sql_uint(rows, COLUMN_MEMBER_CHANGED_MS);
    if (self->state != PIPIT__MEMBER_STATE__MEMBER_ACTIVE) {
        return item; /* who left learns that, and nothing that came later */
    }
    keep_newest(&item->changed_ms, sql_uint(rows, COLUMN_CHANGED_MS));
    conversation->title = sql_text(rows, COLUMN_TITLE, walk->arena);
    conversation->created_ms = sql_uint(rows, COLUMN_CREATED_MS);
    conversation->members_version = sql_uint(rows, COLUMN_VERSION);
    conversation->head = sql_uint(rows, COLUMN_HEAD);
    uint64_t seen = self->read_seq > self->joined_seq ? self->read_seq : self->joined_seq;
    item->unread = conversation->head > seen ? conversation->head - seen : 0;
    return item;
}

/* What the request asks for beyond the row, for an active member. */
static enum err add_details(struct walk *walk, uint64_t key, Pipit__ConversationItem *item) {
    const Pipit__ConversationsRequest *request = walk->request;
    Pipit__Conversation *conversation = item->conversation;
    enum err error = ERR_OK;
    if (request->device[0] != '\0') {
        error = add_device(walk, key, item);
    }
    if (error == ERR_OK && request->with_members) {
        error = sqlite_members_read(walk->db, key, false, walk->arena, &conversation->members,
                                    &conversation->n_members);
    }
    if (error == ERR_OK && request->with_last_message &&
        conversation->head > item->self->joined_seq) {
        error = sqlite_message_at(walk->db, conversation->id, key, conversation->head, walk->arena,
                                  &item->last_message);
    }
    return error;
}

static enum err visit(struct walk *walk, struct sql_rows *rows) {
    uint64_t since_ms = walk->request->since_ms;
    bool active = sql_uint(rows, COLUMN_STATE) == PIPIT__MEMBER_STATE__MEMBER_ACTIVE;
    if (!active && since_ms == 0) {
        return ERR_OK;
    }
    uint64_t key = sql_uint(rows, COLUMN_KEY);
    Pipit__ConversationItem *item = read_item(rows, walk);
    if (item == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = ERR_OK;
    if (active && item->conversation->head > item->self->joined_seq) {
        error = add_log_time(walk->db, key, item->conversation->head, &item->changed_ms);
    }
    if (error == ERR_OK && item->conversation->kind == DIRECT) {
        error = add_peer(walk, key, item);
    }
    if (error != ERR_OK || item->changed_ms < since_ms) {
        return error;
    }
    if (walk->count == walk->limit) {
        walk->more = true;
        return ERR_OK;
    }
    if (active) {
        error = add_details(walk, key, item);
    }
    if (error == ERR_OK) {
        walk->items[walk->count++] = item;
    }
    return error;
}

static enum err find_device(struct walk *walk, Pipit__ConversationsReply *reply) {
    struct sql_rows rows =
        sql_query(walk->db, "SELECT 1 FROM device_cursors WHERE user=? AND device=? LIMIT 1",
                  SQL_VALUES(SQL_TEXT(walk->request->user), SQL_TEXT(walk->request->device)));
    reply->device_known = sql_next(&rows);
    return sql_end(&rows);
}

static enum err list(struct sqlite_store *self, struct walk *walk,
                     Pipit__ConversationsReply *reply) {
    const Pipit__ConversationsRequest *request = walk->request;
    struct sql_rows rows = sql_query(walk->db, LIST,
                                     SQL_VALUES(SQL_TEXT(request->user), SQL_TEXT(request->after),
                                                SQL_TEXT(request->conversation)));
    while (!walk->more && sql_next(&rows)) {
        enum err error = visit(walk, &rows);
        if (error != ERR_OK) {
            rows.error = error;
        }
    }
    enum err error = sql_end(&rows);
    if (error != ERR_OK) {
        return error;
    }
    if (request->device[0] != '\0') {
        error = find_device(walk, reply);
        if (error != ERR_OK) {
            return error;
        }
    }
    reply->items = walk->items;
    reply->n_items = walk->count;
    reply->epoch = self->epoch;
    if (walk->more) {
        reply->next = walk->items[walk->count - 1]->conversation->id;
    }
    return ERR_OK;
}

enum err sqlite_conversations(struct store *store, const Pipit__ConversationsRequest *request,
                              struct arena *arena, Pipit__ConversationsReply *reply) {
    struct sqlite_store *self = sqlite_store_of(store);
    struct walk walk = {.request = request, .arena = arena};
    walk.limit = request->limit == 0 ? LIMIT_DEFAULT
                                     : sqlite_limit(request->limit, STORE_CONVERSATIONS_LIMIT_MAX);
    walk.items = arena_alloc(arena, walk.limit * sizeof(*walk.items));
    if (walk.items == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = sqlite_read_begin(self, &walk.db);
    return error != ERR_OK ? error : sqlite_read_end(self, walk.db, list(self, &walk, reply));
}
