/* The server's frames other than stored events: greetings, replies, refusals, cursors, presence.
 *
 * Each function is the list of the members of its `d`, in the order of the reference. They are
 * small and rare beside messages, so clarity decides: begin, members, end. A function that fails
 * leaves the buffer as it was, because the writer cuts back. */
#include "proto/frame.h"

#include "proto/json_writer.h"

#define REPLY_BYTES 192

/* {"t":type,"id":id,"d":{ */
static void begin(struct json_writer *writer, struct buf *out, const char *type, uint64_t id) {
    json_write_begin(writer, out, REPLY_BYTES);
    json_write_open(writer);
    json_write_key_text(writer, "t", type);
    if (id != 0) {
        json_write_key_u64(writer, "id", id);
    }
    json_write_key(writer, "d");
    json_write_open(writer);
}

static enum err end(struct json_writer *writer) {
    json_write_close(writer);
    json_write_close(writer);
    return json_write_end(writer);
}

/* Left out when NULL or empty. */
static void optional_text(struct json_writer *writer, const char *key, const char *text) {
    if (text != NULL && text[0] != '\0') {
        json_write_key_text(writer, key, text);
    }
}

static void optional_u64(struct json_writer *writer, const char *key, uint64_t number) {
    if (number != 0) {
        json_write_key_u64(writer, key, number);
    }
}

enum err frame_encode_hello(struct buf *out, const struct frame_hello *hello) {
    struct json_writer writer;
    begin(&writer, out, "hello", 0);
    json_write_key_u64(&writer, "proto", FRAME_PROTOCOL_VERSION);
    json_write_key_text(&writer, "server", hello->server);
    json_write_key_u64(&writer, "hb", hello->heartbeat_s);
    json_write_key(&writer, "limits");
    json_write_open(&writer);
    json_write_key_u64(&writer, "frame", hello->frame_bytes_max);
    json_write_key_u64(&writer, "text", hello->text_bytes_max);
    json_write_key_text(&writer, "rate", hello->rate);
    json_write_close(&writer);
    json_write_key_time(&writer, "time", hello->now_ms);
    optional_text(&writer, "epoch", hello->epoch);
    return end(&writer);
}

enum err frame_encode_ok_auth(struct buf *out, uint64_t id, const struct frame_ok_auth *auth) {
    struct json_writer writer;
    begin(&writer, out, "ok", id);
    json_write_key_text(&writer, "user", auth->user);
    json_write_key_text(&writer, "device", auth->device);
    json_write_key_u64(&writer, "expires_at", auth->expires_ms);
    optional_text(&writer, "epoch", auth->epoch);
    return end(&writer);
}

enum err frame_encode_ok_stored(struct buf *out, uint64_t id, const char *conversation,
                                uint64_t seq, uint64_t ts_ms) {
    struct json_writer writer;
    begin(&writer, out, "ok", id);
    json_write_key_text(&writer, "conversation", conversation);
    json_write_key_u64(&writer, "seq", seq);
    json_write_key_time(&writer, "ts", ts_ms);
    return end(&writer);
}

enum err frame_encode_ok_sync(struct buf *out, uint64_t id, const char *epoch) {
    struct json_writer writer;
    begin(&writer, out, "ok", id);
    optional_text(&writer, "epoch", epoch);
    return end(&writer);
}

enum err frame_encode_ok_online(struct buf *out, uint64_t id, const char *conversation,
                                const char *const *users, size_t count) {
    struct json_writer writer;
    begin(&writer, out, "ok", id);
    json_write_key_text(&writer, "conversation", conversation);
    json_write_key(&writer, "online");
    json_write_open_array(&writer);
    for (size_t i = 0; i < count; i++) {
        json_write_text(&writer, users[i]);
    }
    json_write_close_array(&writer);
    return end(&writer);
}

enum err frame_encode_ok(struct buf *out, uint64_t id) {
    struct json_writer writer;
    begin(&writer, out, "ok", id);
    return end(&writer);
}

enum err frame_encode_err(struct buf *out, uint64_t id, enum reason reason, const char *text,
                          uint32_t retry_ms) {
    struct json_writer writer;
    begin(&writer, out, "err", id);
    json_write_key_text(&writer, "code", reason_code(reason));
    json_write_key_bool(&writer, "retryable", reason_retryable(reason));
    json_write_key_text(&writer, "msg", text != NULL ? text : reason_text(reason));
    optional_u64(&writer, "retry_ms", retry_ms);
    return end(&writer);
}

enum err frame_encode_bye(struct buf *out, enum reason reason, uint32_t retry_min_ms,
                          uint32_t retry_max_ms) {
    struct json_writer writer;
    begin(&writer, out, "bye", 0);
    json_write_key_text(&writer, "code", reason_code(reason));
    if (retry_max_ms != 0) {
        json_write_key(&writer, "retry_ms");
        json_write_open_array(&writer);
        json_write_u64(&writer, retry_min_ms);
        json_write_u64(&writer, retry_max_ms);
        json_write_close_array(&writer);
    }
    return end(&writer);
}

enum err frame_encode_mark(struct buf *out, const char *conversation, const char *user,
                           uint64_t delivered_seq, uint64_t read_seq) {
    struct json_writer writer;
    begin(&writer, out, "mark", 0);
    json_write_key_text(&writer, "conversation", conversation);
    json_write_key_text(&writer, "user", user);
    optional_u64(&writer, "delivered", delivered_seq);
    optional_u64(&writer, "read", read_seq);
    return end(&writer);
}

enum err frame_encode_typing(struct buf *out, const char *conversation, const char *user,
                             bool active) {
    struct json_writer writer;
    begin(&writer, out, "typing", 0);
    json_write_key_text(&writer, "conversation", conversation);
    json_write_key_text(&writer, "user", user);
    json_write_key_bool(&writer, "active", active);
    return end(&writer);
}

enum err frame_encode_presence(struct buf *out, const char *user, const char *status) {
    struct json_writer writer;
    begin(&writer, out, "presence", 0);
    json_write_key_text(&writer, "user", user);
    json_write_key_text(&writer, "status", status);
    return end(&writer);
}

enum err frame_encode_conv(struct buf *out, const struct frame_conversation *conv) {
    struct json_writer writer;
    begin(&writer, out, "conv", 0);
    json_write_key_text(&writer, "conversation", conv->conversation);
    json_write_key_text(&writer, "kind", conv->direct ? "direct" : "group");
    json_write_key_text(&writer, "title", conv->title != NULL ? conv->title : "");
    json_write_key_u64(&writer, "members_version", conv->members_version);
    json_write_key_u64(&writer, "head", conv->head);
    return end(&writer);
}

enum err frame_encode_member(struct buf *out, const char *conversation, uint64_t members_version,
                             const char *actor, const struct frame_member *members, size_t count) {
    struct json_writer writer;
    begin(&writer, out, "member", 0);
    json_write_key_text(&writer, "conversation", conversation);
    json_write_key_u64(&writer, "members_version", members_version);
    optional_text(&writer, "actor", actor);
    json_write_key(&writer, "changed");
    json_write_open_array(&writer);
    for (size_t i = 0; i < count; i++) {
        json_write_open(&writer);
        json_write_key_text(&writer, "user", members[i].user);
        json_write_key_text(&writer, "role", members[i].role);
        json_write_key_text(&writer, "state", members[i].state);
        json_write_close(&writer);
    }
    json_write_close_array(&writer);
    return end(&writer);
}

enum err frame_encode_ping(struct buf *out) {
    struct json_writer writer;
    begin(&writer, out, "ping", 0);
    return end(&writer);
}

enum err frame_encode_pong(struct buf *out, uint64_t id) {
    struct json_writer writer;
    begin(&writer, out, "pong", id);
    return end(&writer);
}
