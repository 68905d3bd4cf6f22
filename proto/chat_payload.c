/* MQTT chat payloads: text that a shell one-liner publishes, or the members of a send frame.
 *
 * Devices publish JSON of all kinds, so "begins with a brace" cannot decide: {"temperature":21} in
 * a chat topic is a text that people read. Only an object with a "body" object is meant for us;
 * from then on mistakes are refused instead of being shown as text. Text is limited like the text
 * of a frame and must be UTF-8 without NUL. The body built for it lives in the caller's scratch
 * buffer, which is reused. */
#include "proto/chat_payload.h"

#include "proto/frame.h"
#include "proto/json_reader.h"
#include "proto/json_writer.h"
#include "proto/limits.h"
#include "proto/utf8.h"

static enum reason take_member(const struct json_member *member, struct chat_payload *chat) {
    if (json_string_is(&member->key, "body")) {
        chat->body = member->value.raw;
        return frame_check_body(&member->value);
    }
    if (json_string_is(&member->key, "message")) {
        struct slice text;
        if (json_string_slice(&member->value, &text) != ERR_OK) {
            return REASON_MALFORMED;
        }
        chat->has_message = true;
        return id_uuid7_parse((const char *)text.bytes, text.count, chat->message) == ERR_OK
                   ? REASON_OK
                   : REASON_INVALID_ID;
    }
    if (json_string_is(&member->key, "reply")) {
        return json_u64(&member->value, LIMIT_SEQ_MAX, &chat->reply) == ERR_OK && chat->reply > 0
                   ? REASON_OK
                   : REASON_MALFORMED;
    }
    return REASON_MALFORMED;
}

static enum reason take_structured(const struct json_value *root, struct chat_payload *out) {
    struct chat_payload chat = {0};
    struct json_iter iter;
    struct json_member member;
    json_iter_begin(&iter, root);
    while (json_next_member(&iter, &member)) {
        enum reason reason = take_member(&member, &chat);
        if (reason != REASON_OK) {
            return reason;
        }
    }
    *out = chat;
    return REASON_OK;
}

/* Cheap look ahead: most texts are none. */
static bool looks_like_object(const uint8_t *payload, size_t count) {
    size_t at = 0;
    while (at < count && (payload[at] == ' ' || (payload[at] >= '\t' && payload[at] <= '\r'))) {
        at++;
    }
    return at < count && payload[at] == '{';
}

static bool is_structured(const uint8_t *payload, size_t count, struct json_value *root) {
    struct json_value body;
    return looks_like_object(payload, count) && json_parse(payload, count, root, NULL) == ERR_OK &&
           root->kind == JSON_OBJECT && json_find(root, "body", &body) && body.kind == JSON_OBJECT;
}

static enum reason take_text(const uint8_t *payload, size_t count, struct buf *scratch,
                             struct chat_payload *chat) {
    if (count > LIMIT_TEXT_BYTES) {
        return REASON_TOO_LARGE;
    }
    if (!utf8_valid(payload, count) || memchr(payload, '\0', count) != NULL) {
        return REASON_BAD_UTF8;
    }
    struct json_writer writer;
    json_write_begin(&writer, scratch, count + 16);
    json_write_open(&writer);
    json_write_key(&writer, "text");
    json_write_string(&writer, payload, count);
    json_write_close(&writer);
    if (json_write_end(&writer) != ERR_OK) {
        return REASON_OVERLOAD;
    }
    if (buf_len(scratch) > LIMIT_BODY_BYTES) {
        return REASON_TOO_LARGE; /* controls grow sixfold when escaped */
    }
    *chat = (struct chat_payload){.body = slice_make(buf_data(scratch), buf_len(scratch))};
    return REASON_OK;
}

enum reason chat_payload_decode(const uint8_t *payload, size_t count, struct buf *scratch,
                                struct chat_payload *chat) {
    struct json_value root;
    buf_clear(scratch);
    if (count == 0) {
        return REASON_MALFORMED;
    }
    if (count <= LIMIT_FRAME_BYTES && is_structured(payload, count, &root)) {
        return take_structured(&root, chat);
    }
    return take_text(payload, count, scratch, chat);
}
