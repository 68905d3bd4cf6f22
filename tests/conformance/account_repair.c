/* account_repair: what a crash between two writes leaves of accounts, invites and blocks in
 * MongoDB, put there behind the store's back, and what the store makes of it. */
#include "tests/conformance/documents.h"

/* --- invites */

static void make_invite(struct fixture *f, uint32_t uses) {
    static uint8_t hash[] = {0xab, 0xcd};
    Pipit__Invite invite = PIPIT__INVITE__INIT;
    invite.hash = (ProtobufCBinaryData){sizeof(hash), hash};
    invite.created_ms = f->now_ms;
    invite.uses_left = uses;
    Pipit__InviteCreate request = PIPIT__INVITE_CREATE__INIT;
    request.invite = &invite;
    Pipit__StatusReply reply = PIPIT__STATUS_REPLY__INIT;
    assert_int_equal(f->store->ops->invite_create(f->store, &request, &f->arena, &reply), ERR_OK);
}

static enum err join(struct fixture *f, const char *id) {
    static uint8_t hash[] = {0xab, 0xcd};
    Pipit__User user = PIPIT__USER__INIT;
    user.id = (char *)id;
    user.name = (char *)id + 2;
    Pipit__UserCreate request = PIPIT__USER_CREATE__INIT;
    request.user = &user;
    request.invite_hash = (ProtobufCBinaryData){sizeof(hash), hash};
    request.now_ms = f->now_ms;
    Pipit__UserReply reply = PIPIT__USER_REPLY__INIT;
    return f->store->ops->user_create(f->store, &request, &f->arena, &reply);
}

/* A storage that died between taking the use and making the account. */
static void plant_claim(struct fixture *f, const char *user) {
    document_plant(f, MONGO_INVITES, "abcd",
                   BCON_NEW("$set", "{", "claims", "[", "{", "u", BCON_UTF8(user), "at",
                            BCON_INT64((int64_t)f->now_ms), "}", "]", "}", "$inc", "{", "rev",
                            BCON_INT64(1), "}"));
}

static void a_crash_does_not_eat_a_use(void **state) {
    struct fixture *f = *state;
    make_invite(f, 1);
    plant_claim(f, "u_ghost");
    assert_int_equal(join(f, "u_bob"), ERR_DENIED); /* its account may still come */
    f->now_ms += 60000;
    assert_int_equal(join(f, "u_bob"), ERR_OK);
    f->now_ms += 60000;
    assert_int_equal(join(f, "u_eve"), ERR_DENIED); /* bob's account is there */
}

static void a_claim_is_no_proof_of_its_account(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann"); /* without an invite */
    make_invite(f, 1);
    plant_claim(f, "u_ann");
    f->now_ms += 60000;
    assert_int_equal(join(f, "u_bob"), ERR_OK);
}

static void the_same_user_goes_on(void **state) {
    struct fixture *f = *state;
    make_invite(f, 1);
    plant_claim(f, "u_bob");
    assert_int_equal(join(f, "u_bob"), ERR_OK);
    assert_int_equal(join(f, "u_bob"), ERR_EXISTS); /* its answer was lost */
    assert_int_equal(join(f, "u_eve"), ERR_DENIED);
}

/* --- sessions */

static enum err log_in(struct fixture *f, const char *token) {
    Pipit__Device device = PIPIT__DEVICE__INIT;
    device.user = "u_ann";
    device.id = "d_1";
    Pipit__SessionCreate request = PIPIT__SESSION_CREATE__INIT;
    request.device = &device;
    request.refresh_hash = hash_make(f, token);
    request.now_ms = f->now_ms;
    request.expires_ms = f->now_ms + 1000;
    request.devices_max = 1;
    Pipit__SessionReply reply = PIPIT__SESSION_REPLY__INIT;
    return f->store->ops->session_create(f->store, &request, &f->arena, &reply);
}

static void a_device_without_a_session_logs_in(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    assert_int_equal(log_in(f, "t1"), ERR_OK);
    document_uproot(f, MONGO_FAMILIES,
                    "u_ann\x1f"
                    "d_1");
    assert_int_equal(session_rotate(f, "t1", "t2"), ERR_NOT_FOUND);
    assert_int_equal(log_in(f, "t3"), ERR_OK);
    assert_int_equal(session_rotate(f, "t3", "t4"), ERR_OK);
    assert_int_equal(session_rotate(f, "t3", "t4"), ERR_OK); /* asked again: the answer was lost */
    assert_int_equal(session_rotate(f, "t4", "t5"), ERR_OK);
}

/* --- blocks */

/* The conversation was inserted, or blocked, and then storage died. */
static void plant_blocked(struct fixture *f, const char *id) {
    document_plant(f, MONGO_CONVERSATIONS, id,
                   BCON_NEW("$set", "{", "members", "[", "{", "u", BCON_UTF8("u_ann"), "state",
                            BCON_INT64(2), "}", "{", "u", BCON_UTF8("u_bob"), "state",
                            BCON_INT64(2), "}", "]", "}"));
}

static void expect_state(struct fixture *f, const char *id, Pipit__MemberState state) {
    Pipit__Conversation *conversation = conversation_load(f, id);
    assert_int_equal(conversation->n_members, 2);
    assert_int_equal(conversation->members[0]->state, state);
    assert_int_equal(conversation->members[1]->state, state);
}

static void asking_again_opens_what_a_crash_left_closed(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    user_make(f, "bob");
    char *id = direct_make(f, "u_ann", "u_bob");
    uint64_t version = conversation_load(f, id)->members_version;
    plant_blocked(f, id);
    Pipit__ConversationReply *reply = NULL;
    Pipit__MembersChanged *changed = NULL;
    assert_int_equal(direct_try(f, "u_bob", "u_ann", &id, &reply, &changed), ERR_OK);
    assert_false(reply->created);
    assert_non_null(changed); /* routing and clients learn that it is open */
    assert_true(reply->conversation->members_version > version);
    expect_state(f, id, PIPIT__MEMBER_STATE__MEMBER_ACTIVE);
}

static enum err block(struct fixture *f, bool on) {
    Pipit__BlockChange *request = arena_alloc(&f->arena, sizeof(*request));
    assert_non_null(request);
    pipit__block_change__init(request);
    request->user = "u_ann";
    request->blocked = "u_bob";
    request->on = on;
    request->now_ms = f->now_ms;
    Pipit__StatusReply reply = PIPIT__STATUS_REPLY__INIT;
    Pipit__MembersChanged *changed = NULL;
    return f->store->ops->block_change(f->store, request, &f->arena, &reply, &changed);
}

static void a_half_done_block_is_completed(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    user_make(f, "bob");
    char *id = direct_make(f, "u_ann", "u_bob");
    assert_int_equal(block(f, true), ERR_OK);
    document_uproot(f, MONGO_BLOCKS, "u_ann\x1fu_bob"); /* died before the block was written */
    expect_state(f, id, PIPIT__MEMBER_STATE__MEMBER_BLOCKED);
    assert_int_equal(block(f, false), ERR_OK); /* never mind */
    expect_state(f, id, PIPIT__MEMBER_STATE__MEMBER_ACTIVE);
    assert_int_equal(block(f, true), ERR_OK);
    document_plant(f, MONGO_BLOCKS, "u_ann\x1fu_bob",
                   BCON_NEW("$set", "{", "since", BCON_INT64(1), "}"));
    assert_int_equal(block(f, true), ERR_OK);
    expect_state(f, id, PIPIT__MEMBER_STATE__MEMBER_BLOCKED);
}

/* --- migration */

static void nobody_uses_half_a_migration(void **state) {
    struct fixture *f = *state;
    struct buf problem;
    struct store *store = NULL;
    buf_init(&problem, 1024);
    document_plant(
        f, MONGO_META, "migration",
        BCON_NEW("$set", "{", "state", BCON_UTF8("running"), "source", BCON_UTF8("e_x"), "}"));
    assert_int_equal(fixture_open(f, &store, &problem), ERR_UNSUPPORTED);
    assert_int_equal(buf_append(&problem, "", 1), ERR_OK);
    assert_non_null(strstr((const char *)buf_data(&problem), "--migrate-from"));
    document_plant(f, MONGO_META, "migration",
                   BCON_NEW("$set", "{", "state", BCON_UTF8("done"), "}"));
    buf_clear(&problem);
    assert_int_equal(fixture_open(f, &store, &problem), ERR_OK);
    store_close(&store);
    buf_finish(&problem);
}

int account_repair_tests(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_crash_does_not_eat_a_use),
        STORE_TEST(a_claim_is_no_proof_of_its_account),
        STORE_TEST(the_same_user_goes_on),
        STORE_TEST(a_device_without_a_session_logs_in),
        STORE_TEST(asking_again_opens_what_a_crash_left_closed),
        STORE_TEST(a_half_done_block_is_completed),
        STORE_TEST(nobody_uses_half_a_migration),
    };
    const char *store = getenv("PIPIT_TEST_STORE");
    if (store == NULL || strncmp(store, "mongodb", 7) != 0) {
        return 0; /* the embedded back end has transactions */
    }
    return cmocka_run_group_tests_name("account_repair", tests, NULL, NULL);
}
