/* I4: nobody who is not a member gets a message; changes of members come before the messages that
 * were stored after them. */
#include "tests/unit/routing/support.h"

#include "common/clock.h"
#include "services/routing/metrics.h"
#include <string.h>

#define MESSAGE PIPIT__DELIVERY__EVENT_MESSAGE
#define MEMBERS PIPIT__DELIVERY__EVENT_MEMBERS
#define UNCERTAIN PIPIT__DELIVERY__EVENT_MEMBERS_UNCERTAIN
#define ACTIVE PIPIT__MEMBER_STATE__MEMBER_ACTIVE
#define LEFT PIPIT__MEMBER_STATE__MEMBER_LEFT

static struct world world;
static const char *const family[] = {"u_ann", "u_bob", "u_cem", NULL};

static int start(void **state) {
    (void)state;
    world_start(&world, 1, NULL);
    (void)script_conversation(&world.storage, "c_family", family);
    endpoint_interest(endpoint_open(&world, 0), "c_family");
    return 0;
}

static int finish(void **state) {
    (void)state;
    clock_fake_off();
    world_finish(&world);
    return 0;
}

static struct script_conversation *log_of_family(void) {
    return script_find(&world.storage, "c_family");
}

static enum reason say(const char *user) {
    uint64_t ref = endpoint_text(world.endpoints[0], user, "c_family", NULL, "{}");
    return (enum reason)endpoint_result(world.endpoints[0], ref)->reason;
}

static size_t position(const struct endpoint_peer *endpoint, Pipit__Delivery__EventCase kind,
                       uint64_t number) {
    for (size_t i = 0; i < endpoint->delivery_count; i++) {
        const struct seen_delivery *seen = &endpoint->deliveries[i];
        if (seen->kind == kind && strcmp(seen->conversation, "c_family") == 0 &&
            (kind == MESSAGE ? seen->seq : seen->members_version) == number) {
            return i;
        }
    }
    fail_msg("not delivered");
    return 0;
}

static void an_event_removes_a_member(void **state) {
    (void)state;
    assert_int_equal(say("u_bob"), REASON_OK);
    unsigned loads = world.storage.requests[MESSAGE_CONVERSATION_LOAD];
    script_change_member(&world.storage, log_of_family(), "u_bob", LEFT, true);
    endpoint_until(world.endpoints[0], MEMBERS, 1);
    const struct seen_delivery *seen = endpoint_delivery(world.endpoints[0], MEMBERS, 0);
    assert_int_equal(seen->members_version, 2);
    assert_int_equal(seen->changed_count, 1);
    assert_string_equal(seen->changed_user, "u_bob");
    assert_int_equal(seen->changed_state, LEFT);
    assert_int_equal(say("u_bob"), REASON_NOT_MEMBER);
    assert_int_equal(say("u_ann"), REASON_OK);
    assert_int_equal(world.storage.requests[MESSAGE_CONVERSATION_LOAD], loads); /* by the event */
}

static void an_event_adds_a_member(void **state) {
    (void)state;
    assert_int_equal(say("u_ann"), REASON_OK);
    struct endpoint_peer *other = endpoint_open(&world, 0); /* not interested in c_family */
    endpoint_session(other, 5, "u_new", "d_1", 1, false);
    script_change_member(&world.storage, log_of_family(), "u_new", ACTIVE, true);
    endpoint_until(other, MEMBERS, 1); /* learns it because of the session */
    endpoint_until(world.endpoints[0], MEMBERS, 1);
    assert_int_equal(say("u_new"), REASON_OK);
}

/* The event was lost, but the append's answer tells the version: the change comes first. */
static void a_change_comes_before_later_messages(void **state) {
    (void)state;
    assert_int_equal(say("u_ann"), REASON_OK);
    endpoint_until(world.endpoints[0], MESSAGE, 1);
    script_change_member(&world.storage, log_of_family(), "u_bob", LEFT, false);
    assert_int_equal(say("u_ann"), REASON_OK);
    endpoint_until(world.endpoints[0], MESSAGE, 2);
    assert_true(position(world.endpoints[0], MEMBERS, 2) <
                position(world.endpoints[0], MESSAGE, 2));
    const struct seen_delivery *change = endpoint_delivery(world.endpoints[0], MEMBERS, 0);
    assert_string_equal(change->changed_user, "u_bob");
    assert_int_equal(change->changed_state, LEFT);
    assert_int_equal(endpoint_delivery(world.endpoints[0], MESSAGE, 1)->members_version, 2);
    assert_int_equal(say("u_bob"), REASON_NOT_MEMBER);
}

/* The same while the members cannot be loaded: acknowledged (it is on disk), delivered when they
 * can. */
static void without_members_delivery_waits(void **state) {
    (void)state;
    assert_int_equal(say("u_ann"), REASON_OK);
    endpoint_until(world.endpoints[0], MESSAGE, 1);
    script_change_member(&world.storage, log_of_family(), "u_bob", LEFT, false);
    world.storage.fail_with = ERR_UNAVAILABLE;
    script_on(&world.storage, MESSAGE_CONVERSATION_LOAD, SCRIPT_FAIL);
    assert_int_equal(say("u_ann"), REASON_OK);
    assert_int_equal(log_of_family()->head, 2);
    assert_int_equal(endpoint_deliveries(world.endpoints[0], MESSAGE), 1);
    script_on(&world.storage, MESSAGE_CONVERSATION_LOAD, SCRIPT_SERVE);
    endpoint_until(world.endpoints[0], MESSAGE, 2); /* by itself */
    assert_true(position(world.endpoints[0], MEMBERS, 2) <
                position(world.endpoints[0], MESSAGE, 2));
}

/* A removal that arrives while the append is out also comes first. */
static void a_change_during_an_append_comes_first(void **state) {
    (void)state;
    assert_int_equal(say("u_ann"), REASON_OK);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_HOLD_ANSWER);
    uint64_t ref = endpoint_text(world.endpoints[0], "u_ann", "c_family", NULL, "{}");
    world_until_size(&world, &world.storage.held_count, 1);
    script_change_member(&world.storage, log_of_family(), "u_bob", LEFT, true);
    endpoint_until(world.endpoints[0], MEMBERS, 1);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_SERVE);
    script_release(&world.storage);
    assert_int_equal(endpoint_result(world.endpoints[0], ref)->reason, REASON_OK);
    endpoint_until(world.endpoints[0], MESSAGE, 2);
    assert_int_equal(endpoint_delivery(world.endpoints[0], MESSAGE, 1)->members_version, 2);
}

static void a_gap_in_versions_loads_anew(void **state) {
    (void)state;
    assert_int_equal(say("u_bob"), REASON_OK);
    script_change_member(&world.storage, log_of_family(), "u_bob", LEFT, false); /* lost */
    script_change_member(&world.storage, log_of_family(), "u_cem", LEFT, true);
    endpoint_until(world.endpoints[0], MEMBERS, 1);
    unsigned loads = world.storage.requests[MESSAGE_CONVERSATION_LOAD];
    assert_int_equal(say("u_bob"), REASON_NOT_MEMBER);
    assert_int_equal(say("u_cem"), REASON_NOT_MEMBER);
    assert_true(world.storage.requests[MESSAGE_CONVERSATION_LOAD] > loads);
    assert_int_equal(say("u_ann"), REASON_OK);
}

static void a_lost_event_makes_everything_uncertain(void **state) {
    (void)state;
    assert_int_equal(say("u_bob"), REASON_OK);
    world_settle(&world, world.endpoints[0]);
    size_t before = endpoint_deliveries(world.endpoints[0], UNCERTAIN);
    unsigned loads = world.storage.requests[MESSAGE_CONVERSATION_LOAD];
    script_change_member(&world.storage, log_of_family(), "u_bob", LEFT, false);
    script_publish_garbage(&world.storage);
    endpoint_until(world.endpoints[0], UNCERTAIN, before + 1);
    assert_int_equal(say("u_bob"), REASON_NOT_MEMBER);
    assert_true(world.storage.requests[MESSAGE_CONVERSATION_LOAD] > loads);
    endpoint_until(world.endpoints[0], MEMBERS, 1); /* the difference is told as well */
    assert_string_equal(endpoint_delivery(world.endpoints[0], MEMBERS, 0)->changed_user, "u_bob");
}

/* The event names a version that storage does not show: asked a few times, then believed. */
static void a_version_that_never_comes(void **state) {
    (void)state;
    assert_int_equal(say("u_ann"), REASON_OK);
    unsigned loads = world.storage.requests[MESSAGE_CONVERSATION_LOAD];
    script_publish_version(&world.storage, "c_family", 40);
    endpoint_until(world.endpoints[0], MEMBERS, 1);
    assert_int_equal(say("u_ann"), REASON_OK);
    assert_int_equal(world.storage.requests[MESSAGE_CONVERSATION_LOAD], loads + 3);
    assert_int_equal(say("u_ann"), REASON_OK);
    assert_int_equal(world.storage.requests[MESSAGE_CONVERSATION_LOAD], loads + 3);
}

/* A conversation that was looked for a moment too early is there as soon as its event comes. */
static void an_event_ends_absence(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    endpoint_interest(endpoint, "c_new");
    uint64_t ref = endpoint_text(endpoint, "u_ann", "c_new", NULL, "{}");
    assert_int_equal(endpoint_result(endpoint, ref)->reason, REASON_NOT_MEMBER);
    struct script_conversation *made = script_conversation(&world.storage, "c_new", family);
    script_change_member(&world.storage, made, "u_dan", ACTIVE, true);
    endpoint_until(endpoint, MEMBERS, 1);
    ref = endpoint_text(endpoint, "u_ann", "c_new", NULL, "{}");
    assert_int_equal(endpoint_result(endpoint, ref)->reason, REASON_OK);
}

/* Removed, the event lost: storage refuses the look-up of the target, and that is the answer. */
static void a_lookup_notices_a_removal(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    (void)script_append(&world.storage, log_of_family(), "u_ann", NULL, "{}");
    assert_int_equal(say("u_bob"), REASON_OK);
    script_change_member(&world.storage, log_of_family(), "u_bob", LEFT, false);
    uint8_t id[ID_UUID_BYTES];
    fresh_id(id);
    Pipit__Submit submit = PIPIT__SUBMIT__INIT;
    submit.user = (char *)"u_bob";
    submit.conversation = (char *)"c_family";
    submit.id = (ProtobufCBinaryData){ID_UUID_BYTES, id};
    submit.kind = PIPIT__MESSAGE_KIND__MESSAGE_REACT;
    submit.target_seq = 1;
    uint64_t ref = endpoint_submit(endpoint, &submit);
    assert_int_equal(endpoint_result(endpoint, ref)->reason, REASON_NOT_MEMBER);
    assert_int_equal(say("u_bob"), REASON_NOT_MEMBER);
}

/* A conversation that storage lost: its member is told so once, from then on like anybody else. */
static void an_unknown_conversation_after_delete(void **state) {
    (void)state;
    assert_int_equal(say("u_ann"), REASON_OK);
    char *id = log_of_family()->id;
    memcpy(id, "c_renamd", 8); /* storage no longer has it */
    assert_int_equal(say("u_ann"), REASON_NOT_FOUND);
    assert_int_equal(say("u_ann"), REASON_NOT_MEMBER);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, finish)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(an_event_removes_a_member),
        TEST(an_event_adds_a_member),
        TEST(a_change_comes_before_later_messages),
        TEST(without_members_delivery_waits),
        TEST(a_change_during_an_append_comes_first),
        TEST(a_gap_in_versions_loads_anew),
        TEST(a_lost_event_makes_everything_uncertain),
        TEST(a_version_that_never_comes),
        TEST(an_event_ends_absence),
        TEST(a_lookup_notices_a_removal),
        TEST(an_unknown_conversation_after_delete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
