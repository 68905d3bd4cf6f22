/* test_mqtt_decode_connect: CONNECT of both versions, in full and with each rule broken. */
#include "tests/unit/proto/support_mqtt.h"

static struct mqtt_body body;

/* Protocol, flags, keep alive; v5 with empty properties. */
static void begin(enum mqtt_version version, uint8_t flags) {
    body_text(&body, "MQTT");
    body_u8(&body, version);
    body_u8(&body, flags);
    body_u16(&body, 60);
    if (version == MQTT_V5) {
        body_u8(&body, 0);
    }
}

static void full_connect_of_3_1_1(void **state) {
    (void)state;
    struct mqtt_packet packet;
    enum reason reason;
    begin(MQTT_V3, 0xEE); /* user name, password, will retain, QoS 1, will, clean */
    body_text(&body, "phone");
    body_text(&body, "will/topic");
    body_u16(&body, 2);
    BODY_RAW(&body, "\x00\xFF");
    body_text(&body, "ann");
    body_text(&body, "eyJ...");
    assert_int_equal(mqtt_try(0x10, &body, MQTT_V5, &packet, &reason),
                     ERR_OK); /* its own version counts */
    const struct mqtt_connect *connect = &packet.connect;
    assert_int_equal(packet.version, MQTT_V3);
    assert_int_equal(connect->version, MQTT_V3);
    assert_true(connect->clean_start && connect->has_will && connect->has_user_name &&
                connect->has_password);
    assert_true(connect->will.retain);
    assert_int_equal(connect->will.qos, 1);
    assert_int_equal(connect->keep_alive_s, 60);
    support_expect_slice(connect->client_id, "phone");
    support_expect_slice(connect->will.topic, "will/topic");
    assert_int_equal(connect->will.payload.count, 2);
    support_expect_slice(connect->user_name, "ann");
    support_expect_slice(connect->password, "eyJ...");
    assert_int_equal(connect->properties.receive_maximum, UINT16_MAX);
}

static void full_connect_of_5(void **state) {
    (void)state;
    struct mqtt_packet packet;
    enum reason reason;
    body_text(&body, "MQTT");
    body_u8(&body, 5);
    body_u8(&body, 0xC4 | 0x10); /* user name, password, will QoS 2 */
    body_u16(&body, 0);
    BODY_PROPERTIES(
        &body, "\x11\x00\x01\x51\x80\x21\x00\x14\x27\x00\x01\x00\x00\x22\x00\x0A\x19\x01\x17\x00"
               "\x26\x00\x01"
               "a\x00\x01"
               "b\x15\x00\x01m\x16\x00\x00");
    body_text(&body, "");
    BODY_PROPERTIES(&body, "\x18\x00\x00\x00\x05\x01\x01\x02\x00\x00\x00\x07");
    body_text(&body, "w");
    body_text(&body, "gone");
    body_text(&body, "u_ann");
    body_text(&body, "p");
    assert_int_equal(mqtt_try(0x10, &body, MQTT_V3, &packet, &reason), ERR_OK);
    const struct mqtt_connect *connect = &packet.connect;
    assert_int_equal(packet.version, MQTT_V5);
    assert_false(connect->clean_start);
    assert_int_equal(connect->properties.session_expiry_s, 86400);
    assert_int_equal(connect->properties.receive_maximum, 20);
    assert_int_equal(connect->properties.maximum_packet_bytes, 65536);
    assert_int_equal(connect->properties.topic_alias_maximum, 10);
    assert_true(connect->properties.request_response);
    assert_false(connect->properties.request_problem);
    assert_int_equal(connect->properties.user_property_count, 1);
    support_expect_slice(connect->properties.auth_method, "m");
    assert_int_equal(connect->will.qos, 2);
    assert_int_equal(connect->will.properties.will_delay_s, 5);
    assert_int_equal(connect->will.properties.payload_format, 1);
    assert_int_equal(connect->will.properties.message_expiry_s, 7);
    support_expect_slice(connect->will.payload, "gone");
}

static void smallest_connects(void **state) {
    (void)state;
    struct mqtt_packet packet;
    enum reason reason;
    begin(MQTT_V3, 0x02);
    body_text(&body, "");
    assert_int_equal(mqtt_try(0x10, &body, MQTT_V3, &packet, &reason), ERR_OK);
    begin(MQTT_V5, 0x00);
    body_text(&body, "");
    assert_int_equal(mqtt_try(0x10, &body, MQTT_V3, &packet, &reason), ERR_OK);
    assert_true(packet.connect.properties.request_problem);
    begin(MQTT_V5, 0x40); /* 5.0 allows a password alone */
    body_text(&body, "");
    body_text(&body, "p");
    mqtt_expect(0x10, &body, MQTT_V3, REASON_OK);
}

static void versions_are_told(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint8_t level;
        enum reason reason;
        int version; /* in which the refusal is worded; 0 = not at all */
    } cases[] = {
        {"MQTT", 3, REASON_PROTOCOL_TOO_OLD, MQTT_V3},
        {"MQTT", 6, REASON_PROTOCOL_TOO_OLD, MQTT_V5},
        {"MQTT", 0, REASON_PROTOCOL_TOO_OLD, MQTT_V3},
        {"MQTT", 0x84, REASON_PROTOCOL_TOO_OLD, MQTT_V5},
        {"MQIsdp", 3, REASON_PROTOCOL_TOO_OLD, MQTT_V3},
        {"mqtt", 4, REASON_MALFORMED, 0},
        {"MQTTX", 4, REASON_MALFORMED, 0},
        {"", 4, REASON_MALFORMED, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mqtt_packet packet;
        enum reason reason = REASON_OK;
        body_text(&body, cases[i].name);
        body_u8(&body, cases[i].level);
        body_u8(&body, 0x02);
        body_u16(&body, 60);
        body_text(&body, "c");
        assert_int_equal(mqtt_try(0x10, &body, MQTT_V5, &packet, &reason), ERR_INVALID);
        assert_int_equal(reason, cases[i].reason);
        assert_int_equal(packet.version, cases[i].version);
    }
}

static void contradicting_flags_are_malformed(void **state) {
    (void)state;
    static const struct {
        enum mqtt_version version;
        uint8_t flags;
    } cases[] = {{MQTT_V3, 0x03}, {MQTT_V5, 0x01}, /* reserved [MQTT-3.1.2-3] */
                 {MQTT_V3, 0x0A}, {MQTT_V5, 0x08}, /* will QoS without will [MQTT-3.1.2-11] */
                 {MQTT_V3, 0x22}, {MQTT_V5, 0x20}, /* will retain without will [MQTT-3.1.2-13] */
                 {MQTT_V3, 0x1E}, {MQTT_V5, 0x1C}, /* will QoS 3 [MQTT-3.1.2-12] */
                 {MQTT_V3, 0x42}};                 /* password alone, v3 [MQTT-3.1.2-22] */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mqtt_packet packet;
        enum reason reason = REASON_OK;
        begin(cases[i].version, cases[i].flags);
        body_text(&body, "c");
        assert_int_equal(mqtt_try(0x10, &body, MQTT_V5, &packet, &reason), ERR_INVALID);
        assert_int_equal(reason, REASON_MALFORMED);
        assert_int_equal(packet.version, cases[i].version);
    }
}

static void client_ids(void **state) {
    (void)state;
    char id[LIMIT_MQTT_CLIENT_ID_BYTES + 2];
    memset(id, 'x', sizeof id);
    id[LIMIT_MQTT_CLIENT_ID_BYTES] = '\0';
    begin(MQTT_V3, 0x02);
    body_text(&body, id);
    mqtt_expect(0x10, &body, MQTT_V3, REASON_OK);
    id[LIMIT_MQTT_CLIENT_ID_BYTES] = 'x';
    id[LIMIT_MQTT_CLIENT_ID_BYTES + 1] = '\0';
    begin(MQTT_V3, 0x02);
    body_text(&body, id);
    mqtt_expect(0x10, &body, MQTT_V3, REASON_CLIENT_ID_INVALID);
    begin(MQTT_V5, 0x02);
    body_text(&body, "a\nb");
    mqtt_expect(0x10, &body, MQTT_V3, REASON_CLIENT_ID_INVALID);
    begin(MQTT_V3, 0x00); /* empty and a session to keep: v3 [MQTT-3.1.3-8] */
    body_text(&body, "");
    mqtt_expect(0x10, &body, MQTT_V3, REASON_CLIENT_ID_INVALID);
    begin(MQTT_V3, 0x02);
    body_text(&body, "\xFF");
    mqtt_expect(0x10, &body, MQTT_V3, REASON_BAD_UTF8);
}

static void payload_must_match_the_flags(void **state) {
    (void)state;
    begin(MQTT_V3, 0x82);
    body_text(&body, "c");
    mqtt_expect(0x10, &body, MQTT_V3, REASON_MALFORMED); /* no user name */
    begin(MQTT_V3, 0x02);
    body_text(&body, "c");
    body_text(&body, "left over");
    mqtt_expect(0x10, &body, MQTT_V3, REASON_MALFORMED);
    begin(MQTT_V3, 0x06);
    body_text(&body, "c");
    body_text(&body, "w/#"); /* a will's topic is a topic */
    body_text(&body, "x");
    mqtt_expect(0x10, &body, MQTT_V3, REASON_TOPIC_INVALID);
    begin(MQTT_V3, 0x82);
    body_text(&body, "c");
    BODY_RAW(&body, "\x00\x02"
                    "a\0");
    mqtt_expect(0x10, &body, MQTT_V3, REASON_BAD_UTF8);
    begin(MQTT_V5, 0x06);
    body_text(&body, "c");
    BODY_PROPERTIES(&body, "\x11\x00\x00\x00\x01"); /* session expiry is not a will's */
    body_text(&body, "w");
    body_text(&body, "x");
    mqtt_expect(0x10, &body, MQTT_V3, REASON_PROTOCOL_ERROR);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_connect_of_3_1_1),
        cmocka_unit_test(full_connect_of_5),
        cmocka_unit_test(smallest_connects),
        cmocka_unit_test(versions_are_told),
        cmocka_unit_test(contradicting_flags_are_malformed),
        cmocka_unit_test(client_ids),
        cmocka_unit_test(payload_must_match_the_flags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
