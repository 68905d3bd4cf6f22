/* conversations: creating and loading groups and direct conversations, and blocks. */
#include "tests/conformance/support.h"

#include <stdio.h>

static void three_users(struct fixture *f) {
    user_make(f, "ann");
    user_make(f, "bob");
    user_make(f, "eve");
}

static enum err create_group(struct fixture *f, const char *id, const char *creator, char **members,
                             size_t count, Pipit__ConversationReply *reply,
                             Pipit__MembersChanged **changed) {
    Pipit__ConversationCreate request = PIPIT__CONVERSATION_CREATE__INIT;
    request.id = (char *)id;
    request.title = "Family";
    request.creator = (char *)creator;
    request.members = members;
    request.n_members = count;
    request.now_ms = f->now_ms;
    pipit__conversation_reply__init(reply);
    return f->store->ops->conversation_create(f->store, &request, &f->arena, reply, changed);
}

static void a_group_has_its_creator_as_owner(void **state) {
    struct fixture *f = *state;
    three_users(f);
    char *members[] = {"u_bob", "u_ann", "u_bob"}; /* repeated names count once */
    Pipit__ConversationReply reply;
    Pipit__MembersChanged *changed = NULL;
    assert_int_equal(create_group(f, "c_fam", "u_ann", members, 3, &reply, &changed), ERR_OK);
    assert_true(reply.created);
    assert_string_equal(reply.conversation->id, "c_fam");
    assert_string_equal(reply.conversation->title, "Family");
    assert_int_equal(reply.conversation->created_ms, f->now_ms);
    assert_int_equal(reply.conversation->n_members, 2);
    assert_int_equal(member_of(reply.conversation, "u_ann")->role, PIPIT__MEMBER_ROLE__ROLE_OWNER);
    assert_int_equal(member_of(reply.conversation, "u_bob")->role, PIPIT__MEMBER_ROLE__ROLE_MEMBER);
    assert_non_null(changed);
    assert_int_equal(changed->n_changed, 2);
    assert_string_equal(changed->conversation, "c_fam");
    assert_string_equal(changed->actor, "u_ann");
    assert_true(changed->members_version > 0);
    assert_int_equal(changed->members_version, reply.conversation->members_version);
}

static void creating_again_answers_the_same(void **state) {
    struct fixture *f = *state;
    three_users(f);
    char *members[] = {"u_bob"};
    Pipit__ConversationReply reply;
    Pipit__MembersChanged *changed = NULL;
    assert_int_equal(create_group(f, "c_fam", "u_ann", members, 1, &reply, &changed), ERR_OK);
    uint64_t version = reply.conversation->members_version;
    assert_int_equal(create_group(f, "c_fam", "u_ann", members, 1, &reply, &changed), ERR_OK);
    assert_false(reply.created);
    assert_null(changed);
    assert_int_equal(reply.conversation->members_version, version);
    assert_int_equal(create_group(f, "c_fam", "u_bob", NULL, 0, &reply, &changed), ERR_EXISTS);
}

static void members_must_be_usable(void **state) {
    struct fixture *f = *state;
    three_users(f);
    user_disable(f, "u_eve", true);
    char *unknown[] = {"u_nobody"};
    char *disabled[] = {"u_eve"};
    char *empty[] = {""};
    Pipit__ConversationReply reply;
    Pipit__MembersChanged *changed = NULL;
    assert_int_equal(create_group(f, "c_a", "u_ann", unknown, 1, &reply, &changed), ERR_NOT_FOUND);
    assert_int_equal(create_group(f, "c_a", "u_ann", disabled, 1, &reply, &changed), ERR_NOT_FOUND);
    assert_int_equal(create_group(f, "c_a", "u_nobody", NULL, 0, &reply, &changed), ERR_NOT_FOUND);
    assert_int_equal(create_group(f, "c_a", "u_ann", empty, 1, &reply, &changed), ERR_INVALID);
    assert_int_equal(create_group(f, "", "u_ann", NULL, 0, &reply, &changed), ERR_INVALID);
    assert_null(changed);
    Pipit__ConversationLoad load = PIPIT__CONVERSATION_LOAD__INIT;
    load.conversation = "c_a";
    assert_int_equal(f->store->ops->conversation_load(f->store, &load, &f->arena, &reply),
                     ERR_NOT_FOUND);
    assert_int_equal(create_group(f, "c_a", "u_ann", NULL, 0, &reply, &changed), ERR_OK);
}

static void groups_have_a_size_limit(void **state) {
    struct fixture *f = *state;
    char *members[MEMBERS_MAX];
    user_make(f, "owner");
    for (size_t i = 0; i < MEMBERS_MAX; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "n%zu", i);
        user_make(f, name);
        members[i] = arena_alloc(&f->arena, 8);
        assert_non_null(members[i]);
        (void)snprintf(members[i], 8, "u_n%zu", i % 10);
    }
    Pipit__ConversationReply reply;
    Pipit__MembersChanged *changed = NULL;
    assert_int_equal(create_group(f, "c_big", "u_owner", members, MEMBERS_MAX, &reply, &changed),
                     ERR_FULL);
    assert_int_equal(
        create_group(f, "c_big", "u_owner", members, MEMBERS_MAX - 1, &reply, &changed), ERR_OK);
    assert_int_equal(change_try(f,
                                (struct change){.conversation = "c_big",
                                                .actor = "u_owner",
                                                .action = PIPIT__MEMBER_ACTION__MEMBERS_ADD,
                                                .user = members[MEMBERS_MAX - 1]},
                                NULL, NULL),
                     ERR_FULL);
    assert_int_equal(conversation_load(f, "c_big")->n_members, MEMBERS_MAX);
}

static void direct_is_the_same_from_both_sides(void **state) {
    struct fixture *f = *state;
    three_users(f);
    char *id = NULL;
    char *other_id = NULL;
    Pipit__ConversationReply *reply = NULL;
    Pipit__MembersChanged *changed = NULL;
    assert_int_equal(direct_try(f, "u_ann", "u_bob", &id, &reply, &changed), ERR_OK);
    assert_true(reply->created);
    assert_int_equal(reply->conversation->kind, PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT);
    assert_int_equal(reply->conversation->n_members, 2);
    assert_int_equal(changed->n_changed, 2);
    assert_int_equal(direct_try(f, "u_bob", "u_ann", &other_id, &reply, &changed), ERR_OK);
    assert_string_equal(id, other_id);
    assert_false(reply->created);
    assert_null(changed);
    assert_int_equal(direct_try(f, "u_ann", "u_ann", &id, &reply, &changed), ERR_OK); /* notes */
    assert_int_equal(reply->conversation->n_members, 1);
    assert_int_equal(direct_try(f, "u_ann", "u_nobody", &id, &reply, &changed), ERR_NOT_FOUND);
}

static void a_direct_id_must_be_derived(void **state) {
    struct fixture *f = *state;
    three_users(f);
    char *id = direct_make(f, "u_ann", "u_bob");
    char *one[] = {"u_eve"};
    char *two[] = {"u_bob", "u_eve"};
    Pipit__ConversationCreate request = PIPIT__CONVERSATION_CREATE__INIT;
    request.kind = PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT;
    request.id = id;
    request.creator = "u_ann";
    request.members = one;
    request.n_members = 1;
    Pipit__ConversationReply reply = PIPIT__CONVERSATION_REPLY__INIT;
    Pipit__MembersChanged *changed = NULL;
    assert_int_equal(
        f->store->ops->conversation_create(f->store, &request, &f->arena, &reply, &changed),
        ERR_INVALID);
    request.members = two;
    request.n_members = 2;
    assert_int_equal(
        f->store->ops->conversation_create(f->store, &request, &f->arena, &reply, &changed),
        ERR_INVALID);
    request.kind = PIPIT__CONVERSATION_KIND__CONVERSATION_GROUP; /* reserved ids are no group's */
    assert_int_equal(
        f->store->ops->conversation_create(f->store, &request, &f->arena, &reply, &changed),
        ERR_INVALID);
}

static enum err block(struct fixture *f, const char *user, const char *blocked, bool on,
                      Pipit__MembersChanged **changed) {
    Pipit__BlockChange request = PIPIT__BLOCK_CHANGE__INIT;
    request.user = (char *)user;
    request.blocked = (char *)blocked;
    request.on = on;
    request.now_ms = f->now_ms;
    Pipit__StatusReply reply = PIPIT__STATUS_REPLY__INIT;
    Pipit__BlockChange *kept = arena_alloc(&f->arena, sizeof(*kept)); /* events point into it */
    assert_non_null(kept);
    *kept = request;
    return f->store->ops->block_change(f->store, kept, &f->arena, &reply, changed);
}

static void expect_states(struct fixture *f, const char *id, Pipit__MemberState state) {
    Pipit__Conversation *conversation = conversation_load(f, id);
    assert_int_equal(conversation->n_members, 2);
    assert_int_equal(conversation->members[0]->state, state);
    assert_int_equal(conversation->members[1]->state, state);
}

static void a_block_silences_both(void **state) {
    struct fixture *f = *state;
    three_users(f);
    char *id = direct_make(f, "u_ann", "u_bob");
    (void)append_texts(f, id, "u_ann", 2);
    uint64_t version = conversation_load(f, id)->members_version;
    Pipit__MembersChanged *changed = NULL;
    assert_int_equal(block(f, "u_ann", "u_bob", true, &changed), ERR_OK);
    assert_non_null(changed);
    assert_int_equal(changed->n_changed, 2);
    assert_string_equal(changed->conversation, id);
    assert_int_equal(changed->members_version, version + 1);
    expect_states(f, id, PIPIT__MEMBER_STATE__MEMBER_BLOCKED);
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = id;
    request.viewer = "u_bob";
    enum err error = ERR_OK;
    (void)history_page(f, request, &error);
    assert_int_equal(error, ERR_NOT_MEMBER);
    assert_int_equal(cursor_move(f, "u_bob", "", id, 1, 1)->error, ERR_NOT_MEMBER);
    assert_int_equal(list_all(f, "u_bob")->n_items, 0);
    assert_int_equal(block(f, "u_ann", "u_bob", true, &changed), ERR_OK); /* idempotent */
    assert_null(changed);
    char *same = NULL;
    Pipit__ConversationReply *reply = NULL;
    assert_int_equal(direct_try(f, "u_bob", "u_ann", &same, &reply, &changed), ERR_BLOCKED);
    assert_int_equal(direct_try(f, "u_ann", "u_bob", &same, &reply, &changed), ERR_BLOCKED);
}

static void unblocking_restores(void **state) {
    struct fixture *f = *state;
    three_users(f);
    char *id = direct_make(f, "u_ann", "u_bob");
    (void)append_texts(f, id, "u_ann", 2);
    Pipit__MembersChanged *changed = NULL;
    assert_int_equal(block(f, "u_ann", "u_bob", true, &changed), ERR_OK);
    assert_int_equal(block(f, "u_bob", "u_ann", true, &changed), ERR_OK);
    assert_null(changed); /* they were blocked already */
    assert_int_equal(block(f, "u_ann", "u_bob", false, &changed), ERR_OK);
    assert_null(changed); /* bob still blocks */
    expect_states(f, id, PIPIT__MEMBER_STATE__MEMBER_BLOCKED);
    fixture_reopen(f);
    assert_int_equal(block(f, "u_bob", "u_ann", false, &changed), ERR_OK);
    assert_non_null(changed);
    expect_states(f, id, PIPIT__MEMBER_STATE__MEMBER_ACTIVE);
    assert_int_equal(conversation_load(f, id)->members[0]->joined_seq, 0);
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = id;
    request.viewer = "u_bob";
    enum err error = ERR_OK;
    assert_int_equal(history_page(f, request, &error)->n_messages, 2);
    assert_int_equal(block(f, "u_bob", "u_ann", false, &changed), ERR_OK);
    assert_null(changed);
}

static void blocks_before_any_conversation(void **state) {
    struct fixture *f = *state;
    three_users(f);
    Pipit__MembersChanged *changed = NULL;
    assert_int_equal(block(f, "u_ann", "u_bob", true, &changed), ERR_OK);
    assert_null(changed);
    char *id = NULL;
    Pipit__ConversationReply *reply = NULL;
    assert_int_equal(direct_try(f, "u_bob", "u_ann", &id, &reply, &changed), ERR_BLOCKED);
    assert_int_equal(direct_try(f, "u_bob", "u_eve", &id, &reply, &changed), ERR_OK);
    assert_int_equal(block(f, "u_ann", "u_ann", true, &changed), ERR_INVALID);
    assert_int_equal(block(f, "u_ann", "u_nobody", true, &changed), ERR_NOT_FOUND);
    assert_int_equal(block(f, "u_ann", "u_eve", true, &changed), ERR_OK);
    Pipit__BlocksRequest request = PIPIT__BLOCKS_REQUEST__INIT;
    request.user = "u_ann";
    Pipit__BlocksReply blocks = PIPIT__BLOCKS_REPLY__INIT;
    assert_int_equal(f->store->ops->blocks(f->store, &request, &f->arena, &blocks), ERR_OK);
    assert_int_equal(blocks.n_blocked, 2);
    assert_string_equal(blocks.blocked[0], "u_bob");
    assert_string_equal(blocks.blocked[1], "u_eve");
    request.user = "u_bob";
    pipit__blocks_reply__init(&blocks);
    assert_int_equal(f->store->ops->blocks(f->store, &request, &f->arena, &blocks), ERR_OK);
    assert_int_equal(blocks.n_blocked, 0);
}

int conversations_tests(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_group_has_its_creator_as_owner),
        STORE_TEST(creating_again_answers_the_same),
        STORE_TEST(members_must_be_usable),
        STORE_TEST(groups_have_a_size_limit),
        STORE_TEST(direct_is_the_same_from_both_sides),
        STORE_TEST(a_direct_id_must_be_derived),
        STORE_TEST(a_block_silences_both),
        STORE_TEST(unblocking_restores),
        STORE_TEST(blocks_before_any_conversation),
    };
    return cmocka_run_group_tests_name("conversations", tests, NULL, NULL);
}
