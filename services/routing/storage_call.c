/* storage_call: the few lines that every question to storage shares. Requests are packed into one
 * scratch buffer (bus_call copies), replies are unpacked into the arena of the turn, so neither
 * costs an allocation once the loop is warm. What fails: nothing was sent (the caller keeps its
 * work or refuses it), or the outcome is unknown (a time-out, a lost connection, an answer that
 * cannot be read); callers must tell the two apart, because only the first is safe to forget. */
#include "services/routing/storage_call.h"

#include <string.h>

enum err storage_call(struct routing *routing, enum message_type type,
                      const ProtobufCMessage *request, bus_reply_fn on_reply, void *user) {
    if (routing->closing) {
        return ERR_UNAVAILABLE;
    }
    buf_clear(&routing->scratch);
    enum err error = envelope_pack(type, request, false, &routing->scratch);
    if (error != ERR_OK) {
        return error;
    }
    error = rpc_call(routing->storage, buf_data(&routing->scratch), buf_len(&routing->scratch),
                     on_reply, user);
    if (error == ERR_FULL) {
        routing_limit_hit(LIMIT_HIT_STORAGE_CALLS);
    }
    return error;
}

enum err storage_reply(struct routing *routing, enum err status, enum message_type type,
                       const uint8_t *body, size_t body_bytes, ProtobufCMessage **reply) {
    if (status != ERR_OK) {
        return status;
    }
    enum err error = envelope_unpack_reply(type, body, body_bytes, &routing->turn, reply);
    if (error == ERR_NO_MEMORY) {
        routing_limit_hit(LIMIT_HIT_TURN_MEMORY);
    }
    return error;
}

enum err storage_error(uint32_t number) {
    enum err error = number <= INT32_MAX ? (enum err)number : ERR_INTERNAL;
    return strcmp(err_name(error), "unknown") == 0 ? ERR_INTERNAL : error;
}
