/* test_hub_backlog: what MQTT devices missed comes in order, at their pace, before live messages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "services/connection/backlog.h"
#include "services/connection/hub_metrics.h"
#include "tests/unit/connection/hub_world.h"

static struct world *start(struct stored_conversation **one) {
    struct world *world = world_start(1, NULL);
    *one = store_add(&world->store, "c_one", "u_ann", "u_bob");
    return world;
}
static void append(struct stored_conversation *one, int count, const char *device) {
    for (int i = 0; i < count; i++) {
        store_append(one, "u_bob", device, NULL);
    }
}

static void missed_messages_come_in_order_before_live_ones(void **state) {
    (void)state;
    struct stored_conversation *one = NULL;
    struct world *world = start(&one);
    append(one, 200, "d_9");
    store_cursor(&world->store, "u_ann", "m:phone", "c_one", 20);
    struct client *phone = client_open_mqtt(world, "u_ann", "m:phone");
    append(one, 1, "d_9");
    routing_deliver(&world->routing[0], "c_one", 201, 0);
    UNTIL(world, phone->message_count == 181);
    assert_dense(phone, "c_one", 21, 201);
    append(one, 1, "d_9");
    routing_deliver(&world->routing[0], "c_one", 202, 0);
    UNTIL(world, phone->message_count == 182);
    assert_dense(phone, "c_one", 21, 202);
    assert_int_equal(phone->session.backlogs.count, 0);
    client_close(phone);
    world_finish(world);
}

static void the_client_sets_the_pace(void **state) {
    (void)state;
    struct stored_conversation *one = NULL;
    struct world *world = start(&one);
    append(one, 100, "d_9");
    store_cursor(&world->store, "u_ann", "m:phone", "c_one", 1);
    struct client *phone = client_begin(world, "u_ann", "m:phone", true, false);
    phone->limited = true;
    phone->window = 10;
    UNTIL(world, phone->message_count == 10);
    unsigned histories = world->store.histories;
    for (size_t given = 10; given < 60; given += 10) { /* of the page it holds */
        phone->window = 10;
        session_writable(&phone->session);
        UNTIL(world, phone->message_count == given + 10);
    }
    assert_int_equal(world->store.histories, histories);
    append(one, 1, "d_9");
    routing_deliver(&world->routing[0], "c_one", 101, 0);
    while (phone->message_count < 100) {
        phone->window = 7;
        session_writable(&phone->session);
        world_turn(world);
    }
    assert_dense(phone, "c_one", 2, 101);
    client_close(phone);
    world_finish(world);
}

/* can_take turns false while the session is live: history has the rest. */
static void a_live_session_that_cannot_take_more_falls_behind(void **state) {
    (void)state;
    struct stored_conversation *one = NULL;
    struct world *world = start(&one);
    store_cursor(&world->store, "u_ann", "m:phone", "c_one", 0);
    struct client *phone = client_begin(world, "u_ann", "m:phone", true, false);
    phone->limited = true;
    phone->window = 3;
    struct client *bob = client_open(world, "u_bob", "d_2");
    UNTIL(world, phone->opened > 0);
    for (uint64_t seq = 1; seq <= 8; seq++) {
        append(one, 1, "d_9");
        routing_deliver(&world->routing[0], "c_one", seq, 0);
    }
    UNTIL(world, bob->message_count == 8); /* others are not held up */
    assert_int_equal(phone->message_count, 3);
    assert_int_equal(phone->session.backlogs.count, 1);
    phone->window = 100;
    session_writable(&phone->session);
    UNTIL(world, phone->message_count == 8);
    append(one, 1, "d_9");
    routing_deliver(&world->routing[0], "c_one", 9, 0);
    UNTIL(world, phone->message_count == 9);
    assert_dense(phone, "c_one", 1, 9);
    client_close(phone);
    client_close(bob);
    world_finish(world);
}

/* History is ahead of the deliveries: nothing twice, nothing out of order. */
static void deliveries_behind_the_backlog_are_skipped(void **state) {
    (void)state;
    struct stored_conversation *one = NULL;
    struct world *world = start(&one);
    struct client *bob = client_open(world, "u_bob", "d_2");
    append(one, 2, "d_9");
    routing_deliver(&world->routing[0], "c_one", 1, 0);
    routing_deliver(&world->routing[0], "c_one", 2, 0);
    UNTIL(world, bob->message_count == 2);
    append(one, 3, "d_9"); /* stored, deliveries on their way */
    store_cursor(&world->store, "u_ann", "m:phone", "c_one", 1);
    struct client *phone = client_open_mqtt(world, "u_ann", "m:phone");
    UNTIL(world, phone->message_count == 4);
    for (uint64_t seq = 3; seq <= 5; seq++) {
        routing_deliver(&world->routing[0], "c_one", seq, 0);
    }
    append(one, 1, "d_9");
    routing_deliver(&world->routing[0], "c_one", 6, 0);
    UNTIL(world, phone->message_count == 5 && bob->message_count == 6);
    assert_dense(phone, "c_one", 2, 6);
    assert_int_equal(phone->session.backlogs.count, 0);
    client_close(phone);
    client_close(bob);
    world_finish(world);
}

static void own_messages_of_the_device_are_left_out(void **state) {
    (void)state;
    struct stored_conversation *one = NULL;
    struct world *world = start(&one);
    store_append(one, "u_bob", "d_9", NULL);
    store_append(one, "u_ann", "m:phone", NULL);
    store_append(one, "u_ann", "d_1", NULL);
    store_append(one, "u_bob", "m:phone", NULL); /* another user's device of that name */
    store_cursor(&world->store, "u_ann", "m:phone", "c_one", 0);
    struct client *phone = client_open_mqtt(world, "u_ann", "m:phone");
    UNTIL(world, phone->message_count == 3);
    assert_true(phone->events[0].seq == 1 && phone->events[1].seq == 3 &&
                phone->events[2].seq == 4);
    client_close(phone);
    world_finish(world);
}

static void a_new_device_begins_at_the_heads(void **state) {
    (void)state;
    struct stored_conversation *one = NULL;
    struct world *world = start(&one);
    append(one, 5, "d_9");
    struct client *phone = client_open_mqtt(world, "u_ann", "m:new");
    struct client *clean = client_begin(world, "u_ann", "m:clean", true, true);
    UNTIL(world, clean->opened > 0);
    UNTIL(world, world->routing[0].mark_count == 2);         /* remembered for next time */
    UNTIL(world, world->routing[0].devices_remembered == 1); /* the one that will come back */
    for (int i = 0; i < 2; i++) {
        assert_true(world->routing[0].marks[i].delivered == 5);
        assert_true(world->routing[0].marks[i].read == 0);
    }
    append(one, 1, "d_9");
    routing_deliver(&world->routing[0], "c_one", 6, 0);
    UNTIL(world, phone->message_count == 1 && clean->message_count == 1);
    assert_dense(phone, "c_one", 6, 6);
    client_close(phone);
    client_close(clean);
    world_finish(world);
}

/* A conversation that began while the device was away belongs to its backlog. */
static void conversations_newer_than_the_last_visit_come_whole(void **state) {
    (void)state;
    struct stored_conversation *one = NULL;
    struct world *world = start(&one);
    append(one, 3, "d_9");
    struct stored_conversation *two = store_add(&world->store, "c_two", "u_ann", "u_bob");
    append(two, 4, "d_9");
    store_cursor(&world->store, "u_ann", "m:phone", "c_one", 3);
    struct client *phone = client_open_mqtt(world, "u_ann", "m:phone");
    UNTIL(world, phone->message_count == 4);
    assert_dense(phone, "c_two", 1, 4);
    client_close(phone);
    world_finish(world);
}

static void joining_bounds_the_backlog(void **state) {
    (void)state;
    struct stored_conversation *one = NULL;
    struct world *world = start(&one);
    append(one, 6, "d_9");
    store_member(one, "u_ann")->joined_seq = 4;
    store_cursor(&world->store, "u_ann", "m:phone", "c_one", 1);
    struct client *phone = client_open_mqtt(world, "u_ann", "m:phone");
    UNTIL(world, phone->message_count == 2);
    assert_dense(phone, "c_one", 5, 6);
    client_close(phone);
    world_finish(world);
}

static void leaving_ends_the_backlog(void **state) {
    (void)state;
    struct stored_conversation *one = NULL;
    struct world *world = start(&one);
    struct stored_conversation *two = store_add(&world->store, "c_two", "u_ann", "u_bob");
    append(one, 20, "d_9");
    append(two, 2, "d_9");
    store_cursor(&world->store, "u_ann", "m:phone", "c_one", 1);
    store_cursor(&world->store, "u_ann", "m:phone", "c_two", 1);
    struct client *phone = client_begin(world, "u_ann", "m:phone", true, false);
    phone->limited = true;
    phone->window = 5;
    UNTIL(world, phone->message_count == 5);
    store_set_member(one, "u_ann", PIPIT__MEMBER_STATE__MEMBER_LEFT);
    routing_deliver_change(&world->routing[0], "c_one", "u_ann");
    UNTIL(world, client_count(phone, EVENT_CONVERSATION) == 1);
    phone->window = 100;
    session_writable(&phone->session);
    UNTIL(world, phone->message_count == 6); /* the other conversation's */
    assert_dense(phone, "c_one", 2, 6);
    assert_dense(phone, "c_two", 2, 2);
    client_close(phone);
    world_finish(world);
}

static void a_failed_page_is_read_again(void **state) {
    (void)state;
    struct stored_conversation *one = NULL;
    struct world *world = start(&one);
    append(one, 5, "d_9");
    store_cursor(&world->store, "u_ann", "m:phone", "c_one", 1);
    world->routing[0].hold_history = true;
    struct client *phone = client_open_mqtt(world, "u_ann", "m:phone");
    UNTIL(world, world->routing[0].held_count == 1);
    routing_spoil_held(&world->routing[0]);
    UNTIL(world, world->routing[0].held_count == 1);
    routing_release(&world->routing[0]);
    UNTIL(world, phone->message_count == 4);
    assert_dense(phone, "c_one", 2, 5);
    client_close(phone);
    world_finish(world);
}

static void closing_in_the_middle_leaves_nothing_behind(void **state) {
    (void)state;
    struct stored_conversation *one = NULL;
    struct world *world = start(&one);
    append(one, 50, "d_9");
    store_cursor(&world->store, "u_ann", "m:phone", "c_one", 1);
    struct client *phone = client_begin(world, "u_ann", "m:phone", true, false);
    phone->close_on_event = true; /* while its page is handed over */
    UNTIL(world, phone->message_count == 1);
    free(phone);
    world->routing[0].hold_history = true;
    phone = client_open_mqtt(world, "u_ann", "m:phone");
    UNTIL(world, world->routing[0].held_count == 1);
    client_close(phone); /* while its page is read */
    routing_release(&world->routing[0]);
    phone = client_open_mqtt(world, "u_ann", "m:phone");
    UNTIL(world, phone->message_count == 49);
    assert_dense(phone, "c_one", 2, 50);
    client_close(phone);
    world_finish(world);
}

/* More slow clients than pages: those who read are not held up, and nobody loses anything. */
static void slow_readers_do_not_hold_pages_others_need(void **state) {
    (void)state;
    enum { SLOW = HUB_BACKLOG_RUNS_MAX + 6 };
    struct stored_conversation *one = NULL;
    struct world *world = start(&one);
    append(one, 30, "d_9");
    struct client *clients[SLOW + 1];
    for (int i = 0; i <= SLOW; i++) {
        char user[24];
        (void)snprintf(user, sizeof user, "u_user%d", i);
        char id[24];
        (void)snprintf(id, sizeof id, "c_%d", i);
        struct stored_conversation *own = store_add(&world->store, id, user, NULL);
        append(own, 30, "d_9");
        store_cursor(&world->store, user, "m:x", id, 1);
    }
    for (int i = 0; i <= SLOW; i++) { /* one after another: each holds its page */
        char user[24];
        (void)snprintf(user, sizeof user, "u_user%d", i);
        clients[i] = client_begin(world, user, "m:x", true, false);
        clients[i]->limited = true;
        clients[i]->window = i < SLOW ? 2 : 1000;
        UNTIL(world, clients[i]->message_count == (i < SLOW ? 2u : 29u));
    }
    for (int i = 0; i < SLOW; i++) {
        clients[i]->window = 1000;
        session_writable(&clients[i]->session);
    }
    for (int i = 0; i <= SLOW; i++) {
        char id[24];
        (void)snprintf(id, sizeof id, "c_%d", i);
        UNTIL(world, clients[i]->message_count == 29);
        assert_dense(clients[i], id, 2, 30);
        client_close(clients[i]);
    }
    world_finish(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missed_messages_come_in_order_before_live_ones),
        cmocka_unit_test(the_client_sets_the_pace),
        cmocka_unit_test(a_live_session_that_cannot_take_more_falls_behind),
        cmocka_unit_test(deliveries_behind_the_backlog_are_skipped),
        cmocka_unit_test(own_messages_of_the_device_are_left_out),
        cmocka_unit_test(a_new_device_begins_at_the_heads),
        cmocka_unit_test(conversations_newer_than_the_last_visit_come_whole),
        cmocka_unit_test(joining_bounds_the_backlog),
        cmocka_unit_test(leaving_ends_the_backlog),
        cmocka_unit_test(a_failed_page_is_read_again),
        cmocka_unit_test(closing_in_the_middle_leaves_nothing_behind),
        cmocka_unit_test(slow_readers_do_not_hold_pages_others_need),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
