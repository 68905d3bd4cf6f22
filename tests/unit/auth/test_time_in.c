/* time_in: inverse of clock_format_rfc3339, and nothing that is not a time of day that was. */
#include "services/auth/time_in.h"

#include "common/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_round_trip(void **state) {
    (void)state;
    char text[CLOCK_RFC3339_BYTES];
    uint64_t read_ms = 0;
    for (uint64_t ms = 0; ms < 4102444800000ull; ms += 86399999ull * 3 + 7) { /* to the year 2100 */
        clock_format_rfc3339(ms, text);
        assert_int_equal(time_in_parse(text, &read_ms), ERR_OK);
        assert_int_equal(read_ms, ms);
    }
}

static void test_forms(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"1970-01-01T00:00:00Z", 0},
                {"1970-01-01T00:00:00.001Z", 1},
                {"1970-01-01T00:00:00.1Z", 100},
                {"1970-01-01T00:00:00.123456789Z", 123},
                {"2000-02-29T23:59:59Z", 951868799000},
                {"2024-02-29T00:00:00Z", 1709164800000},
                {"9999-12-31T23:59:59.999Z", 253402300799999}};
    uint64_t ms = 0;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(time_in_parse(good[i].text, &ms), ERR_OK);
        assert_int_equal(ms, good[i].ms);
    }
    static const char *const bad[] = {"",
                                      "2026",
                                      "2026-11-21",
                                      "2026-11-21T12:00:00",
                                      "2026-11-21T12:00:00+00:00",
                                      "2026-11-21 12:00:00Z",
                                      "2026-11-21t12:00:00Z",
                                      "2026-11-21T12:00:00z",
                                      "2026-11-21T12:00Z",
                                      "2026-11-21T12:00:00.Z",
                                      "2026-11-21T12:00:00.1234567890Z",
                                      "2026-11-21T24:00:00Z",
                                      "2026-11-21T12:60:00Z",
                                      "2026-11-21T12:00:60Z",
                                      "2026-02-29T12:00:00Z",
                                      "2100-02-29T12:00:00Z",
                                      "2026-04-31T12:00:00Z",
                                      "2026-13-01T12:00:00Z",
                                      "2026-00-01T12:00:00Z",
                                      "2026-01-00T12:00:00Z",
                                      "1969-12-31T23:59:59Z",
                                      "2026-11-21T12:00:00Zx",
                                      " 2026-11-21T12:00:00Z",
                                      "2026-1-21T12:00:00Z",
                                      "-026-11-21T12:00:00Z"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ms = 7;
        assert_int_equal(time_in_parse(bad[i], &ms), ERR_INVALID);
        assert_int_equal(ms, 7);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),
                                       cmocka_unit_test(test_forms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
