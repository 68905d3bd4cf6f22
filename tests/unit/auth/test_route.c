/* route: every operation is found by its own path, parameters come out whole, and near misses are
 * told apart: no such path, or the wrong method on one that exists. */
#include "services/auth/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static enum err find(const char *method, const char *path, struct route_match *match,
                     char allow[ROUTE_ALLOW_BYTES]) {
    memset(match, 0, sizeof *match);
    return route_find(method, path, match, allow);
}

static void test_every_route_is_found(void **state) {
    (void)state;
    for (size_t i = 0; i < route_count; i++) {
        struct route_match match;
        char allow[ROUTE_ALLOW_BYTES];
        char path[512] = "";
        /* The template with each {..} replaced by a value. */
        for (const char *at = routes[i].path; *at != '\0';) {
            size_t length = strlen(path);
            if (*at == '{') {
                (void)snprintf(path + length, sizeof path - length, "x%zu", i);
                at = strchr(at, '}') + 1;
            } else {
                path[length] = *at++;
                path[length + 1] = '\0';
            }
        }
        assert_int_equal(find(routes[i].method, path, &match, allow), ERR_OK);
        assert_int_equal(match.index, i);
        assert_non_null(routes[i].run);
    }
}

static void test_parameters(void **state) {
    (void)state;
    struct route_match match;
    char allow[ROUTE_ALLOW_BYTES];
    assert_int_equal(
        find("PUT", "/v1/conversations/c_a/messages/7/reactions/\xf0\x9f\x91\x8d", &match, allow),
        ERR_OK);
    assert_string_equal(match.params[0], "c_a");
    assert_string_equal(match.params[1], "7");
    assert_string_equal(match.params[2], "\xf0\x9f\x91\x8d");
}

static void test_unknown_paths(void **state) {
    (void)state;
    static const char *const paths[] = {"",
                                        "/",
                                        "/v1",
                                        "/v1/",
                                        "/v1/login/",
                                        "//v1/login",
                                        "/v1//login",
                                        "/v1/users/",
                                        "/v1/users/a/b",
                                        "/v1/Login",
                                        "v1/login",
                                        "/v1/log",
                                        "/v1/loginx",
                                        "/v1/me/devices/",
                                        "/v1/conversations//messages",
                                        "/../v1/login"};
    struct route_match match;
    char allow[ROUTE_ALLOW_BYTES];
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        assert_int_equal(find("POST", paths[i], &match, allow), ERR_NOT_FOUND);
    }
}

static void test_long_parameter(void **state) {
    (void)state;
    struct route_match match;
    char allow[ROUTE_ALLOW_BYTES];
    char path[600] = "/v1/users/";
    memset(path + strlen(path), 'a', ROUTE_PARAM_BYTES - 1);
    assert_int_equal(find("GET", path, &match, allow), ERR_OK);
    assert_int_equal(strlen(match.params[0]), ROUTE_PARAM_BYTES - 1);
    path[strlen(path)] = 'a';
    assert_int_equal(find("GET", path, &match, allow), ERR_NOT_FOUND);
}

static void test_wrong_method(void **state) {
    (void)state;
    struct route_match match;
    char allow[ROUTE_ALLOW_BYTES];
    assert_int_equal(find("HEAD", "/v1/me", &match, allow), ERR_UNSUPPORTED);
    assert_string_equal(allow, "GET, PATCH");
    assert_int_equal(find("OPTIONS", "/v1/login", &match, allow), ERR_UNSUPPORTED);
    assert_string_equal(allow, "POST");
    assert_int_equal(find("get", "/v1/me", &match, allow), ERR_UNSUPPORTED);
}

static void test_describe(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 65536);
    assert_int_equal(route_describe(&out), ERR_OK);
    assert_int_equal(buf_append(&out, "", 1), ERR_OK);
    const char *text = (const char *)buf_data(&out);
    assert_non_null(strstr(text, "POST /v1/login public\n"));
    assert_non_null(strstr(text, "GET /v1/admin/audit admin\n"));
    size_t lines = 0;
    for (; *text != '\0'; text++) {
        lines += *text == '\n';
    }
    assert_int_equal(lines, route_count);
    buf_finish(&out);
    buf_init(&out, 10);
    assert_int_equal(route_describe(&out), ERR_TOO_LARGE);
    buf_finish(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_route_is_found), cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_unknown_paths),        cmocka_unit_test(test_long_parameter),
        cmocka_unit_test(test_wrong_method),         cmocka_unit_test(test_describe)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
