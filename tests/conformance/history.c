/* history: pages both ways, what a viewer may see, heads, and the search for an origin. */
#include "tests/conformance/support.h"

#include "common/id.h"

static void group_with(struct fixture *f, size_t count) {
    user_make(f, "ann");
    user_make(f, "bob");
    user_make(f, "eve");
    group_make(f, "c_x", "u_ann", "u_bob", NULL);
    if (count > 0) {
        (void)append_texts(f, "c_x", "u_ann", count);
    }
}

static Pipit__HistoryReply *page(struct fixture *f, const char *viewer, uint64_t after,
                                 uint64_t before, uint32_t limit) {
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = "c_x";
    request.viewer = (char *)viewer;
    request.after_seq = after;
    request.before_seq = before;
    request.limit = limit;
    enum err error = ERR_OK;
    Pipit__HistoryReply *reply = history_page(f, request, &error);
    assert_int_equal(error, ERR_OK);
    return reply;
}

static void check(const Pipit__HistoryReply *reply, uint64_t first, uint64_t last, bool has_more) {
    assert_int_equal(reply->n_messages, last - first + 1);
    for (size_t i = 0; i < reply->n_messages; i++) {
        assert_int_equal(reply->messages[i]->seq, first + i);
    }
    assert_int_equal(reply->has_more, has_more);
}

static void pages_forwards(void **state) {
    struct fixture *f = *state;
    group_with(f, 10);
    check(page(f, "u_bob", 0, 0, 4), 1, 4, true);
    check(page(f, "u_bob", 4, 0, 4), 5, 8, true);
    check(page(f, "u_bob", 8, 0, 4), 9, 10, false);
    check(page(f, "u_bob", 6, 0, 4), 7, 10, false);
    Pipit__HistoryReply *none = page(f, "u_bob", 10, 0, 4);
    assert_int_equal(none->n_messages, 0);
    assert_false(none->has_more);
    assert_int_equal(none->head, 10);
    assert_int_equal(page(f, "u_bob", UINT64_MAX, 0, 4)->n_messages, 0);
}

static void pages_backwards(void **state) {
    struct fixture *f = *state;
    group_with(f, 10);
    check(page(f, "u_bob", 0, 11, 4), 7, 10, true);
    check(page(f, "u_bob", 0, 7, 4), 3, 6, true);
    check(page(f, "u_bob", 0, 3, 4), 1, 2, false);
    check(page(f, "u_bob", 0, UINT64_MAX, 4), 7, 10, true); /* from the end */
    assert_int_equal(page(f, "u_bob", 0, 1, 4)->n_messages, 0);
}

static void limits_are_bounded(void **state) {
    struct fixture *f = *state;
    group_with(f, 300);
    check(page(f, "", 0, 0, 0), 1, STORE_HISTORY_LIMIT_MAX, true);
    check(page(f, "", 0, 0, 100000), 1, STORE_HISTORY_LIMIT_MAX, true);
    check(page(f, "", 0, 301, 100000), 301 - STORE_HISTORY_LIMIT_MAX, 300, true);
}

static void an_empty_log(void **state) {
    struct fixture *f = *state;
    group_with(f, 0);
    Pipit__HistoryReply *reply = page(f, "u_ann", 0, 0, 10);
    assert_int_equal(reply->n_messages, 0);
    assert_int_equal(reply->head, 0);
    assert_false(reply->has_more);
    assert_int_equal(page(f, "u_ann", 0, 5, 10)->n_messages, 0);
}

static void who_joins_later_sees_less(void **state) {
    struct fixture *f = *state;
    group_with(f, 3);
    assert_int_equal(change_try(f,
                                (struct change){.conversation = "c_x",
                                                .actor = "u_ann",
                                                .action = PIPIT__MEMBER_ACTION__MEMBERS_ADD,
                                                .user = "u_eve"},
                                NULL, NULL),
                     ERR_OK);
    Pipit__HistoryReply *nothing = page(f, "u_eve", 0, 0, 10);
    assert_int_equal(nothing->n_messages, 0);
    assert_int_equal(nothing->joined_seq, 3);
    (void)append_texts(f, "c_x", "u_ann", 3);
    check(page(f, "u_eve", 0, 0, 10), 4, 6, false);
    check(page(f, "u_eve", 2, 0, 2), 4, 5, true);
    check(page(f, "u_eve", 0, 6, 10), 4, 5, false);
    check(page(f, "u_eve", 0, 6, 1), 5, 5, true);
    assert_int_equal(page(f, "u_eve", 0, 4, 10)->n_messages, 0);
    check(page(f, "u_bob", 0, 0, 10), 1, 6, false);
}

static void outsiders_are_refused(void **state) {
    struct fixture *f = *state;
    group_with(f, 3);
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = "c_x";
    request.viewer = "u_eve";
    enum err error = ERR_OK;
    Pipit__HistoryReply *reply = history_page(f, request, &error);
    assert_int_equal(error, ERR_NOT_MEMBER);
    assert_int_equal(reply->n_messages, 0);
    assert_int_equal(reply->head, 0);
    request.conversation = "c_none";
    (void)history_page(f, request, &error);
    assert_int_equal(error, ERR_NOT_MEMBER); /* no telling whether it exists */
    request.viewer = "";
    (void)history_page(f, request, &error);
    assert_int_equal(error, ERR_NOT_FOUND);
}

static void a_former_member_is_refused(void **state) {
    struct fixture *f = *state;
    group_with(f, 3);
    assert_int_equal(change_try(f,
                                (struct change){.conversation = "c_x",
                                                .actor = "u_bob",
                                                .action = PIPIT__MEMBER_ACTION__MEMBERS_REMOVE,
                                                .user = "u_bob"},
                                NULL, NULL),
                     ERR_OK);
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = "c_x";
    request.viewer = "u_bob";
    enum err error = ERR_OK;
    (void)history_page(f, request, &error);
    assert_int_equal(error, ERR_NOT_MEMBER);
}

static void bytes_are_bounded(void **state) {
    struct fixture *f = *state;
    group_with(f, 0);
    uint8_t body[1000];
    id_random(body, sizeof(body));
    for (uint64_t seq = 1; seq <= 5; seq++) {
        Pipit__StoredMessage *message = message_make(f, "u_ann", body, sizeof(body));
        assert_int_equal(append_run(f, "c_x", seq, &message, 1)->error, ERR_OK);
    }
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = "c_x";
    request.bytes_max = 2999;
    enum err error = ERR_OK;
    check(history_page(f, request, &error), 1, 2, true);
    request.bytes_max = 3000;
    check(history_page(f, request, &error), 1, 3, true);
    request.bytes_max = 1; /* one always comes, else a reader would never get on */
    check(history_page(f, request, &error), 1, 1, true);
    request.bytes_max = 2000;
    request.before_seq = 6;
    check(history_page(f, request, &error), 4, 5, true);
}

static void heads_in_the_order_asked(void **state) {
    struct fixture *f = *state;
    group_with(f, 3);
    group_make(f, "c_y", "u_ann", NULL);
    char *conversations[] = {"c_y", "c_none", "c_x", "c_x"};
    Pipit__HeadsRequest request = PIPIT__HEADS_REQUEST__INIT;
    request.conversations = conversations;
    request.n_conversations = 4;
    Pipit__HeadsReply reply = PIPIT__HEADS_REPLY__INIT;
    assert_int_equal(f->store->ops->heads(f->store, &request, &f->arena, &reply), ERR_OK);
    assert_int_equal(reply.n_heads, 4);
    assert_int_equal(reply.heads[0]->head, 0);
    assert_int_equal(reply.heads[0]->members_version, conversation_load(f, "c_y")->members_version);
    assert_int_equal(reply.heads[1]->head, 0);
    assert_int_equal(reply.heads[1]->members_version, 0);
    assert_int_equal(reply.heads[2]->head, 3);
    assert_int_equal(reply.heads[3]->head, 3);
    Pipit__HeadsReply empty = PIPIT__HEADS_REPLY__INIT;
    request.n_conversations = 0;
    assert_int_equal(f->store->ops->heads(f->store, &request, &f->arena, &empty), ERR_OK);
    request.n_conversations = STORE_HEADS_MAX + 1;
    assert_int_equal(f->store->ops->heads(f->store, &request, &f->arena, &empty), ERR_TOO_LARGE);
}

static enum err find_origin(struct fixture *f, const char *sender, uint32_t packet_id,
                            const char *hash, uint64_t since_ms, uint32_t tail_max,
                            Pipit__OriginReply *reply) {
    Pipit__Origin origin = PIPIT__ORIGIN__INIT;
    origin.device = "m:lamp";
    origin.packet_id = packet_id;
    origin.hash = (ProtobufCBinaryData){16, (uint8_t *)hash};
    Pipit__OriginRequest request = PIPIT__ORIGIN_REQUEST__INIT;
    request.conversation = "c_x";
    request.sender = (char *)sender;
    request.origin = &origin;
    request.since_ms = since_ms;
    request.tail_max = tail_max;
    pipit__origin_reply__init(reply);
    return f->store->ops->origin(f->store, &request, &f->arena, reply);
}

static void finds_an_origin_in_the_tail(void **state) {
    struct fixture *f = *state;
    group_with(f, 2);
    Pipit__Origin origin = PIPIT__ORIGIN__INIT;
    origin.device = "m:lamp";
    origin.packet_id = 7;
    origin.hash = (ProtobufCBinaryData){16, (uint8_t *)"0123456789abcdef"};
    Pipit__StoredMessage *message = message_make(f, "u_bob", "on", 2);
    message->origin = &origin;
    assert_int_equal(append_run(f, "c_x", 3, &message, 1)->error, ERR_OK);
    uint64_t stored_ms = f->now_ms;
    f->now_ms += 5000;
    (void)append_texts(f, "c_x", "u_ann", 2);
    Pipit__OriginReply reply;
    assert_int_equal(find_origin(f, "u_bob", 7, "0123456789abcdef", 0, 0, &reply), ERR_OK);
    assert_int_equal(reply.seq, 3);
    assert_int_equal(reply.ts_ms, stored_ms);
    assert_memory_equal(reply.id.data, message->id.data, 16);
    assert_int_equal(find_origin(f, "u_bob", 7, "0123456789abcdef", 0, 3, &reply), ERR_OK);
    assert_int_equal(find_origin(f, "u_bob", 7, "0123456789abcdef", 0, 2, &reply), ERR_NOT_FOUND);
    assert_int_equal(find_origin(f, "u_bob", 7, "0123456789abcdef", stored_ms, 0, &reply), ERR_OK);
    assert_int_equal(find_origin(f, "u_bob", 7, "0123456789abcdef", stored_ms + 1, 0, &reply),
                     ERR_NOT_FOUND);
    assert_int_equal(find_origin(f, "u_ann", 7, "0123456789abcdef", 0, 0, &reply), ERR_NOT_FOUND);
    assert_int_equal(find_origin(f, "u_bob", 8, "0123456789abcdef", 0, 0, &reply), ERR_NOT_FOUND);
    assert_int_equal(find_origin(f, "u_bob", 7, "0123456789abcdeX", 0, 0, &reply), ERR_NOT_FOUND);
}

int history_tests(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(pages_forwards),
        STORE_TEST(pages_backwards),
        STORE_TEST(limits_are_bounded),
        STORE_TEST(an_empty_log),
        STORE_TEST(who_joins_later_sees_less),
        STORE_TEST(outsiders_are_refused),
        STORE_TEST(a_former_member_is_refused),
        STORE_TEST(bytes_are_bounded),
        STORE_TEST(heads_in_the_order_asked),
        STORE_TEST(finds_an_origin_in_the_tail),
    };
    return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
