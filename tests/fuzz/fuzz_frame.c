/* fuzz_frame: clients' frames, and MQTT chat payloads with the same text. Every name that passes is
 * a valid one, every slice lies in the input, every problem has a text that an err frame can carry.
 */
#include "proto/chat_payload.h"
#include "proto/frame.h"
#include "proto/names.h"
#include "proto/utf8.h"
#include "tests/fuzz/fuzz_support.h"

static void check_name(const char *text, bool (*valid)(const char *, size_t)) {
    CONTRACT(text[0] == '\0' || valid(text, strlen(text)));
}

static void check_message(const struct client_frame *frame, const uint8_t *bytes, size_t size) {
    const struct frame_message *message = &frame->message;
    struct json_value body;
    check_name(message->conversation, names_conversation_id_valid);
    check_name(message->to, names_user_id_valid);
    check_name(message->emoji, names_emoji_valid);
    CONTRACT((message->conversation[0] == '\0') != (message->to[0] == '\0'));
    fuzz_inside(message->body, bytes, size);
    if (frame->type == FRAME_SEND || frame->type == FRAME_EDIT) {
        CONTRACT(json_parse(message->body.bytes, message->body.count, &body, NULL) == ERR_OK);
        CONTRACT(body.kind == JSON_OBJECT);
    }
}

static void check_sync(const struct frame_sync *sync) {
    struct frame_sync_iter iter = {0};
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    uint64_t seq;
    size_t count = 0;
    while (frame_sync_next(sync, &iter, conversation, &seq)) {
        check_name(conversation, names_conversation_id_valid);
        CONTRACT(seq <= LIMIT_SEQ_MAX);
        count++;
    }
    CONTRACT(count == sync->conversation_count && count <= LIMIT_SYNC_CONVERSATIONS);
}

static void check_frame(const struct client_frame *frame, const uint8_t *bytes, size_t size) {
    CONTRACT(!frame->has_id || (frame->id >= 1 && frame->id <= LIMIT_REQUEST_ID_MAX));
    switch (frame->type) {
    case FRAME_AUTH:
        CONTRACT(frame->auth.token.count > 0);
        fuzz_inside(frame->auth.token, bytes, size);
        check_name(frame->auth.device, names_device_id_valid);
        break;
    case FRAME_SEND:
    case FRAME_EDIT:
    case FRAME_RECALL:
    case FRAME_REACT:
        check_message(frame, bytes, size);
        break;
    case FRAME_SYNC:
        check_sync(&frame->sync);
        break;
    default:
        break;
    }
}

static void try_payload(const uint8_t *bytes, size_t size) {
    struct buf scratch;
    struct chat_payload chat;
    struct json_value body;
    buf_init(&scratch, 7 * LIMIT_TEXT_BYTES);
    if (chat_payload_decode(bytes, size, &scratch, &chat) == REASON_OK) {
        CONTRACT(json_parse(chat.body.bytes, chat.body.count, &body, NULL) == ERR_OK);
        CONTRACT(frame_check_body(&body) == REASON_OK);
    }
    buf_finish(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *bytes = fuzz_copy(data, size);
    struct client_frame frame;
    struct frame_problem problem;
    struct buf out;
    enum reason reason = frame_decode(bytes, size, &frame, &problem);
    if (reason == REASON_OK) {
        check_frame(&frame, bytes, size);
    } else {
        CONTRACT(problem.text[0] != '\0' && strlen(problem.text) < sizeof problem.text);
        CONTRACT(utf8_valid((const uint8_t *)problem.text, strlen(problem.text)));
        buf_init(&out, 10000);
        CONTRACT(frame_encode_err(&out, problem.id, reason, problem.text, 0) == ERR_OK);
        struct json_value root;
        CONTRACT(json_parse(buf_data(&out), buf_len(&out), &root, NULL) == ERR_OK);
        buf_finish(&out);
    }
    try_payload(bytes, size);
    free(bytes);
    return 0;
}
