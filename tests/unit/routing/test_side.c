/* What travels beside messages: marks, signals, presence, reads; and what overload does to them. */
#include "tests/unit/routing/support.h"

#include "common/clock.h"
#include "proto/accounts.pb-c.h"
#include "services/routing/metrics.h"
#include <stdio.h>
#include <string.h>

#define MESSAGE PIPIT__DELIVERY__EVENT_MESSAGE
#define MARK PIPIT__DELIVERY__EVENT_MARK
#define SIGNAL PIPIT__DELIVERY__EVENT_SIGNAL

static struct world world;
static const char *const family[] = {"u_ann", "u_bob", NULL};

static void small(struct routing_settings *settings, int index) {
    (void)index;
    settings->receipts_members_max = 2;
    settings->pending_max = 10;
    settings->marks_max = 256;
    settings->signals_max = 16;
    settings->marks_interval_us = 20000;
    settings->signals_interval_us = 20000;
    settings->relays_max = 1;
}

static void quick(struct routing_settings *settings, int index) {
    small(settings, index);
    settings->bus.timeout_us = 200000;
}

static int start_quick(void **state) {
    (void)state;
    world_start(&world, 1, quick);
    (void)endpoint_open(&world, 0);
    return 0;
}

static int start(void **state) {
    (void)state;
    world_start(&world, 1, small);
    struct script_conversation *made = script_conversation(&world.storage, "c_family", family);
    for (int i = 0; i < 5; i++) {
        (void)script_append(&world.storage, made, "u_ann", NULL, "{}");
    }
    endpoint_interest(endpoint_open(&world, 0), "c_family");
    return 0;
}

static int finish(void **state) {
    (void)state;
    clock_fake_off();
    world_finish(&world);
    return 0;
}

static void mark(const char *user, const char *device, const char *conversation,
                 uint64_t delivered_seq, uint64_t read_seq) {
    Pipit__Mark one = PIPIT__MARK__INIT;
    Pipit__Mark *marks[1] = {&one};
    one.user = (char *)user;
    one.device = (char *)device;
    one.conversation = (char *)conversation;
    one.delivered_seq = delivered_seq;
    one.read_seq = read_seq;
    one.session = 9;
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    batch.n_marks = 1;
    batch.marks = marks;
    endpoint_send(world.endpoints[0], &batch);
}

static void signal_of(const char *user, const char *conversation, Pipit__SignalKind kind,
                      bool active, const char *status) {
    Pipit__Signal one = PIPIT__SIGNAL__INIT;
    Pipit__Signal *signals[1] = {&one};
    one.user = (char *)user;
    one.conversation = (char *)conversation;
    one.kind = kind;
    one.active = active;
    one.status = (char *)status;
    one.session = 9;
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    batch.n_signals = 1;
    batch.signals = signals;
    endpoint_send(world.endpoints[0], &batch);
}
#define TYPING PIPIT__SIGNAL_KIND__SIGNAL_TYPING
#define PRESENCE PIPIT__SIGNAL_KIND__SIGNAL_PRESENCE

/* --- marks */

static void marks_are_coalesced(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    Pipit__Mark marks[5];
    Pipit__Mark *pointers[5];
    for (size_t i = 0; i < 5; i++) {
        pipit__mark__init(&marks[i]);
        marks[i].user = (char *)"u_bob";
        marks[i].device = (char *)"d_1";
        marks[i].conversation = (char *)"c_family";
        marks[i].delivered_seq = 5 - i; /* the highest wins, whatever the order */
        marks[i].read_seq = i == 2 ? 2 : 0;
        pointers[i] = &marks[i];
    }
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    batch.n_marks = 5;
    batch.marks = pointers;
    endpoint_send(endpoint, &batch);
    endpoint_until(endpoint, MARK, 1);
    const struct seen_delivery *seen = endpoint_delivery(endpoint, MARK, 0);
    assert_string_equal(seen->user, "u_bob");
    assert_string_equal(seen->device, "d_1");
    assert_int_equal(seen->delivered_seq, 5);
    assert_int_equal(seen->read_seq, 2);
    assert_int_equal(world.storage.requests[MESSAGE_CURSORS_REQUEST], 1);
    const struct script_member *bob =
        script_member(script_find(&world.storage, "c_family"), "u_bob");
    assert_int_equal(bob->delivered_seq, 5);
    mark("u_bob", "d_1", "c_family", 3, 0); /* back: nothing changes, nobody is told */
    world_until_count(&world, &world.storage.requests[MESSAGE_CURSORS_REQUEST], 2);
    world_settle(&world, endpoint);
    assert_int_equal(endpoint_deliveries(endpoint, MARK), 1);
    assert_int_equal(bob->delivered_seq, 5);
}

static void marks_survive_a_failed_write(void **state) {
    (void)state;
    world.storage.fail_with = ERR_UNAVAILABLE;
    script_on(&world.storage, MESSAGE_CURSORS_REQUEST, SCRIPT_FAIL);
    mark("u_bob", "d_1", "c_family", 4, 0);
    world_until_count(&world, &world.storage.requests[MESSAGE_CURSORS_REQUEST], 1);
    script_on(&world.storage, MESSAGE_CURSORS_REQUEST, SCRIPT_SERVE);
    mark("u_bob", "d_1", "c_family", 2, 0);
    endpoint_until(world.endpoints[0], MARK, 1);
    assert_int_equal(endpoint_delivery(world.endpoints[0], MARK, 0)->delivered_seq, 4);
}

static void large_groups_get_no_receipts(void **state) {
    (void)state;
    struct script_conversation *crowd = script_conversation(
        &world.storage, "c_crowd", (const char *const[]){"u_ann", "u_bob", "u_cem", NULL});
    (void)script_append(&world.storage, crowd, "u_ann", NULL, "{}");
    struct endpoint_peer *endpoint = world.endpoints[0];
    struct endpoint_peer *own = endpoint_open(&world, 0);
    endpoint_interest(endpoint, "c_crowd");
    endpoint_session(own, 77, "u_bob", "d_2", 1, false); /* bob's other device */
    mark("u_bob", "d_1", "c_crowd", 1, 1);
    endpoint_until(own, MARK, 1);
    world_settle(&world, endpoint);
    assert_int_equal(endpoint_deliveries(endpoint, MARK), 0);
}

static void strangers_and_nonsense_mark_nothing(void **state) {
    (void)state;
    mark("u_eve", "d_1", "c_family", 4, 0); /* storage says: not a member */
    mark("u_bob", "d_1", "c_family", 0, 0);
    mark("u_bob", "d_1", "family", 1, 0);
    mark("BOB", "d_1", "c_family", 1, 0);
    world_until_count(&world, &world.storage.requests[MESSAGE_CURSORS_REQUEST], 1);
    world_settle(&world, world.endpoints[0]);
    assert_int_equal(endpoint_deliveries(world.endpoints[0], MARK), 0);
    assert_int_equal(script_member(script_find(&world.storage, "c_family"), "u_bob")->delivered_seq,
                     0);
}

/* 300 cursors at once: written in batches of 256, those beyond marks_max are dropped and counted.
 */
static void marks_are_bounded(void **state) {
    (void)state;
    static Pipit__Mark marks[600];
    static Pipit__Mark *pointers[600];
    static char devices[600][16];
    uint64_t dropped = routing_metrics.limit_hits[LIMIT_HIT_MARKS].value;
    script_on(&world.storage, MESSAGE_CURSORS_REQUEST, SCRIPT_HOLD);
    for (size_t i = 0; i < 600; i++) {
        pipit__mark__init(&marks[i]);
        (void)snprintf(devices[i], sizeof devices[i], "d_%zu", i);
        marks[i].user = (char *)"u_bob";
        marks[i].device = devices[i];
        marks[i].conversation = (char *)"c_family";
        marks[i].delivered_seq = 1;
        pointers[i] = &marks[i];
    }
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    batch.n_marks = 600;
    batch.marks = pointers;
    endpoint_send(world.endpoints[0], &batch);
    world_until_size(&world, &world.storage.held_count, 1);
    assert_int_equal(routing_metrics.limit_hits[LIMIT_HIT_MARKS].value, dropped + 600 - 256);
    script_on(&world.storage, MESSAGE_CURSORS_REQUEST, SCRIPT_SERVE);
    script_release(&world.storage);
    endpoint_until(world.endpoints[0], MARK, 1);
    mark("u_bob", "d_again", "c_family", 5, 0); /* the pool is free again */
    endpoint_until(world.endpoints[0], MARK, 2);
}

/* --- signals */

static void the_last_signal_of_a_kind_counts(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    Pipit__Signal signals[6];
    Pipit__Signal *pointers[6];
    for (size_t i = 0; i < 6; i++) {
        pipit__signal__init(&signals[i]);
        signals[i].user = (char *)(i < 4 ? "u_bob" : "u_ann");
        signals[i].conversation = (char *)"c_family";
        signals[i].kind = i == 3 ? PRESENCE : TYPING;
        signals[i].active = i != 2;
        signals[i].status = (char *)(i == 3 ? "away" : "");
        signals[i].session = 9;
        pointers[i] = &signals[i];
    }
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    batch.n_signals = 6;
    batch.signals = pointers;
    endpoint_send(endpoint, &batch);
    endpoint_until(endpoint, SIGNAL, 3);
    world_settle(&world, endpoint);
    assert_int_equal(endpoint_deliveries(endpoint, SIGNAL), 3);
    const struct seen_delivery *typing = endpoint_delivery(endpoint, SIGNAL, 0);
    assert_string_equal(typing->user, "u_bob");
    assert_false(typing->active); /* the third of three */
    assert_int_equal(typing->skip_session, 9);
    assert_string_equal(endpoint_delivery(endpoint, SIGNAL, 1)->status, "away");
    assert_string_equal(endpoint_delivery(endpoint, SIGNAL, 2)->user, "u_ann");
}

static void only_members_signal(void **state) {
    (void)state;
    signal_of("u_eve", "c_family", TYPING, true, "");
    signal_of("u_bob", "c_unknown", TYPING, true, "");
    signal_of("u_bob", "", TYPING, true, "");
    signal_of("u_bob", "c_family", TYPING, true, "a status that is far too long");
    signal_of("u_bob", "c_family", (Pipit__SignalKind)9, true, "");
    signal_of("u_bob", "c_family", TYPING, true, "");
    endpoint_until(world.endpoints[0], SIGNAL, 1);
    world_settle(&world, world.endpoints[0]);
    assert_int_equal(endpoint_deliveries(world.endpoints[0], SIGNAL), 1);
    assert_string_equal(endpoint_delivery(world.endpoints[0], SIGNAL, 0)->user, "u_bob");
}

static void presence_without_a_conversation_goes_to_all(void **state) {
    (void)state;
    struct endpoint_peer *other = endpoint_open(&world, 0);
    signal_of("u_bob", "", PRESENCE, true, "online");
    endpoint_until(other, SIGNAL, 1);
    endpoint_until(world.endpoints[0], SIGNAL, 1);
    assert_string_equal(endpoint_delivery(other, SIGNAL, 0)->status, "online");
}

/* --- presence */

static void ask_presence(const char *user, const char *conversation) {
    struct endpoint_peer *endpoint = world.endpoints[0];
    unsigned before = endpoint->others;
    Pipit__PresenceQuery query = PIPIT__PRESENCE_QUERY__INIT;
    query.user = (char *)user;
    query.conversation = (char *)conversation;
    endpoint_call(endpoint, MESSAGE_PRESENCE_QUERY, &query.base);
    world_until_count(&world, &endpoint->others, before + 1);
    assert_int_equal(endpoint->other_type, MESSAGE_PRESENCE_REPLY);
}

static void members_see_who_is_online(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    endpoint_session(endpoint, 1, "u_bob", "d_1", 1, false);
    endpoint_session(endpoint, 2, "u_eve", "d_1", 1, false); /* online, but no member */
    ask_presence("u_ann", "c_family");
    assert_int_equal(endpoint->other_error, ERR_OK);
    assert_int_equal(endpoint->online_count, 1);
    assert_string_equal(endpoint->online[0], "u_bob");
    ask_presence("u_eve", "c_family");
    assert_int_equal(endpoint->other_error, ERR_NOT_MEMBER);
    assert_int_equal(endpoint->online_count, 0);
    ask_presence("u_ann", "c_unknown");
    assert_int_equal(endpoint->other_error, ERR_NOT_MEMBER);
    ask_presence("u_ann", "nonsense");
    assert_int_equal(endpoint->other_error, ERR_INVALID);
}

/* --- reads */

static void reads_are_passed_on(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = (char *)"c_family";
    request.viewer = (char *)"u_bob";
    request.after_seq = 2;
    request.limit = 10;
    endpoint_call(endpoint, MESSAGE_HISTORY_REQUEST, &request.base);
    world_until_count(&world, &endpoint->others, 1);
    assert_int_equal(endpoint->other_type, MESSAGE_HISTORY_REPLY);
    assert_int_equal(endpoint->history_head, 5);
    assert_int_equal(endpoint->history_count, 3);
    Pipit__HeadsRequest heads = PIPIT__HEADS_REQUEST__INIT;
    char *ids[1] = {(char *)"c_family"};
    heads.n_conversations = 1;
    heads.conversations = ids;
    endpoint_call(endpoint, MESSAGE_HEADS_REQUEST, &heads.base);
    world_until_count(&world, &endpoint->others, 2);
    assert_int_equal(endpoint->other_type, MESSAGE_HEADS_REPLY);
}

/* One read at a time: the others wait in order, and all are answered when storage does not. */
static void reads_wait_for_their_turn(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    Pipit__HistoryRequest history = PIPIT__HISTORY_REQUEST__INIT;
    history.conversation = (char *)"c_family";
    history.limit = 1;
    script_on(&world.storage, MESSAGE_HISTORY_REQUEST, SCRIPT_HOLD);
    for (int i = 0; i < 5; i++) {
        endpoint_call(endpoint, MESSAGE_HISTORY_REQUEST, &history.base);
    }
    world_until_size(&world, &world.storage.held_count, 1);
    world_settle(&world, endpoint); /* messages do not wait behind reads */
    assert_int_equal(world.storage.held_count, 1);
    script_on(&world.storage, MESSAGE_HISTORY_REQUEST, SCRIPT_SERVE);
    script_release(&world.storage);
    world_until_count(&world, &endpoint->others, 5);
    assert_int_equal(endpoint->other_error, ERR_OK);
}

static void reads_without_storage_say_why(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    Pipit__HistoryRequest history = PIPIT__HISTORY_REQUEST__INIT;
    Pipit__OriginRequest origin = PIPIT__ORIGIN_REQUEST__INIT;
    Pipit__ConversationsRequest list = PIPIT__CONVERSATIONS_REQUEST__INIT;
    Pipit__HeadsRequest heads = PIPIT__HEADS_REQUEST__INIT;
    const struct {
        enum message_type request, reply;
        const ProtobufCMessage *message;
    } cases[] = {
        {MESSAGE_HISTORY_REQUEST, MESSAGE_HISTORY_REPLY, &history.base},
        {MESSAGE_ORIGIN_REQUEST, MESSAGE_ORIGIN_REPLY, &origin.base},
        {MESSAGE_CONVERSATIONS_REQUEST, MESSAGE_CONVERSATIONS_REPLY, &list.base},
        {MESSAGE_HEADS_REQUEST, MESSAGE_HEADS_REPLY, &heads.base},
    };
    for (unsigned i = 0; i < 4; i++) {
        script_on(&world.storage, cases[i].request, SCRIPT_HOLD);
        endpoint_call(endpoint, cases[i].request, cases[i].message);
        world_until_count(&world, &endpoint->others, i + 1);
        assert_int_equal(endpoint->other_type, cases[i].reply);
        assert_true(endpoint->other_error == ERR_TIMEOUT || endpoint->other_error == ERR_CLOSED ||
                    endpoint->other_error == ERR_UNAVAILABLE);
    }
    world.storage.forget_held = true;
}

static void unknown_requests_are_answered(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    Pipit__UserGet request = PIPIT__USER_GET__INIT; /* auth's, not for routing */
    endpoint_call(endpoint, MESSAGE_USER_GET, &request.base);
    world_until_count(&world, &endpoint->others, 1);
    assert_int_equal(endpoint->other_type, MESSAGE_STATUS_REPLY);
    assert_int_equal(endpoint->other_error, ERR_UNSUPPORTED);
}

/* --- overload */

/* 10 pending are the limit: beyond, messages are refused; from half of it on, presence is shed,
 * then typing, then receipts. */
static void overload_sheds_in_order(void **state) {
    (void)state;
    static const struct {
        size_t pending;
        bool presence, typing, receipt;
    } steps[] = {{5, true, true, true},
                 {6, false, true, true},
                 {8, false, false, true},
                 {10, false, false, false}};
    struct endpoint_peer *endpoint = world.endpoints[0];
    uint64_t refs[16];
    size_t held = 0;
    uint64_t seq = 0;
    world_settle(&world, endpoint);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_HOLD);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        size_t more = steps[i].pending - held;
        endpoint_texts(endpoint, "u_ann", "c_family", "m", 0, more, &refs[held]);
        held = steps[i].pending;
        size_t signals = endpoint_deliveries(endpoint, SIGNAL);
        size_t marks = endpoint_deliveries(endpoint, MARK);
        uint64_t shed[SHED_COUNT];
        for (size_t k = 0; k < SHED_COUNT; k++) {
            shed[k] = routing_metrics.shed[k].value;
        }
        signal_of("u_bob", "c_family", PRESENCE, true, "online");
        signal_of("u_bob", "c_family", TYPING, true, "");
        mark("u_bob", "d_1", "c_family", ++seq, 0);
        unsigned cursors = world.storage.requests[MESSAGE_CURSORS_REQUEST];
        world_until_count(&world, &world.storage.requests[MESSAGE_CURSORS_REQUEST], cursors + 1);
        size_t expected = (steps[i].presence ? 1u : 0u) + (steps[i].typing ? 1u : 0u);
        endpoint_until(endpoint, SIGNAL, signals + expected);
        if (steps[i].receipt) {
            endpoint_until(endpoint, MARK, marks + 1);
        }
        for (int turn = 0; turn < 5; turn++) {
            assert_int_equal(loop_turn(world.loop, 30000), ERR_OK);
        }
        assert_int_equal(endpoint_deliveries(endpoint, SIGNAL), signals + expected);
        assert_int_equal(routing_metrics.shed[SHED_PRESENCE].value - shed[SHED_PRESENCE],
                         !steps[i].presence);
        assert_int_equal(routing_metrics.shed[SHED_TYPING].value - shed[SHED_TYPING],
                         !steps[i].typing);
        assert_int_equal(routing_metrics.shed[SHED_RECEIPTS].value - shed[SHED_RECEIPTS],
                         !steps[i].receipt);
    }
    uint64_t beyond = endpoint_text(endpoint, "u_ann", "c_family", NULL, "{}");
    const struct seen_result *result = endpoint_result(endpoint, beyond);
    assert_int_equal(result->reason, REASON_OVERLOAD);
    assert_true(result->retry_ms > 0);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_SERVE);
    script_release(&world.storage);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(endpoint_result(endpoint, refs[i])->reason, REASON_OK);
    }
}

static void signals_are_bounded(void **state) {
    (void)state;
    static Pipit__Signal signals[40];
    static Pipit__Signal *pointers[40];
    static char users[40][16];
    uint64_t dropped = routing_metrics.limit_hits[LIMIT_HIT_SIGNALS].value;
    for (size_t i = 0; i < 40; i++) {
        (void)snprintf(users[i], sizeof users[i], "u_%zu", i);
        pipit__signal__init(&signals[i]);
        signals[i].user = users[i];
        signals[i].conversation = (char *)"c_family";
        pointers[i] = &signals[i];
    }
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    batch.n_signals = 40;
    batch.signals = pointers;
    endpoint_send(world.endpoints[0], &batch);
    world_until_count(&world, &world.endpoints[0]->empty_replies, 1);
    assert_int_equal(routing_metrics.limit_hits[LIMIT_HIT_SIGNALS].value, dropped + 40 - 16);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, finish)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(marks_are_coalesced),
        TEST(marks_survive_a_failed_write),
        TEST(large_groups_get_no_receipts),
        TEST(strangers_and_nonsense_mark_nothing),
        TEST(marks_are_bounded),
        TEST(the_last_signal_of_a_kind_counts),
        TEST(only_members_signal),
        TEST(presence_without_a_conversation_goes_to_all),
        TEST(members_see_who_is_online),
        TEST(reads_are_passed_on),
        TEST(reads_wait_for_their_turn),
        cmocka_unit_test_setup_teardown(reads_without_storage_say_why, start_quick, finish),
        TEST(unknown_requests_are_answered),
        TEST(overload_sheds_in_order),
        TEST(signals_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
