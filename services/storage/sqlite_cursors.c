/* sqlite_cursors: how far each user, and each device, has received and read.
 *
 * A cursor only grows (I5), is cut at the head, and delivered never lags behind read; what would
 * not change anything is not written, so a group of late receipts costs no fsync. The updates of
 * many requests run one after another in the caller's transaction: the same row written twice is
 * still one page in the log. */
#include "services/storage/store_sqlite.h"

#include "common/clock.h"

#define NO_CONVERSATION 0u /* keys of conversations begin at 1 */

struct cursor {
    bool active;
    uint64_t read_seq, delivered_seq;
};

static enum err load(struct sqlite_db *db, uint64_t conversation, const char *user,
                     struct cursor *cursor) {
    struct sql_rows rows = sql_query(db,
                                     "SELECT state, read_seq, delivered_seq FROM members"
                                     " WHERE conversation=? AND user=?",
                                     SQL_VALUES(SQL_UINT(conversation), SQL_TEXT(user)));
    *cursor = (struct cursor){0};
    if (sql_next(&rows)) {
        cursor->active = sql_uint(&rows, 0) == PIPIT__MEMBER_STATE__MEMBER_ACTIVE;
        cursor->read_seq = sql_uint(&rows, 1);
        cursor->delivered_seq = sql_uint(&rows, 2);
    }
    return sql_end(&rows);
}

static uint64_t largest(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static uint64_t cut(uint64_t seq, uint64_t head) {
    return seq < head ? seq : head;
}

static enum err move_device(struct sqlite_db *db, uint64_t conversation,
                            const Pipit__CursorUpdate *update, uint64_t delivered_seq) {
    if (update->device[0] == '\0' || delivered_seq == 0) {
        return ERR_OK;
    }
    return sql_run(db,
                   "INSERT INTO device_cursors(user, device, conversation, delivered_seq)"
                   " VALUES(?,?,?,?) ON CONFLICT(user, device, conversation) DO UPDATE SET"
                   " delivered_seq=excluded.delivered_seq"
                   " WHERE excluded.delivered_seq > delivered_seq",
                   SQL_VALUES(SQL_TEXT(update->user), SQL_TEXT(update->device),
                              SQL_UINT(conversation), SQL_UINT(delivered_seq)));
}

/* A row for no conversation: the device was here before anything was written to it, so what comes
 * while it is away is what it missed. */
static enum err remember_device(struct sqlite_db *db, const Pipit__CursorUpdate *update) {
    return move_device(db, NO_CONVERSATION, update, 1);
}

static enum err move(struct sqlite_store *self, const Pipit__CursorUpdate *update, uint64_t now_ms,
                     Pipit__CursorResult *result) {
    struct sqlite_db *db = &self->writer;
    struct sqlite_conversation *entry = NULL;
    struct cursor cursor = {0};
    if (update->conversation[0] == '\0') {
        return remember_device(db, update);
    }
    enum err error = sqlite_conversation_find(self, update->conversation, &entry);
    if (error == ERR_OK) {
        error = load(db, entry->key, update->user, &cursor);
    }
    if (error == ERR_NOT_FOUND || (error == ERR_OK && !cursor.active)) {
        result->error = ERR_NOT_MEMBER;
        return ERR_OK;
    }
    if (error != ERR_OK) {
        return error;
    }
    uint64_t asked_read = cut(update->read_seq, entry->head);
    uint64_t asked_delivered = largest(cut(update->delivered_seq, entry->head), asked_read);
    result->read_seq = largest(cursor.read_seq, asked_read);
    result->delivered_seq = largest(cursor.delivered_seq, asked_delivered);
    result->changed =
        result->read_seq != cursor.read_seq || result->delivered_seq != cursor.delivered_seq;
    if (result->changed) {
        error = sql_run(db,
                        "UPDATE members SET read_seq=?, delivered_seq=?,"
                        " changed_ms=max(changed_ms, ?) WHERE conversation=? AND user=?",
                        SQL_VALUES(SQL_UINT(result->read_seq), SQL_UINT(result->delivered_seq),
                                   SQL_UINT(now_ms), SQL_UINT(entry->key), SQL_TEXT(update->user)));
    }
    return error != ERR_OK ? error : move_device(db, entry->key, update, asked_delivered);
}

static bool update_valid(const Pipit__CursorUpdate *update) {
    return strnlen(update->device, STORE_ID_BYTES_MAX + 1) <= STORE_ID_BYTES_MAX;
}

static enum err move_all(struct sqlite_store *self, const struct store_cursors *item,
                         uint64_t now_ms) {
    size_t count = item->request->n_updates;
    Pipit__CursorsReply *reply = item->reply;
    Pipit__CursorResult *results = NULL;
    if (count > 0) {
        results = arena_alloc(item->arena, count * sizeof(*results));
        reply->results = arena_alloc(item->arena, count * sizeof(*reply->results));
        if (results == NULL || reply->results == NULL) {
            reply->error = ERR_NO_MEMORY; /* this request alone: the others have their own arenas */
            return ERR_OK;
        }
    }
    for (size_t i = 0; i < count; i++) {
        const Pipit__CursorUpdate *update = item->request->updates[i];
        pipit__cursor_result__init(&results[i]);
        reply->results[i] = &results[i];
        if (!update_valid(update)) {
            results[i].error = ERR_INVALID;
            continue;
        }
        enum err error = move(self, update, now_ms, &results[i]);
        if (error != ERR_OK) {
            return error;
        }
    }
    reply->n_results = count;
    return ERR_OK;
}

enum err sqlite_cursors(struct store *store, const struct store_cursors *items, size_t count) {
    struct sqlite_store *self = sqlite_store_of(store);
    uint64_t now_ms = clock_wall_ms(); /* updates carry no time: only changed_ms needs one */
    enum err error = sqlite_bulk_begin(self);
    if (error != ERR_OK) {
        return error;
    }
    for (size_t i = 0; i < count && error == ERR_OK; i++) {
        error = move_all(self, &items[i], now_ms);
    }
    return sqlite_bulk_end(self, error);
}
