/* conf_value: the notations of settings' values: numbers, switches, durations and sizes as people
 * write them in pipit.ini. Strict: no sign, no fraction, no space, no other spelling. */
#ifndef PIPIT_COMMON_CONF_VALUE_H
#define PIPIT_COMMON_CONF_VALUE_H

#include "common/conf.h"

/* Each reads the whole NUL-terminated text; ERR_INVALID when it is not of that form or does not fit
 * 64 bits, with *out untouched. Any thread. */
enum err conf_value_uint(const char *text, uint64_t *out) MUST_CHECK;
enum err conf_value_bool(const char *text, bool *out) MUST_CHECK;
/* Microseconds; units us ms s m h d; a bare "0" needs none. */
enum err conf_value_duration(const char *text, uint64_t *out) MUST_CHECK;
/* Bytes; units KiB MiB GiB, none means bytes. */
enum err conf_value_bytes(const char *text, uint64_t *out) MUST_CHECK;

/* The three types that are numbers. The type must be UINT, DURATION or BYTES. */
enum err conf_value_number(enum conf_type type, const char *text, uint64_t *out) MUST_CHECK;
/* "a duration (500us, 20ms, 15s, 10m, 24h, 60d)": ends the sentence "... is not". Never NULL. */
const char *conf_value_form(enum conf_type type);
/* One word for the reference page: text, number, switch, duration, size, secret file. Never NULL.
 */
const char *conf_value_type_name(enum conf_type type);

#endif
