/* write_batch: the writer thread.
 *
 * Happy path: the thread takes all calls that queued up while the last commit was under way, opens
 * a group, runs all their appends as one append, all cursor updates as one, the rest one by one,
 * ends the group (one commit, one fsync), and only then tells each caller. So batches grow exactly
 * as fast as the disk is slow, without a timer. Calls that are open at the same time have no order
 * among each other, hence the regrouping is free.
 *
 * Failure: when the group cannot be made durable, nothing of it is stored and every call gets the
 * error. Some errors can be one call's own fault (a damaged page, a reply that does not fit): then
 * each call is tried in a group of its own, so that one does not block all others for ever. A
 * failed fsync never returns.
 *
 * A call that waited longer than its caller does is refused instead of done: the caller has asked
 * again by then, and a store that falls behind must not spend its time on answers nobody takes. */
#include "services/storage/write_batch.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/mem.h"
#include "common/queue.h"
#include "services/storage/metrics.h"
#include <pthread.h>

struct write_batch {
    struct write_batch_config config;
    struct queue *queue;
    pthread_t thread;
    bool started;
};

/* The calls of one kind out of a group. */
static size_t pick(struct call *const *calls, size_t count, enum handler_kind kind,
                   struct call **picked) {
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        if (calls[i]->handler->kind == kind) {
            picked[found++] = calls[i];
        }
    }
    return found;
}

static void run_calls(struct store *store, struct call *const *calls, size_t count) {
    struct call *picked[HANDLER_GROUP_CALLS_MAX];
    size_t found = pick(calls, count, HANDLER_APPEND, picked);
    if (found > 0) {
        append_run(store, picked, found);
    }
    found = pick(calls, count, HANDLER_CURSORS, picked);
    if (found > 0) {
        cursors_run(store, picked, found);
    }
    found = pick(calls, count, HANDLER_WRITE, picked);
    for (size_t i = 0; i < found; i++) {
        picked[i]->error = picked[i]->handler->run(store, picked[i]);
    }
}

static enum err run_group(struct write_batch *batch, struct call *const *calls, size_t count) {
    struct store *store = batch->config.store;
    enum err error = ERR_OK;
    for (size_t i = 0; i < count && error == ERR_OK; i++) {
        error = call_reset_reply(calls[i]);
    }
    if (error == ERR_OK) {
        error = store->ops->group_begin(store);
    }
    if (error == ERR_OK) {
        run_calls(store, calls, count);
        error = store->ops->group_end(store);
    }
    return error;
}

/* Errors that one call of the group may have brought upon the others. */
static bool blames_one(enum err error) {
    switch (error) {
    case ERR_NO_SPACE:
    case ERR_IO:
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
    case ERR_OK:
        return false;
    default:
        return true;
    }
}

static size_t messages_of(const struct call *call) {
    return call->handler->kind == HANDLER_APPEND ? append_messages(call) : 0;
}

static void finish(struct write_batch *batch, struct call *const *calls, size_t count,
                   enum err error) {
    size_t messages = 0;
    for (size_t i = 0; i < count; i++) {
        if (error != ERR_OK) {
            calls[i]->error = error;
        }
        messages += messages_of(calls[i]);
    }
    if (error == ERR_OK && messages > 0) {
        storage_metrics_group(messages);
    }
    if (batch->config.on_group != NULL) {
        batch->config.on_group(error, batch->config.user);
    }
    for (size_t i = 0; i < count; i++) {
        batch->config.on_done(calls[i], batch->config.user);
    }
}

static void commit(struct write_batch *batch, struct call *const *calls, size_t count) {
    enum err error = run_group(batch, calls, count);
    if (count == 1 || !blames_one(error)) {
        finish(batch, calls, count, error);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        finish(batch, &calls[i], 1, run_group(batch, &calls[i], 1));
    }
}

/* Refuses calls that waited too long; those left are moved together. Returns their count. */
static size_t refuse_stale(struct write_batch *batch, struct call **calls, size_t count) {
    uint64_t wait_max_us = batch->config.wait_max_us;
    uint64_t now_us = wait_max_us > 0 ? clock_mono_us() : 0;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (wait_max_us > 0 && now_us - calls[i]->queued_us > wait_max_us) {
            storage_metrics_limit_hit(STORAGE_LIMIT_WRITE_WAIT);
            calls[i]->error = ERR_UNAVAILABLE;
            batch->config.on_done(calls[i], batch->config.user);
        } else {
            calls[kept++] = calls[i];
        }
    }
    return kept;
}

static void *thread_main(void *argument) {
    struct write_batch *batch = argument;
    struct store *store = batch->config.store;
    struct call *calls[HANDLER_GROUP_CALLS_MAX];
    size_t count = 0;
    while ((count = queue_pop_many(batch->queue, (void **)calls, HANDLER_GROUP_CALLS_MAX,
                                   UINT64_MAX)) > 0) {
        storage_metrics_queue(count + queue_count(batch->queue));
        size_t begin = 0;
        while (begin < count) {
            count = begin + refuse_stale(batch, &calls[begin], count - begin);
            if (begin == count) {
                break;
            }
            size_t end = begin;
            size_t messages = 0;
            do {
                messages += messages_of(calls[end++]);
            } while (end < count &&
                     messages + messages_of(calls[end]) <= batch->config.messages_max);
            commit(batch, &calls[begin], end - begin);
            store->ops->maintain(store);
            begin = end;
        }
        storage_metrics_queue(queue_count(batch->queue));
    }
    return NULL;
}

enum err write_batch_create(const struct write_batch_config *config, struct write_batch **out) {
    struct write_batch *batch = mem_zalloc(1, sizeof(*batch));
    if (batch == NULL) {
        return ERR_NO_MEMORY;
    }
    batch->config = *config;
    enum err error = queue_create(config->queue_max, &batch->queue);
    if (error == ERR_OK && pthread_create(&batch->thread, NULL, thread_main, batch) != 0) {
        error = ERR_FULL;
    }
    if (error != ERR_OK) {
        write_batch_destroy(&batch);
        return error;
    }
    batch->started = true;
    (void)pthread_setname_np(batch->thread, "writer"); /* a name is only for humans */
    *out = batch;
    return ERR_OK;
}

void write_batch_destroy(struct write_batch **batch) {
    struct write_batch *old = *batch;
    if (old == NULL) {
        return;
    }
    if (old->started) {
        queue_close(old->queue);
        (void)pthread_join(old->thread, NULL); /* ours, joined once */
    }
    if (old->queue != NULL) {
        queue_destroy(&old->queue);
    }
    mem_free(old);
    *batch = NULL;
}

enum err write_batch_submit(struct write_batch *batch, struct call *call) {
    CONTRACT(call->handler->kind != HANDLER_READ);
    call->queued_us = clock_mono_us();
    return queue_push(batch->queue, call);
}
