/* test_mqtt_decode_subscribe: SUBSCRIBE and UNSUBSCRIBE, options, bounds, and the walk over
 * filters. */
#include "tests/unit/proto/support_mqtt.h"
#include <stdio.h>

static struct mqtt_body body;

static void subscribe_of_5(void **state) {
    (void)state;
    struct mqtt_packet packet;
    struct mqtt_filter filter;
    enum reason reason;
    size_t offset = 0;
    body_u16(&body, 77);
    BODY_PROPERTIES(&body, "\x0B\xFF\x7F\x26\x00\x01k\x00\x01v");
    body_text(&body, "pipit/me/#");
    body_u8(&body, 0x01);
    body_text(&body, "$share/g/+/x");
    body_u8(&body, 0x2A); /* QoS 2, retain as published, retain handling 2 */
    body_text(&body, "a");
    body_u8(&body, 0x14); /* no local, retain handling 1 */
    assert_int_equal(mqtt_try(0x82, &body, MQTT_V5, &packet, &reason), ERR_OK);
    assert_int_equal(packet.subscribe.packet_id, 77);
    assert_int_equal(packet.subscribe.filter_count, 3);
    assert_int_equal(packet.subscribe.properties.subscription_id, 16383);
    assert_true(mqtt_filter_next(&packet, &offset, &filter));
    support_expect_slice(filter.filter, "pipit/me/#");
    assert_int_equal(filter.qos, 1);
    assert_false(filter.no_local || filter.retain_as_published);
    assert_true(mqtt_filter_next(&packet, &offset, &filter));
    support_expect_slice(filter.filter, "$share/g/+/x");
    assert_int_equal(filter.qos, 2);
    assert_true(filter.retain_as_published);
    assert_int_equal(filter.retain_handling, 2);
    assert_true(mqtt_filter_next(&packet, &offset, &filter));
    assert_true(filter.no_local);
    assert_int_equal(filter.retain_handling, 1);
    assert_false(mqtt_filter_next(&packet, &offset, &filter));
}

static void options_of_both_versions(void **state) {
    (void)state;
    for (unsigned options = 0; options < 256; options++) {
        bool is_v3 = options <= 2;
        bool is_v5 = (options & 3) != 3 && (options & 0xC0) == 0 && (options & 0x30) != 0x30;
        body_u16(&body, 1);
        body_text(&body, "a");
        body_u8(&body, options);
        mqtt_expect(0x82, &body, MQTT_V3, is_v3 ? REASON_OK : REASON_MALFORMED);
        body_u16(&body, 1);
        body_u8(&body, 0);
        body_text(&body, "a");
        body_u8(&body, options);
        bool is_reserved = (options & 3) == 3 || (options & 0xC0) != 0;
        mqtt_expect(0x82, &body, MQTT_V5,
                    is_v5         ? REASON_OK
                    : is_reserved ? REASON_MALFORMED
                                  : REASON_PROTOCOL_ERROR);
    }
}

static void unsubscribes(void **state) {
    (void)state;
    struct mqtt_packet packet;
    struct mqtt_filter filter;
    enum reason reason;
    size_t offset = 0;
    body_u16(&body, 2);
    body_text(&body, "a/+");
    body_text(&body, "b");
    assert_int_equal(mqtt_try(0xA2, &body, MQTT_V3, &packet, &reason), ERR_OK);
    assert_int_equal(packet.subscribe.filter_count, 2);
    assert_true(mqtt_filter_next(&packet, &offset, &filter));
    support_expect_slice(filter.filter, "a/+");
    assert_true(mqtt_filter_next(&packet, &offset, &filter));
    support_expect_slice(filter.filter, "b");
    assert_false(mqtt_filter_next(&packet, &offset, &filter));
    body_u16(&body, 2);
    BODY_PROPERTIES(&body, "\x26\x00\x01k\x00\x01v");
    body_text(&body, "a");
    mqtt_expect(0xA2, &body, MQTT_V5, REASON_OK);
    body_u16(&body, 2);
    BODY_PROPERTIES(&body, "\x0B\x01");
    body_text(&body, "a");
    mqtt_expect(0xA2, &body, MQTT_V5, REASON_PROTOCOL_ERROR); /* a subscription's property */
}

static void mistakes(void **state) {
    (void)state;
    static const char *const filters[] = {
        "",         "a#",        "#/a",       "a/#/b",      "a+",         "+a/b",       "$share/",
        "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/#/a", "$share/g/a#"};
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
        body_u16(&body, 1);
        body_text(&body, filters[i]);
        body_u8(&body, 0);
        mqtt_expect(0x82, &body, MQTT_V3, REASON_FILTER_INVALID);
        body_u16(&body, 1);
        body_text(&body, filters[i]);
        mqtt_expect(0xA2, &body, MQTT_V3, REASON_FILTER_INVALID);
    }
    body_u16(&body, 1);
    mqtt_expect(0x82, &body, MQTT_V3, REASON_PROTOCOL_ERROR); /* [MQTT-3.8.3-2] */
    body_u16(&body, 1);
    mqtt_expect(0xA2, &body, MQTT_V3, REASON_PROTOCOL_ERROR); /* [MQTT-3.10.3-2] */
    body_u16(&body, 0);
    body_text(&body, "a");
    body_u8(&body, 0);
    mqtt_expect(0x82, &body, MQTT_V3, REASON_PROTOCOL_ERROR);
    body_u16(&body, 1);
    body_text(&body, "a"); /* no options */
    mqtt_expect(0x82, &body, MQTT_V3, REASON_MALFORMED);
    body_u16(&body, 1);
    BODY_PROPERTIES(&body, "\x0B\x00");
    body_text(&body, "a");
    body_u8(&body, 0);
    mqtt_expect(0x82, &body, MQTT_V5, REASON_PROTOCOL_ERROR); /* subscription id 0 */
    body_u16(&body, 1);
    body_u8(&body, 0);
    body_text(&body, "$share/g/a");
    body_u8(&body, 0x04);
    mqtt_expect(0x82, &body, MQTT_V5, REASON_PROTOCOL_ERROR); /* no local, shared [MQTT-3.8.3-4] */
    body_u16(&body, 1);
    body_text(&body, "\xC3");
    body_u8(&body, 0);
    mqtt_expect(0x82, &body, MQTT_V3, REASON_BAD_UTF8);
}

static void filters_are_limited(void **state) {
    (void)state;
    for (int count = LIMIT_MQTT_FILTERS; count <= LIMIT_MQTT_FILTERS + 1; count++) {
        body_u16(&body, 1);
        for (int i = 0; i < count; i++) {
            char filter[8];
            sprintf(filter, "a/%d", i);
            body_text(&body, filter);
            body_u8(&body, 1);
        }
        mqtt_expect(0x82, &body, MQTT_V3,
                    count == LIMIT_MQTT_FILTERS ? REASON_OK : REASON_TOO_LARGE);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subscribe_of_5),      cmocka_unit_test(options_of_both_versions),
        cmocka_unit_test(unsubscribes),        cmocka_unit_test(mistakes),
        cmocka_unit_test(filters_are_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
