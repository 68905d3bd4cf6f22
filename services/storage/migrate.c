/* migrate: moving an embedded store into MongoDB.
 *
 *   source  opened as a service would: its lock file keeps everybody else out
 *   target  empty, or with the marker of this very source (mongo_marker.h)
 *   marker -> epoch -> small tables whole -> messages from where the marker is -> verify -> done
 *
 * It may be killed at any moment and started again. The small tables are then written anew, because
 * the source may have been in use in between: what was revoked or removed there must not survive
 * here. Messages never change, so they go on where the marker is, and those behind it are compared.
 * The source is only read, and stays as it was.
 *
 * The history epoch moves with the data: clients go on as if nothing had happened. */
#include "services/storage/migrate.h"

#include "common/log.h"
#include "services/storage/mongo_accounts.h"
#include "services/storage/mongo_schema.h"
#include "services/storage/mongo_uri.h"
#include "services/storage/settings.h"
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define SCHEME "sqlite:"
#define PAGE_MESSAGES 1024u
#define PAGE_BYTES (8u * 1024u * 1024u)
#define PAGE_BLOCK_BYTES (1024u * 1024u)
#define PAGE_ARENA_CAP_BYTES (64u * 1024u * 1024u)
#define OPEN_WAIT_MS 30000u

struct migration {
    const struct storage_settings *settings;
    struct buf *problem;
    struct store *store; /* the source */
    struct sqlite_db *source;
    struct mongo_db *db;
    struct mongo_import *import;
    struct migrate_progress progress;
    uint64_t row; /* of the last message that a former run moved */
    uint64_t damaged;
};

/* ERR_CONFLICT with this line. */
static enum err refuse(struct migration *migration, const char *line) {
    err_ignore(buf_append_text(migration->problem, line)); /* a cut line is better than none */
    return ERR_CONFLICT;
}

/* --- opening */

/* store_sqlite_open would make an empty store where there is none. */
static enum err open_source(struct migration *migration, const char *url) {
    char path[PATH_MAX];
    if (strncmp(url, SCHEME, strlen(SCHEME)) != 0) {
        return refuse(migration, "--migrate-from: write sqlite:DIRECTORY");
    }
    const char *dir = url + strlen(SCHEME);
    int bytes = snprintf(path, sizeof(path), "%s/pipit.db", dir);
    if (bytes < 0 || (size_t)bytes >= sizeof(path) || access(path, R_OK | W_OK) != 0) {
        err_ignore(buf_append_format(migration->problem, /* a cut line is better than none */
                                     "--migrate-from: there is no store in %s", dir));
        return ERR_NOT_FOUND;
    }
    struct store_config config = {
        .url = url, .readers = 1, .members_max = (uint32_t)migration->settings->group_members_max};
    return store_open(&config, &migration->store, migration->problem);
}

static enum err prepare_target(struct mongo_session *session, void *user, struct buf *problem) {
    uint32_t found = 0;
    (void)user;
    enum err error =
        mongo_schema_migrate(session, mongo_schema_steps, mongo_schema_step_count, &found);
    if (error == ERR_UNSUPPORTED) {
        err_ignore(buf_append_text(problem, /* a cut line is better than none */
                                   "its schema is newer than this program"));
    }
    return error != ERR_OK ? error : mongo_schema_index(session);
}

static enum err open_target(struct migration *migration) {
    const char *uri = migration->settings->store;
    if (!mongo_uri_is(uri)) {
        return refuse(migration,
                      "[storage] store: the target of --migrate-from is mongodb://... or "
                      "mongodb+srv://...");
    }
    struct mongo_db_config config = {.uri = uri, .clients_max = 2, .prepare = prepare_target};
    enum err error = mongo_db_open(&config, &migration->db, migration->problem);
    if (error != ERR_OK) {
        return error;
    }
    struct buf reason;
    buf_init(&reason, 1024);
    if (!mongo_db_wait(migration->db, OPEN_WAIT_MS, &reason)) {
        error = ERR_UNAVAILABLE;
        err_ignore(buf_append_text(migration->problem, "the database cannot be used: "));
        err_ignore(buf_append(migration->problem, buf_data(&reason), buf_len(&reason)));
    }
    buf_finish(&reason);
    return error != ERR_OK ? error : mongo_import_create(migration->db, &migration->import);
}

/* --- may it begin, and where? */

struct look {
    struct mongo_marker marker;
    bool other; /* data without a marker */
};

static enum err look(struct mongo_session *session, void *user) {
    struct look *look = user;
    look->other = false;
    enum err error = mongo_marker_read(session, &look->marker);
    for (unsigned i = 0; i < MONGO_COLLECTION_COUNT && error == ERR_OK && !look->marker.found;
         i++) {
        bool any = false;
        if (i != MONGO_META) {
            error = mongo_has_any(session, (enum mongo_collection)i, &any);
            look->other = look->other || any;
        }
    }
    return error;
}

static enum err begin(struct mongo_session *session, void *user) {
    return mongo_marker_begin(session, user);
}

/* *done: a former run came to the end. */
static enum err take_target(struct migration *migration, bool *done) {
    struct sqlite_store *source = (struct sqlite_store *)migration->store;
    struct look found;
    enum err error = mongo_import_patiently(migration->import, look, &found);
    if (error != ERR_OK) {
        return error;
    }
    if (found.other) {
        return refuse(migration,
                      "the database is in use: it holds data that no migration brought; name an "
                      "empty one in [storage] store");
    }
    if (found.marker.found && strcmp(found.marker.source, source->epoch) != 0) {
        return refuse(migration,
                      "the database holds a migration of another store; name an empty one in "
                      "[storage] store");
    }
    *done = found.marker.done;
    mongo_import_resume(migration->import, found.marker.row);
    migration->row = found.marker.row;
    if (found.marker.found) {
        log_event(LOG_INFO, *done ? "migrated before" : "going on with a migration",
                  F_UINT("messages", found.marker.row));
        return *done ? ERR_OK : mongo_import_clear(migration->import);
    }
    error = mongo_import_patiently(migration->import, begin, source->epoch);
    return error == ERR_EXISTS ? take_target(migration, done) : error; /* the answer was lost */
}

/* --- moving */

static enum err move_tables(struct migration *migration) {
    struct export_sink sink = mongo_import_sink(migration->import, &migration->progress);
    enum err error = ERR_OK;
    for (unsigned i = 0; i < EXPORT_TABLE_COUNT && error == ERR_OK; i++) {
        enum export_table table = (enum export_table)i;
        uint64_t total = 0;
        error = sqlite_export_count(migration->source, table, &total);
        migrate_progress_begin(&migration->progress, sqlite_export_name(table), 0, total);
        if (error == ERR_OK) {
            error = sqlite_export_rows(migration->source, table, &sink);
        }
        if (error == ERR_OK) {
            error = mongo_import_flush(migration->import);
        }
        if (error == ERR_OK && total > 0) {
            migrate_progress_end(&migration->progress);
        }
    }
    return error;
}

static enum err move_messages(struct migration *migration) {
    static struct export_message page[PAGE_MESSAGES];
    struct arena arena;
    uint64_t row = migration->row;
    uint64_t total = 0;
    size_t count = 0;
    enum err error =
        sql_number(migration->source, "SELECT max(rowid) FROM messages", SQL_NONE, &total);
    migrate_progress_begin(&migration->progress, "messages", row, total);
    arena_init(&arena, PAGE_BLOCK_BYTES, PAGE_ARENA_CAP_BYTES);
    do {
        count = 0;
        if (error == ERR_OK) {
            error = sqlite_export_messages(migration->source, row, PAGE_MESSAGES, PAGE_BYTES,
                                           &arena, page, &count);
        }
        if (error == ERR_OK) {
            error = mongo_import_messages(migration->import, page, count);
        }
        for (size_t i = 0; i < count; i++) {
            migration->damaged += page[i].damaged;
            row = page[i].row;
        }
        arena_reset(&arena);
    } while (error == ERR_OK && count > 0);
    arena_finish(&arena);
    if (error == ERR_OK) {
        error = mongo_import_mark(migration->import);
    }
    if (error == ERR_OK) {
        migrate_progress_end(&migration->progress);
    }
    return error;
}

static enum err end(struct mongo_session *session, void *user) {
    (void)user;
    return mongo_marker_finish(session);
}

static enum err verify_and_end(struct migration *migration) {
    struct migrate_check check = {0};
    enum err error =
        migrate_verify(migration->source, migration->import, &check, migration->problem);
    if (error == ERR_OK) {
        error = mongo_import_patiently(migration->import, end, NULL);
    }
    if (error == ERR_OK) {
        log_event(LOG_INFO, "migration complete and verified", F_UINT("users", check.users),
                  F_UINT("conversations", check.conversations), F_UINT("messages", check.messages),
                  F_UINT("compared", check.compared), F_UINT("damaged", migration->damaged));
    }
    return error;
}

/* A finished migration is left alone; services may have been using the target since. */
static enum err check_finished(struct migration *migration) {
    uint64_t rows = 0;
    enum err error =
        sql_number(migration->source, "SELECT max(rowid) FROM messages", SQL_NONE, &rows);
    if (error == ERR_OK && rows != migration->row) {
        err_ignore(buf_append_format(migration->problem, /* a cut line is better than none */
                                     "the migration was complete at %" PRIu64
                                     " messages, and the source has %" PRIu64
                                     " now; drop the database to migrate again",
                                     migration->row, rows));
        return ERR_CONFLICT;
    }
    if (error == ERR_OK) {
        log_event(LOG_INFO, "migration was complete before; nothing to do",
                  F_UINT("messages", rows));
    }
    return error;
}

static enum err move(struct migration *migration) {
    struct sqlite_store *source = (struct sqlite_store *)migration->store;
    bool done = false;
    enum err error = take_target(migration, &done);
    if (error != ERR_OK || done) {
        return error != ERR_OK ? error : check_finished(migration);
    }
    error = mongo_import_epoch(migration->import, source->epoch);
    if (error == ERR_OK) {
        error = move_tables(migration);
    }
    if (error == ERR_OK) {
        error = move_messages(migration);
    }
    return error != ERR_OK ? error : verify_and_end(migration);
}

static enum err run(void *settings, const char *value, struct buf *problem) {
    struct migration migration = {.settings = settings, .problem = problem};
    enum err error = open_source(&migration, value);
    if (error == ERR_OK) {
        error = open_target(&migration);
    }
    if (error == ERR_OK) {
        struct sqlite_store *source = (struct sqlite_store *)migration.store;
        error = sqlite_read_begin(source, &migration.source);
        if (error == ERR_OK) {
            error = sqlite_read_end(source, migration.source, move(&migration));
        }
    }
    if (error != ERR_OK && migration.import != NULL && buf_len(problem) == 0) {
        err_ignore(buf_append_text(problem, mongo_import_problem(migration.import)));
    }
    mongo_import_destroy(&migration.import);
    if (migration.db != NULL) {
        mongo_db_close(&migration.db);
    }
    store_close(&migration.store);
    return error;
}

const struct service_command migrate_command = {
    .option = "--migrate-from",
    .help =
        "  --migrate-from sqlite:DIR\n"
        "                       move that store into the MongoDB of [storage] store, and exit;\n"
        "                       may be killed and run again\n",
    .run = run,
};
