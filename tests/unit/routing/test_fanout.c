/* Who gets what: deliveries, take-over, interest. */
#include "tests/unit/routing/support.h"

#include "common/clock.h"
#include "proto/limits.h"
#include "services/routing/state.h"
#include <stdio.h>
#include <string.h>

#define MESSAGE PIPIT__DELIVERY__EVENT_MESSAGE
#define KICK PIPIT__DELIVERY__EVENT_KICK

static struct world world;
static const char *const family[] = {"u_ann", "u_bob", NULL};

static void few(struct routing_settings *settings, int index) {
    (void)index;
    settings->interests_per_endpoint_max = 3;
    settings->sessions_max = 2;
}

static int start(void **state) {
    (void)state;
    world_start(&world, 1, NULL);
    (void)script_conversation(&world.storage, "c_family", family);
    (void)script_conversation(&world.storage, "c_work", family);
    return 0;
}

static int start_few(void **state) {
    (void)state;
    world_start(&world, 1, few);
    (void)script_conversation(&world.storage, "c_family", family);
    return 0;
}

static int finish(void **state) {
    (void)state;
    clock_fake_off();
    world_finish(&world);
    return 0;
}

static uint64_t say(struct endpoint_peer *endpoint, const char *conversation, const char *body) {
    uint64_t ref = endpoint_text(endpoint, "u_ann", conversation, NULL, body);
    const struct seen_result *result = endpoint_result(endpoint, ref);
    assert_int_equal(result->reason, REASON_OK);
    return result->seq;
}

static void only_interested_endpoints_get_a_message(void **state) {
    (void)state;
    struct endpoint_peer *one = endpoint_open(&world, 0);
    struct endpoint_peer *two = endpoint_open(&world, 0);
    struct endpoint_peer *three = endpoint_open(&world, 0);
    endpoint_interest(one, "c_family");
    endpoint_interest(two, "c_family");
    endpoint_interest(three, "c_work");
    (void)say(one, "c_family", "hello");
    endpoint_until(one, MESSAGE, 1);
    endpoint_until(two, MESSAGE, 1);
    const struct seen_delivery *seen = endpoint_delivery(two, MESSAGE, 0);
    assert_string_equal(seen->conversation, "c_family");
    assert_string_equal(seen->user, "u_ann");
    assert_string_equal(seen->body, "hello");
    assert_int_equal(seen->seq, 1);
    assert_int_equal(seen->members_version, 1);
    assert_int_equal(seen->skip_session, 7);
    world_settle(&world, three);
    assert_int_equal(endpoint_deliveries(three, MESSAGE), 0);
    Pipit__InterestUpdate update = PIPIT__INTEREST_UPDATE__INIT;
    char *gone[1] = {(char *)"c_family"};
    update.n_remove_conversations = 1;
    update.remove_conversations = gone;
    endpoint_tell(two, &update);
    (void)say(one, "c_family", "again");
    endpoint_until(one, MESSAGE, 2);
    world_settle(&world, two);
    assert_int_equal(endpoint_deliveries(two, MESSAGE), 1);
}

/* 200 messages of one turn travel in few bus messages, in order. */
static void deliveries_travel_in_batches(void **state) {
    (void)state;
    struct endpoint_peer *one = endpoint_open(&world, 0);
    endpoint_interest(one, "c_family");
    (void)say(one, "c_family", "warm");
    endpoint_until(one, MESSAGE, 1);
    size_t before = one->batches;
    uint64_t refs[64];
    endpoint_texts(one, "u_ann", "c_family", "m", 0, 64, refs);
    endpoint_until(one, MESSAGE, 65);
    assert_int_equal(one->batches, before + 1); /* one append, one turn, one batch */
    for (size_t i = 0; i < 65; i++) {
        assert_int_equal(endpoint_delivery(one, MESSAGE, i)->seq, i + 1);
    }
}

static void send_large_bodies(void) {
    static uint8_t body[LIMIT_BODY_BYTES];
    struct endpoint_peer *one = endpoint_open(&world, 0);
    endpoint_interest(one, "c_family");
    uint8_t ids[8][ID_UUID_BYTES];
    Pipit__Submit submits[8];
    Pipit__Submit *pointers[8];
    memset(body, 'x', sizeof body);
    for (size_t i = 0; i < 8; i++) {
        fresh_id(ids[i]);
        pipit__submit__init(&submits[i]);
        submits[i].user = (char *)"u_ann";
        submits[i].conversation = (char *)"c_family";
        submits[i].id = (ProtobufCBinaryData){ID_UUID_BYTES, ids[i]};
        submits[i].body = (ProtobufCBinaryData){sizeof body, body};
        pointers[i] = &submits[i];
    }
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    batch.n_submits = 8;
    batch.submits = pointers;
    endpoint_send(one, &batch);
    endpoint_until(one, MESSAGE, 8);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(endpoint_delivery(one, MESSAGE, i)->seq, i + 1);
        assert_int_equal(endpoint_result(one, submits[i].ref)->seq, i + 1);
    }
}

/* Eight bodies of 32 KiB: each travels in a batch of its own. */
static void large_bodies_arrive(void **state) {
    (void)state;
    send_large_bodies();
}

/* The arena of the turn holds less than that: what does not fit is packed and published directly,
 * in order. */
static void a_full_turn_loses_nothing(void **state) {
    (void)state;
    uint64_t hits = routing_metrics.limit_hits[LIMIT_HIT_TURN_MEMORY].value;
    arena_finish(&world.routing[0]->turn); /* between turns nothing lives in it */
    arena_init(&world.routing[0]->turn, 65536, 65536);
    send_large_bodies();
    assert_true(routing_metrics.limit_hits[LIMIT_HIT_TURN_MEMORY].value > hits);
}
/* --- interest */

static void an_unknown_endpoint_needs_a_snapshot(void **state) {
    (void)state;
    struct endpoint_peer *one = endpoint_open(&world, 0);
    Pipit__InterestUpdate update = PIPIT__INTEREST_UPDATE__INIT;
    update.endpoint = 424242;
    update.update_seq = 1;
    endpoint_tell(one, &update);
    assert_true(one->need_snapshot);
    assert_int_equal(one->interest_error, ERR_OK);
    assert_int_not_equal(one->boot_id, 0);
}

static void a_gap_in_updates_needs_a_snapshot(void **state) {
    (void)state;
    struct endpoint_peer *one = endpoint_open(&world, 0);
    endpoint_interest(one, "c_family");
    Pipit__InterestUpdate update = PIPIT__INTEREST_UPDATE__INIT;
    char *more[1] = {(char *)"c_work"};
    update.n_add_conversations = 1;
    update.add_conversations = more;
    update.update_seq = one->update_seq + 2;
    endpoint_tell(one, &update);
    assert_true(one->need_snapshot);
    (void)say(one, "c_work", "not for me");
    (void)say(one, "c_family", "for me");
    endpoint_until(one, MESSAGE, 1);
    assert_string_equal(endpoint_delivery(one, MESSAGE, 0)->body, "for me");

    Pipit__InterestUpdate snapshot = PIPIT__INTEREST_UPDATE__INIT;
    snapshot.snapshot = true;
    snapshot.n_add_conversations = 1;
    snapshot.add_conversations = more;
    one->update_seq = 0; /* a snapshot restarts the numbers */
    endpoint_tell(one, &snapshot);
    assert_false(one->need_snapshot);
    (void)say(one, "c_family", "no longer for me");
    (void)say(one, "c_work", "for me now");
    endpoint_until(one, MESSAGE, 2);
    assert_string_equal(endpoint_delivery(one, MESSAGE, 1)->body, "for me now");
    Pipit__InterestUpdate repeated = PIPIT__INTEREST_UPDATE__INIT;
    repeated.update_seq = one->update_seq; /* its answer was lost */
    endpoint_tell(one, &repeated);
    assert_false(one->need_snapshot);
}

static void malformed_updates_are_refused(void **state) {
    (void)state;
    struct endpoint_peer *one = endpoint_open(&world, 0);
    Pipit__InterestUpdate update = PIPIT__INTEREST_UPDATE__INIT;
    char *bad[1] = {(char *)"no conversation"};
    update.n_add_conversations = 1;
    update.add_conversations = bad;
    endpoint_tell(one, &update);
    assert_int_equal(one->interest_error, ERR_INVALID);
    Pipit__InterestUpdate sessions = PIPIT__INTEREST_UPDATE__INIT;
    Pipit__EndpointSession nobody = PIPIT__ENDPOINT_SESSION__INIT;
    Pipit__EndpointSession *list[1] = {&nobody};
    nobody.user = (char *)"u_ann"; /* session 0 */
    sessions.n_add_sessions = 1;
    sessions.add_sessions = list;
    endpoint_tell(one, &sessions);
    assert_int_equal(one->interest_error, ERR_INVALID);
}

static void beyond_a_limit_an_endpoint_starts_over(void **state) {
    (void)state;
    struct endpoint_peer *one = endpoint_open(&world, 0);
    Pipit__InterestUpdate update = PIPIT__INTEREST_UPDATE__INIT;
    char *four[4] = {(char *)"c_1", (char *)"c_2", (char *)"c_3", (char *)"c_4"};
    update.n_add_conversations = 4;
    update.add_conversations = four;
    endpoint_tell(one, &update);
    assert_int_equal(one->interest_error, ERR_FULL);
    assert_true(one->need_snapshot);
    Pipit__InterestUpdate next = PIPIT__INTEREST_UPDATE__INIT;
    endpoint_tell(one, &next);
    assert_true(one->need_snapshot); /* half applied: nothing but a snapshot helps */
    Pipit__InterestUpdate snapshot = PIPIT__INTEREST_UPDATE__INIT;
    snapshot.snapshot = true;
    snapshot.n_add_conversations = 3;
    snapshot.add_conversations = four;
    endpoint_tell(one, &snapshot);
    assert_false(one->need_snapshot);
    assert_int_equal(one->interest_error, ERR_OK);
    endpoint_session(one, 1, "u_ann", "d_1", 1, false);
    endpoint_session(one, 2, "u_bob", "d_1", 1, false);
    Pipit__InterestUpdate third = PIPIT__INTEREST_UPDATE__INIT;
    Pipit__EndpointSession told = PIPIT__ENDPOINT_SESSION__INIT;
    Pipit__EndpointSession *list[1] = {&told};
    told.session = 3;
    told.user = (char *)"u_cem";
    third.n_add_sessions = 1;
    third.add_sessions = list;
    endpoint_tell(one, &third);
    assert_int_equal(one->interest_error, ERR_FULL);
}

static void a_silent_endpoint_is_forgotten(void **state) {
    (void)state;
    struct endpoint_peer *one = endpoint_open(&world, 0);
    struct endpoint_peer *two = endpoint_open(&world, 0);
    endpoint_interest(one, "c_family");
    endpoint_interest(two, "c_family");
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    for (int i = 0; i < 3; i++) {
        world_advance(&world, 4000000);
        Pipit__InterestUpdate keep_alive = PIPIT__INTEREST_UPDATE__INIT;
        endpoint_tell(one, &keep_alive);
        assert_false(one->need_snapshot);
    }
    Pipit__InterestUpdate late = PIPIT__INTEREST_UPDATE__INIT;
    endpoint_tell(two, &late);
    assert_true(two->need_snapshot);
}

static void a_leaving_endpoint_gets_nothing_more(void **state) {
    (void)state;
    struct endpoint_peer *one = endpoint_open(&world, 0);
    struct endpoint_peer *two = endpoint_open(&world, 0);
    endpoint_interest(one, "c_family");
    endpoint_interest(two, "c_family");
    Pipit__InterestUpdate leaving = PIPIT__INTEREST_UPDATE__INIT;
    leaving.leaving = true;
    endpoint_tell(two, &leaving);
    (void)say(one, "c_family", "x");
    endpoint_until(one, MESSAGE, 1);
    Pipit__InterestUpdate after = PIPIT__INTEREST_UPDATE__INIT;
    endpoint_tell(two, &after);
    assert_true(two->need_snapshot);
    assert_int_equal(endpoint_deliveries(two, MESSAGE), 0);
}

/* --- take-over */

static void a_later_session_takes_over(void **state) {
    (void)state;
    struct endpoint_peer *one = endpoint_open(&world, 0);
    struct endpoint_peer *two = endpoint_open(&world, 0);
    endpoint_session(one, 11, "u_ann", "m:lamp", 1000, true);
    endpoint_session(two, 12, "u_ann", "m:lamp", 2000, true);
    endpoint_until(one, KICK, 1);
    assert_int_equal(endpoint_delivery(one, KICK, 0)->session, 11);
    assert_int_equal(endpoint_delivery(one, KICK, 0)->reason, REASON_SESSION_TAKEN_OVER);
    endpoint_session(one, 13, "u_ann", "m:lamp", 1500, true); /* told late: opened before 12 */
    endpoint_until(one, KICK, 2);
    assert_int_equal(endpoint_delivery(one, KICK, 1)->session, 13);
    world_settle(&world, two);
    assert_int_equal(endpoint_deliveries(two, KICK), 0);
    assert_int_equal(endpoint_deliveries(one, KICK), 2); /* each once */
}

static void others_are_left_alone(void **state) {
    (void)state;
    struct endpoint_peer *one = endpoint_open(&world, 0);
    endpoint_session(one, 11, "u_ann", "m:lamp", 1000, true);
    endpoint_session(one, 12, "u_bob", "m:lamp", 2000, true); /* another user */
    endpoint_session(one, 13, "u_ann", "m:door", 3000, true); /* another device */
    endpoint_session(one, 14, "u_ann", "d_web", 4000, false); /* two tabs of one browser */
    endpoint_session(one, 15, "u_ann", "d_web", 5000, false);
    world_settle(&world, one);
    assert_int_equal(endpoint_deliveries(one, KICK), 0);
    Pipit__InterestUpdate update = PIPIT__INTEREST_UPDATE__INIT;
    uint64_t closed[1] = {11};
    update.n_remove_sessions = 1;
    update.remove_sessions = closed;
    endpoint_tell(one, &update);
    endpoint_session(one, 16, "u_ann", "m:lamp", 6000, true); /* nobody to take over from */
    world_settle(&world, one);
    assert_int_equal(endpoint_deliveries(one, KICK), 0);
    endpoint_session(one, 17, "u_ann", "d_web", 7000, true);
    endpoint_until(one, KICK, 2); /* both tabs */
}

struct again {
    struct endpoint_peer *endpoint;
    unsigned before;
};

/* Keeps telling until an answer comes: calls fail until the connection is dialled again. */
static bool told_again(void *arg) {
    struct again *again = arg;
    struct endpoint_peer *endpoint = again->endpoint;
    if (endpoint->interest_replies > again->before) {
        return true;
    }
    if (bus_peer_outstanding(endpoint->peer) == 0) {
        Pipit__InterestUpdate update = PIPIT__INTEREST_UPDATE__INIT;
        update.endpoint = endpoint->id;
        update.update_seq = endpoint->update_seq + 1;
        enum err error = endpoint_try_call(endpoint, MESSAGE_INTEREST_UPDATE, &update.base);
        assert_true(error == ERR_OK || error == ERR_UNAVAILABLE);
    }
    return false;
}

static void a_restarted_routing_says_so(void **state) {
    (void)state;
    struct endpoint_peer *one = endpoint_open(&world, 0);
    endpoint_interest(one, "c_family");
    (void)say(one, "c_family", "before");
    uint64_t boot_id = one->boot_id;
    world_stop_routing(&world, 0);
    world_start_routing(&world, 0);
    unsigned before = one->interest_replies;
    one->timeout_us = 200000; /* a call may still leave through the old connection */
    world_until(&world, told_again, &(struct again){one, before});
    assert_true(one->need_snapshot);
    assert_int_not_equal(one->boot_id, boot_id);
}

#define TEST(name, setup) cmocka_unit_test_setup_teardown(name, setup, finish)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(only_interested_endpoints_get_a_message, start),
        TEST(deliveries_travel_in_batches, start),
        TEST(large_bodies_arrive, start),
        TEST(a_full_turn_loses_nothing, start),
        TEST(an_unknown_endpoint_needs_a_snapshot, start),
        TEST(a_gap_in_updates_needs_a_snapshot, start),
        TEST(malformed_updates_are_refused, start),
        TEST(beyond_a_limit_an_endpoint_starts_over, start_few),
        TEST(a_silent_endpoint_is_forgotten, start),
        TEST(a_leaving_endpoint_gets_nothing_more, start),
        TEST(a_later_session_takes_over, start),
        TEST(others_are_left_alone, start),
        TEST(a_restarted_routing_says_so, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
