/* clock: the two clocks of a process, and a fake for tests.
 *
 * Everything that decides by time asks here, so that a test moves time instead of sleeping. The
 * fake is a flag and two atomics: threads started after clock_fake_on see it without locks. The
 * formatter does its own calendar arithmetic (days to civil date) because gmtime_r may take the
 * time zone lock and every log line calls it. */
#include "common/clock.h"

#include "common/contract.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

static atomic_bool fake_active;
static atomic_uint_fast64_t fake_mono_us;
static atomic_uint_fast64_t fake_wall_us;

static struct timespec read_clock(clockid_t clock) {
    struct timespec now = {0};
    CONTRACT(clock_gettime(clock, &now) == 0);
    return now;
}

uint64_t clock_mono_us(void) {
    if (atomic_load_explicit(&fake_active, memory_order_acquire)) {
        return atomic_load_explicit(&fake_mono_us, memory_order_acquire);
    }
    struct timespec now = read_clock(CLOCK_MONOTONIC);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

uint64_t clock_wall_ms(void) {
    if (atomic_load_explicit(&fake_active, memory_order_acquire)) {
        return atomic_load_explicit(&fake_wall_us, memory_order_acquire) / 1000u;
    }
    struct timespec now = read_clock(CLOCK_REALTIME);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

void clock_fake_on(uint64_t mono_us, uint64_t wall_ms) {
    atomic_store(&fake_mono_us, mono_us);
    atomic_store(&fake_wall_us, wall_ms * 1000u);
    atomic_store(&fake_active, true);
}

void clock_fake_advance_us(uint64_t us) {
    CONTRACT(atomic_load(&fake_active));
    atomic_fetch_add(&fake_mono_us, us);
    atomic_fetch_add(&fake_wall_us, us);
}

void clock_fake_off(void) {
    atomic_store(&fake_active, false);
}

/* Days since 1970-01-01 to the proleptic Gregorian date, counted in 400-year eras that begin in
 * March, so that the leap day is the last day of a year. */
static void civil_from_days(uint64_t days, unsigned *year, unsigned *month, unsigned *day) {
    uint64_t shifted = days + 719468u; /* days from 0000-03-01 to 1970-01-01 */
    uint64_t era = shifted / 146097u;
    uint64_t day_of_era = shifted % 146097u;
    uint64_t year_of_era =
        (day_of_era - day_of_era / 1460u + day_of_era / 36524u - day_of_era / 146096u) / 365u;
    uint64_t day_of_year =
        day_of_era - (365u * year_of_era + year_of_era / 4u - year_of_era / 100u);
    uint64_t month_from_march = (5u * day_of_year + 2u) / 153u;
    *day = (unsigned)(day_of_year - (153u * month_from_march + 2u) / 5u + 1u);
    *month = (unsigned)(month_from_march < 10u ? month_from_march + 3u : month_from_march - 9u);
    *year = (unsigned)(year_of_era + era * 400u + (*month <= 2u ? 1u : 0u));
}

static char *put_digits(char *text, unsigned value, unsigned digits) {
    for (unsigned i = digits; i > 0; i--) {
        text[i - 1] = (char)('0' + value % 10u);
        value /= 10u;
    }
    return text + digits;
}

void clock_format_rfc3339(uint64_t wall_ms, char text[CLOCK_RFC3339_BYTES]) {
    const uint64_t last_ms = 253402300799999u; /* 9999-12-31T23:59:59.999Z: four digits of year */
    uint64_t ms = wall_ms < last_ms ? wall_ms : last_ms;
    unsigned year = 0;
    unsigned month = 0;
    unsigned day = 0;
    civil_from_days(ms / 86400000u, &year, &month, &day);
    unsigned of_day_ms = (unsigned)(ms % 86400000u);
    char *at = put_digits(text, year, 4);
    *at++ = '-';
    at = put_digits(at, month, 2);
    *at++ = '-';
    at = put_digits(at, day, 2);
    *at++ = 'T';
    at = put_digits(at, of_day_ms / 3600000u, 2);
    *at++ = ':';
    at = put_digits(at, of_day_ms / 60000u % 60u, 2);
    *at++ = ':';
    at = put_digits(at, of_day_ms / 1000u % 60u, 2);
    *at++ = '.';
    at = put_digits(at, of_day_ms % 1000u, 3);
    *at++ = 'Z';
    *at = '\0';
}
