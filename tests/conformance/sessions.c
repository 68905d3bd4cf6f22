/* sessions: devices, refresh-token families and their rotation, revocations. */
#include "tests/conformance/support.h"

#include <stdio.h>

#define LIFE_MS 1000000u

static enum err login(struct fixture *f, const char *user, const char *device, const char *token,
                      uint32_t devices_max, Pipit__SessionReply *reply) {
    Pipit__Device wanted = PIPIT__DEVICE__INIT;
    wanted.user = (char *)user;
    wanted.id = (char *)device;
    wanted.name = "Ann's phone";
    wanted.platform = "web";
    Pipit__SessionCreate request = PIPIT__SESSION_CREATE__INIT;
    request.device = &wanted;
    request.refresh_hash = hash_make(f, token);
    request.expires_ms = f->now_ms + LIFE_MS;
    request.now_ms = f->now_ms;
    request.devices_max = devices_max;
    pipit__session_reply__init(reply);
    return f->store->ops->session_create(f->store, &request, &f->arena, reply);
}

static enum err rotate(struct fixture *f, const char *token, const char *successor,
                       Pipit__SessionReply *reply) {
    Pipit__SessionRotate request = PIPIT__SESSION_ROTATE__INIT;
    request.refresh_hash = hash_make(f, token);
    request.new_refresh_hash = hash_make(f, successor);
    request.expires_ms = f->now_ms + LIFE_MS;
    request.now_ms = f->now_ms;
    pipit__session_reply__init(reply);
    return f->store->ops->session_rotate(f->store, &request, &f->arena, reply);
}

static enum err revoke(struct fixture *f, const char *user, const char *device,
                       const char *except_device, bool delete_device) {
    Pipit__Revoke request = PIPIT__REVOKE__INIT;
    request.user = (char *)user;
    request.device = (char *)device;
    request.except_device = (char *)except_device;
    request.delete_device = delete_device;
    request.now_ms = f->now_ms;
    request.until_ms = f->now_ms + 900000;
    Pipit__StatusReply reply = PIPIT__STATUS_REPLY__INIT;
    return f->store->ops->revoke(f->store, &request, &f->arena, &reply);
}

static Pipit__RevocationsReply revocations(struct fixture *f) {
    Pipit__RevocationsRequest request = PIPIT__REVOCATIONS_REQUEST__INIT;
    request.now_ms = f->now_ms;
    Pipit__RevocationsReply reply = PIPIT__REVOCATIONS_REPLY__INIT;
    assert_int_equal(f->store->ops->revocations(f->store, &request, &f->arena, &reply), ERR_OK);
    return reply;
}

static Pipit__DevicesReply devices(struct fixture *f, const char *user) {
    Pipit__DevicesRequest request = PIPIT__DEVICES_REQUEST__INIT;
    request.user = (char *)user;
    Pipit__DevicesReply reply = PIPIT__DEVICES_REPLY__INIT;
    assert_int_equal(f->store->ops->devices(f->store, &request, &f->arena, &reply), ERR_OK);
    return reply;
}

static void login_makes_a_device(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    Pipit__SessionReply reply;
    assert_int_equal(login(f, "u_ann", "d_1", "t1", 0, &reply), ERR_OK);
    assert_true(reply.device_created);
    assert_string_equal(reply.device->id, "d_1");
    assert_string_equal(reply.user->id, "u_ann");
    assert_string_equal(reply.user->password_hash, "");
    f->now_ms += 5000;
    assert_int_equal(login(f, "u_ann", "d_1", "t2", 0, &reply), ERR_OK);
    assert_false(reply.device_created);
    assert_int_equal(reply.device->seen_ms, f->now_ms);
    assert_int_equal(reply.device->created_ms, f->now_ms - 5000);
    assert_int_equal(devices(f, "u_ann").n_devices, 1);
    /* The former family of the device ended. */
    assert_int_equal(rotate(f, "t1", "x", &reply), ERR_NOT_FOUND);
    assert_int_equal(rotate(f, "t2", "t3", &reply), ERR_OK);
}

static void login_has_limits(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    user_make(f, "bob");
    Pipit__SessionReply reply;
    assert_int_equal(login(f, "u_nobody", "d_1", "t0", 0, &reply), ERR_NOT_FOUND);
    assert_int_equal(login(f, "u_ann", "", "t0", 0, &reply), ERR_INVALID);
    assert_int_equal(login(f, "u_ann", "d_1", "t1", 2, &reply), ERR_OK);
    assert_int_equal(login(f, "u_ann", "d_2", "t2", 2, &reply), ERR_OK);
    assert_int_equal(login(f, "u_ann", "d_3", "t3", 2, &reply), ERR_FULL);
    assert_int_equal(login(f, "u_ann", "d_2", "t4", 2, &reply), ERR_OK); /* a known one may */
    assert_int_equal(login(f, "u_bob", "d_1", "t5", 2, &reply), ERR_OK); /* ids are per user */
    assert_int_equal(devices(f, "u_ann").n_devices, 2);
    user_disable(f, "u_bob", true);
    assert_int_equal(login(f, "u_bob", "d_1", "t6", 2, &reply), ERR_DISABLED);
}

static void rotation_moves_on(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    Pipit__SessionReply reply;
    assert_int_equal(login(f, "u_ann", "d_1", "t1", 0, &reply), ERR_OK);
    f->now_ms += 1000;
    assert_int_equal(rotate(f, "t1", "t2", &reply), ERR_OK);
    assert_string_equal(reply.device->id, "d_1");
    assert_int_equal(reply.device->seen_ms, f->now_ms);
    assert_string_equal(reply.user->id, "u_ann");
    fixture_reopen(f);
    assert_int_equal(rotate(f, "t2", "t3", &reply), ERR_OK);
    assert_int_equal(rotate(f, "t3", "t4", &reply), ERR_OK);
    assert_int_equal(rotate(f, "unknown", "x", &reply), ERR_NOT_FOUND);
}

static void a_lost_answer_may_be_repeated(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    Pipit__SessionReply reply;
    assert_int_equal(login(f, "u_ann", "d_1", "t1", 0, &reply), ERR_OK);
    assert_int_equal(rotate(f, "t1", "t2a", &reply), ERR_OK); /* its answer is lost */
    assert_int_equal(rotate(f, "t1", "t2b", &reply), ERR_OK);
    assert_int_equal(rotate(f, "t2b", "t3", &reply), ERR_OK);  /* t1 is old from here on */
    assert_int_equal(rotate(f, "t2a", "t3b", &reply), ERR_OK); /* the late answer came after all */
}

static void reuse_ends_the_family(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    Pipit__SessionReply reply;
    assert_int_equal(login(f, "u_ann", "d_1", "t1", 0, &reply), ERR_OK);
    assert_int_equal(login(f, "u_ann", "d_2", "other", 0, &reply), ERR_OK);
    assert_int_equal(rotate(f, "t1", "t2", &reply), ERR_OK);
    assert_int_equal(rotate(f, "t2", "t3", &reply), ERR_OK);
    assert_int_equal(rotate(f, "t1", "thief", &reply), ERR_REUSED);
    assert_string_equal(reply.device->id, "d_1"); /* whose access tokens must die */
    assert_string_equal(reply.user->id, "u_ann");
    fixture_reopen(f); /* the end of the family is durable */
    assert_int_equal(rotate(f, "t3", "x", &reply), ERR_NOT_FOUND);
    assert_int_equal(rotate(f, "t2", "x", &reply), ERR_NOT_FOUND);
    assert_int_equal(rotate(f, "thief", "x", &reply), ERR_NOT_FOUND);
    assert_int_equal(rotate(f, "other", "other2", &reply), ERR_OK); /* the other device's lives */
}

static void tokens_expire(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    Pipit__SessionReply reply;
    assert_int_equal(login(f, "u_ann", "d_1", "t1", 0, &reply), ERR_OK);
    f->now_ms += LIFE_MS - 1;
    assert_int_equal(rotate(f, "t1", "t2", &reply), ERR_OK);
    f->now_ms += LIFE_MS;
    assert_int_equal(rotate(f, "t2", "t3", &reply), ERR_EXPIRED);
}

static void disabled_users_do_not_rotate(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    Pipit__SessionReply reply;
    assert_int_equal(login(f, "u_ann", "d_1", "t1", 0, &reply), ERR_OK);
    user_disable(f, "u_ann", true);
    assert_int_equal(rotate(f, "t1", "t2", &reply), ERR_DISABLED);
    user_disable(f, "u_ann", false);
    assert_int_equal(rotate(f, "t1", "t2", &reply), ERR_OK);
}

static void old_generations_are_forgotten(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    Pipit__SessionReply reply;
    char token[16];
    char successor[16];
    assert_int_equal(login(f, "u_ann", "d_1", "t1", 0, &reply), ERR_OK);
    for (unsigned i = 1; i < STORE_GENERATIONS_KEPT + 10; i++) {
        (void)snprintf(token, sizeof(token), "t%u", i);
        (void)snprintf(successor, sizeof(successor), "t%u", i + 1);
        assert_int_equal(rotate(f, token, successor, &reply), ERR_OK);
    }
    assert_int_equal(rotate(f, "t1", "x", &reply), ERR_NOT_FOUND);  /* bounded memory */
    assert_int_equal(rotate(f, successor, "next", &reply), ERR_OK); /* the family lives */
    (void)snprintf(token, sizeof(token), "t%u", STORE_GENERATIONS_KEPT);
    assert_int_equal(rotate(f, token, "x", &reply), ERR_REUSED);
}

static void revoking_one_device(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    Pipit__SessionReply reply;
    assert_int_equal(login(f, "u_ann", "d_1", "t1", 0, &reply), ERR_OK);
    assert_int_equal(login(f, "u_ann", "d_2", "t2", 0, &reply), ERR_OK);
    assert_int_equal(revoke(f, "u_ann", "d_1", "", false), ERR_OK);
    assert_int_equal(rotate(f, "t1", "x", &reply), ERR_NOT_FOUND);
    assert_int_equal(rotate(f, "t2", "t3", &reply), ERR_OK);
    assert_int_equal(devices(f, "u_ann").n_devices, 2);
    Pipit__RevocationsReply list = revocations(f);
    assert_int_equal(list.n_revocations, 1);
    assert_string_equal(list.revocations[0]->user, "u_ann");
    assert_string_equal(list.revocations[0]->device, "d_1");
    assert_int_equal(list.revocations[0]->before_ms, f->now_ms);
    assert_int_equal(list.revocations[0]->until_ms, f->now_ms + 900000);
    assert_false(list.revocations[0]->disabled);
    f->now_ms += 1000;
    assert_int_equal(revoke(f, "u_ann", "d_1", "", true), ERR_OK); /* again, and forget it */
    list = revocations(f);
    assert_int_equal(list.n_revocations, 1);
    assert_int_equal(list.revocations[0]->before_ms, f->now_ms);
    assert_int_equal(devices(f, "u_ann").n_devices, 1);
    assert_int_equal(revoke(f, "u_ann", "d_1", "", true), ERR_NOT_FOUND);
    assert_int_equal(revoke(f, "u_nobody", "", "", false), ERR_NOT_FOUND);
}

static void revoking_all_but_one(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    user_make(f, "bob");
    Pipit__SessionReply reply;
    assert_int_equal(login(f, "u_ann", "d_1", "t1", 0, &reply), ERR_OK);
    assert_int_equal(login(f, "u_ann", "d_2", "t2", 0, &reply), ERR_OK);
    assert_int_equal(login(f, "u_bob", "d_1", "t3", 0, &reply), ERR_OK);
    assert_int_equal(revoke(f, "u_ann", "", "d_2", false), ERR_OK);
    assert_int_equal(rotate(f, "t1", "x", &reply), ERR_NOT_FOUND);
    assert_int_equal(rotate(f, "t2", "y", &reply), ERR_OK);
    assert_int_equal(rotate(f, "t3", "z", &reply), ERR_OK);
    assert_string_equal(revocations(f).revocations[0]->except_device, "d_2");
    user_disable(f, "u_ann", true);
    assert_int_equal(revoke(f, "u_ann", "", "", true), ERR_OK);
    Pipit__RevocationsReply list = revocations(f);
    assert_int_equal(list.n_revocations, 2);
    assert_true(list.revocations[0]->disabled);
    assert_int_equal(devices(f, "u_ann").n_devices, 0);
    assert_int_equal(devices(f, "u_bob").n_devices, 1);
}

static void revocations_are_pruned(void **state) {
    struct fixture *f = *state;
    user_make(f, "ann");
    user_make(f, "bob");
    assert_int_equal(revoke(f, "u_ann", "", "", false), ERR_OK);
    fixture_reopen(f);
    assert_int_equal(revocations(f).n_revocations, 1);
    f->now_ms += 900000;
    assert_int_equal(revocations(f).n_revocations, 0);
    assert_int_equal(revoke(f, "u_bob", "", "", false), ERR_OK);
    f->now_ms -= 900000;
    assert_int_equal(revocations(f).n_revocations, 1); /* ann's row is gone, not only hidden */
}

int sessions_tests(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(login_makes_a_device),
        STORE_TEST(login_has_limits),
        STORE_TEST(rotation_moves_on),
        STORE_TEST(a_lost_answer_may_be_repeated),
        STORE_TEST(reuse_ends_the_family),
        STORE_TEST(tokens_expire),
        STORE_TEST(disabled_users_do_not_rotate),
        STORE_TEST(old_generations_are_forgotten),
        STORE_TEST(revoking_one_device),
        STORE_TEST(revoking_all_but_one),
        STORE_TEST(revocations_are_pruned),
    };
    return cmocka_run_group_tests_name("sessions", tests, NULL, NULL);
}
