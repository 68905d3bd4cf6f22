/* Admission: the matrix of who may send what, over the real bus. */
#include "tests/unit/routing/support.h"

#include "common/clock.h"
#include "proto/names.h"
#include <string.h>

#define TEXT PIPIT__MESSAGE_KIND__MESSAGE_TEXT
#define EDIT PIPIT__MESSAGE_KIND__MESSAGE_EDIT
#define RECALL PIPIT__MESSAGE_KIND__MESSAGE_RECALL
#define REACT PIPIT__MESSAGE_KIND__MESSAGE_REACT

static struct world world;

static void change_limits(struct routing_settings *settings, int index) {
    (void)index;
    settings->messages_per_second = 5;
    settings->messages_burst = 3;
}

static const char *const family[] = {"u_ann", "u_bob", NULL};

static int start(void **state) {
    (void)state;
    world_start(&world, 1, NULL);
    (void)script_conversation(&world.storage, "c_family", family);
    (void)endpoint_open(&world, 0);
    return 0;
}

static int start_limited(void **state) {
    (void)state;
    world_start(&world, 1, change_limits);
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

static uint8_t good_id[ID_UUID_BYTES];
static uint8_t body[] = "{}";

static Pipit__Submit make(const char *user, const char *conversation) {
    Pipit__Submit submit = PIPIT__SUBMIT__INIT;
    fresh_id(good_id);
    submit.user = (char *)user;
    submit.device = (char *)"d_1";
    submit.conversation = (char *)conversation;
    submit.id = (ProtobufCBinaryData){ID_UUID_BYTES, good_id};
    submit.body = (ProtobufCBinaryData){2, body};
    return submit;
}

static enum reason send_one(Pipit__Submit *submit) {
    submit->ref = 0;
    struct endpoint_peer *endpoint = world.endpoints[0];
    return (enum reason)endpoint_result(endpoint, endpoint_submit(endpoint, submit))->reason;
}

static enum reason send_targeted(const char *user, Pipit__MessageKind kind, uint64_t target) {
    Pipit__Submit submit = make(user, "c_family");
    submit.kind = kind;
    submit.target_seq = target;
    return send_one(&submit);
}

static void a_member_is_accepted(void **state) {
    (void)state;
    uint64_t before_ms = clock_wall_ms();
    struct endpoint_peer *endpoint = world.endpoints[0];
    const struct seen_result *result =
        endpoint_result(endpoint, endpoint_text(endpoint, "u_ann", "c_family", NULL, "{}"));
    assert_int_equal(result->reason, REASON_OK);
    assert_int_equal(result->seq, 1);
    assert_true(result->ts_ms >= before_ms && result->ts_ms <= clock_wall_ms());
    assert_string_equal(result->conversation, "c_family");
    assert_false(result->replay);
    const struct script_row *row = &script_find(&world.storage, "c_family")->rows[0];
    assert_string_equal(row->sender, "u_ann");
    assert_string_equal(row->device, "d_1");
    assert_string_equal(row->body, "{}");
    assert_int_equal(row->ts_ms, result->ts_ms);
}

static void malformed_submits_are_refused(void **state) {
    (void)state;
    static uint8_t large[LIMIT_BODY_BYTES + 1];
    static uint8_t uuid4[16] = {1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 1, 2, 3, 4, 5, 6, 7};
    static uint8_t variant[16] = {1, 2, 3, 4, 5, 6, 0x77, 8, 0x09, 1, 2, 3, 4, 5, 6, 7};
    Pipit__Submit submit = make("u_ann", "c_family");
    submit.id.len = 15;
    assert_int_equal(send_one(&submit), REASON_INVALID_ID);
    submit.id = (ProtobufCBinaryData){16, uuid4};
    assert_int_equal(send_one(&submit), REASON_INVALID_ID);
    submit.id = (ProtobufCBinaryData){16, variant};
    assert_int_equal(send_one(&submit), REASON_INVALID_ID);
    submit = make("u_ann", "c_family");
    submit.body = (ProtobufCBinaryData){sizeof large, large};
    assert_int_equal(send_one(&submit), REASON_TOO_LARGE);
    submit = make("u_ANN", "c_family");
    assert_int_equal(send_one(&submit), REASON_MALFORMED);
    submit = make("u_ann", "family");
    assert_int_equal(send_one(&submit), REASON_MALFORMED);
    submit = make("u_ann", "");
    assert_int_equal(send_one(&submit), REASON_MALFORMED); /* neither conversation nor user */
    submit = make("u_ann", "c_family");
    submit.kind = (Pipit__MessageKind)17;
    assert_int_equal(send_one(&submit), REASON_MALFORMED);
    submit = make("u_ann", "c_family");
    submit.target_seq = 1; /* a text has no target */
    assert_int_equal(send_one(&submit), REASON_MALFORMED);
    submit = make("u_ann", "c_family");
    submit.kind = EDIT; /* an edit needs one */
    assert_int_equal(send_one(&submit), REASON_MALFORMED);
    submit = make("u_ann", "c_family");
    submit.reply_seq = LIMIT_SEQ_MAX + 1;
    assert_int_equal(send_one(&submit), REASON_MALFORMED);
    submit = make("u_ann", "c_family");
    submit.maybe_copy = true; /* without an origin */
    assert_int_equal(send_one(&submit), REASON_MALFORMED);
    assert_int_equal(world.storage.requests[MESSAGE_APPEND_BATCH], 0);
    submit = make("u_ann", "c_family");
    submit.body = (ProtobufCBinaryData){LIMIT_BODY_BYTES, large}; /* exactly the limit */
    assert_int_equal(send_one(&submit), REASON_OK);
}

static void ids_must_be_of_today(void **state) {
    (void)state;
    static const struct {
        int64_t off_ms;
        enum reason reason;
    } cases[] = {
        {-(int64_t)LIMIT_ID_WINDOW_MS - 60000, REASON_ID_OUT_OF_WINDOW},
        {-(int64_t)LIMIT_ID_WINDOW_MS + 60000, REASON_OK},
        {(int64_t)LIMIT_ID_WINDOW_MS - 60000, REASON_OK},
        {(int64_t)LIMIT_ID_WINDOW_MS + 60000, REASON_ID_OUT_OF_WINDOW},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Pipit__Submit submit = make("u_ann", "c_family");
        id_uuid7_make((uint64_t)((int64_t)clock_wall_ms() + cases[i].off_ms), good_id);
        assert_int_equal(send_one(&submit), cases[i].reason);
    }
}

static void only_members_may_write(void **state) {
    (void)state;
    Pipit__Submit submit = make("u_eve", "c_family");
    assert_int_equal(send_one(&submit), REASON_NOT_MEMBER);
    submit = make("u_ann", "c_unknown");
    assert_int_equal(send_one(&submit), REASON_NOT_MEMBER);
    unsigned loads = world.storage.requests[MESSAGE_CONVERSATION_LOAD];
    submit = make("u_ann", "c_unknown");
    assert_int_equal(send_one(&submit), REASON_NOT_MEMBER);
    submit = make("u_eve", "c_family");
    assert_int_equal(send_one(&submit), REASON_NOT_MEMBER);
    assert_true(world.storage.requests[MESSAGE_CONVERSATION_LOAD] <= loads + 2);
    assert_int_equal(world.storage.requests[MESSAGE_APPEND_BATCH], 0);
}

/* Somebody was added, but the event is still on its way: a refusal must not rest on old members. */
static void a_refusal_rests_on_fresh_members(void **state) {
    (void)state;
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    Pipit__Submit submit = make("u_eve", "c_family");
    assert_int_equal(send_one(&submit), REASON_NOT_MEMBER);
    script_change_member(&world.storage, script_find(&world.storage, "c_family"), "u_eve",
                         PIPIT__MEMBER_STATE__MEMBER_ACTIVE, false);
    clock_fake_advance_us(1100000);
    submit = make("u_eve", "c_family");
    assert_int_equal(send_one(&submit), REASON_OK);
    submit = make("u_eve", "c_unknown");
    assert_int_equal(send_one(&submit), REASON_NOT_MEMBER);
    (void)script_conversation(&world.storage, "c_unknown", (const char *const[]){"u_eve", NULL});
    clock_fake_advance_us(1100000);
    submit = make("u_eve", "c_unknown");
    assert_int_equal(send_one(&submit), REASON_OK); /* absence is remembered for a second */
}

static void direct_conversations_are_made_on_demand(void **state) {
    (void)state;
    char id[LIMIT_CONVERSATION_ID_BYTES + 1];
    assert_int_equal(names_direct_conversation("u_ann", "u_bob", id), ERR_OK);
    struct endpoint_peer *endpoint = world.endpoints[0];
    for (unsigned i = 1; i <= 2; i++) {
        Pipit__Submit submit = make(i == 1 ? "u_ann" : "u_bob", "");
        submit.to_user = (char *)(i == 1 ? "u_bob" : "u_ann");
        const struct seen_result *result =
            endpoint_result(endpoint, endpoint_submit(endpoint, &submit));
        assert_int_equal(result->reason, REASON_OK);
        assert_string_equal(result->conversation, id);
        assert_int_equal(result->seq, i);
    }
    assert_int_equal(world.storage.requests[MESSAGE_CONVERSATION_CREATE], 1);
    Pipit__Submit submit = make("u_ann", "");
    submit.to_user = (char *)"u_nobody";
    assert_int_equal(send_one(&submit), REASON_NOT_FOUND);
    submit = make("u_ann", "");
    submit.to_user = (char *)"u_ann"; /* notes to oneself */
    assert_int_equal(send_one(&submit), REASON_OK);
    submit = make("u_ann", "");
    submit.to_user = (char *)"not a user";
    assert_int_equal(send_one(&submit), REASON_MALFORMED);
}

static void a_block_stops_both_sides(void **state) {
    (void)state;
    char id[LIMIT_CONVERSATION_ID_BYTES + 1];
    assert_int_equal(names_direct_conversation("u_ann", "u_bob", id), ERR_OK);
    struct script_conversation *direct = script_conversation(&world.storage, id, family);
    script_member(direct, "u_bob")->state = PIPIT__MEMBER_STATE__MEMBER_BLOCKED;
    Pipit__Submit submit = make("u_ann", id);
    assert_int_equal(send_one(&submit), REASON_BLOCKED);
    submit = make("u_bob", id);
    assert_int_equal(send_one(&submit), REASON_BLOCKED);
    script_change_member(&world.storage, direct, "u_bob", PIPIT__MEMBER_STATE__MEMBER_ACTIVE, true);
    world_settle(&world, world.endpoints[0]);
    submit = make("u_bob", id);
    assert_int_equal(send_one(&submit), REASON_OK);
}

static void targets_follow_the_roles(void **state) {
    (void)state;
    struct script_conversation *conversation = script_find(&world.storage, "c_family");
    script_change_member(&world.storage, conversation, "u_cem", PIPIT__MEMBER_STATE__MEMBER_ACTIVE,
                         false);
    (void)script_append(&world.storage, conversation, "u_bob", NULL, "{}"); /* 1, looked up */
    assert_int_equal(send_targeted("u_bob", EDIT, 1), REASON_OK);           /* 2 */
    assert_int_equal(send_targeted("u_ann", EDIT, 1), REASON_FORBIDDEN);    /* not even the owner */
    assert_int_equal(send_targeted("u_cem", RECALL, 1), REASON_FORBIDDEN);
    assert_int_equal(send_targeted("u_ann", RECALL, 1), REASON_OK); /* the owner: 3 */
    assert_int_equal(send_targeted("u_bob", RECALL, 1), REASON_OK); /* the author: 4 */
    assert_int_equal(send_targeted("u_cem", REACT, 1), REASON_OK);  /* any member: 5 */
    assert_int_equal(send_targeted("u_eve", REACT, 1), REASON_NOT_MEMBER);
    assert_int_equal(send_targeted("u_bob", EDIT, 2), REASON_MALFORMED); /* an edit of an edit */
    assert_int_equal(send_targeted("u_bob", EDIT, 900), REASON_NOT_FOUND);
    assert_int_equal(conversation->head, 5);
    assert_int_equal(conversation->rows[1].target_seq, 1);
    assert_int_equal(conversation->rows[4].kind, REACT);
    /* one look-up for seq 1 and one for seq 900; the rest came from what was just stored */
    assert_int_equal(world.storage.requests[MESSAGE_HISTORY_REQUEST], 2);
}

static void a_target_must_be_visible(void **state) {
    (void)state;
    struct script_conversation *conversation = script_find(&world.storage, "c_family");
    (void)script_append(&world.storage, conversation, "u_ann", NULL, "{}");
    script_change_member(&world.storage, conversation, "u_dan", PIPIT__MEMBER_STATE__MEMBER_ACTIVE,
                         false); /* joined after seq 1 */
    assert_int_equal(send_targeted("u_dan", REACT, 1), REASON_NOT_FOUND);
    assert_int_equal(send_targeted("u_bob", REACT, 1), REASON_OK); /* remembers the target */
    assert_int_equal(send_targeted("u_dan", REACT, 1), REASON_NOT_FOUND);
}

static void a_failed_lookup_refuses_that_message_alone(void **state) {
    (void)state;
    struct script_conversation *conversation = script_find(&world.storage, "c_family");
    (void)script_append(&world.storage, conversation, "u_bob", NULL, "{}");
    world.storage.fail_with = ERR_IO;
    script_on(&world.storage, MESSAGE_HISTORY_REQUEST, SCRIPT_FAIL);
    assert_int_equal(send_targeted("u_bob", EDIT, 1), REASON_SERVER_ERROR);
    script_on(&world.storage, MESSAGE_HISTORY_REQUEST, SCRIPT_SERVE);
    assert_int_equal(send_targeted("u_bob", EDIT, 1), REASON_OK);
}

/* Later messages wait behind a look-up: order within a conversation is kept. */
static void order_holds_across_lookups(void **state) {
    (void)state;
    struct script_conversation *conversation = script_find(&world.storage, "c_family");
    (void)script_append(&world.storage, conversation, "u_bob", NULL, "{}");
    script_on(&world.storage, MESSAGE_HISTORY_REQUEST, SCRIPT_HOLD);
    struct endpoint_peer *endpoint = world.endpoints[0];
    uint8_t ids[3][ID_UUID_BYTES];
    Pipit__Submit submits[3];
    Pipit__Submit *pointers[3];
    for (size_t i = 0; i < 3; i++) {
        fresh_id(ids[i]);
        submits[i] = make("u_bob", "c_family");
        submits[i].id.data = ids[i];
        pointers[i] = &submits[i];
    }
    submits[1].kind = EDIT;
    submits[1].target_seq = 1;
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    batch.n_submits = 3;
    batch.submits = pointers;
    endpoint_send(endpoint, &batch);
    world_until_size(&world, &world.storage.held_count, 1);
    assert_int_equal(conversation->head, 2); /* the first is stored, the third waits */
    world_settle(&world, endpoint);
    assert_int_equal(conversation->head, 2);
    script_on(&world.storage, MESSAGE_HISTORY_REQUEST, SCRIPT_SERVE);
    script_release(&world.storage);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(endpoint_result(endpoint, submits[i].ref)->seq, i + 2);
    }
}

static void mqtt_copies_are_found_by_origin(void **state) {
    (void)state;
    uint8_t hash[16] = {9, 9, 9};
    Pipit__Origin origin = PIPIT__ORIGIN__INIT;
    origin.device = (char *)"m:lamp";
    origin.packet_id = 5;
    origin.hash = (ProtobufCBinaryData){16, hash};
    Pipit__Submit submit = make("u_ann", "c_family");
    submit.origin = &origin;
    assert_int_equal(send_one(&submit), REASON_OK);
    struct endpoint_peer *endpoint = world.endpoints[0];
    submit = make("u_ann", "c_family"); /* another id, the same publication */
    submit.origin = &origin;
    submit.maybe_copy = true;
    const struct seen_result *result =
        endpoint_result(endpoint, endpoint_submit(endpoint, &submit));
    assert_int_equal(result->reason, REASON_OK);
    assert_int_equal(result->seq, 1);
    assert_true(result->replay);
    hash[0] = 1;
    submit = make("u_ann", "c_family");
    submit.origin = &origin;
    submit.maybe_copy = true; /* DUP=1, but never stored */
    result = endpoint_result(endpoint, endpoint_submit(endpoint, &submit));
    assert_int_equal(result->seq, 2);
    assert_false(result->replay);
    submit = make("u_ann", "c_family");
    submit.origin = &origin; /* DUP=0 is always a new message */
    result = endpoint_result(endpoint, endpoint_submit(endpoint, &submit));
    assert_int_equal(result->seq, 3);
    assert_int_equal(world.storage.requests[MESSAGE_ORIGIN_REQUEST], 2);
}

static void the_rate_is_per_user(void **state) {
    (void)state;
    clock_fake_on(clock_mono_us(), clock_wall_ms());
    for (int i = 0; i < 3; i++) {
        Pipit__Submit submit = make("u_ann", "c_family");
        assert_int_equal(send_one(&submit), REASON_OK);
    }
    struct endpoint_peer *endpoint = world.endpoints[0];
    const struct seen_result *result =
        endpoint_result(endpoint, endpoint_text(endpoint, "u_ann", "c_family", NULL, "{}"));
    assert_int_equal(result->reason, REASON_RATE_LIMITED);
    assert_int_equal(result->retry_ms, 200); /* five a second */
    Pipit__Submit submit = make("u_bob", "c_family");
    assert_int_equal(send_one(&submit), REASON_OK);
    clock_fake_advance_us(200000);
    submit = make("u_ann", "c_family");
    assert_int_equal(send_one(&submit), REASON_OK);
}

/* The clock steps back; times in a conversation do not. */
static void time_never_goes_back(void **state) {
    (void)state;
    uint64_t wall_ms = clock_wall_ms();
    struct endpoint_peer *endpoint = world.endpoints[0];
    clock_fake_on(clock_mono_us(), wall_ms);
    uint64_t ref = endpoint_text(endpoint, "u_ann", "c_family", NULL, "{}");
    assert_int_equal(endpoint_result(endpoint, ref)->ts_ms, wall_ms);
    clock_fake_on(clock_mono_us(), wall_ms - 5000);
    ref = endpoint_text(endpoint, "u_ann", "c_family", NULL, "{}");
    assert_int_equal(endpoint_result(endpoint, ref)->ts_ms, wall_ms);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, finish)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_member_is_accepted),
        TEST(malformed_submits_are_refused),
        TEST(ids_must_be_of_today),
        TEST(only_members_may_write),
        TEST(a_refusal_rests_on_fresh_members),
        TEST(direct_conversations_are_made_on_demand),
        TEST(a_block_stops_both_sides),
        TEST(targets_follow_the_roles),
        TEST(a_target_must_be_visible),
        TEST(a_failed_lookup_refuses_that_message_alone),
        TEST(order_holds_across_lookups),
        TEST(mqtt_copies_are_found_by_origin),
        cmocka_unit_test_setup_teardown(the_rate_is_per_user, start_limited, finish),
        TEST(time_never_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
