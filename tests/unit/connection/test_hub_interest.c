/* test_hub_interest: every routing instance knows what the hub cares about, and the hub knows it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "services/connection/interest.h"
#include "tests/unit/connection/hub_world.h"

static void an_empty_update_keeps_the_lease(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    world_advance(world, HUB_INTEREST_LEASE_US * 4 + 500000);
    assert_in_range(world->routing[0].empty_updates, 3, 5);
    assert_int_equal(world->routing[0].snapshots, 1);
    world_finish(world);
}

static void changes_collect_while_one_flies(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    struct client *first = client_open(world, "u_first", "d_1");
    unsigned updates = world->routing[0].updates;
    world->routing[0].hold_interest = true;
    struct client *clients[20];
    for (int i = 0; i < 20; i++) {
        char user[16];
        (void)snprintf(user, sizeof user, "u_%d", i);
        clients[i] = client_begin(world, user, "d_1", false, false);
        world_turn(world);
    }
    UNTIL(world, world->routing[0].held_count == 1);
    session_close(&clients[3]->session); /* came and went within the same update */
    routing_release(&world->routing[0]);
    for (int i = 0; i < 20; i++) {
        UNTIL(world, i == 3 || clients[i]->opened == 1);
        client_close(clients[i]);
    }
    assert_true(world->routing[0].updates - updates <= 4);
    client_close(first);
    UNTIL(world, world->routing[0].session_count == 0);
    world_finish(world);
}

static void a_snapshot_is_sent_when_asked_for(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    store_add(&world->store, "c_one", "u_ann", "u_bob");
    struct client *ann = client_open(world, "u_ann", "d_1");
    struct routing_script *routing = &world->routing[0];
    routing->ask_snapshot = true;
    store_add(&world->store, "c_two", "u_bob", NULL);
    struct client *bob = client_open(world, "u_bob", "d_2"); /* its update is answered so */
    assert_int_equal(routing->snapshots, 2);
    assert_true(routing_interested(routing, "c_one") && routing_interested(routing, "c_two"));
    assert_int_equal(routing->session_count, 2);
    client_close(ann);
    client_close(bob);
    world_finish(world);
}

/* Routing had forgotten us; its stream looks as if nothing had happened. */
static void what_was_missed_before_a_snapshot_is_fetched(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    struct stored_conversation *one = store_add(&world->store, "c_one", "u_ann", "u_bob");
    struct client *ann = client_open(world, "u_ann", "d_1");
    UNTIL(world, world->store.heads > 0); /* compared after attaching */
    store_append(one, "u_bob", "d_2", NULL);
    world->routing[0].ask_snapshot = true;
    struct client *bob = client_open(world, "u_bob", "d_2");
    UNTIL(world, ann->message_count == 1);
    client_close(ann);
    client_close(bob);
    world_finish(world);
}

static void a_lost_update_is_replaced_by_a_snapshot(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    struct routing_script *routing = &world->routing[0];
    routing->hold_interest = true;
    struct client *ann = client_begin(world, "u_ann", "d_1", false, false);
    UNTIL(world, routing->held_count == 1);
    routing->hold_interest = false;
    routing_spoil_held(routing);
    UNTIL(world, ann->opened == 1);
    assert_int_equal(routing->snapshots, 2);
    assert_int_equal(routing->session_count, 1);
    client_close(ann);
    world_finish(world);
}

static void small_messages(struct connection_settings *settings) {
    settings->bus.message_bytes_max = 64u * 1024u;
}

/* 2,000 conversations of 40 bytes do not fit into half of 64 KiB. */
static void a_large_snapshot_comes_in_parts(void **state) {
    (void)state;
    struct world *world = world_start(1, small_messages);
    for (int i = 0; i < 2000; i++) {
        char id[48];
        (void)snprintf(id, sizeof id, "c_conversation-with-a-long-name-%07d", i);
        store_add(&world->store, id, "u_ann", NULL);
    }
    struct client *ann = client_open(world, "u_ann", "d_1");
    struct routing_script *routing = &world->routing[0];
    assert_int_equal(routing->conversation_count, 2000);
    unsigned updates = routing->updates;
    routing->ask_snapshot = true;
    struct client *bob = client_open(world, "u_bob", "d_2");
    assert_int_equal(routing->conversation_count, 2000);
    assert_int_equal(routing->session_count, 2);
    assert_int_equal(routing->snapshots, 2);
    assert_true(routing->updates - updates >= 4);
    client_close(ann);
    client_close(bob);
    world_finish(world);
}

/* More changes than the log keeps, while the instance does not answer: a snapshot tells them. */
static void an_overrun_log_ends_in_a_snapshot(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    struct routing_script *routing = &world->routing[0];
    store_add(&world->store, "c_one", "u_ann", "u_bob");
    struct client *ann = client_open(world, "u_ann", "d_1");
    routing->hold_interest = true;
    struct client *late = client_begin(world, "u_bob", "d_2", false, false);
    UNTIL(world, routing->held_count == 1);
    struct session brief = {0};
    struct token_claims claims = claims_of("u_eve", "d_3");
    struct session_open open = {.claims = &claims, .device = "d_3"};
    for (int i = 0; i < HUB_INTEREST_LOG_MAX; i++) { /* two changes each */
        assert_int_equal(session_open(world->hub, &brief, &ws_ops, &open), ERR_OK);
        session_close(&brief);
    }
    routing_release(routing);
    UNTIL(world, late->opened == 1);
    UNTIL(world, routing->snapshots == 2);
    UNTIL(world, routing->session_count == 2 && routing_interested(routing, "c_one"));
    client_close(ann);
    client_close(late);
    world_finish(world);
}

/* An instance that comes later knows everything before its deliveries are relied on. */
static void a_second_instance_gets_a_snapshot(void **state) {
    (void)state;
    struct world *world = world_start(2, NULL);
    store_add(&world->store, "c_one", "u_ann", "u_bob");
    routing_kill(&world->routing[1]);
    struct client *ann = client_open(world, "u_ann", "d_1");
    struct client *bob = client_open(world, "u_bob", "d_2");
    assert_true(routing_interested(&world->routing[0], "c_one"));
    routing_open(&world->routing[1]);
    UNTIL(world, routing_interested(&world->routing[1], "c_one"));
    assert_int_equal(world->routing[1].session_count, 2);
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(client_send(ann, "c_one", i, NULL), ERR_OK);
    }
    UNTIL(world, bob->message_count == 8);
    assert_dense(bob, "c_one", 1, 8);
    client_close(ann);
    client_close(bob);
    world_finish(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_update_keeps_the_lease),
        cmocka_unit_test(changes_collect_while_one_flies),
        cmocka_unit_test(a_snapshot_is_sent_when_asked_for),
        cmocka_unit_test(what_was_missed_before_a_snapshot_is_fetched),
        cmocka_unit_test(a_lost_update_is_replaced_by_a_snapshot),
        cmocka_unit_test(a_large_snapshot_comes_in_parts),
        cmocka_unit_test(an_overrun_log_ends_in_a_snapshot),
        cmocka_unit_test(a_second_instance_gets_a_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
