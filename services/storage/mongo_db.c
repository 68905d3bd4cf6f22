/* mongo_db: the pool of clients, its sessions, and the question whether the database is usable.
 *
 * libmongoc blocks; so its calls run on the writer, the readers and the health thread alone, each
 * leasing a client of the pool for one request. The pool has exactly as many as there are such
 * threads, so nobody waits for one unless a request leaks its lease; the health thread keeps its
 * own, since a busy pool must not look like a database that is away.
 *
 * Failure. While the server is known to be down, mongo_begin refuses at once: else every request of
 * a group would wait for its own time-out. The health thread selects a writable server and pings
 * it; libmongoc's monitors, one thread per server, follow elections and restarts beneath.
 *
 * libmongoc and libbson abort the process when the heap is empty; ERR_NO_MEMORY comes from our own
 * allocations alone. Its log goes to ours. */
#include "services/storage/mongo_private.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/redact.h"
#include "services/storage/mongo_uri.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APP_NAME "pipit-storage"

static const char *const NAMES[MONGO_COLLECTION_COUNT] = {
    [MONGO_MESSAGES] = "messages",
    [MONGO_HEADS] = "heads",
    [MONGO_CONVERSATIONS] = "conversations",
    [MONGO_CURSORS] = "cursors",
    [MONGO_DEVICE_CURSORS] = "device_cursors",
    [MONGO_USERS] = "users",
    [MONGO_DEVICES] = "devices",
    [MONGO_FAMILIES] = "families",
    [MONGO_INVITES] = "invites",
    [MONGO_KEYS] = "signing_keys",
    [MONGO_REVOCATIONS] = "revocations",
    [MONGO_BLOCKS] = "blocks",
    [MONGO_AUDIT] = "audit",
    [MONGO_META] = "meta",
};

const char *mongo_collection_name(enum mongo_collection collection) {
    CONTRACT((unsigned)collection < MONGO_COLLECTION_COUNT);
    return NAMES[collection];
}

/* --- the library */

static void on_log(mongoc_log_level_t level, const char *domain, const char *message, void *user) {
    (void)user;
    static struct log_limit limit;
    bool severe = level == MONGOC_LOG_LEVEL_ERROR || level == MONGOC_LOG_LEVEL_CRITICAL;
    /* A server without sessions cannot end them, said at each close of a client; and what happens
     * to a connection comes back as the call's error, too. */
    bool expected = strstr(message, "endSessions") != NULL || strcmp(domain, "stream") == 0;
    if (level > MONGOC_LOG_LEVEL_WARNING || expected) {
        log_event(LOG_DEBUG, message, F_TEXT("library", domain));
    } else if (log_allowed(&limit, 5)) {
        log_event(severe ? LOG_ERROR : LOG_WARN, message, F_TEXT("library", domain));
    }
}

static void start_library(void) {
    mongoc_init();
    mongoc_log_set_handler(on_log, NULL);
    (void)atexit(mongoc_cleanup); /* cannot be started again, so never before the end */
}

static _Atomic mongo_observe_fn observe_fn;
static void *_Atomic observe_user;

void mongo_db_observe(mongo_observe_fn fn, void *user) {
    atomic_store(&observe_user, user);
    atomic_store(&observe_fn, fn);
}

static void on_command(const mongoc_apm_command_started_t *event) {
    mongo_observe_fn fn = atomic_load(&observe_fn);
    if (fn != NULL) {
        fn(mongoc_apm_command_started_get_command_name(event),
           mongoc_apm_command_started_get_command(event), atomic_load(&observe_user));
    }
}

static void watch_commands(mongoc_client_pool_t *pool) {
    if (atomic_load(&observe_fn) != NULL) {
        mongoc_apm_callbacks_t *callbacks = mongoc_apm_callbacks_new();
        mongoc_apm_set_command_started_cb(callbacks, on_command);
        (void)mongoc_client_pool_set_apm_callbacks(pool, callbacks, NULL); /* new pool: it can */
        mongoc_apm_callbacks_destroy(callbacks);
    }
}

/* --- health */

enum err mongo_failed(struct mongo_db *db, enum mongo_command_kind kind, const char *what,
                      const bson_error_t *error) {
    enum mongo_trouble trouble = MONGO_TROUBLE_NONE;
    enum err result = mongo_error(error, &trouble);
    mongo_health_report(&db->health, trouble, result, error->message);
    if (kind == MONGO_WRITES && trouble == MONGO_TROUBLE_UNREACHABLE) {
        /* It may answer and still hang over writes: the next ones wait until one was stored. */
        mongo_health_report(&db->health, MONGO_TROUBLE_WRITES, result, error->message);
    }
    static struct log_limit limit;
    if (result != ERR_EXISTS && trouble == MONGO_TROUBLE_NONE && log_allowed(&limit, 5)) {
        log_event(LOG_WARN, "database refused a command", F_TEXT("command", what), F_ERR(result),
                  F_INT("code", error->code), F_TEXT("reason", error->message));
    }
    return result;
}

/* Reads the kind off the description of a server that takes writes. */
static bool learn_kind(struct mongo_db *db, const mongoc_server_description_t *server,
                       char reason[MONGO_HEALTH_REASON_BYTES]) {
    const char *type = mongoc_server_description_type(server);
    bool single = strcmp(type, "Standalone") == 0;
    bool set = strcmp(type, "RSPrimary") == 0 || strcmp(type, "Mongos") == 0 ||
               strcmp(type, "LoadBalancer") == 0;
    if (!single && !set) {
        (void)snprintf(reason, MONGO_HEALTH_REASON_BYTES, "the server is no primary but %s", type);
        return false;
    }
    atomic_store(&db->kind, set ? MONGO_KIND_SET : MONGO_KIND_SINGLE);
    return true;
}

static enum err ask(struct mongo_db *db, mongoc_client_t *client,
                    char reason[MONGO_HEALTH_REASON_BYTES]) {
    bson_error_t error = {0};
    mongoc_server_description_t *server = mongoc_client_select_server(client, true, NULL, &error);
    if (server == NULL) {
        (void)snprintf(reason, MONGO_HEALTH_REASON_BYTES, "%s", error.message);
        return ERR_UNAVAILABLE;
    }
    bool usable = learn_kind(db, server, reason);
    mongoc_server_description_destroy(server);
    if (!usable) {
        return ERR_UNAVAILABLE;
    }
    bson_t ping = BSON_INITIALIZER;
    BSON_APPEND_INT32(&ping, "ping", 1);
    bool answered = mongoc_client_command_simple(client, db->name, &ping, NULL, NULL, &error);
    bson_destroy(&ping);
    if (!answered) {
        (void)snprintf(reason, MONGO_HEALTH_REASON_BYTES, "%s", error.message);
    }
    return answered ? ERR_OK : ERR_UNAVAILABLE;
}

static enum err store_something(struct mongo_db *db, mongoc_client_t *client,
                                char reason[MONGO_HEALTH_REASON_BYTES]) {
    bson_error_t error = {0};
    bson_t filter = BSON_INITIALIZER;
    bson_t update = BSON_INITIALIZER;
    bson_t set;
    bson_t opts;
    BSON_APPEND_UTF8(&filter, "_id", "probe");
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$set", &set);
    BSON_APPEND_INT64(&set, "at_ms", (int64_t)clock_wall_ms());
    bson_append_document_end(&update, &set);
    bson_copy_to(&db->durable, &opts);
    BSON_APPEND_BOOL(&opts, "upsert", true);
    mongoc_collection_t *collection =
        mongoc_client_get_collection(client, db->name, mongo_collection_name(MONGO_META));
    bool stored = mongoc_collection_update_one(collection, &filter, &update, &opts, NULL, &error);
    mongoc_collection_destroy(collection);
    bson_destroy(&opts);
    bson_destroy(&update);
    bson_destroy(&filter);
    if (stored) {
        return ERR_OK;
    }
    enum mongo_trouble trouble = MONGO_TROUBLE_NONE;
    (void)snprintf(reason, MONGO_HEALTH_REASON_BYTES, "%s", error.message);
    return mongo_error(&error, &trouble);
}

static enum err prepare(struct mongo_db *db, mongoc_client_t *client,
                        char reason[MONGO_HEALTH_REASON_BYTES]) {
    if (db->prepare == NULL) {
        return ERR_OK;
    }
    struct mongo_session session = {.db = db, .client = client, .preparing = true};
    struct buf problem;
    buf_init(&problem, MONGO_HEALTH_REASON_BYTES - 1);
    enum err error = db->prepare(&session, db->user, &problem);
    (void)snprintf(reason, MONGO_HEALTH_REASON_BYTES, "%.*s", (int)buf_len(&problem),
                   buf_len(&problem) > 0 ? (const char *)buf_data(&problem) : "");
    if (error != ERR_OK && reason[0] == '\0') {
        (void)snprintf(reason, MONGO_HEALTH_REASON_BYTES, "it cannot be prepared: %s",
                       err_text(error));
    }
    buf_finish(&problem);
    return error;
}

static enum err probe(void *user, enum mongo_question question,
                      char reason[MONGO_HEALTH_REASON_BYTES]) {
    struct mongo_db *db = user;
    switch (question) {
    case MONGO_ASK:
        return ask(db, db->own, reason);
    case MONGO_PREPARE:
        return prepare(db, db->own, reason);
    case MONGO_STORE:
        return store_something(db, db->own, reason);
    }
    contract_failed("no such question", __FILE__, __LINE__);
}

bool mongo_db_wait(struct mongo_db *db, uint64_t timeout_ms, struct buf *problem) {
    char reason[MONGO_HEALTH_REASON_BYTES];
    bool up = mongo_health_wait(&db->health, timeout_ms, reason);
    if (!up) {
        err_ignore(buf_append_text(problem, reason)); /* a cut line is better than none */
    }
    return up;
}

enum err mongo_db_health(struct mongo_db *db) {
    return mongo_health_now(&db->health);
}

/* --- life */

static void make_concerns(struct mongo_db *db) {
    int32_t socket_ms = mongoc_uri_get_option_as_int32(db->uri, MONGOC_URI_SOCKETTIMEOUTMS, 5000);
    db->server_ms_max = (int64_t)socket_ms * 4 / 5;
    if (db->server_ms_max < 1) {
        db->server_ms_max = 4000; /* the string says "no limit": a read still has one */
    }
    mongoc_write_concern_t *concern = mongoc_write_concern_new();
    mongoc_write_concern_set_wmajority(concern, (int32_t)db->server_ms_max);
    mongoc_write_concern_set_journal(concern, true);
    bson_init(&db->durable);
    (void)mongoc_write_concern_append(concern, &db->durable); /* valid: both were just set */
    mongoc_write_concern_destroy(concern);
    db->majority = mongoc_read_concern_new();
    (void)mongoc_read_concern_set_level(db->majority, MONGOC_READ_CONCERN_LEVEL_MAJORITY);
    db->local = mongoc_read_concern_new();
}

/* ERR_UNAVAILABLE: the name of a mongodb+srv:// cannot be resolved now. */
static enum err make_pool(struct mongo_db *db, const char *uri, struct buf *problem) {
    bson_error_t error = {0};
    db->pool = mongoc_client_pool_new_with_error(db->uri, &error);
    if (db->pool == NULL) {
        err_ignore(buf_append_text(problem, "store ")); /* a cut line is better than none */
        err_ignore(redact_url(uri, problem));
        err_ignore(buf_append_format(problem, ": %s", error.message));
        return error.domain == MONGOC_ERROR_STREAM ? ERR_UNAVAILABLE : ERR_INVALID;
    }
    (void)mongoc_client_pool_set_error_api(db->pool, MONGOC_ERROR_API_VERSION_2); /* not in use */
    (void)mongoc_client_pool_set_appname(db->pool, APP_NAME);
    watch_commands(db->pool);
    db->own = mongoc_client_pool_pop(db->pool); /* the first: it need not wait */
    return db->own != NULL ? ERR_OK : ERR_UNAVAILABLE;
}

static enum err open_pool(struct mongo_db *db, const struct mongo_db_config *config,
                          struct buf *problem) {
    enum err error = mongo_uri_parse(config->uri, config->clients_max, &db->uri, problem);
    if (error != ERR_OK) {
        return error;
    }
    const char *name = mongo_uri_database(db->uri);
    if (strlen(name) >= sizeof(db->name)) {
        err_ignore(buf_append_text(problem, "store: the database's name is too long"));
        return ERR_INVALID;
    }
    (void)snprintf(db->name, sizeof(db->name), "%s", name);
    make_concerns(db);
    return make_pool(db, config->uri, problem);
}

enum err mongo_db_open(const struct mongo_db_config *config, struct mongo_db **out,
                       struct buf *problem) {
    CONTRACT(config->clients_max >= 2); /* one of them is the health thread's */
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, start_library);
    struct mongo_db *db = mem_zalloc(1, sizeof(*db));
    if (db == NULL) {
        return ERR_NO_MEMORY;
    }
    db->prepare = config->prepare;
    db->user = config->user;
    enum err error = open_pool(db, config, problem);
    if (error == ERR_OK) {
        error = mongo_health_start(&db->health, probe, db);
    }
    if (error != ERR_OK) {
        mongo_db_close(&db);
        return error;
    }
    *out = db;
    return ERR_OK;
}

void mongo_db_close(struct mongo_db **db) {
    struct mongo_db *old = *db;
    if (old == NULL) {
        return;
    }
    mongo_health_stop(&old->health);
    if (old->own != NULL) {
        mongoc_client_pool_push(old->pool, old->own);
    }
    if (old->pool != NULL) {
        mongoc_client_pool_destroy(old->pool);
    }
    if (old->majority != NULL) {
        mongoc_read_concern_destroy(old->majority);
        mongoc_read_concern_destroy(old->local);
        bson_destroy(&old->durable);
    }
    if (old->uri != NULL) {
        mongoc_uri_destroy(old->uri);
    }
    mem_free(old);
    *db = NULL;
}

/* --- sessions */

enum err mongo_begin(struct mongo_db *db, struct mongo_session *session) {
    if (!mongo_health_admits(&db->health)) {
        return ERR_UNAVAILABLE;
    }
    mongoc_client_t *client = mongoc_client_pool_pop(db->pool);
    if (client == NULL) {
        static struct log_limit limit;
        if (log_allowed(&limit, 1)) {
            log_event(LOG_WARN, "no client of the database is free");
        }
        return ERR_UNAVAILABLE;
    }
    *session = (struct mongo_session){.db = db, .client = client};
    return ERR_OK;
}

void mongo_end(struct mongo_session *session) {
    mongoc_client_pool_push(session->db->pool, session->client);
    session->client = NULL;
}
