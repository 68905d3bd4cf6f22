/* test_mongo_uri: what the connection string may say and what it may not; no password is told. */
#include "tests/unit/storage/support.h"

#include "services/storage/mongo_uri.h"

static mongoc_uri_t *parse(const char *text) {
    struct buf problem;
    mongoc_uri_t *uri = NULL;
    buf_init(&problem, 1024);
    assert_int_equal(mongo_uri_parse(text, 5, &uri, &problem), ERR_OK);
    assert_int_equal(buf_len(&problem), 0);
    buf_finish(&problem);
    return uri;
}

static int32_t option(const mongoc_uri_t *uri, const char *name) {
    return mongoc_uri_get_option_as_int32(uri, name, -1);
}

static void short_timeouts_unless_named(void **state) {
    (void)state;
    mongoc_uri_t *uri = parse("mongodb://db1,db2:27018/chat?socketTimeoutMS=1234");
    assert_int_equal(option(uri, MONGOC_URI_SOCKETTIMEOUTMS), 1234);
    assert_int_equal(option(uri, MONGOC_URI_CONNECTTIMEOUTMS), 2000);
    assert_int_equal(option(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS), 1000);
    assert_int_equal(option(uri, MONGOC_URI_WAITQUEUETIMEOUTMS), 10000);
    assert_string_equal(mongo_uri_database(uri), "chat");
    mongoc_uri_destroy(uri);
    uri = parse("mongodb://db1");
    assert_int_equal(option(uri, MONGOC_URI_SOCKETTIMEOUTMS), 5000);
    assert_string_equal(mongo_uri_database(uri), "pipit");
    mongoc_uri_destroy(uri);
}

static void ours_are_forced(void **state) {
    (void)state;
    mongoc_uri_t *uri = parse("mongodb://u:p@db1/chat?retryWrites=true&retryReads=true"
                              "&maxPoolSize=500&readPreference=secondary&readConcernLevel=local");
    assert_false(mongoc_uri_get_option_as_bool(uri, MONGOC_URI_RETRYWRITES, true));
    assert_false(mongoc_uri_get_option_as_bool(uri, MONGOC_URI_RETRYREADS, true));
    assert_int_equal(option(uri, MONGOC_URI_MAXPOOLSIZE), 5);
    assert_int_equal(mongoc_read_prefs_get_mode(mongoc_uri_get_read_prefs_t(uri)),
                     MONGOC_READ_PRIMARY);
    assert_null(mongoc_read_concern_get_level(mongoc_uri_get_read_concern(uri)));
    mongoc_uri_destroy(uri);
}

static void schemes(void **state) {
    (void)state;
    assert_true(mongo_uri_is("mongodb://h"));
    assert_true(mongo_uri_is("mongodb+srv://h"));
    assert_false(mongo_uri_is("mongodb:h"));
    assert_false(mongo_uri_is("sqlite:mongodb://"));
    assert_false(mongo_uri_is(""));
}

static void problems_without_passwords(void **state) {
    (void)state;
    static const char *const bad[] = {
        "mongodb://ann:s3cr3t@db1:notaport/x",
        "mongodb://ann:s3cr3t@/x",
        "mongodb://ann:s3cr3t@db1/x?tls=maybe",
        "mongodb://ann:s3cr3t:x@db1/x",
        "mongodb://ann:s3cr3t/x@db1/y",
        "mongodb://ann:s3@cr3t@db1:70000/x",
        "mongodb://ann:s3cr3t?x@db1:a",
        "mongodb://ann:s3cr3t%zz@db1",
        "mongodb://:s3cr3t@db1:0",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf problem;
        mongoc_uri_t *uri = NULL;
        buf_init(&problem, 4096);
        enum err error = mongo_uri_parse(bad[i], 5, &uri, &problem);
        if (error == ERR_OK) {
            mongoc_uri_destroy(uri); /* libmongoc is lenient; nothing was told then */
        } else {
            assert_int_equal(error, ERR_INVALID);
            assert_true(buf_len(&problem) > 0);
        }
        assert_int_equal(buf_append(&problem, "", 1), ERR_OK);
        const char *line = (const char *)buf_data(&problem);
        assert_null(strstr(line, "s3"));
        assert_null(strstr(line, "cr3t"));
        buf_finish(&problem);
    }
}

static void quiet(mongoc_log_level_t level, const char *domain, const char *message, void *user) {
    (void)level;
    (void)domain;
    (void)message;
    (void)user;
}

int main(void) {
    mongoc_init();
    mongoc_log_set_handler(quiet, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_timeouts_unless_named),
        cmocka_unit_test(ours_are_forced),
        cmocka_unit_test(schemes),
        cmocka_unit_test(problems_without_passwords),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mongoc_cleanup();
    return failed;
}
