/* cursors: "I have read up to here". Storage moves the cursor (never back, never beyond the head)
 * and answers where it is; then routing is told, so that the user's other devices and the other
 * members see it live. The second step is a courtesy: should it fail, they see it at their next
 * sync. */
#include "common/log.h"
#include "services/auth/call.h"
#include "services/auth/handlers.h"

static void tell_others(struct call *call, char *conversation, uint64_t read_seq) {
    Pipit__Mark mark = PIPIT__MARK__INIT;
    Pipit__Mark *marks[] = {&mark};
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    Pipit__SubmitReply *reply = NULL;
    mark.conversation = conversation;
    mark.user = call->self.user;
    mark.device = call->self.device;
    mark.read_seq = read_seq;
    batch.marks = marks;
    batch.n_marks = 1;
    enum err error = ask_routing(&call->ask, conversation, &batch, &reply);
    if (error != ERR_OK) {
        log_event(LOG_DEBUG, "a read mark was not passed on", F_ERR(error));
    }
}

void read_put(struct call *call) {
    static const char *const known[] = {"seq", NULL};
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    Pipit__CursorUpdate update = PIPIT__CURSOR_UPDATE__INIT;
    Pipit__CursorUpdate *updates[] = {&update};
    Pipit__CursorsRequest request = PIPIT__CURSORS_REQUEST__INIT;
    Pipit__CursorsReply *reply = NULL;
    if (!call_param_conversation(call, 0, conversation) || !call_body_known(call, known) ||
        !json_in_u64(call->body, "seq", JSON_IN_REQUIRED, 0, LIMIT_SEQ_MAX, &update.read_seq, NULL,
                     &call->problem)) {
        return;
    }
    update.user = call->self.user;
    update.device = call->self.device;
    update.conversation = conversation;
    request.updates = updates;
    request.n_updates = 1;
    enum err error = ASK(&call->ask, CURSORS_REQUEST, &request, CURSORS_REPLY, &reply);
    if (error == ERR_OK) {
        error = reply->n_results == 1 ? (enum err)reply->results[0]->error : ERR_CORRUPT;
    }
    if (!call_check(call, error)) {
        return;
    }
    const Pipit__CursorResult *result = reply->results[0];
    struct json_writer *json = call_answer(call, 200);
    json_write_open(json);
    json_write_key_u64(json, "read", result->read_seq);
    json_write_key_u64(json, "delivered", result->delivered_seq);
    json_write_close(json);
    if (result->changed) {
        tell_others(call, conversation, result->read_seq);
    }
}
