/* test_mongo_error: refused or unknown, one call's matter or everybody's. */
#include "tests/unit/storage/support.h"

#include "services/storage/mongo_error.h"
#include <mongoc/mongoc.h>
#include <stdio.h>

static void check(uint32_t domain, uint32_t code, const char *message, enum err expected,
                  enum mongo_trouble expected_trouble) {
    bson_error_t error = {.domain = domain, .code = code};
    (void)snprintf(error.message, sizeof(error.message), "%s", message);
    enum mongo_trouble trouble = MONGO_TROUBLE_NONE;
    assert_int_equal(mongo_error(&error, &trouble), expected);
    assert_int_equal(trouble, expected_trouble);
}

static void no_server(void **state) {
    (void)state;
    check(MONGOC_ERROR_SERVER_SELECTION, MONGOC_ERROR_SERVER_SELECTION_FAILURE, "none",
          ERR_UNAVAILABLE, MONGO_TROUBLE_UNREACHABLE);
    check(MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_SOCKET, "reset", ERR_UNAVAILABLE,
          MONGO_TROUBLE_UNREACHABLE);
    check(MONGOC_ERROR_CLIENT, MONGOC_ERROR_CLIENT_AUTHENTICATE, "wrong password", ERR_UNAVAILABLE,
          MONGO_TROUBLE_UNREACHABLE);
}

static void no_primary(void **state) {
    (void)state;
    static const uint32_t codes[] = {91, 189, 10058, 10107, 11600, 11602, 13435, 13436};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        check(MONGOC_ERROR_SERVER, codes[i], "", ERR_UNAVAILABLE, MONGO_TROUBLE_UNREACHABLE);
    }
    check(MONGOC_ERROR_SERVER, 1, "not master and slaveOk=false", ERR_UNAVAILABLE,
          MONGO_TROUBLE_UNREACHABLE);
    check(MONGOC_ERROR_SERVER, 1, "node is recovering", ERR_UNAVAILABLE, MONGO_TROUBLE_UNREACHABLE);
}

static void too_slow(void **state) {
    (void)state;
    static const uint32_t codes[] = {24, 50, 89, 112, 262, 11601};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        check(MONGOC_ERROR_SERVER, codes[i], "", ERR_UNAVAILABLE, MONGO_TROUBLE_NONE);
    }
}

static void it_answers_but_does_not_store(void **state) {
    (void)state;
    check(MONGOC_ERROR_WRITE_CONCERN, 64, "waiting for replication timed out", ERR_UNAVAILABLE,
          MONGO_TROUBLE_WRITES);
    check(MONGOC_ERROR_SERVER, 100, "", ERR_UNAVAILABLE, MONGO_TROUBLE_WRITES);
    check(MONGOC_ERROR_SERVER, 14031, "", ERR_NO_SPACE, MONGO_TROUBLE_WRITES);
    check(MONGOC_ERROR_SERVER, 1, "database or disk is full (13)", ERR_NO_SPACE,
          MONGO_TROUBLE_WRITES);
    check(MONGOC_ERROR_SERVER, 1, "attempt to write a readonly database (8)", ERR_UNAVAILABLE,
          MONGO_TROUBLE_WRITES);
}

static void one_calls_own_matter(void **state) {
    (void)state;
    check(MONGOC_ERROR_SERVER, 11000, "E11000 duplicate key", ERR_EXISTS, MONGO_TROUBLE_NONE);
    check(MONGOC_ERROR_BSON, MONGOC_ERROR_BSON_INVALID, "too large", ERR_INVALID,
          MONGO_TROUBLE_NONE);
    check(MONGOC_ERROR_CLIENT, MONGOC_ERROR_CLIENT_TOO_BIG, "too large", ERR_INVALID,
          MONGO_TROUBLE_NONE);
    check(MONGOC_ERROR_SERVER, 9, "unknown field", ERR_IO, MONGO_TROUBLE_NONE);
    check(MONGOC_ERROR_COMMAND, 22222, "", ERR_IO, MONGO_TROUBLE_NONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_server),
        cmocka_unit_test(no_primary),
        cmocka_unit_test(too_slow),
        cmocka_unit_test(it_answers_but_does_not_store),
        cmocka_unit_test(one_calls_own_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
