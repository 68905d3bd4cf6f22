/* ask: rpc_call_wait serves storage, where any instance will do. Routing is asked by owner, and the
 * choice of an owner belongs to the loop's thread: the worker posts the question there, sleeps, and
 * is woken by the answer. The bus ends every call it accepted (answer, time-out or lost
 * connection), so the sleep is bounded without a time-out of its own.
 *
 * An instance that dies, freezes or drains is no reason to bother the client: reads are asked again
 * of another storage instance, messages go to another routing instance with the same ids, which
 * find what the first one may have stored. A refusal of the second cannot undo that: it is told as
 * an unknown outcome. Writes to storage other than messages are not repeated here. */
#include "services/auth/ask.h"

#include "common/contract.h"
#include "proto/reason.h"
#include <pthread.h>
#include <string.h>

#define ASK_ARENA_BLOCK_BYTES (8u * 1024u)
#define ASK_ARENA_CAP_BYTES (2u * ENVELOPE_RAW_BYTES_MAX)
#define ASK_ATTEMPTS_MAX 3 /* instances that go one after the other */
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

static bool changes_nothing(enum message_type type) {
    switch (type) {
    case MESSAGE_HISTORY_REQUEST:
    case MESSAGE_HEADS_REQUEST:
    case MESSAGE_CONVERSATIONS_REQUEST:
    case MESSAGE_CONVERSATION_LOAD:
    case MESSAGE_BLOCKS_REQUEST:
    case MESSAGE_USER_GET:
    case MESSAGE_USERS_REQUEST:
    case MESSAGE_DEVICES_REQUEST:
    case MESSAGE_REVOCATIONS_REQUEST:
    case MESSAGE_INVITES_REQUEST:
    case MESSAGE_KEYS_REQUEST:
    case MESSAGE_STATS_REQUEST:
    case MESSAGE_AUDIT_REQUEST:
        return true;
    default:
        return false;
    }
}

enum err ask_storage(struct ask *ask, enum message_type type, const ProtobufCMessage *request,
                     enum message_type reply_type, ProtobufCMessage **reply) {
    buf_clear(&ask->request);
    buf_clear(&ask->reply);
    enum err error = envelope_pack(type, request, true, &ask->request);
    if (error != ERR_OK) {
        return error;
    }
    int attempts = changes_nothing(type) ? ASK_ATTEMPTS_MAX : 1;
    do {
        error = rpc_call_wait(ask->peers->storage, buf_data(&ask->request), buf_len(&ask->request),
                              &ask->reply);
    } while (error == ERR_CLOSED && --attempts > 0);
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
    struct rpc_peer *owner; /* the last one asked; the loop's thread */
    bool drains;            /* it said so */
    pthread_mutex_t lock;   /* guards the two below */
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

/* Another worker may have found out as well, and the instance may have gone since. */
static void note_drain(struct rpc *routing, const struct rpc_peer *owner) {
    struct rpc_peer *const *peers = NULL;
    size_t count = rpc_peers(routing, &peers);
    for (size_t i = 0; i < count; i++) {
        if (peers[i] == owner && peers[i]->up) {
            peers[i]->leaving = true;
        }
    }
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
    if (call->drains) {
        note_drain(routing, call->owner);
    }
    call->owner = rpc_owner(routing, call->conversation, strlen(call->conversation));
    enum err error = call->owner == NULL
                         ? ERR_UNAVAILABLE
                         : rpc_call_peer(routing, call->owner, buf_data(&call->ask->request),
                                         buf_len(&call->ask->request), on_owner_reply, call);
    if (error != ERR_OK) {
        end_call(call, error); /* nothing was sent */
    }
}

static enum err call_owner(struct owner_call *call, Pipit__SubmitReply **reply) {
    buf_clear(&call->ask->reply);
    call->done = false;
    loop_post_call(call->ask->peers->loop, &call->call, run_owner_call);
    CONTRACT(pthread_mutex_lock(&call->lock) == 0);
    while (!call->done) {
        CONTRACT(pthread_cond_wait(&call->ended, &call->lock) == 0);
    }
    CONTRACT(pthread_mutex_unlock(&call->lock) == 0);
    return call->status == ERR_OK
               ? unpack(call->ask, MESSAGE_SUBMIT_REPLY, (ProtobufCMessage **)reply)
               : call->status;
}

static bool was_drained(const Pipit__SubmitReply *reply) {
    return reply->n_results == 1 && reply->results[0]->reason == (uint32_t)REASON_DRAIN;
}

/* Whatever the last instance says, an earlier one may have stored the message. */
static enum err tell_doubt(enum err error, Pipit__SubmitReply *reply) {
    if (error != ERR_OK) {
        return ERR_TIMEOUT;
    }
    for (size_t i = 0; i < reply->n_results; i++) {
        Pipit__SubmitResult *result = reply->results[i];
        if (result->reason != (uint32_t)REASON_OK && result->reason != (uint32_t)REASON_CONFLICT) {
            result->reason = (uint32_t)REASON_TIMEOUT;
        }
    }
    return ERR_OK;
}

enum err ask_routing(struct ask *ask, const char *conversation, const Pipit__SubmitBatch *batch,
                     Pipit__SubmitReply **reply) {
    struct owner_call call = {.ask = ask, .conversation = conversation};
    buf_clear(&ask->request);
    enum err error = envelope_pack(MESSAGE_SUBMIT_BATCH, &batch->base, true, &ask->request);
    if (error != ERR_OK) {
        return error;
    }
    CONTRACT(pthread_mutex_init(&call.lock, NULL) == 0);
    CONTRACT(pthread_cond_init(&call.ended, NULL) == 0);
    bool doubt = false;
    for (int attempts = ASK_ATTEMPTS_MAX; attempts > 0; attempts--) {
        error = call_owner(&call, reply);
        call.drains = error == ERR_OK && was_drained(*reply);
        if (error != ERR_CLOSED && !call.drains) {
            break;
        }
        doubt = doubt || error == ERR_CLOSED;
    }
    CONTRACT(pthread_cond_destroy(&call.ended) == 0);
    CONTRACT(pthread_mutex_destroy(&call.lock) == 0);
    return doubt ? tell_doubt(error, *reply) : error;
}
