/* chat_payload: what an MQTT client publishes to a chat topic: plain UTF-8 text, or the `d` of a
 * send frame without conversation ({"body":{...},"message":"...","reply":n}), so that
 * `mosquitto_pub -t pipit/c/family/send -m "dinner"` talks and programs can say more.
 *
 * The rule is one: a JSON object whose "body" is an object is structured, and its mistakes are
 * errors; everything else is text, JSON of other shapes included. */
#ifndef PIPIT_PROTO_CHAT_PAYLOAD_H
#define PIPIT_PROTO_CHAT_PAYLOAD_H

#include "common/buf.h"
#include "common/id.h"
#include "proto/reason.h"
#include "proto/slice.h"

struct chat_payload {
    struct slice body; /* JSON object; points into the payload or, for text, into scratch */
    bool has_message;
    uint8_t message[ID_UUID_BYTES];
    uint64_t reply; /* 0 = none */
};
/* scratch receives {"text":"..."} for plain text; it is cleared first and must outlive *chat.
 * REASON_OK; BAD_UTF8, MALFORMED, TOO_LARGE, INVALID_ID; OVERLOAD when memory is short. An empty
 * payload is MALFORMED. *chat is untouched on failure. */
enum reason chat_payload_decode(const uint8_t *payload, size_t count, struct buf *scratch,
                                struct chat_payload *chat) MUST_CHECK;

#endif
