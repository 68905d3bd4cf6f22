/* handler: the table of requests that storage answers. Each handler file (append.c, history.c,
 * cursors.c, conversations.c, accounts.c) lists its own; dispatch.c finds one by message type. */
#ifndef PIPIT_STORAGE_HANDLER_H
#define PIPIT_STORAGE_HANDLER_H

#include "proto/envelope.h"
#include "services/storage/metrics.h"
#include "services/storage/store.h"

enum handler_kind {
    HANDLER_READ,    /* a reading worker runs it */
    HANDLER_WRITE,   /* the writer runs it in a group, one after another */
    HANDLER_APPEND,  /* the writer merges all of a group into one append */
    HANDLER_CURSORS, /* likewise */
};
struct call;
struct handler {
    enum message_type request_type, reply_type;
    const ProtobufCMessageDescriptor *reply;
    enum handler_kind kind;
    enum storage_op op;
    enum err (*run)(struct store *store, struct call *call); /* READ and WRITE */
};
/* One request on its way through the store. */
struct call {
    const struct handler *handler;
    ProtobufCMessage *request, *reply; /* in arena */
    struct arena arena;                /* of this request alone */
    Pipit__MembersChanged *changed;    /* to publish before the reply; NULL = nothing */
    enum err error;
    uint64_t queued_us; /* clock_mono_us when it began to wait for a writer or reader */
};

/* Gives the call a fresh, empty reply. ERR_NO_MEMORY. */
enum err call_reset_reply(struct call *call) MUST_CHECK;
/* Writes call->error into the reply and drops from it what an error may not carry. */
void call_finish(struct call *call);

/* NULL: storage does not answer this type. */
const struct handler *dispatch_find(enum message_type type);

/* One append, one cursor update for all calls; sets each call's error. count >= 1. */
void append_run(struct store *store, struct call *const *calls, size_t count);
void cursors_run(struct store *store, struct call *const *calls, size_t count);
/* Messages in an AppendBatch: what a commit's size is counted in. */
size_t append_messages(const struct call *call);

/* Upper bound of calls in one group, so that their lists fit the stack. */
#define HANDLER_GROUP_CALLS_MAX 512

struct handler_table {
    const struct handler *rows;
    size_t count;
};
extern const struct handler_table append_handlers, history_handlers, cursors_handlers,
    conversations_handlers, accounts_handlers;

#endif
