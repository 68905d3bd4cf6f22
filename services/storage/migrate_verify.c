/* migrate_verify: proof that a migration is complete, from what the two stores say, not from what
 * was counted on the way.
 *
 * Counts: rows of each table against documents of its collection. Heads: every conversation's, and
 * for some the end of the log itself. Since (conv, seq) is unique and seqs of the source are dense,
 * equal numbers of messages and equal heads leave no room for a hole. Sample: some hundred messages
 * at random are read back and compared byte for byte, bodies and checksums included. */
#include "services/storage/migrate.h"

#include "common/contract.h"
#include "services/storage/mongo_log.h"
#include <inttypes.h>
#include <sodium.h>

#define HEADS_AT_ONCE 256u
#define TAILS 16u /* conversations whose logs' ends are looked at */
#define SAMPLES 256u
#define SAMPLE_ARENA_CAP_BYTES (64u * 1024u * 1024u)
#define SAMPLE_BYTES (8u * 1024u * 1024u) /* of bodies in one command */

struct verification {
    struct sqlite_db *source;
    struct mongo_import *import;
    struct buf *problem;
};

static enum err differ(struct verification *verification, const char *what, uint64_t source,
                       uint64_t target) {
    err_ignore(buf_append_format(verification->problem, /* a cut line is better than none */
                                 "verification failed: %s: %" PRIu64 " in the source, %" PRIu64
                                 " in the database",
                                 what, source, target));
    return ERR_CONFLICT;
}

/* --- counts */

struct counting {
    enum mongo_collection collection;
    bool exact; /* messages: along their index instead of the server's metadata */
    uint64_t count;
};

static enum err count_documents(struct mongo_session *session, void *user) {
    struct counting *counting = user;
    bson_t filter = BSON_INITIALIZER;
    bson_t any;
    if (counting->exact) {
        BSON_APPEND_DOCUMENT_BEGIN(&filter, MONGO_LOG_CONVERSATION, &any);
        BSON_APPEND_UTF8(&any, "$gt", "");
        bson_append_document_end(&filter, &any);
    }
    enum err error = mongo_count(session, counting->collection, &filter, &counting->count);
    bson_destroy(&filter);
    return error;
}

static enum err count_key(const bson_t *item, void *user) {
    (void)item;
    ++*(uint64_t *)user;
    return ERR_OK;
}

static enum err count_keys(struct mongo_session *session, void *user) {
    struct counting *counting = user;
    bson_t doc;
    counting->count = 0;
    enum err error = mongo_get(session, MONGO_KEYS, "keys", &doc);
    if (error == ERR_OK) {
        error = mongo_each(&doc, "keys", count_key, &counting->count);
    }
    bson_destroy(&doc);
    return error == ERR_NOT_FOUND ? ERR_OK : error;
}

static enum err compare_count(struct verification *verification, enum mongo_collection collection,
                              uint64_t expected) {
    struct counting counting = {.collection = collection};
    enum err error = mongo_import_patiently(
        verification->import, collection == MONGO_KEYS ? count_keys : count_documents, &counting);
    if (error == ERR_OK && collection == MONGO_MESSAGES && counting.count != expected) {
        counting.exact = true; /* metadata may be off after a crash of the server */
        error = mongo_import_patiently(verification->import, count_documents, &counting);
    }
    return error == ERR_OK && counting.count != expected
               ? differ(verification, mongo_collection_name(collection), expected, counting.count)
               : error;
}

static enum err compare_counts(struct verification *verification, struct migrate_check *check) {
    static const enum mongo_collection COLLECTIONS[EXPORT_TABLE_COUNT] = {
        [EXPORT_USERS] = MONGO_USERS,
        [EXPORT_DEVICES] = MONGO_DEVICES,
        [EXPORT_FAMILIES] = MONGO_FAMILIES,
        [EXPORT_INVITES] = MONGO_INVITES,
        [EXPORT_KEYS] = MONGO_KEYS,
        [EXPORT_REVOCATIONS] = MONGO_REVOCATIONS,
        [EXPORT_BLOCKS] = MONGO_BLOCKS,
        [EXPORT_CONVERSATIONS] = MONGO_CONVERSATIONS,
        [EXPORT_DEVICE_CURSORS] = MONGO_DEVICE_CURSORS,
        [EXPORT_AUDIT] = MONGO_AUDIT,
    };
    uint64_t counts[EXPORT_TABLE_COUNT] = {0};
    uint64_t cursors = 0;
    uint64_t heads = 0;
    enum err error = ERR_OK;
    for (unsigned i = 0; i < EXPORT_TABLE_COUNT && error == ERR_OK; i++) {
        error = sqlite_export_count(verification->source, (enum export_table)i, &counts[i]);
        if (error == ERR_OK) {
            error = compare_count(verification, COLLECTIONS[i], counts[i]);
        }
    }
    if (error == ERR_OK) {
        error = sqlite_export_count_cursors(verification->source, &cursors, &heads);
    }
    if (error == ERR_OK) {
        error = compare_count(verification, MONGO_CURSORS, cursors);
    }
    if (error == ERR_OK) {
        error = compare_count(verification, MONGO_HEADS, heads);
    }
    if (error == ERR_OK) {
        error = sql_number(verification->source, "SELECT count(*) FROM messages", SQL_NONE,
                           &check->messages);
    }
    if (error == ERR_OK) {
        error = compare_count(verification, MONGO_MESSAGES, check->messages);
    }
    check->users = counts[EXPORT_USERS];
    check->conversations = counts[EXPORT_CONVERSATIONS];
    return error;
}

/* --- heads */

struct heads {
    struct arena arena;
    const char *ids[HEADS_AT_ONCE];
    uint64_t expected[HEADS_AT_ONCE], found[HEADS_AT_ONCE], ts_ms[HEADS_AT_ONCE];
    size_t count;
    struct mongo_tail tail; /* of ids[0] */
    bool with_tail;
};

static enum err read_heads(struct mongo_session *session, void *user) {
    struct heads *heads = user;
    enum err error =
        mongo_heads_read(session, heads->ids, heads->count, heads->found, heads->ts_ms);
    return error == ERR_OK && heads->with_tail
               ? mongo_log_tail(session, heads->ids[0], &heads->tail)
               : error;
}

static enum err compare_heads(struct verification *verification, struct heads *heads) {
    enum err error = mongo_import_patiently(verification->import, read_heads, heads);
    for (size_t i = 0; i < heads->count && error == ERR_OK; i++) {
        if (heads->found[i] != heads->expected[i]) {
            error = differ(verification, heads->ids[i], heads->expected[i], heads->found[i]);
        }
    }
    if (error == ERR_OK && heads->with_tail && heads->tail.seq != heads->expected[0]) {
        error = differ(verification, heads->ids[0], heads->expected[0], heads->tail.seq);
    }
    heads->count = 0;
    arena_reset(&heads->arena);
    return error;
}

/* Every conversation's head; of the first of each batch, up to TAILS, the log's end, too. */
static enum err compare_all_heads(struct verification *verification, struct heads *heads) {
    size_t batches = 0;
    enum err error = ERR_OK;
    struct sql_rows rows =
        sql_query(verification->source,
                  "SELECT c.id, (SELECT max(seq) FROM messages m WHERE m.conversation=c.key)"
                  " FROM conversations c",
                  SQL_NONE);
    while (error == ERR_OK && sql_next(&rows)) {
        heads->ids[heads->count] = sql_text(&rows, 0, &heads->arena);
        heads->expected[heads->count++] = sql_uint(&rows, 1);
        if (heads->count == HEADS_AT_ONCE) {
            heads->with_tail = batches++ < TAILS;
            error = compare_heads(verification, heads);
        }
    }
    enum err ended = sql_end(&rows);
    error = error != ERR_OK ? error : ended;
    if (error == ERR_OK && heads->count > 0) {
        heads->with_tail = true;
        error = compare_heads(verification, heads);
    }
    return error;
}

/* --- the sample */

static enum err pick(struct verification *verification, uint64_t rows, struct arena *arena,
                     struct export_message *picked, size_t *count) {
    size_t bytes = 0;
    enum err error = ERR_OK;
    *count = 0;
    while (error == ERR_OK && *count < MONGO_IMPORT_BATCH && bytes < SAMPLE_BYTES) {
        /* All of a small store, else rows at random; the same one twice does no harm. */
        uint64_t after = rows <= SAMPLES ? *count : randombytes_uniform((uint32_t)rows);
        size_t read = 0;
        error = sqlite_export_messages(verification->source, after, 1, SIZE_MAX, arena,
                                       &picked[*count], &read);
        if (error != ERR_OK || read == 0) {
            return error;
        }
        bytes += picked[*count].message->body.len;
        ++*count;
    }
    return error;
}

static enum err compare_sample(struct verification *verification, uint64_t *compared) {
    static struct export_message picked[MONGO_IMPORT_BATCH];
    struct arena arena;
    uint64_t rows = 0;
    size_t count = 0;
    bool same = true;
    enum err error =
        sql_number(verification->source, "SELECT max(rowid) FROM messages", SQL_NONE, &rows);
    arena_init(&arena, 65536, SAMPLE_ARENA_CAP_BYTES);
    if (error == ERR_OK && rows > 0) {
        error = pick(verification, rows < UINT32_MAX ? rows : UINT32_MAX, &arena, picked, &count);
    }
    if (error == ERR_OK && count > 0) {
        error = mongo_import_compare(verification->import, picked, count, &same);
    }
    if (error == ERR_OK && !same) {
        err_ignore(buf_append_text(verification->problem, /* a cut line is better than none */
                                   "verification failed: a message of the sample differs"));
        error = ERR_CONFLICT;
    }
    *compared = count;
    arena_finish(&arena);
    return error;
}

enum err migrate_verify(struct sqlite_db *source, struct mongo_import *import,
                        struct migrate_check *check, struct buf *problem) {
    struct verification verification = {.source = source, .import = import, .problem = problem};
    static struct heads heads;
    enum err error = compare_counts(&verification, check);
    if (error == ERR_OK) {
        heads = (struct heads){.count = 0};
        arena_init(&heads.arena, 65536, SAMPLE_ARENA_CAP_BYTES);
        error = compare_all_heads(&verification, &heads);
        arena_finish(&heads.arena);
    }
    return error != ERR_OK ? error : compare_sample(&verification, &check->compared);
}
