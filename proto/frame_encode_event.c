/* Stored events as frames: the hot side of delivery. A message is encoded once per event loop and
 * the same bytes go to every socket, so this text is WebSocket frame, MQTT payload and, with the
 * type moved inside, an item of a history page.
 *
 * Bodies were checked when they came in and are copied as they are. A reaction is stored as a small
 * body of our own making; it is taken apart here, and a row whose body does not fit is reported as
 * damage instead of being sent. A page takes events until the frame is full and cuts back the one
 * that did not fit, so a long history arrives in frames every client can take. */
#include "proto/frame.h"

#include "common/contract.h"
#include "proto/json_writer.h"
#include "proto/names.h"

/* Member names, ids and numbers around a body. */
#define EVENT_OVERHEAD_BYTES 384
#define PAGE_TAIL_BYTES 64 /* ],"head":20 digits,"more":false}} */

const char *frame_event_kind_name(enum frame_event_kind kind) {
    static const char *const names[] = {"msg", "edit", "recall", "react"};
    return (size_t)kind < sizeof names / sizeof names[0] ? names[kind] : "unknown";
}

static void write_react(struct json_writer *writer, struct slice body) {
    struct json_value root, emoji, removed;
    char text[LIMIT_EMOJI_BYTES + 1];
    bool is_removed = false;
    if (json_parse(body.bytes, body.count, &root, NULL) != ERR_OK || root.kind != JSON_OBJECT ||
        !json_find(&root, "emoji", &emoji) || !json_find(&root, "removed", &removed) ||
        json_string_copy(&emoji, text, sizeof text) != ERR_OK ||
        json_bool(&removed, &is_removed) != ERR_OK) {
        writer->error = ERR_CORRUPT;
        return;
    }
    json_write_key_text(writer, "emoji", text);
    json_write_key_bool(writer, "removed", is_removed);
}

/* The members of d, without braces. */
static void write_event(struct json_writer *writer, const struct frame_event *event) {
    char id[ID_UUID_TEXT_BYTES];
    id_uuid_format(event->id, id);
    json_write_key_text(writer, "conversation", event->conversation);
    json_write_key_u64(writer, "seq", event->seq);
    json_write_key(writer, "message");
    json_write_string(writer, id, sizeof id - 1);
    json_write_key_text(writer, "from", event->sender);
    if (event->device != NULL && event->device[0] != '\0') {
        json_write_key_text(writer, "device", event->device);
    }
    json_write_key_time(writer, "ts", event->ts_ms);
    if (event->kind != FRAME_EVENT_MSG) {
        json_write_key_u64(writer, "target", event->target_seq);
    }
    if (event->kind == FRAME_EVENT_REACT) {
        write_react(writer, event->body);
    } else if (event->kind != FRAME_EVENT_RECALL) {
        json_write_key(writer, "body");
        json_write_raw(writer, event->body.bytes, event->body.count);
        if (event->reply_seq != 0) {
            json_write_key_u64(writer, "reply", event->reply_seq);
        }
    }
}

enum err frame_encode_event(struct buf *out, const struct frame_event *event) {
    struct json_writer writer;
    json_write_begin(&writer, out, event->body.count + EVENT_OVERHEAD_BYTES);
    json_write_open(&writer);
    json_write_key_text(&writer, "t", frame_event_kind_name(event->kind));
    json_write_key(&writer, "d");
    json_write_open(&writer);
    write_event(&writer, event);
    json_write_close(&writer);
    json_write_close(&writer);
    return json_write_end(&writer);
}

enum err frame_react_body(struct buf *out, const char *emoji, bool removed) {
    struct json_writer writer;
    CONTRACT(names_emoji_valid(emoji, strlen(emoji)));
    json_write_begin(&writer, out, LIMIT_EMOJI_BYTES + 32);
    json_write_open(&writer);
    json_write_key_text(&writer, "emoji", emoji);
    json_write_key_bool(&writer, "removed", removed);
    json_write_close(&writer);
    return json_write_end(&writer);
}

/* Writes items until the frame would exceed its limit; returns how many stayed. */
static size_t write_items(struct json_writer *writer, const struct frame_page *page,
                          size_t frame_bytes_max) {
    size_t count = 0;
    for (; count < page->event_count && writer->error == ERR_OK; count++) {
        const struct frame_event *event = &page->events[count];
        size_t before = json_write_bytes(writer);
        bool comma = writer->comma;
        json_write_open(writer);
        json_write_key_text(writer, "t", frame_event_kind_name(event->kind));
        write_event(writer, event);
        json_write_close(writer);
        if (count > 0 && writer->error == ERR_OK &&
            json_write_bytes(writer) + PAGE_TAIL_BYTES > frame_bytes_max) {
            json_write_cut(writer, before, comma);
            break;
        }
    }
    return count;
}

enum err frame_encode_page(struct buf *out, uint64_t id, const struct frame_page *page,
                           size_t frame_bytes_max, size_t *encoded_count) {
    struct json_writer writer;
    size_t expected = EVENT_OVERHEAD_BYTES;
    for (size_t i = 0; i < page->event_count && expected < frame_bytes_max; i++) {
        expected += page->events[i].body.count + EVENT_OVERHEAD_BYTES;
    }
    json_write_begin(&writer, out, expected);
    json_write_open(&writer);
    json_write_key_text(&writer, "t", "sync");
    if (id != 0) {
        json_write_key_u64(&writer, "id", id);
    }
    json_write_key(&writer, "d");
    json_write_open(&writer);
    json_write_key_text(&writer, "conversation", page->conversation);
    json_write_key(&writer, "items");
    json_write_open_array(&writer);
    size_t count = write_items(&writer, page, frame_bytes_max);
    json_write_close_array(&writer);
    json_write_key_u64(&writer, "head", page->head);
    json_write_key_bool(&writer, "more", page->has_more || count < page->event_count);
    json_write_close(&writer);
    json_write_close(&writer);
    enum err error = json_write_end(&writer);
    if (error == ERR_OK) {
        *encoded_count = count;
    }
    return error;
}
