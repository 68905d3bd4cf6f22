/* storage: the service behind its bus socket: takes requests, has the store answer them, publishes
 * membership changes. */
#ifndef PIPIT_STORAGE_STORAGE_H
#define PIPIT_STORAGE_STORAGE_H

#include "common/ops.h"
#include "services/storage/settings.h"

struct storage;
/* Opens the store and listens. On the loop's thread, as all here. `check` becomes ready when both
 * are done; its detail tells when writes are refused. Failure: `problem` says what to do. */
enum err storage_create(struct loop *loop, const struct storage_settings *settings,
                        struct ops_check *check, struct storage **out,
                        struct buf *problem) MUST_CHECK;
/* Takes no more requests; on_drained is called once when all taken ones are answered. */
void storage_drain(struct storage *storage, void (*on_drained)(void *user), void *user);
/* Finishes what was taken, flushes and closes the store. Blocks. */
void storage_destroy(struct storage **storage);

#endif
