/* What MQTT clients cannot be asked: their refused messages are tried again by the session and keep
 * their order (turns), and a publication that was delayed behind its own copy is stored once
 * (copies). */
#include "tests/unit/routing/support.h"

#include "common/clock.h"
#include "common/mem.h"
#include "services/routing/metrics.h"
#include "services/routing/turns.h"
#include <string.h>

static struct world world;
static uint8_t hash[16] = {7};

static void limited(struct routing_settings *settings, int index) {
    (void)index;
    settings->messages_per_second = 5;
    settings->messages_burst = 3;
}

static int start(void **state) {
    (void)state;
    world_start_family(&world, 1, NULL);
    return 0;
}

static int start_limited(void **state) {
    (void)state;
    world_start_family(&world, 1, limited);
    return 0;
}

static int start_two(void **state) {
    (void)state;
    world_start_family(&world, 2, NULL);
    return 0;
}

static int finish(void **state) {
    (void)state;
    world_finish(&world);
    return 0;
}

static uint64_t head(void) {
    return script_find(&world.storage, "c_family")->head;
}

/* --- turns, by themselves */

static void turns_forget_what_is_known(void **state) {
    (void)state;
    struct turns turns = {0};
    assert_true(turns_may(&turns, 7, 1, 1, 0));
    assert_true(turns_refused(&turns, 7, 5, 0));
    assert_true(turns_refused(&turns, 7, 9, 0));
    assert_false(turns_may(&turns, 7, 6, 5, 0));
    assert_true(turns_may(&turns, 8, 6, 5, 0)); /* another session */
    assert_true(turns_may(&turns, 7, 4, 4, 0)); /* was sent before */
    assert_true(turns_may(&turns, 7, 8, 6, 0)); /* knows of 5; 9 came behind it */
    assert_int_equal(turns.count, 1);
    assert_false(turns_may(&turns, 7, 10, 9, 0));
    assert_true(turns_may(&turns, 7, 11, 10, 0));
    assert_int_equal(turns.count, 0);
    assert_null(turns.refused);
}

static void turns_are_bounded(void **state) {
    (void)state;
    struct turns turns = {0};
    for (uint64_t i = 0; i <= TURNS_MAX; i++) {
        assert_int_equal(turns_refused(&turns, i, 1, 0), i < TURNS_MAX);
    }
    assert_int_equal(turns.count, TURNS_MAX);
    assert_true(turns_may(&turns, 0, 2, 1, 0)); /* the oldest went */
    assert_false(turns_may(&turns, 1, 2, 1, TURNS_KEPT_US - 1));
    assert_true(turns_may(&turns, 1, 2, 1, TURNS_KEPT_US));
    assert_null(turns.refused);
    (void)mem_fault_set(1, 1);
    assert_false(turns_refused(&turns, 1, 1, 0));
    (void)mem_fault_set(0, 0);
    assert_int_equal(turns.count, 0);
    turns_finish(&turns);
}

/* --- turns, in a conversation */

struct message {
    Pipit__Submit submit;
    Pipit__Origin origin;
    uint8_t id[ID_UUID_BYTES];
};

static void make(struct message *message, const char *body) {
    Pipit__Submit *submit = &message->submit;
    pipit__submit__init(submit);
    fresh_id(message->id);
    submit->user = (char *)"u_ann";
    submit->device = (char *)"m:lamp";
    submit->session = 7;
    submit->conversation = (char *)"c_family";
    submit->id = (ProtobufCBinaryData){ID_UUID_BYTES, message->id};
    submit->body = (ProtobufCBinaryData){strlen(body), (uint8_t *)(uintptr_t)body};
}

static uint64_t post(int endpoint, struct message *message) {
    static uint64_t refs;
    message->submit.ref = ++refs;
    return endpoint_submit(world.endpoints[endpoint], &message->submit);
}

static const struct seen_result *submit_to(int endpoint, struct message *message) {
    uint64_t ref = post(endpoint, message);
    return endpoint_result(world.endpoints[endpoint], ref);
}

static const struct seen_result *take_turn(struct message *message, uint64_t turn,
                                           uint64_t oldest) {
    message->submit.turn = turn;
    message->submit.oldest_turn = oldest;
    return submit_to(0, message);
}

static void nothing_overtakes_what_is_tried_again(void **state) {
    (void)state;
    struct message first, second, other;
    make(&first, "a");
    make(&second, "b");
    make(&other, "c");
    other.submit.session = 8;
    world.storage.run_error = ERR_IO;
    assert_int_equal(take_turn(&first, 1, 1)->reason, REASON_TIMEOUT);
    world.storage.run_error = ERR_OK;
    assert_int_equal(take_turn(&second, 2, 1)->reason, REASON_UNAVAILABLE);
    assert_int_equal(take_turn(&other, 1, 1)->reason, REASON_OK);
    assert_int_equal(take_turn(&first, 3, 2)->reason, REASON_OK); /* second's refusal is not seen */
    assert_int_equal(take_turn(&second, 4, 4)->seq, 3);
    assert_int_equal(take_turn(&second, 5, 5)->seq, 3); /* goes on as ever */
    assert_int_equal(head(), 3);
}

static void the_rate_limit_keeps_the_order(void **state) {
    (void)state;
    struct message message;
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    uint64_t turn = 0;
    const struct seen_result *result = NULL;
    do {
        make(&message, "x");
        turn++;
        result = take_turn(&message, turn, turn);
    } while (result->reason == REASON_OK);
    assert_int_equal(result->reason, REASON_RATE_LIMITED);
    clock_fake_advance_us((uint64_t)result->retry_ms * 1000u + 1000u);
    struct message behind;
    make(&behind, "y");
    assert_int_equal(take_turn(&behind, turn + 1, turn)->reason, REASON_UNAVAILABLE);
    assert_int_equal(take_turn(&message, turn + 2, turn + 1)->reason, REASON_OK);
    clock_fake_off();
}

static void overload_keeps_the_order(void **state) {
    (void)state;
    struct message known, first, second;
    make(&known, "load");
    make(&first, "a");
    make(&second, "b");
    uint64_t *bytes_max = &world.settings[0].pending_bytes_max;
    uint64_t enough = *bytes_max;
    assert_int_equal(take_turn(&known, 1, 1)->reason, REASON_OK);
    *bytes_max = 1; /* every batch is too much */
    assert_int_equal(take_turn(&first, 2, 2)->reason, REASON_OVERLOAD);
    *bytes_max = enough;
    assert_int_equal(take_turn(&second, 3, 2)->reason, REASON_UNAVAILABLE);
    assert_int_equal(take_turn(&first, 4, 4)->seq, 2);
}

/* --- copies */

static void make_copies(struct message *first, struct message *copy) {
    make(first, "on");
    make(copy, "on");
    struct message *both[] = {first, copy};
    for (size_t i = 0; i < 2; i++) {
        pipit__origin__init(&both[i]->origin);
        both[i]->origin.device = (char *)"m:lamp";
        both[i]->origin.packet_id = 5;
        both[i]->origin.hash = (ProtobufCBinaryData){sizeof hash, hash};
        both[i]->submit.origin = &both[i]->origin;
    }
    first->id[3]--; /* a minute older */
    copy->submit.maybe_copy = true;
    hash[1]++; /* another content each time */
}

static void the_first_one_may_come_last(void **state) {
    (void)state;
    struct message first, copy, next;
    make_copies(&first, &copy);
    assert_int_equal(submit_to(0, &copy)->seq, 1);
    const struct seen_result *result = submit_to(0, &first);
    assert_int_equal(result->reason, REASON_OK);
    assert_int_equal(result->seq, 1);
    assert_true(result->replay);
    next = first; /* the same content in the same packet id, but sent later: a new message */
    fresh_id(next.id);
    next.id[3]++;
    next.submit.id.data = next.id;
    next.submit.origin = &next.origin;
    assert_int_equal(submit_to(0, &next)->seq, 2);
    assert_int_equal(head(), 2);
}

static bool two_are_pending(void *arg) {
    (void)arg;
    return routing_metrics.pending.value == 2;
}

static void the_first_one_waits_for_its_copy(void **state) {
    (void)state;
    struct message first, copy;
    make_copies(&first, &copy);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_HOLD);
    uint64_t stored = post(0, &copy);
    world_until_size(&world, &world.storage.held_count, 1);
    uint64_t waits = post(0, &first);
    world_until(&world, two_are_pending, NULL);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_SERVE);
    script_release(&world.storage);
    assert_int_equal(endpoint_result(world.endpoints[0], stored)->seq, 1);
    assert_int_equal(endpoint_result(world.endpoints[0], waits)->seq, 1);
    assert_int_equal(head(), 1);
}

/* Neither was in the log when its instance looked. */
static void copies_through_two_instances_are_stored_once(void **state) {
    (void)state;
    for (int copy_is_stored_first = 0; copy_is_stored_first < 2; copy_is_stored_first++) {
        struct message messages[2];
        make_copies(&messages[copy_is_stored_first], &messages[!copy_is_stored_first]);
        uint64_t refs[2];
        script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_HOLD);
        for (int i = 0; i < 2; i++) {
            refs[i] = post(i, &messages[i]);
            world_until_size(&world, &world.storage.held_count, (size_t)i + 1);
        }
        script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_SERVE);
        script_release(&world.storage);
        uint64_t seq = (uint64_t)copy_is_stored_first + 1;
        assert_int_equal(endpoint_result(world.endpoints[0], refs[0])->seq, seq);
        assert_int_equal(endpoint_result(world.endpoints[1], refs[1])->seq, seq);
        assert_int_equal(head(), seq);
    }
}

#define TEST(test, start) cmocka_unit_test_setup_teardown(test, start, finish)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_forget_what_is_known),
        cmocka_unit_test(turns_are_bounded),
        TEST(nothing_overtakes_what_is_tried_again, start),
        TEST(the_rate_limit_keeps_the_order, start_limited),
        TEST(overload_keeps_the_order, start),
        TEST(the_first_one_may_come_last, start),
        TEST(the_first_one_waits_for_its_copy, start),
        TEST(copies_through_two_instances_are_stored_once, start_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
