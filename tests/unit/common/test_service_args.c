/* test_service_args: each argument, and what is none. */
#include "common/service_args.h"
#include "tests/unit/common/support_process.h"

#include <string.h>

static enum err read_args(const char *const *arguments, struct service_args *args,
                          const char **offender) {
    char *argv[8] = {0};
    int argc = 0;
    for (; arguments[argc] != NULL; argc++) {
        argv[argc] = (char *)(uintptr_t)arguments[argc];
    }
    return service_args_read(argc, argv, "--move-from", args, offender);
}

static void actions_are_known(void **state) {
    (void)state;
    static const struct {
        const char *argument;
        enum service_action action;
    } samples[] = {{"--print-config", SERVICE_PRINT_CONFIG},
                   {"--describe-config", SERVICE_DESCRIBE_CONFIG},
                   {"--describe-metrics", SERVICE_DESCRIBE_METRICS},
                   {"--version", SERVICE_VERSION},
                   {"--help", SERVICE_HELP}};
    for (size_t i = 0; i < 5; i++) {
        const char *const arguments[] = {"pipit", samples[i].argument, NULL};
        struct service_args args = {0};
        const char *offender = NULL;
        assert_int_equal(read_args(arguments, &args, &offender), ERR_OK);
        assert_int_equal(args.action, samples[i].action);
        assert_null(args.config);
    }
}

static void the_file_may_be_given_both_ways(void **state) {
    (void)state;
    static const char *const ways[][4] = {{"pipit", "--config", "/etc/a b.ini", NULL},
                                          {"pipit", "--config=/etc/a b.ini", NULL}};
    for (size_t i = 0; i < 2; i++) {
        struct service_args args = {0};
        const char *offender = NULL;
        assert_int_equal(read_args(ways[i], &args, &offender), ERR_OK);
        assert_int_equal(args.action, SERVICE_RUN);
        assert_string_equal(args.config, "/etc/a b.ini");
    }
}

static void a_service_may_have_a_command(void **state) {
    (void)state;
    static const char *const ways[][6] = {
        {"pipit", "--config", "a.ini", "--move-from", "sqlite:x", NULL},
        {"pipit", "--config=a.ini", "--move-from=sqlite:x", NULL},
    };
    for (size_t i = 0; i < 2; i++) {
        struct service_args args = {0};
        const char *offender = NULL;
        assert_int_equal(read_args(ways[i], &args, &offender), ERR_OK);
        assert_int_equal(args.action, SERVICE_COMMAND);
        assert_string_equal(args.value, "sqlite:x");
        assert_string_equal(args.config, "a.ini");
    }
    char *argv[] = {(char[]){"pipit"}, (char[]){"--move-from=x"}, NULL};
    struct service_args args = {0};
    const char *offender = NULL;
    assert_int_equal(service_args_read(2, argv, NULL, &args, &offender), ERR_INVALID);
}

static void the_rest_is_refused(void **state) {
    (void)state;
    static const char *const wrong[][4] = {
        {"pipit", "--config", NULL},     {"pipit", "--config=", NULL},
        {"pipit", "--config", "", NULL}, {"pipit", "--conf=x", NULL},
        {"pipit", "--verbose", NULL},    {"pipit", "--move-from", NULL},
        {"pipit", "--move-from=", NULL}, {"pipit", "--move-fromx", "y", NULL},
        {"pipit", "pipit.ini", NULL},    {"pipit", "", NULL},
        {"pipit", "-h", NULL},           {"pipit", "--version", "-x", NULL}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct service_args args = {.action = SERVICE_HELP, .config = "untouched"};
        const char *offender = NULL;
        assert_int_equal(read_args(wrong[i], &args, &offender), ERR_INVALID);
        assert_non_null(offender);
        assert_string_equal(args.config, "untouched");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(actions_are_known), cmocka_unit_test(the_file_may_be_given_both_ways),
        cmocka_unit_test(a_service_may_have_a_command), cmocka_unit_test(the_rest_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
