/* problem: what a refused client reads: complete, valid JSON whatever the detail quotes. */
#include "services/auth/problem.h"

#include "proto/json_reader.h"
#include "proto/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct problem problem;
static struct buf out;

static int setup(void **state) {
    (void)state;
    memset(&problem, 0, sizeof problem);
    buf_init(&out, 4096);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    buf_finish(&out);
    return 0;
}

static void read_text(const struct json_value *root, const char *name, char *text, size_t bytes) {
    struct json_value value;
    assert_true(json_find(root, name, &value));
    assert_int_equal(json_string_copy(&value, text, bytes), ERR_OK);
}

static void render(struct json_value *root) {
    assert_int_equal(problem_render(&problem, "r_1", &out), ERR_OK);
    assert_int_equal(json_parse(buf_data(&out), buf_len(&out), root, NULL), ERR_OK);
}

static void test_members(void **state) {
    (void)state;
    struct json_value root, value;
    char text[512];
    uint64_t number = 0;
    bool flag = true;
    assert_false(problem_set(&problem, REASON_NOT_MEMBER, 0, "Not %s.", "yours"));
    render(&root);
    read_text(&root, "type", text, sizeof text);
    assert_string_equal(text, "/docs/errors/not_member");
    read_text(&root, "code", text, sizeof text);
    assert_string_equal(text, "not_member");
    read_text(&root, "title", text, sizeof text);
    assert_string_equal(text, reason_text(REASON_NOT_MEMBER));
    read_text(&root, "detail", text, sizeof text);
    assert_string_equal(text, "Not yours.");
    read_text(&root, "request_id", text, sizeof text);
    assert_string_equal(text, "r_1");
    assert_true(json_find(&root, "status", &value));
    assert_int_equal(json_u64(&value, 999, &number), ERR_OK);
    assert_int_equal(number, 403);
    assert_true(json_find(&root, "retryable", &value));
    assert_int_equal(json_bool(&value, &flag), ERR_OK);
    assert_false(flag);
}

static void test_own_status_and_no_detail(void **state) {
    (void)state;
    struct json_value root, value;
    (void)problem_set(&problem, REASON_MALFORMED, 422, "%s", "");
    assert_int_equal(problem.status, 422);
    render(&root);
    assert_false(json_find(&root, "detail", &value));
}

static void test_hostile_detail(void **state) {
    (void)state;
    struct json_value root;
    char text[1024];
    (void)problem_set(&problem, REASON_MALFORMED, 422, "Unknown field \"%s\".", "a\"\\\n\x01</b>");
    render(&root);
    read_text(&root, "detail", text, sizeof text);
    assert_string_equal(text, "Unknown field \"a\"\\\n\x01</b>\".");
}

static void test_detail_is_cut_at_a_character(void **state) {
    (void)state;
    char four[4 * 100 + 1];
    struct json_value root;
    for (size_t shift = 0; shift < 4; shift++) {
        for (size_t i = 0; i < 100; i++) {
            memcpy(four + 4 * i, "\xf0\x9f\x91\x8d", 4);
        }
        four[400] = '\0';
        (void)problem_set(&problem, REASON_MALFORMED, 0, "%.*s%s", (int)shift, "abc", four);
        size_t length = strlen(problem.detail);
        assert_true(length < PROBLEM_DETAIL_BYTES && length > PROBLEM_DETAIL_BYTES - 6);
        assert_true(utf8_valid((const uint8_t *)problem.detail, length));
        buf_clear(&out);
        render(&root);
    }
}

static void test_retry_seconds_round_up(void **state) {
    (void)state;
    static const struct {
        uint32_t ms, s;
    } cases[] = {{0, 1}, {1, 1}, {999, 1}, {1000, 1}, {1001, 2}, {12000, 12}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        problem.retry_ms = cases[i].ms;
        assert_int_equal(problem_retry_s(&problem), cases[i].s);
    }
}

static void test_errors_become_reasons(void **state) {
    (void)state;
    assert_false(problem_set_err(&problem, ERR_UNAVAILABLE));
    assert_int_equal(problem.status, 503);
    assert_true(problem.retry_ms > 0);
    (void)problem_set_err(&problem, ERR_OK); /* a caller's mistake is never a success */
    assert_int_equal(problem.status, 500);
    (void)problem_set_err(&problem, ERR_NOT_FOUND);
    assert_int_equal(problem.status, 404);
    assert_int_equal(problem.retry_ms, 0);
}

static void test_no_room(void **state) {
    (void)state;
    struct buf tiny;
    buf_init(&tiny, 16);
    (void)problem_set(&problem, REASON_NOT_FOUND, 0, "x");
    assert_int_equal(problem_render(&problem, "r_1", &tiny), ERR_TOO_LARGE);
    assert_int_equal(buf_len(&tiny), 0);
    buf_finish(&tiny);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_members),
                                       TEST(test_own_status_and_no_detail),
                                       TEST(test_hostile_detail),
                                       TEST(test_detail_is_cut_at_a_character),
                                       TEST(test_retry_seconds_round_up),
                                       TEST(test_errors_become_reasons),
                                       TEST(test_no_room)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
