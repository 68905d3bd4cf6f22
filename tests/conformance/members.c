/* members: the matrix of rights, versions and announcements, leaving, and giving ownership away. */
#include "tests/conformance/support.h"

#include <stdio.h>

#define ADD PIPIT__MEMBER_ACTION__MEMBERS_ADD
#define REMOVE PIPIT__MEMBER_ACTION__MEMBERS_REMOVE
#define SET_ROLE PIPIT__MEMBER_ACTION__MEMBERS_SET_ROLE
#define SET_MUTED PIPIT__MEMBER_ACTION__MEMBERS_SET_MUTED
#define RENAME PIPIT__MEMBER_ACTION__CONVERSATION_RENAME
#define DELETE PIPIT__MEMBER_ACTION__CONVERSATION_DELETE
#define OWNER PIPIT__MEMBER_ROLE__ROLE_OWNER
#define ADMIN PIPIT__MEMBER_ROLE__ROLE_ADMIN
#define MEMBER PIPIT__MEMBER_ROLE__ROLE_MEMBER

static const char GROUP[] = "c_g";

static enum err set_role(struct fixture *f, const char *actor, const char *user,
                         Pipit__MemberRole role) {
    return change_try(f, (struct change){GROUP, actor, SET_ROLE, user, NULL, role, false, NULL},
                      NULL, NULL);
}

static enum err simple(struct fixture *f, const char *actor, Pipit__MemberAction action,
                       const char *user) {
    return change_try(f, (struct change){GROUP, actor, action, user, NULL, MEMBER, false, "new"},
                      NULL, NULL);
}

/* owner, admin, second admin, member, second member, and outsider who is nobody here */
static void cast(struct fixture *f) {
    static const char *const names[] = {"owner", "admin", "admin2", "member", "member2", "out"};
    for (size_t i = 0; i < 6; i++) {
        user_make(f, names[i]);
    }
    group_make(f, GROUP, "u_owner", "u_admin", "u_admin2", "u_member", "u_member2", NULL);
    assert_int_equal(set_role(f, "u_owner", "u_admin", ADMIN), ERR_OK);
    assert_int_equal(set_role(f, "u_owner", "u_admin2", ADMIN), ERR_OK);
}

struct matrix_row {
    const char *actor;
    Pipit__MemberAction action;
    const char *user;
    Pipit__MemberRole role;
    enum err expected;
};
static const struct matrix_row MATRIX[] = {
    {"u_owner", ADD, "u_out", MEMBER, ERR_OK},
    {"u_admin", ADD, "u_out", MEMBER, ERR_OK},
    {"u_member", ADD, "u_out", MEMBER, ERR_DENIED},
    {"u_out", ADD, "u_out", MEMBER, ERR_NOT_MEMBER},
    {"", ADD, "u_out", MEMBER, ERR_NOT_MEMBER},
    {"u_owner", ADD, "u_nobody", MEMBER, ERR_NOT_FOUND},
    {"u_member", ADD, "u_nobody", MEMBER, ERR_DENIED}, /* rights first */
    {"u_owner", REMOVE, "u_admin", MEMBER, ERR_OK},
    {"u_owner", REMOVE, "u_member", MEMBER, ERR_OK},
    {"u_owner", REMOVE, "u_out", MEMBER, ERR_NOT_FOUND},
    {"u_admin", REMOVE, "u_owner", MEMBER, ERR_DENIED},
    {"u_admin", REMOVE, "u_admin2", MEMBER, ERR_DENIED},
    {"u_admin", REMOVE, "u_member", MEMBER, ERR_OK},
    {"u_member", REMOVE, "u_member2", MEMBER, ERR_DENIED},
    {"u_member", REMOVE, "u_owner", MEMBER, ERR_DENIED},
    {"u_out", REMOVE, "u_member", MEMBER, ERR_NOT_MEMBER},
    {"u_member", REMOVE, "u_member", MEMBER, ERR_OK}, /* leave */
    {"u_admin", REMOVE, "u_admin", MEMBER, ERR_OK},
    {"u_owner", REMOVE, "u_owner", MEMBER, ERR_OK},
    {"u_out", REMOVE, "u_out", MEMBER, ERR_NOT_MEMBER},
    {"u_owner", SET_ROLE, "u_member", ADMIN, ERR_OK},
    {"u_owner", SET_ROLE, "u_admin", MEMBER, ERR_OK},
    {"u_owner", SET_ROLE, "u_member", OWNER, ERR_OK},
    {"u_owner", SET_ROLE, "u_owner", ADMIN, ERR_DENIED}, /* a group keeps an owner */
    {"u_owner", SET_ROLE, "u_out", ADMIN, ERR_NOT_FOUND},
    {"u_owner", SET_ROLE, NULL, ADMIN, ERR_INVALID},
    {"u_admin", SET_ROLE, "u_member", ADMIN, ERR_DENIED},
    {"u_admin", SET_ROLE, "u_admin", OWNER, ERR_DENIED},
    {"u_member", SET_ROLE, "u_member", OWNER, ERR_DENIED},
    {"u_out", SET_ROLE, "u_out", OWNER, ERR_NOT_MEMBER},
    {"u_member", SET_MUTED, "u_member", MEMBER, ERR_OK},
    {"u_member", SET_MUTED, NULL, MEMBER, ERR_OK},
    {"u_owner", SET_MUTED, "u_member", MEMBER, ERR_DENIED},
    {"u_out", SET_MUTED, "u_out", MEMBER, ERR_NOT_MEMBER},
    {"u_owner", RENAME, NULL, MEMBER, ERR_OK},
    {"u_admin", RENAME, NULL, MEMBER, ERR_OK},
    {"u_member", RENAME, NULL, MEMBER, ERR_DENIED},
    {"u_out", RENAME, NULL, MEMBER, ERR_NOT_MEMBER},
    {"u_owner", DELETE, NULL, MEMBER, ERR_OK},
    {"u_admin", DELETE, NULL, MEMBER, ERR_DENIED},
    {"u_member", DELETE, NULL, MEMBER, ERR_DENIED},
    {"u_out", DELETE, NULL, MEMBER, ERR_NOT_MEMBER},
    {"u_owner", (Pipit__MemberAction)99, NULL, MEMBER, ERR_UNSUPPORTED},
};

/* Runs one row in a fresh group, and checks that a refusal changed and announced nothing. */
static void run_row(struct fixture *f, const struct matrix_row *row, size_t number) {
    char group[16];
    (void)snprintf(group, sizeof(group), "c_m%zu", number);
    group_make(f, group, "u_owner", "u_admin", "u_admin2", "u_member", "u_member2", NULL);
    const char *const admins[] = {"u_admin", "u_admin2"};
    for (size_t i = 0; i < 2; i++) {
        struct change promote = {group, "u_owner", SET_ROLE, admins[i], NULL, ADMIN, false, NULL};
        assert_int_equal(change_try(f, promote, NULL, NULL), ERR_OK);
    }
    uint64_t version = conversation_load(f, group)->members_version;
    struct change change = {group, row->actor, row->action, row->user,
                            NULL,  row->role,  true,        "new title"};
    Pipit__MembersChanged *changed = NULL;
    enum err error = change_try(f, change, NULL, &changed);
    if (error != row->expected) {
        fail_msg("row %zu: %s does %d to %s: %s, expected %s", number, row->actor, (int)row->action,
                 row->user != NULL ? row->user : "-", err_name(error), err_name(row->expected));
    }
    uint64_t now = conversation_load(f, group)->members_version;
    assert_int_equal(now, error == ERR_OK ? version + 1 : version);
    assert_true((changed != NULL) == (error == ERR_OK));
    if (changed != NULL) {
        assert_int_equal(changed->members_version, now);
        assert_string_equal(changed->actor, row->actor);
        assert_int_equal(changed->title_changed, row->action == RENAME);
        assert_true(changed->n_changed > 0 || row->action == RENAME);
    }
}

static void the_matrix_of_rights(void **state) {
    struct fixture *f = *state;
    cast(f);
    for (size_t i = 0; i < sizeof(MATRIX) / sizeof(MATRIX[0]); i++) {
        run_row(f, &MATRIX[i], i);
    }
    assert_int_equal(
        change_try(f, (struct change){"c_none", "u_owner", RENAME, NULL, NULL, MEMBER, false, "x"},
                   NULL, NULL),
        ERR_NOT_FOUND);
}

static void repeating_changes_nothing(void **state) {
    struct fixture *f = *state;
    cast(f);
    const struct change changes[] = {
        {GROUP, "u_owner", ADD, "u_out", NULL, MEMBER, false, NULL},
        {GROUP, "u_owner", SET_ROLE, "u_member", NULL, ADMIN, false, NULL},
        {GROUP, "u_member2", SET_MUTED, "u_member2", NULL, MEMBER, true, NULL},
        {GROUP, "u_owner", RENAME, NULL, NULL, MEMBER, false, "same"},
        {GROUP, "u_owner", REMOVE, "u_out", NULL, MEMBER, false, NULL},
        {GROUP, "u_member2", REMOVE, "u_member2", NULL, MEMBER, false, NULL}, /* leaving twice */
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        Pipit__MembersChanged *changed = NULL;
        assert_int_equal(change_try(f, changes[i], NULL, &changed), ERR_OK);
        assert_non_null(changed);
        uint64_t version = conversation_load(f, GROUP)->members_version;
        assert_int_equal(change_try(f, changes[i], NULL, &changed), ERR_OK);
        assert_null(changed);
        assert_int_equal(conversation_load(f, GROUP)->members_version, version);
    }
}

static void a_failed_change_leaves_nothing(void **state) {
    struct fixture *f = *state;
    cast(f);
    struct change half = {GROUP, "u_owner", ADD, "u_out", "u_nobody", MEMBER, false, NULL};
    assert_int_equal(change_try(f, half, NULL, NULL), ERR_NOT_FOUND);
    assert_null(member_of(conversation_load(f, GROUP), "u_out"));
    half = (struct change){GROUP, "u_admin", REMOVE, "u_member", "u_owner", MEMBER, false, NULL};
    assert_int_equal(change_try(f, half, NULL, NULL), ERR_DENIED);
    assert_non_null(member_of(conversation_load(f, GROUP), "u_member"));
    user_disable(f, "u_out", true);
    assert_int_equal(simple(f, "u_owner", ADD, "u_out"), ERR_NOT_FOUND);
}

static void ownership_is_handed_over(void **state) {
    struct fixture *f = *state;
    cast(f);
    assert_int_equal(set_role(f, "u_owner", "u_member", OWNER), ERR_OK);
    Pipit__Conversation *conversation = conversation_load(f, GROUP);
    assert_int_equal(member_of(conversation, "u_member")->role, OWNER);
    assert_int_equal(member_of(conversation, "u_owner")->role, ADMIN);
    assert_int_equal(set_role(f, "u_owner", "u_member", OWNER), ERR_DENIED);
    assert_int_equal(set_role(f, "u_member", "u_member", OWNER), ERR_OK); /* nothing to do */
    struct change two = {GROUP, "u_member", SET_ROLE, "u_admin", "u_owner", OWNER, false, NULL};
    assert_int_equal(change_try(f, two, NULL, NULL), ERR_INVALID); /* one owner */
}

static void the_oldest_admin_inherits(void **state) {
    struct fixture *f = *state;
    cast(f);
    /* admin2 has been here longer than admin once admin came back */
    assert_int_equal(simple(f, "u_owner", REMOVE, "u_admin"), ERR_OK);
    assert_int_equal(simple(f, "u_owner", ADD, "u_admin"), ERR_OK);
    assert_int_equal(member_of(conversation_load(f, GROUP), "u_admin")->role, MEMBER);
    assert_int_equal(set_role(f, "u_owner", "u_admin", ADMIN), ERR_OK);
    assert_int_equal(simple(f, "u_owner", REMOVE, "u_owner"), ERR_OK);
    Pipit__Conversation *conversation = conversation_load(f, GROUP);
    assert_null(member_of(conversation, "u_owner"));
    assert_int_equal(member_of(conversation, "u_admin2")->role, OWNER);
    assert_int_equal(member_of(conversation, "u_admin")->role, ADMIN);
}

static void else_the_oldest_member_inherits(void **state) {
    struct fixture *f = *state;
    cast(f);
    assert_int_equal(simple(f, "u_owner", REMOVE, "u_admin"), ERR_OK);
    assert_int_equal(simple(f, "u_owner", REMOVE, "u_admin2"), ERR_OK);
    assert_int_equal(simple(f, "u_owner", REMOVE, "u_member"), ERR_OK);
    assert_int_equal(simple(f, "u_owner", ADD, "u_member"), ERR_OK); /* now the youngest */
    assert_int_equal(simple(f, "u_owner", REMOVE, "u_owner"), ERR_OK);
    assert_int_equal(member_of(conversation_load(f, GROUP), "u_member2")->role, OWNER);
    assert_int_equal(simple(f, "u_member2", REMOVE, "u_member2"), ERR_OK);
    assert_int_equal(simple(f, "u_member", REMOVE, "u_member"), ERR_OK); /* the last one */
    assert_int_equal(conversation_load(f, GROUP)->n_members, 0);
    assert_int_equal(simple(f, "u_owner", ADD, "u_owner"), ERR_NOT_MEMBER);
}

static void an_owner_may_leave_with_others(void **state) {
    struct fixture *f = *state;
    cast(f);
    struct change both = {GROUP, "u_owner", REMOVE, "u_owner", "u_admin", MEMBER, false, NULL};
    Pipit__MembersChanged *changed = NULL;
    assert_int_equal(change_try(f, both, NULL, &changed), ERR_OK);
    assert_int_equal(changed->n_changed, 3); /* two left, one inherits */
    assert_int_equal(member_of(conversation_load(f, GROUP), "u_admin2")->role, OWNER);
}

static void who_comes_back_sees_from_then_on(void **state) {
    struct fixture *f = *state;
    cast(f);
    (void)append_texts(f, GROUP, "u_owner", 3);
    assert_int_equal(cursor_move(f, "u_member", "", GROUP, 0, 2)->read_seq, 2);
    assert_int_equal(simple(f, "u_owner", REMOVE, "u_member"), ERR_OK);
    (void)append_texts(f, GROUP, "u_owner", 2);
    Pipit__ConversationReply *reply = NULL;
    Pipit__MembersChanged *changed = NULL;
    struct change add = {GROUP, "u_owner", ADD, "u_member", NULL, MEMBER, false, NULL};
    assert_int_equal(change_try(f, add, &reply, &changed), ERR_OK);
    assert_int_equal(changed->n_changed, 1);
    assert_int_equal(changed->head, 5);
    assert_int_equal(changed->changed[0]->joined_seq, 5);
    assert_int_equal(changed->changed[0]->state, PIPIT__MEMBER_STATE__MEMBER_ACTIVE);
    assert_int_equal(member_of(reply->conversation, "u_member")->joined_seq, 5);
    assert_int_equal(list_all(f, "u_member")->items[0]->unread, 0);
    /* I5: the read cursor did not go back */
    assert_int_equal(member_of(reply->conversation, "u_member")->read_seq, 2);
}

static void deleting_sends_everybody_home(void **state) {
    struct fixture *f = *state;
    cast(f);
    Pipit__MembersChanged *changed = NULL;
    struct change delete = {GROUP, "u_owner", DELETE, NULL, NULL, MEMBER, false, NULL};
    assert_int_equal(change_try(f, delete, NULL, &changed), ERR_OK);
    assert_int_equal(changed->n_changed, 5);
    assert_int_equal(conversation_load(f, GROUP)->n_members, 0);
    assert_int_equal(list_all(f, "u_owner")->n_items, 0);
    assert_int_equal(simple(f, "u_owner", RENAME, NULL), ERR_NOT_MEMBER);
}

static void direct_members_are_fixed(void **state) {
    struct fixture *f = *state;
    cast(f);
    char *id = direct_make(f, "u_owner", "u_member");
    const Pipit__MemberAction denied[] = {ADD, REMOVE, SET_ROLE, RENAME, DELETE};
    for (size_t i = 0; i < sizeof(denied) / sizeof(denied[0]); i++) {
        struct change change = {id, "u_owner", denied[i], "u_out", NULL, ADMIN, false, "x"};
        assert_int_equal(change_try(f, change, NULL, NULL), ERR_DENIED);
    }
    struct change mute = {id, "u_owner", SET_MUTED, "u_owner", NULL, MEMBER, true, NULL};
    assert_int_equal(change_try(f, mute, NULL, NULL), ERR_OK);
    Pipit__Conversation *conversation = conversation_load(f, id);
    assert_true(member_of(conversation, "u_owner")->muted);
    assert_false(member_of(conversation, "u_member")->muted);
}

static void appends_see_the_new_version(void **state) {
    struct fixture *f = *state;
    cast(f);
    (void)append_texts(f, GROUP, "u_owner", 1);
    assert_int_equal(simple(f, "u_owner", REMOVE, "u_member"), ERR_OK);
    uint64_t version = conversation_load(f, GROUP)->members_version;
    Pipit__StoredMessage *message = message_make(f, "u_owner", "{}", 2);
    assert_int_equal(append_run(f, GROUP, 2, &message, 1)->members_version, version);
    fixture_reopen(f);
    message = message_make(f, "u_owner", "{}", 2);
    assert_int_equal(append_run(f, GROUP, 3, &message, 1)->members_version, version);
}

int members_tests(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(the_matrix_of_rights),           STORE_TEST(repeating_changes_nothing),
        STORE_TEST(a_failed_change_leaves_nothing), STORE_TEST(ownership_is_handed_over),
        STORE_TEST(the_oldest_admin_inherits),      STORE_TEST(else_the_oldest_member_inherits),
        STORE_TEST(an_owner_may_leave_with_others), STORE_TEST(who_comes_back_sees_from_then_on),
        STORE_TEST(deleting_sends_everybody_home),  STORE_TEST(direct_members_are_fixed),
        STORE_TEST(appends_see_the_new_version),
    };
    return cmocka_run_group_tests_name("members", tests, NULL, NULL);
}
