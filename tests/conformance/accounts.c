/* accounts: users, invites. */
#include "tests/conformance/support.h"

#include <stdio.h>

static enum err create_user(struct fixture *f, const char *name, ProtobufCBinaryData invite,
                            Pipit__UserReply *reply) {
    char id[64];
    (void)snprintf(id, sizeof(id), "u_%s", name);
    Pipit__User user = PIPIT__USER__INIT;
    user.id = id;
    user.name = (char *)name;
    user.display_name = "Some Body";
    user.password_hash = "$argon2id$hash";
    Pipit__UserCreate request = PIPIT__USER_CREATE__INIT;
    request.user = &user;
    request.invite_hash = invite;
    request.now_ms = f->now_ms;
    pipit__user_reply__init(reply);
    return f->store->ops->user_create(f->store, &request, &f->arena, reply);
}

static enum err get_user(struct fixture *f, const char *id, bool with_secret,
                         Pipit__UserReply *reply) {
    Pipit__UserGet request = PIPIT__USER_GET__INIT;
    request.id = (char *)id;
    request.with_secret = with_secret;
    pipit__user_reply__init(reply);
    return f->store->ops->user_get(f->store, &request, &f->arena, reply);
}

static enum err create_invite(struct fixture *f, const char *code, uint32_t uses,
                              uint64_t expires_ms, bool admin, bool only_if_empty) {
    Pipit__Invite invite = PIPIT__INVITE__INIT;
    invite.hash = hash_make(f, code);
    invite.created_by = "u_ann";
    invite.created_ms = f->now_ms;
    invite.expires_ms = expires_ms;
    invite.uses_left = uses;
    invite.admin = admin;
    invite.note = "for tests";
    Pipit__InviteCreate request = PIPIT__INVITE_CREATE__INIT;
    request.invite = &invite;
    request.only_if_empty = only_if_empty;
    Pipit__StatusReply reply = PIPIT__STATUS_REPLY__INIT;
    return f->store->ops->invite_create(f->store, &request, &f->arena, &reply);
}

static Pipit__InvitesReply list_invites(struct fixture *f) {
    Pipit__InvitesRequest request = PIPIT__INVITES_REQUEST__INIT;
    request.now_ms = f->now_ms;
    Pipit__InvitesReply reply = PIPIT__INVITES_REPLY__INIT;
    assert_int_equal(f->store->ops->invites(f->store, &request, &f->arena, &reply), ERR_OK);
    return reply;
}

static const ProtobufCBinaryData OPEN = {0, NULL};

static void creates_and_gets(void **state) {
    struct fixture *f = *state;
    Pipit__UserReply reply;
    assert_int_equal(create_user(f, "ann", OPEN, &reply), ERR_OK);
    assert_string_equal(reply.user->id, "u_ann");
    assert_string_equal(reply.user->password_hash, "");
    assert_int_equal(reply.user->created_ms, f->now_ms);
    fixture_reopen(f);
    assert_int_equal(get_user(f, "u_ann", false, &reply), ERR_OK);
    assert_string_equal(reply.user->display_name, "Some Body");
    assert_string_equal(reply.user->password_hash, "");
    assert_int_equal(get_user(f, "u_ann", true, &reply), ERR_OK);
    assert_string_equal(reply.user->password_hash, "$argon2id$hash");
    assert_int_equal(get_user(f, "u_nobody", true, &reply), ERR_NOT_FOUND);
    assert_int_equal(create_user(f, "ann", OPEN, &reply), ERR_EXISTS);
}

static void refuses_malformed_accounts(void **state) {
    struct fixture *f = *state;
    Pipit__User user = PIPIT__USER__INIT;
    Pipit__UserCreate request = PIPIT__USER_CREATE__INIT;
    Pipit__UserReply reply = PIPIT__USER_REPLY__INIT;
    assert_int_equal(f->store->ops->user_create(f->store, &request, &f->arena, &reply),
                     ERR_INVALID);
    request.user = &user;
    user.id = "u_bob";
    user.name = "ann"; /* the id is derived from the name */
    assert_int_equal(f->store->ops->user_create(f->store, &request, &f->arena, &reply),
                     ERR_INVALID);
    user.id = "u_";
    user.name = "";
    assert_int_equal(f->store->ops->user_create(f->store, &request, &f->arena, &reply),
                     ERR_INVALID);
}

static void updates_only_what_is_set(void **state) {
    struct fixture *f = *state;
    Pipit__UserReply reply;
    assert_int_equal(create_user(f, "ann", OPEN, &reply), ERR_OK);
    f->now_ms += 1000;
    Pipit__UserUpdate request = PIPIT__USER_UPDATE__INIT;
    request.id = "u_ann";
    request.set_display_name = true;
    request.display_name = "Ann B.";
    request.password_hash = "must not be taken";
    request.now_ms = f->now_ms;
    pipit__user_reply__init(&reply);
    assert_int_equal(f->store->ops->user_update(f->store, &request, &f->arena, &reply), ERR_OK);
    assert_string_equal(reply.user->display_name, "Ann B.");
    assert_int_equal(reply.user->changed_ms, f->now_ms);
    assert_int_equal(get_user(f, "u_ann", true, &reply), ERR_OK);
    assert_string_equal(reply.user->password_hash, "$argon2id$hash");
    pipit__user_update__init(&request);
    request.id = "u_ann";
    request.set_password_hash = request.set_admin = request.set_disabled = true;
    request.password_hash = "$argon2id$new";
    request.admin = request.disabled = true;
    assert_int_equal(f->store->ops->user_update(f->store, &request, &f->arena, &reply), ERR_OK);
    assert_int_equal(get_user(f, "u_ann", true, &reply), ERR_OK);
    assert_string_equal(reply.user->password_hash, "$argon2id$new");
    assert_string_equal(reply.user->display_name, "Ann B.");
    assert_true(reply.user->admin);
    assert_true(reply.user->disabled);
    request.id = "u_nobody";
    assert_int_equal(f->store->ops->user_update(f->store, &request, &f->arena, &reply),
                     ERR_NOT_FOUND);
}

static Pipit__UsersReply search(struct fixture *f, const char *query, const char *after,
                                uint32_t limit, bool with_disabled) {
    Pipit__UsersRequest request = PIPIT__USERS_REQUEST__INIT;
    request.query = (char *)query;
    request.after = (char *)after;
    request.limit = limit;
    request.with_disabled = with_disabled;
    Pipit__UsersReply reply = PIPIT__USERS_REPLY__INIT;
    assert_int_equal(f->store->ops->users(f->store, &request, &f->arena, &reply), ERR_OK);
    return reply;
}

static void set_display_name(struct fixture *f, const char *id, const char *name) {
    Pipit__UserUpdate request = PIPIT__USER_UPDATE__INIT;
    request.id = (char *)id;
    request.set_display_name = true;
    request.display_name = (char *)name;
    Pipit__UserReply reply = PIPIT__USER_REPLY__INIT;
    assert_int_equal(f->store->ops->user_update(f->store, &request, &f->arena, &reply), ERR_OK);
}

static void searches_users(void **state) {
    struct fixture *f = *state;
    static const char *const names[] = {"ann", "anna", "bob", "carl", "dora"};
    for (size_t i = 0; i < 5; i++) {
        user_make(f, names[i]);
    }
    set_display_name(f, "u_bob", "Robert 100% Hannover");
    user_disable(f, "u_carl", true);
    Pipit__UsersReply reply = search(f, "ann", "", 0, false);
    assert_int_equal(reply.n_users, 3); /* two names, one part of a display name */
    assert_string_equal(reply.users[0]->id, "u_ann");
    assert_string_equal(reply.users[1]->id, "u_anna");
    assert_string_equal(reply.users[2]->id, "u_bob");
    assert_string_equal(reply.users[0]->password_hash, "");
    assert_int_equal(search(f, "ANN", "", 0, false).n_users, 3);
    assert_int_equal(search(f, "nn", "", 0, false).n_users, 3); /* display names default to names */
    assert_int_equal(search(f, "0% H", "", 0, false).n_users, 1);
    assert_int_equal(search(f, "%", "", 0, false).n_users, 1); /* no wildcard */
    assert_int_equal(search(f, "_", "", 0, false).n_users, 0);
    assert_int_equal(search(f, "", "", 0, false).n_users, 4);
    assert_int_equal(search(f, "", "", 0, true).n_users, 5);
    reply = search(f, "", "", 2, true);
    assert_int_equal(reply.n_users, 2);
    assert_string_equal(reply.next, "u_anna");
    reply = search(f, "", reply.next, 2, true);
    assert_string_equal(reply.users[0]->id, "u_bob");
    reply = search(f, "", reply.next, 2, true);
    assert_int_equal(reply.n_users, 1);
    assert_string_equal(reply.next, "");
}

static void an_invite_is_consumed(void **state) {
    struct fixture *f = *state;
    Pipit__UserReply reply;
    assert_int_equal(create_invite(f, "code", 2, f->now_ms + 1000, false, false), ERR_OK);
    assert_int_equal(create_invite(f, "code", 2, f->now_ms + 1000, false, false), ERR_EXISTS);
    assert_int_equal(create_user(f, "ann", hash_make(f, "code"), &reply), ERR_OK);
    assert_false(reply.user->admin);
    assert_int_equal(list_invites(f).invites[0]->uses_left, 1);
    /* A taken name gives the use back. */
    assert_int_equal(create_user(f, "ann", hash_make(f, "code"), &reply), ERR_EXISTS);
    assert_int_equal(list_invites(f).invites[0]->uses_left, 1);
    assert_int_equal(create_user(f, "bob", hash_make(f, "code"), &reply), ERR_OK);
    assert_int_equal(list_invites(f).n_invites, 0);
    assert_int_equal(create_user(f, "eve", hash_make(f, "code"), &reply), ERR_DENIED);
    assert_int_equal(get_user(f, "u_eve", false, &reply), ERR_NOT_FOUND);
    assert_int_equal(create_user(f, "eve", hash_make(f, "wrong"), &reply), ERR_DENIED);
    assert_int_equal(create_user(f, "ann", hash_make(f, "wrong"), &reply), ERR_DENIED);
}

static void invites_expire(void **state) {
    struct fixture *f = *state;
    Pipit__UserReply reply;
    assert_int_equal(create_invite(f, "soon", 1, f->now_ms + 1000, false, false), ERR_OK);
    assert_int_equal(create_invite(f, "never", 1, 0, true, false), ERR_OK);
    f->now_ms += 1000;
    assert_int_equal(create_user(f, "ann", hash_make(f, "soon"), &reply), ERR_DENIED);
    assert_int_equal(list_invites(f).n_invites, 1);
    assert_int_equal(create_user(f, "ann", hash_make(f, "never"), &reply), ERR_OK);
    assert_true(reply.user->admin); /* by the invite */
}

static void invites_are_deleted(void **state) {
    struct fixture *f = *state;
    assert_int_equal(create_invite(f, "code", 1, 0, false, false), ERR_OK);
    Pipit__InviteDelete request = PIPIT__INVITE_DELETE__INIT;
    request.hash = hash_make(f, "code");
    Pipit__StatusReply reply = PIPIT__STATUS_REPLY__INIT;
    assert_int_equal(f->store->ops->invite_delete(f->store, &request, &f->arena, &reply), ERR_OK);
    assert_int_equal(f->store->ops->invite_delete(f->store, &request, &f->arena, &reply),
                     ERR_NOT_FOUND);
    assert_int_equal(list_invites(f).n_invites, 0);
}

static void the_first_invite_is_for_an_empty_store(void **state) {
    struct fixture *f = *state;
    assert_int_equal(create_invite(f, "guest", 1, 0, false, false), ERR_OK); /* does not count */
    assert_int_equal(create_invite(f, "first", 1, f->now_ms + 1000, true, true), ERR_OK);
    assert_int_equal(create_invite(f, "second", 1, 0, true, true), ERR_CONFLICT);
    f->now_ms += 2000; /* the first has expired unused */
    assert_int_equal(create_invite(f, "third", 1, f->now_ms + 1000, true, true), ERR_OK);
    Pipit__UserReply reply;
    assert_int_equal(create_user(f, "ann", hash_make(f, "third"), &reply), ERR_OK);
    assert_int_equal(create_invite(f, "fourth", 1, 0, true, true), ERR_CONFLICT);
}

int accounts_tests(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(creates_and_gets),         STORE_TEST(refuses_malformed_accounts),
        STORE_TEST(updates_only_what_is_set), STORE_TEST(searches_users),
        STORE_TEST(an_invite_is_consumed),    STORE_TEST(invites_expire),
        STORE_TEST(invites_are_deleted),      STORE_TEST(the_first_invite_is_for_an_empty_store),
    };
    return cmocka_run_group_tests_name("accounts", tests, NULL, NULL);
}
