/* json_in: what is no strict JSON object is refused, and every field problem names its field. */
#include "services/auth/json_in.h"

#include <jansson.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct problem problem;

static bool parses(const char *text, size_t count) {
    json_t *object = NULL;
    memset(&problem, 0, sizeof problem);
    bool ok = json_in_parse((const uint8_t *)text, count, &object, &problem);
    if (ok) {
        assert_true(json_is_object(object));
        json_decref(object);
    } else {
        assert_null(object);
        assert_int_equal(problem.status, 400);
        assert_string_equal(reason_code(problem.reason), "malformed");
    }
    return ok;
}

static void test_what_is_accepted(void **state) {
    (void)state;
    assert_true(parses("", 0));
    static const char *const good[] = {"{}", " {\"a\":1} \n", "{\"a\":{\"b\":[1,2,{}]}}",
                                       "{\"\\u00e9\":\"\\ud83d\\udc4d\"}"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(parses(good[i], strlen(good[i])));
    }
}

static void test_what_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"{",
                                      "[]",
                                      "null",
                                      "7",
                                      "\"x\"",
                                      "{}{}",
                                      "{} x",
                                      "{\"a\":1,}",
                                      "{'a':1}",
                                      "{\"a\":1,\"a\":2}",
                                      "{a:1}",
                                      "{\"a\":01}",
                                      "{\"a\":+1}",
                                      "{\"a\":NaN}",
                                      "{\"a\":\"\\ud800\"}",
                                      "\xef\xbb\xbf{}",
                                      "{\"a\":\"\xff\"}",
                                      "{\"a\":\"\xc0\x80\"}",
                                      "{\"a\":\"\\u0000\"}",
                                      "{\"a\":{\"b\":1,\"b\":1}}",
                                      "// c\n{}",
                                      "{\"a\":1e999}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (parses(bad[i], strlen(bad[i]))) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
    assert_false(parses("{}\0", 3));
    assert_false(parses("{\"a\0b\":1}", 9));
}

static void test_depth(void **state) {
    (void)state;
    char text[256];
    for (size_t depth = 30; depth < 36; depth++) {
        size_t at = 0;
        for (size_t i = 0; i < depth; i++) {
            at += (size_t)snprintf(text + at, sizeof text - at, "%s", i == 0 ? "{\"a\":" : "[");
        }
        text[at++] = '1';
        memset(text + at, ']', depth - 1);
        at += depth - 1;
        text[at++] = '}';
        assert_int_equal(parses(text, at), depth <= 32);
    }
    /* Brackets within strings are no depth, behind an escaped quote neither. */
    static const char quoted[] = "{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[\"}";
    assert_true(parses(quoted, sizeof quoted - 1));
    char *bomb = malloc(200000);
    assert_non_null(bomb);
    memset(bomb, '[', 200000);
    assert_false(parses(bomb, 200000));
    free(bomb);
}

static json_t *object;

static int setup(void **state) {
    (void)state;
    static const char text[] =
        "{\"text\":\"h\xc3\xa4\",\"n\":7,\"neg\":-1,\"real\":1.5,\"yes\":true,"
        "\"obj\":{\"x\":1},\"null\":null}";
    memset(&problem, 0, sizeof problem);
    return json_in_parse((const uint8_t *)text, sizeof text - 1, &object, &problem) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    json_decref(object);
    return 0;
}

static void expect_422(const char *name) {
    assert_int_equal(problem.status, 422);
    assert_non_null(strstr(problem.detail, name));
    memset(&problem, 0, sizeof problem);
}

static void test_known(void **state) {
    (void)state;
    static const char *const all[] = {"text", "n",    "neg",  "real", "yes",
                                      "obj",  "null", "more", NULL};
    static const char *const few[] = {"text", "n", "neg", "real", "yes", "obj", NULL};
    assert_true(json_in_known(object, all, &problem));
    assert_false(json_in_known(object, few, &problem));
    expect_422("null");
}

static void test_text(void **state) {
    (void)state;
    const char *text = "kept";
    assert_true(json_in_text(object, "absent", JSON_IN_OPTIONAL, 3, &text, &problem));
    assert_string_equal(text, "kept");
    assert_true(json_in_text(object, "text", JSON_IN_REQUIRED, 3, &text, &problem));
    assert_string_equal(text, "h\xc3\xa4");
    assert_false(json_in_text(object, "text", JSON_IN_REQUIRED, 2, &text, &problem));
    expect_422("text");
    assert_false(json_in_text(object, "absent", JSON_IN_REQUIRED, 3, &text, &problem));
    expect_422("absent");
    assert_false(json_in_text(object, "n", JSON_IN_OPTIONAL, 3, &text, &problem));
    expect_422("n");
    assert_false(json_in_text(object, "null", JSON_IN_OPTIONAL, 3, &text, &problem));
    expect_422("null");
}

static void test_numbers(void **state) {
    (void)state;
    uint64_t number = 5;
    bool present = true;
    assert_true(json_in_u64(object, "absent", JSON_IN_OPTIONAL, 0, 9, &number, &present, &problem));
    assert_false(present);
    assert_int_equal(number, 5);
    assert_true(json_in_u64(object, "n", JSON_IN_REQUIRED, 7, 7, &number, &present, &problem));
    assert_true(present);
    assert_int_equal(number, 7);
    assert_false(json_in_u64(object, "n", JSON_IN_REQUIRED, 0, 6, &number, NULL, &problem));
    expect_422("n");
    assert_false(json_in_u64(object, "n", JSON_IN_REQUIRED, 8, 9, &number, NULL, &problem));
    expect_422("n");
    static const char *const wrong[] = {"neg", "real", "text", "yes", "null", "obj"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(
            json_in_u64(object, wrong[i], JSON_IN_OPTIONAL, 0, 9, &number, NULL, &problem));
        expect_422(wrong[i]);
    }
}

static void test_flags_and_objects(void **state) {
    (void)state;
    bool flag = false;
    bool present = false;
    const json_t *member = object;
    assert_true(json_in_bool(object, "yes", JSON_IN_REQUIRED, &flag, &present, &problem));
    assert_true(flag && present);
    assert_false(json_in_bool(object, "n", JSON_IN_OPTIONAL, &flag, NULL, &problem));
    expect_422("n");
    assert_true(json_in_object(object, "absent", JSON_IN_OPTIONAL, &member, &problem));
    assert_null(member);
    assert_true(json_in_object(object, "obj", JSON_IN_REQUIRED, &member, &problem));
    assert_int_equal(json_object_size(member), 1);
    assert_false(json_in_object(object, "text", JSON_IN_OPTIONAL, &member, &problem));
    expect_422("text");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_accepted),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_depth),
        cmocka_unit_test_setup_teardown(test_known, setup, teardown),
        cmocka_unit_test_setup_teardown(test_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flags_and_objects, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
