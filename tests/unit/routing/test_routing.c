/* The life of the service: limits, drain, shutdown in the middle of things, storage that is away.
 */
#include "tests/unit/routing/support.h"

#include "common/clock.h"
#include "common/mem.h"
#include "services/routing/metrics.h"
#include <stdio.h>
#include <string.h>

#define MESSAGE PIPIT__DELIVERY__EVENT_MESSAGE

static struct world world;
static const char *const family[] = {"u_ann", "u_bob", NULL};

static void few(struct routing_settings *settings, int index) {
    (void)index;
    settings->conversations_max = 16;
    settings->pending_per_conversation_max = 4;
    settings->bus.timeout_us = 500000;
}

static int start(void **state) {
    (void)state;
    world_start(&world, 1, few);
    (void)script_conversation(&world.storage, "c_family", family);
    (void)endpoint_open(&world, 0);
    return 0;
}

static int finish(void **state) {
    (void)state;
    clock_fake_off();
    world_finish(&world);
    return 0;
}

static void a_conversation_has_a_limit_of_its_own(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    uint64_t refs[6];
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_HOLD);
    uint64_t hits = routing_metrics.limit_hits[LIMIT_HIT_PENDING_CONVERSATION].value;
    endpoint_texts(endpoint, "u_ann", "c_family", "m", 0, 6, refs);
    world_until_size(&world, &world.storage.held_count, 1);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_SERVE);
    script_release(&world.storage);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(endpoint_result(endpoint, refs[i])->reason,
                         i < 4 ? REASON_OK : REASON_OVERLOAD);
    }
    assert_int_equal(routing_metrics.limit_hits[LIMIT_HIT_PENDING_CONVERSATION].value, hits + 2);
}

/* More conversations than the cache holds: idle ones make room, those in use do not. */
static void the_cache_is_bounded(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    char names[40][16];
    uint64_t refs[40];
    for (size_t i = 0; i < 40; i++) {
        (void)snprintf(names[i], sizeof names[i], "c_%zu", i);
        (void)script_conversation(&world.storage, names[i], family);
    }
    for (size_t i = 0; i < 40; i++) {
        uint64_t ref = endpoint_text(endpoint, "u_ann", names[i], NULL, "{}");
        assert_int_equal(endpoint_result(endpoint, ref)->reason, REASON_OK);
    }
    assert_true(routing_metrics.conversations.value <= 16);
    script_on(&world.storage, MESSAGE_CONVERSATION_LOAD, SCRIPT_HOLD);
    for (size_t i = 0; i < 16; i++) {
        refs[i] = endpoint_text(endpoint, "u_ann", names[i], NULL, "{}");
    }
    world_until_size(&world, &world.storage.held_count, 16);
    uint64_t beyond = endpoint_text(endpoint, "u_ann", names[20], NULL, "{}");
    assert_int_equal(endpoint_result(endpoint, beyond)->reason, REASON_OVERLOAD);
    script_on(&world.storage, MESSAGE_CONVERSATION_LOAD, SCRIPT_SERVE);
    script_release(&world.storage);
    for (size_t i = 0; i < 16; i++) {
        assert_int_equal(endpoint_result(endpoint, refs[i])->seq, 2);
    }
}

static void few_calls(struct routing_settings *settings, int index) {
    (void)index;
    settings->storage_calls_max = 8;
}

static int start_few_calls(void **state) {
    (void)state;
    world_start(&world, 1, few_calls);
    (void)endpoint_open(&world, 0);
    return 0;
}

/* 60 conversations become active at once (a restart), 8 calls to storage: all are served, four
 * loads at a time, and so are look-ups and creations that find no call free. */
static void a_cold_start_waits_instead_of_refusing(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    static char names[60][16];
    static uint8_t ids[60][ID_UUID_BYTES];
    static Pipit__Submit submits[60];
    static Pipit__Submit *pointers[60];
    script_on(&world.storage, MESSAGE_CONVERSATION_LOAD, SCRIPT_HOLD);
    for (size_t i = 0; i < 60; i++) {
        (void)snprintf(names[i], sizeof names[i], i < 50 ? "c_%zu" : "u_peer%zu", i);
        fresh_id(ids[i]);
        pipit__submit__init(&submits[i]);
        submits[i].user = (char *)"u_ann";
        submits[i].id = (ProtobufCBinaryData){ID_UUID_BYTES, ids[i]};
        pointers[i] = &submits[i];
        if (i < 50) {
            struct script_conversation *made =
                script_conversation(&world.storage, names[i], family);
            submits[i].conversation = names[i];
            if (i % 5 == 0) { /* with a look-up of its own */
                (void)script_append(&world.storage, made, "u_bob", NULL, "{}");
                submits[i].kind = PIPIT__MESSAGE_KIND__MESSAGE_REACT;
                submits[i].target_seq = 1;
            }
        } else {
            submits[i].to_user = names[i];
        }
    }
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    batch.n_submits = 60;
    batch.submits = pointers;
    endpoint_send(endpoint, &batch);
    world_until_size(&world, &world.storage.held_count, 4);
    for (int turn = 0; turn < 10; turn++) {
        assert_int_equal(loop_turn(world.loop, 1000), ERR_OK);
    }
    assert_int_equal(world.storage.held_count, 4); /* no more at once */
    script_on(&world.storage, MESSAGE_CONVERSATION_LOAD, SCRIPT_SERVE);
    script_release(&world.storage);
    world_until_size(&world, &endpoint->result_count, 60);
    for (size_t i = 0; i < 60; i++) {
        assert_int_equal(endpoint_result(endpoint, submits[i].ref)->reason, REASON_OK);
    }
}

static bool drained;

static void on_drained(void *user) {
    *(bool *)user = true;
}

static bool is_true(void *arg) {
    return *(bool *)arg;
}

static void drain_answers_what_was_accepted(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_HOLD);
    uint64_t accepted = endpoint_text(endpoint, "u_ann", "c_family", NULL, "{}");
    world_until_size(&world, &world.storage.held_count, 1);
    drained = false;
    routing_drain(world.routing[0], on_drained, &drained);
    uint64_t refused = endpoint_text(endpoint, "u_ann", "c_family", NULL, "{}");
    assert_int_equal(endpoint_result(endpoint, refused)->reason, REASON_DRAIN);
    assert_false(drained);
    script_release(&world.storage);
    assert_int_equal(endpoint_result(endpoint, accepted)->seq, 1);
    world_until(&world, is_true, &drained);
}

static void drain_writes_the_cursors(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    (void)script_append(&world.storage, script_find(&world.storage, "c_family"), "u_ann", NULL,
                        "{}");
    Pipit__Mark one = PIPIT__MARK__INIT;
    Pipit__Mark *marks[1] = {&one};
    one.user = (char *)"u_bob";
    one.conversation = (char *)"c_family";
    one.read_seq = 1;
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    batch.n_marks = 1;
    batch.marks = marks;
    endpoint_send(endpoint, &batch);
    world_until_count(&world, &endpoint->empty_replies, 1);
    drained = false;
    routing_drain(world.routing[0], on_drained, &drained);
    world_until(&world, is_true, &drained);
    assert_int_equal(script_member(script_find(&world.storage, "c_family"), "u_bob")->read_seq, 1);
}

static void an_idle_service_drains_at_once(void **state) {
    (void)state;
    drained = false;
    routing_drain(world.routing[0], on_drained, &drained);
    world_until(&world, is_true, &drained);
}

/* Destroyed with calls to storage out, messages waiting behind them, reads and queries open: every
 * request is answered, nothing leaks (the sanitizer builds look). */
static void shutdown_answers_everything(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    (void)script_conversation(&world.storage, "c_cold", family);
    assert_int_equal(
        endpoint_result(endpoint, endpoint_text(endpoint, "u_ann", "c_family", NULL, "{}"))->reason,
        REASON_OK);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_HOLD);
    script_on(&world.storage, MESSAGE_CONVERSATION_LOAD, SCRIPT_HOLD);
    script_on(&world.storage, MESSAGE_HISTORY_REQUEST, SCRIPT_HOLD);
    unsigned replies = endpoint->replies;
    (void)endpoint_text(endpoint, "u_ann", "c_family", NULL, "{}");
    world_until_size(&world, &world.storage.held_count, 1);
    (void)endpoint_text(endpoint, "u_ann", "c_family", NULL, "{}"); /* behind the flight */
    (void)endpoint_text(endpoint, "u_ann", "c_cold", NULL, "{}");
    Pipit__HistoryRequest history = PIPIT__HISTORY_REQUEST__INIT;
    history.conversation = (char *)"c_family";
    endpoint_call(endpoint, MESSAGE_HISTORY_REQUEST, &history.base);
    Pipit__PresenceQuery query = PIPIT__PRESENCE_QUERY__INIT;
    query.user = (char *)"u_ann";
    query.conversation = (char *)"c_cold";
    endpoint_call(endpoint, MESSAGE_PRESENCE_QUERY, &query.base);
    world_until_size(&world, &world.storage.held_count, 3);
    world_stop_routing(&world, 0);
    world_until_count(&world, &endpoint->replies, replies + 5);
    for (size_t i = 0; i < endpoint->result_count; i++) {
        enum reason reason = (enum reason)endpoint->results[i].reason;
        assert_true(reason == REASON_OK || reason_retryable(reason));
    }
}

static bool storage_down(void *arg) {
    (void)arg;
    return !routing_storage_up(world.routing[0]);
}

static bool storage_up(void *arg) {
    (void)arg;
    return routing_storage_up(world.routing[0]);
}

static void storage_may_come_and_go(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    uint8_t id[ID_UUID_BYTES];
    char url[BUS_URL_BYTES];
    fresh_id(id);
    assert_int_equal(
        endpoint_result(endpoint, endpoint_text(endpoint, "u_ann", "c_family", NULL, "{}"))->reason,
        REASON_OK);
    bus_server_close(&world.storage.server);
    world_until(&world, storage_down, NULL);
    uint64_t ref = endpoint_text(endpoint, "u_ann", "c_family", id, "{}");
    enum reason reason = (enum reason)endpoint_result(endpoint, ref)->reason;
    assert_true(reason == REASON_UNAVAILABLE || reason == REASON_TIMEOUT);
    assert_int_equal(bus_url_derive(world.storage_address, BUS_URL_REP, url), ERR_OK);
    script_restart_server(&world.storage, url);
    world_until(&world, storage_up, NULL);
    ref = endpoint_text(endpoint, "u_ann", "c_family", id, "{}");
    assert_int_equal(endpoint_result(endpoint, ref)->seq, 2);
}

static void ignore_message(const uint8_t *payload, size_t bytes, void *user) {
    (void)payload, (void)bytes;
    ++*(unsigned *)user;
}

static void ignore_trouble(enum stream_trouble trouble, uint64_t boot_id, void *user) {
    (void)trouble, (void)boot_id, (void)user;
}

static bool has_pulse(void *arg) {
    return stream_subscriber_live(arg);
}

/* What auth listens to, to know that this instance lives: no deliveries. */
static void heartbeats_come_alone_at_the_third_address(void **state) {
    (void)state;
    struct stream_subscriber *pulse = NULL;
    unsigned messages = 0;
    char url[BUS_URL_BYTES];
    assert_int_equal(bus_url_derive(world.address[0], BUS_URL_PULSE, url), ERR_OK);
    assert_int_equal(stream_subscriber_create(world.loop, world.bus, url, STREAM_TOPIC_ALL,
                                              ignore_message, ignore_trouble, &messages, &pulse),
                     ERR_OK);
    world_until(&world, has_pulse, pulse);
    struct endpoint_peer *endpoint = world.endpoints[0];
    assert_int_equal(
        endpoint_result(endpoint, endpoint_text(endpoint, "u_ann", "c_family", NULL, "{}"))->reason,
        REASON_OK);
    assert_int_equal(messages, 0);
    stream_subscriber_destroy(&pulse);
}

/* Start fails at each allocation in turn: an error each time, nothing left behind. */
static void a_start_without_memory_fails_cleanly(void **state) {
    (void)state;
    struct routing *routing = NULL;
    char address[BUS_URL_BYTES];
    enum err error = ERR_NO_MEMORY;
    struct routing_settings settings = world.settings[0];
    uint64_t nth = 1;
    for (; error == ERR_NO_MEMORY && nth < 400; nth++) {
        (void)snprintf(address, sizeof address, "ipc://%s/oom%u", world.folder, (unsigned)nth);
        settings.bus_listen = address;
        (void)mem_fault_set(nth, 1);
        error = routing_create(world.loop, &settings, NULL, &routing);
        (void)mem_fault_set(0, 0);
        assert_true(error == ERR_NO_MEMORY || error == ERR_OK);
        assert_true((error == ERR_OK) == (routing != NULL));
    }
    assert_int_equal(error, ERR_OK);
    assert_true(nth > 20);
    routing_destroy(&routing);
}

static void bad_addresses_are_refused(void **state) {
    (void)state;
    struct routing *routing = NULL;
    struct routing_settings settings = world.settings[0];
    settings.bus_listen = "nonsense";
    assert_int_equal(routing_create(world.loop, &settings, NULL, &routing), ERR_INVALID);
    assert_null(routing);
    settings.bus_listen = world.address[0]; /* in use */
    assert_int_equal(routing_create(world.loop, &settings, NULL, &routing), ERR_EXISTS);
    assert_null(routing);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, finish)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_conversation_has_a_limit_of_its_own),
        TEST(the_cache_is_bounded),
        cmocka_unit_test_setup_teardown(a_cold_start_waits_instead_of_refusing, start_few_calls,
                                        finish),
        TEST(drain_answers_what_was_accepted),
        TEST(drain_writes_the_cursors),
        TEST(an_idle_service_drains_at_once),
        TEST(shutdown_answers_everything),
        TEST(storage_may_come_and_go),
        TEST(heartbeats_come_alone_at_the_third_address),
        TEST(a_start_without_memory_fails_cleanly),
        TEST(bad_addresses_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
