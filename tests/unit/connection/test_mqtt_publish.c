/* mqtt_publish, mqtt_publishing, mqtt_message: what clients send and how it is answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/connection/mqtt_client.h"

/* --- PUBLISH from the client */

static void test_puback_means_stored(void **state) {
    (void)state;
    log_in(4);
    publish(4, 1, 0x1234, "pipit/c/fam/send", "七点");
    assert_int_equal(fake.submit_count, 1);
    assert_string_equal(fake.submits[0].conversation, "c_fam");
    assert_string_equal(fake.submits[0].body, "{\"text\":\"七点\"}");
    assert_true(fake.submits[0].from_mqtt && !fake.submits[0].maybe_copy);
    assert_int_equal(fake.submits[0].packet_id, 0x1234);
    expect_nothing();
    fake_result(0, REASON_OK, 5);
    expect(0x40, "\x12\x34", 2);
    assert_int_equal(got_bytes, 2);
    net_hang_up(client);
}

static void test_direct_topic_and_payload_forms(void **state) {
    (void)state;
    static const struct {
        const char *payload, *body;
        uint64_t reply;
    } cases[] = {
        {"plain", "{\"text\":\"plain\"}", 0},
        {"{\"temperature\":21}", "{\"text\":\"{\\\"temperature\\\":21}\"}", 0},
        {"{\"text\":\"short\",\"reply\":4}", "{\"text\":\"short\"}", 4},
        {"{\"text\":\"x\",\"more\":1}", "{\"text\":\"{\\\"text\\\":\\\"x\\\",\\\"more\\\":1}\"}",
         0},
        {"{\"body\":{\"text\":\"b\",\"k\":1},\"reply\":2}", "{\"text\":\"b\",\"k\":1}", 2},
    };
    net.settings.inflight_per_session_max = 64;
    log_in(4);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        publish(4, 1, (unsigned)i + 1, "pipit/u/bob/send", cases[i].payload);
        assert_int_equal(fake.submit_count, i + 1);
        assert_string_equal(fake.submits[i].to_user, "u_bob");
        assert_string_equal(fake.submits[i].body, cases[i].body);
        assert_int_equal(fake.submits[i].reply_seq, cases[i].reply);
    }
    net_hang_up(client);
}

static void test_message_id_from_payload_or_correlation(void **state) {
    (void)state;
    char payload[100];
    char properties[60];
    char id[37];
    (void)snprintf(id, sizeof id, "%08x-%04x-7000-8000-000000000001", (unsigned)(NET_WALL_MS >> 16),
                   (unsigned)(NET_WALL_MS & 0xFFFF));
    uint8_t expected[16];
    assert_int_equal(id_uuid7_parse(id, 36, expected), ERR_OK);
    log_in(5);
    (void)snprintf(payload, sizeof payload, "{\"text\":\"x\",\"message\":\"%s\"}", id);
    publish(5, 1, 1, "pipit/u/bob/send", payload);
    assert_memory_equal(fake.submits[0].id, expected, 16);
    memcpy(properties, "\x09\x00\x24", 3);
    memcpy(properties + 3, id, 36);
    publish_flags(0x32, 2, "pipit/u/bob/send", "x", properties, 39, 5);
    assert_memory_equal(fake.submits[1].id, expected, 16);
    memcpy(properties, "\x09\x00\x10", 3);
    memcpy(properties + 3, expected, 16);
    publish_flags(0x32, 3, "pipit/u/bob/send", "x", properties, 19, 5);
    assert_memory_equal(fake.submits[2].id, expected, 16);
    publish_flags(0x32, 4, "pipit/u/bob/send", "x", "\x09\x00\x01k", 4, 5);
    assert_memory_not_equal(fake.submits[3].id, expected, 16);
    net_hang_up(client);
}

static void test_acknowledgement_tells_seq_on_version_5(void **state) {
    (void)state;
    log_in(5);
    publish(5, 1, 7, "pipit/u/bob/send", "x");
    fake_result(0, REASON_OK, 42);
    expect(0x40, "\x00\x07\x00", 3);
    assert_true(has("seq") && has("42") && has("message"));
    net_hang_up(client);
}

static void test_answers_keep_the_order_of_the_packets(void **state) {
    (void)state;
    log_in(4);
    publish(4, 1, 1, "pipit/c/a/send", "x");
    publish(4, 1, 2, "pipit/c/b/send", "x");
    publish(4, 0, 0, "pipit/c/b/send", "x");
    fake_result(1, REASON_OK, 1);
    fake_result(2, REASON_OK, 2);
    expect_nothing();
    fake_result(0, REASON_OK, 1);
    expect(0x40, "\x00\x01", 2);
    expect(0x40, "\x00\x02", 2);
    expect_nothing();
    net_hang_up(client);
}

static void test_duplicate_carries_its_origin(void **state) {
    (void)state;
    log_in(4);
    publish(4, 1, 7, "pipit/u/bob/send", "x");
    fake_result(0, REASON_OK, 1);
    expect(0x40, "\x00\x07", 2);
    publish_flags(0x3A, 7, "pipit/u/bob/send", "x", "", 0, 4);
    assert_int_equal(fake.submit_count, 2);
    assert_true(fake.submits[1].maybe_copy);
    assert_memory_equal(fake.submits[0].origin_hash, fake.submits[1].origin_hash, 16);
    /* Again while its answer is due: the same packet, not another message. */
    publish_flags(0x3A, 7, "pipit/u/bob/send", "x", "", 0, 4);
    assert_int_equal(fake.submit_count, 2);
    fake_result(1, REASON_OK, 1);
    expect(0x40, "\x00\x07", 2);
    expect_nothing();
    net_hang_up(client);
}

static void test_qos_2_stores_once(void **state) {
    (void)state;
    for (unsigned version = 4; version <= 5; version++) {
        fake_reset();
        log_in(version);
        publish(version, 2, 9, "pipit/u/bob/send", "x");
        fake_result(0, REASON_OK, 1);
        expect(0x50, "\x00\x09", 2);
        publish_flags(0x3C, 9, "pipit/u/bob/send", "x", "", 0, version);
        expect(0x50, "\x00\x09", 2);
        assert_int_equal(fake.submit_count, 1);
        net_send(client, "\x62\x02\x00\x09", 4);
        expect(0x70, "\x00\x09", 2);
        net_send(client, "\x62\x02\x00\x09", 4); /* unknown now */
        expect(0x70, version == 5 ? "\x00\x09\x92" : "\x00\x09", version == 5 ? 3 : 2);
        publish(version, 2, 9, "pipit/u/bob/send", "x"); /* a new one with the same id */
        assert_int_equal(fake.submit_count, 2);
        net_hang_up(client);
    }
}

static void test_refusal_has_a_code_on_version_5(void **state) {
    (void)state;
    log_in(5);
    publish(5, 1, 7, "pipit/c/fam/send", "x");
    fake_result(0, REASON_NOT_MEMBER, 0);
    expect(0x40, "\x00\x07\x87", 3);
    assert_true(has("Only members"));
    publish(5, 2, 8, "some/other/topic", "x");
    expect(0x50, "\x00\x08\x87", 3);
    publish(5, 1, 9, "$SYS/broker", "x");
    expect(0x40, "\x00\x09\x87", 3);
    publish(5, 1, 10, "pipit/u/NO WAY/send", "x");
    expect(0x40, "\x00\x0A\x90", 3);
    publish(5, 1, 11, "pipit/me/inbox", "x");
    expect(0x40, "\x00\x0B\x87", 3);
    publish(5, 1, 12, "pipit/u/bob/send", "");
    expect(0x40, "\x00\x0C\x99", 3);
    publish(5, 1, 13, "pipit/u/bob/send", "\xFF");
    expect(0x40, "\x00\x0D\x99", 3);
    assert_false(net.closed);
    assert_int_equal(fake.submit_count, 1);
    net_hang_up(client);
}

static void test_refusal_closes_on_version_3(void **state) {
    (void)state;
    log_in(4);
    publish(4, 1, 7, "pipit/c/fam/send", "x");
    fake_result(0, REASON_NOT_MEMBER, 0);
    expect_ended();
    assert_int_equal(fake.closes, 1);
    net_hang_up(client);
}

static void test_retryable_failure_is_tried_again_on_version_3(void **state) {
    (void)state;
    log_in(4);
    publish(4, 1, 7, "pipit/c/fam/send", "x");
    fake_result(0, REASON_UNAVAILABLE, 0);
    expect_nothing();
    net_advance(1000000);
    assert_int_equal(fake.submit_count, 2);
    assert_memory_equal(fake.submits[0].id, fake.submits[1].id, 16);
    assert_string_equal(fake.submits[1].body, "{\"text\":\"x\"}");
    fake_result(1, REASON_OK, 3);
    expect(0x40, "\x00\x07", 2);
    /* For ten seconds, then the client has to. */
    publish(4, 1, 8, "pipit/c/fam/send", "x");
    size_t answered = 2;
    for (int i = 0; i < 60 && fake.session != NULL; i++) {
        while (fake.session != NULL && answered < fake.submit_count) {
            fake_result(answered++, REASON_UNAVAILABLE, 0);
        }
        net_advance(250000);
    }
    assert_in_range(answered, 10, 24);
    expect_ended();
    net_hang_up(client);
}

/* What follows a message that is tried again waits behind it. */
static void test_what_is_tried_again_is_not_overtaken(void **state) {
    (void)state;
    net.settings.inflight_per_session_max = 64;
    log_in(4);
    publish(4, 1, 1, "pipit/c/fam/send", "a");
    publish(4, 1, 2, "pipit/c/fam/send", "b");
    publish(4, 1, 3, "pipit/c/fam/send", "c");
    assert_int_equal(fake.submit_count, 3);
    for (size_t i = 0; i < 3; i++) { /* routing knows what was sent without knowing of a refusal */
        assert_int_equal(fake.submits[i].turn, i + 1);
        assert_int_equal(fake.submits[i].oldest_turn, 1);
    }
    fake_result(1, REASON_UNAVAILABLE, 0); /* answers come in any order */
    fake_result(0, REASON_UNAVAILABLE, 0);
    fake_result(2, REASON_UNAVAILABLE, 0);
    publish(4, 1, 4, "pipit/c/fam/send", "d");
    publish(4, 1, 5, "pipit/u/bob/send", "e");
    net_advance(1000000);
    assert_int_equal(fake.submit_count, 4); /* a alone */
    assert_string_equal(fake.submits[3].body, "{\"text\":\"a\"}");
    assert_int_equal(fake.submits[3].turn, 4);
    assert_int_equal(fake.submits[3].oldest_turn, 4);
    fake_result(3, REASON_TIMEOUT, 0);
    net_advance(1000000);
    assert_int_equal(fake.submit_count, 5); /* a still */
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(fake.submit_count, 5 + i);
        static const char *const bodies[] = {"{\"text\":\"a\"}", "{\"text\":\"b\"}",
                                             "{\"text\":\"c\"}"};
        assert_string_equal(fake.submits[4 + i].body, bodies[i]);
        fake_result(4 + i, REASON_OK, i + 1);
        net_turn();
    }
    assert_int_equal(fake.submit_count, 9); /* d and e were not read until then */
    assert_string_equal(fake.submits[7].body, "{\"text\":\"d\"}");
    assert_string_equal(fake.submits[8].body, "{\"text\":\"e\"}");
    assert_int_equal(fake.submits[8].oldest_turn, fake.submits[8].turn); /* d goes elsewhere */
    fake_result(7, REASON_OK, 4);
    fake_result(8, REASON_OK, 1);
    for (char number = 1; number <= 5; number++) {
        expect(0x40, (char[]){0, number}, 2);
    }
    net_hang_up(client);
}

static void test_retryable_failure_is_told_on_version_5(void **state) {
    (void)state;
    log_in(5);
    publish(5, 1, 7, "pipit/c/fam/send", "x");
    fake_result(0, REASON_RATE_LIMITED, 0);
    expect(0x40, "\x00\x07\x97", 3);
    net_hang_up(client);
}

static void test_rate_limit_pauses_reading(void **state) {
    (void)state;
    log_in(4);
    fake.submit_error = ERR_RATE_LIMITED;
    fake.submit_retry_ms = 300;
    publish(4, 1, 7, "pipit/c/fam/send", "x");
    expect_nothing();
    fake.submit_error = ERR_OK;
    net_turn();
    assert_int_equal(fake.submit_count, 0);
    net_advance(350000);
    assert_int_equal(fake.submit_count, 1);
    fake_result(0, REASON_OK, 1);
    expect(0x40, "\x00\x07", 2);
    net_hang_up(client);
}

static void test_full_batches_pause_reading_for_moments(void **state) {
    (void)state;
    for (unsigned version = 4; version <= 5; version++) {
        fake_reset();
        log_in(version);
        fake.submit_error = ERR_UNAVAILABLE;
        publish(version, 1, 7, "pipit/c/fam/send", "x");
        expect_nothing();
        fake.submit_error = ERR_OK;
        net_advance(10000);
        assert_int_equal(fake.submit_count, 1);
        net_hang_up(client);
    }
}

static void test_no_routing_is_told_on_version_5(void **state) {
    (void)state;
    log_in(5);
    fake.submit_error = ERR_UNAVAILABLE;
    fake.no_routing = true;
    publish(5, 1, 7, "pipit/c/fam/send", "x");
    expect(0x40, "\x00\x07", 2);
    assert_true(got[2] >= 0x80);
    net_hang_up(client);
    net.closed = false;
    fake_reset();
    log_in(4);
    fake.submit_error = ERR_UNAVAILABLE;
    fake.no_routing = true;
    publish(4, 1, 7, "pipit/c/fam/send", "x");
    net_advance(2000000);
    expect_nothing();
    fake.submit_error = ERR_OK;
    net_advance(1000000);
    assert_int_equal(fake.submit_count, 1);
    net_hang_up(client);
}

static void test_reading_pauses_until_answers_come(void **state) {
    (void)state;
    log_in(4);
    for (unsigned id = 1; id <= 10; id++) {
        publish(4, 1, id, "pipit/c/fam/send", "x");
    }
    assert_int_equal(fake.submit_count, 4);
    for (size_t i = 0; i < 10; i++) {
        fake_result(i, REASON_OK, i + 1);
        net_turn();
    }
    assert_int_equal(fake.submit_count, 10);
    for (unsigned id = 1; id <= 10; id++) {
        uint8_t expected[2] = {0, (uint8_t)id};
        expect(0x40, expected, 2);
    }
    net_hang_up(client);
}

static void test_topic_aliases(void **state) {
    (void)state;
    log_in(5);
    publish_flags(0x32, 1, "pipit/u/bob/send", "a", "\x23\x00\x10", 3, 5);
    publish_flags(0x32, 2, "", "b", "\x23\x00\x10", 3, 5);
    assert_int_equal(fake.submit_count, 2);
    assert_string_equal(fake.submits[1].to_user, "u_bob");
    publish_flags(0x32, 3, "", "c", "\x23\x00\x02", 3, 5); /* unknown */
    expect(0xE0, "\x94", 1);
    net_hang_up(client);
    net.closed = false;
    net.read_bytes = 0;
    log_in(5);
    publish_flags(0x32, 1, "pipit/u/bob/send", "a", "\x23\x00\x11", 3, 5); /* above the maximum */
    expect(0xE0, "\x94", 1);
    net_hang_up(client);
}

static void test_retained_messages_are_refused(void **state) {
    (void)state;
    log_in(5);
    publish_flags(0x33, 1, "pipit/u/bob/send", "a", "", 0, 5);
    expect(0xE0, "\x9A", 1);
    net_hang_up(client);
    net.closed = false;
    log_in(4);
    publish_flags(0x33, 1, "pipit/u/bob/send", "a", "", 0, 4);
    assert_int_equal(fake.submit_count, 1);
    net_hang_up(client);
}

static void test_answer_on_the_response_topic(void **state) {
    (void)state;
    static const char properties[] = "\x08\x00\x0Fpipit/me/events\x09\x00\x02hi";
    log_in_subscribed(5);
    publish_flags(0x32, 7, "pipit/c/fam/send", "x", properties, sizeof properties - 1, 5);
    fake_result(0, REASON_OK, 9);
    expect(0x40, "\x00\x07\x00", 3);
    assert_int_equal(next_packet() & 0xF0, 0x30);
    assert_true(has("pipit/me/events") && has("\x09\x00\x02hi"));
    assert_true(has("{\"t\":\"ok\",\"d\":{\"conversation\":\"c_fam\",\"message\":\""));
    assert_true(has("\"seq\":9"));
    net_hang_up(client);
}

static void test_foreign_response_topics_are_ignored(void **state) {
    (void)state;
    static const char properties[] = "\x08\x00\x10pipit/u/bob/send";
    log_in_subscribed(5);
    publish_flags(0x32, 7, "pipit/c/fam/send", "x", properties, sizeof properties - 1, 5);
    fake_result(0, REASON_OK, 9);
    expect(0x40, "\x00\x07\x00", 3);
    expect_nothing();
    net_hang_up(client);
}

/* A whole life in which the nth allocation fails: nothing crashes or leaks. */
static bool live_with_fault(uint64_t nth, unsigned version) {
    static const char response[] = "\x08\x00\x0Fpipit/me/events\x09\x00\x02hi\x23\x00\x01";
    struct connect_options options = usual(version);
    options.will_topic = "pipit/u/bob/send";
    options.will_payload = "gone";
    net.fault_nth = nth;
    connect_with(&options);
    if (fake.session != NULL) {
        fake.session->ops->on_opened(fake.session, REASON_OK);
        net_turn();
    }
    subscribe(version, 1, "pipit/me/#", 1);
    publish_flags(0x34, 7, "pipit/c/fam/send", "x", response,
                  version == 5 ? sizeof response - 1 : 0, version);
    if (fake.session != NULL && fake.submit_count == 1) {
        fake_result(0, REASON_OK, 9);
    }
    for (uint64_t seq = 1; fake.session != NULL && seq < 4; seq++) {
        fake_message(fake.session, "c_fam", seq, "{}");
    }
    net_send(client, "\x40\x02\x00\x02\x32", 5);
    net_receive(client);
    net_hang_up(client);
    net.fault_nth = 0;
    bool failed = mem_fault_set(0, 0) >= nth;
    struct list_node *ghost = list_first(&net.table->states[CONN_GHOST]);
    if (ghost != NULL) {
        conn_abandon(CONTAINER_OF(ghost, struct conn, state_node));
    }
    net_turn();
    assert_int_equal(conn_table_count(net.table), 0);
    return failed;
}

static void test_any_allocation_may_fail(void **state) {
    (void)state;
    (void)mem_fault_set(0, 0);
    for (unsigned version = 4; version <= 5; version++) {
        uint64_t nth = 1;
        while (live_with_fault(nth, version)) {
            fake_reset();
            net.closed = false;
            net.read_bytes = 0;
            nth++;
            assert_true(nth < 200);
        }
        assert_true(nth > 4);
    }
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_puback_means_stored),
        T(test_direct_topic_and_payload_forms),
        T(test_message_id_from_payload_or_correlation),
        T(test_acknowledgement_tells_seq_on_version_5),
        T(test_answers_keep_the_order_of_the_packets),
        T(test_duplicate_carries_its_origin),
        T(test_qos_2_stores_once),
        T(test_refusal_has_a_code_on_version_5),
        T(test_refusal_closes_on_version_3),
        T(test_retryable_failure_is_tried_again_on_version_3),
        T(test_what_is_tried_again_is_not_overtaken),
        T(test_retryable_failure_is_told_on_version_5),
        T(test_rate_limit_pauses_reading),
        T(test_full_batches_pause_reading_for_moments),
        T(test_no_routing_is_told_on_version_5),
        T(test_reading_pauses_until_answers_come),
        T(test_topic_aliases),
        T(test_retained_messages_are_refused),
        T(test_answer_on_the_response_topic),
        T(test_foreign_response_topics_are_ignored),
        T(test_any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
