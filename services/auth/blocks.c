/* blocks: whom a user does not want to hear from. Blocking suspends the direct conversation for
 * both sides; groups are left alone. */
#include "common/clock.h"
#include "services/auth/call.h"
#include "services/auth/handlers.h"
#include <string.h>

void blocks_get_all(struct call *call) {
    Pipit__BlocksRequest request = PIPIT__BLOCKS_REQUEST__INIT;
    Pipit__BlocksReply *reply = NULL;
    request.user = call->self.user;
    if (!call_check(call, ASK(&call->ask, BLOCKS_REQUEST, &request, BLOCKS_REPLY, &reply))) {
        return;
    }
    struct json_writer *json = call_answer(call, 200);
    json_write_open(json);
    json_write_key(json, "items");
    json_write_open_array(json);
    for (size_t i = 0; i < reply->n_blocked; i++) {
        json_write_open(json);
        json_write_key_text(json, "user", reply->blocked[i]);
        json_write_close(json);
    }
    json_write_close_array(json);
    json_write_close(json);
}

static void change(struct call *call, bool on) {
    char user[LIMIT_USER_ID_BYTES + 1];
    Pipit__BlockChange request = PIPIT__BLOCK_CHANGE__INIT;
    Pipit__StatusReply *reply = NULL;
    if (!call_body_none(call) || !call_param_user(call, 0, user)) {
        return;
    }
    if (strcmp(user, call->self.user) == 0) {
        (void)call_fail(call, REASON_MALFORMED, 422, "Nobody can block oneself.");
        return;
    }
    request.user = call->self.user;
    request.blocked = user;
    request.on = on;
    request.now_ms = clock_wall_ms();
    if (call_check(call, ASK(&call->ask, BLOCK_CHANGE, &request, STATUS_REPLY, &reply))) {
        call_answer_empty(call);
    }
}

void blocks_put(struct call *call) {
    change(call, true);
}

void blocks_delete(struct call *call) {
    change(call, false);
}
