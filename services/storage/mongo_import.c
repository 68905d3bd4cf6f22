/* mongo_import: from exported rows to stored documents.
 *
 * Documents collect by collection and go in ordered inserts. What is already there is no error when
 * it is what would be written: an insert whose answer was lost, or a run that was killed, leaves
 * documents behind. So a batch that meets a duplicate reads its own _ids back in one command,
 * compares, drops what is stored, and inserts the rest; a stored document that differs, or another
 * one with its conversation and seq, ends the migration.
 *
 * A server that is away is waited for, two minutes long; then the migration ends and may be started
 * again. Every step is repeatable. */
#include "services/storage/mongo_import.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/storage/mongo_accounts.h"
#include "services/storage/mongo_log.h"
#include "services/storage/mongo_members.h"
#include <stdio.h>

#define PROBLEM_BYTES 256u
#define KEYS_ARENA_BYTES (64u * 1024u)
#define KEYS_ARENA_CAP_BYTES (16u * 1024u * 1024u)
#define WAIT_MS 1000u

struct batch {
    bson_t *docs[MONGO_IMPORT_BATCH];
    size_t count, bytes;
};
struct mongo_import {
    struct mongo_db *db;
    struct migrate_progress *progress;
    struct body_packer packer;
    struct batch batches[MONGO_COLLECTION_COUNT];
    struct arena keys_arena; /* all signing keys become one document */
    Pipit__SigningKey **keys;
    size_t key_count, key_room;
    uint64_t row, marked_row; /* of the last message stored, and what the marker says */
    char problem[PROBLEM_BYTES];
};

enum err mongo_import_create(struct mongo_db *db, struct mongo_import **out) {
    struct mongo_import *import = mem_zalloc(1, sizeof(*import));
    if (import == NULL) {
        return ERR_NO_MEMORY;
    }
    import->db = db;
    arena_init(&import->keys_arena, KEYS_ARENA_BYTES, KEYS_ARENA_CAP_BYTES);
    *out = import;
    return ERR_OK;
}

static void empty(struct batch *batch) {
    for (size_t i = 0; i < batch->count; i++) {
        bson_destroy(batch->docs[i]);
    }
    batch->count = batch->bytes = 0;
}

void mongo_import_destroy(struct mongo_import **import) {
    if (*import == NULL) {
        return;
    }
    for (size_t i = 0; i < MONGO_COLLECTION_COUNT; i++) {
        empty(&(*import)->batches[i]);
    }
    body_packer_finish(&(*import)->packer);
    arena_finish(&(*import)->keys_arena);
    mem_free(*import);
    *import = NULL;
}

const char *mongo_import_problem(const struct mongo_import *import) {
    return import->problem;
}

/* --- patience */

enum err mongo_import_patiently(struct mongo_import *import,
                                enum err (*work)(struct mongo_session *session, void *user),
                                void *user) {
    uint64_t begun_us = clock_mono_us();
    enum err error = ERR_OK;
    bool told = false;
    do {
        struct mongo_session session;
        struct buf reason;
        error = mongo_begin(import->db, &session);
        if (error == ERR_OK) {
            error = work(&session, user);
            mongo_end(&session);
        }
        if (error != ERR_UNAVAILABLE) {
            return error;
        }
        if (!told) {
            log_event(LOG_WARN, "the database does not answer; waiting for it");
            told = true;
        }
        buf_init(&reason, PROBLEM_BYTES);
        (void)mongo_db_wait(import->db, WAIT_MS, &reason); /* either way the next try tells */
        buf_finish(&reason);
    } while (clock_mono_us() - begun_us < (uint64_t)MONGO_IMPORT_PATIENCE_MS * 1000u);
    return error;
}

/* --- one batch */

struct writing {
    struct mongo_import *import;
    enum mongo_collection collection;
    struct batch *batch;
};
struct comparing {
    const struct batch *batch;
    bool stored[MONGO_IMPORT_BATCH];
    bool differs;
};

static enum err compare_stored(const bson_t *doc, void *user) {
    struct comparing *comparing = user;
    bool expected = false;
    for (size_t i = 0; i < comparing->batch->count; i++) {
        if (bson_equal(doc, comparing->batch->docs[i])) { /* a sample may have it twice */
            comparing->stored[i] = expected = true;
        }
    }
    comparing->differs = comparing->differs || !expected;
    return ERR_OK;
}

/* Which documents of the batch are stored as they are. */
static enum err find_stored(struct mongo_session *session, enum mongo_collection collection,
                            struct comparing *comparing) {
    const struct batch *batch = comparing->batch;
    bson_t filter = BSON_INITIALIZER;
    bson_t condition;
    bson_t array;
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &condition);
    BSON_APPEND_ARRAY_BEGIN(&condition, "$in", &array);
    for (size_t i = 0; i < batch->count; i++) {
        char room[16];
        const char *place = NULL;
        bson_iter_t id;
        (void)bson_uint32_to_string((uint32_t)i, &place, room, sizeof(room));
        if (bson_iter_init_find(&id, batch->docs[i], "_id")) {
            bson_append_iter(&array, place, -1, &id);
        }
    }
    bson_append_array_end(&condition, &array);
    bson_append_document_end(&filter, &condition);
    struct mongo_find find = {.collection = collection, .filter = &filter};
    enum err error = mongo_find(session, &find, compare_stored, comparing);
    bson_destroy(&filter);
    return error;
}

static void drop_first(struct batch *batch, size_t count) {
    for (size_t i = 0; i < batch->count; i++) {
        if (i < count) {
            bson_destroy(batch->docs[i]);
        } else {
            batch->docs[i - count] = batch->docs[i];
        }
    }
    batch->count -= count;
}

/* A duplicate: drops what is stored already. ERR_CONFLICT: something else is. */
static enum err drop_stored(struct mongo_session *session, struct writing *writing) {
    struct batch *batch = writing->batch;
    struct comparing comparing = {.batch = batch};
    enum err error = find_stored(session, writing->collection, &comparing);
    if (error != ERR_OK) {
        return error;
    }
    size_t kept = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (comparing.stored[i]) {
            bson_destroy(batch->docs[i]);
        } else {
            batch->docs[kept++] = batch->docs[i];
        }
    }
    bool none = kept == batch->count;
    batch->count = kept;
    if (comparing.differs || none) {
        (void)snprintf(writing->import->problem, sizeof(writing->import->problem),
                       "%s: the database holds another document in the place of one that is moved",
                       mongo_collection_name(writing->collection));
        return ERR_CONFLICT;
    }
    return ERR_OK;
}

static enum err write_batch(struct mongo_session *session, void *user) {
    struct writing *writing = user;
    struct batch *batch = writing->batch;
    enum err error = ERR_OK;
    while (batch->count > 0 && error == ERR_OK) {
        size_t inserted = 0;
        error = mongo_insert(session, writing->collection, (const bson_t *const *)batch->docs,
                             batch->count, &inserted);
        drop_first(batch, inserted);
        if (error == ERR_EXISTS) {
            error = drop_stored(session, writing);
        }
    }
    batch->bytes = batch->count == 0 ? 0 : batch->bytes;
    return error;
}

static enum err flush(struct mongo_import *import, enum mongo_collection collection) {
    struct writing writing = {
        .import = import, .collection = collection, .batch = &import->batches[collection]};
    return writing.batch->count == 0 ? ERR_OK
                                     : mongo_import_patiently(import, write_batch, &writing);
}

/* Moves the document in. */
static enum err add(struct mongo_import *import, enum mongo_collection collection, bson_t *doc) {
    struct batch *batch = &import->batches[collection];
    if (!bson_validate(doc, BSON_VALIDATE_UTF8, NULL)) {
        bson_destroy(doc);
        (void)snprintf(import->problem, sizeof(import->problem), "%s: a text is not UTF-8",
                       mongo_collection_name(collection));
        return ERR_INVALID;
    }
    batch->docs[batch->count++] = doc;
    batch->bytes += doc->len;
    bool full = batch->count == MONGO_IMPORT_BATCH || batch->bytes >= MONGO_IMPORT_BATCH_BYTES;
    return full ? flush(import, collection) : ERR_OK;
}

/* A row of the table that is moved now. */
static enum err add_row(struct mongo_import *import, enum mongo_collection collection,
                        bson_t *doc) {
    enum err error = add(import, collection, doc);
    migrate_progress_add(import->progress, 1);
    return error;
}

/* --- rows of small tables */

static enum err take_user(const Pipit__User *row, void *self) {
    bson_t *doc = bson_new();
    mongo_user_encode(row, NULL, doc);
    return add_row(self, MONGO_USERS, doc);
}

static enum err take_device(const Pipit__Device *row, void *self) {
    bson_t *doc = bson_new();
    mongo_device_encode(row, doc);
    return add_row(self, MONGO_DEVICES, doc);
}

static enum err take_family(const struct export_family *row, void *self) {
    char id[MONGO_JOINED_BYTES];
    struct mongo_token *tokens = mem_alloc((row->count + 1) * sizeof(*tokens));
    if (tokens == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < row->count; i++) {
        tokens[i] = (struct mongo_token){.hash = row->tokens[i].hash,
                                         .generation = row->tokens[i].generation,
                                         .expires_ms = row->tokens[i].expires_ms};
    }
    bson_t *doc = bson_new();
    BSON_APPEND_UTF8(doc, "_id", mongo_join(id, row->user, row->device, NULL));
    BSON_APPEND_INT64(doc, "rev", 1);
    mongo_family_encode(row->user, row->device, row->current, tokens, row->count, doc);
    mem_free(tokens);
    return add_row(self, MONGO_FAMILIES, doc);
}

static enum err take_invite(const Pipit__Invite *row, void *self) {
    char id[MONGO_HASH_TEXT_BYTES];
    bson_t *doc = bson_new();
    mongo_invite_encode(row, mongo_hash_text(id, &row->hash), doc);
    return add_row(self, MONGO_INVITES, doc);
}

static bool copy_bytes(ProtobufCBinaryData *bytes, struct arena *arena) {
    if (bytes->len > 0) {
        bytes->data = (uint8_t *)arena_copy(arena, bytes->data, bytes->len);
    }
    return bytes->len == 0 || bytes->data != NULL;
}

/* Kept until mongo_import_flush: they share one document. */
static enum err take_key(const Pipit__SigningKey *row, void *self) {
    struct mongo_import *import = self;
    struct arena *arena = &import->keys_arena;
    if (import->key_count == import->key_room) {
        size_t room = import->key_room == 0 ? 8 : import->key_room * 2;
        Pipit__SigningKey **keys = arena_alloc(arena, room * sizeof(*keys));
        if (keys == NULL) {
            return ERR_NO_MEMORY;
        }
        for (size_t i = 0; i < import->key_count; i++) {
            keys[i] = import->keys[i];
        }
        import->keys = keys;
        import->key_room = room;
    }
    Pipit__SigningKey *key = arena_alloc(arena, sizeof(*key));
    if (key == NULL) {
        return ERR_NO_MEMORY;
    }
    *key = *row;
    key->kid = arena_copy(arena, row->kid, strlen(row->kid));
    if (key->kid == NULL || !copy_bytes(&key->private_pem, arena) || !copy_bytes(&key->x, arena) ||
        !copy_bytes(&key->y, arena)) {
        return ERR_NO_MEMORY;
    }
    import->keys[import->key_count++] = key;
    migrate_progress_add(import->progress, 1);
    return ERR_OK;
}

static enum err take_revocation(const Pipit__Revocation *row, void *self) {
    bson_t *doc = bson_new();
    mongo_revocation_encode(row, doc);
    return add_row(self, MONGO_REVOCATIONS, doc);
}

static enum err take_block(const struct export_block *row, void *self) {
    bson_t *doc = bson_new();
    mongo_block_encode(row->user, row->blocked, row->since_ms, doc);
    return add_row(self, MONGO_BLOCKS, doc);
}

static enum err take_audit(const Pipit__AuditEntry *row, void *self) {
    bson_t *doc = bson_new();
    mongo_audit_encode(row, doc);
    return add_row(self, MONGO_AUDIT, doc);
}

static enum err take_device_cursor(const struct export_device_cursor *row, void *self) {
    char id[MONGO_JOINED_BYTES];
    bson_t *doc = bson_new();
    BSON_APPEND_UTF8(doc, "_id", mongo_join(id, row->user, row->device, row->conversation));
    BSON_APPEND_INT64(doc, "delivered", (int64_t)row->delivered_seq);
    return add_row(self, MONGO_DEVICE_CURSORS, doc);
}

/* --- conversations: their cursors and heads are documents of their own */

static enum err add_cursors(struct mongo_import *import, const struct export_conversation *row) {
    enum err error = ERR_OK;
    for (size_t i = 0; i < row->proto->n_members && error == ERR_OK; i++) {
        const Pipit__Member *member = row->proto->members[i];
        char id[MONGO_JOINED_BYTES];
        if (member->read_seq == 0 && member->delivered_seq == 0) {
            continue;
        }
        bson_t *doc = bson_new();
        BSON_APPEND_UTF8(doc, "_id", mongo_join(id, row->proto->id, member->user, NULL));
        BSON_APPEND_INT64(doc, "read", (int64_t)member->read_seq);
        BSON_APPEND_INT64(doc, "delivered", (int64_t)member->delivered_seq);
        BSON_APPEND_INT64(doc, "changed", (int64_t)row->member_changed_ms[i]);
        error = add(import, MONGO_CURSORS, doc);
    }
    return error;
}

static enum err add_head(struct mongo_import *import, const struct export_conversation *row) {
    if (row->proto->head == 0) {
        return ERR_OK;
    }
    bson_t *doc = bson_new();
    BSON_APPEND_UTF8(doc, "_id", row->proto->id);
    BSON_APPEND_INT64(doc, "head", (int64_t)row->proto->head);
    BSON_APPEND_INT64(doc, "ts", (int64_t)row->head_ts_ms);
    return add(import, MONGO_HEADS, doc);
}

static enum err take_conversation(const struct export_conversation *row, void *self) {
    struct mongo_conversation conversation = {.proto = row->proto,
                                              .creator = row->creator,
                                              .member_changed_ms = row->member_changed_ms,
                                              .changed_ms = row->changed_ms,
                                              .rev = 1};
    bson_t *doc = bson_new();
    mongo_conversation_encode(&conversation, doc);
    enum err error = add_row(self, MONGO_CONVERSATIONS, doc);
    if (error == ERR_OK) {
        error = add_cursors(self, row);
    }
    return error != ERR_OK ? error : add_head(self, row);
}

struct export_sink mongo_import_sink(struct mongo_import *import,
                                     struct migrate_progress *progress) {
    import->progress = progress;
    return (struct export_sink){.user = take_user,
                                .device = take_device,
                                .family = take_family,
                                .invite = take_invite,
                                .key = take_key,
                                .revocation = take_revocation,
                                .block = take_block,
                                .conversation = take_conversation,
                                .device_cursor = take_device_cursor,
                                .audit = take_audit,
                                .self = import};
}

enum err mongo_import_flush(struct mongo_import *import) {
    enum err error = ERR_OK;
    if (import->key_count > 0) {
        bson_t *doc = bson_new();
        mongo_keys_encode(import->keys, import->key_count, doc);
        import->key_count = 0;
        error = add(import, MONGO_KEYS, doc);
    }
    for (unsigned i = 0; i < MONGO_COLLECTION_COUNT && error == ERR_OK; i++) {
        error = flush(import, (enum mongo_collection)i);
    }
    return error;
}

/* --- messages */

static enum err encode(struct mongo_import *import, const struct export_message *exported,
                       bson_t **doc) {
    return mongo_log_encode(exported->message->conversation, exported->message, &import->packer,
                            doc);
}

static enum err advance(struct mongo_session *session, void *user) {
    const struct mongo_import *import = user;
    return mongo_marker_advance(session, import->row);
}

enum err mongo_import_mark(struct mongo_import *import) {
    enum err error = mongo_import_patiently(import, advance, import);
    if (error == ERR_OK) {
        import->marked_row = import->row;
    }
    return error;
}

void mongo_import_resume(struct mongo_import *import, uint64_t row) {
    import->row = import->marked_row = row;
}

enum err mongo_import_messages(struct mongo_import *import, const struct export_message *messages,
                               size_t count) {
    enum err error = ERR_OK;
    for (size_t i = 0; i < count && error == ERR_OK; i++) {
        bson_t *doc = NULL;
        error = encode(import, &messages[i], &doc);
        if (error == ERR_OK) {
            error = add_row(import, MONGO_MESSAGES, doc);
        }
    }
    if (error == ERR_OK) {
        error = flush(import, MONGO_MESSAGES);
    }
    if (error != ERR_OK || count == 0) {
        return error;
    }
    import->row = messages[count - 1].row;
    return import->row - import->marked_row < MONGO_IMPORT_MARK_EVERY ? ERR_OK
                                                                      : mongo_import_mark(import);
}

static enum err check(struct mongo_session *session, void *user) {
    return find_stored(session, MONGO_MESSAGES, user);
}

enum err mongo_import_compare(struct mongo_import *import, const struct export_message *messages,
                              size_t count, bool *same) {
    struct batch *batch = mem_zalloc(1, sizeof(*batch));
    struct comparing comparing = {.batch = batch};
    if (batch == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = ERR_OK;
    for (size_t i = 0; i < count && error == ERR_OK; i++) {
        error = encode(import, &messages[i], &batch->docs[batch->count]);
        batch->count += error == ERR_OK;
    }
    if (error == ERR_OK && batch->count > 0) {
        error = mongo_import_patiently(import, check, &comparing);
    }
    *same = !comparing.differs;
    for (size_t i = 0; i < batch->count; i++) {
        *same = *same && comparing.stored[i];
    }
    empty(batch);
    mem_free(batch);
    return error;
}

/* --- before the rows */

static enum err clear(struct mongo_session *session, void *user) {
    (void)user;
    enum err error = ERR_OK;
    bson_t all = BSON_INITIALIZER;
    for (unsigned i = 0; i < MONGO_COLLECTION_COUNT && error == ERR_OK; i++) {
        size_t deleted = 0;
        if (i != MONGO_MESSAGES && i != MONGO_META) {
            error = mongo_delete(session, (enum mongo_collection)i, &all, &deleted);
        }
    }
    bson_destroy(&all);
    return error;
}

enum err mongo_import_clear(struct mongo_import *import) {
    return mongo_import_patiently(import, clear, NULL);
}

static enum err set_epoch(struct mongo_session *session, void *user) {
    bson_t update = BSON_INITIALIZER;
    bson_t set;
    size_t matched = 0;
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$set", &set);
    BSON_APPEND_UTF8(&set, "value", (const char *)user);
    bson_append_document_end(&update, &set);
    enum err error = mongo_update_by_id(session, MONGO_META, "epoch", &update, true, &matched);
    bson_destroy(&update);
    return error;
}

enum err mongo_import_epoch(struct mongo_import *import, const char *epoch) {
    char copy[MONGO_EPOCH_BYTES];
    (void)snprintf(copy, sizeof(copy), "%s", epoch);
    return mongo_import_patiently(import, set_epoch, copy);
}
