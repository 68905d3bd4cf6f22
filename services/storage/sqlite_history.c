/* sqlite_history: reading the log: pages, heads, and the search for an MQTT publication's origin.
 *
 * All on one snapshot of a reading connection, so a page, its head and the viewer's membership
 * belong together, and the writer is never waited for.
 *
 * seq is dense, so whether there is more follows from the last seq and the head; and a jump in a
 * page can only be damage (ERR_CORRUPT). A row whose checksum fails is served as its own recall:
 * the log stays dense for clients, the damage stays in one message, and nothing wrong is shown. */
#include "services/storage/store_sqlite.h"

#include "services/storage/sqlite_export.h"
#include "services/storage/stored_message.h"

#define MESSAGE_COLUMNS                                                                            \
    "seq, id, kind, target_seq, reply_seq, ts_ms, raw_bytes, hash, sender, device,"                \
    " origin_device, origin_packet, origin_hash, body"
enum message_column {
    COLUMN_SEQ,
    COLUMN_ID,
    COLUMN_KIND,
    COLUMN_TARGET_SEQ,
    COLUMN_REPLY_SEQ,
    COLUMN_TS_MS,
    COLUMN_RAW_BYTES,
    COLUMN_HASH,
    COLUMN_SENDER,
    COLUMN_DEVICE,
    COLUMN_ORIGIN_DEVICE,
    COLUMN_ORIGIN_PACKET,
    COLUMN_ORIGIN_HASH,
    COLUMN_BODY
};

enum err sqlite_conversation_key(struct sqlite_db *db, const char *id, uint64_t *key) {
    struct sql_rows rows =
        sql_query(db, "SELECT key FROM conversations WHERE id=?", SQL_VALUES(SQL_TEXT(id)));
    bool found = sql_next(&rows);
    uint64_t value = found ? sql_uint(&rows, 0) : 0;
    enum err error = sql_end(&rows);
    if (error != ERR_OK) {
        return error;
    }
    if (!found) {
        return ERR_NOT_FOUND;
    }
    *key = value;
    return ERR_OK;
}

static Pipit__Origin *read_origin(struct sql_rows *rows, struct arena *arena) {
    if (sqlite3_column_type(rows->statement, COLUMN_ORIGIN_DEVICE) == SQLITE_NULL) {
        return NULL;
    }
    Pipit__Origin *origin = arena_alloc(arena, sizeof(*origin));
    if (origin == NULL) {
        rows->error = ERR_NO_MEMORY;
        return NULL;
    }
    pipit__origin__init(origin);
    origin->device = sql_text(rows, COLUMN_ORIGIN_DEVICE, arena);
    origin->packet_id = (uint32_t)sql_uint(rows, COLUMN_ORIGIN_PACKET);
    origin->hash.data = sql_blob(rows, COLUMN_ORIGIN_HASH, arena, &origin->hash.len);
    return origin;
}

/* The current row as a message; NULL after an allocation failure, which sticks to rows. */
static Pipit__StoredMessage *read_message(struct sql_rows *rows, const char *id,
                                          uint64_t conversation, struct arena *arena) {
    Pipit__StoredMessage *message = arena_alloc(arena, sizeof(*message));
    if (message == NULL) {
        rows->error = ERR_NO_MEMORY;
        return NULL;
    }
    pipit__stored_message__init(message);
    message->conversation = (char *)id; /* outlives the reply: the request's or the list's */
    message->seq = sql_uint(rows, COLUMN_SEQ);
    message->id.data = sql_blob(rows, COLUMN_ID, arena, &message->id.len);
    message->kind = (Pipit__MessageKind)sql_uint(rows, COLUMN_KIND);
    message->target_seq = sql_uint(rows, COLUMN_TARGET_SEQ);
    message->reply_seq = sql_uint(rows, COLUMN_REPLY_SEQ);
    message->ts_ms = sql_uint(rows, COLUMN_TS_MS);
    message->sender = sql_text(rows, COLUMN_SENDER, arena);
    message->device = sql_text(rows, COLUMN_DEVICE, arena);
    message->origin = read_origin(rows, arena);
    struct stored_body stored = {.raw_bytes = (uint32_t)sql_uint(rows, COLUMN_RAW_BYTES)};
    stored.bytes = sql_peek_blob(rows, COLUMN_BODY, &stored.count);
    if (rows->error != ERR_OK) {
        return NULL;
    }
    if (!stored_message_hashable(message) ||
        body_hash(conversation, message, &stored) != sql_uint(rows, COLUMN_HASH)) {
        stored_message_damaged(message);
        return message;
    }
    enum err error = body_unpack(&stored, arena, &message->body);
    if (error == ERR_CORRUPT) {
        stored_message_damaged(message);
    } else if (error != ERR_OK) {
        rows->error = error;
        return NULL;
    }
    return message;
}

enum err sqlite_message_at(struct sqlite_db *db, const char *id, uint64_t conversation,
                           uint64_t seq, struct arena *arena, Pipit__StoredMessage **message) {
    struct sql_rows rows =
        sql_query(db, "SELECT " MESSAGE_COLUMNS " FROM messages WHERE conversation=? AND seq=?",
                  SQL_VALUES(SQL_UINT(conversation), SQL_UINT(seq)));
    Pipit__StoredMessage *found =
        sql_next(&rows) ? read_message(&rows, id, conversation, arena) : NULL;
    enum err error = sql_end(&rows);
    if (error == ERR_OK && found == NULL) {
        return ERR_NOT_FOUND;
    }
    if (error == ERR_OK) {
        *message = found;
    }
    return error;
}

struct page {
    const char *id;
    uint64_t conversation;
    bool backwards;
    uint64_t from;  /* forwards: seq > from; backwards: seq < from */
    uint64_t floor; /* seq > floor: what the viewer may see */
    uint32_t limit;
    size_t bytes_max;
};

/* Fills messages in the order read; stops at limit or bytes_max. */
static enum err read_page(struct sqlite_db *db, const struct page *page, struct arena *arena,
                          Pipit__StoredMessage **messages, size_t *count) {
    static const char FORWARDS[] = "SELECT " MESSAGE_COLUMNS " FROM messages"
                                   " WHERE conversation=? AND seq>? ORDER BY seq LIMIT ?";
    static const char BACKWARDS[] = "SELECT " MESSAGE_COLUMNS " FROM messages"
                                    " WHERE conversation=? AND seq<? ORDER BY seq DESC LIMIT ?";
    struct sql_rows rows = sql_query(
        db, page->backwards ? BACKWARDS : FORWARDS,
        SQL_VALUES(SQL_UINT(page->conversation), SQL_UINT(page->from), SQL_UINT(page->limit)));
    size_t read = 0;
    size_t bytes = 0;
    uint64_t expected = page->backwards ? page->from - 1 : page->from + 1;
    while (sql_next(&rows)) {
        uint64_t seq = sql_uint(&rows, COLUMN_SEQ);
        if (page->backwards && (seq <= page->floor)) {
            break;
        }
        if (read == 0 && page->backwards) {
            expected = seq; /* `from` may lie beyond the head */
        }
        if (seq != expected) {
            rows.error = ERR_CORRUPT; /* the log has no holes */
            break;
        }
        Pipit__StoredMessage *message = read_message(&rows, page->id, page->conversation, arena);
        if (message == NULL || (read > 0 && bytes + message->body.len > page->bytes_max)) {
            break;
        }
        bytes += message->body.len;
        messages[read++] = message;
        expected = page->backwards ? seq - 1 : seq + 1;
    }
    *count = read;
    return sql_end(&rows);
}

static void reverse(Pipit__StoredMessage **messages, size_t count) {
    for (size_t i = 0; i < count / 2; i++) {
        Pipit__StoredMessage *message = messages[i];
        messages[i] = messages[count - 1 - i];
        messages[count - 1 - i] = message;
    }
}

/* Conversation and viewer's floor. */
static enum err admit_viewer(struct sqlite_db *db, const Pipit__HistoryRequest *request,
                             uint64_t *conversation, uint64_t *joined_seq) {
    bool service = request->viewer[0] == '\0';
    enum err error = sqlite_conversation_key(db, request->conversation, conversation);
    if (error == ERR_NOT_FOUND && !service) {
        return ERR_NOT_MEMBER; /* who is not a member does not learn whether it exists */
    }
    if (error != ERR_OK || service) {
        return error;
    }
    struct sql_rows rows =
        sql_query(db, "SELECT state, joined_seq FROM members WHERE conversation=? AND user=?",
                  SQL_VALUES(SQL_UINT(*conversation), SQL_TEXT(request->viewer)));
    bool active = sql_next(&rows) && sql_uint(&rows, 0) == PIPIT__MEMBER_STATE__MEMBER_ACTIVE;
    uint64_t floor = active ? sql_uint(&rows, 1) : 0;
    error = sql_end(&rows);
    if (error == ERR_OK && !active) {
        return ERR_NOT_MEMBER;
    }
    *joined_seq = floor;
    return error;
}

static enum err history(struct sqlite_db *db, const Pipit__HistoryRequest *request,
                        struct arena *arena, Pipit__HistoryReply *reply) {
    struct page page = {.id = request->conversation};
    enum err error = admit_viewer(db, request, &page.conversation, &page.floor);
    if (error != ERR_OK) {
        return error;
    }
    uint64_t head = 0;
    error = sqlite_head(db, page.conversation, &head);
    if (error != ERR_OK) {
        return error;
    }
    page.backwards = request->before_seq != 0;
    page.from = page.backwards ? request->before_seq : request->after_seq;
    if (page.from > INT64_MAX) {
        page.from = INT64_MAX; /* SQLite's integers are signed */
    }
    if (!page.backwards && page.from < page.floor) {
        page.from = page.floor;
    }
    page.limit = sqlite_limit(request->limit, STORE_HISTORY_LIMIT_MAX);
    page.bytes_max = request->bytes_max == 0
                         ? STORE_HISTORY_BYTES_DEFAULT
                         : sqlite_limit(request->bytes_max, STORE_HISTORY_BYTES_MAX);
    Pipit__StoredMessage **messages = arena_alloc(arena, page.limit * sizeof(*messages));
    size_t count = 0;
    error = messages == NULL ? ERR_NO_MEMORY : read_page(db, &page, arena, messages, &count);
    if (error != ERR_OK) {
        return error;
    }
    if (page.backwards) {
        reverse(messages, count);
        reply->has_more = count > 0 && messages[0]->seq > page.floor + 1;
    } else {
        reply->has_more = count > 0 && messages[count - 1]->seq < head;
    }
    reply->messages = messages;
    reply->n_messages = count;
    reply->head = head;
    reply->joined_seq = page.floor;
    return ERR_OK;
}

enum err sqlite_history(struct store *store, const Pipit__HistoryRequest *request,
                        struct arena *arena, Pipit__HistoryReply *reply) {
    struct sqlite_store *self = sqlite_store_of(store);
    struct sqlite_db *db = NULL;
    enum err error = sqlite_read_begin(self, &db);
    return error != ERR_OK ? error : sqlite_read_end(self, db, history(db, request, arena, reply));
}

static enum err heads(struct sqlite_db *db, const Pipit__HeadsRequest *request,
                      Pipit__ConversationHead *heads_found, Pipit__HeadsReply *reply) {
    for (size_t i = 0; i < request->n_conversations; i++) {
        Pipit__ConversationHead *head = &heads_found[i];
        pipit__conversation_head__init(head);
        reply->heads[i] = head;
        struct sql_rows rows = sql_query(
            db,
            "SELECT members_version, (SELECT max(seq) FROM messages m WHERE m.conversation = c.key)"
            " FROM conversations c WHERE id=?",
            SQL_VALUES(SQL_TEXT(request->conversations[i])));
        if (sql_next(&rows)) {
            head->members_version = sql_uint(&rows, 0);
            head->head = sql_uint(&rows, 1);
        }
        enum err error = sql_end(&rows);
        if (error != ERR_OK) {
            return error;
        }
    }
    reply->n_heads = request->n_conversations;
    return ERR_OK;
}

enum err sqlite_heads(struct store *store, const Pipit__HeadsRequest *request, struct arena *arena,
                      Pipit__HeadsReply *reply) {
    struct sqlite_store *self = sqlite_store_of(store);
    size_t count = request->n_conversations;
    if (count == 0) {
        return ERR_OK;
    }
    if (count > STORE_HEADS_MAX) {
        return ERR_TOO_LARGE;
    }
    Pipit__ConversationHead *found = arena_alloc(arena, count * sizeof(*found));
    reply->heads = arena_alloc(arena, count * sizeof(*reply->heads));
    if (found == NULL || reply->heads == NULL) {
        return ERR_NO_MEMORY;
    }
    struct sqlite_db *db = NULL;
    enum err error = sqlite_read_begin(self, &db);
    return error != ERR_OK ? error : sqlite_read_end(self, db, heads(db, request, found, reply));
}

static bool same_origin(struct sql_rows *rows, const Pipit__OriginRequest *request) {
    const Pipit__Origin *origin = request->origin;
    size_t count = 0;
    const void *hash = sql_peek_blob(rows, 4, &count);
    return count == origin->hash.len && count > 0 && memcmp(hash, origin->hash.data, count) == 0 &&
           sql_uint(rows, 3) == origin->packet_id &&
           strcmp(sql_peek_text(rows, 5), origin->device) == 0 &&
           strcmp(sql_peek_text(rows, 6), request->sender) == 0;
}

static enum err origin(struct sqlite_db *db, const Pipit__OriginRequest *request,
                       struct arena *arena, Pipit__OriginReply *reply) {
    uint64_t conversation = 0;
    enum err error = sqlite_conversation_key(db, request->conversation, &conversation);
    if (error != ERR_OK) {
        return error;
    }
    struct sql_rows rows =
        sql_query(db,
                  "SELECT seq, id, ts_ms, origin_packet, origin_hash, origin_device, sender"
                  " FROM messages WHERE conversation=? ORDER BY seq DESC LIMIT ?",
                  SQL_VALUES(SQL_UINT(conversation),
                             SQL_UINT(sqlite_limit(request->tail_max, STORE_ORIGIN_TAIL_MAX))));
    bool found = false;
    while (!found && sql_next(&rows) && sql_uint(&rows, 2) >= request->since_ms) {
        if (same_origin(&rows, request)) {
            found = true;
            reply->seq = sql_uint(&rows, 0);
            reply->id.data = sql_blob(&rows, 1, arena, &reply->id.len);
            reply->ts_ms = sql_uint(&rows, 2);
        }
    }
    error = sql_end(&rows);
    return error == ERR_OK && !found ? ERR_NOT_FOUND : error;
}

enum err sqlite_origin(struct store *store, const Pipit__OriginRequest *request,
                       struct arena *arena, Pipit__OriginReply *reply) {
    struct sqlite_store *self = sqlite_store_of(store);
    if (request->origin == NULL) {
        return ERR_INVALID;
    }
    struct sqlite_db *db = NULL;
    enum err error = sqlite_read_begin(self, &db);
    return error != ERR_OK ? error : sqlite_read_end(self, db, origin(db, request, arena, reply));
}

/* --- export */

/* The recall that stands for a damaged message keeps the message's id where that is one, so that
 * sending it again is still noticed. */
static enum err keep_id(struct sql_rows *rows, struct arena *arena,
                        struct export_message *exported) {
    Pipit__StoredMessage *message = exported->message;
    size_t count = 0;
    exported->damaged = message->sender[0] == '\0'; /* no stored message is without one */
    if (exported->damaged && sql_peek_blob(rows, COLUMN_ID, &count) != NULL &&
        count == message->id.len) {
        message->id.data = sql_blob(rows, COLUMN_ID, arena, &message->id.len);
    }
    return rows->error;
}

enum err sqlite_export_messages(struct sqlite_db *db, uint64_t after_row, uint32_t limit,
                                size_t bytes_max, struct arena *arena,
                                struct export_message *messages, size_t *count) {
    struct sql_rows rows =
        sql_query(db,
                  "SELECT " MESSAGE_COLUMNS ", rowid, conversation,"
                  " (SELECT c.id FROM conversations c WHERE c.key = messages.conversation)"
                  " FROM messages WHERE rowid>? ORDER BY rowid LIMIT ?",
                  SQL_VALUES(SQL_UINT(after_row), SQL_UINT(limit)));
    size_t read = 0;
    size_t bytes = 0;
    while (read < limit && bytes < bytes_max && sql_next(&rows)) {
        struct export_message *exported = &messages[read];
        const char *conversation = sql_text(&rows, COLUMN_BODY + 3, arena);
        exported->row = sql_uint(&rows, COLUMN_BODY + 1);
        exported->message =
            read_message(&rows, conversation, sql_uint(&rows, COLUMN_BODY + 2), arena);
        if (exported->message == NULL || keep_id(&rows, arena, exported) != ERR_OK) {
            break; /* the error is in rows */
        }
        bytes += exported->message->body.len;
        read++;
    }
    enum err error = sql_end(&rows);
    if (error == ERR_OK) {
        *count = read;
    }
    return error;
}
