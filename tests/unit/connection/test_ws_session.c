/* ws_session: pipit.v1 through a socket pair, against a scripted hub: handshake, login, mistakes,
 * end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/connection/ws_client.h"

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
