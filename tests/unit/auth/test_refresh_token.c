/* refresh_token: one shape, one spelling. */
#include "services/auth/refresh_token.h"

#include <sodium.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_made_tokens(void **state) {
    (void)state;
    char first[REFRESH_TOKEN_TEXT_BYTES];
    char second[REFRESH_TOKEN_TEXT_BYTES];
    uint8_t a[REFRESH_TOKEN_HASH_BYTES];
    uint8_t b[REFRESH_TOKEN_HASH_BYTES];
    uint8_t expected[crypto_hash_sha256_BYTES];
    refresh_token_make(first);
    refresh_token_make(second);
    assert_memory_equal(first, "pr_", 3);
    assert_int_equal(strlen(first), 46);
    assert_int_equal(strspn(first + 3, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                       "0123456789-_"),
                     43);
    assert_string_not_equal(first, second);
    assert_int_equal(refresh_token_hash(first, a), ERR_OK);
    assert_int_equal(refresh_token_hash(second, b), ERR_OK);
    assert_memory_not_equal(a, b, sizeof a);
    crypto_hash_sha256(expected, (const uint8_t *)first, strlen(first));
    assert_memory_equal(a, expected, sizeof a);
}

static void test_other_shapes_are_refused(void **state) {
    (void)state;
    char good[REFRESH_TOKEN_TEXT_BYTES];
    char text[64];
    uint8_t hash[REFRESH_TOKEN_HASH_BYTES];
    refresh_token_make(good);
    static const char *const bad[] = {"", "pr_", "pr_x", "x",
                                      "pr_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                      "pr_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                      "pi_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                      "PR_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                      "pr_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA+A",
                                      "pr_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                                      "pr_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA A",
                                      /* unused bits of the last character set: a second spelling */
                                      "pr_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"};
    assert_int_equal(refresh_token_hash("pr_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", hash),
                     ERR_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(refresh_token_hash(bad[i], hash), ERR_INVALID);
    }
    for (size_t i = 0; i < strlen(good); i++) { /* every prefix, every broken byte */
        (void)snprintf(text, sizeof text, "%.*s", (int)i, good);
        assert_int_equal(refresh_token_hash(text, hash), ERR_INVALID);
        (void)snprintf(text, sizeof text, "%s", good);
        text[i] = '\x80';
        assert_int_equal(refresh_token_hash(text, hash), ERR_INVALID);
    }
    (void)snprintf(text, sizeof text, "%sA", good);
    assert_int_equal(refresh_token_hash(text, hash), ERR_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_made_tokens),
                                       cmocka_unit_test(test_other_shapes_are_refused)};
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
