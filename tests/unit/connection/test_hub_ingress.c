/* test_hub_ingress: what clients send: batches, results, and what happens when nobody answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proto/names.h"
#include "services/connection/hub_metrics.h"
#include "services/connection/ingress.h"
#include "tests/unit/connection/hub_world.h"

static struct world *start(int routing_count, world_change_fn change, struct client **ann) {
    struct world *world = world_start(routing_count, change);
    store_add(&world->store, "c_one", "u_ann", "u_bob");
    *ann = client_open(world, "u_ann", "d_1");
    UNTIL(world, world->routing[0].batches + world->routing[1].batches == 1); /* presence */
    return world;
}

static void each_submit_has_one_result(void **state) {
    (void)state;
    struct client *ann = NULL;
    struct world *world = start(1, NULL, &ann);
    for (uint64_t i = 0; i < 50; i++) {
        assert_int_equal(client_send(ann, "c_one", 100 + i, NULL), ERR_OK);
    }
    assert_int_equal(client_send(ann, "c_else", 1, NULL), ERR_OK);
    assert_int_equal(ann->result_count, 0); /* never inside the call */
    UNTIL(world, ann->result_count == 51);
    for (uint64_t i = 0; i < 50; i++) {
        assert_true(ann->results[i].request == 100 + i && ann->results[i].seq == i + 1);
        assert_int_equal(ann->results[i].reason, REASON_OK);
        assert_string_equal(ann->results[i].conversation, "c_one");
    }
    assert_int_equal(ann->results[50].reason, REASON_NOT_MEMBER);
    assert_int_equal(ann->session.unanswered, 0);
    client_close(ann);
    world_finish(world);
}

static void what_comes_while_one_flies_travels_together(void **state) {
    (void)state;
    struct client *ann = NULL;
    struct world *world = start(1, NULL, &ann);
    struct routing_script *routing = &world->routing[0];
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    world_advance(world, 50000);
    routing->hold_submits = true;
    assert_int_equal(client_send(ann, "c_one", 1, NULL), ERR_OK);
    UNTIL(world, routing->held_count == 1); /* at once */
    for (uint64_t i = 2; i <= 40; i++) {
        assert_int_equal(client_send(ann, "c_one", i, NULL), ERR_OK);
        world_turn(world);
    }
    assert_int_equal(routing->held_count, 1); /* collecting: time stands still */
    world_advance(world, 1000);
    UNTIL(world, routing->held_count == 2); /* the beat */
    routing_release(routing);
    UNTIL(world, ann->result_count == 40);
    assert_int_equal(routing->batches, 3);
    client_close(ann);
    world_finish(world);
}

static void the_answer_sends_the_next_batch(void **state) {
    (void)state;
    struct client *ann = NULL;
    struct world *world = start(1, NULL, &ann);
    struct routing_script *routing = &world->routing[0];
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    world_advance(world, 50000);
    routing->hold_submits = true;
    assert_int_equal(client_send(ann, "c_one", 1, NULL), ERR_OK);
    UNTIL(world, routing->held_count == 1);
    assert_int_equal(client_send(ann, "c_one", 2, NULL), ERR_OK);
    world_turn(world);
    routing_release(routing); /* no time passes */
    UNTIL(world, ann->result_count == 2);
    client_close(ann);
    world_finish(world);
}

static void many(struct connection_settings *settings) {
    settings->inflight_per_session_max = 100000;
    settings->messages_per_second = 0;
}

static void more_than_fits_is_refused_retryably(void **state) {
    (void)state;
    struct client *ann = NULL;
    struct world *world = start(1, many, &ann);
    struct routing_script *routing = &world->routing[0];
    routing->hold_submits = true;
    size_t sent = 0;
    enum err error = ERR_OK;
    while ((error = client_send(ann, "c_one", 1, NULL)) == ERR_OK) {
        sent++;
    }
    assert_int_equal(error, ERR_UNAVAILABLE);
    assert_true(sent >= HUB_BATCH_SUBMITS_MAX);
    UNTIL(world, routing->held_count == HUB_FLIGHTS_PER_PEER_MAX);
    routing_release(routing);
    UNTIL(world, ann->result_count == sent);
    assert_int_equal(client_send(ann, "c_one", 1, NULL), ERR_OK);
    client_close(ann);
    world_finish(world);
}

static void everything_of_a_submit_travels(void **state) {
    (void)state;
    struct client *ann = NULL;
    struct world *world = start(1, NULL, &ann);
    uint8_t id[16];
    id_uuid7_make(clock_wall_ms(), id);
    struct session_submit submit = {.request = 1,
                                    .to_user = "u_bob",
                                    .kind = FRAME_EVENT_MSG,
                                    .id = id,
                                    .reply_seq = 3,
                                    .body = (const uint8_t *)"{}",
                                    .body_bytes = 2,
                                    .from_mqtt = true,
                                    .packet_id = 77,
                                    .maybe_copy = true};
    uint32_t retry_ms = 0;
    assert_int_equal(session_submit(&ann->session, &submit, &retry_ms), ERR_OK);
    UNTIL(world, world->routing[0].submit_count == 1);
    const struct seen_submit *seen = &world->routing[0].submits[0];
    assert_string_equal(seen->user, "u_ann");
    assert_string_equal(seen->device, "d_1");
    assert_string_equal(seen->conversation, "");
    assert_string_equal(seen->to_user, "u_bob");
    assert_string_equal(seen->body, "{}");
    assert_memory_equal(seen->id, id, 16);
    assert_true(seen->session == ann->session.id && seen->from_mqtt && seen->maybe_copy);
    submit.to_user = NULL;
    assert_int_equal(session_submit(&ann->session, &submit, &retry_ms), ERR_INVALID);
    submit.to_user = "bob\n";
    assert_int_equal(session_submit(&ann->session, &submit, &retry_ms), ERR_INVALID);
    client_close(ann);
    world_finish(world);
}

/* By name or by conversation, a direct message goes to the same owner. */
static void one_conversation_has_one_owner(void **state) {
    (void)state;
    struct client *ann = NULL;
    struct world *world = start(2, many, &ann);
    size_t used[2] = {0, 0};
    for (int i = 0; i < 16; i++) {
        char other[16], direct[64];
        (void)snprintf(other, sizeof other, "u_user%d", i);
        assert_int_equal(names_direct_conversation("u_ann", other, direct), ERR_OK);
        size_t before[2] = {world->routing[0].submit_count, world->routing[1].submit_count};
        uint8_t id[16];
        id_uuid7_make(clock_wall_ms(), id);
        struct session_submit submit = {.to_user = other, .id = id, .body = (const uint8_t *)"{}"};
        uint32_t retry_ms = 0;
        assert_int_equal(session_submit(&ann->session, &submit, &retry_ms), ERR_OK);
        assert_int_equal(client_send(ann, direct, 2, NULL), ERR_OK);
        UNTIL(world, ann->result_count == (size_t)(2 * i + 2));
        for (int k = 0; k < 2; k++) {
            size_t got = world->routing[k].submit_count - before[k];
            assert_true(got == 0 || got == 2);
            used[k] += got;
        }
    }
    assert_true(used[0] > 0 && used[1] > 0);
    client_close(ann);
    world_finish(world);
}

static void short_timeout(struct connection_settings *settings) {
    settings->bus.timeout_us = 100000;
}

static void an_instance_that_hangs_times_out(void **state) {
    (void)state;
    struct client *ann = NULL;
    struct world *world = start(1, short_timeout, &ann);
    world->routing[0].hold_submits = true;
    assert_int_equal(client_send(ann, "c_one", 1, NULL), ERR_OK);
    UNTIL(world, ann->result_count == 1);
    assert_int_equal(ann->results[0].reason, REASON_TIMEOUT);
    client_close(ann);
    world_finish(world);
}

static void an_answer_that_cannot_be_read_is_unknown_too(void **state) {
    (void)state;
    struct client *ann = NULL;
    struct world *world = start(1, NULL, &ann);
    world->routing[0].hold_submits = true;
    assert_int_equal(client_send(ann, "c_one", 1, NULL), ERR_OK);
    UNTIL(world, world->routing[0].held_count > 0);
    routing_spoil_held(&world->routing[0]);
    UNTIL(world, ann->result_count == 1);
    assert_int_equal(ann->results[0].reason, REASON_TIMEOUT);
    client_close(ann);
    world_finish(world);
}

static void slow(struct connection_settings *settings) {
    settings->messages_per_second = 10;
    settings->messages_burst = 5;
}

static void the_rate_of_a_user_is_bounded(void **state) {
    (void)state;
    struct client *ann = NULL;
    struct world *world = start(1, slow, &ann);
    struct client *tablet = client_open(world, "u_ann", "d_2");
    struct client *bob = client_open(world, "u_bob", "d_3");
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    world_advance(world, 1000000);
    for (uint64_t i = 0; i < 5; i++) {
        assert_int_equal(client_send(i % 2 == 0 ? ann : tablet, "c_one", i, NULL), ERR_OK);
    }
    uint8_t id[16] = {0};
    struct session_submit submit = {
        .conversation = "c_one", .id = id, .body = (const uint8_t *)"{}"};
    uint32_t retry_ms = 0;
    assert_int_equal(session_submit(&ann->session, &submit, &retry_ms), ERR_RATE_LIMITED);
    assert_true(retry_ms > 0 && retry_ms <= 100);
    assert_int_equal(session_submit(&tablet->session, &submit, &retry_ms), ERR_RATE_LIMITED);
    assert_int_equal(client_send(bob, "c_one", 9, NULL), ERR_OK); /* another user's bucket */
    world_advance(world, 100000);
    assert_int_equal(client_send(ann, "c_one", 6, NULL), ERR_OK);
    client_close(ann);
    client_close(tablet);
    client_close(bob);
    world_finish(world);
}

static void few_in_flight(struct connection_settings *settings) {
    settings->inflight_per_session_max = 3;
}

static void unanswered_submits_of_a_session_are_bounded(void **state) {
    (void)state;
    struct client *ann = NULL;
    struct world *world = start(1, few_in_flight, &ann);
    world->routing[0].hold_submits = true;
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(client_send(ann, "c_one", i, NULL), ERR_OK);
    }
    assert_int_equal(client_send(ann, "c_one", 3, NULL), ERR_FULL);
    UNTIL(world, world->routing[0].held_count > 0);
    routing_release(&world->routing[0]);
    UNTIL(world, ann->result_count > 0);
    assert_int_equal(client_send(ann, "c_one", 4, NULL), ERR_OK);
    UNTIL(world, ann->result_count == 4);
    client_close(ann);
    world_finish(world);
}

static void a_closed_session_gets_no_result(void **state) {
    (void)state;
    struct client *ann = NULL;
    struct world *world = start(1, NULL, &ann);
    struct client *bob = client_open(world, "u_bob", "d_3");
    world->routing[0].hold_submits = true;
    assert_int_equal(client_send(ann, "c_one", 1, NULL), ERR_OK);
    UNTIL(world, world->routing[0].held_count > 0);
    session_close(&ann->session);
    routing_release(&world->routing[0]);
    UNTIL(world, bob->message_count == 1); /* stored all the same */
    world_fence(world, 0, bob, "c_one");
    assert_int_equal(ann->result_count, 0);
    assert_int_equal(client_send(ann, "c_one", 1, NULL), ERR_CLOSED);
    free(ann);
    client_close(bob);
    world_finish(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_submit_has_one_result),
        cmocka_unit_test(what_comes_while_one_flies_travels_together),
        cmocka_unit_test(the_answer_sends_the_next_batch),
        cmocka_unit_test(more_than_fits_is_refused_retryably),
        cmocka_unit_test(everything_of_a_submit_travels),
        cmocka_unit_test(one_conversation_has_one_owner),
        cmocka_unit_test(an_instance_that_hangs_times_out),
        cmocka_unit_test(an_answer_that_cannot_be_read_is_unknown_too),
        cmocka_unit_test(the_rate_of_a_user_is_bounded),
        cmocka_unit_test(unanswered_submits_of_a_session_are_bounded),
        cmocka_unit_test(a_closed_session_gets_no_result),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
