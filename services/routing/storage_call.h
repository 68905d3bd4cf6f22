/* storage_call: one question to storage, packed and sent; and its answer, checked and unpacked. */
#ifndef PIPIT_ROUTING_STORAGE_CALL_H
#define PIPIT_ROUTING_STORAGE_CALL_H

#include "proto/envelope.h"
#include "services/routing/state.h"

/* Packs and calls the storage instance with the fewest calls outstanding. on_reply comes exactly
 * once, later. ERR_UNAVAILABLE, ERR_FULL, ERR_NO_MEMORY, ERR_TOO_LARGE: nothing was sent. */
enum err storage_call(struct routing *routing, enum message_type type,
                      const ProtobufCMessage *request, bus_reply_fn on_reply,
                      void *user) MUST_CHECK;
/* Unpacks a reply into the turn's arena. The call's own failure comes back as it is (ERR_TIMEOUT,
 * ERR_CLOSED: unknown outcome); a reply that cannot be read is ERR_CORRUPT: unknown as well. */
enum err storage_reply(struct routing *routing, enum err status, enum message_type type,
                       const uint8_t *body, size_t body_bytes, ProtobufCMessage **reply) MUST_CHECK;
/* enum err of a reply's `error` field; numbers of a newer peer become ERR_INTERNAL. */
enum err storage_error(uint32_t number);

#endif
