/* password: the policy at its edges, the list of common ones, and the hash: right, wrong, unknown.
 */
#include "services/auth/password.h"

#include "common/clock.h"
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct common_passwords *list;
static char path[] = "/tmp/pipit-passwords-XXXXXX";

static int setup(void **state) {
    (void)state;
    int fd = mkstemp(path);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (file == NULL || sodium_init() < 0) {
        return -1;
    }
    (void)fputs("#!comment: a list\n12345678\nPassword1\r\n\nlast-line-without-end", file);
    (void)fclose(file);
    return common_passwords_load(path, &list) == ERR_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    common_passwords_destroy(&list);
    (void)unlink(path);
    return 0;
}

static void test_common(void **state) {
    (void)state;
    assert_int_equal(common_passwords_count(list), 3);
    assert_true(common_passwords_have(list, "12345678"));
    assert_true(common_passwords_have(list, "pASSWORD1"));
    assert_true(common_passwords_have(list, "last-line-without-end"));
    assert_false(common_passwords_have(list, "1234567"));
    assert_false(common_passwords_have(list, "12345678 "));
    assert_false(common_passwords_have(list, "#!comment: a list"));
    assert_false(common_passwords_have(list, ""));
}

static void test_missing_and_empty_list(void **state) {
    (void)state;
    struct common_passwords *other = NULL;
    assert_int_equal(common_passwords_load("/nonexistent/list", &other), ERR_NOT_FOUND);
    assert_null(other);
    assert_int_equal(common_passwords_load("", &other), ERR_OK);
    assert_int_equal(common_passwords_count(other), 0);
    assert_false(common_passwords_have(other, "12345678"));
    common_passwords_destroy(&other);
    common_passwords_destroy(&other);
}

static void test_packaged_list(void **state) {
    (void)state;
    struct common_passwords *packaged = NULL;
    assert_int_equal(common_passwords_load("/usr/share/john/password.lst", &packaged), ERR_OK);
    assert_true(common_passwords_count(packaged) > 3000);
    assert_true(common_passwords_have(packaged, "PASSWORD1"));
    assert_false(common_passwords_have(packaged, "quiet-otter-lamp"));
    common_passwords_destroy(&packaged);
}

static bool refused(const char *password) {
    return password_refusal(list, password, "ann-the-owner") != NULL;
}

static void test_policy(void **state) {
    (void)state;
    char text[2 * PASSWORD_BYTES_MAX];
    assert_true(refused(""));
    assert_true(refused("seven77"));
    assert_false(refused("eight888"));
    assert_true(refused("12345678"));
    assert_true(refused("ANN-the-owner"));
    /* Characters count, not bytes: seven of two bytes are too few, eight of four are enough. */
    assert_true(refused("\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"));
    for (size_t points = 8; points <= 257; points++) {
        for (size_t i = 0; i < points; i++) {
            memcpy(text + 4 * i, "\xf0\x9f\x91\x8d", 4);
        }
        text[4 * points] = '\0';
        assert_int_equal(refused(text), points > 256);
    }
    memset(text, 'a', 257);
    text[257] = '\0';
    assert_true(refused(text));
    text[256] = '\0';
    assert_false(refused(text));
    assert_false(refused("spaces are fine and so are \"quotes\""));
}

static void test_hash(void **state) {
    (void)state;
    char hash[PASSWORD_HASH_BYTES];
    char again[PASSWORD_HASH_BYTES];
    assert_int_equal(password_prepare(), ERR_OK);
    assert_int_equal(password_hash("quiet-otter-lamp", hash), ERR_OK);
    assert_int_equal(password_hash("quiet-otter-lamp", again), ERR_OK);
    assert_string_not_equal(hash, again);
    assert_memory_equal(hash, "$argon2id$v=19$m=19456,t=2,p=1$", 31);
    assert_true(password_matches(hash, "quiet-otter-lamp"));
    assert_true(password_matches(again, "quiet-otter-lamp"));
    assert_false(password_matches(hash, "quiet-otter-lamp "));
    assert_false(password_matches(hash, "Quiet-otter-lamp"));
    assert_false(password_matches(hash, ""));
    assert_false(password_matches("garbage", "quiet-otter-lamp"));
    assert_false(password_matches(NULL, "quiet-otter-lamp"));
    assert_false(password_matches("", ""));
}

/* An unknown user must cost the hash as well. Compared with itself, so the machine's speed does not
 * matter; a missing hash would be 10,000 times faster, not half as fast. */
static void test_unknown_costs_the_same(void **state) {
    (void)state;
    char hash[PASSWORD_HASH_BYTES];
    assert_int_equal(password_prepare(), ERR_OK);
    assert_int_equal(password_hash("quiet-otter-lamp", hash), ERR_OK);
    uint64_t best_us[2] = {UINT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < 10; i++) {
        uint64_t started_us = clock_mono_us();
        (void)password_matches(i % 2 == 0 ? hash : NULL, "wrong");
        uint64_t took_us = clock_mono_us() - started_us;
        best_us[i % 2] = took_us < best_us[i % 2] ? took_us : best_us[i % 2];
    }
    assert_true(best_us[1] * 2 > best_us[0] && best_us[0] * 2 > best_us[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_common),        cmocka_unit_test(test_missing_and_empty_list),
        cmocka_unit_test(test_packaged_list), cmocka_unit_test(test_policy),
        cmocka_unit_test(test_hash),          cmocka_unit_test(test_unknown_costs_the_same)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
