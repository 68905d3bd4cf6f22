/* messages: sending, editing, recalling and reacting, through the routing instance that owns the
 * conversation, like every other client (docs/decisions/0005). 201 and 200 differ only in whether
 * this request or an earlier one with the same id stored the message.
 *
 * The body goes through byte for byte: proto/json_reader finds it in the request, so numbers and
 * key order stay as the sender wrote them, and the same checks as on WebSocket and MQTT apply. */
#include "common/clock.h"
#include "proto/frame.h"
#include "services/auth/conversations.h"
#include "services/auth/handlers.h"
#include <string.h>

static bool read_id(struct call *call, const char *text, uint8_t id[ID_UUID_BYTES]) {
    if (id_uuid7_parse(text, strlen(text), id) != ERR_OK) {
        return call_fail(call, REASON_INVALID_ID, 0, "The message id must be a UUID version 7.");
    }
    if (!frame_id_in_window(id, clock_wall_ms())) {
        return call_fail(call, REASON_ID_OUT_OF_WINDOW, 0, "%s", "");
    }
    return true;
}

/* The id of a change that has none in its path: the Idempotency-Key, or a new one. */
static bool read_key(struct call *call, uint8_t id[ID_UUID_BYTES]) {
    const char *key = http_header(call->http, "Idempotency-Key");
    char text[ID_UUID_TEXT_BYTES];
    if (key == NULL) {
        id_uuid7_make(clock_wall_ms(), id);
        return true;
    }
    size_t length = strlen(key);
    bool quoted = length >= 2 && key[0] == '"' && key[length - 1] == '"'; /* sf-string */
    key += quoted ? 1 : 0;
    length -= quoted ? 2 : 0;
    if (length >= sizeof text) {
        return call_fail(call, REASON_INVALID_ID, 0,
                         "The Idempotency-Key must be a UUID version 7.");
    }
    memcpy(text, key, length);
    text[length] = '\0';
    return read_id(call, text, id);
}

/* What the request of a send or an edit says; slices point into it. */
struct message_in {
    struct slice body; /* JSON object, verbatim */
    uint64_t reply;    /* send */
    char message[64];  /* edit: the id of the edit; "" = absent */
};

static bool bad_field(struct call *call, const char *what) {
    return call_fail(call, REASON_MALFORMED, 422, "%s", what);
}

static bool read_content(struct call *call, const struct json_value *value, struct slice *body) {
    enum reason reason = frame_check_body(value);
    if (reason == REASON_OK) {
        *body = value->raw;
        return true;
    }
    return call_fail(call, reason, reason == REASON_MALFORMED ? 422 : 0,
                     "\"body\" must be an object whose \"text\", if any, is a string of at most "
                     "%d bytes.",
                     LIMIT_TEXT_BYTES);
}

static bool read_member(struct call *call, const struct json_member *member, bool edit,
                        struct message_in *in) {
    char name[65];
    if (json_string_is(&member->key, "body")) {
        return read_content(call, &member->value, &in->body);
    }
    if (!edit && json_string_is(&member->key, "reply")) {
        return json_u64(&member->value, LIMIT_SEQ_MAX, &in->reply) == ERR_OK && in->reply > 0
                   ? true
                   : bad_field(call, "\"reply\" must be the seq of a message.");
    }
    if (edit && json_string_is(&member->key, "message")) {
        return json_string_copy(&member->value, in->message, sizeof in->message) == ERR_OK
                   ? true
                   : bad_field(call, "\"message\" must be a UUID version 7.");
    }
    bool short_name = json_string_copy(&member->key, name, sizeof name) == ERR_OK;
    return call_fail(call, REASON_MALFORMED, 422, "Unknown field \"%s\".",
                     short_name ? name : "...");
}

static bool read_request(struct call *call, bool edit, struct message_in *in) {
    size_t bytes = 0;
    const uint8_t *request = http_body(call->http, &bytes);
    struct json_value root;
    struct json_iter iter;
    struct json_member member;
    struct json_problem wrong;
    if (json_parse(request, bytes, &root, &wrong) != ERR_OK) {
        return call_fail(call, REASON_MALFORMED, 0, "The body is not valid JSON (byte %zu): %s.",
                         wrong.offset, wrong.text);
    }
    if (root.kind != JSON_OBJECT) {
        return call_fail(call, REASON_MALFORMED, 0, "The body must be a JSON object.");
    }
    json_iter_begin(&iter, &root);
    while (json_next_member(&iter, &member)) {
        if (!read_member(call, &member, edit, in)) {
            return false;
        }
    }
    if (in->body.bytes == NULL) {
        return bad_field(call, "\"body\" is missing.");
    }
    return edit && in->message[0] == '\0' ? bad_field(call, "\"message\" is missing.") : true;
}

static void answer(struct call *call, const Pipit__Submit *submit,
                   const Pipit__SubmitResult *result, int first_status) {
    char id[ID_UUID_TEXT_BYTES];
    id_uuid_format(submit->id.data, id);
    struct json_writer *json = call_answer(call, result->replay ? 200 : first_status);
    json_write_open(json);
    json_write_key_text(json, "conversation", submit->conversation);
    json_write_key_u64(json, "seq", result->seq);
    json_write_key_text(json, "message", id);
    json_write_key_time(json, "ts", result->ts_ms);
    json_write_close(json);
}

/* Fills in who sends and asks routing; answers. */
static void submit(struct call *call, Pipit__Submit *submit, int first_status) {
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    Pipit__SubmitReply *reply = NULL;
    Pipit__Submit *submits[] = {submit};
    submit->ref = 1;
    submit->user = call->self.user;
    submit->device = call->self.device;
    batch.submits = submits;
    batch.n_submits = 1;
    if (!call_check(call, ask_routing(&call->ask, submit->conversation, &batch, &reply))) {
        return;
    }
    if (reply->n_results != 1 || reply->results[0]->ref != 1) {
        (void)call_fail_err(call, ERR_CORRUPT);
        return;
    }
    const Pipit__SubmitResult *result = reply->results[0];
    enum reason reason = reason_from_number(result->reason);
    Pipit__ConversationItem *item = NULL;
    if (reason == REASON_NOT_FOUND &&
        !conversation_load_own(call, submit->conversation, false, &item)) {
        return; /* outsiders do not learn whether the conversation exists */
    }
    if (reason != REASON_OK) {
        (void)call_fail(call, reason, 0, "%s", "");
        call->problem.retry_ms =
            result->retry_ms > 0 || !reason_retryable(reason) ? result->retry_ms : 1000;
        return;
    }
    answer(call, submit, result, first_status);
}

void messages_put(struct call *call) {
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    uint8_t id[ID_UUID_BYTES];
    struct message_in in = {0};
    Pipit__Submit request = PIPIT__SUBMIT__INIT;
    if (!call_param_conversation(call, 0, conversation) || !read_request(call, false, &in) ||
        !read_id(call, call_param(call, 1), id)) {
        return;
    }
    request.conversation = conversation;
    request.kind = PIPIT__MESSAGE_KIND__MESSAGE_TEXT;
    request.id = ask_bytes(id, sizeof id);
    request.body = ask_bytes(in.body.bytes, in.body.count);
    request.reply_seq = in.reply;
    submit(call, &request, 201);
}

void messages_patch(struct call *call) {
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    uint8_t id[ID_UUID_BYTES];
    struct message_in in = {0};
    Pipit__Submit request = PIPIT__SUBMIT__INIT;
    if (!call_param_conversation(call, 0, conversation) || !read_request(call, true, &in) ||
        !call_param_u64(call, 1, LIMIT_SEQ_MAX, &request.target_seq) ||
        !read_id(call, in.message, id)) {
        return;
    }
    request.conversation = conversation;
    request.kind = PIPIT__MESSAGE_KIND__MESSAGE_EDIT;
    request.id = ask_bytes(id, sizeof id);
    request.body = ask_bytes(in.body.bytes, in.body.count);
    submit(call, &request, 200);
}

void messages_delete(struct call *call) {
    static const char empty[] = "{}";
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    uint8_t id[ID_UUID_BYTES];
    Pipit__Submit request = PIPIT__SUBMIT__INIT;
    if (!call_body_none(call) || !call_param_conversation(call, 0, conversation) ||
        !call_param_u64(call, 1, LIMIT_SEQ_MAX, &request.target_seq) || !read_key(call, id)) {
        return;
    }
    request.conversation = conversation;
    request.kind = PIPIT__MESSAGE_KIND__MESSAGE_RECALL;
    request.id = ask_bytes(id, sizeof id);
    request.body = ask_bytes(empty, sizeof empty - 1);
    submit(call, &request, 200);
}

static void react(struct call *call, bool removed) {
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    uint8_t id[ID_UUID_BYTES];
    struct buf body;
    const char *emoji = call_param(call, 2);
    Pipit__Submit request = PIPIT__SUBMIT__INIT;
    if (!call_body_none(call) || !call_param_conversation(call, 0, conversation) ||
        !call_param_u64(call, 1, LIMIT_SEQ_MAX, &request.target_seq) || !read_key(call, id)) {
        return;
    }
    if (!names_emoji_valid(emoji, strlen(emoji))) {
        (void)call_fail(call, REASON_MALFORMED, 422, "The reaction must be 1 to %d bytes of UTF-8.",
                        LIMIT_EMOJI_BYTES);
        return;
    }
    buf_init(&body, 4 * LIMIT_EMOJI_BYTES + 64);
    if (call_check(call, frame_react_body(&body, emoji, removed))) {
        request.conversation = conversation;
        request.kind = PIPIT__MESSAGE_KIND__MESSAGE_REACT;
        request.id = ask_bytes(id, sizeof id);
        request.body = ask_bytes(buf_data(&body), buf_len(&body));
        submit(call, &request, 200);
    }
    buf_finish(&body);
}

void reactions_put(struct call *call) {
    react(call, false);
}

void reactions_delete(struct call *call) {
    react(call, true);
}
