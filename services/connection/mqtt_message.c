/* mqtt_message: what a client's PUBLISH means as a chat message.
 *
 * The topic says to whom: pipit/u/{user}/send or pipit/c/{conversation}/send. The payload is
 *  - a JSON object with an object "body" and perhaps "message" and "reply": as in a `send` frame;
 * its mistakes are refused;
 *  - a JSON object of nothing but a string "text" and perhaps "message" and "reply": the short
 * form;
 *  - anything else that is UTF-8: a text, JSON of other shapes included ({"temperature":21} is
 * shown). The message id is the payload's "message", else MQTT 5 correlation data that is a UUIDv7
 * (16 bytes or 36 characters), else made here. The hash of topic and payload is the message's
 * origin: by it routing finds a copy that was stored before a crash (design section 4). */
#include "services/connection/mqtt_private.h"

#include "common/clock.h"
#include "common/mem.h"
#include "proto/chat_payload.h"
#include "proto/frame.h"
#include "proto/json_reader.h"
#include "proto/json_writer.h"
#include "services/connection/text_limit.h"

#include <sodium.h>

enum reason mqtt_message_target(struct slice topic, struct mqtt_message *message) {
    if (mqtt_chat_topic_parse(topic, &message->target) != ERR_OK) {
        return REASON_TOPIC_INVALID;
    }
    bool sends = message->target.kind == MQTT_CHAT_SEND_USER ||
                 message->target.kind == MQTT_CHAT_SEND_CONVERSATION;
    return sends ? REASON_OK : REASON_TOPIC_NOT_ALLOWED;
}

/* {"text":"...", "message"?, "reply"?} and nothing else. */
static bool is_short_form(struct slice payload, struct json_value *root) {
    struct json_iter iter;
    struct json_member member;
    bool has_text = false;
    if (payload.count == 0 || payload.count > LIMIT_FRAME_BYTES || payload.bytes[0] != '{' ||
        json_parse(payload.bytes, payload.count, root, NULL) != ERR_OK ||
        root->kind != JSON_OBJECT) {
        return false;
    }
    json_iter_begin(&iter, root);
    while (json_next_member(&iter, &member)) {
        if (json_string_is(&member.key, "text") && member.value.kind == JSON_STRING) {
            has_text = true;
        } else if (!json_string_is(&member.key, "message") &&
                   !json_string_is(&member.key, "reply")) {
            return false;
        }
    }
    return has_text;
}

static enum reason read_short_form(const struct json_value *root, struct buf *scratch,
                                   struct chat_payload *chat) {
    struct json_value value;
    *chat = (struct chat_payload){0};
    if (json_find(root, "message", &value)) {
        struct slice text;
        if (json_string_slice(&value, &text) != ERR_OK) {
            return REASON_MALFORMED;
        }
        if (id_uuid7_parse((const char *)text.bytes, text.count, chat->message) != ERR_OK) {
            return REASON_INVALID_ID;
        }
        chat->has_message = true;
    }
    if (json_find(root, "reply", &value) &&
        (json_u64(&value, LIMIT_SEQ_MAX, &chat->reply) != ERR_OK || chat->reply == 0)) {
        return REASON_MALFORMED;
    }
    if (!json_find(root, "text", &value) || json_string_bytes(&value) > LIMIT_TEXT_BYTES) {
        return REASON_TOO_LARGE;
    }
    struct json_writer writer;
    buf_clear(scratch);
    json_write_begin(&writer, scratch, value.raw.count + 16);
    json_write_open(&writer);
    json_write_key(&writer, "text");
    json_write_raw(&writer, value.raw.bytes, value.raw.count);
    json_write_close(&writer);
    if (json_write_end(&writer) != ERR_OK) {
        return REASON_OVERLOAD;
    }
    if (buf_len(scratch) > LIMIT_BODY_BYTES) {
        return REASON_TOO_LARGE;
    }
    chat->body = slice_make(buf_data(scratch), buf_len(scratch));
    return REASON_OK;
}

static enum reason read_payload(struct slice payload, struct buf *scratch,
                                struct chat_payload *chat) {
    struct json_value root;
    if (is_short_form(payload, &root)) {
        return read_short_form(&root, scratch, chat);
    }
    return chat_payload_decode(payload.bytes, payload.count, scratch, chat);
}

/* A UUIDv7 in correlation data; false for anything else, which is the client's own business. */
static bool correlation_id(const struct mqtt_publish *publish, uint8_t id[ID_UUID_BYTES]) {
    struct slice data = publish->properties.correlation_data;
    if ((publish->properties.present & MQTT_HAS_CORRELATION_DATA) == 0) {
        return false;
    }
    if (data.count == ID_UUID_BYTES) {
        char text[ID_UUID_TEXT_BYTES];
        id_uuid_format(data.bytes, text);
        return id_uuid7_parse(text, ID_UUID_TEXT_BYTES - 1, id) == ERR_OK;
    }
    return id_uuid7_parse((const char *)data.bytes, data.count, id) == ERR_OK;
}

static void hash_origin(const struct mqtt_publish *publish, uint8_t hash[16]) {
    static const uint8_t separator = 0; /* no topic contains it */
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, NULL, 0, 16); /* cannot fail with these sizes */
    (void)crypto_generichash_update(&state, publish->topic.bytes, publish->topic.count);
    (void)crypto_generichash_update(&state, &separator, 1);
    if (publish->payload.count > 0) {
        (void)crypto_generichash_update(&state, publish->payload.bytes, publish->payload.count);
    }
    (void)crypto_generichash_final(&state, hash, 16);
}

enum reason mqtt_message_read(const struct connection_settings *settings,
                              const struct mqtt_publish *publish, struct buf *scratch,
                              struct mqtt_message *message) {
    struct chat_payload chat;
    *message = (struct mqtt_message){.topic = publish->topic,
                                     .packet_id = publish->packet_id,
                                     .qos = publish->qos,
                                     .dup = publish->dup};
    enum reason reason = mqtt_message_target(publish->topic, message);
    if (reason == REASON_OK) {
        reason = read_payload(publish->payload, scratch, &chat);
    }
    if (reason == REASON_OK) {
        reason = text_limit_check(chat.body, settings->text_bytes_max);
    }
    if (reason != REASON_OK) {
        return reason;
    }
    message->body = chat.body;
    message->reply = chat.reply;
    uint64_t now_ms = clock_wall_ms();
    if (chat.has_message) {
        memcpy(message->id, chat.message, ID_UUID_BYTES);
    } else if (!correlation_id(publish, message->id)) {
        id_uuid7_make(now_ms, message->id);
    }
    if (!frame_id_in_window(message->id, now_ms)) {
        return REASON_ID_OUT_OF_WINDOW;
    }
    if (publish->qos > 0) {
        hash_origin(publish, message->origin_hash);
    }
    return REASON_OK;
}

struct mqtt_message *mqtt_message_copy(const struct mqtt_message *message) {
    struct mqtt_message *copy =
        mem_alloc(sizeof *copy + message->topic.count + message->body.count);
    if (copy == NULL) {
        return NULL;
    }
    uint8_t *bytes = (uint8_t *)(copy + 1);
    *copy = *message;
    memcpy(bytes, message->topic.bytes, message->topic.count);
    copy->topic.bytes = bytes;
    bytes += message->topic.count;
    memcpy(bytes, message->body.bytes, message->body.count);
    copy->body.bytes = bytes;
    return copy;
}
