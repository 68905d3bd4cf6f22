/* dispatch: which handler answers which message, and what all replies have in common.
 *
 * Every reply of storage.proto and accounts.proto has `error` as its field 1; the descriptor tells
 * where it lies, so one function serves all. The tables are small and the lookup runs once a
 * request: an array indexed by type, filled at the first use. */
#include "services/storage/handler.h"

#include "common/contract.h"
#include <pthread.h>
#include <string.h>

#define TYPES_MAX 128

static const struct handler *by_type[TYPES_MAX];
static pthread_once_t filled = PTHREAD_ONCE_INIT;

static void add(const struct handler_table *table) {
    for (size_t i = 0; i < table->count; i++) {
        const struct handler *row = &table->rows[i];
        CONTRACT((size_t)row->request_type < TYPES_MAX && by_type[row->request_type] == NULL);
        by_type[row->request_type] = row;
    }
}

static void fill(void) {
    add(&append_handlers);
    add(&history_handlers);
    add(&cursors_handlers);
    add(&conversations_handlers);
    add(&accounts_handlers);
}

const struct handler *dispatch_find(enum message_type type) {
    (void)pthread_once(&filled, fill); /* cannot fail with a valid control */
    return (size_t)type < TYPES_MAX ? by_type[type] : NULL;
}

enum err call_reset_reply(struct call *call) {
    const ProtobufCMessageDescriptor *descriptor = call->handler->reply;
    if (call->reply == NULL) {
        call->reply = arena_alloc(&call->arena, descriptor->sizeof_message);
        if (call->reply == NULL) {
            return ERR_NO_MEMORY;
        }
    }
    protobuf_c_message_init(descriptor, call->reply);
    call->changed = NULL;
    return ERR_OK;
}

void call_finish(struct call *call) {
    if (call->error == ERR_OK) {
        return; /* a batch may carry errors of its own parts */
    }
    if (call->error != ERR_REUSED) {        /* its reply says whose family ended */
        err_ignore(call_reset_reply(call)); /* the reply exists: no allocation */
    }
    call->changed = NULL;
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(call->handler->reply, 1);
    CONTRACT(field != NULL && field->type == PROTOBUF_C_TYPE_UINT32);
    uint32_t error = (uint32_t)call->error;
    memcpy((uint8_t *)call->reply + field->offset, &error, sizeof(error));
}
