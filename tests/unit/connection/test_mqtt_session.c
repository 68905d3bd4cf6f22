/* mqtt_session: CONNECT, keep-alive, limits and the end of MQTT connections, against a scripted
 * hub. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/connection/mqtt_client.h"

/* --- CONNECT */

static void test_connect_opens_an_exclusive_session(void **state) {
    (void)state;
    struct connect_options options = usual(4);
    options.clean = false;
    log_in_with(&options);
    assert_string_equal(fake.device, "m:phone");
    assert_true(fake.exclusive && fake.wants_backlog && !fake.new_backlog);
    assert_int_equal(got[0], 0); /* no session present: it was never here */
    net_hang_up(client);
    assert_int_equal(fake.closes, 1);
    fake.resumed = true;
    log_in_with(&options);
    assert_int_equal(got[0], 1);
    net_hang_up(client);
    log_in(4);
    assert_true(fake.new_backlog);
    assert_int_equal(got[0], 0); /* clean: whatever there was */
    net_hang_up(client);
}

static void test_connack_tells_what_the_client_may_do(void **state) {
    (void)state;
    struct connect_options options = usual(5);
    options.client_id = "";
    options.keep_alive = 0;
    options.properties = "\x11\xFF\xFF\xFF\xFF"; /* session expiry: never */
    options.properties_bytes = 5;
    log_in_with(&options);
    assert_true(has("auto-"));
    assert_non_null(memmem(got, got_bytes, "\x21\x00\x40", 3));         /* receive maximum 64 */
    assert_non_null(memmem(got, got_bytes, "\x22\x00\x10", 3));         /* topic aliases 16 */
    assert_non_null(memmem(got, got_bytes, "\x25\x00", 2));             /* nothing is retained */
    assert_non_null(memmem(got, got_bytes, "\x27\x00\x02\x00\x00", 5)); /* packets of 128 KiB */
    assert_non_null(memmem(got, got_bytes, "\x11\x00\x01\x51\x80", 5)); /* kept for a day */
    assert_non_null(memmem(got, got_bytes, "\x13\x0E\x10", 3));         /* keep alive 3600 s */
    net_hang_up(client);
}

static void test_refused_logins(void **state) {
    (void)state;
    static const struct {
        const char *user, *password, *client_id;
        unsigned v3, v5;
    } cases[] = {
        {"ann", "evil", "phone", 4, 0x86},
        {"bob", "good", "phone", 4, 0x86},
        {"u_ann", "nope", "phone", 4, 0x86},
        {"ann", "", "phone", 4, 0x86},
        {"a/#", "good", "phone", 4, 0x86},
        {"ann", "good", "   ", 2, 0x85},
        {"ann", "good", "0123456789012345678901234567890123456789012345678901234567890123456789", 2,
         0x85},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (unsigned version = 4; version <= 5; version++) {
            struct connect_options options = usual(version);
            options.user = cases[i].user;
            options.password = cases[i].password;
            options.client_id = cases[i].client_id;
            connect_with(&options);
            assert_int_equal(next_packet(), 0x20);
            assert_int_equal(got[0], 0);
            assert_int_equal(got[1], version == 4 ? cases[i].v3 : cases[i].v5);
            expect_ended();
            net_hang_up(client);
            net.closed = false;
            net.read_bytes = 0;
        }
    }
    assert_int_equal(fake.opens, 0);
}

static void test_user_id_is_a_user_name_too(void **state) {
    (void)state;
    struct connect_options options = usual(4);
    options.user = "u_ann";
    log_in_with(&options);
    net_hang_up(client);
}

static void test_limits_are_refused_in_the_clients_words(void **state) {
    (void)state;
    for (unsigned version = 4; version <= 5; version++) {
        struct connect_options options = usual(version);
        options.refusal = REASON_TOO_MANY_SESSIONS;
        connect_with(&options);
        assert_int_equal(next_packet(), 0x20);
        assert_int_equal(got[1], version == 4 ? 3 : 0x97);
        net_hang_up(client);
        net.closed = false;
    }
    fake.open_error = ERR_FULL;
    struct connect_options options = usual(5);
    connect_with(&options);
    assert_int_equal(next_packet(), 0x20);
    assert_int_equal(got[1], 0x97);
    net_hang_up(client);
}

static void test_empty_client_id_needs_a_clean_session(void **state) {
    (void)state;
    struct connect_options options = usual(4);
    options.client_id = "";
    options.clean = false;
    connect_with(&options);
    assert_int_equal(next_packet(), 0x20);
    assert_int_equal(got[1], 2);
    net_hang_up(client);
}

static void test_old_version_gets_connack_1(void **state) {
    (void)state;
    client = net_connect(&mqtt_protocol, REASON_OK);
    put_text("MQIsdp");
    put8(3);
    put8(2);
    put16(60);
    put_text("x");
    send_packet(0x10);
    assert_int_equal(next_packet(), 0x20);
    assert_int_equal(got[1], 1);
    net_hang_up(client);
}

static void test_anything_before_connect_closes(void **state) {
    (void)state;
    client = net_connect(&mqtt_protocol, REASON_OK);
    net_send(client, "\xC0\x00", 2);
    expect_ended();
    net_hang_up(client);
}

static void test_second_connect_is_an_error(void **state) {
    (void)state;
    log_in(5);
    put_text("MQTT");
    put8(5);
    put8(0xC2);
    put16(60);
    put8(0);
    put_text("phone");
    put_text("ann");
    put_text("good");
    send_packet(0x10);
    expect(0xE0, "\x82", 1);
    expect_ended();
    net_hang_up(client);
}

static void test_packets_behind_connect_wait_for_the_session(void **state) {
    (void)state;
    struct connect_options options = usual(4);
    connect_with(&options);
    publish(4, 1, 9, "pipit/u/bob/send", "early");
    assert_int_equal(fake.submit_count, 0);
    fake.session->ops->on_opened(fake.session, REASON_OK);
    assert_int_equal(next_packet(), 0x20);
    assert_int_equal(fake.submit_count, 1);
    net_hang_up(client);
}

static void test_silent_socket_is_closed(void **state) {
    (void)state;
    client = net_connect(&mqtt_protocol, REASON_OK);
    net_send(client, "\x10", 1);
    net_advance(10500000);
    expect_ended();
    net_advance(2500000);
    assert_int_equal(conn_table_count(net.table), 0);
    net_hang_up(client);
}

static void test_enhanced_authentication_is_not_offered(void **state) {
    (void)state;
    struct connect_options options = usual(5);
    options.properties = "\x15\x00\x05SCRAM";
    options.properties_bytes = 8;
    connect_with(&options);
    assert_int_equal(next_packet(), 0x20);
    assert_int_equal(got[1], 0x8C);
    net_hang_up(client);
}

/* --- life and end */

static void test_ping_and_keep_alive(void **state) {
    (void)state;
    struct connect_options options = usual(5);
    options.keep_alive = 10;
    log_in_with(&options);
    net_advance(14000000);
    net_send(client, "\xC0\x00", 2);
    expect(0xD0, "", 0);
    net_advance(14500000);
    expect_nothing();
    assert_false(net.closed);
    net_advance(1000000);
    expect(0xE0, "\x8D", 1);
    net_hang_up(client);
}

static void test_no_keep_alive_on_version_3_means_none(void **state) {
    (void)state;
    struct connect_options options = usual(4);
    options.keep_alive = 0;
    log_in_with(&options);
    net_advance(120000000);
    assert_int_equal(net.table->states[CONN_LIVE].count, 1);
    net_hang_up(client);
}

static void test_hub_ends_the_session(void **state) {
    (void)state;
    log_in(5);
    fake.session->ops->on_end(fake.session, REASON_SESSION_TAKEN_OVER);
    expect(0xE0, "\x8E", 1);
    assert_true(has("took over"));
    net_hang_up(client);
    net.closed = false;
    log_in(4);
    fake.session->ops->on_end(fake.session, REASON_TOKEN_EXPIRED);
    expect_ended();
    net_hang_up(client);
}

static void test_goodbye_on_the_control_topic(void **state) {
    (void)state;
    log_in_subscribed(4);
    conn_end(CONTAINER_OF(list_first(&net.table->states[CONN_LIVE]), struct conn, state_node),
             REASON_DRAIN);
    expect(0x30, "\x00\x0Cpipit/me/ctl{\"t\":\"bye\",\"d\":{\"code\":\"drain\",\"retry_ms\":[", 57);
    expect_ended();
    net_hang_up(client);
}

static void test_packets_cut_anywhere(void **state) {
    (void)state;
    log_in(4);
    static const char bytes[] = "\x32\x16\x00\x10pipit/u/bob/send\x00\x07"
                                "ab\xC0\x00";
    for (size_t i = 0; i < sizeof bytes - 1; i++) {
        net_send(client, bytes + i, 1);
    }
    assert_int_equal(fake.submit_count, 1);
    fake_result(0, REASON_OK, 1);
    expect(0xD0, "", 0);
    expect(0x40, "\x00\x07", 2);
    net_hang_up(client);
}

static void test_large_packets_and_too_large_ones(void **state) {
    (void)state;
    static char payload[131000];
    memset(payload, 'x', sizeof payload - 1);
    log_in(5);
    publish(5, 1, 7, "pipit/u/bob/send", payload); /* a packet, but too long a text */
    expect(0x40, "\x00\x07", 2);
    assert_true(got[2] >= 0x80);
    net_send(client, "\x32\xFF\xFF\xFF\x7F", 5);
    expect(0xE0, "\x95", 1);
    net_hang_up(client);
}

static void test_memory_of_an_idle_connection(void **state) {
    (void)state;
    log_in_subscribed(5);
    struct conn *conn =
        CONTAINER_OF(list_first(&net.table->states[CONN_LIVE]), struct conn, state_node);
    assert_null(conn->in.bytes);
    assert_null(conn->out.bytes);
    assert_true(mqtt_protocol.object_bytes <= 1024 + sizeof(struct session));
    net_hang_up(client);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_connect_opens_an_exclusive_session),
        T(test_connack_tells_what_the_client_may_do),
        T(test_refused_logins),
        T(test_user_id_is_a_user_name_too),
        T(test_limits_are_refused_in_the_clients_words),
        T(test_empty_client_id_needs_a_clean_session),
        T(test_old_version_gets_connack_1),
        T(test_anything_before_connect_closes),
        T(test_second_connect_is_an_error),
        T(test_packets_behind_connect_wait_for_the_session),
        T(test_silent_socket_is_closed),
        T(test_enhanced_authentication_is_not_offered),
        T(test_ping_and_keep_alive),
        T(test_no_keep_alive_on_version_3_means_none),
        T(test_hub_ends_the_session),
        T(test_goodbye_on_the_control_topic),
        T(test_packets_cut_anywhere),
        T(test_large_packets_and_too_large_ones),
        T(test_memory_of_an_idle_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
