/* mqtt_outgoing, mqtt_subscribe: subscriptions, what is published to clients, cursors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/connection/mqtt_client.h"

/* --- SUBSCRIBE and what is published to the client */

static void test_subscriptions_granted_and_refused(void **state) {
    (void)state;
    log_in(5);
    put16(5);
    put8(0);
    static const char *const filters[] = {
        "pipit/me/inbox",          "pipit/me/+",      "#", "homeassistant/#",
        "$share/g/pipit/me/inbox", "pipit/me/answers"};
    for (size_t i = 0; i < 6; i++) {
        put_text(filters[i]);
        put8(i == 0 ? 2 : 1);
    }
    send_packet(0x82);
    assert_int_equal(next_packet(), 0x90);
    assert_memory_equal(got + got_bytes - 6, "\x01\x01\x01\x87\x9E\x01", 6);
    put16(6);
    put8(0);
    put_text("#");
    put_text("nothing");
    send_packet(0xA2);
    expect(0xB0, "\x00\x06\x00\x00\x11", 5);
    net_hang_up(client);
    log_in(4);
    subscribe(4, 5, "homeassistant/#", 1);
    expect(0x90, "\x00\x05\x80", 3);
    net_hang_up(client);
}

static void test_inbox_waits_for_its_subscription(void **state) {
    (void)state;
    struct connect_options options = usual(4);
    options.clean = false;
    log_in_with(&options);
    assert_false(fake.session->ops->can_take(fake.session));
    subscribe(4, 1, "pipit/me/events", 1);
    assert_int_equal(next_packet(), 0x90);
    assert_false(fake.session->ops->can_take(fake.session));
    unsigned before = fake.writables;
    subscribe(4, 2, "pipit/me/inbox", 1);
    assert_int_equal(next_packet(), 0x90);
    assert_int_equal(fake.writables, before + 1);
    assert_true(fake.session->ops->can_take(fake.session));
    net_hang_up(client);
}

static void test_cursor_moves_with_puback(void **state) {
    (void)state;
    log_in_subscribed(4);
    fake_message(fake.session, "c_fam", 5, "{\"t\":\"msg\"}");
    expect(0x32, "\x00\x0Epipit/me/inbox\x00\x01{\"t\":\"msg\"}", 29);
    assert_int_equal(fake.mark_count, 0);
    net_send(client, "\x40\x02\x00\x01", 4);
    assert_int_equal(fake.mark_count, 1);
    assert_string_equal(fake.marks[0].conversation, "c_fam");
    assert_int_equal(fake.marks[0].delivered, 5);
    assert_int_equal(fake.marks[0].read, 0);
    net_hang_up(client);
}

static void test_qos_0_inbox_moves_the_cursor_at_once(void **state) {
    (void)state;
    log_in(4);
    subscribe(4, 1, "pipit/me/inbox", 0);
    assert_int_equal(next_packet(), 0x90);
    fake_message(fake.session, "c_fam", 5, "{}");
    expect(0x30, "\x00\x0Epipit/me/inbox{}", 18);
    assert_int_equal(fake.marks[0].delivered, 5);
    net_hang_up(client);
}

static void test_window_stops_the_hub_and_opens_again(void **state) {
    (void)state;
    struct connect_options options = usual(5);
    options.properties = "\x21\x00\x02"; /* receive maximum 2 */
    options.properties_bytes = 3;
    log_in_with(&options);
    subscribe(5, 1, "pipit/me/inbox", 1);
    assert_int_equal(next_packet(), 0x90);
    fake_message(fake.session, "c_fam", 1, "{}");
    assert_true(fake.session->ops->can_take(fake.session));
    fake_message(fake.session, "c_fam", 2, "{}");
    assert_false(fake.session->ops->can_take(fake.session));
    /* Events without a cursor wait, too: the client would call more a protocol error. */
    unsigned before = fake.writables;
    fake_event(fake.session, EVENT_CONVERSATION, "{\"t\":\"conv\"}");
    subscribe(5, 2, "pipit/me/events", 1);
    assert_int_equal(next_packet(), 0x32);
    assert_int_equal(next_packet(), 0x32);
    assert_int_equal(next_packet(), 0x90);
    fake_event(fake.session, EVENT_CONVERSATION, "{\"t\":\"conv\"}");
    fake_event(fake.session, EVENT_CONVERSATION, "{\"t\":\"conv2\"}");
    expect_nothing();
    net_send(client, "\x40\x02\x00\x01", 4);
    assert_int_equal(next_packet(), 0x32);
    assert_true(has("\"conv\""));
    assert_false(fake.session->ops->can_take(fake.session));
    net_send(client, "\x40\x02\x00\x02", 4);
    assert_int_equal(next_packet(), 0x32);
    assert_true(has("\"conv2\""));
    net_send(client, "\x40\x02\x00\x03", 4);
    assert_true(fake.writables > before);
    assert_true(fake.session->ops->can_take(fake.session));
    assert_int_equal(fake.mark_count, 2);
    net_hang_up(client);
}

static void test_feeds(void **state) {
    (void)state;
    log_in_subscribed(4);
    fake_event(fake.session, EVENT_RECEIPT, "{\"t\":\"mark\"}");
    assert_int_equal(next_packet(), 0x32);
    assert_true(has("pipit/me/events"));
    fake_event(fake.session, EVENT_TYPING, "{\"t\":\"typing\"}");
    assert_int_equal(next_packet(), 0x30);
    assert_true(has("pipit/me/ctl"));
    struct event edit = {.class = EVENT_MESSAGE,
                         .kind = FRAME_EVENT_EDIT,
                         .conversation = "c_fam",
                         .seq = 3,
                         .id = (const uint8_t *)"0123456789abcdef",
                         .frame = (const uint8_t *)"{}",
                         .frame_bytes = 2};
    fake.session->ops->on_event(fake.session, &edit);
    assert_int_equal(next_packet(), 0x32);
    assert_true(has("pipit/me/events"));
    net_send(client, "\x40\x02\x00\x02", 4);
    assert_int_equal(fake.marks[0].delivered, 3);
    net_hang_up(client);
}

static void test_too_large_for_the_client_is_passed_over(void **state) {
    (void)state;
    static char frame[400];
    memset(frame, 'x', sizeof frame - 1);
    struct connect_options options = usual(5);
    options.properties = "\x27\x00\x00\x00\x64"; /* packets of 100 bytes */
    options.properties_bytes = 5;
    log_in_with(&options);
    subscribe(5, 1, "pipit/me/inbox", 1);
    assert_int_equal(next_packet(), 0x90);
    fake_message(fake.session, "c_fam", 1, frame);
    expect_nothing();
    assert_int_equal(fake.marks[0].delivered, 1);
    fake_message(fake.session, "c_fam", 2, "{}");
    assert_int_equal(next_packet(), 0x32);
    net_hang_up(client);
}

static void test_subscription_identifiers_are_returned(void **state) {
    (void)state;
    log_in(5);
    put16(1);
    put(("\x02\x0B\x2A"), 3); /* identifier 42 */
    put_text("pipit/me/inbox");
    put8(1);
    send_packet(0x82);
    assert_int_equal(next_packet(), 0x90);
    fake_message(fake.session, "c_fam", 1, "{}");
    assert_int_equal(next_packet(), 0x32);
    assert_non_null(memmem(got, got_bytes, "\x02\x0B\x2A", 3));
    net_hang_up(client);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_subscriptions_granted_and_refused),
        T(test_inbox_waits_for_its_subscription),
        T(test_cursor_moves_with_puback),
        T(test_qos_0_inbox_moves_the_cursor_at_once),
        T(test_window_stops_the_hub_and_opens_again),
        T(test_feeds),
        T(test_too_large_for_the_client_is_passed_over),
        T(test_subscription_identifiers_are_returned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
