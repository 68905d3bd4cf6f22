/* JSON text behind a buffer, written front to back into room that is reserved ahead.
 *
 * The room is asked for once per document in the common case (the caller guesses the size), so a
 * value costs a bounds check and a copy. Every call checks the sticky error first and does nothing
 * after one; the caller asks once, in json_write_end. On failure the buffer is cut back to where
 * the document began, so a half frame can never reach a socket. Bytes are committed to the buffer
 * chunk by chunk because growing may move it and keeps only what is committed. */
#include "proto/json_writer.h"

#include "common/clock.h"
#include "common/contract.h"

#define CHUNK_BYTES_MIN 256

static void commit(struct json_writer *writer) {
    buf_commit(writer->buf, (size_t)(writer->at - writer->chunk));
    writer->chunk = writer->at;
}

/* Makes room for count bytes; false after an error. */
static bool grow(struct json_writer *writer, size_t count) {
    if (writer->error != ERR_OK) {
        return false;
    }
    if (writer->chunk != NULL) {
        commit(writer);
    }
    size_t wanted = count > CHUNK_BYTES_MIN ? count : CHUNK_BYTES_MIN;
    uint8_t *room;
    enum err error = buf_reserve(writer->buf, wanted, &room);
    if (error == ERR_TOO_LARGE && wanted > count) {
        wanted = count;
        error = buf_reserve(writer->buf, wanted, &room);
    }
    if (error != ERR_OK) {
        writer->error = error;
        writer->chunk = writer->at = writer->limit = NULL;
        return false;
    }
    writer->chunk = writer->at = room;
    writer->limit = room + wanted;
    return true;
}

static inline bool has_room(struct json_writer *writer, size_t count) {
    return __builtin_expect((size_t)(writer->limit - writer->at) >= count, 1) ||
           grow(writer, count);
}

static inline void put(struct json_writer *writer, const void *bytes, size_t count) {
    if (count > 0 && has_room(writer, count)) {
        memcpy(writer->at, bytes, count);
        writer->at += count;
    }
}

static inline void put_byte(struct json_writer *writer, char byte) {
    if (has_room(writer, 1)) {
        *writer->at++ = (uint8_t)byte;
    }
}

/* The comma in front of a value or key, if one is due. */
static inline void separate(struct json_writer *writer) {
    if (writer->comma) {
        put_byte(writer, ',');
    }
}

void json_write_begin(struct json_writer *writer, struct buf *buf, size_t expected_bytes) {
    *writer = (struct json_writer){.buf = buf, .mark_bytes = buf_len(buf)};
    (void)grow(writer, expected_bytes); /* the error stays in the writer */
}

enum err json_write_end(struct json_writer *writer) {
    if (writer->error == ERR_OK) {
        commit(writer);
        return ERR_OK;
    }
    writer->buf->end = writer->buf->start + writer->mark_bytes;
    return writer->error;
}

size_t json_write_bytes(const struct json_writer *writer) {
    return buf_len(writer->buf) - writer->mark_bytes + (size_t)(writer->at - writer->chunk);
}

void json_write_cut(struct json_writer *writer, size_t bytes, bool comma) {
    if (writer->error != ERR_OK) {
        return;
    }
    size_t written = json_write_bytes(writer);
    CONTRACT(bytes <= written);
    size_t surplus = written - bytes;
    size_t in_chunk = (size_t)(writer->at - writer->chunk);
    if (surplus <= in_chunk) {
        writer->at -= surplus;
    } else { /* some of it is committed: take the room anew behind what stays */
        writer->buf->end -= surplus - in_chunk;
        writer->chunk = writer->at = writer->limit = NULL;
    }
    writer->comma = comma;
}

void json_write_open(struct json_writer *writer) {
    separate(writer);
    put_byte(writer, '{');
    writer->comma = false;
}

void json_write_close(struct json_writer *writer) {
    put_byte(writer, '}');
    writer->comma = true;
}

void json_write_open_array(struct json_writer *writer) {
    separate(writer);
    put_byte(writer, '[');
    writer->comma = false;
}

void json_write_close_array(struct json_writer *writer) {
    put_byte(writer, ']');
    writer->comma = true;
}

void json_write_key(struct json_writer *writer, const char *key) {
    size_t count = strlen(key);
    if (has_room(writer, count + 4)) {
        uint8_t *at = writer->at;
        if (writer->comma) {
            *at++ = ',';
        }
        *at++ = '"';
        memcpy(at, key, count);
        at += count;
        *at++ = '"';
        *at++ = ':';
        writer->at = at;
    }
    writer->comma = false;
}

/* Controls, quotes and backslashes. */
static void put_escape(struct json_writer *writer, uint8_t byte) {
    static const char hex[] = "0123456789abcdef";
    static const char bytes[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *found = byte == 0 ? NULL : memchr(bytes, byte, sizeof bytes - 1);
    if (found != NULL) {
        put(writer, (char[]){'\\', letters[found - bytes]}, 2);
    } else {
        put(writer, (char[]){'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]}, 6);
    }
}

void json_write_string(struct json_writer *writer, const void *bytes, size_t count) {
    const uint8_t *at = bytes;
    separate(writer);
    put_byte(writer, '"');
    for (size_t from = 0, to = 0; from < count; from = to) {
        while (to < count && at[to] >= 0x20 && at[to] != '"' && at[to] != '\\') {
            to++;
        }
        put(writer, at + from, to - from);
        if (to < count) {
            put_escape(writer, at[to++]);
        }
    }
    put_byte(writer, '"');
    writer->comma = true;
}

void json_write_text(struct json_writer *writer, const char *text) {
    json_write_string(writer, text, strlen(text));
}

void json_write_u64(struct json_writer *writer, uint64_t number) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    separate(writer);
    put(writer, digits + at, sizeof digits - at);
    writer->comma = true;
}

void json_write_i64(struct json_writer *writer, int64_t number) {
    if (number >= 0) {
        json_write_u64(writer, (uint64_t)number);
        return;
    }
    separate(writer);
    put_byte(writer, '-');
    writer->comma = false;
    json_write_u64(writer, UINT64_C(0) - (uint64_t)number);
}

void json_write_bool(struct json_writer *writer, bool flag) {
    const char *word = flag ? "true" : "false";
    json_write_raw(writer, word, flag ? 4 : 5);
}

void json_write_null(struct json_writer *writer) {
    json_write_raw(writer, "null", 4);
}

void json_write_raw(struct json_writer *writer, const void *bytes, size_t count) {
    separate(writer);
    put(writer, bytes, count);
    writer->comma = true;
}

void json_write_time(struct json_writer *writer, uint64_t wall_ms) {
    char text[CLOCK_RFC3339_BYTES];
    clock_format_rfc3339(wall_ms, text);
    json_write_text(writer, text);
}

void json_write_key_text(struct json_writer *writer, const char *key, const char *text) {
    json_write_key(writer, key);
    json_write_text(writer, text);
}

void json_write_key_u64(struct json_writer *writer, const char *key, uint64_t number) {
    json_write_key(writer, key);
    json_write_u64(writer, number);
}

void json_write_key_bool(struct json_writer *writer, const char *key, bool flag) {
    json_write_key(writer, key);
    json_write_bool(writer, flag);
}

void json_write_key_time(struct json_writer *writer, const char *key, uint64_t wall_ms) {
    json_write_key(writer, key);
    json_write_time(writer, wall_ms);
}
