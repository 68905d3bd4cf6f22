/* groups: several writes made durable together; one that fails leaves the others alone. */
#include "tests/conformance/support.h"

static void begin(struct fixture *f) {
    assert_int_equal(f->store->ops->group_begin(f->store), ERR_OK);
}

static void end(struct fixture *f) {
    assert_int_equal(f->store->ops->group_end(f->store), ERR_OK);
}

/* In a group nothing may be read back through conversation_load: append by hand. */
static const Pipit__AppendResult *append_at(struct fixture *f, uint64_t seq) {
    Pipit__StoredMessage *message = message_make(f, "u_ann", "{}", 2);
    return append_run(f, "c_x", seq, &message, 1);
}

static void a_group_is_stored_whole(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    begin(f);
    user_make(f, "bob");
    group_make(f, "c_x", "u_ann", "u_bob", NULL);
    assert_int_equal(append_at(f, 1)->error, ERR_OK);
    assert_int_equal(append_at(f, 2)->error, ERR_OK);
    assert_int_equal(cursor_move(f, "u_bob", "", "c_x", 0, 2)->error, ERR_OK);
    end(f);
    fixture_reopen(f);
    Pipit__Conversation *conversation = conversation_load(f, "c_x");
    assert_int_equal(conversation->head, 2);
    assert_int_equal(member_of(conversation, "u_bob")->read_seq, 2);
}

static void failures_inside_stay_alone(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    user_make(f, "bob");
    group_make(f, "c_x", "u_ann", NULL);
    begin(f);
    assert_int_equal(append_at(f, 1)->error, ERR_OK);
    struct change unknown = {"c_x",   "u_ann",    PIPIT__MEMBER_ACTION__MEMBERS_ADD,
                             "u_bob", "u_nobody", PIPIT__MEMBER_ROLE__ROLE_MEMBER,
                             false,   NULL};
    assert_int_equal(change_try(f, unknown, NULL, NULL), ERR_NOT_FOUND);
    assert_int_equal(append_at(f, 5)->error, ERR_DUPLICATE_SEQ);
    assert_int_equal(append_at(f, 2)->error, ERR_OK);
    unknown.second_user = NULL;
    assert_int_equal(change_try(f, unknown, NULL, NULL), ERR_OK);
    end(f);
    Pipit__Conversation *conversation = conversation_load(f, "c_x");
    assert_int_equal(conversation->head, 2);
    assert_int_equal(conversation->n_members, 2);
    assert_int_equal(member_of(conversation, "u_bob")->joined_seq, 2);
}

static void an_empty_group_is_nothing(void **state) {
    struct fixture *f = *state;
    begin(f);
    end(f);
    f->store->ops->maintain(f->store);
    begin(f);
    end(f);
}

static void reuse_inside_a_group_is_kept(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    Pipit__Device device = PIPIT__DEVICE__INIT;
    device.user = "u_ann";
    device.id = "d_1";
    Pipit__SessionCreate login = PIPIT__SESSION_CREATE__INIT;
    login.device = &device;
    login.refresh_hash = hash_make(f, "t1");
    login.now_ms = f->now_ms;
    login.expires_ms = f->now_ms + 1000;
    Pipit__SessionReply reply = PIPIT__SESSION_REPLY__INIT;
    static const char *const steps[][2] = {{"t1", "t2"}, {"t2", "t3"}, {"t1", "x"}, {"t3", "y"}};
    static const enum err expected[] = {ERR_OK, ERR_OK, ERR_REUSED, ERR_NOT_FOUND};
    begin(f);
    assert_int_equal(f->store->ops->session_create(f->store, &login, &f->arena, &reply), ERR_OK);
    for (size_t i = 0; i < 4; i++) {
        Pipit__SessionRotate rotate = PIPIT__SESSION_ROTATE__INIT;
        rotate.refresh_hash = hash_make(f, steps[i][0]);
        rotate.new_refresh_hash = hash_make(f, steps[i][1]);
        rotate.now_ms = f->now_ms;
        rotate.expires_ms = f->now_ms + 1000;
        pipit__session_reply__init(&reply);
        assert_int_equal(f->store->ops->session_rotate(f->store, &rotate, &f->arena, &reply),
                         expected[i]);
    }
    end(f);
}

int groups_tests(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_group_is_stored_whole),
        STORE_TEST(failures_inside_stay_alone),
        STORE_TEST(an_empty_group_is_nothing),
        STORE_TEST(reuse_inside_a_group_is_kept),
    };
    return cmocka_run_group_tests_name("groups", tests, NULL, NULL);
}
