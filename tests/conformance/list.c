/* list: a user's conversations in one call: contents, paging, and what changed since. */
#include "tests/conformance/support.h"

#include <stdio.h>

static void three_users(struct fixture *f) {
    user_make(f, "ann");
    user_make(f, "bob");
    user_make(f, "eve");
}

static Pipit__ConversationsReply *list(struct fixture *f, Pipit__ConversationsRequest request) {
    Pipit__ConversationsRequest *kept = arena_alloc(&f->arena, sizeof(*kept));
    Pipit__ConversationsReply *reply = arena_alloc(&f->arena, sizeof(*reply));
    assert_true(kept != NULL && reply != NULL);
    *kept = request;
    pipit__conversations_reply__init(reply);
    assert_int_equal(f->store->ops->conversations(f->store, kept, &f->arena, reply), ERR_OK);
    return reply;
}

static Pipit__ConversationsReply *list_since(struct fixture *f, const char *user,
                                             uint64_t since_ms) {
    Pipit__ConversationsRequest request = PIPIT__CONVERSATIONS_REQUEST__INIT;
    request.user = (char *)user;
    request.since_ms = since_ms;
    return list(f, request);
}

static void everything_a_list_needs(void **state) {
    struct fixture *f = *state;
    three_users(f);
    group_make(f, "c_g", "u_ann", "u_bob", "u_eve", NULL);
    char *direct = direct_make(f, "u_bob", "u_ann");
    (void)append_texts(f, "c_g", "u_ann", 3);
    f->now_ms += 60000;
    (void)append_texts(f, direct, "u_ann", 1);
    Pipit__ConversationsRequest request = PIPIT__CONVERSATIONS_REQUEST__INIT;
    request.user = "u_bob";
    request.with_last_message = true;
    request.with_members = true;
    Pipit__ConversationsReply *reply = list(f, request);
    assert_int_equal(reply->n_items, 2);
    assert_string_equal(reply->next, "");
    assert_true(strlen(reply->epoch) > 8);
    const Pipit__ConversationItem *item = reply->items[0]; /* "c_dm-.." sorts before "c_g" */
    assert_string_equal(item->conversation->id, direct);
    assert_string_equal(item->peer, "u_ann");
    assert_int_equal(item->unread, 1);
    assert_true(item->changed_ms >= f->now_ms);
    assert_int_equal(item->conversation->n_members, 2);
    assert_int_equal(item->last_message->seq, 1);
    item = reply->items[1];
    assert_string_equal(item->conversation->id, "c_g");
    assert_string_equal(item->conversation->title, "a group");
    assert_string_equal(item->peer, "");
    assert_int_equal(item->conversation->head, 3);
    assert_int_equal(item->conversation->n_members, 3);
    assert_string_equal(item->self->user, "u_bob");
    assert_int_equal(item->self->role, PIPIT__MEMBER_ROLE__ROLE_MEMBER);
    assert_int_equal(item->last_message->seq, 3);
    assert_string_equal(item->last_message->conversation, "c_g");
    request.with_last_message = false;
    request.with_members = false;
    reply = list(f, request);
    assert_null(reply->items[1]->last_message);
    assert_int_equal(reply->items[1]->conversation->n_members, 0);
    request.user = "u_nobody";
    assert_int_equal(list(f, request)->n_items, 0);
}

static void one_conversation_alone(void **state) {
    struct fixture *f = *state;
    three_users(f);
    group_make(f, "c_a", "u_ann", "u_bob", NULL);
    group_make(f, "c_b", "u_ann", "u_bob", NULL);
    group_make(f, "c_c", "u_ann", NULL);
    Pipit__ConversationsRequest request = PIPIT__CONVERSATIONS_REQUEST__INIT;
    request.user = "u_bob";
    request.conversation = "c_b";
    Pipit__ConversationsReply *reply = list(f, request);
    assert_int_equal(reply->n_items, 1);
    assert_string_equal(reply->items[0]->conversation->id, "c_b");
    request.conversation = "c_c"; /* not bob's */
    assert_int_equal(list(f, request)->n_items, 0);
}

static void notes_are_with_oneself(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    char *id = direct_make(f, "u_ann", "u_ann");
    (void)append_texts(f, id, "u_ann", 2);
    Pipit__ConversationsReply *reply = list_all(f, "u_ann");
    assert_int_equal(reply->n_items, 1);
    assert_string_equal(reply->items[0]->peer, "u_ann");
    assert_int_equal(reply->items[0]->conversation->head, 2);
    assert_int_equal(reply->items[0]->unread, 2);
}

static void pages_by_id(void **state) {
    struct fixture *f = *state;
    three_users(f);
    for (unsigned i = 0; i < 25; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "c_%02u", (i * 7) % 25);
        group_make(f, id, "u_ann", i % 5 == 0 ? NULL : "u_bob", NULL);
    }
    Pipit__ConversationsRequest request = PIPIT__CONVERSATIONS_REQUEST__INIT;
    request.user = "u_bob";
    request.limit = 8;
    char last[16] = "";
    size_t total = 0;
    size_t pages = 0;
    do {
        Pipit__ConversationsReply *reply = list(f, request);
        for (size_t i = 0; i < reply->n_items; i++) {
            const char *id = reply->items[i]->conversation->id;
            assert_true(strcmp(id, last) > 0);
            (void)snprintf(last, sizeof(last), "%s", id);
        }
        total += reply->n_items;
        request.after = reply->next;
        pages++;
    } while (request.after[0] != '\0');
    assert_int_equal(total, 20);
    assert_int_equal(pages, 3);
}

static void since_lists_what_changed(void **state) {
    struct fixture *f = *state;
    three_users(f);
    group_make(f, "c_a", "u_ann", "u_bob", NULL);
    group_make(f, "c_b", "u_ann", "u_bob", NULL);
    f->now_ms += 1000;
    uint64_t mark_ms = f->now_ms;
    assert_int_equal(list_since(f, "u_bob", mark_ms)->n_items, 0);
    (void)append_texts(f, "c_b", "u_ann", 1); /* a message */
    Pipit__ConversationsReply *reply = list_since(f, "u_bob", mark_ms);
    assert_int_equal(reply->n_items, 1);
    assert_string_equal(reply->items[0]->conversation->id, "c_b");
    assert_int_equal(reply->items[0]->changed_ms, mark_ms);
    f->now_ms += 1000;
    mark_ms = f->now_ms;
    assert_int_equal(change_try(f,
                                (struct change){.conversation = "c_a",
                                                .actor = "u_ann",
                                                .action = PIPIT__MEMBER_ACTION__CONVERSATION_RENAME,
                                                .title = "renamed"},
                                NULL, NULL),
                     ERR_OK);
    reply = list_since(f, "u_bob", mark_ms);
    assert_int_equal(reply->n_items, 1);
    assert_string_equal(reply->items[0]->conversation->title, "renamed");
}

static void since_tells_of_leaving(void **state) {
    struct fixture *f = *state;
    three_users(f);
    group_make(f, "c_a", "u_ann", "u_bob", NULL);
    (void)append_texts(f, "c_a", "u_ann", 2);
    f->now_ms += 1000;
    uint64_t left_ms = f->now_ms;
    assert_int_equal(change_try(f,
                                (struct change){.conversation = "c_a",
                                                .actor = "u_ann",
                                                .action = PIPIT__MEMBER_ACTION__MEMBERS_REMOVE,
                                                .user = "u_bob"},
                                NULL, NULL),
                     ERR_OK);
    assert_int_equal(list_all(f, "u_bob")->n_items, 0);
    Pipit__ConversationsReply *reply = list_since(f, "u_bob", left_ms);
    assert_int_equal(reply->n_items, 1);
    assert_int_equal(reply->items[0]->self->state, PIPIT__MEMBER_STATE__MEMBER_LEFT);
    assert_int_equal(reply->items[0]->unread, 0);
    assert_null(reply->items[0]->last_message);
    assert_string_equal(reply->items[0]->conversation->title, "");
    (void)append_texts(f, "c_a", "u_ann", 1); /* no news for who left */
    assert_int_equal(list_since(f, "u_bob", left_ms + 1)->n_items, 0);
}

static void a_peers_receipt_is_news(void **state) {
    struct fixture *f = *state;
    three_users(f);
    char *direct = direct_make(f, "u_ann", "u_bob");
    (void)append_texts(f, direct, "u_ann", 1);
    /* Cursor updates carry no time, so the store takes the wall clock: later than the fixture's. */
    uint64_t before_ms = list_since(f, "u_ann", 0)->items[0]->changed_ms;
    assert_true(cursor_move(f, "u_bob", "", direct, 0, 1)->changed);
    assert_true(list_since(f, "u_ann", 0)->items[0]->changed_ms > before_ms);
}

static void messages_before_joining_stay_hidden(void **state) {
    struct fixture *f = *state;
    three_users(f);
    group_make(f, "c_a", "u_ann", NULL);
    (void)append_texts(f, "c_a", "u_ann", 2);
    assert_int_equal(change_try(f,
                                (struct change){.conversation = "c_a",
                                                .actor = "u_ann",
                                                .action = PIPIT__MEMBER_ACTION__MEMBERS_ADD,
                                                .user = "u_bob"},
                                NULL, NULL),
                     ERR_OK);
    const Pipit__ConversationItem *item = list_all(f, "u_bob")->items[0];
    assert_null(item->last_message);
    assert_int_equal(item->unread, 0);
    assert_int_equal(item->conversation->head, 2);
}

static void the_epoch_stays(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    const char *epoch = list_all(f, "u_ann")->epoch;
    char kept[64];
    (void)snprintf(kept, sizeof(kept), "%s", epoch);
    fixture_reopen(f);
    assert_string_equal(list_all(f, "u_ann")->epoch, kept);
}

int list_tests(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(everything_a_list_needs),  STORE_TEST(one_conversation_alone),
        STORE_TEST(notes_are_with_oneself),   STORE_TEST(pages_by_id),
        STORE_TEST(since_lists_what_changed), STORE_TEST(since_tells_of_leaving),
        STORE_TEST(a_peers_receipt_is_news),  STORE_TEST(messages_before_joining_stay_hidden),
        STORE_TEST(the_epoch_stays),
    };
    return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
