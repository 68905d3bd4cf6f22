/* mqtt_will: when a will speaks, when not, and that no ghost stays behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/connection/mqtt_client.h"

static struct connect_options with_will(unsigned version, unsigned delay_s) {
    struct connect_options options = usual(version);
    options.will_topic = "pipit/u/bob/send";
    options.will_payload = "gone";
    options.will_delay_s = delay_s;
    if (version == 5) {
        options.properties = "\x11\x00\x00\x0E\x10";
        options.properties_bytes = 5;
    }
    return options;
}

static void test_will_is_sent_when_the_client_is_lost(void **state) {
    (void)state;
    struct connect_options options = with_will(4, 0);
    log_in_with(&options);
    struct session *session = fake.session;
    net_hang_up(client);
    assert_int_equal(fake.submit_count, 1);
    assert_string_equal(fake.submits[0].to_user, "u_bob");
    assert_string_equal(fake.submits[0].body, "{\"text\":\"gone\"}");
    assert_int_equal(fake.closes, 0); /* the session waits for the answer */
    assert_int_equal(conn_table_count(net.table), 0);
    assert_int_equal(net.table->states[CONN_GHOST].count, 1);
    assert_false(session->ops->can_take(session));
    fake_result(0, REASON_UNAVAILABLE, 0);
    net_advance(1000000);
    assert_int_equal(fake.submit_count, 2);
    fake_result(1, REASON_OK, 1);
    net_advance(500000);
    assert_int_equal(fake.closes, 1);
    assert_int_equal(net.table->states[CONN_GHOST].count, 0);
}

static void test_will_is_not_sent_after_disconnect(void **state) {
    (void)state;
    struct connect_options options = with_will(4, 0);
    log_in_with(&options);
    net_send(client, "\xE0\x00", 2);
    expect_ended();
    net_hang_up(client);
    assert_int_equal(fake.submit_count, 0);
    assert_int_equal(fake.closes, 1);
    net.closed = false;
    options = with_will(5, 0);
    log_in_with(&options);
    net_send(client, "\xE0\x01\x04", 3); /* with will message */
    net_hang_up(client);
    assert_int_equal(fake.submit_count, 1);
    fake_result(0, REASON_OK, 1);
    net_advance(500000);
    assert_int_equal(fake.closes, 2);
}

static void test_will_delay_and_return(void **state) {
    (void)state;
    struct connect_options options = with_will(5, 20);
    log_in_with(&options);
    net_hang_up(client);
    net_advance(19000000);
    assert_int_equal(fake.submit_count, 0);
    net_advance(2000000);
    assert_int_equal(fake.submit_count, 1);
    fake_result(0, REASON_OK, 1);
    net_advance(500000);
    assert_int_equal(fake.closes, 1);
    /* The device is back before: the hub says so, and there is no will. */
    log_in_with(&options);
    struct session *session = fake.session;
    net_hang_up(client);
    net_advance(5000000);
    session->ops->on_end(session, REASON_SESSION_TAKEN_OVER);
    net_advance(30000000);
    assert_int_equal(fake.submit_count, 1);
    assert_int_equal(fake.closes, 2);
    assert_int_equal(net.table->states[CONN_GHOST].count, 0);
}

static void test_will_on_another_topic_is_refused(void **state) {
    (void)state;
    struct connect_options options = with_will(5, 0);
    options.will_topic = "home/status";
    connect_with(&options);
    assert_int_equal(next_packet(), 0x20);
    assert_int_equal(got[1], 0x87);
    net_hang_up(client);
    net.closed = false;
    options = with_will(5, 0);
    options.will_retain = true;
    connect_with(&options);
    assert_int_equal(next_packet(), 0x20);
    assert_int_equal(got[1], 0x9A);
    net_hang_up(client);
}

static void test_ghosts_go_with_the_table(void **state) {
    (void)state;
    struct connect_options options = with_will(5, 100);
    log_in_with(&options);
    net_hang_up(client);
    assert_int_equal(net.table->states[CONN_GHOST].count, 1);
    /* tear_down destroys the table: nothing may leak */
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_will_is_sent_when_the_client_is_lost),
        T(test_will_is_not_sent_after_disconnect),
        T(test_will_delay_and_return),
        T(test_will_on_another_topic_is_refused),
        T(test_ghosts_go_with_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
