/* test_conf: precedence, every kind of mistake with the sentence it earns, secrets, and a failing
 * heap. */
#include "common/conf.h"
#include "common/mem.h"
#include "tests/unit/common/support_process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct settings {
    const char *data_dir;
    uint64_t workers;
    bool sync;
    uint64_t drain_us;
    uint64_t cache_bytes;
    const char *secret;
    const char *bus_listen;
};

static const struct conf_row rows[] = {
    {"storage", "data_dir", CONF_TEXT, offsetof(struct settings, data_dir), "/var/lib/pipit", NULL,
     NULL, "Where."},
    {"storage", "workers", CONF_UINT, offsetof(struct settings, workers), "4", "1", "64",
     "Threads."},
    {"storage", "sync", CONF_BOOL, offsetof(struct settings, sync), "true", NULL, NULL, "Sync."},
    {"storage", "drain", CONF_DURATION, offsetof(struct settings, drain_us), "10s", "0", "10m",
     "Drain."},
    {"storage", "cache", CONF_BYTES, offsetof(struct settings, cache_bytes), "16KiB", "4KiB", NULL,
     "Cache."},
    {"storage", "secret_file", CONF_SECRET, offsetof(struct settings, secret), "", NULL, NULL,
     "Secret."},
    {"bus", "listen", CONF_TEXT, offsetof(struct settings, bus_listen), "tcp://127.0.0.1:7400",
     NULL, NULL, "Bus."},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))
/* As service_main passes it: our own sections are in the list, too, and must not be skipped. */
static const char *const foreign[] = {"auth", "routing", "storage", "bus", NULL};

static char problem_text[4096];

static enum err load(const char *file, struct settings *settings, struct conf **conf) {
    struct buf problem;
    buf_init(&problem, sizeof(problem_text) - 1);
    memset(settings, 0, sizeof(*settings));
    enum err error = conf_load(rows, ROWS, foreign, file, settings, conf, &problem);
    memset(problem_text, 0, sizeof(problem_text));
    if (buf_len(&problem) > 0) {
        memcpy(problem_text, buf_data(&problem), buf_len(&problem));
    }
    buf_finish(&problem);
    return error;
}

/* The problem's text must end like this; what stands before is the file's name. */
static void check_refused(const char *content, const char *expected) {
    struct settings settings;
    struct conf *conf = NULL;
    assert_int_equal(load(content != NULL ? support_file(content) : NULL, &settings, &conf),
                     ERR_INVALID);
    assert_null(conf);
    size_t length = strlen(problem_text);
    if (length < strlen(expected)) {
        assert_string_equal(problem_text, expected);
    }
    assert_string_equal(problem_text + length - strlen(expected), expected);
}

static int clean_environment(void **state) {
    (void)state;
    static const char *const names[] = {"PIPIT_STORAGE_DATA_DIR",
                                        "PIPIT_STORAGE_WORKERS",
                                        "PIPIT_STORAGE_WORKER",
                                        "PIPIT_AUTH_ANYTHING",
                                        "PIPIT_AUTHX",
                                        "PIPIT_STORAGE_SERVICE_HOST",
                                        "PIPIT_",
                                        "PIPIT_STORAGE_SECRET_FILE"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(unsetenv(names[i]), 0);
    }
    return 0;
}

static void defaults_are_enough(void **state) {
    (void)state;
    struct settings settings;
    struct conf *conf = NULL;
    assert_int_equal(load(NULL, &settings, &conf), ERR_OK);
    assert_string_equal(settings.data_dir, "/var/lib/pipit");
    assert_int_equal(settings.workers, 4);
    assert_true(settings.sync);
    assert_int_equal(settings.drain_us, 10000000);
    assert_int_equal(settings.cache_bytes, 16384);
    assert_string_equal(settings.secret, "");
    conf_destroy(&conf);
    assert_null(conf);
    conf_destroy(&conf);
}

static void the_environment_beats_the_file(void **state) {
    (void)state;
    struct settings settings;
    struct conf *conf = NULL;
    const char *file = support_file("\xef\xbb\xbf# Pipit\r\n"
                                    "[storage]\r\n"
                                    "data_dir = /srv/pipit  # here\r\n"
                                    "workers=8\n"
                                    "\n[auth]\nwhatever = 1\n[routing]\n[storage]\nsync = off");
    assert_int_equal(setenv("PIPIT_STORAGE_WORKERS", "16", 1), 0);
    assert_int_equal(setenv("PIPIT_AUTH_ANYTHING", "x", 1), 0);
    assert_int_equal(load(file, &settings, &conf), ERR_OK);
    assert_string_equal(settings.data_dir, "/srv/pipit");
    assert_int_equal(settings.workers, 16);
    assert_false(settings.sync);

    struct buf out;
    char expected[1024];
    buf_init(&out, 4096);
    assert_int_equal(conf_print(conf, &out), ERR_OK);
    assert_int_equal(buf_append(&out, "", 1), ERR_OK);
    (void)snprintf(expected, sizeof(expected),
                   "[storage]\ndata_dir = /srv/pipit  # %s:3\nworkers = 16  # environment\n"
                   "sync = off  # %s:10\ndrain = 10s  # default\ncache = 16KiB  # default\n"
                   "secret_file =   # default\n\n[bus]\nlisten = tcp://127.0.0.1:7400  # default\n",
                   file, file);
    assert_string_equal((const char *)buf_data(&out), expected);
    conf_destroy(&conf);

    /* What is printed can be read again and means the same. */
    assert_int_equal(unsetenv("PIPIT_STORAGE_WORKERS"), 0);
    assert_int_equal(load(support_file((const char *)buf_data(&out)), &settings, &conf), ERR_OK);
    assert_string_equal(settings.data_dir, "/srv/pipit");
    assert_int_equal(settings.workers, 16);
    buf_finish(&out);
    conf_destroy(&conf);
}

static void an_overridden_mistake_does_no_harm(void **state) {
    (void)state;
    struct settings settings;
    struct conf *conf = NULL;
    assert_int_equal(setenv("PIPIT_STORAGE_WORKERS", "2", 1), 0);
    assert_int_equal(load(support_file("[storage]\nworkers = many\n"), &settings, &conf), ERR_OK);
    assert_int_equal(settings.workers, 2);
    conf_destroy(&conf);
}

static void mistakes_are_named(void **state) {
    (void)state;
    check_refused("[storage]\n\ndta_dir = x\n",
                  ":3: unknown key [storage] dta_dir; did you mean data_dir?");
    check_refused("[storage]\nlisten = x\n",
                  ":2: unknown key [storage] listen; did you mean [bus] listen?");
    check_refused("[storage]\nzzzzzz = x\n", ":2: unknown key [storage] zzzzzz");
    check_refused("[strage]\n", ":1: unknown section [strage]; did you mean [storage]?");
    check_refused("[atuh]\n", ":1: unknown section [atuh]; did you mean [auth]?");
    check_refused("[nothing_like_it]\n", ":1: unknown section [nothing_like_it]");
    check_refused("workers = 1\n", ":1: workers stands before the first [section]");
    check_refused("[storage]\nworkers\n", ":2: neither [section] nor key = value");
    check_refused("[storage]\nworkers = 1\nworkers = 2\n",
                  ":3: [storage] workers is already set in line 2");
    check_refused("[storage]\nworkers = many\n",
                  ":2: [storage] workers: \"many\" is not a whole number");
    check_refused("[storage]\nworkers = 0\n", ":2: [storage] workers: 0 is out of range (1 to 64)");
    check_refused("[storage]\nworkers = 65\n",
                  ":2: [storage] workers: 65 is out of range (1 to 64)");
    check_refused("[storage]\ncache = 1KiB\n", "cache: 1KiB is out of range (4KiB to no limit)");
    check_refused(
        "[storage]\ndrain = 15\n",
        ":2: [storage] drain: \"15\" is not a duration (500us, 20ms, 15s, 10m, 24h, 60d)");
    check_refused("[storage]\nsync = maybe\n",
                  "\"maybe\" is not a switch (true, false, yes, no, on, off, 1, 0)");
    check_refused("[storage]\nsecret_file = /nonexistent/s\n",
                  ":2: [storage] secret_file: cannot read /nonexistent/s: not found");
}

static void the_environment_is_checked_too(void **state) {
    (void)state;
    assert_int_equal(setenv("PIPIT_STORAGE_WORKERS", "none", 1), 0);
    check_refused(NULL, "PIPIT_STORAGE_WORKERS: \"none\" is not a whole number");
    (void)clean_environment(state);
    assert_int_equal(setenv("PIPIT_STORAGE_WORKER", "1", 1), 0);
    check_refused(NULL, "environment: unknown setting PIPIT_STORAGE_WORKER; did you mean "
                        "PIPIT_STORAGE_WORKERS?");
    (void)clean_environment(state);
    assert_int_equal(setenv("PIPIT_STORAGE_SERVICE_HOST", "10.0.0.1", 1), 0);
    check_refused(NULL, "if Kubernetes added it, set enableServiceLinks: false");
    (void)clean_environment(state);
    assert_int_equal(setenv("PIPIT_AUTHX", "1", 1), 0); /* not of the section auth */
    check_refused(NULL, "environment: unknown setting PIPIT_AUTHX");
    (void)clean_environment(state);
    assert_int_equal(setenv("PIPIT_", "1", 1), 0);
    check_refused(NULL, "environment: unknown setting PIPIT_");
}

static void files_that_cannot_be_read_are_named(void **state) {
    (void)state;
    struct settings settings;
    struct conf *conf = NULL;
    assert_int_equal(load("/nonexistent/pipit.ini", &settings, &conf), ERR_INVALID);
    assert_string_equal(problem_text,
                        "/nonexistent/pipit.ini: cannot read the configuration: not found");
}

static void required_settings_are_asked_for(void **state) {
    (void)state;
    static const struct conf_row required[] = {
        {"storage", "data_dir", CONF_TEXT, 0, NULL, NULL, NULL, "Where."}};
    struct settings settings;
    struct conf *conf = NULL;
    struct buf problem;
    buf_init(&problem, 1000);
    assert_int_equal(conf_load(required, 1, NULL, NULL, &settings, &conf, &problem), ERR_INVALID);
    assert_int_equal(buf_append(&problem, "", 1), ERR_OK);
    assert_string_equal((const char *)buf_data(&problem),
                        "[storage] data_dir is required: set it in the configuration file or as "
                        "PIPIT_STORAGE_DATA_DIR");
    buf_finish(&problem);
}

static void secrets_are_read_and_not_printed(void **state) {
    (void)state;
    struct settings settings;
    struct conf *conf = NULL;
    struct buf out;
    const char *file = support_file("swordfish\r\nsecond line\n");
    assert_int_equal(setenv("PIPIT_STORAGE_SECRET_FILE", file, 1), 0);
    assert_int_equal(load(NULL, &settings, &conf), ERR_OK);
    assert_string_equal(settings.secret, "swordfish");
    buf_init(&out, 4096);
    assert_int_equal(conf_print(conf, &out), ERR_OK);
    assert_null(memmem(buf_data(&out), buf_len(&out), "swordfish", 9));
    assert_non_null(memmem(buf_data(&out), buf_len(&out), file, strlen(file)));
    buf_finish(&out);
    conf_destroy(&conf);
}

static void the_table_describes_itself(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(conf_describe(rows, ROWS, &out), ERR_OK);
    assert_int_equal(buf_append(&out, "", 1), ERR_OK);
    const char *text = (const char *)buf_data(&out);
    assert_non_null(strstr(text, "| `[storage] workers` | `PIPIT_STORAGE_WORKERS` | number | `4` | "
                                 "1 to 64 | Threads. |\n"));
    assert_non_null(strstr(text, "| `[storage] cache` | `PIPIT_STORAGE_CACHE` | size | `16KiB` | "
                                 "4KiB to any | Cache. |\n"));
    assert_non_null(strstr(text, "| secret file | empty |  | Secret. |\n"));
    buf_finish(&out);
}

static void a_failing_heap_is_no_memory(void **state) {
    (void)state;
    struct settings settings;
    struct conf *conf = NULL;
    const char *file = support_file("[storage]\nworkers = 8\n");
    uint64_t nth = 1;
    for (;; nth++) {
        (void)mem_fault_set(nth, 1);
        enum err error = load(file, &settings, &conf);
        if (error == ERR_OK) {
            break;
        }
        assert_int_equal(error, ERR_NO_MEMORY);
        assert_null(conf);
    }
    (void)mem_fault_set(0, 0);
    assert_true(nth > ROWS);
    conf_destroy(&conf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(defaults_are_enough, clean_environment),
        cmocka_unit_test_teardown(the_environment_beats_the_file, clean_environment),
        cmocka_unit_test_teardown(an_overridden_mistake_does_no_harm, clean_environment),
        cmocka_unit_test_teardown(mistakes_are_named, clean_environment),
        cmocka_unit_test_teardown(the_environment_is_checked_too, clean_environment),
        cmocka_unit_test_teardown(files_that_cannot_be_read_are_named, clean_environment),
        cmocka_unit_test_teardown(required_settings_are_asked_for, clean_environment),
        cmocka_unit_test_teardown(secrets_are_read_and_not_printed, clean_environment),
        cmocka_unit_test_teardown(the_table_describes_itself, clean_environment),
        cmocka_unit_test_teardown(a_failing_heap_is_no_memory, clean_environment)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
