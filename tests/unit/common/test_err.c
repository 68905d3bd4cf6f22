/* test_err: every row of the table, numbers from a newer peer, and errno. */
#include "common/err.h"
#include "tests/unit/common/support_process.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

static const enum err all[] = {
#define ERR_ROW(name, number, text, http, retryable) ERR_##name,
#include "common/err.def"
#undef ERR_ROW
};
#define COUNT (sizeof(all) / sizeof(all[0]))

static void names_are_lower_case_and_unique(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        const char *name = err_name(all[i]);
        assert_true(strlen(name) >= 2);
        for (const char *at = name; *at != '\0'; at++) {
            assert_true(islower((unsigned char)*at) || *at == '_');
        }
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(name, err_name(all[j]));
            assert_int_not_equal(all[i], all[j]);
        }
    }
    assert_string_equal(err_name(ERR_NO_SPACE), "no_space");
    assert_string_equal(err_name(ERR_DUPLICATE_SEQ), "duplicate_seq");
}

static void rows_are_sound(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        int status = err_http_status(all[i]);
        assert_true(status == 200 || (status >= 400 && status <= 599));
        assert_true(strlen(err_text(all[i])) > 0);
        assert_true(err_text(all[i])[strlen(err_text(all[i])) - 1] != '.');
    }
    assert_false(err_retryable(ERR_OK));
    assert_true(err_retryable(ERR_TIMEOUT));
    assert_false(err_retryable(ERR_INVALID));
    assert_int_equal(err_http_status(ERR_TOO_LARGE), 413);
}

/* The numbers travel on the bus: these are frozen. */
static void numbers_are_stable(void **state) {
    (void)state;
    assert_int_equal(ERR_OK, 0);
    assert_int_equal(ERR_TIMEOUT, 7);
    assert_int_equal(ERR_DUPLICATE_ID, 17);
    assert_int_equal(ERR_INTERNAL, 25);
}

static void unknown_numbers_are_harmless(void **state) {
    (void)state;
    const enum err strange[] = {(enum err)COUNT, (enum err)9999, (enum err) - 1};
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(err_name(strange[i]), "unknown");
        assert_string_equal(err_text(strange[i]), "unknown error");
        assert_int_equal(err_http_status(strange[i]), 500);
        assert_false(err_retryable(strange[i]));
    }
}

static void errno_is_translated(void **state) {
    (void)state;
    assert_int_equal(err_from_errno(ENOMEM), ERR_NO_MEMORY);
    assert_int_equal(err_from_errno(ENOSPC), ERR_NO_SPACE);
    assert_int_equal(err_from_errno(EDQUOT), ERR_NO_SPACE);
    assert_int_equal(err_from_errno(EACCES), ERR_DENIED);
    assert_int_equal(err_from_errno(EPERM), ERR_DENIED);
    assert_int_equal(err_from_errno(ENOENT), ERR_NOT_FOUND);
    assert_int_equal(err_from_errno(EEXIST), ERR_EXISTS);
    assert_int_equal(err_from_errno(ETIMEDOUT), ERR_TIMEOUT);
    assert_int_equal(err_from_errno(EBADF), ERR_IO);
    assert_int_equal(err_from_errno(0), ERR_IO); /* a failure without a code is still a failure */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_lower_case_and_unique), cmocka_unit_test(rows_are_sound),
        cmocka_unit_test(numbers_are_stable), cmocka_unit_test(unknown_numbers_are_harmless),
        cmocka_unit_test(errno_is_translated)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
