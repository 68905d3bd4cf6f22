/* history: a page of a conversation's log, straight from storage. Edits, recalls and reactions are
 * rows of their own that point at a seq, as in the live stream; folding them is the client's. */
#include "services/auth/call.h"
#include "services/auth/conversation_json.h"
#include "services/auth/handlers.h"

#define LIMIT_MAX 100
#define LIMIT_DEFAULT 50

void messages_get_all(struct call *call) {
    char id[LIMIT_CONVERSATION_ID_BYTES + 1];
    uint64_t before = LIMIT_SEQ_MAX; /* without before and after: the newest page */
    uint64_t after = 0;
    uint64_t limit = LIMIT_DEFAULT;
    bool has_before = false;
    bool has_after = false;
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    Pipit__HistoryReply *reply = NULL;
    if (!call_param_conversation(call, 0, id) ||
        !call_query_u64(call, "before", 1, LIMIT_SEQ_MAX, &before, &has_before) ||
        !call_query_u64(call, "after", 0, LIMIT_SEQ_MAX, &after, &has_after) ||
        !call_query_u64(call, "limit", 1, LIMIT_MAX, &limit, NULL)) {
        return;
    }
    if (has_before && has_after) {
        (void)call_fail(call, REASON_MALFORMED, 422, "Give \"before\" or \"after\", not both.");
        return;
    }
    request.conversation = id;
    request.viewer = call->self.user;
    request.before_seq = has_after ? 0 : before;
    request.after_seq = after;
    request.limit = (uint32_t)limit;
    enum err error = ASK(&call->ask, HISTORY_REQUEST, &request, HISTORY_REPLY, &reply);
    if (!call_check(call, error == ERR_NOT_FOUND ? ERR_NOT_MEMBER : error)) {
        return;
    }
    struct json_writer *json = call_answer(call, 200);
    json_write_open(json);
    json_write_key(json, "items");
    json_write_open_array(json);
    for (size_t i = 0; i < reply->n_messages; i++) {
        message_write(json, reply->messages[i]);
    }
    json_write_close_array(json);
    json_write_key_bool(json, "has_more", reply->has_more);
    json_write_key_u64(json, "head", reply->head);
    json_write_close(json);
}
