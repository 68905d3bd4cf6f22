/* test_conf_value: each notation, and everything that only looks like it. */
#include "common/conf_value.h"
#include "tests/unit/common/support_process.h"

#include <string.h>

struct sample {
    const char *text;
    uint64_t value;
};

static void check_good(enum conf_type type, const struct sample *samples, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 0;
        assert_int_equal(conf_value_number(type, samples[i].text, &value), ERR_OK);
        assert_true(value == samples[i].value);
    }
}

static void check_bad(enum conf_type type, const char *const *texts, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 4711;
        assert_int_equal(conf_value_number(type, texts[i], &value), ERR_INVALID);
        assert_true(value == 4711);
    }
}

static void numbers(void **state) {
    (void)state;
    static const struct sample good[] = {
        {"0", 0}, {"007", 7}, {"18446744073709551615", UINT64_MAX}};
    static const char *const bad[] = {"",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1.0",
                                      "0x1",
                                      "1e3",
                                      "1s",
                                      "18446744073709551616",
                                      "99999999999999999999999"};
    check_good(CONF_UINT, good, 3);
    check_bad(CONF_UINT, bad, sizeof(bad) / sizeof(bad[0]));
}

static void durations(void **state) {
    (void)state;
    static const struct sample good[] = {{"0", 0},
                                         {"500us", 500},
                                         {"20ms", 20000},
                                         {"15s", 15000000},
                                         {"10m", 600000000},
                                         {"24h", 86400000000},
                                         {"60d", 5184000000000},
                                         {"0d", 0},
                                         {"213503982d", 18446744044800000000u}};
    static const char *const bad[] = {
        "",      "15",   "s",  "1 s", "1.5s", "-1s", "1sec",       "1S",    "1M",
        "1h30m", "1us ", "00", "1w",  "1min", "d60", "213503983d", "0x10s", "18446744073709552s"};
    check_good(CONF_DURATION, good, sizeof(good) / sizeof(good[0]));
    check_bad(CONF_DURATION, bad, sizeof(bad) / sizeof(bad[0]));
}

static void sizes(void **state) {
    (void)state;
    static const struct sample good[] = {{"0", 0},
                                         {"512", 512},
                                         {"16KiB", 16384},
                                         {"64MiB", 67108864},
                                         {"2GiB", 2147483648},
                                         {"17179869183GiB", 18446744072635809792u}};
    static const char *const bad[] = {"",     "KiB",   "1KB", "1k",
                                      "1kib", "1 KiB", "1B",  "17179869184GiB"};
    check_good(CONF_BYTES, good, sizeof(good) / sizeof(good[0]));
    check_bad(CONF_BYTES, bad, sizeof(bad) / sizeof(bad[0]));
}

static void switches(void **state) {
    (void)state;
    static const char *const on[] = {"true", "yes", "on", "1", "TRUE", "Yes"};
    static const char *const off[] = {"false", "no", "off", "0", "OFF"};
    static const char *const bad[] = {"", "2", "y", "enabled", "true ", "nope"};
    bool value = false;
    for (size_t i = 0; i < 6; i++) {
        value = false;
        assert_int_equal(conf_value_bool(on[i], &value), ERR_OK);
        assert_true(value);
        assert_int_equal(conf_value_bool(bad[i], &value), ERR_INVALID);
        assert_true(value);
    }
    for (size_t i = 0; i < 5; i++) {
        value = true;
        assert_int_equal(conf_value_bool(off[i], &value), ERR_OK);
        assert_false(value);
    }
}

static void text_as_number(void) {
    uint64_t value = 0;
    enum err error = conf_value_number(CONF_TEXT, "1", &value);
    (void)error; /* not reached */
}

static void every_type_has_words(void **state) {
    (void)state;
    for (int type = CONF_TEXT; type <= CONF_SECRET; type++) {
        assert_true(strlen(conf_value_form((enum conf_type)type)) > 3);
        assert_true(strlen(conf_value_type_name((enum conf_type)type)) > 3);
    }
    assert_true(support_aborts(text_as_number));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers), cmocka_unit_test(durations),
                                       cmocka_unit_test(sizes), cmocka_unit_test(switches),
                                       cmocka_unit_test(every_type_has_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
