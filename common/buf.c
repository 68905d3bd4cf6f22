/* buf: a growable byte buffer with a cap, the input and output side of every connection.
 *
 * Appending doubles the allocation up to the cap, so n bytes cost O(n) copies. Consuming only moves
 * the start; the hole in front is closed when it is at least as large as the rest (each byte then
 * moves at most once a halving) or when the cap leaves no other room. The allocation has one byte
 * more than it admits to, so formatted text can always place its NUL. A failed append leaves the
 * content as it was: callers refuse the one message and go on. */
#include "common/buf.h"

#include "common/contract.h"
#include "common/mem.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BUF_FIRST_BYTES 256u

void buf_init(struct buf *buf, size_t cap_bytes) {
    CONTRACT(cap_bytes > 0 && cap_bytes < SIZE_MAX / 2);
    *buf = (struct buf){.cap_bytes = cap_bytes};
}

void buf_finish(struct buf *buf) {
    mem_free(buf->bytes);
    buf->bytes = NULL;
    buf->start = 0;
    buf->end = 0;
    buf->held = 0;
}

static void close_hole(struct buf *buf) {
    size_t length = buf_len(buf);
    memmove(buf->bytes, buf->bytes + buf->start, length);
    buf->start = 0;
    buf->end = length;
}

static enum err grow(struct buf *buf, size_t needed) {
    size_t held = buf->held > BUF_FIRST_BYTES ? buf->held : BUF_FIRST_BYTES;
    while (held < needed) {
        held *= 2; /* needed <= cap_bytes < SIZE_MAX / 2 */
    }
    if (held > buf->cap_bytes) {
        held = buf->cap_bytes;
    }
    uint8_t *bytes = mem_realloc(buf->bytes, held + 1);
    if (bytes == NULL) {
        return ERR_NO_MEMORY;
    }
    buf->bytes = bytes;
    buf->held = held;
    return ERR_OK;
}

enum err buf_reserve(struct buf *buf, size_t bytes, uint8_t **room) {
    size_t length = buf_len(buf);
    if (bytes > buf->cap_bytes - length) {
        return ERR_TOO_LARGE;
    }
    if (buf->bytes == NULL || buf->held - buf->end < bytes) {
        bool fits_moved = buf->bytes != NULL && buf->held - length >= bytes;
        bool at_cap = buf->held == buf->cap_bytes;
        if (fits_moved && (buf->start >= length || at_cap)) {
            close_hole(buf);
        } else {
            /* Past the cap with its hole, the buffer fits without: held reaches the cap, then
             * moves. */
            size_t needed = buf->end + bytes;
            enum err error = grow(buf, needed < buf->cap_bytes ? needed : buf->cap_bytes);
            if (error != ERR_OK) {
                return error;
            }
            if (buf->held - buf->end < bytes) {
                close_hole(buf);
            }
        }
    }
    *room = buf->bytes + buf->end;
    return ERR_OK;
}

void buf_commit(struct buf *buf, size_t bytes) {
    CONTRACT(bytes <= buf->held - buf->end);
    buf->end += bytes;
}

enum err buf_append(struct buf *buf, const void *bytes, size_t count) {
    if (count == 0) {
        return ERR_OK;
    }
    uint8_t *room = NULL;
    enum err error = buf_reserve(buf, count, &room);
    if (error != ERR_OK) {
        return error;
    }
    memcpy(room, bytes, count);
    buf->end += count;
    return ERR_OK;
}

enum err buf_append_text(struct buf *buf, const char *text) {
    return buf_append(buf, text, strlen(text));
}

enum err buf_append_format(struct buf *buf, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        return ERR_TOO_LARGE; /* more than INT_MAX bytes */
    }
    uint8_t *room = NULL;
    enum err error = buf_reserve(buf, (size_t)length, &room);
    if (error != ERR_OK) {
        return error;
    }
    va_start(arguments, format);
    int written = vsnprintf((char *)room, (size_t)length + 1, format, arguments);
    va_end(arguments);
    CONTRACT(written == length);
    buf->end += (size_t)length;
    return ERR_OK;
}

void buf_consume(struct buf *buf, size_t bytes) {
    CONTRACT(bytes <= buf_len(buf));
    buf->start += bytes;
    if (buf->start == buf->end) {
        buf_clear(buf);
    }
}

void buf_clear(struct buf *buf) {
    buf->start = 0;
    buf->end = 0;
}

void buf_shrink(struct buf *buf) {
    if (buf_len(buf) == 0) {
        buf_finish(buf);
    }
}
