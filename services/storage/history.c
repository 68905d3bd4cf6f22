/* history: reads of the log: pages, heads, and the origin of an MQTT publication. Limits and rights
 * are the store's matter; these rows only name the member that answers each message. */
#include "services/storage/handler.h"

static enum err run_history(struct store *store, struct call *call) {
    return store->ops->history(store, (const Pipit__HistoryRequest *)call->request, &call->arena,
                               (Pipit__HistoryReply *)call->reply);
}

static enum err run_heads(struct store *store, struct call *call) {
    return store->ops->heads(store, (const Pipit__HeadsRequest *)call->request, &call->arena,
                             (Pipit__HeadsReply *)call->reply);
}

static enum err run_origin(struct store *store, struct call *call) {
    return store->ops->origin(store, (const Pipit__OriginRequest *)call->request, &call->arena,
                              (Pipit__OriginReply *)call->reply);
}

static const struct handler ROWS[] = {
    {MESSAGE_HISTORY_REQUEST, MESSAGE_HISTORY_REPLY, &pipit__history_reply__descriptor,
     HANDLER_READ, STORAGE_OP_HISTORY, run_history},
    {MESSAGE_HEADS_REQUEST, MESSAGE_HEADS_REPLY, &pipit__heads_reply__descriptor, HANDLER_READ,
     STORAGE_OP_HISTORY, run_heads},
    {MESSAGE_ORIGIN_REQUEST, MESSAGE_ORIGIN_REPLY, &pipit__origin_reply__descriptor, HANDLER_READ,
     STORAGE_OP_HISTORY, run_origin},
};
const struct handler_table history_handlers = {ROWS, sizeof(ROWS) / sizeof(ROWS[0])};
