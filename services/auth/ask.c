/* ask: rpc_call_wait serves storage, where any instance will do. Routing is asked by owner, and the
 * choice of an owner belongs to the loop's thread: the worker posts the question there, sleeps, and
 * is woken by the answer. The bus ends every call it accepted (answer, time-out or lost
 * connection), so the sleep is bounded without a time-out of its own. */
#include "services/auth/ask.h"

#include "common/contract.h"
#include <pthread.h>
#include <string.h>

#define ASK_ARENA_BLOCK_BYTES (8u * 1024u)
#define ASK_ARENA_CAP_BYTES (2u * ENVELOPE_RAW_BYTES_MAX)
#define ASK_MESSAGE_BYTES_MAX (ENVELOPE_RAW_BYTES_MAX + ENVELOPE_BYTES)

void ask_init(struct ask *ask, const struct ask_peers *peers) {
    ask->peers = peers;
    arena_init(&ask->arena, ASK_ARENA_BLOCK_BYTES, ASK_ARENA_CAP_BYTES);
    buf_init(&ask->request, ASK_MESSAGE_BYTES_MAX);
    buf_init(&ask->reply, ASK_MESSAGE_BYTES_MAX);
}

void ask_finish(struct ask *ask) {
    arena_finish(&ask->arena);
    buf_finish(&ask->request);
    buf_finish(&ask->reply);
}

static enum err unpack(struct ask *ask, enum message_type type, ProtobufCMessage **reply) {
    enum err error = envelope_unpack_reply(type, buf_data(&ask->reply), buf_len(&ask->reply),
                                           &ask->arena, reply);
    buf_clear(&ask->reply);
    return error;
}

/* Every reply of storage begins with `uint32 error = 1`. */
static enum err error_of(const ProtobufCMessage *reply) {
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(reply->descriptor, 1);
    CONTRACT(field != NULL && field->type == PROTOBUF_C_TYPE_UINT32 &&
             strcmp(field->name, "error") == 0);
    uint32_t number = 0;
    memcpy(&number, (const char *)reply + field->offset, sizeof number);
    enum err error = number <= INT32_MAX ? (enum err)number : ERR_INTERNAL;
    return strcmp(err_name(error), "unknown") == 0 ? ERR_INTERNAL : error; /* a newer peer's */
}

enum err ask_storage(struct ask *ask, enum message_type type, const ProtobufCMessage *request,
                     enum message_type reply_type, ProtobufCMessage **reply) {
    buf_clear(&ask->request);
    buf_clear(&ask->reply);
    enum err error = envelope_pack(type, request, true, &ask->request);
    if (error == ERR_OK) {
        error = rpc_call_wait(ask->peers->storage, buf_data(&ask->request), buf_len(&ask->request),
                              &ask->reply);
    }
    if (error == ERR_OK) {
        error = unpack(ask, reply_type, reply);
    }
    return error == ERR_OK ? error_of(*reply) : error;
}

/* --- the owner of a conversation */

struct owner_call {
    struct loop_call call;
    struct ask *ask;
    const char *conversation;
    pthread_mutex_t lock; /* guards the two below */
    pthread_cond_t ended;
    bool done;
    enum err status;
};

/* On the loop's thread; the last touch of *call. */
static void end_call(struct owner_call *call, enum err status) {
    CONTRACT(pthread_mutex_lock(&call->lock) == 0);
    call->status = status;
    call->done = true;
    CONTRACT(pthread_cond_signal(&call->ended) == 0);
    CONTRACT(pthread_mutex_unlock(&call->lock) == 0);
}

static void on_owner_reply(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct owner_call *call = user;
    if (status == ERR_OK) {
        status = buf_append(&call->ask->reply, body, body_bytes); /* the worker sleeps */
    }
    end_call(call, status);
}

static void run_owner_call(struct loop_call *posted) {
    struct owner_call *call = CONTAINER_OF(posted, struct owner_call, call);
    struct rpc *routing = call->ask->peers->routing;
    struct rpc_peer *owner = rpc_owner(routing, call->conversation, strlen(call->conversation));
    enum err error = owner == NULL
                         ? ERR_UNAVAILABLE
                         : rpc_call_peer(routing, owner, buf_data(&call->ask->request),
                                         buf_len(&call->ask->request), on_owner_reply, call);
    if (error != ERR_OK) {
        end_call(call, error); /* nothing was sent */
    }
}

enum err ask_routing(struct ask *ask, const char *conversation, const Pipit__SubmitBatch *batch,
                     Pipit__SubmitReply **reply) {
    struct owner_call call = {.ask = ask, .conversation = conversation};
    buf_clear(&ask->request);
    buf_clear(&ask->reply);
    enum err error = envelope_pack(MESSAGE_SUBMIT_BATCH, &batch->base, true, &ask->request);
    if (error != ERR_OK) {
        return error;
    }
    CONTRACT(pthread_mutex_init(&call.lock, NULL) == 0);
    CONTRACT(pthread_cond_init(&call.ended, NULL) == 0);
    loop_post_call(ask->peers->loop, &call.call, run_owner_call);
    CONTRACT(pthread_mutex_lock(&call.lock) == 0);
    while (!call.done) {
        CONTRACT(pthread_cond_wait(&call.ended, &call.lock) == 0);
    }
    CONTRACT(pthread_mutex_unlock(&call.lock) == 0);
    CONTRACT(pthread_cond_destroy(&call.ended) == 0);
    CONTRACT(pthread_mutex_destroy(&call.lock) == 0);
    return call.status == ERR_OK ? unpack(ask, MESSAGE_SUBMIT_REPLY, (ProtobufCMessage **)reply)
                                 : call.status;
}
