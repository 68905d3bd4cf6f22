/* json_writer: appends JSON to a buffer. Commas are its business; errors are sticky, so callers
 * write a whole document and check once at the end. Nothing becomes visible in the buffer before
 * json_write_end succeeds. */
#ifndef PIPIT_PROTO_JSON_WRITER_H
#define PIPIT_PROTO_JSON_WRITER_H

#include "common/buf.h"
#include "proto/slice.h"

struct json_writer {
    struct buf *buf;
    uint8_t *chunk, *at, *limit; /* room reserved in the buffer; chunk..at is written */
    size_t mark_bytes;           /* length of the buffer before this document */
    enum err error;
    bool comma; /* a value precedes at this level */
};

/* expected_bytes: a guess; more room is taken as needed. The buffer must not be used by others
 * until json_write_end. */
void json_write_begin(struct json_writer *writer, struct buf *buf, size_t expected_bytes);
/* Commits. ERR_NO_MEMORY, ERR_TOO_LARGE (the buffer's cap): the buffer's content is as before. */
enum err json_write_end(struct json_writer *writer) MUST_CHECK;
/* Bytes written so far. A document may be cut back to a former size at the same nesting level (a
 * page that became too long); comma must be what writer->comma was then. */
size_t json_write_bytes(const struct json_writer *writer);
void json_write_cut(struct json_writer *writer, size_t bytes, bool comma);

void json_write_open(struct json_writer *writer);        /* { */
void json_write_close(struct json_writer *writer);       /* } */
void json_write_open_array(struct json_writer *writer);  /* [ */
void json_write_close_array(struct json_writer *writer); /* ] */
/* key: a literal of ours that needs no escaping. */
void json_write_key(struct json_writer *writer, const char *key);
/* Valid UTF-8 (the caller's promise); quotes, backslashes and controls are escaped. */
void json_write_string(struct json_writer *writer, const void *bytes, size_t count);
void json_write_text(struct json_writer *writer, const char *text);
void json_write_u64(struct json_writer *writer, uint64_t number);
void json_write_i64(struct json_writer *writer, int64_t number);
void json_write_bool(struct json_writer *writer, bool flag);
void json_write_null(struct json_writer *writer);
/* A value that is JSON already. */
void json_write_raw(struct json_writer *writer, const void *bytes, size_t count);
/* RFC 3339 UTC with milliseconds, as a string. */
void json_write_time(struct json_writer *writer, uint64_t wall_ms);

/* Key and value in one call, the common case. */
void json_write_key_text(struct json_writer *writer, const char *key, const char *text);
void json_write_key_u64(struct json_writer *writer, const char *key, uint64_t number);
void json_write_key_bool(struct json_writer *writer, const char *key, bool flag);
void json_write_key_time(struct json_writer *writer, const char *key, uint64_t wall_ms);

#endif
