/* Order and idempotency: dense seqs, repeated ids, lost races for a seq, and appends whose outcome
 * nobody knows; with one and with two routing instances on one storage. */
#include "tests/unit/routing/support.h"

#include "common/clock.h"
#include "services/routing/metrics.h"
#include <stdio.h>
#include <string.h>

#define MESSAGE PIPIT__DELIVERY__EVENT_MESSAGE

static struct world world;

static void quick_timeout(struct routing_settings *settings, int index) {
    (void)index;
    settings->bus.timeout_us = 200000;
}

static int start(void **state) {
    (void)state;
    world_start_family(&world, 1, NULL);
    return 0;
}

static int start_quick(void **state) {
    (void)state;
    world_start_family(&world, 1, quick_timeout);
    return 0;
}

static int start_two(void **state) {
    (void)state;
    world_start_family(&world, 2, NULL);
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

static const struct seen_result *send_text(int endpoint, const uint8_t *id, const char *body) {
    uint64_t ref = endpoint_text(world.endpoints[endpoint], "u_ann", "c_family", id, body);
    return endpoint_result(world.endpoints[endpoint], ref);
}

/* Every seq first..head is delivered, in order at its first appearance, with the stored body. */
static void check_deliveries_from(struct endpoint_peer *endpoint, uint64_t first) {
    const struct script_conversation *log = family_log();
    uint64_t next = first;
    for (size_t i = 0; i < endpoint_deliveries(endpoint, MESSAGE); i++) {
        const struct seen_delivery *seen = endpoint_delivery(endpoint, MESSAGE, i);
        assert_true(seen->seq <= next); /* no hole, whatever came twice */
        assert_string_equal(seen->body, log->rows[seen->seq - 1].body);
        next += seen->seq == next;
    }
    assert_int_equal(next, log->head + 1);
}

static void check_deliveries(struct endpoint_peer *endpoint) {
    check_deliveries_from(endpoint, 1);
}

static uint64_t session_text(struct endpoint_peer *endpoint, uint64_t session, const char *body) {
    uint8_t id[ID_UUID_BYTES];
    Pipit__Submit submit = PIPIT__SUBMIT__INIT;
    fresh_id(id);
    submit.user = (char *)"u_ann";
    submit.device = (char *)"w:phone";
    submit.session = session;
    submit.conversation = (char *)"c_family";
    submit.id = (ProtobufCBinaryData){sizeof id, id};
    submit.body = (ProtobufCBinaryData){strlen(body), (uint8_t *)(uintptr_t)body};
    return endpoint_submit(endpoint, &submit);
}

static void seqs_are_dense_in_sending_order(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    uint64_t refs[300];
    char body[32];
    for (unsigned i = 0; i < 300; i += 50) {
        endpoint_texts(endpoint, "u_ann", "c_family", "m", i, 50, &refs[i]);
        (void)endpoint_result(endpoint, refs[i]);
    }
    for (size_t i = 0; i < 300; i++) {
        assert_int_equal(endpoint_result(endpoint, refs[i])->seq, i + 1);
        (void)snprintf(body, sizeof body, "m-%zu", i);
        assert_string_equal(family_log()->rows[i].body, body);
    }
    endpoint_until(endpoint, MESSAGE, 300);
    check_deliveries(endpoint);
}

static bool all_pending(void *arg) {
    return routing_metrics.pending.value == *(int64_t *)arg;
}

/* While an append is out, later messages gather: one more append carries them all. */
static void appends_gather_behind_a_flight(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    (void)send_text(0, NULL, "warm");
    unsigned before = world.storage.requests[MESSAGE_APPEND_BATCH];
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_HOLD);
    uint64_t refs[20];
    for (size_t i = 0; i < 20; i++) {
        refs[i] = endpoint_text(endpoint, "u_ann", "c_family", NULL, "x");
        world_until_size(&world, &world.storage.held_count, 1);
    }
    int64_t sent = 20;
    world_until(&world, all_pending, &sent); /* they have all arrived */
    assert_int_equal(world.storage.held_count, 1);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_SERVE);
    script_release(&world.storage);
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(endpoint_result(endpoint, refs[i])->reason, REASON_OK);
    }
    assert_int_equal(family_log()->head, 21);
    assert_true(world.storage.requests[MESSAGE_APPEND_BATCH] <= before + 3);
}

static void one_append_carries_many_conversations(void **state) {
    (void)state;
    Pipit__Submit submits[40];
    Pipit__Submit *pointers[40];
    uint8_t ids[40][ID_UUID_BYTES];
    char names[40][32];
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    for (size_t i = 0; i < 40; i++) {
        (void)snprintf(names[i], sizeof names[i], "c_%zu", i);
        (void)script_conversation(&world.storage, names[i], world_family);
    }
    for (int round = 1; round <= 2; round++) {
        for (size_t i = 0; i < 40; i++) {
            fresh_id(ids[i]);
            pipit__submit__init(&submits[i]);
            submits[i].user = (char *)"u_ann";
            submits[i].conversation = names[i];
            submits[i].id = (ProtobufCBinaryData){ID_UUID_BYTES, ids[i]};
            pointers[i] = &submits[i];
        }
        batch.n_submits = 40;
        batch.submits = pointers;
        size_t before = world.endpoints[0]->result_count;
        endpoint_send(world.endpoints[0], &batch);
        world_until_size(&world, &world.endpoints[0]->result_count, before + 40);
        for (size_t i = before; i < before + 40; i++) {
            assert_int_equal(world.endpoints[0]->results[i].reason, REASON_OK);
            assert_int_equal(world.endpoints[0]->results[i].seq, round);
        }
    }
    assert_int_equal(world.storage.append_runs_max, 40); /* the second round, all loaded */
}

static void a_repeated_id_gets_its_first_seq(void **state) {
    (void)state;
    uint8_t id[ID_UUID_BYTES];
    fresh_id(id);
    const struct seen_result *first = send_text(0, id, "once");
    (void)send_text(0, NULL, "between");
    unsigned appends = world.storage.requests[MESSAGE_APPEND_BATCH];
    const struct seen_result *again = send_text(0, id, "once");
    assert_int_equal(again->reason, REASON_OK);
    assert_int_equal(again->seq, first->seq);
    assert_int_equal(again->ts_ms, first->ts_ms);
    assert_true(again->replay);
    assert_int_equal(world.storage.requests[MESSAGE_APPEND_BATCH], appends); /* remembered */
    world_settle(&world, world.endpoints[0]);
    assert_int_equal(endpoint_deliveries(world.endpoints[0], MESSAGE), 2);
    assert_int_equal(family_log()->head, 2);
}

/* Twice in one batch: both reach storage in one run; the second is the first's replay. */
static void an_id_twice_in_one_batch_is_stored_once(void **state) {
    (void)state;
    uint8_t id[ID_UUID_BYTES];
    uint8_t other[ID_UUID_BYTES];
    fresh_id(id);
    fresh_id(other);
    Pipit__Submit submits[3];
    Pipit__Submit *pointers[3];
    for (size_t i = 0; i < 3; i++) {
        pipit__submit__init(&submits[i]);
        submits[i].user = (char *)"u_ann";
        submits[i].conversation = (char *)"c_family";
        submits[i].id = (ProtobufCBinaryData){ID_UUID_BYTES, i == 2 ? other : id};
        pointers[i] = &submits[i];
    }
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    batch.n_submits = 3;
    batch.submits = pointers;
    struct endpoint_peer *endpoint = world.endpoints[0];
    endpoint_send(endpoint, &batch);
    assert_int_equal(endpoint_result(endpoint, submits[0].ref)->seq, 1);
    assert_int_equal(endpoint_result(endpoint, submits[1].ref)->seq, 1);
    assert_true(endpoint_result(endpoint, submits[1].ref)->replay);
    assert_int_equal(endpoint_result(endpoint, submits[2].ref)->seq, 2);
    assert_int_equal(family_log()->head, 2);
}

static void an_id_of_somebody_else_is_a_conflict(void **state) {
    (void)state;
    uint8_t id[ID_UUID_BYTES];
    fresh_id(id);
    assert_int_equal(send_text(0, id, "mine")->reason, REASON_OK);
    struct endpoint_peer *endpoint = world.endpoints[0];
    uint64_t ref = endpoint_text(endpoint, "u_bob", "c_family", id, "also mine");
    uint64_t after = endpoint_text(endpoint, "u_bob", "c_family", NULL, "next");
    assert_int_equal(endpoint_result(endpoint, ref)->reason, REASON_CONFLICT);
    assert_int_equal(endpoint_result(endpoint, after)->seq, 2); /* renumbered without it */
    (void)script_conversation(&world.storage, "c_other", world_family);
    ref = endpoint_text(endpoint, "u_ann", "c_other", id, "elsewhere");
    assert_int_equal(endpoint_result(endpoint, ref)->reason, REASON_CONFLICT);
}

/* --- another instance appends */

static void a_taken_seq_is_stepped_over(void **state) {
    (void)state;
    assert_int_equal(send_text(0, NULL, "one")->seq, 1);
    uint64_t conflicts = routing_metrics.conflicts.value;
    (void)script_append(&world.storage, family_log(), "u_bob", NULL, "two");
    (void)script_append(&world.storage, family_log(), "u_bob", NULL, "three");
    assert_int_equal(send_text(0, NULL, "four")->seq, 4);
    assert_int_equal(routing_metrics.conflicts.value, conflicts + 1);
    endpoint_until(world.endpoints[0], MESSAGE, 4); /* what the other one stored comes, too */
    check_deliveries(world.endpoints[0]);
}

/* Our id is in the tail: an append of ours landed whose answer was lost with another instance. */
static void our_id_in_the_tail_is_ours(void **state) {
    (void)state;
    uint8_t id[ID_UUID_BYTES];
    fresh_id(id);
    (void)send_text(0, NULL, "one");
    (void)script_append(&world.storage, family_log(), "u_bob", NULL, "two");
    (void)script_append(&world.storage, family_log(), "u_ann", id, "three");
    const struct seen_result *result = send_text(0, id, "three");
    assert_int_equal(result->reason, REASON_OK);
    assert_int_equal(result->seq, 3);
    assert_true(result->replay);
    assert_int_equal(family_log()->head, 3);
    endpoint_until(world.endpoints[0], MESSAGE, 3);
    check_deliveries(world.endpoints[0]);
}

static void a_restored_store_wins(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        (void)send_text(0, NULL, "x");
    }
    family_log()->head = 1; /* restored from a backup */
    assert_int_equal(send_text(0, NULL, "after")->seq, 2);
}

/* Both instances take turns, each always one behind the other. */
static void two_instances_share_a_conversation(void **state) {
    (void)state;
    char body[16];
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(body, sizeof body, "m%u", i);
        assert_int_equal(send_text((int)(i % 2), NULL, body)->seq, i + 1);
    }
    /* The second had the last word and came to know the conversation at its head 1. */
    endpoint_until(world.endpoints[1], MESSAGE, 19);
    check_deliveries_from(world.endpoints[1], 2);
}

enum { FIGHT_EACH = 200, FIGHT_BATCH = 10 };

/* Sends the next batch when the last one is answered; true when all are. */
static bool fight_on(struct endpoint_peer *endpoint, const char *name, uint64_t *refs,
                     unsigned *sent) {
    if (*sent > 0 && endpoint_has_result(endpoint, refs[*sent - 1]) == NULL) {
        return false;
    }
    if (*sent == FIGHT_EACH) {
        return true;
    }
    endpoint_texts(endpoint, "u_ann", "c_family", name, *sent, FIGHT_BATCH, &refs[*sent]);
    *sent += FIGHT_BATCH;
    return false;
}

struct fight {
    uint64_t refs[2][FIGHT_EACH];
    unsigned sent[2];
};

static bool fought(void *arg) {
    struct fight *fight = arg;
    bool first = fight_on(world.endpoints[0], "0", fight->refs[0], &fight->sent[0]);
    bool second = fight_on(world.endpoints[1], "1", fight->refs[1], &fight->sent[1]);
    return first && second;
}

/* Both at full speed: nothing lost, nothing twice, everybody gets on. */
static void two_instances_fight_over_a_conversation(void **state) {
    (void)state;
    struct fight fight = {.sent = {0, 0}};
    char body[32];
    world_until(&world, fought, &fight);
    for (unsigned k = 0; k < 2; k++) {
        uint64_t last = 0;
        for (unsigned i = 0; i < FIGHT_EACH; i++) {
            const struct seen_result *result =
                endpoint_result(world.endpoints[k], fight.refs[k][i]);
            assert_int_equal(result->reason, REASON_OK);
            assert_true(result->seq > last); /* each sender's order */
            last = result->seq;
            (void)snprintf(body, sizeof body, "%u-%u", k, i);
            assert_string_equal(family_log()->rows[result->seq - 1].body, body);
        }
    }
    assert_int_equal(family_log()->head, 2 * FIGHT_EACH);
    assert_int_equal(world.storage.appended_messages, 2 * FIGHT_EACH);
}

/* The same id through both instances: one row, one seq. */
static void an_id_through_both_instances_is_stored_once(void **state) {
    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        uint8_t id[ID_UUID_BYTES];
        fresh_id(id);
        uint64_t one = endpoint_text(world.endpoints[0], "u_ann", "c_family", id, "x");
        uint64_t two = endpoint_text(world.endpoints[1], "u_ann", "c_family", id, "x");
        const struct seen_result *first = endpoint_result(world.endpoints[0], one);
        const struct seen_result *second = endpoint_result(world.endpoints[1], two);
        assert_int_equal(first->reason, REASON_OK);
        assert_int_equal(second->reason, REASON_OK);
        assert_int_equal(first->seq, i + 1);
        assert_int_equal(second->seq, i + 1);
        assert_true(first->replay != second->replay);
    }
    assert_int_equal(family_log()->head, 20);
}

static void deliver_at_most_the_last_of_a_long_tail(void **state) {
    (void)state;
    assert_int_equal(send_text(0, NULL, "one")->seq, 1);
    endpoint_until(world.endpoints[0], MESSAGE, 1);
    for (int i = 0; i < 300; i++) { /* it was served elsewhere for a while */
        (void)script_append(&world.storage, family_log(), "u_bob", NULL, "x");
    }
    assert_int_equal(send_text(0, NULL, "last")->seq, 302);
    endpoint_until(world.endpoints[0], MESSAGE, 130);
    world_settle(&world, world.endpoints[0]);
    assert_int_equal(endpoint_deliveries(world.endpoints[0], MESSAGE), 130); /* 1, 128, and ours */
    for (size_t i = 1; i < 130; i++) {
        assert_int_equal(endpoint_delivery(world.endpoints[0], MESSAGE, i)->seq, 174 + i - 1);
    }
}

/* In the tail is our id, but somebody else's message. */
static void a_foreign_id_in_the_tail_is_a_conflict(void **state) {
    (void)state;
    uint8_t id[ID_UUID_BYTES];
    fresh_id(id);
    (void)send_text(0, NULL, "one");
    (void)script_append(&world.storage, family_log(), "u_bob", id, "two");
    assert_int_equal(send_text(0, id, "three")->reason, REASON_CONFLICT);
    assert_int_equal(send_text(0, NULL, "four")->seq, 3);
}

/* The tail cannot be fetched at first: what waits is refused, and the tail comes by itself later.
 */
static void a_tail_is_fetched_until_it_comes(void **state) {
    (void)state;
    (void)send_text(0, NULL, "one");
    (void)script_append(&world.storage, family_log(), "u_bob", NULL, "two");
    world.storage.fail_with = ERR_UNAVAILABLE;
    script_on(&world.storage, MESSAGE_HISTORY_REQUEST, SCRIPT_FAIL);
    assert_int_equal(send_text(0, NULL, "three")->reason, REASON_UNAVAILABLE);
    script_on(&world.storage, MESSAGE_HISTORY_REQUEST, SCRIPT_SERVE);
    endpoint_until(world.endpoints[0], MESSAGE, 2);
    check_deliveries(world.endpoints[0]);
}

/* --- bad days */

/* What a single run may be answered, and what its sender is told. */
static void refusals_of_a_run(void **state) {
    (void)state;
    static const struct {
        enum err error;
        enum reason reason;
    } cases[] = {
        {ERR_NO_SPACE, REASON_STORAGE_FULL}, {ERR_INVALID, REASON_MALFORMED},
        {ERR_NOT_FOUND, REASON_NOT_FOUND},   {ERR_IO, REASON_TIMEOUT},
        {ERR_TIMEOUT, REASON_TIMEOUT},       {(enum err)9999, REASON_TIMEOUT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        world.storage.run_error = cases[i].error;
        assert_int_equal(send_text(0, NULL, "x")->reason, cases[i].reason);
        world.storage.run_error = ERR_OK;
        assert_int_equal(send_text(0, NULL, "y")->seq, i + 1);
    }
}

/* Storage insists that the seq is taken and shows no newer head: given up after a while, retryable.
 */
static void a_seq_that_is_always_taken(void **state) {
    (void)state;
    assert_int_equal(send_text(0, NULL, "one")->seq, 1);
    world.storage.run_error = ERR_DUPLICATE_SEQ;
    assert_int_equal(send_text(0, NULL, "two")->reason, REASON_UNAVAILABLE);
    world.storage.run_error = ERR_OK;
    assert_int_equal(send_text(0, NULL, "two")->seq, 2);
}

static void a_full_disk_is_said(void **state) {
    (void)state;
    world.storage.fail_with = ERR_NO_SPACE;
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_FAIL);
    assert_int_equal(send_text(0, NULL, "x")->reason, REASON_STORAGE_FULL);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_SERVE);
    assert_int_equal(send_text(0, NULL, "x")->seq, 1);
}

/* One session's messages: what it sent behind a refused one waits for that one to come again;
 * other sessions are not concerned. */
static void a_session_is_not_overtaken_by_itself(void **state) {
    (void)state;
    struct endpoint_peer *endpoint = world.endpoints[0];
    (void)send_text(0, NULL, "warm");
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_HOLD);
    uint64_t first = session_text(endpoint, 7, "a");
    world_until_size(&world, &world.storage.held_count, 1);
    uint64_t behind[] = {session_text(endpoint, 7, "b"), session_text(endpoint, 7, "c")};
    uint64_t other = session_text(endpoint, 8, "d");
    int64_t waiting = 4;
    world_until(&world, all_pending, &waiting);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_SERVE);
    world.storage.run_error = ERR_IO;
    script_release(&world.storage);
    world.storage.run_error = ERR_OK;
    assert_int_equal(endpoint_result(endpoint, first)->reason, REASON_TIMEOUT);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(endpoint_result(endpoint, behind[i])->reason, REASON_UNAVAILABLE);
    }
    assert_int_equal(endpoint_result(endpoint, other)->reason, REASON_OK);
    assert_int_equal(family_log()->head, 2);
    endpoint_until(endpoint, MESSAGE, 2);
    check_deliveries(endpoint);
}

/* The append is not answered in time but has landed: the retry gets its seq, and the members get
 * the message although nobody else sends anything. */
static void an_unanswered_append_that_landed(void **state) {
    (void)state;
    uint8_t id[ID_UUID_BYTES];
    fresh_id(id);
    assert_int_equal(send_text(0, NULL, "one")->seq, 1);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_HOLD_ANSWER);
    const struct seen_result *first = send_text(0, id, "two");
    assert_int_equal(first->reason, REASON_TIMEOUT);
    endpoint_until(world.endpoints[0], MESSAGE, 2);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_SERVE);
    const struct seen_result *again = send_text(0, id, "two");
    assert_int_equal(again->reason, REASON_OK);
    assert_int_equal(again->seq, 2);
    assert_true(again->replay);
    assert_int_equal(send_text(0, NULL, "three")->seq, 3);
    script_release(&world.storage);
    assert_int_equal(family_log()->head, 3);
    endpoint_until(world.endpoints[0], MESSAGE, 3);
    check_deliveries(world.endpoints[0]);
}

/* It has not landed yet, but does after the conversation was loaded again. */
static void an_unanswered_append_that_lands_late(void **state) {
    (void)state;
    uint8_t id[ID_UUID_BYTES];
    fresh_id(id);
    assert_int_equal(send_text(0, NULL, "one")->seq, 1);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_HOLD);
    unsigned loads = world.storage.requests[MESSAGE_CONVERSATION_LOAD];
    assert_int_equal(send_text(0, id, "two")->reason, REASON_TIMEOUT);
    world_until_count(&world, &world.storage.requests[MESSAGE_CONVERSATION_LOAD], loads + 1);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_SERVE);
    script_release(&world.storage); /* lands now */
    assert_int_equal(family_log()->head, 2);
    assert_int_equal(send_text(0, NULL, "three")->seq, 3);
    const struct seen_result *again = send_text(0, id, "two");
    assert_int_equal(again->seq, 2);
    assert_true(again->replay);
    endpoint_until(world.endpoints[0], MESSAGE, 3);
    check_deliveries(world.endpoints[0]);
}

/* It never lands: the retry is stored once. */
static void an_unanswered_append_that_was_lost(void **state) {
    (void)state;
    uint8_t id[ID_UUID_BYTES];
    fresh_id(id);
    world.storage.fail_with = ERR_UNAVAILABLE;
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_FAIL);
    assert_int_equal(send_text(0, id, "one")->reason, REASON_TIMEOUT);
    script_on(&world.storage, MESSAGE_APPEND_BATCH, SCRIPT_SERVE);
    const struct seen_result *again = send_text(0, id, "one");
    assert_int_equal(again->seq, 1);
    assert_false(again->replay);
}

/* Storage fails while a conversation must be loaded: refused, retryable, and well again after. */
static void without_members_nothing_is_accepted(void **state) {
    (void)state;
    world.storage.fail_with = ERR_UNAVAILABLE;
    script_on(&world.storage, MESSAGE_CONVERSATION_LOAD, SCRIPT_FAIL);
    assert_int_equal(send_text(0, NULL, "x")->reason, REASON_UNAVAILABLE);
    assert_int_equal(world.storage.requests[MESSAGE_APPEND_BATCH], 0);
    script_on(&world.storage, MESSAGE_CONVERSATION_LOAD, SCRIPT_SERVE);
    assert_int_equal(send_text(0, NULL, "x")->seq, 1);
}

#define TEST(name, setup) cmocka_unit_test_setup_teardown(name, setup, finish)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(seqs_are_dense_in_sending_order, start),
        TEST(appends_gather_behind_a_flight, start),
        TEST(one_append_carries_many_conversations, start),
        TEST(a_repeated_id_gets_its_first_seq, start),
        TEST(an_id_twice_in_one_batch_is_stored_once, start),
        TEST(an_id_of_somebody_else_is_a_conflict, start),
        TEST(a_taken_seq_is_stepped_over, start),
        TEST(our_id_in_the_tail_is_ours, start),
        TEST(a_restored_store_wins, start),
        TEST(deliver_at_most_the_last_of_a_long_tail, start),
        TEST(a_foreign_id_in_the_tail_is_a_conflict, start),
        TEST(a_tail_is_fetched_until_it_comes, start),
        TEST(refusals_of_a_run, start),
        TEST(a_seq_that_is_always_taken, start),
        TEST(two_instances_share_a_conversation, start_two),
        TEST(two_instances_fight_over_a_conversation, start_two),
        TEST(an_id_through_both_instances_is_stored_once, start_two),
        TEST(a_full_disk_is_said, start),
        TEST(a_session_is_not_overtaken_by_itself, start),
        TEST(an_unanswered_append_that_landed, start_quick),
        TEST(an_unanswered_append_that_lands_late, start_quick),
        TEST(an_unanswered_append_that_was_lost, start_quick),
        TEST(without_members_nothing_is_accepted, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
