/* test_log: the exact lines, forged values, the bound of a line, and the limit of a site. */
#include "common/log.h"
#include "common/clock.h"
#include "tests/unit/common/support_process.h"

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAMP "ts=2023-11-14T22:13:20.123Z"

static int begin(void **state) {
    (void)state;
    clock_fake_on(1000000, 1700000000123);
    (void)unsetenv("JOURNAL_STREAM");
    log_init("storage", LOG_DEBUG, LOG_LOGFMT);
    return 0;
}

static int end(void **state) {
    (void)state;
    clock_fake_off();
    return 0;
}

static void a_line_is_logfmt(void **state) {
    (void)state;
    support_capture_begin(STDERR_FILENO);
    log_event(LOG_INFO, "listening");
    log_event(LOG_WARN, "slow disk", F_TEXT("path", "/var/lib"), F_INT("ms", -5),
              F_UINT("bytes", UINT64_MAX), F_ERR(ERR_NO_SPACE));
    log_event(LOG_ERROR, "x", F_TEXT("empty", ""), F_TEXT("null", NULL), F_BYTES("raw", "a\0b", 3));
    assert_string_equal(support_capture_end(NULL),
                        STAMP " level=info module=storage msg=\"listening\"\n" STAMP
                              " level=warn module=storage msg=\"slow disk\" path=/var/lib ms=-5 "
                              "bytes=18446744073709551615 err=no_space\n" STAMP
                              " level=error module=storage msg=\"x\" empty=\"\" null=\"\" "
                              "raw=\"a\\u0000b\"\n");
}

static void a_line_is_json(void **state) {
    (void)state;
    log_init("routing", LOG_DEBUG, LOG_JSON);
    support_capture_begin(STDERR_FILENO);
    log_event(LOG_INFO, "say \"hi\"", F_TEXT("user", "\xc3\xa4\n\t\\"), F_INT("n", -1),
              F_BYTES("raw", "\xff\x7f", 2));
    json_t *line = json_loads(support_capture_end(NULL), 0, NULL);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "ts")), "2023-11-14T22:13:20.123Z");
    assert_string_equal(json_string_value(json_object_get(line, "level")), "info");
    assert_string_equal(json_string_value(json_object_get(line, "module")), "routing");
    assert_string_equal(json_string_value(json_object_get(line, "msg")), "say \"hi\"");
    assert_string_equal(json_string_value(json_object_get(line, "user")), "\xc3\xa4\n\t\\");
    assert_int_equal(json_integer_value(json_object_get(line, "n")), -1);
    assert_string_equal(json_string_value(json_object_get(line, "raw")), "\\xff\x7f");
    json_decref(line);
}

static void values_cannot_forge(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"a b", "\"a b\""},
        {"a=b", "\"a=b\""},
        {"x\nts=1 level=info", "\"x\\nts=1 level=info\""},
        {"\" admin=true \"", "\"\\\" admin=true \\\"\""},
        {"\\", "\"\\\\\""},
        {"\x1b[2J", "\"\\u001b[2J\""},
        {"\r", "\"\\u000d\""},
        {"\x7f", "\"\\u007f\""},
        {"gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\""},
        {"\xf0\x9f\x90\xa6", "\"\xf0\x9f\x90\xa6\""},
        {"\xc2\x9b", "\"\\u009b\""},             /* C1: a terminal's CSI */
        {"\xe2\x80\xae", "\"\\u202e\""},         /* right-to-left override */
        {"\xe2\x80\xa8", "\"\\u2028\""},         /* line separator */
        {"\xe2\x81\xa6", "\"\\u2066\""},         /* isolate */
        {"\xc3", "\"\\xc3\""},                   /* cut short */
        {"\xc0\x8a", "\"\\xc0\\x8a\""},          /* overlong newline */
        {"\xe0\x80\x8a", "\"\\xe0\\x80\\x8a\""}, /* overlong */
        {"\xed\xa0\x80", "\"\\xed\\xa0\\x80\""}, /* surrogate */
        {"\xf4\x90\x80\x80", "\"\\xf4\\x90\\x80\\x80\""},
        {"\xf8\x88", "\"\\xf8\\x88\""},
        {"\x80", "\"\\x80\""},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        char expected[256];
        support_capture_begin(STDERR_FILENO);
        log_event(LOG_INFO, "in", F_TEXT("v", pairs[i][0]));
        (void)snprintf(expected, sizeof(expected),
                       STAMP " level=info module=storage msg=\"in\" v=%s\n", pairs[i][1]);
        assert_string_equal(support_capture_end(NULL), expected);
    }
}

static void every_byte_stays_one_line(void **state) {
    (void)state;
    char bytes[512];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)(i * 7 + i / 256);
    }
    for (int format = LOG_LOGFMT; format <= LOG_JSON; format++) {
        size_t count = 0;
        log_init("storage", LOG_DEBUG, (enum log_format)format);
        support_capture_begin(STDERR_FILENO);
        log_event(LOG_INFO, "all", F_BYTES("v", bytes, sizeof(bytes)));
        const char *text = support_capture_end(&count);
        assert_ptr_equal(memchr(text, '\n', count), text + count - 1);
        for (size_t i = 0; i + 1 < count; i++) {
            assert_true((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
        }
        json_t *line = format == LOG_JSON ? json_loads(text, JSON_ALLOW_NUL, NULL) : json_null();
        assert_non_null(line);
        json_decref(line);
    }
}

static void long_lines_are_cut_and_stay_well_formed(void **state) {
    (void)state;
    static char value[10000];
    for (size_t length = LOG_LINE_BYTES_MAX - 150; length < LOG_LINE_BYTES_MAX + 10; length++) {
        memset(value, 'v', length);
        value[length] = '\0';
        for (int format = LOG_LOGFMT; format <= LOG_JSON; format++) {
            size_t count = 0;
            log_init("storage", LOG_DEBUG, (enum log_format)format);
            support_capture_begin(STDERR_FILENO);
            log_event(LOG_INFO, "long", F_TEXT("v", value), F_INT("after", 123456789));
            const char *text = support_capture_end(&count);
            assert_true(count <= LOG_LINE_BYTES_MAX);
            assert_int_equal(text[count - 1], '\n');
            bool cut = strstr(text, "truncated") != NULL;
            assert_int_equal(cut, strstr(text, "123456789") == NULL);
            if (format == LOG_JSON) {
                json_t *line = json_loads(text, 0, NULL);
                assert_non_null(line);
                assert_int_equal(json_is_true(json_object_get(line, "truncated")), cut);
                json_decref(line);
            } else if (cut) {
                assert_string_equal(text + count - 16, " truncated=true\n");
            }
        }
    }
}

static void quiet_levels_write_nothing(void **state) {
    (void)state;
    support_capture_begin(STDERR_FILENO);
    log_set_level(LOG_WARN);
    log_event(LOG_INFO, "no");
    log_event(LOG_DEBUG, "no");
    log_event(LOG_WARN, "yes");
    log_set_level(LOG_DEBUG);
    log_event(LOG_DEBUG, "yes");
    const char *text = support_capture_end(NULL);
    assert_null(strstr(text, "\"no\""));
    assert_non_null(strstr(text, "level=warn"));
    assert_non_null(strstr(text, "level=debug"));
}

static void the_journal_gets_priorities(void **state) {
    (void)state;
    char stream[64];
    struct stat info;
    support_capture_begin(STDERR_FILENO);
    assert_int_equal(fstat(STDERR_FILENO, &info), 0);
    (void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)info.st_dev,
                   (unsigned long long)info.st_ino);
    assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
    log_init("storage", LOG_DEBUG, LOG_LOGFMT);
    log_event(LOG_ERROR, "e");
    log_event(LOG_DEBUG, "d");
    assert_int_equal(setenv("JOURNAL_STREAM", "1:1", 1), 0); /* stderr was redirected */
    log_init("storage", LOG_DEBUG, LOG_LOGFMT);
    log_event(LOG_ERROR, "e");
    const char *text = support_capture_end(NULL);
    assert_memory_equal(text, "<3>ts=", 6);
    assert_non_null(strstr(text, "\n<7>ts="));
    assert_non_null(strstr(text, "\nts="));
}

static void *log_many(void *unused) {
    (void)unused;
    for (int i = 0; i < 500; i++) {
        log_event(LOG_INFO, "many", F_INT("i", i));
    }
    return NULL;
}

static void threads_do_not_mix_lines(void **state) {
    (void)state;
    pthread_t threads[4];
    support_capture_begin(STDERR_FILENO);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, NULL), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    const char *at = support_capture_end(NULL);
    unsigned lines = 0;
    while (*at != '\0') {
        assert_memory_equal(at, STAMP " level=info", strlen(STAMP) + 11);
        at = strchr(at, '\n');
        assert_non_null(at);
        at++;
        lines++;
    }
    assert_int_equal(lines, 2000);
}

static void a_site_is_limited_each_second(void **state) {
    (void)state;
    struct log_limit limit = {0};
    for (int second = 0; second < 3; second++) {
        for (int i = 0; i < 100; i++) {
            assert_int_equal(log_allowed(&limit, 5), i < 5);
        }
        clock_fake_advance_us(1000000);
    }
    assert_false(log_allowed(&limit, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_is_logfmt, begin, end),
        cmocka_unit_test_setup_teardown(a_line_is_json, begin, end),
        cmocka_unit_test_setup_teardown(values_cannot_forge, begin, end),
        cmocka_unit_test_setup_teardown(every_byte_stays_one_line, begin, end),
        cmocka_unit_test_setup_teardown(long_lines_are_cut_and_stay_well_formed, begin, end),
        cmocka_unit_test_setup_teardown(quiet_levels_write_nothing, begin, end),
        cmocka_unit_test_setup_teardown(the_journal_gets_priorities, begin, end),
        cmocka_unit_test_setup_teardown(threads_do_not_mix_lines, begin, end),
        cmocka_unit_test_setup_teardown(a_site_is_limited_each_second, begin, end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
