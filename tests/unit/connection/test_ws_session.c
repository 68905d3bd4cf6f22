/* ws_session: pipit.v1 through a socket pair, against a scripted hub. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/connection/fake_net.h"
#include "tests/unit/connection/fake_session.h"
#include "proto/ws_frame.h"
#include "services/connection/ws_session.h"

#include <stdio.h>
#include <stdlib.h>

static int client;
static char text[70000]; /* the last frame's payload */

static int set_up(void **state) {
    (void)state;
    fake_reset();
    net_start();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    net_stop();
    return 0;
}

/* A UUIDv7 of the frozen clock. */
static const char *uuid_now(unsigned number) {
    static char uuid[37];
    (void)snprintf(uuid, sizeof uuid, "%08x-%04x-7000-8000-%012x", (unsigned)(NET_WALL_MS >> 16),
                   (unsigned)(NET_WALL_MS & 0xFFFF), number);
    return uuid;
}

static void send_frame(enum ws_opcode opcode, const void *payload, size_t count) {
    uint8_t frame[70000];
    static const uint8_t mask[4] = {1, 2, 3, 4};
    size_t head = ws_header(frame, opcode, count, mask);
    memcpy(frame + head, payload, count);
    ws_mask(frame + head, count, mask, 0);
    net_send(client, frame, head + count);
}

static void send_text(const char *json) {
    send_frame(WS_TEXT, json, strlen(json));
}

/* Takes the next frame the server sent; false when there is none. */
static bool next_frame(enum ws_opcode *opcode) {
    net_receive(client);
    if (net.read_bytes < 2) {
        return false;
    }
    size_t head = 2;
    size_t count = net.read[1] & 0x7F;
    assert_true((net.read[1] & 0x80) == 0);
    if (count == 126) {
        head = 4;
        count = (size_t)net.read[2] << 8 | net.read[3];
    } else if (count == 127) {
        head = 10;
        count = (size_t)net.read[6] << 24 | (size_t)net.read[7] << 16 | (size_t)net.read[8] << 8 |
                net.read[9];
    }
    assert_true(net.read_bytes >= head + count && count < sizeof text);
    *opcode = net.read[0] & 0x0F;
    memcpy(text, net.read + head, count);
    text[count] = '\0';
    net_drop_read(head + count);
    return true;
}

static void expect_text(const char *part) {
    enum ws_opcode opcode;
    assert_true(next_frame(&opcode));
    assert_int_equal(opcode, WS_TEXT);
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" is not in %s", part, text);
    }
}

static void expect_close(uint16_t code) {
    enum ws_opcode opcode;
    assert_true(next_frame(&opcode));
    assert_int_equal(opcode, WS_CLOSE);
    assert_int_equal((uint8_t)text[0] << 8 | (uint8_t)text[1], code);
}

static void expect_nothing(void) {
    enum ws_opcode opcode;
    if (next_frame(&opcode)) {
        fail_msg("unexpected frame %d: %s", opcode, text);
    }
}

static void shake_hands(const char *more) {
    char request[1024];
    (void)snprintf(request, sizeof request,
                   "GET /v1/ws HTTP/1.1\r\nHost: pi.local:8083\r\nUpgrade: websocket\r\n"
                   "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: pipit.v1\r\n%s\r\n",
                   more);
    client = net_connect(&ws_protocol, REASON_OK);
    net_send(client, request, strlen(request));
}

static void expect_status(const char *status) {
    net_receive(client);
    assert_true(net.read_bytes > 20);
    assert_memory_equal(net.read, status, strlen(status));
    uint8_t *end = memmem(net.read, net.read_bytes, "\r\n\r\n", 4);
    assert_non_null(end);
    net_drop_read((size_t)(end - net.read) + 4);
}

static void connect_ws(void) {
    shake_hands("");
    expect_status("HTTP/1.1 101");
    expect_text("\"t\":\"hello\"");
}

static void log_in(void) {
    connect_ws();
    send_text("{\"t\":\"auth\",\"id\":1,\"d\":{\"token\":\"good\"}}");
    assert_int_equal(fake.opens, 1);
    expect_nothing();
    fake.session->ops->on_opened(fake.session, REASON_OK);
    expect_text("{\"t\":\"ok\",\"id\":1,\"d\":{\"user\":\"u_ann\",\"device\":\"d_1\"");
}

static void send_message(unsigned id) {
    char json[256];
    (void)snprintf(json, sizeof json,
                   "{\"t\":\"send\",\"id\":%u,\"d\":{\"conversation\":\"c_fam\",\"message\":\"%s\","
                   "\"body\":{\"text\":\"hi\"}}}",
                   id, uuid_now(id));
    send_text(json);
}

/* --- handshake and login */

static void test_hello_tells_limits_before_login(void **state) {
    (void)state;
    shake_hands("");
    expect_status("HTTP/1.1 101");
    expect_text("\"limits\":{\"frame\":65536,\"text\":16384,\"rate\":\"0/1s\"}");
    assert_non_null(strstr(text, "\"hb\":25"));
    net_hang_up(client);
    assert_int_equal(conn_table_count(net.table), 0);
}

static void test_handshake_may_come_byte_by_byte(void **state) {
    (void)state;
    static const char request[] =
        "GET / HTTP/1.1\r\nHost: pi\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    client = net_connect(&ws_protocol, REASON_OK);
    for (size_t i = 0; i < sizeof request - 1; i++) {
        net_send(client, request + i, 1);
    }
    expect_status("HTTP/1.1 101");
    expect_text("hello");
    net_hang_up(client);
}

static void test_foreign_origin_is_refused_and_same_host_is_not(void **state) {
    (void)state;
    shake_hands("Origin: https://evil.example\r\n");
    expect_status("HTTP/1.1 403");
    net_receive(client);
    assert_true(net.closed);
    net_hang_up(client);
    net.closed = false;
    net.read_bytes = 0;
    shake_hands("Origin: http://pi.local:8080\r\n");
    expect_status("HTTP/1.1 101");
    net_hang_up(client);
    net.read_bytes = 0;
    net.settings.allowed_origins = "https://chat.example";
    shake_hands("Origin: http://pi.local:8080\r\n");
    expect_status("HTTP/1.1 403");
    net_hang_up(client);
}

static void test_refused_socket_gets_503(void **state) {
    (void)state;
    client = net_connect(&ws_protocol, REASON_OVERLOAD);
    static const char request[] =
        "GET / HTTP/1.1\r\nHost: pi\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    net_send(client, request, sizeof request - 1);
    expect_status("HTTP/1.1 503");
    net_hang_up(client);
}

static void test_silent_socket_is_closed_in_time(void **state) {
    (void)state;
    client = net_connect(&ws_protocol, REASON_OK);
    net_send(client, "GET / HT", 8);
    net_advance(9500000);
    net_receive(client);
    assert_int_equal(net.read_bytes, 0);
    net_advance(1000000);
    expect_status("HTTP/1.1 408");
    net_advance(2500000);
    assert_int_equal(conn_table_count(net.table), 0);
    net_hang_up(client);
}

static void test_login_times_out_with_its_code(void **state) {
    (void)state;
    connect_ws();
    net_advance(10500000);
    expect_text("\"t\":\"bye\",\"d\":{\"code\":\"login_timeout\"");
    expect_close(4003);
    net_hang_up(client);
}

static void test_first_frame_must_be_auth(void **state) {
    (void)state;
    connect_ws();
    send_message(3);
    expect_text("\"code\":\"not_authenticated\"");
    expect_text("\"t\":\"bye\"");
    expect_close(4101);
    assert_int_equal(fake.submit_count, 0);
    net_hang_up(client);
}

static void test_bad_token_closes_with_stop_code(void **state) {
    (void)state;
    connect_ws();
    send_text("{\"t\":\"auth\",\"id\":1,\"d\":{\"token\":\"evil\"}}");
    expect_text("{\"t\":\"err\",\"id\":1,\"d\":{\"code\":\"bad_token\"");
    expect_text("bye");
    expect_close(4201);
    assert_int_equal(fake.opens, 0);
    net_hang_up(client);
}

static void test_device_of_another_token_is_refused(void **state) {
    (void)state;
    connect_ws();
    send_text("{\"t\":\"auth\",\"id\":1,\"d\":{\"token\":\"good\",\"device\":\"d_2\"}}");
    expect_text("bad_token");
    net_hang_up(client);
}

static void test_session_limit_is_told(void **state) {
    (void)state;
    fake.open_error = ERR_FULL;
    connect_ws();
    send_text("{\"t\":\"auth\",\"id\":1,\"d\":{\"token\":\"good\"}}");
    expect_text("too_many_sessions");
    expect_text("bye");
    expect_close(4004);
    assert_int_equal(fake.closes, 0);
    net_hang_up(client);
}

static void test_failed_opening_is_told(void **state) {
    (void)state;
    connect_ws();
    send_text("{\"t\":\"auth\",\"id\":9,\"d\":{\"token\":\"good\"}}");
    fake.session->ops->on_opened(fake.session, REASON_UNAVAILABLE);
    expect_text("{\"t\":\"err\",\"id\":9,\"d\":{\"code\":\"unavailable\",\"retryable\":true");
    expect_text("bye");
    expect_close(1013);
    net_hang_up(client);
}

static void test_renewal_keeps_the_socket(void **state) {
    (void)state;
    log_in();
    send_text("{\"t\":\"auth\",\"id\":2,\"d\":{\"token\":\"good\"}}");
    expect_text("{\"t\":\"ok\",\"id\":2");
    assert_int_equal(fake.renewals, 1);
    strcpy(fake.token_user, "u_bob");
    send_text("{\"t\":\"auth\",\"id\":3,\"d\":{\"token\":\"good\"}}");
    expect_text("{\"t\":\"err\",\"id\":3,\"d\":{\"code\":\"bad_token\"");
    expect_nothing();
    assert_false(net.closed);
    net_hang_up(client);
}

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

/* --- mistakes */

static void test_a_wrong_frame_is_answered_and_forgiven(void **state) {
    (void)state;
    log_in();
    send_text("{\"t\":\"send\",\"id\":3,\"d\":{\"conversatoin\":\"c_fam\"}}");
    expect_text("\"id\":3,\"d\":{\"code\":\"malformed\"");
    assert_non_null(strstr(text, "conversatoin"));
    expect_nothing();
    assert_false(net.closed);
    net_hang_up(client);
}

static void test_what_is_no_frame_closes(void **state) {
    (void)state;
    log_in();
    send_text("this is not JSON");
    expect_text("malformed");
    expect_text("bye");
    expect_close(1007);
    send_frame(WS_CLOSE, "\x03\xe8", 2);
    net_receive(client);
    assert_true(net.closed);
    assert_int_equal(fake.closes, 1);
    net_hang_up(client);
}

static void test_binary_unmasked_and_huge_frames_close(void **state) {
    (void)state;
    static const struct {
        uint8_t bytes[10];
        size_t count;
        uint16_t code;
    } cases[] = {
        {{0x82, 0x81, 0, 0, 0, 0, 'x'}, 7, 1003},         /* binary */
        {{0x81, 0x01, 'x'}, 3, 1002},                     /* no mask */
        {{0x81, 0xFF, 0, 0, 0, 0, 4, 0, 0, 0}, 10, 1009}, /* 64 MiB */
        {{0xC1, 0x81, 0, 0, 0, 0, 'x'}, 7, 1002},         /* reserved bit */
        {{0x81, 0x81, 0, 0, 0, 0, 0xFF}, 7, 1007},        /* not UTF-8 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_reset();
        log_in();
        net_send(client, cases[i].bytes, cases[i].count);
        expect_text("\"t\":\"err\"");
        expect_text("bye");
        expect_close(cases[i].code);
        net_hang_up(client);
        assert_int_equal(conn_table_count(net.table), 0);
        net.closed = false;
        net.read_bytes = 0;
    }
}

/* --- life and end */

static void test_close_is_echoed(void **state) {
    (void)state;
    log_in();
    send_frame(WS_CLOSE,
               "\x03\xe8"
               "bye",
               5);
    expect_close(1000);
    net_receive(client);
    assert_true(net.closed);
    assert_int_equal(fake.closes, 1);
    assert_int_equal(conn_table_count(net.table), 0);
    net_hang_up(client);
}

static void test_ping_is_answered_with_its_payload(void **state) {
    (void)state;
    enum ws_opcode opcode;
    log_in();
    send_frame(WS_PING, "abc", 3);
    assert_true(next_frame(&opcode));
    assert_int_equal(opcode, WS_PONG);
    assert_string_equal(text, "abc");
    net_hang_up(client);
}

static void test_idle_socket_is_pinged_then_closed(void **state) {
    (void)state;
    enum ws_opcode opcode;
    log_in();
    net_advance(24000000);
    expect_nothing();
    net_advance(1500000);
    assert_true(next_frame(&opcode));
    assert_int_equal(opcode, WS_PING);
    send_frame(WS_PONG, "", 0);
    net_advance(24000000);
    expect_nothing();
    net_advance(1500000);
    assert_true(next_frame(&opcode));
    assert_int_equal(opcode, WS_PING);
    net_advance(25000000);
    assert_true(next_frame(&opcode));
    assert_int_equal(opcode, WS_PING);
    net_advance(13500000);
    expect_text("idle_timeout");
    expect_close(4002);
    net_advance(2500000);
    assert_int_equal(conn_table_count(net.table), 0);
    net_hang_up(client);
}

static void test_hub_ends_the_session(void **state) {
    (void)state;
    log_in();
    fake.session->ops->on_end(fake.session, REASON_TOKEN_REVOKED);
    expect_text("{\"t\":\"bye\",\"d\":{\"code\":\"token_revoked\"}}");
    expect_close(4102);
    assert_int_equal(fake.closes, 1);
    net_hang_up(client);
}

static void test_slow_reader_sheds_then_is_told(void **state) {
    (void)state;
    static char frame[8192];
    memset(frame, 'x', sizeof frame - 1);
    log_in();
    /* Fill the socket, then the queue, without the client reading. */
    unsigned sent = 0;
    while (fake.session != NULL && sent < 1000) {
        fake_message(fake.session, "c_fam", ++sent, frame);
        if (fake.session != NULL) {
            fake_event(fake.session, EVENT_PRESENCE, "{\"t\":\"presence\"}");
            fake_event(fake.session, EVENT_TYPING, "{\"t\":\"typing\"}");
            fake_event(fake.session, EVENT_RECEIPT, "{\"t\":\"mark\"}");
        }
        CONTRACT(loop_turn(net.loop, 0) == ERR_OK);
        assert_true(atomic_load(&net.limits.unsent_bytes) <= 262144 + 70000);
    }
    assert_true(sent < 1000);
    unsigned messages = 0, presences = 0, typings = 0, marks = 0;
    enum ws_opcode opcode = WS_TEXT;
    while (opcode == WS_TEXT && next_frame(&opcode)) {
        messages += text[0] == 'x';
        presences += strstr(text, "presence") != NULL;
        typings += strstr(text, "typing") != NULL;
        marks += strstr(text, "mark") != NULL;
    }
    assert_int_equal(opcode, WS_CLOSE);
    assert_int_equal((uint8_t)text[0] << 8 | (uint8_t)text[1], 4001);
    assert_true(messages > 0 &&
                messages < sent); /* the queue was dropped so that this could be said */
    assert_true(presences <= typings && typings <= marks && marks > 0);
    net_hang_up(client);
}

static void test_stalled_reader_is_closed_within_ten_seconds(void **state) {
    (void)state;
    static char frame[60000];
    memset(frame, 'x', sizeof frame - 1);
    log_in();
    for (unsigned i = 0; i < 60 && atomic_load(&net.limits.unsent_bytes) == 0; i++) {
        fake_message(fake.session, "c_fam", i + 1, frame);
        CONTRACT(loop_turn(net.loop, 0) == ERR_OK);
    }
    assert_true(atomic_load(&net.limits.unsent_bytes) > 0);
    assert_non_null(fake.session);
    net_advance(9000000);
    assert_null(fake.session);
    net_advance(2500000);
    assert_int_equal(conn_table_count(net.table), 0);
    net_hang_up(client);
}

static void test_idle_connections_hold_no_buffers(void **state) {
    (void)state;
    log_in();
    send_message(3);
    fake_result(0, REASON_OK, 1);
    net_receive(client);
    struct list_node *node = list_first(&net.table->states[CONN_LIVE]);
    struct conn *conn = CONTAINER_OF(node, struct conn, state_node);
    assert_null(conn->in.bytes);
    assert_null(conn->out.bytes);
    assert_true(ws_protocol.object_bytes <= 1024 + sizeof(struct session));
    net_hang_up(client);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_hello_tells_limits_before_login),
        T(test_handshake_may_come_byte_by_byte),
        T(test_foreign_origin_is_refused_and_same_host_is_not),
        T(test_refused_socket_gets_503),
        T(test_silent_socket_is_closed_in_time),
        T(test_login_times_out_with_its_code),
        T(test_first_frame_must_be_auth),
        T(test_bad_token_closes_with_stop_code),
        T(test_device_of_another_token_is_refused),
        T(test_session_limit_is_told),
        T(test_failed_opening_is_told),
        T(test_renewal_keeps_the_socket),
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
        T(test_a_wrong_frame_is_answered_and_forgiven),
        T(test_what_is_no_frame_closes),
        T(test_binary_unmasked_and_huge_frames_close),
        T(test_close_is_echoed),
        T(test_ping_is_answered_with_its_payload),
        T(test_idle_socket_is_pinged_then_closed),
        T(test_hub_ends_the_session),
        T(test_slow_reader_sheds_then_is_told),
        T(test_stalled_reader_is_closed_within_ten_seconds),
        T(test_idle_connections_hold_no_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
