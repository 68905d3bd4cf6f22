/* WebSocket frames out of and into byte buffers.
 *
 * Reading: the header is parsed anew on every call, which costs a few bytes and needs no state; the
 * payload is unmasked where it lies, and as far as it has arrived, because bad UTF-8 must end the
 * connection before the rest of a large frame is waited for. frame_done_bytes remembers how far
 * that went: a call that ended in ERR_MORE is repeated with the same bytes and more behind them. A
 * message in one frame, nearly every one, is handed out in place. Fragments are copied behind each
 * other into a buffer that exists only while the message is pending; its bytes are given out with
 * the last fragment and the memory is returned by the next ws_read, so an idle connection holds
 * none.
 *
 * Limits are judged from the header alone: a frame that announces too much is refused before its
 * bytes arrive. The reader is dead after an error; the caller sends a close frame with the reason
 * and hangs up. */
#include "proto/ws_frame.h"

#include "common/contract.h"
#include "common/mem.h"
#include "proto/limits.h"

#define CONTROL_BYTES_MAX 125 /* RFC 6455 section 5.5 */
#define CLOSE_NO_CODE 1005    /* section 7.4.1: none was given */

_Static_assert(sizeof(struct ws_reader) <= 32, "an idle connection keeps 32 bytes");

struct header {
    enum ws_opcode opcode;
    bool is_final;
    uint8_t bytes; /* of the header, mask included */
    uint64_t payload_bytes;
    uint8_t mask[4];
};

void ws_reader_init(struct ws_reader *reader, size_t message_bytes_max, bool expects_mask) {
    CONTRACT(message_bytes_max > 0 && message_bytes_max <= UINT32_MAX);
    *reader = (struct ws_reader){.message_bytes_max = (uint32_t)message_bytes_max,
                                 .expects_mask = expects_mask};
}

static void drop_message(struct ws_reader *reader) {
    if (reader->message != NULL) {
        buf_finish(reader->message);
        mem_free(reader->message);
        reader->message = NULL;
    }
    reader->message_bytes = 0;
}

void ws_reader_finish(struct ws_reader *reader) {
    drop_message(reader);
}

void ws_mask(uint8_t *bytes, size_t count, const uint8_t mask[4], size_t offset) {
    uint8_t turned[8];
    for (size_t i = 0; i < 8; i++) {
        turned[i] = mask[(offset + i) % 4];
    }
    uint64_t mask_word, word;
    memcpy(&mask_word, turned, 8);
    size_t at = 0;
    for (; count - at >= 8; at += 8) {
        memcpy(&word, bytes + at, 8);
        word ^= mask_word;
        memcpy(bytes + at, &word, 8);
    }
    for (; at < count; at++) {
        bytes[at] ^= turned[at % 8];
    }
}

/* --- the header --------------------------------------------------------------------------------
 */

static enum err refuse(enum reason *reason, enum reason why) {
    *reason = why;
    return ERR_INVALID;
}

static bool is_control(enum ws_opcode opcode) {
    return (opcode & 0x8) != 0;
}

/* The first two bytes: flags, opcode and the short length. */
static enum err check_start(const struct ws_reader *reader, const uint8_t *bytes,
                            enum reason *reason) {
    unsigned opcode = bytes[0] & 0x0F;
    bool is_final = (bytes[0] & 0x80) != 0, is_masked = (bytes[1] & 0x80) != 0;
    if ((bytes[0] & 0x70) != 0 || is_masked != reader->expects_mask) {
        return refuse(reason, REASON_PROTOCOL_ERROR); /* no extensions; sections 5.1, 5.2 */
    }
    switch (opcode) {
    case WS_CONTINUATION:
        return reader->fragmented ? ERR_OK : refuse(reason, REASON_PROTOCOL_ERROR);
    case WS_TEXT:
        return reader->fragmented ? refuse(reason, REASON_PROTOCOL_ERROR) : ERR_OK;
    case WS_BINARY:
        return refuse(reason, reader->fragmented ? REASON_PROTOCOL_ERROR : REASON_UNSUPPORTED);
    case WS_CLOSE:
    case WS_PING:
    case WS_PONG:
        if (!is_final || (bytes[1] & 0x7F) > CONTROL_BYTES_MAX) {
            return refuse(reason, REASON_PROTOCOL_ERROR);
        }
        return ERR_OK;
    default:
        return refuse(reason, REASON_PROTOCOL_ERROR);
    }
}

static enum err read_header(const struct ws_reader *reader, const uint8_t *bytes, size_t count,
                            struct header *header, size_t *needed, enum reason *reason) {
    *needed = 2;
    if (count < 2) {
        return ERR_MORE;
    }
    enum err error = check_start(reader, bytes, reason);
    if (error != ERR_OK) {
        return error;
    }
    unsigned short_length = bytes[1] & 0x7F;
    size_t length_bytes = short_length == 127 ? 8 : short_length == 126 ? 2 : 0;
    size_t mask_bytes = reader->expects_mask ? 4 : 0;
    *needed = 2 + length_bytes + mask_bytes;
    if (count < 2 + length_bytes) {
        return ERR_MORE;
    }
    uint64_t length = length_bytes == 0 ? short_length : 0;
    for (size_t i = 0; i < length_bytes; i++) {
        length = length << 8 | bytes[2 + i];
    }
    if ((length_bytes == 2 && length < 126) || (length_bytes == 8 && length <= 0xFFFF) ||
        (length >> 63) != 0) {
        return refuse(reason, REASON_PROTOCOL_ERROR); /* not the minimal form; section 5.2 */
    }
    header->opcode = (enum ws_opcode)(bytes[0] & 0x0F);
    header->is_final = (bytes[0] & 0x80) != 0;
    header->payload_bytes = length;
    header->bytes = (uint8_t)*needed;
    if (!is_control(header->opcode) && length > reader->message_bytes_max - reader->message_bytes) {
        return refuse(reason, REASON_TOO_LARGE);
    }
    if (count < *needed) {
        return ERR_MORE;
    }
    if (mask_bytes > 0) {
        memcpy(header->mask, bytes + 2 + length_bytes, 4);
    }
    *needed += (size_t)length;
    return ERR_OK;
}

/* --- the payload -------------------------------------------------------------------------------
 */

/* RFC 6455 section 7.4.1 and the IANA registry: what a peer may put into a close frame. */
static bool close_code_valid(unsigned code) {
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

static enum err read_close(const uint8_t *payload, size_t count, struct ws_event *event,
                           enum reason *reason) {
    event->close_code = CLOSE_NO_CODE;
    if (count == 0) {
        return ERR_OK;
    }
    if (count == 1) {
        return refuse(reason, REASON_PROTOCOL_ERROR);
    }
    unsigned code = (unsigned)payload[0] << 8 | payload[1];
    if (!close_code_valid(code)) {
        return refuse(reason, REASON_PROTOCOL_ERROR);
    }
    if (!utf8_valid(payload + 2, count - 2)) {
        return refuse(reason, REASON_BAD_UTF8);
    }
    event->close_code = (uint16_t)code;
    event->payload = slice_make(payload + 2, count - 2);
    return ERR_OK;
}

static enum err keep_fragment(struct ws_reader *reader, const uint8_t *payload, size_t count) {
    if (reader->message == NULL) {
        reader->message = mem_alloc(sizeof *reader->message);
        if (reader->message == NULL) {
            return ERR_NO_MEMORY;
        }
        buf_init(reader->message, reader->message_bytes_max);
    }
    enum err error = buf_append(reader->message, payload, count);
    if (error == ERR_OK) {
        reader->message_bytes += (uint32_t)count;
    }
    return error;
}

/* A whole data frame, unmasked and checked. */
static enum err read_data(struct ws_reader *reader, const struct header *header,
                          const uint8_t *payload, struct ws_event *event, enum reason *reason) {
    size_t count = (size_t)header->payload_bytes;
    reader->utf8 = reader->utf8_frame;
    if (header->is_final && !utf8_complete(&reader->utf8)) {
        return refuse(reason, REASON_BAD_UTF8);
    }
    if (header->is_final && !reader->fragmented) {
        event->opcode = WS_TEXT;
        event->payload = slice_make(payload, count);
        return ERR_OK;
    }
    if (keep_fragment(reader, payload, count) != ERR_OK) {
        return refuse(reason, REASON_OVERLOAD);
    }
    reader->fragmented = !header->is_final;
    event->opcode = header->is_final ? WS_TEXT : WS_CONTINUATION;
    if (header->is_final) {
        size_t total = reader->message_bytes;
        event->payload = slice_make(total > 0 ? buf_data(reader->message) : payload, total);
        reader->message_bytes = 0; /* the buffer stays until the next call */
    }
    return ERR_OK;
}

/* Unmasks and checks what has arrived of a data frame since the last call. */
static enum err take_data(struct ws_reader *reader, const struct header *header, uint8_t *payload,
                          size_t arrived, enum reason *reason) {
    size_t done = reader->frame_done_bytes;
    if (done == 0) {
        reader->utf8_frame = reader->utf8;
    }
    if (arrived == done) {
        return ERR_OK;
    }
    CONTRACT(arrived > done); /* the caller kept the bytes */
    if (reader->expects_mask) {
        ws_mask(payload + done, arrived - done, header->mask, done);
    }
    if (!utf8_feed(&reader->utf8_frame, payload + done, arrived - done)) {
        return refuse(reason, REASON_BAD_UTF8);
    }
    reader->frame_done_bytes = (uint32_t)arrived;
    return ERR_OK;
}

static enum err read_control(const struct header *header, uint8_t *payload, struct ws_event *event,
                             enum reason *reason) {
    size_t count = (size_t)header->payload_bytes;
    ws_mask(payload, count, header->mask, 0);
    event->opcode = header->opcode;
    if (header->opcode == WS_CLOSE) {
        return read_close(payload, count, event, reason);
    }
    event->payload = slice_make(payload, count);
    return ERR_OK;
}

enum err ws_read(struct ws_reader *reader, uint8_t *bytes, size_t count, struct ws_event *event,
                 enum reason *reason) {
    struct header header = {0};
    if (!reader->fragmented) {
        drop_message(reader);
    }
    *event = (struct ws_event){0};
    enum err error = read_header(reader, bytes, count, &header, &event->frame_bytes, reason);
    if (error != ERR_OK) {
        return error;
    }
    uint8_t *payload = bytes + header.bytes;
    size_t arrived = count - header.bytes;
    bool is_whole = arrived >= header.payload_bytes;
    if (is_control(header.opcode)) {
        return is_whole ? read_control(&header, payload, event, reason) : ERR_MORE;
    }
    error = take_data(reader, &header, payload, is_whole ? (size_t)header.payload_bytes : arrived,
                      reason);
    if (error != ERR_OK) {
        return error;
    }
    if (!is_whole) {
        return ERR_MORE;
    }
    reader->frame_done_bytes = 0;
    error = read_data(reader, &header, payload, event, reason);
    if (error == ERR_OK && header.is_final) {
        reader->utf8 = (struct utf8_state){0};
    }
    return error;
}

/* --- writing -----------------------------------------------------------------------------------
 */

size_t ws_header(uint8_t header[WS_HEADER_BYTES_MAX], enum ws_opcode opcode, size_t payload_bytes,
                 const uint8_t *mask) {
    size_t at = 2;
    header[0] = (uint8_t)(0x80 | opcode);
    if (payload_bytes < 126) {
        header[1] = (uint8_t)payload_bytes;
    } else {
        size_t length_bytes = payload_bytes <= 0xFFFF ? 2 : 8;
        header[1] = length_bytes == 2 ? 126 : 127;
        for (size_t i = length_bytes; i > 0; i--) {
            header[at++] = (uint8_t)((uint64_t)payload_bytes >> (8 * (i - 1)));
        }
    }
    if (mask != NULL) {
        header[1] |= 0x80;
        memcpy(header + at, mask, 4);
        at += 4;
    }
    return at;
}

enum err ws_append(struct buf *out, enum ws_opcode opcode, const void *payload, size_t count) {
    uint8_t header[WS_HEADER_BYTES_MAX], *room;
    CONTRACT(!is_control(opcode) || count <= CONTROL_BYTES_MAX);
    size_t header_bytes = ws_header(header, opcode, count, NULL);
    enum err error = buf_reserve(out, header_bytes + count, &room);
    if (error != ERR_OK) {
        return error;
    }
    memcpy(room, header, header_bytes);
    if (count > 0) {
        memcpy(room + header_bytes, payload, count);
    }
    buf_commit(out, header_bytes + count);
    return ERR_OK;
}

enum err ws_append_close(struct buf *out, enum reason reason) {
    uint8_t payload[2 + LIMIT_CLOSE_REASON_BYTES];
    uint16_t code = reason_ws_close(reason);
    const char *text = reason_code(reason);
    size_t text_bytes = strlen(text);
    CONTRACT(text_bytes <= LIMIT_CLOSE_REASON_BYTES);
    payload[0] = (uint8_t)(code >> 8);
    payload[1] = (uint8_t)(code & 0xFF);
    memcpy(payload + 2, text, text_bytes);
    return ws_append(out, WS_CLOSE, payload, 2 + text_bytes);
}

enum err ws_append_close_echo(struct buf *out, uint16_t code) {
    uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)(code & 0xFF)};
    return ws_append(out, WS_CLOSE, payload, code == CLOSE_NO_CODE ? 0 : 2);
}
