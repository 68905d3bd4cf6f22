/* support: a store in a temporary directory, and a few writes, for the unit tests of storage.
 * Functions that return enum err also serve child processes, where cmocka must not be used. */
#ifndef PIPIT_TESTS_UNIT_STORAGE_SUPPORT_H
#define PIPIT_TESTS_UNIT_STORAGE_SUPPORT_H

#include "services/storage/store.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SUPPORT_NOW_MS 1700000000000u

/* New directory below /tmp; removed with everything in it by support_remove. */
void support_make_dir(char dir[64]);
void support_remove(const char *dir);
/* Opens "sqlite:" + dir; problem may be NULL. */
enum err support_open(const char *dir, struct store **out, struct buf *problem);
/* Makes the user u_<name>. */
enum err support_user(struct store *store, struct arena *arena, const char *name);
/* Makes a group of one. */
enum err support_group(struct store *store, struct arena *arena, const char *id,
                       const char *creator);
/* A batch of one run of `count` messages from first_seq on; in the arena; NULL without memory. */
Pipit__AppendBatch *support_batch(struct arena *arena, const char *conversation, uint64_t first_seq,
                                  size_t count, size_t body_bytes);
/* Appends one message; the call's error, else the run's. */
enum err support_append(struct store *store, struct arena *arena, const char *conversation,
                        uint64_t seq, size_t body_bytes);
/* Highest seq; UINT64_MAX on an error. */
uint64_t support_head(struct store *store, struct arena *arena, const char *conversation);
/* Reads all messages and checks that they are dense; their number. */
size_t support_count_dense(struct store *store, const char *conversation);

#endif
