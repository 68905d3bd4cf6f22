/* test_hub_tokens: checking tokens without asking anybody; revocation and expiry of open sessions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "services/connection/hub_metrics.h"
#include "tests/unit/connection/hub_world.h"

static enum reason check(struct world *world, const char *token, struct token_claims *claims) {
    return hub_check_token(world->hub, token, strlen(token), claims);
}
static void make(struct world *world, const char *user, const char *device, char token[1024]) {
    uint64_t now_ms = clock_wall_ms();
    auth_token(&world->auth, user, device, now_ms, now_ms + 900000, token);
}
static Pipit__Revocation revocation(const char *user, const char *device, const char *except) {
    Pipit__Revocation made = PIPIT__REVOCATION__INIT;
    made.user = (char *)user;
    made.device = (char *)device;
    made.except_device = (char *)except;
    made.before_ms = clock_wall_ms() + 1;
    made.until_ms = clock_wall_ms() + 900000;
    return made;
}

static void a_good_token_is_checked_once_and_then_known(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    char token[1024];
    struct token_claims claims;
    make(world, "u_ann", "d_1", token);
    uint64_t checked = hub_metrics.logins_checked.value, cached = hub_metrics.logins_cached.value;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(check(world, token, &claims), REASON_OK);
        assert_string_equal(claims.user, "u_ann");
        assert_string_equal(claims.device, "d_1");
    }
    assert_true(hub_metrics.logins_checked.value == checked + 1);
    assert_true(hub_metrics.logins_cached.value == cached + 2);
    token[strlen(token) - 3] ^= 1;
    assert_int_equal(check(world, token, &claims), REASON_BAD_TOKEN);
    assert_int_equal(check(world, "x", &claims), REASON_BAD_TOKEN);
    assert_int_equal(check(world, "", &claims), REASON_BAD_TOKEN);
    uint64_t now_ms = clock_wall_ms();
    auth_token(&world->auth, "u_ann", "d_1", now_ms - 900000, now_ms - 60000, token);
    assert_int_equal(check(world, token, &claims), REASON_TOKEN_EXPIRED);
    world_finish(world);
}

static void a_known_token_expires_all_the_same(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    char token[1024];
    struct token_claims claims;
    make(world, "u_ann", "d_1", token);
    assert_int_equal(check(world, token, &claims), REASON_OK);
    clock_fake_advance_us(906000000u);
    assert_int_equal(check(world, token, &claims), REASON_TOKEN_EXPIRED);
    world_finish(world);
}

static void an_unknown_key_is_fetched(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    char former[1024], token[1024];
    struct token_claims claims;
    make(world, "u_ann", "d_1", former);
    assert_int_equal(check(world, former, &claims), REASON_OK);
    world_advance(world, 2000000);
    auth_new_key(&world->auth, "k2");
    make(world, "u_ann", "d_1", token);
    unsigned snapshots = world->auth.snapshots;
    for (int i = 0; i < 30 && check(world, token, &claims) != REASON_OK; i++) {
        assert_int_equal(check(world, token, &claims), REASON_BAD_TOKEN);
        world_advance(world, 100000);
    }
    assert_int_equal(check(world, token, &claims), REASON_OK);
    assert_in_range(world->auth.snapshots - snapshots, 1, 3); /* not at each of them */
    /* The former key is gone, and with it what it had signed. */
    assert_int_equal(check(world, former, &claims), REASON_BAD_TOKEN);
    world_finish(world);
}

static void auth_tells_of_new_keys(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    world_advance(world, 2000000);
    auth_new_key(&world->auth, "k2");
    char token[1024];
    struct token_claims claims;
    make(world, "u_ann", "d_1", token);
    unsigned snapshots = world->auth.snapshots;
    auth_publish(&world->auth, NULL, true);
    for (int i = 0; i < 30 && world->auth.snapshots == snapshots; i++) {
        world_advance(world, 100000); /* asked at most once a second */
    }
    UNTIL(world, check(world, token, &claims) == REASON_OK);
    world_finish(world);
}

static void without_keys_nobody_gets_in_yet(void **state) {
    (void)state;
    struct world *world = calloc(1, sizeof *world);
    world_prepare(world, 1);
    world->auth.no_keys = true;
    world->settings = (struct connection_settings){.bus = {.routing = world->routing_spec,
                                                           .auth = world->auth_address,
                                                           .message_bytes_max = 8u << 20,
                                                           .timeout_us = 2000000u,
                                                           .tls_ca_file = "",
                                                           .tls_cert_file = "",
                                                           .tls_key_file = ""}};
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    assert_int_equal(hub_create(world->loop, &world->settings, &world->hub), ERR_OK);
    UNTIL(world, world->auth.snapshots > 0);
    char token[1024];
    struct token_claims claims;
    make(world, "u_ann", "d_1", token);
    assert_int_equal(check(world, token, &claims), REASON_UNAVAILABLE);
    assert_false(hub_has_keys(world->hub) || hub_ready(world->hub));
    world->auth.no_keys = false;
    for (int i = 0; i < 40 && !hub_has_keys(world->hub); i++) {
        world_advance(world, 100000); /* asked again after a second */
    }
    assert_int_equal(check(world, token, &claims), REASON_OK);
    assert_int_equal(world->auth.snapshots, 2);
    world_finish(world);
}

static void a_revocation_ends_open_sessions_and_refuses_the_token(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    char token[1024], other[1024];
    struct token_claims claims;
    make(world, "u_ann", "d_1", token);
    make(world, "u_ann", "d_2", other);
    struct client *one = client_open(world, "u_ann", "d_1");
    struct client *two = client_open(world, "u_ann", "d_2");
    struct client *bob = client_open(world, "u_bob", "d_3");
    Pipit__Revocation device = revocation("u_ann", "d_1", "");
    auth_publish(&world->auth, &device, false);
    UNTIL(world, one->ended == 1);
    assert_int_equal(one->end_reason, REASON_TOKEN_REVOKED);
    assert_int_equal(check(world, token, &claims), REASON_TOKEN_REVOKED);
    assert_int_equal(check(world, other, &claims), REASON_OK);
    Pipit__Revocation all = revocation("u_ann", "", "");
    all.disabled = true;
    auth_publish(&world->auth, &all, false);
    UNTIL(world, two->ended == 1);
    assert_int_equal(two->end_reason, REASON_DISABLED);
    assert_int_equal(check(world, other, &claims), REASON_DISABLED);
    assert_int_equal(bob->ended, 0);
    client_close(one);
    client_close(two);
    client_close(bob);
    world_finish(world);
}

static void a_password_change_spares_its_own_device(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    struct client *one = client_open(world, "u_ann", "d_1");
    struct client *two = client_open(world, "u_ann", "d_2");
    Pipit__Revocation others = revocation("u_ann", "", "d_1");
    auth_publish(&world->auth, &others, false);
    UNTIL(world, two->ended == 1);
    assert_int_equal(one->ended, 0);
    client_close(one);
    client_close(two);
    world_finish(world);
}

/* The event was lost with its stream: the snapshot has it. */
static void stream_trouble_fetches_the_revocations(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    struct client *one = client_open(world, "u_ann", "d_1");
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    world_advance(world, 2000000);
    world->auth.revocations[0] = revocation("u_ann", "", "");
    world->auth.revocation_count = 1;
    char pub[BUS_URL_BYTES];
    assert_int_equal(bus_url_derive(world->auth_address, BUS_URL_PUB, pub), ERR_OK);
    stream_publisher_destroy(&world->auth.publisher);
    assert_int_equal(
        stream_publisher_create(world->loop, world->bus, pub, 4, &world->auth.publisher), ERR_OK);
    for (int i = 0; i < 400 && one->ended == 0; i++) {
        world_advance(world, 100000);
    }
    assert_int_equal(one->end_reason, REASON_TOKEN_REVOKED);
    client_close(one);
    world_finish(world);
}

static void an_expired_token_ends_its_session_within_a_second(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    struct client *ann = client_begin(world, "u_ann", "d_1", false, false);
    struct client *bob = client_begin(world, "u_bob", "d_2", false, false);
    for (int i = 0; i < 60 && (ann->opened == 0 || bob->opened == 0); i++) {
        world_advance(world, 50000);
    }
    struct token_claims claims = claims_of("u_ann", "d_1");
    claims.expires_ms = clock_wall_ms() + 3000;
    assert_int_equal(session_renew(&ann->session, &claims), REASON_OK);
    strcpy(claims.user, "u_bob");
    strcpy(claims.device, "d_2");
    assert_int_equal(session_renew(&bob->session, &claims), REASON_OK);
    world_advance(world, 2000000);
    claims.expires_ms = clock_wall_ms() + 2000000u; /* more than a turn of the wheel away */
    assert_int_equal(session_renew(&bob->session, &claims), REASON_OK);
    world_advance(world, 900000);
    assert_int_equal(ann->ended, 0);
    world_advance(world, 1400000);
    assert_int_equal(ann->ended, 1);
    assert_int_equal(ann->end_reason, REASON_TOKEN_EXPIRED);
    clock_fake_advance_us(1800000000u); /* the clock jumps by more than a turn of the wheel */
    world_advance(world, 1000000);
    assert_int_equal(bob->ended, 0);
    clock_fake_advance_us(201000000u);
    world_advance(world, 1000000);
    assert_int_equal(bob->ended, 1);
    client_close(ann);
    client_close(bob);
    world_finish(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_token_is_checked_once_and_then_known),
        cmocka_unit_test(a_known_token_expires_all_the_same),
        cmocka_unit_test(an_unknown_key_is_fetched),
        cmocka_unit_test(auth_tells_of_new_keys),
        cmocka_unit_test(without_keys_nobody_gets_in_yet),
        cmocka_unit_test(a_revocation_ends_open_sessions_and_refuses_the_token),
        cmocka_unit_test(a_password_change_spares_its_own_device),
        cmocka_unit_test(stream_trouble_fetches_the_revocations),
        cmocka_unit_test(an_expired_token_ends_its_session_within_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
