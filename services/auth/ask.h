/* ask: questions to storage and routing in the straight-line, blocking form that handlers on worker
 * threads use. Never on the loop's thread. */
#ifndef PIPIT_AUTH_ASK_H
#define PIPIT_AUTH_ASK_H

#include "common/rpc.h"
#include "proto/accounts.pb-c.h"
#include "proto/envelope.h"
#include "proto/storage.pb-c.h"
#include "proto/submit.pb-c.h"

/* Where the answers come from; set up once. */
struct ask_peers {
    struct loop *loop;
    struct rpc *storage, *routing;
};
/* One worker's exchange: everything received lives in the arena until ask_finish. */
struct ask {
    const struct ask_peers *peers;
    struct arena arena;
    struct buf request, reply;
};
void ask_init(struct ask *ask, const struct ask_peers *peers);
void ask_finish(struct ask *ask);

/* Asks storage and waits. ERR_OK and *reply, or the bus's error, or the `error` field of the reply
 * (then *reply is set, too). ERR_TIMEOUT, ERR_CLOSED and ERR_CORRUPT (an answer that cannot be
 * read) mean that the outcome is unknown. */
enum err ask_storage(struct ask *ask, enum message_type type, const ProtobufCMessage *request,
                     enum message_type reply_type, ProtobufCMessage **reply) MUST_CHECK;
/* ASK(ask, USER_GET, &request, USER_REPLY, &reply): the typed form. */
#define ASK(ask, type, request, reply_type, reply)                                                 \
    ask_storage((ask), MESSAGE_##type, &(request)->base, MESSAGE_##reply_type,                     \
                (ProtobufCMessage **)(reply))
/* Asks the routing instance that owns the conversation; when that one is lost or drains, the next
 * owner. Errors of the bus only; ERR_TIMEOUT: the outcome is unknown. A result's reason `timeout`
 * says the same of its message. */
enum err ask_routing(struct ask *ask, const char *conversation, const Pipit__SubmitBatch *batch,
                     Pipit__SubmitReply **reply) MUST_CHECK;

/* protobuf-c's strings are not const; a request only borrows them. */
static inline char *ask_text(const char *text) {
    return (char *)text;
}
static inline ProtobufCBinaryData ask_bytes(const void *bytes, size_t count) {
    return (ProtobufCBinaryData){.len = count, .data = (uint8_t *)bytes};
}

#endif
