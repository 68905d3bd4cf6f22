/* ws_frame: WebSocket framing (RFC 6455 section 5) for sockets that share one read buffer. A whole
 * frame is unmasked where it lies and handed out without a copy; an idle connection keeps 32 bytes.
 * Only the pieces of a fragmented message are copied, into a buffer taken for that message alone.
 *
 * Strict: masks, reserved bits, opcodes, minimal lengths, control frames, close codes, UTF-8 (also
 * of a frame that has only half arrived); binary messages are refused, pipit.v1 is text. */
#ifndef PIPIT_PROTO_WS_FRAME_H
#define PIPIT_PROTO_WS_FRAME_H

#include "common/buf.h"
#include "proto/reason.h"
#include "proto/slice.h"
#include "proto/utf8.h"

enum ws_opcode {
    WS_CONTINUATION = 0x0,
    WS_TEXT = 0x1,
    WS_BINARY = 0x2,
    WS_CLOSE = 0x8,
    WS_PING = 0x9,
    WS_PONG = 0xA
};

struct ws_reader {
    struct buf *message; /* pieces so far; NULL unless a fragmented message is pending */
    uint32_t message_bytes_max;
    uint32_t message_bytes;       /* in `message` */
    uint32_t frame_done_bytes;    /* payload of a half-arrived frame already unmasked and checked */
    struct utf8_state utf8;       /* of the pending message */
    struct utf8_state utf8_frame; /* the same after frame_done_bytes */
    bool expects_mask;
    bool fragmented;
};

/* message_bytes_max > 0. expects_mask: true in a server (clients mask), false in a client. */
void ws_reader_init(struct ws_reader *reader, size_t message_bytes_max, bool expects_mask);
/* Gives back the memory of a pending message. */
void ws_reader_finish(struct ws_reader *reader);

struct ws_event {
    /* WS_TEXT: a whole message; WS_CONTINUATION: a fragment was taken, nothing to do; WS_PING:
     * answer with a pong of the same payload; WS_PONG; WS_CLOSE: answer and close. */
    enum ws_opcode opcode;
    struct slice payload; /* WS_CLOSE: the reason text. Valid until the next ws_read and as long as
                             the input's bytes */
    uint16_t close_code;  /* WS_CLOSE: 1005 = none was given */
    size_t frame_bytes;   /* to drop from the front of the input */
};
/* Reads one frame at the front of bytes[count], which it changes (unmasking). ERR_MORE: the frame
 * is not complete; keep the bytes as they are now, append, and call again with the same start;
 * event->frame_bytes then tells how many bytes the frame needs in all (2..14 while even that is
 * unknown). ERR_INVALID: fail the connection with *reason: PROTOCOL_ERROR, BAD_UTF8, TOO_LARGE,
 * UNSUPPORTED (binary), OVERLOAD (no memory). After WS_CLOSE or an error the reader must not be
 * used again except for finish. */
enum err ws_read(struct ws_reader *reader, uint8_t *bytes, size_t count, struct ws_event *event,
                 enum reason *reason) MUST_CHECK;

/* --- writing -------------------------------------------------------------------------------------
 */

#define WS_HEADER_BYTES_MAX 14
/* Writes the header of a single-frame message or control frame and returns its bytes (2, 4 or 10; 4
 * more with a mask). mask: 4 random bytes in a client, NULL in a server. */
size_t ws_header(uint8_t header[WS_HEADER_BYTES_MAX], enum ws_opcode opcode, size_t payload_bytes,
                 const uint8_t *mask);
/* XORs bytes[count] with the mask, of which byte (offset % 4) comes first. */
void ws_mask(uint8_t *bytes, size_t count, const uint8_t mask[4], size_t offset);
/* Appends a whole server frame. Control payloads must be <= 125 bytes. ERR_NO_MEMORY,
 * ERR_TOO_LARGE: unchanged. */
enum err ws_append(struct buf *out, enum ws_opcode opcode, const void *payload,
                   size_t count) MUST_CHECK;
/* Appends a close frame with the reason's code and its JSON code as text. */
enum err ws_append_close(struct buf *out, enum reason reason) MUST_CHECK;
/* Answer to the peer's close: the same code, or none for 1005. */
enum err ws_append_close_echo(struct buf *out, uint16_t code) MUST_CHECK;

#endif
