/* messages: sending, editing, recalling and reacting, through the routing instance that owns the
 * conversation, like every other client (docs/decisions/0005). 201 and 200 differ only in whether
 * this request or an earlier one with the same id stored the message.
 *
 * The body goes through byte for byte: proto/json_reader finds it in the request, so numbers and
 * key order stay as the sender wrote them, and the same checks as on WebSocket and MQTT apply. */
#include "common/clock.h"
#include "proto/frame.h"
#include "services/auth/call.h"
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

/* The member "body" of the request, raw and checked. */
static bool read_body(struct call *call, ProtobufCBinaryData *body) {
    size_t bytes = 0;
    const uint8_t *request = http_body(call->http, &bytes);
    struct json_value root, value;
    if (json_parse(request, bytes, &root, NULL) != ERR_OK || root.kind != JSON_OBJECT) {
        return call_fail(call, REASON_MALFORMED, 0, "The body is not valid JSON.");
    }
    if (!json_find(&root, "body", &value)) {
        return call_fail(call, REASON_MALFORMED, 422, "\"body\" is missing.");
    }
    enum reason reason = frame_check_body(&value);
    if (reason != REASON_OK) {
        return call_fail(
            call, reason, reason == REASON_MALFORMED ? 422 : 0,
            "\"body\" must be an object whose \"text\", if any, is a string of at most "
            "%d bytes.",
            LIMIT_TEXT_BYTES);
    }
    *body = ask_bytes(value.raw.bytes, value.raw.count);
    return true;
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
    if (reason != REASON_OK) {
        (void)call_fail(call, reason, 0, "%s", "");
        call->problem.retry_ms =
            result->retry_ms > 0 || !reason_retryable(reason) ? result->retry_ms : 1000;
        return;
    }
    answer(call, submit, result, first_status);
}

void messages_put(struct call *call) {
    static const char *const known[] = {"body", "reply", NULL};
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    uint8_t id[ID_UUID_BYTES];
    Pipit__Submit request = PIPIT__SUBMIT__INIT;
    if (!call_param_conversation(call, 0, conversation) ||
        !read_id(call, call_param(call, 1), id) || !call_body_known(call, known) ||
        !json_in_u64(call->body, "reply", JSON_IN_OPTIONAL, 1, LIMIT_SEQ_MAX, &request.reply_seq,
                     NULL, &call->problem) ||
        !read_body(call, &request.body)) {
        return;
    }
    request.conversation = conversation;
    request.kind = PIPIT__MESSAGE_KIND__MESSAGE_TEXT;
    request.id = ask_bytes(id, sizeof id);
    submit(call, &request, 201);
}

void messages_patch(struct call *call) {
    static const char *const known[] = {"message", "body", NULL};
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    uint8_t id[ID_UUID_BYTES];
    const char *text = NULL;
    Pipit__Submit request = PIPIT__SUBMIT__INIT;
    if (!call_param_conversation(call, 0, conversation) ||
        !call_param_u64(call, 1, LIMIT_SEQ_MAX, &request.target_seq) ||
        !call_body_known(call, known) ||
        !json_in_text(call->body, "message", JSON_IN_REQUIRED, 64, &text, &call->problem) ||
        !read_id(call, text, id) || !read_body(call, &request.body)) {
        return;
    }
    request.conversation = conversation;
    request.kind = PIPIT__MESSAGE_KIND__MESSAGE_EDIT;
    request.id = ask_bytes(id, sizeof id);
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
