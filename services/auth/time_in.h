/* time_in: RFC 3339 times from clients, UTC alone. */
#ifndef PIPIT_AUTH_TIME_IN_H
#define PIPIT_AUTH_TIME_IN_H

#include "common/err.h"
#include <stdint.h>

/* "2026-11-21T12:00:00Z" or with 1 to 9 digits of fraction (cut to milliseconds). ERR_INVALID:
 * anything else, a day that no calendar has, or before 1970. */
enum err time_in_parse(const char *text, uint64_t *wall_ms) MUST_CHECK;

#endif
