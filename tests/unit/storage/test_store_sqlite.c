/* test_store_sqlite: what only this back end promises: one process per directory, private files,
 * the epoch, and damage that is noticed. */
#include "tests/unit/storage/support.h"

#include "services/storage/store_sqlite.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char dir[64];
    struct arena arena;
    struct store *store;
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    support_make_dir(f->dir);
    arena_init(&f->arena, 65536, 64u * 1024u * 1024u);
    assert_int_equal(support_open(f->dir, &f->store, NULL), ERR_OK);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    store_close(&f->store);
    support_remove(f->dir);
    arena_finish(&f->arena);
    free(f);
    return 0;
}

static void one_process_per_directory(void **state) {
    struct fixture *f = *state;
    struct store *second = NULL;
    struct buf problem;
    buf_init(&problem, 1024);
    assert_int_equal(support_open(f->dir, &second, &problem), ERR_EXISTS);
    assert_null(second);
    assert_int_equal(buf_append(&problem, "", 1), ERR_OK); /* NUL */
    char expected[96];
    (void)snprintf(expected, sizeof(expected), "%s is in use by process %d", f->dir, (int)getpid());
    assert_non_null(strstr((const char *)buf_data(&problem), expected));
    buf_finish(&problem);
    store_close(&f->store);
    assert_int_equal(support_open(f->dir, &f->store, NULL), ERR_OK);
}

static void unknown_urls_are_refused(void **state) {
    (void)state;
    static const char *const urls[] = {"", "sqlite:", "mysql:x", "/var/lib"};
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct store_config config = {.url = urls[i], .readers = 1, .members_max = 10};
        struct store *store = NULL;
        struct buf problem;
        buf_init(&problem, 1024);
        assert_int_equal(store_open(&config, &store, &problem), ERR_UNSUPPORTED);
        assert_true(buf_len(&problem) > 0);
        buf_finish(&problem);
    }
}

static void an_unusable_directory_is_explained(void **state) {
    (void)state;
    struct store_config config = {
        .url = "sqlite:/proc/nothing/here", .readers = 1, .members_max = 10};
    struct store *store = NULL;
    struct buf problem;
    buf_init(&problem, 1024);
    assert_int_not_equal(store_open(&config, &store, &problem), ERR_OK);
    assert_int_equal(buf_append(&problem, "", 1), ERR_OK); /* NUL */
    assert_non_null(strstr((const char *)buf_data(&problem), "/proc/nothing"));
    buf_finish(&problem);
}

static void files_are_private(void **state) {
    struct fixture *f = *state;
    assert_int_equal(support_user(f->store, &f->arena, "ann"), ERR_OK);
    static const char *const names[] = {"pipit.db", "pipit.db-wal", "pipit.db-shm", "lock"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];
        struct stat status;
        (void)snprintf(path, sizeof(path), "%s/%s", f->dir, names[i]);
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 0777, 0600);
    }
    store_close(&f->store);
    char nested[128];
    struct stat status;
    (void)snprintf(nested, sizeof(nested), "%s/new/deeper", f->dir);
    assert_int_equal(support_open(nested, &f->store, NULL), ERR_OK);
    assert_int_equal(stat(nested, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
}

static const char *epoch_of(struct fixture *f) {
    Pipit__StatsRequest request = PIPIT__STATS_REQUEST__INIT;
    Pipit__StatsReply reply = PIPIT__STATS_REPLY__INIT;
    assert_int_equal(f->store->ops->stats(f->store, &request, &f->arena, &reply), ERR_OK);
    char *copy = arena_copy(&f->arena, reply.epoch, strlen(reply.epoch));
    assert_non_null(copy);
    return copy;
}

static void a_restored_store_has_a_new_epoch(void **state) {
    struct fixture *f = *state;
    const char *first = epoch_of(f);
    store_close(&f->store);
    assert_int_equal(support_open(f->dir, &f->store, NULL), ERR_OK);
    assert_string_equal(epoch_of(f), first);
    store_close(&f->store);
    char marker[128];
    (void)snprintf(marker, sizeof(marker), "%s/restored", f->dir);
    int fd = open(marker, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(support_open(f->dir, &f->store, NULL), ERR_OK);
    const char *second = epoch_of(f);
    assert_string_not_equal(first, second);
    assert_int_not_equal(access(marker, F_OK), 0);
    store_close(&f->store);
    assert_int_equal(support_open(f->dir, &f->store, NULL), ERR_OK);
    assert_string_equal(epoch_of(f), second);
}

static void conversation_of(struct fixture *f, size_t count, size_t body_bytes) {
    assert_int_equal(support_user(f->store, &f->arena, "ann"), ERR_OK);
    assert_int_equal(support_group(f->store, &f->arena, "c_a", "u_ann"), ERR_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(support_append(f->store, &f->arena, "c_a", i + 1, body_bytes), ERR_OK);
    }
}

/* The log is emptied by the writer itself once it has outgrown the background thread. */
static void an_overgrown_log_is_emptied(void **state) {
    struct fixture *f = *state;
    struct sqlite_store *self = (struct sqlite_store *)f->store;
    conversation_of(f, 30, 5000);
    assert_true(atomic_load(&self->checkpoint.frames) > 50);
    f->store->ops->maintain(f->store); /* below the bound: nothing to do */
    assert_true(atomic_load(&self->checkpoint.frames) > 50);
    self->checkpoint.frames_max = 50;
    f->store->ops->maintain(f->store);
    assert_int_equal(atomic_load(&self->checkpoint.frames), 0);
    assert_int_equal(support_append(f->store, &f->arena, "c_a", 31, 10), ERR_OK);
    assert_true(atomic_load(&self->checkpoint.frames) < 50); /* it began from the start */
    assert_int_equal(support_count_dense(f->store, "c_a"), 31);
}

static void damage(struct fixture *f, const char *sql) {
    store_close(&f->store);
    char path[128];
    struct sqlite_db db;
    (void)snprintf(path, sizeof(path), "%s/pipit.db", f->dir);
    assert_int_equal(sqlite_db_open(&db, path, 65536), ERR_OK);
    assert_int_equal(sqlite3_exec(db.handle, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite_db_close(&db);
    assert_int_equal(support_open(f->dir, &f->store, NULL), ERR_OK);
}

static Pipit__HistoryReply page(struct fixture *f, enum err *error) {
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = "c_a";
    Pipit__HistoryReply reply = PIPIT__HISTORY_REPLY__INIT;
    *error = f->store->ops->history(f->store, &request, &f->arena, &reply);
    return reply;
}

static void every_column_is_under_the_checksum(void **state) {
    struct fixture *f = *state;
    static const char *const damages[] = {
        "UPDATE messages SET body=x'7b7d' WHERE seq=2",
        "UPDATE messages SET sender='u_eve' WHERE seq=2",
        "UPDATE messages SET device='d_other' WHERE seq=2",
        "UPDATE messages SET kind=2 WHERE seq=2",
        "UPDATE messages SET target_seq=1 WHERE seq=2",
        "UPDATE messages SET reply_seq=1 WHERE seq=2",
        "UPDATE messages SET ts_ms=ts_ms+1 WHERE seq=2",
        "UPDATE messages SET raw_bytes=7 WHERE seq=2",
        "UPDATE messages SET id=randomblob(16) WHERE seq=2",
        "UPDATE messages SET id=randomblob(15) WHERE seq=2",
        "UPDATE messages SET origin_device='m:x' WHERE seq=2",
        "UPDATE messages SET hash=hash+1 WHERE seq=2",
        "UPDATE messages SET sender=hex(randomblob(100)) WHERE seq=2",
    };
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        conversation_of(f, 3, i % 2 == 0 ? 20 : 2000);
        damage(f, damages[i]);
        enum err error = ERR_OK;
        Pipit__HistoryReply reply = page(f, &error);
        assert_int_equal(error, ERR_OK);
        assert_int_equal(reply.n_messages, 3); /* the log stays dense */
        assert_int_equal(reply.messages[0]->kind, PIPIT__MESSAGE_KIND__MESSAGE_TEXT);
        const Pipit__StoredMessage *recalled = reply.messages[1];
        assert_int_equal(recalled->kind, PIPIT__MESSAGE_KIND__MESSAGE_RECALL);
        assert_int_equal(recalled->seq, 2);
        assert_int_equal(recalled->target_seq, 2);
        assert_string_equal(recalled->sender, "");
        assert_int_equal(recalled->body.len, 2);
        assert_int_equal(recalled->id.len, 16);
        store_close(&f->store);
        support_remove(f->dir);
        support_make_dir(f->dir);
        assert_int_equal(support_open(f->dir, &f->store, NULL), ERR_OK);
    }
}

static void a_hole_is_damage(void **state) {
    struct fixture *f = *state;
    conversation_of(f, 4, 20);
    damage(f, "DELETE FROM messages WHERE seq=2");
    enum err error = ERR_OK;
    (void)page(f, &error);
    assert_int_equal(error, ERR_CORRUPT);
}

/* --- flipped bits in the file: no wrong message, no crash */

#define FLIPS 150u
#define MESSAGES 60u

static uint8_t *read_file(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    assert_true(size > 0);
    rewind(file);
    uint8_t *content = malloc((size_t)size);
    assert_non_null(content);
    assert_int_equal(fread(content, 1, (size_t)size, file), (size_t)size);
    assert_int_equal(fclose(file), 0);
    *bytes = (size_t)size;
    return content;
}

static void write_file(const char *path, const uint8_t *content, size_t bytes) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(content, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

/* Every message served is the original or a recall in its place. */
static size_t check_served(struct fixture *f, const Pipit__HistoryReply *original) {
    enum err error = ERR_OK;
    Pipit__HistoryReply reply = page(f, &error);
    if (error != ERR_OK) {
        return 0; /* refused, not wrong */
    }
    size_t good = 0;
    for (size_t i = 0; i < reply.n_messages; i++) {
        const Pipit__StoredMessage *message = reply.messages[i];
        assert_int_equal(message->seq, i + 1);
        if (message->kind == PIPIT__MESSAGE_KIND__MESSAGE_RECALL) {
            continue;
        }
        const Pipit__StoredMessage *expected = original->messages[i];
        assert_memory_equal(message->id.data, expected->id.data, 16);
        assert_int_equal(message->body.len, expected->body.len);
        assert_memory_equal(message->body.data, expected->body.data, expected->body.len);
        assert_string_equal(message->sender, expected->sender);
        assert_int_equal(message->ts_ms, expected->ts_ms);
        good++;
    }
    return good;
}

static void flipped_bits_make_no_wrong_message(void **state) {
    struct fixture *f = *state;
    conversation_of(f, MESSAGES, 700);
    enum err error = ERR_OK;
    Pipit__HistoryReply original = page(f, &error);
    assert_int_equal(original.n_messages, MESSAGES);
    store_close(&f->store);
    char path[128];
    size_t bytes = 0;
    (void)snprintf(path, sizeof(path), "%s/pipit.db", f->dir);
    uint8_t *content = read_file(path, &bytes);
    srandom(20261121); /* the same flips each time */
    size_t refused = 0;
    size_t partly = 0;
    for (unsigned i = 0; i < FLIPS; i++) {
        size_t at = (size_t)random() % bytes;
        uint8_t bit = (uint8_t)(1u << (random() % 8));
        content[at] ^= bit;
        write_file(path, content, bytes);
        content[at] ^= bit;
        if (support_open(f->dir, &f->store, NULL) != ERR_OK) {
            refused++;
            continue;
        }
        size_t good = check_served(f, &original);
        refused += good == 0;
        partly += good > 0 && good < MESSAGES;
        store_close(&f->store);
    }
    assert_true(partly > 0); /* the checksum had work to do: the flips did hit bodies */
    assert_true(refused < FLIPS / 2);
    write_file(path, content, bytes);
    assert_int_equal(support_open(f->dir, &f->store, NULL), ERR_OK);
    assert_int_equal(check_served(f, &original), MESSAGES);
    free(content);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_process_per_directory, setup, teardown),
        cmocka_unit_test(unknown_urls_are_refused),
        cmocka_unit_test(an_unusable_directory_is_explained),
        cmocka_unit_test_setup_teardown(files_are_private, setup, teardown),
        cmocka_unit_test_setup_teardown(a_restored_store_has_a_new_epoch, setup, teardown),
        cmocka_unit_test_setup_teardown(an_overgrown_log_is_emptied, setup, teardown),
        cmocka_unit_test_setup_teardown(every_column_is_under_the_checksum, setup, teardown),
        cmocka_unit_test_setup_teardown(a_hole_is_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(flipped_bits_make_no_wrong_message, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
