/* What MQTT clients cannot be asked: their refused messages are tried again by the session and keep
 * their order (turns; by themselves: test_turns.c), and a publication that was delayed behind its
 * own copy is stored once (copies). */
#include "tests/unit/routing/support.h"

#include "common/clock.h"
#include "services/routing/conversation.h"
#include "services/routing/metrics.h"
#include <string.h>

static struct world world;
static uint8_t hash[16] = {7};

static void limited(struct routing_settings *settings, int index) {
    (void)index;
    settings->messages_per_second = 5;
    settings->messages_burst = 3;
}

static void small(struct routing_settings *settings, int index) {
    (void)index;
    settings->conversations_max = 1;
}

static int start(void **state) {
    (void)state;
    world_start_family(&world, 1, NULL);
    return 0;
}

static int start_small(void **state) {
    (void)state;
    world_start_family(&world, 1, small);
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

/* The answers to those behind come late, the client goes on. */
static void nothing_overtakes_what_was_refused_for_overtaking(void **state) {
    (void)state;
    struct message messages[5];
    for (size_t i = 0; i < 5; i++) {
        make(&messages[i], "x");
    }
    world.storage.run_error = ERR_IO;
    assert_int_equal(take_turn(&messages[0], 1, 1)->reason, REASON_TIMEOUT);
    world.storage.run_error = ERR_OK;
    assert_int_equal(take_turn(&messages[1], 2, 1)->reason, REASON_UNAVAILABLE); /* not seen */
    assert_int_equal(take_turn(&messages[2], 3, 1)->reason, REASON_UNAVAILABLE); /* not seen */
    assert_int_equal(take_turn(&messages[0], 4, 2)->seq, 1);
    assert_int_equal(take_turn(&messages[3], 5, 2)->reason, REASON_UNAVAILABLE); /* is new */
    assert_int_equal(take_turn(&messages[2], 6, 2)->reason, REASON_UNAVAILABLE); /* seen first */
    assert_int_equal(take_turn(&messages[1], 7, 5)->seq, 2);
    assert_int_equal(take_turn(&messages[3], 8, 6)->reason, REASON_UNAVAILABLE);
    assert_int_equal(take_turn(&messages[2], 9, 8)->seq, 3);
    assert_int_equal(take_turn(&messages[3], 10, 10)->seq, 4);
    assert_int_equal(take_turn(&messages[4], 11, 11)->seq, 5); /* goes on as ever */
}

/* One that is refused again later, by storage, has kept its place. */
static void a_place_outlives_a_second_refusal(void **state) {
    (void)state;
    struct message first, second;
    make(&first, "a");
    make(&second, "b");
    world.storage.run_error = ERR_IO;
    assert_int_equal(take_turn(&first, 1, 1)->reason, REASON_TIMEOUT);
    assert_int_equal(take_turn(&second, 2, 1)->reason, REASON_UNAVAILABLE);
    assert_int_equal(take_turn(&first, 3, 2)->reason, REASON_TIMEOUT);
    world.storage.run_error = ERR_OK;
    assert_int_equal(take_turn(&second, 4, 3)->reason, REASON_UNAVAILABLE);
    assert_int_equal(take_turn(&first, 5, 4)->seq, 1);
    assert_int_equal(take_turn(&second, 6, 6)->seq, 2);
}

/* Refused while it waits for admission, with the next one behind it. */
static void a_lookup_that_fails_keeps_the_order(void **state) {
    (void)state;
    struct message first, second;
    make(&first, "a");
    make(&second, "b");
    pipit__origin__init(&first.origin);
    first.origin.device = (char *)"m:lamp";
    first.origin.packet_id = 5;
    first.origin.hash = (ProtobufCBinaryData){sizeof hash, hash};
    first.submit.origin = &first.origin;
    first.submit.maybe_copy = true;
    first.submit.turn = first.submit.oldest_turn = second.submit.oldest_turn = 1;
    second.submit.turn = 2;
    Pipit__Submit *submits[] = {&first.submit, &second.submit};
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    batch.n_submits = 2;
    batch.submits = submits;
    world.storage.fail_with = ERR_IO;
    script_on(&world.storage, MESSAGE_ORIGIN_REQUEST, SCRIPT_FAIL);
    endpoint_send(world.endpoints[0], &batch);
    const struct seen_result *result = endpoint_result(world.endpoints[0], first.submit.ref);
    assert_true(reason_retryable(reason_from_number(result->reason)));
    result = endpoint_result(world.endpoints[0], second.submit.ref);
    assert_int_equal(result->reason, REASON_UNAVAILABLE);
    script_on(&world.storage, MESSAGE_ORIGIN_REQUEST, SCRIPT_SERVE);
    assert_int_equal(take_turn(&first, 3, 3)->seq, 1);
    assert_int_equal(take_turn(&second, 4, 4)->seq, 2);
}

/* --- turns, without the conversation */

/* Nothing was sent to this conversation before. */
static void the_rate_limit_keeps_the_order_of_what_is_not_cached(void **state) {
    (void)state;
    struct message message, first, second, other;
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    for (int i = 0; i < 3; i++) {
        make(&message, "x");
        message.submit.conversation = (char *)"c_nowhere";
        assert_int_equal(submit_to(0, &message)->reason, REASON_NOT_MEMBER);
    }
    make(&first, "a");
    make(&second, "b");
    make(&other, "c");
    other.submit.user = (char *)"u_bob";
    other.submit.session = 8;
    const struct seen_result *result = take_turn(&first, 1, 1);
    assert_int_equal(result->reason, REASON_RATE_LIMITED);
    clock_fake_advance_us(1000000);
    assert_int_equal(take_turn(&second, 2, 1)->reason, REASON_UNAVAILABLE);
    assert_int_equal(take_turn(&other, 2, 1)->seq, 1); /* another session is not held up */
    assert_int_equal(take_turn(&first, 3, 3)->seq, 2);
    assert_int_equal(take_turn(&second, 4, 4)->seq, 3);
    clock_fake_off();
}

static void overload_keeps_the_order_of_what_is_not_cached(void **state) {
    (void)state;
    struct message first, second;
    make(&first, "a");
    make(&second, "b");
    uint64_t *bytes_max = &world.settings[0].pending_bytes_max;
    uint64_t enough = *bytes_max;
    *bytes_max = 1;
    assert_int_equal(take_turn(&first, 1, 1)->reason, REASON_OVERLOAD);
    *bytes_max = enough;
    assert_int_equal(take_turn(&second, 2, 1)->reason, REASON_UNAVAILABLE);
    assert_int_equal(take_turn(&first, 3, 3)->seq, 1);
    assert_int_equal(take_turn(&second, 4, 4)->seq, 2);
}

static void leaving_the_cache_keeps_the_order(void **state) {
    (void)state;
    struct message first, second, elsewhere;
    make(&first, "a");
    make(&second, "b");
    make(&elsewhere, "c");
    elsewhere.submit.conversation = (char *)"c_nowhere";
    world.storage.run_error = ERR_NO_SPACE; /* nothing stays in doubt: it may leave */
    assert_int_equal(take_turn(&first, 1, 1)->reason, REASON_STORAGE_FULL);
    world.storage.run_error = ERR_OK;
    assert_int_equal(submit_to(0, &elsewhere)->reason, REASON_NOT_MEMBER);
    assert_int_equal(take_turn(&second, 2, 1)->reason, REASON_UNAVAILABLE);
    assert_int_equal(take_turn(&first, 3, 3)->seq, 1);
    assert_int_equal(take_turn(&second, 4, 4)->seq, 2);
}

/* --- turns, at the limits of admission */

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

/* More refusals than a conversation remembers: nobody's is given up. */
static void at_the_limit_nothing_overtakes(void **state) {
    (void)state;
    struct message known, first, second, other;
    make(&known, "load");
    make(&first, "a");
    make(&second, "b");
    make(&other, "c");
    assert_int_equal(take_turn(&known, 1, 1)->reason, REASON_OK);
    struct turns *turns = &conversation_find(world.routing[0], "c_family")->turns;
    for (uint64_t i = 0; i < TURNS_MAX; i++) {
        struct turn turn = {.id = known.id, .session = 1000 + i, .turn = 1, .place = 1};
        assert_true(turns_refused(turns, &turn, loop_now_us(world.loop)));
    }
    uint64_t hits = routing_metrics.limit_hits[LIMIT_HIT_REFUSED_TURNS].value;
    uint64_t *bytes_max = &world.settings[0].pending_bytes_max;
    uint64_t enough = *bytes_max;
    *bytes_max = 1;
    assert_int_equal(take_turn(&first, 2, 2)->reason, REASON_OVERLOAD);
    assert_int_equal(routing_metrics.limit_hits[LIMIT_HIT_REFUSED_TURNS].value, hits + 1);
    *bytes_max = enough;
    other.submit.session = 1000;
    assert_int_equal(take_turn(&other, 2, 1)->reason, REASON_UNAVAILABLE);
    assert_int_equal(take_turn(&second, 3, 2)->reason, REASON_UNAVAILABLE);
    assert_int_equal(take_turn(&first, 4, 4)->seq, 2);
    assert_int_equal(take_turn(&second, 5, 5)->seq, 3);
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
        TEST(nothing_overtakes_what_is_tried_again, start),
        TEST(nothing_overtakes_what_was_refused_for_overtaking, start),
        TEST(a_place_outlives_a_second_refusal, start),
        TEST(a_lookup_that_fails_keeps_the_order, start),
        TEST(the_rate_limit_keeps_the_order_of_what_is_not_cached, start_limited),
        TEST(overload_keeps_the_order_of_what_is_not_cached, start),
        TEST(leaving_the_cache_keeps_the_order, start_small),
        TEST(the_rate_limit_keeps_the_order, start_limited),
        TEST(overload_keeps_the_order, start),
        TEST(at_the_limit_nothing_overtakes, start),
        TEST(the_first_one_may_come_last, start),
        TEST(the_first_one_waits_for_its_copy, start),
        TEST(copies_through_two_instances_are_stored_once, start_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
