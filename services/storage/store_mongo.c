/* store_mongo: opening the cluster's back end, and its vtable.
 *
 * Nothing is shared with other instances but the database, so any number run at once. A group is
 * only a moment to look: while the database is known not to store, all writes that wait are refused
 * at once, instead of each finding out for itself.
 *
 * Opening waits for the server, since in a cluster both often start together, but not for ever: an
 * operator must see a wrong address as a failed start with its reason. Later outages are lived
 * through (mongo_health.h). */
#include "services/storage/store_mongo.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/redact.h"
#include "services/storage/mongo_schema.h"
#include <signal.h>
#include <sodium.h>

#define WAIT_SLICE_MS 200u /* between looks at signals and at answers that no waiting changes */

/* --- groups, housekeeping, health */

static enum err group_begin(struct store *store) {
    return mongo_db_health(mongo_store_of(store)->db);
}

static enum err group_end(struct store *store) {
    (void)store; /* each write was durable when it returned */
    return ERR_OK;
}

static void maintain(struct store *store) {
    (void)store; /* the server keeps house */
}

static enum err health(struct store *store) {
    return mongo_db_health(mongo_store_of(store)->db);
}

char *mongo_store_epoch(struct mongo_store *self, struct arena *arena) {
    (void)pthread_mutex_lock(&self->epoch_lock); /* cannot fail: ours, not recursive */
    char *copy = arena_copy(arena, self->epoch, strlen(self->epoch));
    (void)pthread_mutex_unlock(&self->epoch_lock);
    return copy;
}

/* --- opening */

static void close_store(struct store *store) {
    struct mongo_store *self = mongo_store_of(store);
    mongo_db_close(&self->db); /* first: its thread uses the rest */
    mongo_heads_finish(&self->heads);
    (void)pthread_mutex_destroy(&self->epoch_lock);
    mem_free(self);
}

static const struct store_ops MONGO_OPS = {
    .group_begin = group_begin,
    .group_end = group_end,
    .maintain = maintain,
    .health = health,
    .append = mongo_append,
    .history = mongo_history,
    .heads = mongo_heads,
    .origin = mongo_origin,
    .cursors = mongo_cursors,
    .conversations = mongo_conversations,
    .conversation_load = mongo_conversation_load,
    .conversation_create = mongo_conversation_create,
    .members_change = mongo_members_change,
    .block_change = mongo_block_change,
    .blocks = mongo_blocks,
    .user_create = mongo_user_create,
    .user_get = mongo_user_get,
    .user_update = mongo_user_update,
    .users = mongo_users,
    .devices = mongo_devices,
    .session_create = mongo_session_create,
    .session_rotate = mongo_session_rotate,
    .revoke = mongo_revoke,
    .revocations = mongo_revocations,
    .invite_create = mongo_invite_create,
    .invites = mongo_invites,
    .invite_delete = mongo_invite_delete,
    .key_put = mongo_key_put,
    .key_retire = mongo_key_retire,
    .keys = mongo_keys,
    .stats = mongo_stats,
    .audit_append = mongo_audit_append,
    .audit = mongo_audit,
    .close = close_store,
};

static bool asked_to_stop(void) {
    sigset_t pending;
    return sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

/* The reason comes from libmongoc or from the schema, never from the connection string. */
static enum err wait_for_server(struct mongo_store *self, const char *uri, struct buf *problem) {
    uint64_t begin_us = clock_mono_us();
    struct buf reason;
    buf_init(&reason, 1024);
    enum err error = ERR_UNAVAILABLE;
    bool up = false;
    do {
        buf_clear(&reason);
        up = mongo_db_wait(self->db, WAIT_SLICE_MS, &reason);
        error = atomic_load(&self->prepared);
    } while (!up && error != ERR_UNSUPPORTED && !asked_to_stop() &&
             clock_mono_us() - begin_us < MONGO_OPEN_WAIT_MS * 1000u);
    if (up) {
        error = ERR_OK;
    } else {
        err_ignore(buf_append_text(problem, "store ")); /* a cut line is better than none */
        err_ignore(redact_url(uri, problem));
        err_ignore(buf_append_text(problem, ": the database cannot be used: "));
        err_ignore(buf_append(problem, buf_data(&reason), buf_len(&reason)));
        error = error == ERR_UNSUPPORTED ? ERR_UNSUPPORTED : ERR_UNAVAILABLE;
    }
    buf_finish(&reason);
    return error;
}

static enum err create(const struct store_config *config, struct mongo_store **out) {
    struct mongo_store *self = mem_zalloc(1, sizeof(*self));
    if (self == NULL) {
        return ERR_NO_MEMORY;
    }
    self->store.ops = &MONGO_OPS;
    self->members_max = config->members_max;
    atomic_init(&self->prepared, ERR_OK);
    enum err error = mongo_heads_init(&self->heads, MONGO_HEADS_CACHED);
    if (error != ERR_OK) {
        mem_free(self);
        return error;
    }
    (void)pthread_mutex_init(&self->epoch_lock, NULL); /* cannot fail on Linux */
    *out = self;
    return ERR_OK;
}

enum err store_mongo_open(const char *uri, const struct store_config *config, struct store **out,
                          struct buf *problem) {
    struct mongo_store *self = NULL;
    if (sodium_init() < 0) {
        return ERR_INTERNAL;
    }
    enum err error = create(config, &self);
    if (error != ERR_OK) {
        return error;
    }
    struct mongo_db_config db = {.uri = uri,
                                 .clients_max = config->readers + MONGO_CLIENTS_BESIDE,
                                 .prepare = mongo_schema_prepare,
                                 .user = self};
    error = mongo_db_open(&db, &self->db, problem);
    if (error == ERR_OK) {
        error = wait_for_server(self, uri, problem);
    }
    if (error != ERR_OK) {
        if (buf_len(problem) == 0) {
            err_ignore(buf_append_format(problem, "store: the database cannot be opened: %s",
                                         err_text(error))); /* a cut line is better than none */
        }
        close_store(&self->store);
        return error;
    }
    *out = &self->store;
    return ERR_OK;
}
