/* test_redact: no part of a password is shown, whatever stands in it. */
#include "common/redact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check(const char *text, const char *expected) {
    struct buf out;
    buf_init(&out, 1024);
    assert_int_equal(redact_url(text, &out), ERR_OK);
    assert_int_equal(buf_append(&out, "", 1), ERR_OK);
    assert_string_equal((const char *)buf_data(&out), expected);
    buf_finish(&out);
}

static void what_is_no_secret_stays(void **state) {
    (void)state;
    check("", "");
    check("sqlite:var/storage", "sqlite:var/storage");
    check("ann@example.org?x", "ann@example.org?x");
    check("tcp://127.0.0.1:7201", "tcp://127.0.0.1:7201");
    check("mongodb://a,b:27018/chat", "mongodb://a,b:27018/chat");
}

static void credentials_and_options_are_hidden(void **state) {
    (void)state;
    check("mongodb://ann:s3cret@db:27017/chat", "mongodb://***@db:27017/chat");
    check("mongodb+srv://ann@db/chat", "mongodb+srv://***@db/chat");
    check("mongodb://db/chat?tlsCertificateKeyFilePassword=s3cret", "mongodb://db/chat?***");
    check("mongodb://ann:s3cret@db/chat?replicaSet=r", "mongodb://***@db/chat?***");
}

static void careless_passwords_are_hidden(void **state) {
    (void)state;
    check("mongodb://ann:s3@cret@db/chat", "mongodb://***@db/chat");
    check("mongodb://ann:s3/cret@db/chat", "mongodb://***@db/chat");
    check("mongodb://ann:s3?cret@db/chat", "mongodb://***");
    check("mongodb://ann:s3cret@db/chat?p=a@b", "mongodb://***");
    check("mongodb://ann:s3://cret@db", "mongodb://***@db");
}

static void without_room(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 8);
    assert_int_equal(redact_url("mongodb://ann:s3cret@db", &out), ERR_TOO_LARGE);
    buf_finish(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_secret_stays),
        cmocka_unit_test(credentials_and_options_are_hidden),
        cmocka_unit_test(careless_passwords_are_hidden),
        cmocka_unit_test(without_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
