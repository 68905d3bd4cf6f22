/* support_process: what the tests of common share: proving that a contract aborts, and reading what
 * was written to a standard stream. */
#ifndef PIPIT_TESTS_UNIT_COMMON_SUPPORT_PROCESS_H
#define PIPIT_TESTS_UNIT_COMMON_SUPPORT_PROCESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Runs fn in a child process, its output thrown away; true when it ended by abort(). */
bool support_aborts(void (*fn)(void));

/* Diverts descriptor 1 or 2 into memory until support_capture_end, which puts it back and returns
 * the bytes written meanwhile, NUL-terminated, valid until the next call. One capture at a time. */
void support_capture_begin(int fd);
const char *support_capture_end(size_t *bytes);

/* A new file with this content; the name is valid until the next call. Removed at exit. */
const char *support_file(const char *content);

#endif
