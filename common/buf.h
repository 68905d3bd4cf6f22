/* buf: a growable byte buffer with a cap: bytes are appended at the end and consumed at the front.
 */
#ifndef PIPIT_COMMON_BUF_H
#define PIPIT_COMMON_BUF_H

#include "common/err.h"
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *bytes;   /* NULL while empty and unallocated */
    size_t start;     /* first unread byte */
    size_t end;       /* one past the last byte */
    size_t held;      /* usable bytes of the allocation, which has one more for a NUL */
    size_t cap_bytes; /* never holds more */
};

/* Starts empty without memory. cap_bytes > 0. */
void buf_init(struct buf *buf, size_t cap_bytes);
void buf_finish(struct buf *buf);
/* The unread bytes; NULL while nothing was ever appended. Valid until the next change. */
static inline const uint8_t *buf_data(const struct buf *buf) {
    return buf->bytes != NULL ? buf->bytes + buf->start : NULL;
}
static inline size_t buf_len(const struct buf *buf) {
    return buf->end - buf->start;
}
/* Makes room for `bytes` more behind the end and points *room at it; commit with buf_commit.
 * ERR_TOO_LARGE beyond the cap, ERR_NO_MEMORY; the content is untouched then. */
enum err buf_reserve(struct buf *buf, size_t bytes, uint8_t **room) MUST_CHECK;
void buf_commit(struct buf *buf, size_t bytes);
/* Each appends whole or not at all; errors as buf_reserve. count may be 0, bytes NULL then. */
enum err buf_append(struct buf *buf, const void *bytes, size_t count) MUST_CHECK;
enum err buf_append_text(struct buf *buf, const char *text) MUST_CHECK;
enum err buf_append_format(struct buf *buf, const char *format, ...) MUST_CHECK
    __attribute__((format(printf, 2, 3)));
/* Drops `bytes` from the front; bytes <= buf_len. Resets to the start when it becomes empty. */
void buf_consume(struct buf *buf, size_t bytes);
void buf_clear(struct buf *buf);
/* Gives the memory back when the buffer is empty (idle connections hold none). */
void buf_shrink(struct buf *buf);

#endif
