/* write_batch: group commit: one thread takes every write that waits and makes them durable
 * together, so the rate of messages is not the disk's rate of fsyncs. */
#ifndef PIPIT_STORAGE_WRITE_BATCH_H
#define PIPIT_STORAGE_WRITE_BATCH_H

#include "services/storage/handler.h"

struct write_batch;
struct write_batch_config {
    struct store *store; /* borrowed */
    size_t queue_max;    /* calls that may wait */
    size_t messages_max; /* in one commit; a single larger batch still goes whole */
    /* A call that waited longer ends with ERR_UNAVAILABLE, nothing stored; 0 = waits for ever. */
    uint64_t wait_max_us;
    /* Both on the writer's thread. on_done: the call is durable or failed (call->error); it may be
     * reused at once. on_group: after each group with what group_begin or group_end said; may be
     * NULL. */
    void (*on_done)(struct call *call, void *user);
    void (*on_group)(enum err error, void *user);
    void *user;
};
/* ERR_NO_MEMORY, ERR_FULL (no thread). */
enum err write_batch_create(const struct write_batch_config *config,
                            struct write_batch **out) MUST_CHECK;
/* Finishes what waits, then ends the thread. Blocks. */
void write_batch_destroy(struct write_batch **batch);
/* The call (HANDLER_WRITE, _APPEND or _CURSORS, with an initialised reply) is the batch's until
 * on_done. ERR_FULL: queue_max calls wait; ERR_CLOSED. Any thread; does not block. */
enum err write_batch_submit(struct write_batch *batch, struct call *call) MUST_CHECK;

#endif
