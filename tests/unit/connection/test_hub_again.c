/* test_hub_again: routing instances that are lost, drain, or come back while submits are on their
 * way: nobody loses a message, its place, or the truth about it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/mem.h"
#include "services/connection/hub_metrics.h"
#include "services/connection/hub_private.h"
#include "services/connection/ingress_private.h"
#include "tests/unit/connection/hub_world.h"

#define SENT_MAX 400

struct scene {
    struct world *world;
    struct client *ann;
    struct stored_conversation *one;
    int owner, other; /* of c_one */
    size_t sent;
    uint8_t ids[SENT_MAX][16];
};

static void many(struct connection_settings *settings) {
    settings->inflight_per_session_max = SENT_MAX;
}

static void send_one(struct scene *scene) {
    assert_true(scene->sent < SENT_MAX);
    assert_int_equal(client_send(scene->ann, "c_one", scene->sent, scene->ids[scene->sent]),
                     ERR_OK);
    scene->sent++;
}

static struct routing_script *owner_of(struct scene *scene) {
    return &scene->world->routing[scene->owner];
}

static struct scene begin(int routings) {
    struct scene scene = {.world = world_start(routings, many)};
    scene.one = store_add(&scene.world->store, "c_one", "u_ann", "u_bob");
    scene.ann = client_open(scene.world, "u_ann", "d_1");
    send_one(&scene);
    UNTIL(scene.world, scene.ann->result_count == 1);
    scene.owner = scene.world->routing[0].submit_count == 1 ? 0 : 1;
    scene.other = 1 - scene.owner;
    return scene;
}

static void end(struct scene *scene) {
    client_close(scene->ann);
    world_finish(scene->world);
}

/* Every message was acknowledged with the seq of its place in the order of sending. */
static void check_order(struct scene *scene) {
    UNTIL(scene->world, scene->ann->result_count == scene->sent);
    for (size_t i = 0; i < scene->sent; i++) {
        const struct client_result *result = &scene->ann->results[i];
        assert_int_equal(result->reason, REASON_OK);
        assert_int_equal(result->seq, result->request + 1);
        assert_int_equal(store_seq_of(scene->one, scene->ids[i]), i + 1);
    }
    assert_int_equal(scene->one->head, scene->sent);
    assert_int_equal(scene->ann->session.unanswered, 0);
}

/* Several flights are out and more is collected behind them when something happens to it. */
static void fill(struct scene *scene) {
    struct routing_script *routing = owner_of(scene);
    routing->hold_submits = true;
    while (routing->held_count < 4) {
        size_t before = routing->held_count;
        for (int k = 0; k < 20; k++) {
            send_one(scene);
        }
        UNTIL(scene->world, routing->held_count > before);
    }
    for (int k = 0; k < 20; k++) {
        send_one(scene);
    }
}

/* As a process that dies with requests unanswered. */
static void crash(struct routing_script *routing) {
    bus_server_close(&routing->server);
    routing_kill(routing);
}

static void the_messages_of_a_dead_instance_keep_their_order(void **state) {
    (void)state;
    struct scene scene = begin(2);
    uint64_t retries = hub_metrics.retries.value;
    fill(&scene);
    bus_server_close(&owner_of(&scene)->server);
    for (int k = 0; k < 20; k++) { /* in the same turn: may not overtake */
        send_one(&scene);
    }
    check_order(&scene);
    assert_true(hub_metrics.retries.value > retries);
    assert_int_equal(scene.world->routing[scene.other].submit_count, scene.sent - 1);
    send_one(&scene); /* the other one is the owner now */
    check_order(&scene);
    end(&scene);
}

/* They had been stored before their instance died: their ids are found. */
static void what_was_stored_is_not_stored_again(void **state) {
    (void)state;
    struct scene scene = begin(2);
    fill(&scene);
    for (size_t i = 1; i <= 50; i++) {
        (void)store_append(scene.one, "u_ann", "d_1", scene.ids[i]);
    }
    bus_server_close(&owner_of(&scene)->server);
    check_order(&scene);
    end(&scene);
}

/* Whichever allocation of the move fails: it goes on later, and nothing is out of order. */
static void a_move_survives_lack_of_memory(void **state) {
    (void)state;
    for (uint64_t nth = 1; nth <= 5; nth++) { /* later ones are the script's */
        struct scene scene = begin(2);
        fill(&scene);
        bus_server_close(&owner_of(&scene)->server);
        (void)mem_fault_set(nth, 1);
        UNTIL(scene.world,
              scene.world->routing[scene.other].submit_count > 0 || scene.ann->result_count > 1);
        (void)mem_fault_set(0, 0);
        UNTIL(scene.world, scene.ann->result_count == scene.sent);
        uint64_t last = 0;
        for (size_t i = 0; i < scene.sent; i++) {
            const struct client_result *result = &scene.ann->results[i];
            assert_true(result->reason == REASON_OK || reason_retryable(result->reason));
            assert_true(result->reason != REASON_OK || result->seq > last);
            last = result->reason == REASON_OK ? result->seq : last;
        }
        end(&scene);
    }
}

static void a_refusal_of_the_second_one_is_no_refusal(void **state) {
    (void)state;
    struct scene scene = begin(2);
    owner_of(&scene)->hold_submits = true;
    scene.world->routing[scene.other].refuse_with = REASON_NOT_MEMBER;
    send_one(&scene);
    UNTIL(scene.world, owner_of(&scene)->held_count == 1);
    bus_server_close(&owner_of(&scene)->server);
    UNTIL(scene.world, scene.ann->result_count == 2);
    assert_int_equal(scene.ann->results[1].reason,
                     REASON_TIMEOUT); /* the first may have stored it */
    send_one(&scene);
    UNTIL(scene.world, scene.ann->result_count == 3);
    assert_int_equal(scene.ann->results[2].reason, REASON_NOT_MEMBER); /* was asked alone */
    end(&scene);
}

/* One instance only, and it is back in a moment: clients see a delay. */
static void the_same_instance_gets_them_again(void **state) {
    (void)state;
    struct scene scene = begin(1);
    fill(&scene);
    crash(&scene.world->routing[0]);
    UNTIL(scene.world, !hub_has_routing(scene.world->hub));
    uint8_t id[16];
    assert_int_equal(client_send(scene.ann, "c_new", 999, id), ERR_UNAVAILABLE);
    send_one(&scene); /* behind the others */
    scene.world->routing[0].hold_submits = false;
    routing_open(&scene.world->routing[0]);
    check_order(&scene);
    end(&scene);
}

static void without_any_instance_the_outcome_is_unknown(void **state) {
    (void)state;
    struct scene scene = begin(1);
    fill(&scene);
    crash(&scene.world->routing[0]);
    UNTIL(scene.world, !hub_has_routing(scene.world->hub));
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    world_advance(scene.world, HUB_AGAIN_US / 2);
    assert_int_equal(scene.ann->result_count, 1);
    world_advance(scene.world, HUB_AGAIN_US / 2 + 500000u);
    UNTIL(scene.world, scene.ann->result_count == scene.sent);
    for (size_t i = 1; i < scene.sent; i++) {
        assert_int_equal(scene.ann->results[i].reason, REASON_TIMEOUT);
    }
    assert_int_equal(scene.ann->session.unanswered, 0);
    end(&scene);
}

/* Told to be too old, but not yet answered, when another instance comes up: it goes nowhere. */
static void what_waited_for_too_long_moves_nowhere(void **state) {
    (void)state;
    struct scene scene = begin(2);
    struct hub *hub = scene.world->hub;
    fill(&scene);
    bus_server_close(&scene.world->routing[0].server);
    bus_server_close(&scene.world->routing[1].server);
    UNTIL(scene.world, !hub_has_routing(hub));
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    clock_fake_advance_us(HUB_AGAIN_US + 1000000u);
    UNTIL(scene.world, hub->ingress->failed.count > 0);
    struct list_node *node = list_first(&hub->peers);
    struct hub_peer *returned = NULL;
    for (; node != NULL; node = list_next(&hub->peers, node)) {
        struct hub_peer *peer = CONTAINER_OF(node, struct hub_peer, node);
        if (peer->ingress->returned.count > 0) {
            returned = peer;
        } else {
            peer->peer->up = true;
        }
    }
    assert_non_null(returned);
    hub_ingress_flush(hub);
    assert_int_equal(returned->ingress->returned.count, 0);
    for (node = list_first(&hub->peers); node != NULL; node = list_next(&hub->peers, node)) {
        CONTAINER_OF(node, struct hub_peer, node)->peer->up = false;
    }
    assert_int_equal(hub->ingress->failed.count, scene.sent - 1);
    world_advance(scene.world, 10000);
    UNTIL(scene.world, scene.ann->result_count == scene.sent);
    for (size_t i = 1; i < scene.sent; i++) {
        assert_int_equal(scene.ann->results[i].reason, REASON_TIMEOUT);
    }
    end(&scene);
}

/* --- drain */

static void publish_draining(struct routing_script *routing) {
    Pipit__Delivery delivery = PIPIT__DELIVERY__INIT;
    delivery.event_case = PIPIT__DELIVERY__EVENT_DRAINING;
    delivery.draining = true;
    routing_publish(routing, &delivery);
}

/* Refused by the one that goes, stored by the one that stays; then the first is released. */
static void refused_by_a_drain_is_stored_elsewhere(void **state) {
    (void)state;
    struct scene scene = begin(2);
    fill(&scene);
    owner_of(&scene)->draining = true;
    routing_release(owner_of(&scene));
    check_order(&scene);
    UNTIL(scene.world, owner_of(&scene)->releases > 0);
    assert_int_equal(scene.world->routing[scene.other].releases, 0);
    size_t seen = owner_of(&scene)->submit_count;
    send_one(&scene);
    check_order(&scene);
    assert_int_equal(owner_of(&scene)->submit_count, seen); /* nothing goes there any more */
    end(&scene);
}

/* It answers what it has: nothing overtakes that on the way to the new owner. */
static void a_drain_that_is_announced_moves_nothing_early(void **state) {
    (void)state;
    struct scene scene = begin(2);
    fill(&scene);
    owner_of(&scene)->draining = true; /* in answers to updates, too */
    publish_draining(owner_of(&scene));
    world_fence(scene.world, scene.owner, scene.ann, "c_one");
    for (int k = 0; k < 20; k++) {
        send_one(&scene);
        world_turn(scene.world);
    }
    assert_int_equal(owner_of(&scene)->releases, 0);
    assert_int_equal(scene.world->routing[scene.other].submit_count, 0);
    owner_of(&scene)->draining = false; /* what it has it finishes */
    routing_release(owner_of(&scene));
    owner_of(&scene)->draining = true;
    check_order(&scene);
    assert_true(scene.world->routing[scene.other].submit_count >= 20);
    UNTIL(scene.world, owner_of(&scene)->releases > 0);
    end(&scene);
}

/* The announcement of a former life that was heard late is set right by the next answer. */
static void a_drain_that_is_over_is_forgotten(void **state) {
    (void)state;
    struct scene scene = begin(2);
    uint64_t began_us = world_real_us();
    UNTIL(scene.world, world_real_us() - began_us > 200000); /* no answer of before is on its way */
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    owner_of(&scene)->hold_interest = true;
    publish_draining(owner_of(&scene));
    world_fence(scene.world, scene.owner, scene.ann, "c_one");
    size_t seen = owner_of(&scene)->submit_count;
    send_one(&scene);
    check_order(&scene);
    assert_int_equal(owner_of(&scene)->submit_count, seen);
    routing_release(owner_of(&scene));
    world_advance(scene.world, 3000000); /* an empty update keeps the lease */
    send_one(&scene);
    check_order(&scene);
    assert_int_equal(owner_of(&scene)->submit_count, seen + 1);
    end(&scene);
}

/* --- owners that change */

/* An instance is added while messages are on their way to the one that was the owner so far. */
static void an_owner_that_comes_waits_for_its_turn(void **state) {
    (void)state;
    struct scene scene = begin(2);
    crash(owner_of(&scene));
    uint64_t boots = hub_metrics.troubles[HUB_TROUBLE_BOOT].value;
    struct routing_script *interim = &scene.world->routing[scene.other];
    send_one(&scene);
    check_order(&scene);
    interim->hold_submits = true;
    send_one(&scene);
    UNTIL(scene.world, interim->held_count == 1);
    routing_open(owner_of(&scene));
    UNTIL(scene.world, hub_metrics.troubles[HUB_TROUBLE_BOOT].value > boots);
    UNTIL(scene.world, owner_of(&scene)->endpoint != 0);
    size_t seen = owner_of(&scene)->submit_count;
    for (int k = 0; k < 5; k++) {
        send_one(&scene);
        world_turn(scene.world);
    }
    assert_int_equal(owner_of(&scene)->submit_count, seen);
    routing_release(interim);
    check_order(&scene);
    send_one(&scene);
    check_order(&scene);
    assert_int_equal(owner_of(&scene)->submit_count, seen + 1); /* nothing was on its way */
    end(&scene);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_messages_of_a_dead_instance_keep_their_order),
        cmocka_unit_test(what_was_stored_is_not_stored_again),
        cmocka_unit_test(a_move_survives_lack_of_memory),
        cmocka_unit_test(a_refusal_of_the_second_one_is_no_refusal),
        cmocka_unit_test(the_same_instance_gets_them_again),
        cmocka_unit_test(without_any_instance_the_outcome_is_unknown),
        cmocka_unit_test(what_waited_for_too_long_moves_nowhere),
        cmocka_unit_test(refused_by_a_drain_is_stored_elsewhere),
        cmocka_unit_test(a_drain_that_is_announced_moves_nothing_early),
        cmocka_unit_test(a_drain_that_is_over_is_forgotten),
        cmocka_unit_test(an_owner_that_comes_waits_for_its_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
