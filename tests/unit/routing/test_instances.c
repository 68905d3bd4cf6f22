/* Several instances: storage instances that die or freeze with an append in their hands, appends
 * that are carried out late, routing itself frozen, drained, and connection instances that die. The
 * two storage instances share one log, as two over one database do. */
#include "tests/unit/routing/support.h"

#include "common/clock.h"
#include "services/routing/metrics.h"
#include "services/routing/state.h"
#include <stdio.h>
#include <string.h>

#define MESSAGE PIPIT__DELIVERY__EVENT_MESSAGE
#define SIGNAL PIPIT__DELIVERY__EVENT_SIGNAL
#define DRAINING PIPIT__DELIVERY__EVENT_DRAINING

static struct world world;
static char second_address[BUS_URL_BYTES], both_addresses[2 * BUS_URL_BYTES + 1];
static const char *const family[] = {"u_ann", "u_bob", NULL};

static void two_storages(struct routing_settings *settings, int index) {
    (void)index;
    (void)snprintf(second_address, sizeof second_address, "%s2", settings->bus.storage);
    (void)snprintf(both_addresses, sizeof both_addresses, "%s,%s", settings->bus.storage,
                   second_address);
    settings->bus.storage = both_addresses;
}

static void short_waits(struct routing_settings *settings, int index) {
    (void)index;
    settings->bus.timeout_us = 200000;
    settings->endpoint_lease_us = 3000000;
}

static void prepare(void) {
    (void)script_conversation(&world.storage, "c_family", family);
    endpoint_interest(endpoint_open(&world, 0), "c_family");
}

static bool pair_is_up(void *arg) {
    struct rpc_peer *const *peers = NULL;
    size_t count = rpc_peers(world.routing[0]->storage, &peers);
    return count == 2 && peers[0]->up && peers[1]->up &&
           routing_metrics.members_uncertain.value > *(uint64_t *)arg; /* its pulse was felt */
}

static int start_pair(void **state) {
    (void)state;
    world_start(&world, 1, two_storages);
    uint64_t heard = routing_metrics.members_uncertain.value;
    script_join(&world.storage, second_address);
    world_until(&world, pair_is_up, &heard);
    prepare();
    return 0;
}

static int start_short(void **state) {
    (void)state;
    world_start(&world, 1, short_waits);
    prepare();
    return 0;
}

static int finish(void **state) {
    (void)state;
    clock_fake_off();
    world_finish(&world);
    return 0;
}

static struct script_conversation *family_log(void) {
    return script_find(&world.storage, "c_family");
}

static uint64_t send_text(const char *body) {
    return endpoint_text(world.endpoints[0], "u_ann", "c_family", NULL, body);
}

static const struct seen_result *result_of(uint64_t ref) {
    return endpoint_result(world.endpoints[0], ref);
}

/* Everything in the log was delivered once, in order. */
static void check_deliveries(void) {
    const struct script_conversation *log = family_log();
    endpoint_until(world.endpoints[0], MESSAGE, log->head);
    assert_int_equal(endpoint_deliveries(world.endpoints[0], MESSAGE), log->head);
    for (size_t i = 0; i < log->head; i++) {
        const struct seen_delivery *seen = endpoint_delivery(world.endpoints[0], MESSAGE, i);
        assert_int_equal(seen->seq, i + 1);
        assert_string_equal(seen->body, log->rows[i].body);
    }
}

/* --- storage */

/* The append was not carried out: the other instance does it, and nobody notices. Then the first
 * one wakes up and tries, too late. */
static void a_frozen_append_is_done_elsewhere(void **state) {
    (void)state;
    uint64_t again = routing_metrics.appends_again.value;
    assert_int_equal(result_of(send_text("one"))->seq, 1);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_HOLD);
    uint64_t refs[3];
    refs[0] = send_text("two");
    world_until_size(&world, &world.storage.held_count, 1);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_SERVE);
    endpoint_texts(world.endpoints[0], "u_ann", "c_family", "three", 0, 2, &refs[1]);
    script_lose_holder(&world.storage);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(result_of(refs[i])->reason, REASON_OK);
        assert_int_equal(result_of(refs[i])->seq, i + 2);
        assert_false(result_of(refs[i])->replay);
    }
    assert_true(routing_metrics.appends_again.value > again);
    script_release(&world.storage);
    assert_int_equal(result_of(send_text("four"))->seq, 5);
    assert_int_equal(family_log()->head, 5);
    check_deliveries();
}

/* It was carried out, but the answer went with the instance: found in the tail. */
static void an_append_whose_answer_was_lost_is_found(void **state) {
    (void)state;
    assert_int_equal(result_of(send_text("one"))->seq, 1);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_HOLD_ANSWER);
    uint64_t ref = send_text("two");
    world_until_size(&world, &world.storage.held_count, 1);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_SERVE);
    script_lose_holder(&world.storage);
    assert_int_equal(result_of(ref)->reason, REASON_OK);
    assert_int_equal(result_of(ref)->seq, 2);
    assert_false(result_of(ref)->replay); /* its sender hears of it for the first time */
    assert_int_equal(result_of(send_text("three"))->seq, 3);
    assert_int_equal(family_log()->head, 3);
    check_deliveries();
}

/* It is carried out between the look and the second attempt: the id decides. */
static void an_append_carried_out_meanwhile_is_a_replay(void **state) {
    (void)state;
    assert_int_equal(result_of(send_text("one"))->seq, 1);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_HOLD);
    uint64_t ref = send_text("two");
    world_until_size(&world, &world.storage.held_count, 1);
    script_lose_holder(&world.storage); /* the second attempt is held, too */
    world_until_size(&world, &world.storage.held_count, 2);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_SERVE);
    script_release(&world.storage);
    assert_int_equal(result_of(ref)->reason, REASON_OK);
    assert_int_equal(result_of(ref)->seq, 2);
    assert_int_equal(family_log()->head, 2);
    assert_int_equal(result_of(send_text("three"))->seq, 3);
    check_deliveries();
}

/* Another instance has stored a publication; ours does not know of that row yet. */
static uint64_t store_elsewhere(const uint8_t *id, const Pipit__Origin *origin) {
    struct script_conversation *log = family_log();
    uint64_t seq = script_append(&world.storage, log, "u_ann", id, "lamp");
    struct script_row *row = &log->rows[seq - 1];
    row->has_origin = true;
    (void)snprintf(row->origin_device, sizeof row->origin_device, "%s", origin->device);
    row->origin_packet = origin->packet_id;
    memcpy(row->origin_hash, origin->hash.data, sizeof row->origin_hash);
    return seq;
}

static const struct seen_result *publish_lamp(uint8_t *id, Pipit__Origin *origin) {
    Pipit__Submit submit = PIPIT__SUBMIT__INIT;
    submit.user = (char *)"u_ann";
    submit.device = (char *)"m:lamp";
    submit.conversation = (char *)"c_family";
    submit.id = (ProtobufCBinaryData){ID_UUID_BYTES, id};
    submit.body = (ProtobufCBinaryData){4, (uint8_t *)(uintptr_t)"lamp"};
    submit.origin = origin;
    return result_of(endpoint_submit(world.endpoints[0], &submit));
}

/* The client sent it again through another instance while this one was frozen with the first copy:
 * one message. In a packet id that is used again it is another one. */
static void a_first_copy_that_comes_late_is_no_new_message(void **state) {
    (void)state;
    uint8_t hash[16] = {7};
    uint8_t ids[6][ID_UUID_BYTES];
    Pipit__Origin origin = PIPIT__ORIGIN__INIT;
    origin.device = (char *)"m:lamp";
    origin.packet_id = 5;
    origin.hash = (ProtobufCBinaryData){sizeof hash, hash};
    for (size_t i = 0; i < 6; i++) {
        fresh_id(ids[i]);
    }
    assert_int_equal(result_of(send_text("one"))->seq, 1);
    assert_int_equal(store_elsewhere(ids[1], &origin), 2);
    const struct seen_result *late = publish_lamp(ids[0], &origin);
    assert_int_equal(late->reason, REASON_OK);
    assert_int_equal(late->seq, 2);
    assert_int_equal(family_log()->head, 2);
    assert_int_equal(store_elsewhere(ids[2], &origin), 3);
    assert_int_equal(publish_lamp(ids[3], &origin)->seq, 4);
    origin.packet_id = 6;
    assert_int_equal(store_elsewhere(ids[5], &origin), 5);
    origin.packet_id = 5;
    assert_int_equal(publish_lamp(ids[4], &origin)->seq, 6);
    check_deliveries();
}

/* Nobody is left to ask: the sender is told that the outcome is unknown, not that it failed. */
static void in_doubt_is_no_refusal(void **state) {
    (void)state;
    assert_int_equal(result_of(send_text("one"))->seq, 1);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_HOLD);
    uint64_t ref = send_text("two");
    world_until_size(&world, &world.storage.held_count, 1);
    world.storage.fail_with = ERR_UNAVAILABLE;
    script_on(&world.storage, MESSAGE_CONVERSATION_LOAD, SCRIPT_FAIL);
    script_lose_holder(&world.storage);
    assert_int_equal(result_of(ref)->reason, REASON_TIMEOUT);
    assert_int_equal(result_of(send_text("three"))->reason, REASON_UNAVAILABLE); /* never sent */
}

/* Loads, reads and look-ups are simply asked of the other one. */
static void questions_go_to_another_storage(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    script_on(&world.storage, MESSAGE_CONVERSATION_LOAD, SCRIPT_HOLD);
    script_on(&world.storage, MESSAGE_HISTORY_REQUEST, SCRIPT_HOLD);
    uint64_t ref = send_text("one");
    world_until_size(&world, &world.storage.held_count, 1);
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = (char *)"c_family";
    endpoint_call(endpoint, MESSAGE_HISTORY_REQUEST, &request.base);
    endpoint_call(endpoint, MESSAGE_HISTORY_REQUEST, &request.base);
    world_until_size(&world, &world.storage.held_count, 3); /* both instances have some */
    script_on(&world.storage, MESSAGE_CONVERSATION_LOAD, SCRIPT_SERVE);
    script_on(&world.storage, MESSAGE_HISTORY_REQUEST, SCRIPT_SERVE);
    script_lose_holder(&world.storage);
    script_release(&world.storage); /* of the lost one nobody hears it */
    assert_int_equal(result_of(ref)->seq, 1);
    world_until_count(&world, &endpoint->others, 2);
    assert_int_equal(endpoint->other_error, ERR_OK);
}

/* The sender gave up, nobody wrote since, and the frozen instance wakes up: the members get the
 * message without anybody's doing. */
static void a_late_append_is_delivered(void **state) {
    (void)state;
    assert_int_equal(result_of(send_text("one"))->seq, 1);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_HOLD);
    unsigned loads = world.storage.requests[MESSAGE_CONVERSATION_LOAD];
    assert_int_equal(result_of(send_text("two"))->reason, REASON_TIMEOUT);
    world_until_count(&world, &world.storage.requests[MESSAGE_CONVERSATION_LOAD], loads + 1);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_SERVE);
    world_settle(&world, world.endpoints[0]);
    assert_int_equal(endpoint_deliveries(world.endpoints[0], MESSAGE), 1);
    script_release(&world.storage); /* carried out now */
    assert_int_equal(family_log()->head, 2);
    endpoint_until(world.endpoints[0], MESSAGE, 2);
    check_deliveries();
}

/* A change that was committed and never published, because its instance died in between. */
static void a_lost_storage_makes_members_uncertain(void **state) {
    (void)state;
    assert_int_equal(result_of(send_text("one"))->seq, 1);
    script_change_member(&world.storage, family_log(), "u_ann", PIPIT__MEMBER_STATE__MEMBER_LEFT,
                         false);
    unsigned loads = world.storage.requests[MESSAGE_CONVERSATION_LOAD];
    size_t told = endpoint_deliveries(world.endpoints[0], PIPIT__DELIVERY__EVENT_MEMBERS_UNCERTAIN);
    bus_server_close(&world.storage.server);
    endpoint_until(world.endpoints[0], PIPIT__DELIVERY__EVENT_MEMBERS_UNCERTAIN, told + 1);
    assert_int_equal(result_of(send_text("two"))->reason, REASON_NOT_MEMBER);
    assert_true(world.storage.requests[MESSAGE_CONVERSATION_LOAD] > loads);
}

/* --- routing */

/* Frozen for longer than the lease of its endpoints: it trusts no cache and forgets nobody. */
static void a_pause_is_noticed(void **state) {
    (void)state;
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    assert_int_equal(result_of(send_text("one"))->seq, 1);
    script_change_member(&world.storage, family_log(), "u_ann", PIPIT__MEMBER_STATE__MEMBER_LEFT,
                         false); /* the event waits behind much else in a socket */
    uint64_t pauses = routing_metrics.pauses.value;
    int64_t endpoints = routing_metrics.endpoints.value;
    clock_fake_advance_us(10000000);
    assert_int_equal(result_of(send_text("two"))->reason, REASON_NOT_MEMBER);
    assert_int_equal(routing_metrics.pauses.value, pauses + 1);
    world_advance(&world, 1500000);
    assert_int_equal(routing_metrics.endpoints.value, endpoints);
    assert_int_equal(routing_metrics.pauses.value, pauses + 1);
    world_advance(&world, 3000000); /* its lease does end */
    assert_int_equal(routing_metrics.endpoints.value, endpoints - 1);
}

static bool drained;

static void on_drained(void *user) {
    *(bool *)user = true;
}

static bool is_true(void *arg) {
    return *(bool *)arg;
}

/* Told to the endpoints, which take their messages elsewhere and say so. */
static void drain_waits_for_its_endpoints(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    drained = false;
    routing_drain(world.routing[0], on_drained, &drained);
    endpoint_until(endpoint, DRAINING, 1);
    uint64_t ref = send_text("one");
    assert_int_equal(result_of(ref)->reason, REASON_DRAIN);
    assert_false(drained);
    Pipit__InterestUpdate update = PIPIT__INTEREST_UPDATE__INIT;
    endpoint_tell(endpoint, &update); /* it has not heard, or is not ready */
    assert_true(endpoint->told_draining);
    assert_false(drained);
    pipit__interest_update__init(&update);
    update.released = true;
    uint64_t begin_us = clock_mono_us();
    endpoint_tell(endpoint, &update);
    world_until(&world, is_true, &drained);
    assert_true(clock_mono_us() - begin_us < 1500000);
}

/* An endpoint of the version before does not say so. */
static void drain_does_not_wait_for_ever(void **state) {
    (void)state;
    drained = false;
    routing_drain(world.routing[0], on_drained, &drained);
    world_until(&world, is_true, &drained);
}

/* --- endpoints */

/* An update from before the last snapshot that was stuck on the way. */
static void updates_of_another_era_are_refused(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    char *conversations[1] = {(char *)"c_family"};
    Pipit__InterestUpdate update = PIPIT__INTEREST_UPDATE__INIT;
    update.snapshot = true;
    update.era = 5;
    update.n_add_conversations = 1;
    update.add_conversations = conversations;
    endpoint_tell(endpoint, &update);
    uint64_t seq = endpoint->update_seq;
    pipit__interest_update__init(&update);
    update.era = 4;
    update.n_remove_conversations = 1;
    update.remove_conversations = conversations;
    endpoint_tell(endpoint, &update);
    assert_true(endpoint->need_snapshot);
    endpoint->update_seq = seq;
    pipit__interest_update__init(&update);
    update.era = 5;
    endpoint_tell(endpoint, &update);
    assert_false(endpoint->need_snapshot);
    assert_int_equal(result_of(send_text("one"))->seq, 1);
    endpoint_until(endpoint, MESSAGE, 1); /* still interested */
}

/* A connection instance dies: when its lease is over, those whose last session it had are offline,
 * in the conversations of theirs that are active here. */
static void the_end_of_a_lease_is_told(void **state) {
    (void)state;
    static const char *const others[] = {"u_cid", "u_dan", NULL};
    (void)script_conversation(&world.storage, "c_other", others);
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    struct endpoint_peer *stays = world.endpoints[0], *dies = endpoint_open(&world, 0);
    endpoint_interest(stays, "c_other");
    endpoint_session(stays, 1, "u_ann", "d_1", 1, false);
    endpoint_session(dies, 1, "u_bob", "d_1", 1, false);
    endpoint_session(dies, 2, "u_bob", "d_2", 1, false);
    endpoint_session(dies, 3, "u_ann", "d_2", 1, false);
    assert_int_equal(result_of(send_text("one"))->seq, 1);
    uint64_t ref = endpoint_text(stays, "u_cid", "c_other", NULL, "{}");
    assert_int_equal(result_of(ref)->seq, 1);
    for (int i = 0; i < 5; i++) {
        world_advance(&world, 1000000);
        Pipit__InterestUpdate update = PIPIT__INTEREST_UPDATE__INIT;
        endpoint_tell(stays, &update);
    }
    endpoint_until(stays, SIGNAL, 1);
    world_settle(&world, stays);
    assert_int_equal(endpoint_deliveries(stays, SIGNAL), 1);
    const struct seen_delivery *seen = endpoint_delivery(stays, SIGNAL, 0);
    assert_string_equal(seen->user, "u_bob"); /* ann has another session, cid and dan had none */
    assert_string_equal(seen->conversation, "c_family");
    assert_string_equal(seen->status, "offline");
    assert_false(seen->active);
}

#define PAIR_TEST(name) cmocka_unit_test_setup_teardown(name, start_pair, finish)
#define SHORT_TEST(name) cmocka_unit_test_setup_teardown(name, start_short, finish)

int main(void) {
    const struct CMUnitTest tests[] = {
        PAIR_TEST(a_frozen_append_is_done_elsewhere),
        PAIR_TEST(an_append_whose_answer_was_lost_is_found),
        PAIR_TEST(an_append_carried_out_meanwhile_is_a_replay),
        PAIR_TEST(in_doubt_is_no_refusal),
        PAIR_TEST(a_first_copy_that_comes_late_is_no_new_message),
        PAIR_TEST(questions_go_to_another_storage),
        SHORT_TEST(a_late_append_is_delivered),
        PAIR_TEST(a_lost_storage_makes_members_uncertain),
        SHORT_TEST(a_pause_is_noticed),
        SHORT_TEST(drain_waits_for_its_endpoints),
        SHORT_TEST(drain_does_not_wait_for_ever),
        SHORT_TEST(updates_of_another_era_are_refused),
        SHORT_TEST(the_end_of_a_lease_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
