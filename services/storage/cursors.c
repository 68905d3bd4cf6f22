/* cursors: reads CursorsRequest, writes CursorsReply. Receipts are the most frequent write after
 * messages and the least urgent: all that wait are merged, and share the appends' commit. */
#include "services/storage/handler.h"

#include "common/contract.h"

static const struct handler ROWS[] = {
    {MESSAGE_CURSORS_REQUEST, MESSAGE_CURSORS_REPLY, &pipit__cursors_reply__descriptor,
     HANDLER_CURSORS, STORAGE_OP_CURSORS, NULL},
};
const struct handler_table cursors_handlers = {ROWS, sizeof(ROWS) / sizeof(ROWS[0])};

void cursors_run(struct store *store, struct call *const *calls, size_t count) {
    CONTRACT(count >= 1 && count <= HANDLER_GROUP_CALLS_MAX);
    struct store_cursors items[HANDLER_GROUP_CALLS_MAX];
    for (size_t i = 0; i < count; i++) {
        items[i] = (struct store_cursors){(const Pipit__CursorsRequest *)calls[i]->request,
                                          &calls[i]->arena, (Pipit__CursorsReply *)calls[i]->reply};
    }
    enum err error = store->ops->cursors(store, items, count);
    for (size_t i = 0; i < count; i++) {
        calls[i]->error = error;
    }
}
