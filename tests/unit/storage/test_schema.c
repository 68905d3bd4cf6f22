/* test_schema: migration forward step by step, continued after a failure, and never backward. */
#include "tests/unit/storage/support.h"

#include "services/storage/schema.h"
#include <stdio.h>

struct fixture {
    char dir[64];
    char path[96];
    struct sqlite_db db;
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    support_make_dir(f->dir);
    (void)snprintf(f->path, sizeof(f->path), "%s/pipit.db", f->dir);
    assert_int_equal(sqlite_db_open(&f->db, f->path, 65536), ERR_OK);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    sqlite_db_close(&f->db);
    support_remove(f->dir);
    free(f);
    return 0;
}

static uint64_t number(struct fixture *f, const char *sql) {
    uint64_t value = 0;
    assert_int_equal(sql_number(&f->db, sql, SQL_NONE, &value), ERR_OK);
    return value;
}

static void a_new_store_gets_all_steps(void **state) {
    struct fixture *f = *state;
    uint32_t found = 99;
    assert_int_equal(schema_migrate(&f->db, schema_steps, schema_step_count, &found), ERR_OK);
    assert_int_equal(found, 0);
    assert_int_equal(number(f, "PRAGMA user_version"), schema_step_count);
    assert_int_equal(number(f, "SELECT count(*) FROM messages"), 0);
    assert_int_equal(schema_migrate(&f->db, schema_steps, schema_step_count, &found), ERR_OK);
    assert_int_equal(found, schema_step_count); /* nothing left to do */
}

/* The product's steps and two of a later version. */
#define LATER_STEPS 2u
static const char **later_steps(uint32_t *count) {
    static const char *steps[64];
    assert_true(schema_step_count + LATER_STEPS <= 64);
    for (uint32_t i = 0; i < schema_step_count; i++) {
        steps[i] = schema_steps[i];
    }
    steps[schema_step_count] = "ALTER TABLE users ADD COLUMN language TEXT NOT NULL DEFAULT 'en'";
    steps[schema_step_count + 1] = "CREATE TABLE files(id TEXT PRIMARY KEY) STRICT;"
                                   "UPDATE users SET language='de'";
    *count = schema_step_count + LATER_STEPS;
    return steps;
}

static void every_older_version_moves_forward(void **state) {
    struct fixture *f = *state;
    uint32_t count = 0;
    const char **steps = later_steps(&count);
    for (uint32_t version = 1; version < count; version++) {
        sqlite_db_close(&f->db);
        char path[128];
        (void)snprintf(path, sizeof(path), "%s/from%u.db", f->dir, version);
        assert_int_equal(sqlite_db_open(&f->db, path, 65536), ERR_OK);
        uint32_t found = 0;
        assert_int_equal(schema_migrate(&f->db, steps, version, &found), ERR_OK);
        assert_int_equal(sql_run(&f->db,
                                 "INSERT INTO users(id, name, display_name, password_hash, admin,"
                                 " disabled, created_ms, changed_ms)"
                                 " VALUES('u_ann', 'ann', '', '', 0, 0, 1, 1)",
                                 SQL_NONE),
                         ERR_OK);
        assert_int_equal(schema_migrate(&f->db, steps, count, &found), ERR_OK);
        assert_int_equal(found, version);
        assert_int_equal(number(f, "PRAGMA user_version"), count);
        assert_int_equal(number(f, "SELECT count(*) FROM users"), 1); /* the data stayed */
    }
}

static void a_failed_step_is_undone_and_continued(void **state) {
    struct fixture *f = *state;
    uint32_t count = 0;
    const char **steps = later_steps(&count);
    const char *good = steps[count - 1];
    steps[count - 1] = "CREATE TABLE files(id TEXT PRIMARY KEY) STRICT; SELECT no_such_function()";
    uint32_t found = 0;
    assert_int_not_equal(schema_migrate(&f->db, steps, count, &found), ERR_OK);
    assert_int_equal(number(f, "PRAGMA user_version"), count - 1);
    assert_int_equal(number(f, "SELECT count(*) FROM sqlite_schema WHERE name='files'"), 0);
    steps[count - 1] = good;
    assert_int_equal(schema_migrate(&f->db, steps, count, &found), ERR_OK);
    assert_int_equal(found, count - 1);
    assert_int_equal(number(f, "SELECT count(*) FROM sqlite_schema WHERE name='files'"), 1);
}

static void a_newer_store_is_refused_and_untouched(void **state) {
    struct fixture *f = *state;
    uint32_t count = 0;
    const char **steps = later_steps(&count);
    uint32_t found = 0;
    assert_int_equal(schema_migrate(&f->db, steps, count, &found), ERR_OK);
    assert_int_equal(schema_migrate(&f->db, schema_steps, schema_step_count, &found),
                     ERR_UNSUPPORTED);
    assert_int_equal(found, count);
    assert_int_equal(number(f, "PRAGMA user_version"), count);
    sqlite_db_close(&f->db);
    struct store *store = NULL;
    struct buf problem;
    buf_init(&problem, 1024);
    assert_int_equal(support_open(f->dir, &store, &problem), ERR_UNSUPPORTED);
    assert_null(store);
    assert_int_equal(buf_append(&problem, "", 1), ERR_OK); /* NUL */
    char expected[64];
    (void)snprintf(expected, sizeof(expected), "schema version %u, this program knows up to %u",
                   count, schema_step_count);
    assert_non_null(strstr((const char *)buf_data(&problem), expected));
    buf_finish(&problem);
    assert_int_equal(sqlite_db_open(&f->db, f->path, 65536), ERR_OK);
    assert_int_equal(number(f, "PRAGMA user_version"), count);
}

static void not_a_database_is_refused(void **state) {
    struct fixture *f = *state;
    sqlite_db_close(&f->db);
    support_remove(f->dir);
    support_make_dir(f->dir);
    (void)snprintf(f->path, sizeof(f->path), "%s/pipit.db", f->dir);
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    for (unsigned i = 0; i < 1000; i++) {
        (void)fputs("this is no database ", file);
    }
    assert_int_equal(fclose(file), 0);
    struct store *store = NULL;
    assert_int_equal(support_open(f->dir, &store, NULL), ERR_CORRUPT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_new_store_gets_all_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(every_older_version_moves_forward, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_step_is_undone_and_continued, setup, teardown),
        cmocka_unit_test_setup_teardown(a_newer_store_is_refused_and_untouched, setup, teardown),
        cmocka_unit_test_setup_teardown(not_a_database_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
