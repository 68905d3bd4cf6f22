/* clock: the only source of time, replaceable in tests so that nothing sleeps. */
#ifndef PIPIT_COMMON_CLOCK_H
#define PIPIT_COMMON_CLOCK_H

#include <stdint.h>

/* Monotonic microseconds since an arbitrary start; never goes back. Any thread. */
uint64_t clock_mono_us(void);
/* Unix time in milliseconds (UTC); may step. Any thread. */
uint64_t clock_wall_ms(void);

/* Tests: freezes both clocks at the given values (before threads start); clock_fake_advance_us
 * moves both; clock_fake_off returns to real time. */
void clock_fake_on(uint64_t mono_us, uint64_t wall_ms);
void clock_fake_advance_us(uint64_t us);
void clock_fake_off(void);

/* Writes RFC 3339 UTC with milliseconds ("2026-11-21T12:00:00.123Z") into text, NUL-terminated. */
#define CLOCK_RFC3339_BYTES 25
void clock_format_rfc3339(uint64_t wall_ms, char text[CLOCK_RFC3339_BYTES]);

#endif
