/* mongo_db: MongoDB as the mongo_*.c files use it: collections, sessions (one leased client of the
 * bounded pool), commands with explicit write concern, errors mapped to enum err. The only files
 * that talk to libmongoc are mongo_db.c, mongo_commands.c and mongo_uri.c; libbson's types are
 * everywhere in mongo_*.c.
 *
 * Errors of every call that talks to the server: ERR_UNAVAILABLE (no server, no primary, read-only,
 * too slow, write concern not met: a write's outcome is unknown), ERR_NO_SPACE (the server's disk
 * is full), ERR_NO_MEMORY, ERR_CORRUPT (the answer makes no sense), ERR_IO (refused for another
 * reason, logged).
 *
 * Rules for documents: no transactions, no TTL, partial or sparse indexes, no aggregation, no
 * positional operators and no $elemMatch, so that MongoDB 4.4 and FerretDB 1.24 both do. An update
 * of one document is atomic on MongoDB, and a change that depends on what was read compares a
 * revision in its filter. Every filter and sort is served by _id or by an index of mongo_schema.c
 * (tests prove it). Unsigned numbers are stored as int64. */
#ifndef PIPIT_STORAGE_MONGO_DB_H
#define PIPIT_STORAGE_MONGO_DB_H

#include "common/arena.h"
#include "common/buf.h"
#include "common/err.h"
#include <bson/bson.h>
#include <mongoc/mongoc.h>
#include <protobuf-c/protobuf-c.h>

enum mongo_collection {
    MONGO_MESSAGES,       /* _id: message id (binary); unique (conv, seq) */
    MONGO_HEADS,          /* _id: conversation; head and ts, by $max after each append, before its
                             answer: never behind what was acknowledged */
    MONGO_CONVERSATIONS,  /* _id: conversation; members embedded, `version` compared on change */
    MONGO_CURSORS,        /* _id: conversation + "\x1f" + user; by $max */
    MONGO_DEVICE_CURSORS, /* _id: user + "\x1f" + device + "\x1f" + conversation (may be empty) */
    MONGO_USERS,
    MONGO_DEVICES,
    MONGO_FAMILIES, /* refresh tokens */
    MONGO_INVITES,
    MONGO_KEYS, /* one document: all signing keys, compared by its revision */
    MONGO_REVOCATIONS,
    MONGO_BLOCKS, /* _id: user; whom it blocks */
    MONGO_AUDIT,
    MONGO_META, /* schema version, history epoch */
    MONGO_COLLECTION_COUNT
};
const char *mongo_collection_name(enum mongo_collection collection);

struct mongo_db;
struct mongo_session;
struct mongo_db_config {
    const char *uri; /* mongodb:// or mongodb+srv://; TLS, SCRAM and replica set by its options;
                        the database is its path, "pipit" when it names none */
    uint32_t clients_max; /* >= 2: sessions at once and one for the health thread; more wait
                             (bounded), then ERR_UNAVAILABLE */
    /* Each time the server comes (back), before any request is admitted; on the health thread. An
     * error keeps requests out; it is called again until it succeeds. May be NULL. */
    enum err (*prepare)(struct mongo_session *session, void *user, struct buf *problem);
    void *user;
};
/* Parses, makes the pool and begins to ask for the server in the background. ERR_INVALID: problem
 * says what is wrong with the URI (its password is never printed). ERR_UNAVAILABLE: a
 * mongodb+srv:// name does not resolve now. */
enum err mongo_db_open(const struct mongo_db_config *config, struct mongo_db **out,
                       struct buf *problem) MUST_CHECK;
void mongo_db_close(struct mongo_db **db);

/* Waits at most this long until a writable server answers. False: problem gets the reason alone. */
bool mongo_db_wait(struct mongo_db *db, uint64_t timeout_ms, struct buf *problem);
/* ERR_OK; ERR_UNAVAILABLE or ERR_NO_SPACE: writes are refused now. Never blocks. */
enum err mongo_db_health(struct mongo_db *db) MUST_CHECK;

/* Tests only: called on the sending thread for each command before it is sent. Of
 * databases that are opened while it is set; fn NULL = off, for those too. Any thread. */
typedef void (*mongo_observe_fn)(const char *name, const bson_t *command, void *user);
void mongo_db_observe(mongo_observe_fn fn, void *user);

/* A session belongs to one thread between begin and end. ERR_UNAVAILABLE at once while the server
 * is known to be down. One at a time per thread: a second waits for the first. */
struct mongo_session {
    struct mongo_db *db;
    mongoc_client_t *client;
    bool preparing; /* mongo_db_config.prepare's: writes although requests are still kept out */
};
enum err mongo_begin(struct mongo_db *db, struct mongo_session *session) MUST_CHECK;
void mongo_end(struct mongo_session *session);

/* --- reading: primary, readConcern majority on a replica set. */
struct mongo_find {
    enum mongo_collection collection;
    const bson_t *filter;
    const bson_t *projection; /* may be NULL */
    const bson_t *sort;       /* may be NULL */
    uint32_t limit;           /* 0 = all */
    uint32_t batch;           /* documents that travel at once; 0 = many: for who may stop early */
};
/* Calls each for every document in order until it returns something else than ERR_OK; that is then
 * returned, except ERR_EXISTS, which means "enough" and becomes ERR_OK. doc is borrowed. */
enum err mongo_find(struct mongo_session *session, const struct mongo_find *find,
                    enum err (*each)(const bson_t *doc, void *user), void *user) MUST_CHECK;
/* The first document into *out, initialised here and bson_destroy'ed by the caller also on errors.
 * ERR_NOT_FOUND. */
enum err mongo_find_one(struct mongo_session *session, const struct mongo_find *find,
                        bson_t *out) MUST_CHECK;
/* Document whose _id is this text. ERR_NOT_FOUND. */
enum err mongo_get(struct mongo_session *session, enum mongo_collection collection, const char *id,
                   bson_t *out) MUST_CHECK;

/* --- writing: w: majority, j: true, on each command. ERR_UNAVAILABLE or ERR_NO_SPACE at once while
 * the server is known not to store. */
/* One ordered insert. *inserted documents are stored durably, always a prefix; after
 * ERR_UNAVAILABLE there may be more. ERR_EXISTS: document [*inserted] hits a unique index. */
enum err mongo_insert(struct mongo_session *session, enum mongo_collection collection,
                      const bson_t *const *docs, size_t count, size_t *inserted) MUST_CHECK;
struct mongo_update {
    bson_t *filter, *update;
    bool upsert;
};
/* One command of several single-document updates, not ordered among themselves. *matched counts
 * documents found or upserted. An upsert that lost a race is repeated inside, and with it all
 * others of the call: several at once must be idempotent. ERR_EXISTS: a unique index. */
enum err mongo_update(struct mongo_session *session, enum mongo_collection collection,
                      const struct mongo_update *updates, size_t count, size_t *matched) MUST_CHECK;
/* Deletes all that match. */
enum err mongo_delete(struct mongo_session *session, enum mongo_collection collection,
                      const bson_t *filter, size_t *deleted) MUST_CHECK;
enum err mongo_count(struct mongo_session *session, enum mongo_collection collection,
                     const bson_t *filter, uint64_t *count) MUST_CHECK;
/* Any other command, for the schema. reply is initialised here, bson_destroy by the caller. */
enum err mongo_command(struct mongo_session *session, const bson_t *command,
                       bson_t *reply) MUST_CHECK;

/* --- fields. A missing field or one of another type is 0, false, "" or no bytes: a document of
 * version N - 1 lacks what N added. Dotted keys are not followed. */
uint64_t mongo_u64(const bson_t *doc, const char *key);
bool mongo_bool(const bson_t *doc, const char *key);
/* Borrowed from the document. */
const char *mongo_peek(const bson_t *doc, const char *key);
ProtobufCBinaryData mongo_peek_bytes(const bson_t *doc, const char *key);
/* The document at key, borrowed, needs no bson_destroy; false: there is none. */
bool mongo_document(const bson_t *doc, const char *key, bson_t *out);
/* Copied to the arena; NULL = no memory. */
char *mongo_text(const bson_t *doc, const char *key, struct arena *arena);
enum err mongo_bytes(const bson_t *doc, const char *key, struct arena *arena,
                     ProtobufCBinaryData *out) MUST_CHECK;
/* Calls each for every document of the array at key until it returns something else than ERR_OK. */
enum err mongo_each(const bson_t *doc, const char *key,
                    enum err (*each)(const bson_t *item, void *user), void *user) MUST_CHECK;

#endif
