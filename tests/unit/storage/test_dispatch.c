/* test_dispatch: every request that goes to storage has a handler, and errors reach field 1 of
 * every kind of reply. */
#include "tests/unit/storage/support.h"

#include "services/storage/handler.h"

/* proto/message.def: what storage answers. */
static const enum message_type REQUESTS[] = {
    MESSAGE_HISTORY_REQUEST,
    MESSAGE_HEADS_REQUEST,
    MESSAGE_CONVERSATIONS_REQUEST,
    MESSAGE_ORIGIN_REQUEST,
    MESSAGE_APPEND_BATCH,
    MESSAGE_CURSORS_REQUEST,
    MESSAGE_CONVERSATION_LOAD,
    MESSAGE_CONVERSATION_CREATE,
    MESSAGE_MEMBERS_CHANGE,
    MESSAGE_BLOCK_CHANGE,
    MESSAGE_BLOCKS_REQUEST,
    MESSAGE_USER_CREATE,
    MESSAGE_USER_GET,
    MESSAGE_USER_UPDATE,
    MESSAGE_USERS_REQUEST,
    MESSAGE_DEVICES_REQUEST,
    MESSAGE_SESSION_CREATE,
    MESSAGE_SESSION_ROTATE,
    MESSAGE_REVOKE,
    MESSAGE_REVOCATIONS_REQUEST,
    MESSAGE_INVITE_CREATE,
    MESSAGE_INVITES_REQUEST,
    MESSAGE_INVITE_DELETE,
    MESSAGE_KEY_PUT,
    MESSAGE_KEY_RETIRE,
    MESSAGE_KEYS_REQUEST,
    MESSAGE_STATS_REQUEST,
    MESSAGE_AUDIT_APPEND,
    MESSAGE_AUDIT_REQUEST,
};
#define REQUEST_COUNT (sizeof(REQUESTS) / sizeof(REQUESTS[0]))

static bool listed(enum message_type type) {
    for (size_t i = 0; i < REQUEST_COUNT; i++) {
        if (REQUESTS[i] == type) {
            return true;
        }
    }
    return false;
}

static void exactly_the_requests_have_handlers(void **state) {
    (void)state;
    for (int type = 0; type < 70000; type++) {
        const struct handler *handler = dispatch_find((enum message_type)type);
        assert_int_equal(handler != NULL, listed((enum message_type)type));
        if (handler != NULL) {
            assert_int_equal(handler->request_type, type);
        }
    }
}

static void errors_reach_every_reply(void **state) {
    (void)state;
    for (size_t i = 0; i < REQUEST_COUNT; i++) {
        struct call call = {.handler = dispatch_find(REQUESTS[i])};
        struct buf out;
        arena_init(&call.arena, 4096, 65536);
        buf_init(&out, 4096);
        assert_int_equal(call_reset_reply(&call), ERR_OK);
        call.error = ERR_NO_SPACE;
        call_finish(&call);
        /* Packing checks that the type and the descriptor of the row belong together. */
        assert_int_equal(envelope_pack(call.handler->reply_type, call.reply, false, &out), ERR_OK);
        static const uint8_t field[] = {0x08, ERR_NO_SPACE}; /* field 1, varint */
        assert_int_equal(buf_len(&out), ENVELOPE_BYTES + sizeof(field));
        assert_memory_equal(buf_data(&out) + ENVELOPE_BYTES, field, sizeof(field));
        buf_finish(&out);
        arena_finish(&call.arena);
    }
}

static void an_error_drops_the_rest_of_the_reply(void **state) {
    (void)state;
    struct call call = {.handler = dispatch_find(MESSAGE_SESSION_ROTATE)};
    arena_init(&call.arena, 4096, 65536);
    assert_int_equal(call_reset_reply(&call), ERR_OK);
    Pipit__SessionReply *reply = (Pipit__SessionReply *)call.reply;
    Pipit__User user = PIPIT__USER__INIT;
    reply->user = &user;
    call.error = ERR_REUSED; /* this one says whose family ended */
    call_finish(&call);
    assert_ptr_equal(reply->user, &user);
    assert_int_equal(reply->error, ERR_REUSED);
    call.error = ERR_EXPIRED;
    call_finish(&call);
    assert_null(reply->user);
    assert_int_equal(reply->error, ERR_EXPIRED);
    arena_finish(&call.arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exactly_the_requests_have_handlers),
        cmocka_unit_test(errors_reach_every_reply),
        cmocka_unit_test(an_error_drops_the_rest_of_the_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
