/* cursors: monotonic, cut at the head, delivered never behind read, one per device beside. */
#include "tests/conformance/support.h"

static void group_with_five(struct fixture *f) {
    user_make(f, "ann");
    user_make(f, "bob");
    user_make(f, "eve");
    group_make(f, "c_x", "u_ann", "u_bob", NULL);
    (void)append_texts(f, "c_x", "u_ann", 5);
}

static void check(const Pipit__CursorResult *result, uint64_t delivered_seq, uint64_t read_seq,
                  bool changed) {
    assert_int_equal(result->error, ERR_OK);
    assert_int_equal(result->delivered_seq, delivered_seq);
    assert_int_equal(result->read_seq, read_seq);
    assert_int_equal(result->changed, changed);
}

static void cursors_never_go_back(void **state) {
    struct fixture *f = *state;
    group_with_five(f);
    check(cursor_move(f, "u_bob", "", "c_x", 3, 0), 3, 0, true);
    check(cursor_move(f, "u_bob", "", "c_x", 3, 0), 3, 0, false); /* idempotent */
    check(cursor_move(f, "u_bob", "", "c_x", 1, 0), 3, 0, false);
    check(cursor_move(f, "u_bob", "", "c_x", 0, 2), 3, 2, true);
    check(cursor_move(f, "u_bob", "", "c_x", 0, 1), 3, 2, false);
    check(cursor_move(f, "u_bob", "", "c_x", 0, 0), 3, 2, false);
    fixture_reopen(f);
    check(cursor_move(f, "u_bob", "", "c_x", 1, 1), 3, 2, false);
}

static void read_implies_delivered(void **state) {
    struct fixture *f = *state;
    group_with_five(f);
    check(cursor_move(f, "u_bob", "", "c_x", 1, 4), 4, 4, true);
    check(cursor_move(f, "u_bob", "", "c_x", 5, 0), 5, 4, true);
}

static void cut_at_the_head(void **state) {
    struct fixture *f = *state;
    group_with_five(f);
    check(cursor_move(f, "u_bob", "", "c_x", 99, 0), 5, 0, true);
    check(cursor_move(f, "u_bob", "", "c_x", 0, UINT64_MAX), 5, 5, true);
    (void)append_texts(f, "c_x", "u_ann", 1);
    check(cursor_move(f, "u_bob", "", "c_x", 6, 0), 6, 5, true); /* the cut left no claim behind */
}

static void outsiders_are_refused(void **state) {
    struct fixture *f = *state;
    group_with_five(f);
    assert_int_equal(cursor_move(f, "u_eve", "", "c_x", 1, 1)->error, ERR_NOT_MEMBER);
    assert_int_equal(cursor_move(f, "u_bob", "", "c_none", 1, 1)->error, ERR_NOT_MEMBER);
    assert_int_equal(change_try(f,
                                (struct change){.conversation = "c_x",
                                                .actor = "u_bob",
                                                .action = PIPIT__MEMBER_ACTION__MEMBERS_REMOVE,
                                                .user = "u_bob"},
                                NULL, NULL),
                     ERR_OK);
    assert_int_equal(cursor_move(f, "u_bob", "", "c_x", 1, 1)->error, ERR_NOT_MEMBER);
}

static const Pipit__ConversationItem *item_for(struct fixture *f, const char *device) {
    static Pipit__ConversationsRequest request;
    pipit__conversations_request__init(&request);
    request.user = "u_bob";
    request.device = (char *)device;
    Pipit__ConversationsReply reply = PIPIT__CONVERSATIONS_REPLY__INIT;
    assert_int_equal(f->store->ops->conversations(f->store, &request, &f->arena, &reply), ERR_OK);
    assert_int_equal(reply.n_items, 1);
    return reply.items[0];
}

static void each_device_has_its_own(void **state) {
    struct fixture *f = *state;
    group_with_five(f);
    assert_false(item_for(f, "d_phone")->device_known);
    check(cursor_move(f, "u_bob", "d_phone", "c_x", 2, 0), 2, 0, true);
    check(cursor_move(f, "u_bob", "d_desk", "c_x", 4, 0), 4, 0, true);
    check(cursor_move(f, "u_bob", "d_phone", "c_x", 3, 0), 4, 0, false); /* the user's is ahead */
    assert_true(item_for(f, "d_phone")->device_known);
    assert_int_equal(item_for(f, "d_phone")->device_delivered_seq, 3);
    assert_int_equal(item_for(f, "d_desk")->device_delivered_seq, 4);
    check(cursor_move(f, "u_bob", "d_phone", "c_x", 1, 0), 4, 0, false);
    assert_int_equal(item_for(f, "d_phone")->device_delivered_seq, 3);
    check(cursor_move(f, "u_bob", "d_phone", "c_x", 0, 5), 5, 5, true); /* read is delivered */
    assert_int_equal(item_for(f, "d_phone")->device_delivered_seq, 5);
    assert_false(item_for(f, "d_other")->device_known);
}

static bool device_is_known(struct fixture *f, const char *user, const char *device) {
    Pipit__ConversationsRequest request = PIPIT__CONVERSATIONS_REQUEST__INIT;
    Pipit__ConversationsReply reply = PIPIT__CONVERSATIONS_REPLY__INIT;
    request.user = (char *)user;
    request.device = (char *)device;
    assert_int_equal(f->store->ops->conversations(f->store, &request, &f->arena, &reply), ERR_OK);
    return reply.device_known;
}

/* Before anything was written to the user: what comes while the device is away is what it missed.
 */
static void a_device_is_remembered_without_a_conversation(void **state) {
    struct fixture *f = *state;
    group_with_five(f);
    assert_false(device_is_known(f, "u_bob", "d_new"));
    check(cursor_move(f, "u_bob", "d_new", "", 0, 0), 0, 0, false);
    check(cursor_move(f, "u_bob", "d_new", "", 0, 0), 0, 0, false); /* idempotent */
    assert_true(device_is_known(f, "u_bob", "d_new"));
    assert_false(item_for(f, "d_new")->device_known);
    assert_false(device_is_known(f, "u_ann", "d_new"));
    check(cursor_move(f, "u_bob", "d_old", "c_x", 2, 0), 2, 0, true);
    assert_true(device_is_known(f, "u_bob", "d_old")); /* a cursor says so, too */
}

static void unread_is_derived(void **state) {
    struct fixture *f = *state;
    group_with_five(f);
    assert_int_equal(item_for(f, "")->unread, 5);
    (void)cursor_move(f, "u_bob", "", "c_x", 5, 0);
    assert_int_equal(item_for(f, "")->unread, 5); /* delivered is not read */
    (void)cursor_move(f, "u_bob", "", "c_x", 0, 2);
    assert_int_equal(item_for(f, "")->unread, 3);
    (void)cursor_move(f, "u_bob", "", "c_x", 0, 5);
    assert_int_equal(item_for(f, "")->unread, 0);
    (void)append_texts(f, "c_x", "u_ann", 2);
    assert_int_equal(item_for(f, "")->unread, 2);
}

static void unread_counts_from_joining(void **state) {
    struct fixture *f = *state;
    group_with_five(f);
    assert_int_equal(change_try(f,
                                (struct change){.conversation = "c_x",
                                                .actor = "u_ann",
                                                .action = PIPIT__MEMBER_ACTION__MEMBERS_ADD,
                                                .user = "u_eve"},
                                NULL, NULL),
                     ERR_OK);
    assert_int_equal(list_all(f, "u_eve")->items[0]->unread, 0);
    (void)append_texts(f, "c_x", "u_ann", 2);
    assert_int_equal(list_all(f, "u_eve")->items[0]->unread, 2);
}

static void many_updates_in_one_call(void **state) {
    struct fixture *f = *state;
    group_with_five(f);
    Pipit__CursorUpdate updates[3];
    Pipit__CursorUpdate *pointers[3];
    static char *const users[] = {"u_bob", "u_eve", "u_bob"};
    for (size_t i = 0; i < 3; i++) {
        pipit__cursor_update__init(&updates[i]);
        updates[i].user = users[i];
        updates[i].conversation = "c_x";
        updates[i].delivered_seq = i + 1;
        pointers[i] = &updates[i];
    }
    Pipit__CursorsRequest request = PIPIT__CURSORS_REQUEST__INIT;
    request.updates = pointers;
    request.n_updates = 3;
    Pipit__CursorsRequest empty = PIPIT__CURSORS_REQUEST__INIT;
    Pipit__CursorsReply replies[2] = {PIPIT__CURSORS_REPLY__INIT, PIPIT__CURSORS_REPLY__INIT};
    struct store_cursors items[2] = {{&empty, &f->arena, &replies[0]},
                                     {&request, &f->arena, &replies[1]}};
    assert_int_equal(f->store->ops->cursors(f->store, items, 2), ERR_OK);
    assert_int_equal(replies[0].n_results, 0);
    assert_int_equal(replies[1].n_results, 3);
    check(replies[1].results[0], 1, 0, true);
    assert_int_equal(replies[1].results[1]->error, ERR_NOT_MEMBER);
    check(replies[1].results[2], 3, 0, true);
}

int cursors_tests(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(cursors_never_go_back),
        STORE_TEST(read_implies_delivered),
        STORE_TEST(cut_at_the_head),
        STORE_TEST(outsiders_are_refused),
        STORE_TEST(each_device_has_its_own),
        STORE_TEST(a_device_is_remembered_without_a_conversation),
        STORE_TEST(unread_is_derived),
        STORE_TEST(unread_counts_from_joining),
        STORE_TEST(many_updates_in_one_call),
    };
    return cmocka_run_group_tests_name("cursors", tests, NULL, NULL);
}
