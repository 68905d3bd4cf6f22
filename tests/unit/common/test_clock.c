/* test_clock: the real clocks, the fake one, and the calendar against the C library's. */
#include "common/clock.h"
#include "tests/unit/common/support_process.h"

#include <stdio.h>
#include <time.h>

static void real_time_goes_on(void **state) {
    (void)state;
    uint64_t first = clock_mono_us();
    for (int i = 0; i < 1000; i++) {
        uint64_t next = clock_mono_us();
        assert_true(next >= first);
        first = next;
    }
    uint64_t wall_s = (uint64_t)time(NULL);
    uint64_t ours_s = clock_wall_ms() / 1000;
    assert_true(ours_s >= wall_s && ours_s <= wall_s + 5);
}

static void the_fake_stands_still_and_moves(void **state) {
    (void)state;
    clock_fake_on(5, 1700000000123);
    assert_int_equal(clock_mono_us(), 5);
    assert_int_equal(clock_mono_us(), 5);
    assert_int_equal(clock_wall_ms(), 1700000000123);
    clock_fake_advance_us(999);
    assert_int_equal(clock_mono_us(), 1004);
    assert_int_equal(clock_wall_ms(), 1700000000123);
    clock_fake_advance_us(1);
    assert_int_equal(clock_wall_ms(), 1700000000124);
    clock_fake_off();
    assert_true(clock_mono_us() != 1005);
}

static void advance_real(void) {
    clock_fake_advance_us(1);
}

static void only_the_fake_can_be_moved(void **state) {
    (void)state;
    assert_true(support_aborts(advance_real));
}

static void check_against_library(uint64_t seconds) {
    char ours[CLOCK_RFC3339_BYTES];
    char theirs[80];
    time_t when = (time_t)seconds;
    struct tm parts;
    assert_non_null(gmtime_r(&when, &parts));
    (void)snprintf(theirs, sizeof(theirs), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
                   parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
                   parts.tm_min, parts.tm_sec, 7);
    clock_format_rfc3339(seconds * 1000 + 7, ours);
    assert_string_equal(ours, theirs);
}

static void the_calendar_is_right(void **state) {
    (void)state;
    for (uint64_t seconds = 0; seconds < 253402300800u; seconds += 86400u * 13 + 12345) {
        check_against_library(seconds);
    }
    const uint64_t edges[] = {0,        951782399,  951782400,  951868800,   1709164800,
                              68169599, 4107542400, 4107456000, 13574563200, 253402300799};
    for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
        check_against_library(edges[i]);
    }
}

static void years_beyond_four_digits_are_clamped(void **state) {
    (void)state;
    char text[CLOCK_RFC3339_BYTES];
    clock_format_rfc3339(UINT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
    clock_format_rfc3339(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_time_goes_on), cmocka_unit_test(the_fake_stands_still_and_moves),
        cmocka_unit_test(only_the_fake_can_be_moved), cmocka_unit_test(the_calendar_is_right),
        cmocka_unit_test(years_beyond_four_digits_are_clamped)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
