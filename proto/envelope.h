/* envelope: the eight bytes in front of every bus message, and packing and unpacking of the
 * Protocol Buffers message behind them. Unpacking allocates from an arena alone: no free, one reset
 * a turn.
 *
 * Layout: version u8 (1) | flags u8 (bit 0: LZ4) | type u16 LE (message.def) | raw_bytes u32 LE
 * (length of the unpacked payload) | payload. */
#ifndef PIPIT_PROTO_ENVELOPE_H
#define PIPIT_PROTO_ENVELOPE_H

#include "common/arena.h"
#include "common/buf.h"
#include <protobuf-c/protobuf-c.h>

#define ENVELOPE_BYTES 8
#define ENVELOPE_RAW_BYTES_MAX (8u * 1024u * 1024u) /* cap on what LZ4 may expand to */
#define ENVELOPE_COMPRESS_BYTES_MIN 4096u           /* design section 5: batches above 4 KiB */

enum message_type {
    MESSAGE_NONE = 0,
#define MESSAGE_ROW(name, number, descriptor) MESSAGE_##name = (number),
#include "proto/message.def"
#undef MESSAGE_ROW
};
/* Lower-case name ("append_batch") for logs and metrics; "unknown". */
const char *message_type_name(enum message_type type);

/* Appends envelope and packed message to out. compress: LZ4 when the payload is at least
 * ENVELOPE_COMPRESS_BYTES_MIN and shrinks. ERR_TOO_LARGE, ERR_NO_MEMORY: out is unchanged. */
enum err envelope_pack(enum message_type type, const ProtobufCMessage *message, bool compress,
                       struct buf *out) MUST_CHECK;
/* The type of a received message without unpacking it; MESSAGE_NONE when it is no valid envelope.
 */
enum message_type envelope_type(const uint8_t *bytes, size_t count);
/* Unpacks a message whose envelope must carry `type`. Everything in *message lives in the arena
 * (bytes fields are copies). ERR_INVALID: not this type or malformed; ERR_TOO_LARGE; ERR_NO_MEMORY.
 */
enum err envelope_unpack(enum message_type type, const uint8_t *bytes, size_t count,
                         struct arena *arena, ProtobufCMessage **message) MUST_CHECK;
/* The same for an answer. A service that cannot answer in the reply's own type (it does not know
 * the request, or has no room for it) answers a StatusReply: its error is returned,
 * ERR_UNSUPPORTED, ERR_UNAVAILABLE, ERR_FULL, ERR_NO_MEMORY or ERR_INVALID, and nothing was done.
 * ERR_CORRUPT: the answer cannot be read, the outcome is unknown. */
enum err envelope_unpack_reply(enum message_type type, const uint8_t *bytes, size_t count,
                               struct arena *arena, ProtobufCMessage **message) MUST_CHECK;
/* Typed forms: ENVELOPE_UNPACK(SUBMIT_BATCH, bytes, count, arena, &batch) with Pipit__SubmitBatch
 * *.
 */
#define ENVELOPE_UNPACK(name, bytes, count, arena, out)                                            \
    envelope_unpack(MESSAGE_##name, (bytes), (count), (arena), (ProtobufCMessage **)(out))
#define ENVELOPE_UNPACK_REPLY(name, bytes, count, arena, out)                                      \
    envelope_unpack_reply(MESSAGE_##name, (bytes), (count), (arena), (ProtobufCMessage **)(out))

#endif
