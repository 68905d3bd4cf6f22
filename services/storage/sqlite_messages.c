/* sqlite_messages: appending to the log, the one write that decides what Pipit can carry.
 *
 * Happy path: for each run the conversation comes from the cache, first_seq is head + 1, and each
 * message is one INSERT at the end of the table; the caller's commit makes all runs durable at
 * once.
 *
 * Order and once-ness are the two unique indexes' work, not the cache's: a message that violates
 * one is refused by SQLite as a single statement, the run stops there, and the rows before it stay.
 * The cache only spares the lookup of the head, so a wrong entry could never store a wrong row. A
 * seq gap is refused here, since no index would notice it.
 *
 * Failure: a full or failing disk undoes the whole group and clears the cache (store_sqlite.c). */
#include "services/storage/store_sqlite.h"

#include "services/storage/stored_message.h"

enum err sqlite_head(struct sqlite_db *db, uint64_t conversation, uint64_t *head) {
    return sql_number(db, "SELECT max(seq) FROM messages WHERE conversation=?",
                      SQL_VALUES(SQL_UINT(conversation)), head);
}

/* ERR_EXISTS: one of the two unique indexes refused the row. */
static enum err insert(struct sqlite_store *self, uint64_t conversation,
                       const Pipit__StoredMessage *message) {
    struct stored_body body;
    enum err error = body_pack(&self->packer, &message->body, &body);
    if (error != ERR_OK) {
        return error;
    }
    const Pipit__Origin *origin = message->origin;
    return sql_run(
        &self->writer,
        "INSERT INTO messages(conversation, seq, id, kind, target_seq, reply_seq, ts_ms, raw_bytes,"
        " hash, sender, device, origin_device, origin_packet, origin_hash, body)"
        " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        SQL_VALUES(SQL_UINT(conversation), SQL_UINT(message->seq),
                   SQL_BLOB(message->id.data, message->id.len), SQL_UINT(message->kind),
                   SQL_UINT(message->target_seq), SQL_UINT(message->reply_seq),
                   SQL_UINT(message->ts_ms), SQL_UINT(body.raw_bytes),
                   SQL_UINT(body_hash(conversation, message, &body)), SQL_TEXT(message->sender),
                   SQL_TEXT(message->device), origin != NULL ? SQL_TEXT(origin->device) : SQL_NULL,
                   origin != NULL ? SQL_UINT(origin->packet_id) : SQL_NULL,
                   origin != NULL ? SQL_BLOB(origin->hash.data, origin->hash.len) : SQL_NULL,
                   SQL_BLOB(body.bytes, body.count)));
}

/* Finds out which index refused the row: the id's place is reported, or the seq. */
static enum err explain_duplicate(struct sqlite_store *self, const Pipit__StoredMessage *message,
                                  struct arena *arena, Pipit__AppendResult *result) {
    struct sql_rows rows = sql_query(&self->writer,
                                     "SELECT c.id, m.seq, m.sender, m.ts_ms FROM messages m"
                                     " JOIN conversations c ON c.key = m.conversation WHERE m.id=?",
                                     SQL_VALUES(SQL_BLOB(message->id.data, message->id.len)));
    result->error = ERR_DUPLICATE_SEQ;
    if (sql_next(&rows)) {
        result->error = ERR_DUPLICATE_ID;
        result->existing_conversation = sql_text(&rows, 0, arena);
        result->existing_seq = sql_uint(&rows, 1);
        result->existing_sender = sql_text(&rows, 2, arena);
        result->existing_ts_ms = sql_uint(&rows, 3);
    }
    return sql_end(&rows);
}

static enum err append_messages(struct sqlite_store *self, const Pipit__AppendRun *run,
                                struct sqlite_conversation *entry, struct arena *arena,
                                Pipit__AppendResult *result) {
    for (size_t i = 0; i < run->n_messages; i++) {
        Pipit__StoredMessage *message = run->messages[i];
        if (!stored_message_valid(message)) {
            result->error = ERR_INVALID;
            return ERR_OK;
        }
        message->seq = entry->head + 1; /* left out on the bus: ours to fill in */
        enum err error = insert(self, entry->key, message);
        if (error == ERR_EXISTS) {
            error = explain_duplicate(self, message, arena, result);
            return error != ERR_OK ? error : sqlite_head(&self->writer, entry->key, &entry->head);
        }
        if (error != ERR_OK) {
            return error;
        }
        entry->head++;
        result->stored_count++;
    }
    return ERR_OK;
}

/* Errors of the run go into result; the returned one fails everything. */
static enum err append_run(struct sqlite_store *self, const Pipit__AppendRun *run,
                           struct arena *arena, Pipit__AppendResult *result) {
    struct sqlite_conversation *entry = NULL;
    enum err error = sqlite_conversation_find(self, run->conversation, &entry);
    if (error == ERR_NOT_FOUND) {
        result->error = ERR_NOT_FOUND;
        return ERR_OK;
    }
    if (error != ERR_OK) {
        return error;
    }
    if (run->first_seq != entry->head + 1) {
        result->error = ERR_DUPLICATE_SEQ;
    } else {
        error = append_messages(self, run, entry, arena, result);
    }
    result->members_version = entry->members_version;
    result->head = entry->head;
    return error;
}

static enum err append_batch(struct sqlite_store *self, const struct store_append *item) {
    size_t count = item->request->n_runs;
    Pipit__AppendReply *reply = item->reply;
    Pipit__AppendResult *results = NULL;
    if (count > 0) {
        results = arena_alloc(item->arena, count * sizeof(*results));
        reply->results = arena_alloc(item->arena, count * sizeof(*reply->results));
        if (results == NULL || reply->results == NULL) {
            reply->error =
                ERR_NO_MEMORY; /* this batch alone: the others have arenas of their own */
            return ERR_OK;
        }
    }
    for (size_t i = 0; i < count; i++) {
        pipit__append_result__init(&results[i]);
        reply->results[i] = &results[i];
        enum err error = append_run(self, item->request->runs[i], item->arena, &results[i]);
        if (error != ERR_OK) {
            return error;
        }
    }
    reply->n_results = count;
    return ERR_OK;
}

enum err sqlite_append(struct store *store, const struct store_append *items, size_t count) {
    struct sqlite_store *self = sqlite_store_of(store);
    enum err error = sqlite_bulk_begin(self);
    if (error != ERR_OK) {
        return error;
    }
    for (size_t i = 0; i < count && error == ERR_OK; i++) {
        error = append_batch(self, &items[i]);
    }
    return sqlite_bulk_end(self, error);
}
