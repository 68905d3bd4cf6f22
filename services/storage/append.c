/* append: hops 3 and 4 of a message's way: reads AppendBatch, writes AppendReply.
 *
 * All batches that wait become one append of the store, hence one commit; each requester's results
 * stand in its own reply, in its own arena. */
#include "services/storage/handler.h"

#include "common/contract.h"

static const struct handler ROWS[] = {
    {MESSAGE_APPEND_BATCH, MESSAGE_APPEND_REPLY, &pipit__append_reply__descriptor, HANDLER_APPEND,
     STORAGE_OP_APPEND, NULL},
};
const struct handler_table append_handlers = {ROWS, sizeof(ROWS) / sizeof(ROWS[0])};

size_t append_messages(const struct call *call) {
    const Pipit__AppendBatch *batch = (const Pipit__AppendBatch *)call->request;
    size_t count = 0;
    for (size_t i = 0; i < batch->n_runs; i++) {
        count += batch->runs[i]->n_messages;
    }
    return count;
}

void append_run(struct store *store, struct call *const *calls, size_t count) {
    CONTRACT(count >= 1 && count <= HANDLER_GROUP_CALLS_MAX);
    struct store_append items[HANDLER_GROUP_CALLS_MAX];
    for (size_t i = 0; i < count; i++) {
        items[i] = (struct store_append){(const Pipit__AppendBatch *)calls[i]->request,
                                         &calls[i]->arena, (Pipit__AppendReply *)calls[i]->reply};
    }
    enum err error = store->ops->append(store, items, count);
    for (size_t i = 0; i < count; i++) {
        calls[i]->error = error;
    }
}
