/* ws_request, ws_sync: what frames ask for and how it is answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/connection/ws_client.h"

/* --- messages */

static void test_send_is_answered_when_stored(void **state) {
    (void)state;
    log_in();
    send_message(3);
    assert_int_equal(fake.submit_count, 1);
    assert_string_equal(fake.submits[0].conversation, "c_fam");
    assert_string_equal(fake.submits[0].body, "{\"text\":\"hi\"}");
    expect_nothing();
    fake_result(0, REASON_OK, 89);
    expect_text("{\"t\":\"ok\",\"id\":3,\"d\":{\"conversation\":\"c_fam\",\"seq\":89");
    net_hang_up(client);
    assert_int_equal(fake.closes, 1);
}

static void test_refusal_names_code_and_retry_time(void **state) {
    (void)state;
    log_in();
    send_message(4);
    fake_result(0, REASON_RATE_LIMITED, 0);
    expect_text("\"id\":4,\"d\":{\"code\":\"rate_limited\",\"retryable\":true");
    assert_non_null(strstr(text, "\"retry_ms\":700"));
    fake.submit_error = ERR_UNAVAILABLE;
    send_message(5);
    expect_text("\"id\":5,\"d\":{\"code\":\"unavailable\",\"retryable\":true");
    net_hang_up(client);
}

static void test_reading_pauses_until_answers_come(void **state) {
    (void)state;
    log_in();
    for (unsigned id = 10; id < 20; id++) {
        send_message(id);
    }
    assert_int_equal(fake.submit_count, 4); /* inflight_per_session_max */
    fake_result(0, REASON_OK, 1);
    net_turn();
    assert_int_equal(fake.submit_count, 5);
    for (size_t i = 1; i < 10; i++) {
        fake_result(i, REASON_OK, i + 1);
        net_turn();
    }
    assert_int_equal(fake.submit_count, 10);
    for (unsigned id = 10; id < 20; id++) {
        char part[40];
        (void)snprintf(part, sizeof part, "\"id\":%u,", id);
        expect_text(part);
    }
    net_hang_up(client);
}

static void test_old_message_ids_are_refused(void **state) {
    (void)state;
    log_in();
    send_text("{\"t\":\"send\",\"id\":3,\"d\":{\"conversation\":\"c_fam\",\"message\":"
              "\"01800000-1000-7000-8000-000000000001\",\"body\":{\"text\":\"hi\"}}}");
    expect_text("id_out_of_window");
    assert_int_equal(fake.submit_count, 0);
    net_hang_up(client);
}

static void test_edit_recall_and_react_are_submitted(void **state) {
    (void)state;
    char json[300];
    log_in();
    (void)snprintf(json, sizeof json,
                   "{\"t\":\"react\",\"id\":6,\"d\":{\"conversation\":\"c_fam\",\"seq\":5,"
                   "\"message\":\"%s\",\"emoji\":\"+1\"}}",
                   uuid_now(1));
    send_text(json);
    assert_int_equal(fake.submits[0].kind, FRAME_EVENT_REACT);
    assert_int_equal(fake.submits[0].target_seq, 5);
    assert_string_equal(fake.submits[0].body, "{\"emoji\":\"+1\",\"removed\":false}");
    (void)snprintf(json, sizeof json,
                   "{\"t\":\"recall\",\"id\":7,\"d\":{\"conversation\":\"c_fam\",\"seq\":5,"
                   "\"message\":\"%s\"}}",
                   uuid_now(2));
    send_text(json);
    assert_int_equal(fake.submits[1].kind, FRAME_EVENT_RECALL);
    net_hang_up(client);
}

static void test_events_are_passed_on(void **state) {
    (void)state;
    log_in();
    fake_message(fake.session, "c_fam", 1, "{\"t\":\"msg\",\"d\":{}}");
    fake_event(fake.session, EVENT_TYPING, "{\"t\":\"typing\",\"d\":{}}");
    expect_text("\"t\":\"msg\"");
    expect_text("\"t\":\"typing\"");
    net_hang_up(client);
}

static void test_frames_without_answers(void **state) {
    (void)state;
    log_in();
    send_text("{\"t\":\"mark\",\"d\":{\"conversation\":\"c_fam\",\"read\":7}}");
    send_text("{\"t\":\"mark\",\"id\":4,\"d\":{\"conversation\":\"c_other\",\"read\":7}}");
    send_text("{\"t\":\"typing\",\"d\":{\"conversation\":\"c_fam\"}}");
    send_text("{\"t\":\"presence\",\"id\":5,\"d\":{\"status\":\"away\"}}");
    send_text("{\"t\":\"ping\",\"id\":6}");
    assert_int_equal(fake.mark_count, 1);
    assert_int_equal(fake.marks[0].delivered, 7);
    assert_int_equal(fake.marks[0].read, 7);
    assert_int_equal(fake.typings, 1);
    assert_int_equal(fake.presences, 1);
    expect_text("\"id\":4,\"d\":{\"code\":\"not_member\"");
    expect_text("{\"t\":\"ok\",\"id\":5,\"d\":{}}");
    expect_text("{\"t\":\"pong\",\"id\":6");
    expect_nothing();
    net_hang_up(client);
}

static void test_who_is_online(void **state) {
    (void)state;
    static const char *const users[] = {"u_ann", "u_bob"};
    log_in();
    send_text("{\"t\":\"presence\",\"id\":5,\"d\":{\"conversation\":\"c_fam\"}}");
    assert_int_equal(fake.queries, 1);
    fake.session->ops->on_online(fake.session, 5, REASON_OK, "c_fam", users, 2);
    expect_text("\"id\":5,\"d\":{\"conversation\":\"c_fam\",\"online\":[\"u_ann\",\"u_bob\"]}");
    net_hang_up(client);
}

/* --- sync */

static const uint8_t some_id[16] = {1};

static void give_page(uint64_t first_seq, size_t count, bool more, const char *body) {
    static struct frame_event events[100];
    for (size_t i = 0; i < count; i++) {
        events[i] = (struct frame_event){.kind = FRAME_EVENT_MSG,
                                         .conversation = fake.history_conversation,
                                         .seq = first_seq + i,
                                         .id = some_id,
                                         .sender = "u_bob",
                                         .body = slice_text(body)};
    }
    struct session_page page = {.reason = REASON_OK,
                                .conversation = fake.history_conversation,
                                .events = events,
                                .event_count = count,
                                .head = first_seq + count - 1 + (more ? 100 : 0),
                                .has_more = more};
    fake.session->ops->on_page(fake.session, fake.history_request, &page);
}

static void test_sync_pages_one_conversation_after_the_other(void **state) {
    (void)state;
    log_in();
    send_text("{\"t\":\"sync\",\"id\":8,\"d\":{\"epoch\":\"e1\",\"c_one\":3,\"c_two\":0}}");
    assert_string_equal(fake.history_conversation, "c_one");
    assert_int_equal(fake.history_after, 3);
    give_page(4, 2, true, "{}");
    expect_text("\"items\":[{\"t\":\"msg\"");
    assert_non_null(strstr(text, "\"more\":true"));
    assert_int_equal(fake.history_after, 5);
    give_page(6, 1, false, "{}");
    expect_text("\"more\":false");
    assert_string_equal(fake.history_conversation, "c_two");
    struct session_page refused = {.reason = REASON_NOT_MEMBER, .conversation = "c_two"};
    fake.session->ops->on_page(fake.session, 8, &refused);
    expect_text(
        "\"conversation\":\"c_two\",\"items\":[],\"head\":0,\"more\":false,\"err\":{\"code\":"
        "\"not_member\"");
    expect_text("{\"t\":\"ok\",\"id\":8,\"d\":{\"epoch\":\"e1\"}}");
    assert_int_equal(fake.histories, 3);
    net_hang_up(client);
}

static void test_sync_of_nothing_and_of_another_epoch(void **state) {
    (void)state;
    log_in();
    send_text("{\"t\":\"sync\",\"id\":8,\"d\":{\"epoch\":\"old\"}}");
    expect_text("{\"t\":\"ok\",\"id\":8,\"d\":{\"epoch\":\"e1\",\"rebuild\":true}}");
    send_text("{\"t\":\"sync\",\"id\":9,\"d\":{}}");
    expect_text("{\"t\":\"ok\",\"id\":9,\"d\":{\"epoch\":\"e1\"}}");
    net_hang_up(client);
}

/* 100 bodies of 10 KB are four times the send queue: it must be paged, and nothing lost or
 * repeated. */
static void test_sync_waits_for_a_slow_reader(void **state) {
    (void)state;
    static char body[10100];
    memset(body, 'x', sizeof body);
    memcpy(body, "{\"text\":\"", 9);
    memcpy(body + sizeof body - 3, "\"}", 3);
    log_in();
    send_text("{\"t\":\"sync\",\"id\":8,\"d\":{\"c_one\":0}}");
    uint64_t next = 1;
    unsigned asked = 0;
    while (next <= 100) {
        if (fake.histories > asked) {
            asked = fake.histories;
            uint64_t first = fake.history_after + 1;
            give_page(first, (size_t)(101 - first), false, body);
            net_turn();
        }
        net_receive(client);
        enum ws_opcode opcode;
        while (next_frame(&opcode)) {
            assert_int_equal(opcode, WS_TEXT);
            for (char *at = strstr(text, "\"seq\":"); at != NULL; at = strstr(at + 1, "\"seq\":")) {
                assert_int_equal(strtoull(at + 6, NULL, 10), next);
                next++;
            }
        }
    }
    assert_int_equal(next, 101);
    assert_true(asked > 1);
    assert_false(net.closed);
    net_hang_up(client);
}

static void test_only_so_many_syncs_wait(void **state) {
    (void)state;
    log_in();
    for (unsigned i = 0; i < 9; i++) {
        char json[80];
        (void)snprintf(json, sizeof json, "{\"t\":\"sync\",\"id\":%u,\"d\":{\"c_one\":0}}", 10 + i);
        send_text(json);
    }
    expect_text("\"id\":18,\"d\":{\"code\":\"rate_limited\"");
    assert_int_equal(fake.histories, 1);
    net_hang_up(client); /* frees what waits */
}

/* A whole life in which the nth allocation fails: whatever happens, nothing crashes or leaks (the
 * table checks its accounts at the end, the sanitizer its memory). */
static bool live_with_fault(uint64_t nth) {
    static const char auth[] = "{\"t\":\"auth\",\"id\":1,\"d\":{\"token\":\"good\"}}";
    static const char sync[] = "{\"t\":\"sync\",\"id\":2,\"d\":{\"c_one\":0}}";
    static const char half[] = "\x81\xFE\x01";
    net.fault_nth = nth;
    shake_hands("");
    send_frame(WS_TEXT, auth, sizeof auth - 1);
    if (fake.session != NULL) {
        fake.session->ops->on_opened(fake.session, REASON_OK);
        net_turn();
    }
    send_message(3);
    if (fake.session != NULL && fake.submit_count == 1) {
        fake_result(0, REASON_OK, 1);
    }
    if (fake.session != NULL) {
        fake_message(fake.session, "c_fam", 1, "{}");
    }
    send_frame(WS_TEXT, sync, sizeof sync - 1);
    if (fake.session != NULL && fake.histories == 1) {
        give_page(1, 3, false, "{}");
    }
    net_send(client, half, sizeof half - 1);
    net.fault_nth = 0;
    bool failed = mem_fault_set(0, 0) >= nth;
    net_receive(client);
    net_hang_up(client);
    assert_int_equal(conn_table_count(net.table), 0);
    return failed;
}

static void test_any_allocation_may_fail(void **state) {
    (void)state;
    uint64_t nth = 1;
    (void)mem_fault_set(0, 0);
    while (live_with_fault(nth)) {
        fake_reset();
        net.closed = false;
        net.read_bytes = 0;
        nth++;
        assert_true(nth < 200);
    }
    assert_true(nth > 2); /* it did allocate */
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_send_is_answered_when_stored),
        T(test_refusal_names_code_and_retry_time),
        T(test_reading_pauses_until_answers_come),
        T(test_old_message_ids_are_refused),
        T(test_edit_recall_and_react_are_submitted),
        T(test_events_are_passed_on),
        T(test_frames_without_answers),
        T(test_who_is_online),
        T(test_sync_pages_one_conversation_after_the_other),
        T(test_sync_of_nothing_and_of_another_epoch),
        T(test_sync_waits_for_a_slow_reader),
        T(test_only_so_many_syncs_wait),
        T(test_any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
