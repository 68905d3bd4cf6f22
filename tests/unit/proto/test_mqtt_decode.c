/* test_mqtt_decode: the fixed header, PUBLISH, acknowledgements, DISCONNECT and AUTH, both
 * versions. */
#include "tests/unit/proto/support_mqtt.h"

static struct mqtt_body body;

static enum err decode(const void *bytes, size_t count, enum mqtt_version version,
                       enum reason *reason, size_t *used) {
    struct mqtt_packet packet;
    uint8_t *copy = support_copy(bytes, count);
    *reason = REASON_OK;
    *used = 0;
    enum err error = mqtt_decode(copy, count, version, 1000, &packet, used, reason);
    free(copy);
    return error;
}

static void reserved_flags_are_refused(void **state) { /* [MQTT-2.1.3-1] */
    (void)state;
    static const struct {
        uint8_t type, flags;
    } types[] = {{1, 0}, {4, 0},  {5, 0},  {6, 2},  {7, 0},
                 {8, 2}, {10, 2}, {12, 0}, {14, 0}, {15, 0}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        for (uint8_t flags = 0; flags < 16; flags++) {
            uint8_t first = (uint8_t)(types[i].type << 4 | flags);
            enum reason reason;
            size_t used;
            enum err error = decode(&first, 1, MQTT_V5, &reason, &used);
            assert_int_equal(error, flags == types[i].flags ? ERR_MORE : ERR_INVALID);
            assert_int_equal(reason, flags == types[i].flags ? REASON_OK : REASON_MALFORMED);
        }
    }
}

static void types_of_servers_are_refused(void **state) {
    (void)state;
    static const uint8_t firsts[] = {0x00, 0x20, 0x90, 0xB0, 0xD0};
    for (size_t i = 0; i < sizeof firsts; i++) {
        mqtt_expect(firsts[i], &body, MQTT_V5, REASON_PROTOCOL_ERROR);
    }
    mqtt_expect(0xF0, &body, MQTT_V3, REASON_PROTOCOL_ERROR); /* AUTH came with 5 */
}

static void publish_flags(void **state) {
    (void)state;
    static const struct {
        uint8_t flags;
        enum reason reason;
    } cases[] = {
        {0x0, REASON_OK},        {0x1, REASON_OK},        {0x2, REASON_OK},
        {0x3, REASON_OK},        {0x4, REASON_OK},        {0x5, REASON_OK},
        {0xA, REASON_OK},        {0xD, REASON_OK},        {0x6, REASON_MALFORMED},
        {0x7, REASON_MALFORMED}, {0xE, REASON_MALFORMED}, {0xF, REASON_MALFORMED},
        {0x8, REASON_MALFORMED}, {0x9, REASON_MALFORMED}}; /* [MQTT-3.3.1-4] [MQTT-3.3.1-2] */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        body_text(&body, "a/b");
        if ((cases[i].flags & 6) != 0) {
            body_u16(&body, 7);
        }
        mqtt_expect((uint8_t)(0x30 | cases[i].flags), &body, MQTT_V3, cases[i].reason);
    }
}

static void remaining_length(void **state) { /* section 1.5.5 */
    (void)state;
    enum reason reason;
    size_t used;
    assert_int_equal(decode("", 0, MQTT_V5, &reason, &used), ERR_MORE);
    assert_int_equal(used, 2);
    assert_int_equal(decode("\x30\x80\x80", 3, MQTT_V5, &reason, &used), ERR_MORE);
    assert_int_equal(used, 4);
    assert_int_equal(decode("\x30\x80\x80\x80\x80", 5, MQTT_V5, &reason, &used), ERR_INVALID);
    assert_int_equal(reason, REASON_MALFORMED);
    assert_int_equal(decode("\xC0\x80\x00", 3, MQTT_V5, &reason, &used), ERR_INVALID); /* padded */
    assert_int_equal(reason, REASON_MALFORMED);
    assert_int_equal(decode("\xC0\x80\x00\xFF", 4, MQTT_V5, &reason, &used), ERR_INVALID);
    assert_int_equal(decode("\x30\xFF\xFF\xFF\x7F", 5, MQTT_V5, &reason, &used), ERR_INVALID);
    assert_int_equal(reason, REASON_TOO_LARGE);
    /* The limit counts the whole packet: 2 + 997 + 1 length byte more. */
    assert_int_equal(decode("\x30\xE5\x07", 3, MQTT_V5, &reason, &used), ERR_MORE);
    assert_int_equal(used, 1000);
    assert_int_equal(decode("\x30\xE6\x07", 3, MQTT_V5, &reason, &used), ERR_INVALID);
    assert_int_equal(reason, REASON_TOO_LARGE);
}

static void pings(void **state) {
    (void)state;
    mqtt_expect(0xC0, &body, MQTT_V3, REASON_OK);
    mqtt_expect(0xC0, &body, MQTT_V5, REASON_OK);
    body_u8(&body, 0);
    mqtt_expect(0xC0, &body, MQTT_V5, REASON_MALFORMED);
}

static void two_packets_in_a_row(void **state) {
    (void)state;
    static const uint8_t bytes[] = {0xC0, 0x00, 0xE0, 0x00};
    struct mqtt_packet packet;
    enum reason reason;
    size_t used;
    assert_int_equal(mqtt_decode(bytes, 4, MQTT_V3, 100, &packet, &used, &reason), ERR_OK);
    assert_int_equal(packet.type, MQTT_PINGREQ);
    assert_int_equal(used, 2);
    assert_int_equal(mqtt_decode(bytes + 2, 2, MQTT_V3, 100, &packet, &used, &reason), ERR_OK);
    assert_int_equal(packet.type, MQTT_DISCONNECT);
}

static void publish_of_3_1_1(void **state) {
    (void)state;
    struct mqtt_packet packet;
    enum reason reason;
    body_text(&body, "pipit/c/family/send");
    body_u16(&body, 0x1234);
    BODY_RAW(&body, "hello");
    assert_int_equal(mqtt_try(0x3B, &body, MQTT_V3, &packet, &reason), ERR_OK);
    assert_int_equal(packet.type, MQTT_PUBLISH);
    assert_int_equal(packet.version, MQTT_V3);
    assert_true(packet.publish.dup && packet.publish.retain);
    assert_int_equal(packet.publish.qos, 1);
    assert_int_equal(packet.publish.packet_id, 0x1234);
    support_expect_slice(packet.publish.topic, "pipit/c/family/send");
    support_expect_slice(packet.publish.payload, "hello");
    body_text(&body, "a");
    assert_int_equal(mqtt_try(0x30, &body, MQTT_V3, &packet, &reason), ERR_OK);
    assert_int_equal(packet.publish.packet_id, 0);
    support_expect_slice(packet.publish.payload, "");
}

static void publish_of_5(void **state) {
    (void)state;
    struct mqtt_packet packet;
    enum reason reason;
    body_text(&body, "a/b");
    body_u16(&body, 9);
    BODY_PROPERTIES(
        &body,
        "\x01\x01\x02\x00\x00\x00\x3C\x08\x00\x01r\x09\x00\x02\x00\xFF\x03\x00\x01t\x23\x00\x05");
    BODY_RAW(&body, "\x00\x01");
    assert_int_equal(mqtt_try(0x34, &body, MQTT_V5, &packet, &reason), ERR_OK);
    const struct mqtt_publish *publish = &packet.publish;
    assert_int_equal(publish->qos, 2);
    assert_int_equal(publish->properties.payload_format, 1);
    assert_int_equal(publish->properties.message_expiry_s, 60);
    assert_int_equal(publish->properties.topic_alias, 5);
    support_expect_slice(publish->properties.response_topic, "r");
    support_expect_slice(publish->properties.content_type, "t");
    assert_int_equal(publish->properties.correlation_data.count, 2);
    assert_int_equal(publish->payload.count, 2);
    body_text(&body, ""); /* the alias stands for the topic */
    BODY_PROPERTIES(&body, "\x23\x00\x10");
    assert_int_equal(mqtt_try(0x30, &body, MQTT_V5, &packet, &reason), ERR_OK);
    assert_int_equal(packet.publish.topic.count, 0);
    assert_int_equal(packet.publish.properties.topic_alias, LIMIT_MQTT_TOPIC_ALIASES);
}

static void publish_mistakes(void **state) {
    (void)state;
    static const char *const topics[] = {"a/#", "+/a", "a+", "#", ""};
    for (size_t i = 0; i < sizeof topics / sizeof topics[0];
         i++) { /* [MQTT-3.3.2-2] [MQTT-4.7.3-1] */
        body_text(&body, topics[i]);
        mqtt_expect(0x30, &body, MQTT_V3, REASON_TOPIC_INVALID);
    }
    body_text(&body, "");
    body_u8(&body, 0);
    mqtt_expect(0x30, &body, MQTT_V5, REASON_PROTOCOL_ERROR); /* neither topic nor alias */
    body_text(&body, "a");
    body_u16(&body, 0);
    mqtt_expect(0x32, &body, MQTT_V3, REASON_PROTOCOL_ERROR); /* [MQTT-2.2.1-3] */
    body_text(&body, "a");
    BODY_PROPERTIES(&body, "\x23\x00\x00");
    mqtt_expect(0x30, &body, MQTT_V5, REASON_TOPIC_ALIAS_INVALID); /* [MQTT-3.3.2-8] */
    body_text(&body, "a");
    BODY_PROPERTIES(&body, "\x23\x00\x11");
    mqtt_expect(0x30, &body, MQTT_V5, REASON_TOPIC_ALIAS_INVALID); /* [MQTT-3.3.2-9] */
    body_text(&body, "a");
    BODY_PROPERTIES(&body, "\x0B\x01");
    mqtt_expect(0x30, &body, MQTT_V5, REASON_PROTOCOL_ERROR); /* [MQTT-3.3.4-6] */
    body_text(&body, "a");
    BODY_PROPERTIES(&body, "\x08\x00\x01+");
    mqtt_expect(0x30, &body, MQTT_V5, REASON_TOPIC_INVALID); /* [MQTT-3.3.2-14] */
    body_u16(&body, 5);
    BODY_RAW(&body, "abcd"); /* the length lies */
    mqtt_expect(0x30, &body, MQTT_V3, REASON_MALFORMED);
    body_u8(&body, 0);
    mqtt_expect(0x30, &body, MQTT_V3, REASON_MALFORMED);
}

static void strings_are_utf8_without_nul(void **state) { /* [MQTT-1.5.4-1] [MQTT-1.5.4-2] */
    (void)state;
    static const char *const bad[] = {"\xC0\xAF", "\xED\xA0\x80", "\xFF", "a\xE6"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        body_text(&body, bad[i]);
        mqtt_expect(0x30, &body, MQTT_V3, REASON_BAD_UTF8);
    }
    BODY_RAW(&body, "\x00\x03"
                    "a\0b");
    mqtt_expect(0x30, &body, MQTT_V3, REASON_BAD_UTF8);
    body_text(&body, "\xEF\xBB\xBF"
                     "a"); /* [MQTT-1.5.4-3]: U+FEFF is no byte order mark */
    mqtt_expect(0x30, &body, MQTT_V3, REASON_OK);
}

static void acknowledgements(void **state) {
    (void)state;
    static const uint8_t firsts[] = {0x40, 0x50, 0x62, 0x70};
    struct mqtt_packet packet;
    enum reason reason;
    for (size_t i = 0; i < sizeof firsts; i++) {
        body_u16(&body, 0xABCD);
        assert_int_equal(mqtt_try(firsts[i], &body, MQTT_V3, &packet, &reason), ERR_OK);
        assert_int_equal(packet.type, firsts[i] >> 4);
        assert_int_equal(packet.ack.packet_id, 0xABCD);
        body_u16(&body, 1);
        body_u8(&body, i < 2 ? 0x80 : 0x92);
        assert_int_equal(mqtt_try(firsts[i], &body, MQTT_V5, &packet, &reason), ERR_OK);
        assert_int_equal(packet.ack.code, i < 2 ? 0x80 : 0x92);
        body_u16(&body, 1);
        body_u8(&body, 0);
        BODY_PROPERTIES(&body, "\x1F\x00\x02no\x26\x00\x01k\x00\x01v");
        assert_int_equal(mqtt_try(firsts[i], &body, MQTT_V5, &packet, &reason), ERR_OK);
        support_expect_slice(packet.ack.properties.reason_string, "no");
        assert_int_equal(packet.ack.properties.user_property_count, 1);
        body_u16(&body, 0);
        mqtt_expect(firsts[i], &body, MQTT_V3, REASON_PROTOCOL_ERROR);
        body_u16(&body, 1);
        body_u8(&body, 0);
        mqtt_expect(firsts[i], &body, MQTT_V3, REASON_MALFORMED); /* 3.1.1 has no code */
        body_u16(&body, 1);
        body_u8(&body, 0x01);
        mqtt_expect(firsts[i], &body, MQTT_V5, REASON_PROTOCOL_ERROR); /* [MQTT-3.4.2-1] */
        body_u16(&body, 1);
        body_u8(&body, 0);
        BODY_PROPERTIES(&body, "\x01\x01");
        mqtt_expect(firsts[i], &body, MQTT_V5, REASON_PROTOCOL_ERROR); /* not in this packet */
        body_u8(&body, 1);
        mqtt_expect(firsts[i], &body, MQTT_V5, REASON_MALFORMED);
        mqtt_expect(firsts[i], &body, MQTT_V5, REASON_MALFORMED);
    }
}

static void disconnects(void **state) {
    (void)state;
    struct mqtt_packet packet;
    enum reason reason;
    mqtt_expect(0xE0, &body, MQTT_V3, REASON_OK);
    body_u8(&body, 0);
    mqtt_expect(0xE0, &body, MQTT_V3, REASON_MALFORMED);
    assert_int_equal(mqtt_try(0xE0, &body, MQTT_V5, &packet, &reason), ERR_OK);
    assert_int_equal(packet.ack.code, 0);
    body_u8(&body, 0x04); /* with will message */
    BODY_PROPERTIES(&body, "\x11\x00\x00\x00\x00");
    assert_int_equal(mqtt_try(0xE0, &body, MQTT_V5, &packet, &reason), ERR_OK);
    assert_int_equal(packet.ack.code, 0x04);
    assert_true((packet.ack.properties.present & MQTT_HAS_SESSION_EXPIRY) != 0);
    body_u8(&body, 0x8E); /* a server's code */
    mqtt_expect(0xE0, &body, MQTT_V5, REASON_PROTOCOL_ERROR);
    body_u8(&body, 0);
    BODY_PROPERTIES(&body, "\x1C\x00\x01s"); /* a server's property */
    mqtt_expect(0xE0, &body, MQTT_V5, REASON_PROTOCOL_ERROR);
}

static void auths(void **state) {
    (void)state;
    struct mqtt_packet packet;
    enum reason reason;
    body_u8(&body, 0x18);
    BODY_PROPERTIES(&body, "\x15\x00\x01m\x16\x00\x01"
                           "d");
    assert_int_equal(mqtt_try(0xF0, &body, MQTT_V5, &packet, &reason), ERR_OK);
    assert_int_equal(packet.ack.code, 0x18);
    support_expect_slice(packet.ack.properties.auth_method, "m");
    support_expect_slice(packet.ack.properties.auth_data, "d");
    body_u8(&body, 0x18);
    BODY_PROPERTIES(&body, "\x16\x00\x01"
                           "d"); /* data without method */
    mqtt_expect(0xF0, &body, MQTT_V5, REASON_PROTOCOL_ERROR);
    body_u8(&body, 0x19);
    mqtt_expect(0xF0, &body, MQTT_V5, REASON_PROTOCOL_ERROR); /* no method */
    body_u8(&body, 0x00);
    mqtt_expect(0xF0, &body, MQTT_V5, REASON_PROTOCOL_ERROR); /* a server's code */
    mqtt_expect(0xF0, &body, MQTT_V5, REASON_PROTOCOL_ERROR);
}

static void random_bytes_stay_inside(void **state) {
    (void)state;
    uint64_t seed = 5;
    size_t decoded = 0;
    for (int round = 0; round < 100000; round++) {
        uint8_t bytes[40];
        static const uint8_t firsts[] = {0x10, 0x30, 0x32, 0x34, 0x40, 0x50,
                                         0x62, 0x70, 0x82, 0xA2, 0xE0, 0xF0};
        size_t count = 2 + support_random(&seed) % (sizeof bytes - 2), used;
        for (size_t i = 0; i < count; i++) { /* small numbers make plausible lengths */
            uint64_t random = support_random(&seed);
            bytes[i] = (uint8_t)(random % 3 == 0 ? random >> 8 : (random >> 8) % 4);
        }
        bytes[0] = firsts[support_random(&seed) % sizeof firsts];
        bytes[1] = (uint8_t)(count - 2);
        uint8_t *copy = support_copy(bytes, count);
        struct mqtt_packet packet;
        enum reason reason;
        if (mqtt_decode(copy, count, round % 2 ? MQTT_V5 : MQTT_V3, 1000, &packet, &used,
                        &reason) == ERR_OK) {
            decoded++;
        }
        free(copy);
    }
    assert_true(decoded > 1000);
}

static void types_have_names(void **state) {
    (void)state;
    assert_string_equal(mqtt_type_name(MQTT_CONNECT), "CONNECT");
    assert_string_equal(mqtt_type_name(MQTT_AUTH), "AUTH");
    assert_string_equal(mqtt_type_name((enum mqtt_type)16), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reserved_flags_are_refused),
        cmocka_unit_test(types_of_servers_are_refused),
        cmocka_unit_test(publish_flags),
        cmocka_unit_test(remaining_length),
        cmocka_unit_test(pings),
        cmocka_unit_test(two_packets_in_a_row),
        cmocka_unit_test(publish_of_3_1_1),
        cmocka_unit_test(publish_of_5),
        cmocka_unit_test(publish_mistakes),
        cmocka_unit_test(strings_are_utf8_without_nul),
        cmocka_unit_test(acknowledgements),
        cmocka_unit_test(disconnects),
        cmocka_unit_test(auths),
        cmocka_unit_test(random_bytes_stay_inside),
        cmocka_unit_test(types_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
