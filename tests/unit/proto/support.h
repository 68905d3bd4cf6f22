/* support: what the tests of proto share: cmocka, exact-size copies of input (so that the address
 * sanitizer sees the first byte read too far), and comparison of buffers with text. */
#ifndef PIPIT_TESTS_PROTO_SUPPORT_H
#define PIPIT_TESTS_PROTO_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/buf.h"
#include "proto/slice.h"

/* A block of the heap of exactly count bytes; free() it. */
uint8_t *support_copy(const void *bytes, size_t count);

void support_expect_slice(struct slice slice, const char *text);
/* The buffer holds exactly this text; it is cleared afterwards. */
void support_expect_text(struct buf *buf, const char *text);
void support_expect_bytes(struct buf *buf, const void *bytes, size_t count);

/* A deterministic stream of bytes for mutations (xorshift64*). */
uint64_t support_random(uint64_t *state);

#endif
