/* test_hub_delivery: what sessions see is dense, in order and allowed, whatever the streams do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/mem.h"
#include "services/connection/egress.h"
#include "tests/unit/connection/hub_world.h"

struct pair {
    struct world *world;
    struct routing_script *routing;
    struct stored_conversation *one;
    struct client *ann, *bob;
};

static struct pair pair_start(int routing_count) {
    struct pair pair = {.world = world_start(routing_count, NULL)};
    pair.routing = &pair.world->routing[0];
    pair.one = store_add(&pair.world->store, "c_one", "u_ann", "u_bob");
    pair.ann = client_open(pair.world, "u_ann", "d_1");
    pair.bob = client_open(pair.world, "u_bob", "d_2");
    return pair;
}
static void pair_finish(struct pair *pair) {
    client_close(pair->ann);
    client_close(pair->bob);
    world_finish(pair->world);
}
static void append(struct pair *pair, int count) {
    for (int i = 0; i < count; i++) {
        store_append(pair->one, "u_bob", "d_9", NULL);
    }
}

static void messages_reach_all_but_the_sending_session(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    struct client *tablet = client_open(pair.world, "u_ann", "d_3");
    uint8_t id[16];
    assert_int_equal(client_send(pair.ann, "c_one", 7, id), ERR_OK);
    UNTIL(pair.world, pair.bob->message_count == 1 && tablet->message_count == 1);
    UNTIL(pair.world, pair.ann->result_count == 1);
    assert_int_equal(pair.ann->results[0].reason, REASON_OK);
    assert_true(pair.ann->results[0].request == 7 && pair.ann->results[0].seq == 1);
    assert_memory_equal(pair.bob->events[0].id, id, 16);
    assert_non_null(strstr(pair.bob->events[0].frame, "\"t\":\"msg\""));
    world_fence(pair.world, 0, pair.ann, "c_one");
    assert_int_equal(pair.ann->message_count, 0);
    client_close(tablet);
    pair_finish(&pair);
}

static void repeated_deliveries_are_handed_out_once(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    append(&pair, 2);
    routing_deliver(pair.routing, "c_one", 1, 0);
    routing_deliver(pair.routing, "c_one", 1, 0);
    routing_deliver(pair.routing, "c_one", 2, 0);
    routing_deliver(pair.routing, "c_one", 1, 0);
    world_fence(pair.world, 0, pair.bob, "c_one");
    assert_dense(pair.bob, "c_one", 1, 2);
    pair_finish(&pair);
}

static void a_lost_delivery_is_fetched_before_later_ones(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    uint64_t gaps = hub_metrics.gaps[HUB_GAP_SEQ].value;
    append(&pair, 5);
    routing_deliver(pair.routing, "c_one", 1, 0);
    routing_deliver(pair.routing, "c_one", 4, 0);
    routing_deliver(pair.routing, "c_one", 5, 0);
    UNTIL(pair.world, pair.bob->message_count == 5);
    assert_dense(pair.bob, "c_one", 1, 5);
    assert_true(hub_metrics.gaps[HUB_GAP_SEQ].value == gaps + 1);
    append(&pair, 1);
    routing_deliver(pair.routing, "c_one", 6, 0);
    UNTIL(pair.world, pair.bob->message_count == 6);
    assert_dense(pair.bob, "c_one", 1, 6);
    assert_dense(pair.ann, "c_one", 1, 6);
    pair_finish(&pair);
}

static void a_long_gap_is_fetched_in_pages(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    append(&pair, 700);
    routing_deliver(pair.routing, "c_one", 700, 0);
    UNTIL(pair.world, pair.bob->message_count == 700);
    assert_dense(pair.bob, "c_one", 1, 700);
    assert_true(pair.world->store.histories >= 3);
    pair_finish(&pair);
}

/* The owner changes: two instances deliver one conversation, the new one first. */
static void deliveries_of_two_instances_become_one_order(void **state) {
    (void)state;
    struct pair pair = pair_start(2);
    append(&pair, 4);
    routing_deliver(&pair.world->routing[1], "c_one", 3, 0);
    routing_deliver(&pair.world->routing[1], "c_one", 4, 0);
    world_fence(pair.world, 1, pair.ann, "c_one");
    routing_deliver(&pair.world->routing[0], "c_one", 1, 0);
    routing_deliver(&pair.world->routing[0], "c_one", 2, 0);
    world_fence(pair.world, 0, pair.ann, "c_one");
    UNTIL(pair.world, pair.bob->message_count == 4);
    assert_dense(pair.bob, "c_one", 1, 4);
    assert_dense(pair.ann, "c_one", 1, 4);
    pair_finish(&pair);
}

static void a_failed_repair_is_tried_again(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    append(&pair, 3);
    pair.routing->hold_history = true;
    routing_deliver(pair.routing, "c_one", 3, 0);
    UNTIL(pair.world, pair.routing->held_count == 1);
    routing_spoil_held(pair.routing);
    UNTIL(pair.world, pair.routing->held_count == 1); /* the next attempt */
    assert_int_equal(pair.bob->message_count, 0);
    append(&pair, 1);
    routing_deliver(pair.routing, "c_one", 4, 0); /* waits as well */
    world_fence(pair.world, 0, pair.bob, "c_one");
    assert_int_equal(pair.bob->message_count, 0);
    routing_release(pair.routing);
    UNTIL(pair.world, pair.bob->message_count == 4);
    assert_dense(pair.bob, "c_one", 1, 4);
    pair_finish(&pair);
}

static void own_messages_do_not_come_back_by_repair(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    pair.routing->no_publish = true;
    assert_int_equal(client_send(pair.ann, "c_one", 1, NULL), ERR_OK);
    UNTIL(pair.world, pair.ann->result_count == 1);
    append(&pair, 1);
    routing_deliver(pair.routing, "c_one", 2, 0);
    UNTIL(pair.world, pair.bob->message_count == 2 && pair.ann->message_count == 1);
    assert_dense(pair.bob, "c_one", 1, 2);
    assert_dense(pair.ann, "c_one", 2, 2);
    pair_finish(&pair);
}

static void a_restarted_instance_loses_nothing(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    append(&pair, 2);
    routing_deliver(pair.routing, "c_one", 1, 0);
    UNTIL(pair.world, pair.bob->message_count == 1);
    routing_kill(pair.routing); /* 2 is stored and was never published */
    UNTIL(pair.world, !hub_has_routing(pair.world->hub));
    append(&pair, 1);
    routing_open(pair.routing);
    UNTIL(pair.world, pair.bob->message_count == 3);
    assert_dense(pair.bob, "c_one", 1, 3);
    UNTIL(pair.world, routing_interested(pair.routing, "c_one"));
    assert_int_equal(pair.routing->session_count, 2);
    pair_finish(&pair);
}

static void a_gap_of_the_stream_compares_heads(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    uint64_t gaps = hub_metrics.troubles[HUB_TROUBLE_GAP].value;
    append(&pair, 1);
    /* Numbers of a topic that was closed are not used again: ours jumps. */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(stream_publish(pair.routing->publisher, 42, "x", 1), ERR_OK);
    }
    stream_topic_close(pair.routing->publisher, 42);
    stream_topic_close(pair.routing->publisher, pair.routing->endpoint);
    assert_int_equal(stream_topic_open(pair.routing->publisher, pair.routing->endpoint), ERR_OK);
    UNTIL(pair.world, pair.bob->message_count == 1);
    assert_true(hub_metrics.troubles[HUB_TROUBLE_GAP].value > gaps);
    pair_finish(&pair);
}

static void a_delivery_that_cannot_be_read_is_a_loss(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    append(&pair, 1);
    assert_int_equal(stream_publish(pair.routing->publisher, pair.routing->endpoint, "nonsense", 8),
                     ERR_OK);
    UNTIL(pair.world, pair.bob->message_count == 1);
    pair_finish(&pair);
}

/* Invariant I4: the change of members was lost or is late, the message is here. */
static void a_former_member_gets_nothing_even_if_the_change_is_late(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    store_set_member(pair.one, "u_ann", PIPIT__MEMBER_STATE__MEMBER_LEFT);
    append(&pair, 2);
    routing_deliver(pair.routing, "c_one", 1, 0);
    routing_deliver(pair.routing, "c_one", 2, 0);
    UNTIL(pair.world, pair.bob->message_count == 2);
    assert_dense(pair.bob, "c_one", 1, 2);
    assert_int_equal(pair.ann->message_count, 0);
    assert_int_equal(client_count(pair.ann, EVENT_CONVERSATION), 1); /* told that she left */
    assert_non_null(strstr(pair.ann->events[0].frame, "\"state\":\"left\""));
    assert_int_equal(session_mark(&pair.ann->session, "c_one", 1, 0), ERR_NOT_MEMBER);
    /* The event itself comes after all: told to those who are there, applied to nobody. */
    routing_deliver_change(pair.routing, "c_one", "u_ann");
    routing_deliver_change(pair.routing, "c_one", "u_ann");
    world_fence(pair.world, 0, pair.bob, "c_one");
    assert_int_equal(client_count(pair.bob, EVENT_CONVERSATION), 1);
    assert_int_equal(client_count(pair.ann, EVENT_CONVERSATION), 1);
    pair_finish(&pair);
}

/* The message was stored before the removal, is fetched after it: the removed one does not get it.
 */
static void a_repair_asks_who_is_a_member(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    append(&pair, 1);
    pair.routing->hold_history = true;
    routing_deliver(pair.routing, "c_one", 1, 0); /* handed out as it is */
    append(&pair, 2);
    routing_deliver(pair.routing, "c_one", 3, 0); /* 2 is missing */
    UNTIL(pair.world, pair.routing->held_count == 1);
    store_set_member(pair.one, "u_ann", PIPIT__MEMBER_STATE__MEMBER_LEFT);
    append(&pair, 1); /* after she left, and in the same page */
    routing_release(pair.routing);
    UNTIL(pair.world, pair.bob->message_count >= 3);
    assert_int_equal(pair.ann->message_count, 1);
    routing_deliver(pair.routing, "c_one", 4, 0);
    UNTIL(pair.world, pair.bob->message_count == 4);
    assert_dense(pair.bob, "c_one", 1, 4);
    assert_int_equal(pair.ann->message_count, 1);
    pair_finish(&pair);
}

static void leaving_is_told_and_takes_effect_at_once(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    store_set_member(pair.one, "u_ann", PIPIT__MEMBER_STATE__MEMBER_LEFT);
    routing_deliver_change(pair.routing, "c_one", "u_ann");
    append(&pair, 1);
    routing_deliver(pair.routing, "c_one", 1, 0);
    UNTIL(pair.world, pair.bob->message_count == 1);
    assert_int_equal(client_count(pair.ann, EVENT_CONVERSATION), 1);
    assert_int_equal(client_count(pair.bob, EVENT_CONVERSATION), 1);
    assert_int_equal(pair.ann->message_count, 0);
    assert_int_equal(pair.world->store.refreshes, 0); /* the event was enough */
    pair_finish(&pair);
}

static void a_new_member_sees_what_comes_after_joining(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    struct client *eve = client_open(pair.world, "u_eve", "d_5");
    append(&pair, 2);
    routing_deliver(pair.routing, "c_one", 1, 0);
    routing_deliver(pair.routing, "c_one", 2, 0);
    store_set_member(pair.one, "u_eve", PIPIT__MEMBER_STATE__MEMBER_ACTIVE);
    routing_deliver_change(pair.routing, "c_one", "u_eve");
    append(&pair, 1);
    routing_deliver(pair.routing, "c_one", 3, 0);
    UNTIL(pair.world, eve->message_count == 1);
    assert_dense(eve, "c_one", 3, 3);
    assert_non_null(strstr(eve->events[0].frame, "\"t\":\"conv\""));
    assert_non_null(strstr(pair.bob->events[2].frame, "\"t\":\"member\""));
    /* The event was lost, the message tells: */
    struct client *joe = client_open(pair.world, "u_joe", "d_6");
    store_set_member(pair.one, "u_joe", PIPIT__MEMBER_STATE__MEMBER_ACTIVE);
    append(&pair, 1);
    routing_deliver(pair.routing, "c_one", 4, 0);
    UNTIL(pair.world, joe->message_count == 1);
    assert_dense(joe, "c_one", 4, 4);
    client_close(eve);
    client_close(joe);
    pair_finish(&pair);
}

/* Routing does not know our interest yet when the first message comes. */
static void a_new_conversation_begins_with_its_first_message(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    struct stored_conversation *made = store_add(&pair.world->store, "c_new", "u_ann", "u_bob");
    routing_deliver_change(pair.routing, "c_new", "u_ann"); /* as of now: head 0 */
    store_append(made, "u_ann", "d_9", NULL);               /* and nobody tells */
    UNTIL(pair.world, pair.ann->message_count == 1);
    assert_dense(pair.ann, "c_new", 1, 1);
    UNTIL(pair.world, routing_interested(pair.routing, "c_new"));
    pair_finish(&pair);
}

static void lost_changes_are_found_by_reloading_everybody(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    struct stored_conversation *made = store_add(&pair.world->store, "c_new", "u_ann", "u_bob");
    store_append(made, "u_bob", "d_9", NULL);
    store_set_member(pair.one, "u_bob", PIPIT__MEMBER_STATE__MEMBER_LEFT);
    Pipit__Delivery delivery = PIPIT__DELIVERY__INIT;
    delivery.event_case = PIPIT__DELIVERY__EVENT_MEMBERS_UNCERTAIN;
    delivery.members_uncertain = true;
    routing_publish(pair.routing, &delivery);
    UNTIL(pair.world, pair.ann->message_count == 1 && pair.bob->message_count == 1);
    assert_dense(pair.ann, "c_new", 1, 1);
    UNTIL(pair.world, session_mark(&pair.bob->session, "c_one", 1, 0) == ERR_NOT_MEMBER);
    assert_int_equal(client_count(pair.bob, EVENT_CONVERSATION), 2); /* left one, got one */
    pair_finish(&pair);
}

static void a_restored_history_ends_the_sessions(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    append(&pair, 3);
    routing_deliver(pair.routing, "c_one", 3, 0);
    UNTIL(pair.world, pair.bob->message_count == 3);
    (void)snprintf(pair.world->store.epoch, sizeof pair.world->store.epoch, "e2");
    pair.one->head = 1; /* the backup is older */
    struct client *eve = client_begin(pair.world, "u_eve", "d_5", false, false);
    UNTIL(pair.world, pair.ann->ended == 1 && pair.bob->ended == 1 && eve->opened == 1);
    assert_int_equal(pair.ann->end_reason, REASON_DRAIN);
    assert_string_equal(hub_epoch(pair.world->hub), "e2");
    struct client *again = client_open(pair.world, "u_ann", "d_1");
    append(&pair, 1);
    routing_deliver(pair.routing, "c_one", 2, 0);
    UNTIL(pair.world, again->message_count == 1);
    assert_dense(again, "c_one", 2, 2);
    client_close(eve);
    client_close(again);
    pair_finish(&pair);
}

static void sessions_may_close_inside_their_callback(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    struct client *more[4];
    for (int i = 0; i < 4; i++) {
        char device[16];
        (void)snprintf(device, sizeof device, "d_%d", 10 + i);
        more[i] = client_open(pair.world, "u_ann", device);
        more[i]->close_on_event = i % 2 == 0;
    }
    pair.bob->close_on_event = true;
    append(&pair, 2);
    routing_deliver(pair.routing, "c_one", 1, 0);
    routing_deliver(pair.routing, "c_one", 2, 0);
    UNTIL(pair.world, pair.ann->message_count == 2 && more[1]->message_count == 2);
    assert_int_equal(more[0]->message_count, 1);
    assert_int_equal(more[2]->message_count, 1);
    assert_int_equal(more[3]->message_count, 2);
    assert_int_equal(pair.bob->message_count, 1);
    for (int i = 0; i < 4; i++) {
        client_close(more[i]);
    }
    pair_finish(&pair);
}

static void a_callback_may_close_another_session(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    struct client *next = client_open(pair.world, "u_ann", "d_10");
    struct client *last = client_open(pair.world, "u_ann", "d_11");
    pair.ann->closes = next; /* the one that comes right behind her */
    append(&pair, 1);
    routing_deliver(pair.routing, "c_one", 1, 0);
    UNTIL(pair.world, last->message_count == 1 && pair.bob->message_count == 1);
    assert_int_equal(next->message_count, 0);
    client_close(next);
    client_close(last);
    pair_finish(&pair);
}

/* What was lost before she joined is fetched after it, for the others. */
static void a_repair_gives_a_new_member_nothing_older(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    struct client *eve = client_open(pair.world, "u_eve", "d_5");
    append(&pair, 2);
    store_set_member(pair.one, "u_eve", PIPIT__MEMBER_STATE__MEMBER_ACTIVE);
    routing_deliver_change(pair.routing, "c_one", "u_eve");
    append(&pair, 1);
    routing_deliver(pair.routing, "c_one", 3, 0);
    UNTIL(pair.world, pair.bob->message_count == 3 && eve->message_count >= 1);
    assert_dense(pair.bob, "c_one", 1, 3);
    assert_dense(eve, "c_one", 3, 3);
    client_close(eve);
    pair_finish(&pair);
}

/* A reaction whose body nobody made is left out; what follows is not held up. */
static void a_damaged_row_is_left_out(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    append(&pair, 3);
    pair.one->messages[1].kind = PIPIT__MESSAGE_KIND__MESSAGE_REACT;
    for (uint64_t seq = 1; seq <= 3; seq++) {
        routing_deliver(pair.routing, "c_one", seq, 0);
    }
    UNTIL(pair.world, pair.bob->message_count == 2);
    assert_true(pair.bob->events[1].seq == 3);
    pair_finish(&pair);
}

/* The frame outgrows its buffer and there is no memory for a larger one: the message is late. The
 * delivery is handed to the hub directly, so that the fault is the hub's and nobody else's. */
static void without_memory_a_message_is_late_and_not_lost(void **state) {
    (void)state;
    struct pair pair = pair_start(1);
    uint64_t failed = hub_metrics.gaps[HUB_GAP_FAILED].value;
    append(&pair, 2);
    (void)snprintf(pair.one->messages[0].body, 1024, "{\"text\":\"%0*d\"}", 900, 1);
    Pipit__StoredMessage row;
    store_row(pair.one, 1, &row);
    Pipit__Delivery delivery = PIPIT__DELIVERY__INIT;
    delivery.event_case = PIPIT__DELIVERY__EVENT_MESSAGE;
    delivery.message = &row;
    delivery.members_version = pair.one->members_version;
    Pipit__Delivery *deliveries[1] = {&delivery};
    Pipit__DeliverBatch batch = PIPIT__DELIVER_BATCH__INIT;
    batch.n_deliveries = 1;
    batch.deliveries = deliveries;
    struct buf packed;
    buf_init(&packed, 65536);
    assert_int_equal(envelope_pack(MESSAGE_DELIVER_BATCH, &batch.base, false, &packed), ERR_OK);
    (void)mem_fault_set(1, 1000);
    struct hub_peer *peer =
        CONTAINER_OF(list_first(&pair.world->hub->peers), struct hub_peer, node);
    hub_egress_receive(peer, buf_data(&packed), buf_len(&packed));
    (void)mem_fault_set(0, 0);
    assert_int_equal(pair.bob->message_count, 0);
    assert_true(hub_metrics.gaps[HUB_GAP_FAILED].value == failed + 1);
    routing_deliver(pair.routing, "c_one", 2, 0);
    UNTIL(pair.world, pair.bob->message_count == 2 && pair.ann->message_count == 2);
    assert_dense(pair.bob, "c_one", 1, 2);
    assert_dense(pair.ann, "c_one", 1, 2);
    buf_finish(&packed);
    pair_finish(&pair);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_reach_all_but_the_sending_session),
        cmocka_unit_test(repeated_deliveries_are_handed_out_once),
        cmocka_unit_test(a_lost_delivery_is_fetched_before_later_ones),
        cmocka_unit_test(a_long_gap_is_fetched_in_pages),
        cmocka_unit_test(deliveries_of_two_instances_become_one_order),
        cmocka_unit_test(a_failed_repair_is_tried_again),
        cmocka_unit_test(own_messages_do_not_come_back_by_repair),
        cmocka_unit_test(a_restarted_instance_loses_nothing),
        cmocka_unit_test(a_gap_of_the_stream_compares_heads),
        cmocka_unit_test(a_delivery_that_cannot_be_read_is_a_loss),
        cmocka_unit_test(a_former_member_gets_nothing_even_if_the_change_is_late),
        cmocka_unit_test(a_repair_asks_who_is_a_member),
        cmocka_unit_test(leaving_is_told_and_takes_effect_at_once),
        cmocka_unit_test(a_new_member_sees_what_comes_after_joining),
        cmocka_unit_test(a_new_conversation_begins_with_its_first_message),
        cmocka_unit_test(lost_changes_are_found_by_reloading_everybody),
        cmocka_unit_test(a_restored_history_ends_the_sessions),
        cmocka_unit_test(sessions_may_close_inside_their_callback),
        cmocka_unit_test(a_callback_may_close_another_session),
        cmocka_unit_test(a_repair_gives_a_new_member_nothing_older),
        cmocka_unit_test(a_damaged_row_is_left_out),
        cmocka_unit_test(without_memory_a_message_is_late_and_not_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
