/* test_hub_session: opening, closing, take-over, limits, cursors, presence, pages, drain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "services/connection/hub_metrics.h"
#include "services/connection/presence.h"
#include "services/connection/users.h"
#include "tests/unit/connection/hub_world.h"

static void a_session_is_live_when_routing_knows_its_interest(void **state) {
    (void)state;
    struct world *world = world_start(2, NULL);
    store_add(&world->store, "c_one", "u_ann", "u_bob");
    store_add(&world->store, "c_two", "u_ann", NULL);
    struct client *ann = client_open(world, "u_ann", "d_1");
    for (int i = 0; i < 2; i++) {
        assert_true(routing_interested(&world->routing[i], "c_one"));
        assert_true(routing_interested(&world->routing[i], "c_two"));
        assert_int_equal(world->routing[i].session_count, 1);
        assert_true(world->routing[i].sessions[0] == ann->session.id);
    }
    assert_string_equal(session_user_id(&ann->session), "u_ann");
    assert_string_equal(hub_epoch(world->hub), "e1");
    /* A second one needs no further load. */
    unsigned lists = world->store.lists;
    struct client *other = client_open(world, "u_ann", "d_2");
    assert_int_equal(world->store.lists, lists);
    client_close(ann);
    client_close(other);
    assert_int_equal(hub_metrics.sessions[HUB_PROTOCOL_WS].value, 0);
    world_finish(world);
}

static void many_conversations_come_in_pages(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    for (int i = 0; i < 1234; i++) {
        char id[32];
        (void)snprintf(id, sizeof id, "c_%d", i);
        store_add(&world->store, id, "u_ann", NULL);
    }
    struct client *ann = client_open(world, "u_ann", "d_1");
    assert_int_equal(world->store.lists, 3);
    assert_int_equal(world->routing[0].conversation_count, 1234);
    /* The heads of all are compared, 1,024 at a time. */
    UNTIL(world, world->store.heads == 2);
    client_close(ann);
    world_finish(world);
}

static void without_routing_opening_fails_retryably(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    routing_kill(&world->routing[0]);
    UNTIL(world, !hub_has_routing(world->hub));
    assert_false(hub_ready(world->hub));
    struct client *ann = client_begin(world, "u_ann", "d_1", false, false);
    UNTIL(world, ann->opened > 0);
    assert_int_equal(ann->opened_reason, REASON_UNAVAILABLE);
    client_close(ann);
    routing_open(&world->routing[0]);
    UNTIL(world, hub_has_routing(world->hub));
    ann = client_open(world, "u_ann", "d_1");
    client_close(ann);
    world_finish(world);
}

static void closing_while_opening_ends_all_callbacks(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    store_add(&world->store, "c_one", "u_ann", "u_bob");
    world->routing[0].hold_lists = true;
    struct client *ann = client_begin(world, "u_ann", "d_1", false, false);
    UNTIL(world, world->routing[0].held_count == 1);
    session_close(&ann->session);
    session_close(&ann->session); /* idempotent */
    routing_release(&world->routing[0]);
    struct client *bob = client_open(world, "u_bob", "d_2");
    assert_int_equal(ann->opened, 0);
    assert_int_equal(ann->event_count, 0);
    client_close(bob);
    free(ann);
    world_finish(world);
}

static void a_hanging_instance_delays_opening_by_a_second(void **state) {
    (void)state;
    struct world *world = world_start(2, NULL);
    store_add(&world->store, "c_one", "u_ann", "u_bob");
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    world->routing[1].hold_interest = true;
    struct client *ann = client_begin(world, "u_ann", "d_1", false, false);
    UNTIL(world, world->routing[1].held_count == 1);
    world_advance(world, 900000);
    assert_int_equal(ann->opened, 0);
    for (int i = 0; i < 40 && ann->opened == 0; i++) {
        world_advance(world, 100000);
    }
    assert_int_equal(ann->opened_reason, REASON_OK);
    routing_release(&world->routing[1]);
    UNTIL(world, routing_interested(&world->routing[1], "c_one"));
    client_close(ann);
    world_finish(world);
}

static void few_sessions(struct connection_settings *settings) {
    settings->sessions_per_user_max = 2;
}

static void sessions_of_a_user_are_bounded(void **state) {
    (void)state;
    struct world *world = world_start(1, few_sessions);
    struct client *one = client_open(world, "u_ann", "d_1");
    struct client *two = client_open(world, "u_ann", "d_2");
    struct client three = {0};
    struct token_claims claims = claims_of("u_ann", "d_3");
    struct session_open open = {.claims = &claims, .device = "d_3"};
    assert_int_equal(session_open(world->hub, &three.session, &ws_ops, &open), ERR_FULL);
    /* Taking over needs no further place. */
    struct client *again = client_begin(world, "u_ann", "d_2", true, false);
    assert_int_equal(two->ended, 1);
    assert_int_equal(two->end_reason, REASON_SESSION_TAKEN_OVER);
    UNTIL(world, again->opened > 0);
    client_close(one);
    client_close(two);
    client_close(again);
    world_finish(world);
}

static void a_kick_ends_the_session_at_once(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    store_add(&world->store, "c_one", "u_ann", "u_bob");
    struct client *ann = client_open(world, "u_ann", "d_1");
    struct client *bob = client_open(world, "u_bob", "d_2");
    Pipit__Kick kick = PIPIT__KICK__INIT;
    kick.session = ann->session.id;
    kick.reason = REASON_SESSION_TAKEN_OVER;
    Pipit__Delivery delivery = PIPIT__DELIVERY__INIT;
    delivery.event_case = PIPIT__DELIVERY__EVENT_KICK;
    delivery.kick = &kick;
    routing_publish(&world->routing[0], &delivery);
    routing_publish(&world->routing[0], &delivery); /* each instance may say so */
    UNTIL(world, ann->ended > 0);
    assert_int_equal(ann->end_reason, REASON_SESSION_TAKEN_OVER);
    world_fence(world, 0, bob, "c_one");
    assert_int_equal(ann->ended, 1);
    assert_int_equal(session_mark(&ann->session, "c_one", 1, 0), ERR_CLOSED);
    client_close(ann);
    client_close(bob);
    world_finish(world);
}

static void renewal_takes_the_same_user_and_device_alone(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    struct client *ann = client_open(world, "u_ann", "d_1");
    struct token_claims claims = claims_of("u_ann", "d_1");
    claims.expires_ms += 1000000;
    assert_int_equal(session_renew(&ann->session, &claims), REASON_OK);
    assert_true(ann->session.token_expires_ms == claims.expires_ms);
    claims = claims_of("u_ann", "d_2");
    assert_int_equal(session_renew(&ann->session, &claims), REASON_BAD_TOKEN);
    claims = claims_of("u_bob", "d_1");
    assert_int_equal(session_renew(&ann->session, &claims), REASON_BAD_TOKEN);
    client_close(ann);
    world_finish(world);
}

static void cursors_are_coalesced_and_never_go_back(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    struct stored_conversation *one = store_add(&world->store, "c_one", "u_ann", "u_bob");
    store_append(one, "u_bob", "d_2", NULL);
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    struct client *ann = client_begin(world, "u_ann", "d_1", false, false);
    for (int i = 0; i < 60 && ann->opened == 0; i++) {
        world_advance(world, 50000);
    }
    struct routing_script *routing = &world->routing[0];
    assert_int_equal(session_mark(&ann->session, "c_else", 1, 0), ERR_NOT_MEMBER);
    for (uint64_t seq = 1; seq <= 50; seq++) {
        assert_int_equal(session_mark(&ann->session, "c_one", seq, 0), ERR_OK);
    }
    assert_int_equal(session_mark(&ann->session, "c_one", 3, 7), ERR_OK);
    assert_int_equal(routing->mark_count, 0);
    world_advance(world, 250000);
    UNTIL(world, routing->mark_count == 1);
    assert_string_equal(routing->marks[0].user, "u_ann");
    assert_string_equal(routing->marks[0].device, "d_1");
    assert_true(routing->marks[0].delivered == 50 && routing->marks[0].read == 7);
    /* Read implies delivered; closing sends at once. */
    assert_int_equal(session_mark(&ann->session, "c_one", 0, 60), ERR_OK);
    client_close(ann);
    UNTIL(world, routing->mark_count == 2);
    assert_true(routing->marks[1].delivered == 60 && routing->marks[1].read == 60);
    world_finish(world);
}

static void cursors_that_were_not_taken_go_again(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    store_add(&world->store, "c_one", "u_ann", "u_bob");
    struct client *ann = client_open(world, "u_ann", "d_1");
    struct routing_script *routing = &world->routing[0];
    UNTIL(world, routing->signal_count == 1); /* online */
    routing->hold_submits = true;
    assert_int_equal(session_mark(&ann->session, "c_one", 5, 0), ERR_OK);
    UNTIL(world, routing->held_count > 0);
    routing->hold_submits = false;
    routing_spoil_held(routing);
    UNTIL(world, routing->mark_count > 0);
    assert_true(routing->marks[0].delivered == 5);
    client_close(ann);
    world_finish(world);
}

static const struct seen_signal *find_signal(const struct routing_script *routing, const char *user,
                                             const char *status) {
    for (size_t i = 0; i < routing->signal_count; i++) {
        if (strcmp(routing->signals[i].user, user) == 0 &&
            strcmp(routing->signals[i].status, status) == 0) {
            return &routing->signals[i];
        }
    }
    return NULL;
}

static void presence_follows_the_sessions(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    store_add(&world->store, "c_one", "u_ann", "u_bob");
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    struct routing_script *routing = &world->routing[0];
    struct client *ann = client_begin(world, "u_ann", "d_1", false, false);
    for (int i = 0; i < 60 && find_signal(routing, "u_ann", "online") == NULL; i++) {
        world_advance(world, 50000);
    }
    assert_string_equal(find_signal(routing, "u_ann", "online")->conversation, "c_one");
    assert_int_equal(session_presence(&ann->session, "asleep"), ERR_INVALID);
    assert_int_equal(session_presence(&ann->session, "away"), ERR_OK);
    UNTIL(world, find_signal(routing, "u_ann", "away") != NULL);
    assert_true(find_signal(routing, "u_ann", "away")->active); /* else routing takes it for gone */
    session_close(&ann->session);
    world_advance(world, HUB_LINGER_US - 1000000u);
    assert_null(find_signal(routing, "u_ann", "offline"));
    assert_true(routing_interested(routing, "c_one")); /* may come back any moment */
    world_advance(world, 2000000);
    UNTIL(world, find_signal(routing, "u_ann", "offline") != NULL);
    UNTIL(world, routing->conversation_count == 0 && routing->session_count == 0);
    free(ann);
    world_finish(world);
}

static void presence_goes_to_few_conversations(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    for (int i = 0; i < 200; i++) {
        char id[32];
        (void)snprintf(id, sizeof id, "c_%d", i);
        store_add(&world->store, id, "u_ann", "u_bob");
    }
    struct stored_conversation *busy = store_find(&world->store, "c_150");
    struct client *bob = client_open(world, "u_bob", "d_2");
    UNTIL(world, world->routing[0].signal_count == HUB_PRESENCE_CONVERSATIONS_MAX);
    store_append(busy, "u_ann", "d_1", NULL);
    routing_deliver(&world->routing[0], "c_150", 1, 0);
    UNTIL(world, bob->message_count == 1);
    world->routing[0].signal_count = 0;
    assert_int_equal(session_presence(&bob->session, "away"), ERR_OK);
    UNTIL(world, world->routing[0].signal_count == HUB_PRESENCE_CONVERSATIONS_MAX);
    assert_string_equal(world->routing[0].signals[0].conversation, "c_150"); /* the most active */
    client_close(bob);
    world_finish(world);
}

static void typing_is_passed_on_and_bounded(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    store_add(&world->store, "c_one", "u_ann", "u_bob");
    struct client *ann = client_open(world, "u_ann", "d_1");
    struct routing_script *routing = &world->routing[0];
    UNTIL(world, routing->signal_count == 1); /* online */
    assert_int_equal(session_typing(&ann->session, "c_else", true), ERR_NOT_MEMBER);
    uint64_t shed = hub_metrics.shed[HUB_SHED_TYPING].value;
    for (int i = 0; i < 40; i++) {
        assert_int_equal(session_typing(&ann->session, "c_one", true), ERR_OK);
    }
    assert_true(hub_metrics.shed[HUB_SHED_TYPING].value - shed >= 40 - HUB_TYPING_BURST - 2);
    UNTIL(world, routing->signal_count > 1);
    assert_true(routing->signals[1].typing && routing->signals[1].active);
    assert_string_equal(routing->signals[1].user, "u_ann");
    client_close(ann);
    world_finish(world);
}

static void signals_and_marks_reach_the_other_members(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    store_add(&world->store, "c_one", "u_ann", "u_bob");
    struct client *ann = client_open(world, "u_ann", "d_1");
    struct client *bob = client_open(world, "u_bob", "d_2");
    Pipit__Mark mark = PIPIT__MARK__INIT;
    mark.conversation = (char *)"c_one";
    mark.user = (char *)"u_ann";
    mark.read_seq = 4;
    mark.session = ann->session.id;
    Pipit__Delivery delivery = PIPIT__DELIVERY__INIT;
    delivery.event_case = PIPIT__DELIVERY__EVENT_MARK;
    delivery.mark = &mark;
    routing_publish(&world->routing[0], &delivery);
    Pipit__Signal signal = PIPIT__SIGNAL__INIT;
    signal.conversation = (char *)"c_one";
    signal.user = (char *)"u_ann";
    signal.kind = PIPIT__SIGNAL_KIND__SIGNAL_PRESENCE;
    signal.status = (char *)"away";
    delivery.event_case = PIPIT__DELIVERY__EVENT_SIGNAL;
    delivery.signal = &signal;
    routing_publish(&world->routing[0], &delivery);
    UNTIL(world, client_count(bob, EVENT_PRESENCE) == 1);
    assert_int_equal(client_count(bob, EVENT_RECEIPT), 1);
    assert_non_null(strstr(bob->events[0].frame, "\"read\":4"));
    world_fence(world, 0, ann, "c_one");
    assert_int_equal(client_count(ann, EVENT_RECEIPT) + client_count(ann, EVENT_PRESENCE), 0);
    client_close(ann);
    client_close(bob);
    world_finish(world);
}

static void pages_are_read_as_the_user(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    struct stored_conversation *one = store_add(&world->store, "c_one", "u_ann", "u_bob");
    struct stored_conversation *foreign = store_add(&world->store, "c_two", "u_bob", NULL);
    for (int i = 0; i < 30; i++) {
        store_append(one, "u_bob", "d_2", NULL);
        store_append(foreign, "u_bob", "d_2", NULL);
    }
    struct client *ann = client_open(world, "u_ann", "d_1");
    assert_int_equal(session_history(&ann->session, 9, "c_one", 5, 10), ERR_OK);
    UNTIL(world, ann->pages == 1);
    assert_int_equal(ann->page_reason, REASON_OK);
    assert_int_equal(ann->page_events, 10);
    assert_true(ann->page_first == 6 && ann->page_head == 30 && ann->page_more);
    assert_int_equal(session_history(&ann->session, 9, "c_two", 0, 10), ERR_OK);
    UNTIL(world, ann->pages == 2);
    assert_int_equal(ann->page_reason, REASON_NOT_MEMBER);
    assert_int_equal(ann->page_events, 0);
    assert_int_equal(session_presence_query(&ann->session, 3, "c_one"), ERR_OK);
    UNTIL(world, ann->onlines == 1);
    assert_int_equal(ann->online_reason, REASON_OK);
    assert_int_equal(ann->online_count, 2);
    /* An answer for a session that is gone finds nobody. */
    world->routing[0].hold_history = true;
    assert_int_equal(session_history(&ann->session, 10, "c_one", 0, 10), ERR_OK);
    UNTIL(world, world->routing[0].held_count == 1);
    struct client *bob = client_open(world, "u_bob", "d_2");
    session_close(&ann->session);
    routing_release(&world->routing[0]);
    world_fence(world, 0, bob, "c_one");
    assert_int_equal(ann->pages, 2);
    free(ann);
    client_close(bob);
    world_finish(world);
}

static void on_left(void *user) {
    ++*(unsigned *)user;
}

static void leaving_flushes_cursors_and_says_goodbye(void **state) {
    (void)state;
    struct world *world = world_start(2, NULL);
    store_add(&world->store, "c_one", "u_ann", "u_bob");
    struct client *ann = client_open(world, "u_ann", "d_1");
    assert_int_equal(session_mark(&ann->session, "c_one", 3, 0), ERR_OK);
    client_close(ann);
    unsigned left = 0;
    hub_leave(world->hub, 10000000, on_left, &left);
    struct client late = {0};
    struct token_claims claims = claims_of("u_bob", "d_3");
    struct session_open open = {.claims = &claims, .device = "d_3"};
    assert_int_equal(session_open(world->hub, &late.session, &ws_ops, &open), ERR_UNAVAILABLE);
    UNTIL(world, left == 1);
    assert_int_equal(world->routing[0].mark_count + world->routing[1].mark_count, 1);
    assert_true(world->routing[0].leavings == 1 && world->routing[1].leavings == 1);
    world_finish(world);
}

static void leaving_does_not_wait_for_ever(void **state) {
    (void)state;
    struct world *world = world_start(1, NULL);
    world->routing[0].hold_interest = true;
    unsigned left = 0;
    hub_leave(world->hub, 50000, on_left, &left);
    UNTIL(world, left == 1);
    world_finish(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_is_live_when_routing_knows_its_interest),
        cmocka_unit_test(many_conversations_come_in_pages),
        cmocka_unit_test(without_routing_opening_fails_retryably),
        cmocka_unit_test(closing_while_opening_ends_all_callbacks),
        cmocka_unit_test(a_hanging_instance_delays_opening_by_a_second),
        cmocka_unit_test(sessions_of_a_user_are_bounded),
        cmocka_unit_test(a_kick_ends_the_session_at_once),
        cmocka_unit_test(renewal_takes_the_same_user_and_device_alone),
        cmocka_unit_test(cursors_are_coalesced_and_never_go_back),
        cmocka_unit_test(cursors_that_were_not_taken_go_again),
        cmocka_unit_test(presence_follows_the_sessions),
        cmocka_unit_test(presence_goes_to_few_conversations),
        cmocka_unit_test(typing_is_passed_on_and_bounded),
        cmocka_unit_test(signals_and_marks_reach_the_other_members),
        cmocka_unit_test(pages_are_read_as_the_user),
        cmocka_unit_test(leaving_flushes_cursors_and_says_goodbye),
        cmocka_unit_test(leaving_does_not_wait_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
