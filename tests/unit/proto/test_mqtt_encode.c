/* test_mqtt_encode: the server's packets to the byte, in both versions, and PUBLISH there and back.
 */
#include "proto/mqtt_packet.h"

#include "common/mem.h"
#include "tests/unit/proto/support.h"

#define EXPECT(out, literal) support_expect_bytes((out), (literal), sizeof(literal) - 1)

static void connacks(void **state) {
    struct buf *out = *state;
    struct mqtt_properties properties;
    assert_int_equal(mqtt_encode_connack(out, MQTT_V3, true, 0, NULL), ERR_OK);
    EXPECT(out, "\x20\x02\x01\x00");
    assert_int_equal(mqtt_encode_connack(out, MQTT_V3, true, 5, NULL), ERR_OK);
    EXPECT(out, "\x20\x02\x00\x05"); /* [MQTT-3.2.2-6] */
    assert_int_equal(mqtt_encode_connack(out, MQTT_V5, false, 0, NULL), ERR_OK);
    EXPECT(out, "\x20\x03\x00\x00\x00");
    mqtt_properties_init(&properties);
    properties.present = MQTT_HAS_RECEIVE_MAXIMUM | MQTT_HAS_ASSIGNED_CLIENT_ID |
                         MQTT_HAS_SHARED_AVAILABLE | MQTT_HAS_SERVER_KEEP_ALIVE |
                         MQTT_HAS_WILL_DELAY; /* the last is not a CONNACK's */
    properties.receive_maximum = 64;
    properties.server_keep_alive_s = 600;
    properties.assigned_client_id = slice_text("id");
    assert_int_equal(mqtt_encode_connack(out, MQTT_V5, true, 0, &properties), ERR_OK);
    EXPECT(out, "\x20\x10\x01\x00\x0D\x12\x00\x02id\x13\x02\x58\x21\x00\x40\x2A\x00");
    assert_int_equal(mqtt_encode_connack(out, MQTT_V3, true, 0, &properties), ERR_OK);
    EXPECT(out, "\x20\x02\x01\x00");
}

static void acks(void **state) {
    struct buf *out = *state;
    struct mqtt_properties properties;
    assert_int_equal(mqtt_encode_ack(out, MQTT_V3, MQTT_PUBACK, 0x1234, 0x87, NULL), ERR_OK);
    EXPECT(out, "\x40\x02\x12\x34");
    assert_int_equal(mqtt_encode_ack(out, MQTT_V5, MQTT_PUBACK, 0x1234, 0, NULL), ERR_OK);
    EXPECT(out, "\x40\x02\x12\x34");
    assert_int_equal(mqtt_encode_ack(out, MQTT_V5, MQTT_PUBREC, 1, 0x87, NULL), ERR_OK);
    EXPECT(out, "\x50\x03\x00\x01\x87");
    assert_int_equal(mqtt_encode_ack(out, MQTT_V5, MQTT_PUBREL, 1, 0, NULL), ERR_OK);
    EXPECT(out, "\x62\x02\x00\x01");
    assert_int_equal(mqtt_encode_ack(out, MQTT_V3, MQTT_PUBCOMP, 1, 0, NULL), ERR_OK);
    EXPECT(out, "\x70\x02\x00\x01");
    mqtt_properties_init(&properties);
    properties.present = MQTT_HAS_REASON_STRING;
    properties.reason_string = slice_text("no");
    assert_int_equal(mqtt_encode_ack(out, MQTT_V5, MQTT_PUBACK, 1, 0, &properties), ERR_OK);
    EXPECT(out, "\x40\x09\x00\x01\x00\x05\x1F\x00\x02no");
}

static void subacks(void **state) {
    struct buf *out = *state;
    static const uint8_t codes[] = {0, 1, 2, 0x87, 0x8F};
    assert_int_equal(mqtt_encode_suback(out, MQTT_V5, 7, codes, 5, NULL), ERR_OK);
    EXPECT(out, "\x90\x08\x00\x07\x00\x00\x01\x02\x87\x8F");
    assert_int_equal(mqtt_encode_suback(out, MQTT_V3, 7, codes, 5, NULL), ERR_OK);
    EXPECT(out, "\x90\x07\x00\x07\x00\x01\x02\x80\x80");
    assert_int_equal(mqtt_encode_unsuback(out, MQTT_V5, 7, codes, 1, NULL), ERR_OK);
    EXPECT(out, "\xB0\x04\x00\x07\x00\x00");
    assert_int_equal(mqtt_encode_unsuback(out, MQTT_V3, 7, codes, 1, NULL), ERR_OK);
    EXPECT(out, "\xB0\x02\x00\x07");
}

static void the_small_ones(void **state) {
    struct buf *out = *state;
    struct mqtt_properties properties;
    assert_int_equal(mqtt_encode_pingresp(out), ERR_OK);
    EXPECT(out, "\xD0\x00");
    assert_int_equal(mqtt_encode_disconnect(out, 0, NULL), ERR_OK);
    EXPECT(out, "\xE0\x00");
    assert_int_equal(mqtt_encode_disconnect(out, 0x9C, NULL), ERR_OK);
    EXPECT(out, "\xE0\x01\x9C");
    mqtt_properties_init(&properties);
    properties.present = MQTT_HAS_REASON_STRING;
    properties.reason_string = slice_text("x");
    assert_int_equal(mqtt_encode_disconnect(out, 0x9C, &properties), ERR_OK);
    EXPECT(out, "\xE0\x06\x9C\x04\x1F\x00\x01x");
}

static void publishes(void **state) {
    struct buf *out = *state;
    struct mqtt_publish publish = {
        .topic = slice_text("a/b"), .payload = slice_text("hi"), .dup = true};
    assert_int_equal(mqtt_encode_publish(out, MQTT_V3, &publish), ERR_OK);
    EXPECT(out, "\x30\x07\x00\x03"
                "a/bhi"); /* DUP is for QoS 1 and 2 only */
    publish.qos = 1;
    publish.packet_id = 0x0102;
    publish.retain = true;
    assert_int_equal(mqtt_encode_publish(out, MQTT_V3, &publish), ERR_OK);
    EXPECT(out, "\x3B\x09\x00\x03"
                "a/b\x01\x02hi");
    publish.dup = false;
    publish.properties.present = MQTT_HAS_CORRELATION_DATA | MQTT_HAS_TOPIC_ALIAS;
    publish.properties.correlation_data = slice_make("\x00\x01", 2);
    publish.properties.topic_alias = 3;
    assert_int_equal(mqtt_encode_publish(out, MQTT_V5, &publish), ERR_OK);
    EXPECT(out, "\x33\x12\x00\x03"
                "a/b\x01\x02\x08\x09\x00\x02\x00\x01\x23\x00\x03hi");
}

static void sizes_are_told_in_advance(void **state) {
    struct buf *out = *state;
    static const size_t sizes[] = {0, 100, 122, 123, 124, 16000, 16380, 16384, 100000, 300000};
    uint8_t *payload = calloc(1, 300000);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct mqtt_publish publish = {.topic = slice_text("t"),
                                       .qos = 2,
                                       .packet_id = 1,
                                       .payload = slice_make(payload, sizes[i])};
        for (int version = MQTT_V3; version <= MQTT_V5; version++) {
            assert_int_equal(mqtt_encode_publish(out, (enum mqtt_version)version, &publish),
                             ERR_OK);
            assert_int_equal(mqtt_publish_bytes((enum mqtt_version)version, &publish),
                             buf_len(out));
            buf_clear(out);
        }
    }
    struct mqtt_publish huge = {.topic = slice_text("t"),
                                .payload = slice_make(payload, 268435456)};
    assert_true(mqtt_publish_bytes(MQTT_V3, &huge) == SIZE_MAX);
    assert_int_equal(mqtt_encode_publish(out, MQTT_V3, &huge), ERR_TOO_LARGE);
    huge.payload.count = 268435455 - 2;
    assert_true(mqtt_publish_bytes(MQTT_V3, &huge) == SIZE_MAX);
    huge.payload.count = 268435455 - 3;
    assert_true(mqtt_publish_bytes(MQTT_V3, &huge) == 5 + (size_t)268435455);
    free(payload);
}

static void publishes_come_back(void **state) {
    struct buf *out = *state;
    uint64_t seed = 8;
    for (int round = 0; round < 2000; round++) {
        uint8_t payload[200];
        struct mqtt_packet packet;
        enum reason reason;
        size_t used;
        enum mqtt_version version = round % 2 ? MQTT_V5 : MQTT_V3;
        struct mqtt_publish publish = {
            .topic = slice_text("pipit/me/inbox"),
            .qos = (uint8_t)(support_random(&seed) % 3),
            .payload = slice_make(payload, support_random(&seed) % sizeof payload)};
        memset(payload, (int)round, sizeof payload);
        publish.packet_id = publish.qos > 0 ? (uint16_t)(1 + support_random(&seed) % 65535) : 0;
        publish.dup = publish.qos > 0 && round % 3 == 0;
        publish.retain = round % 5 == 0;
        if (version == MQTT_V5) {
            publish.properties.present = MQTT_HAS_PAYLOAD_FORMAT | MQTT_HAS_MESSAGE_EXPIRY;
            publish.properties.payload_format = 1;
            publish.properties.message_expiry_s = (uint32_t)support_random(&seed);
        }
        assert_int_equal(mqtt_encode_publish(out, version, &publish), ERR_OK);
        assert_int_equal(
            mqtt_decode(buf_data(out), buf_len(out), version, 1000, &packet, &used, &reason),
            ERR_OK);
        assert_int_equal(used, buf_len(out));
        assert_int_equal(packet.publish.qos, publish.qos);
        assert_int_equal(packet.publish.packet_id, publish.packet_id);
        assert_int_equal(packet.publish.dup, publish.dup);
        assert_int_equal(packet.publish.retain, publish.retain);
        assert_int_equal(packet.publish.payload.count, publish.payload.count);
        assert_int_equal(packet.publish.properties.message_expiry_s,
                         publish.properties.message_expiry_s);
        support_expect_slice(packet.publish.topic, "pipit/me/inbox");
        buf_clear(out);
    }
}

static void failures_leave_the_buffer(void **state) {
    (void)state;
    struct buf out;
    struct mqtt_publish publish = {.topic = slice_text("a"), .payload = slice_text("0123456789")};
    static const uint8_t codes[8] = {0};
    buf_init(&out, 16);
    assert_int_equal(buf_append_text(&out, "0123456789"), ERR_OK);
    assert_int_equal(mqtt_encode_publish(&out, MQTT_V5, &publish), ERR_TOO_LARGE);
    assert_int_equal(mqtt_encode_suback(&out, MQTT_V5, 1, codes, 8, NULL), ERR_TOO_LARGE);
    support_expect_text(&out, "0123456789");
    buf_finish(&out);
    buf_init(&out, 1000);
    (void)mem_fault_set(1, 2);
    assert_int_equal(mqtt_encode_publish(&out, MQTT_V5, &publish), ERR_NO_MEMORY);
    assert_int_equal(mqtt_encode_pingresp(&out), ERR_NO_MEMORY);
    (void)mem_fault_set(0, 0);
    assert_int_equal(buf_len(&out), 0);
    buf_finish(&out);
}

static void too_long_strings_are_refused(void **state) {
    struct buf *out = *state;
    char *text = malloc(65537);
    struct mqtt_properties properties;
    memset(text, 'x', 65537);
    mqtt_properties_init(&properties);
    properties.present = MQTT_HAS_REASON_STRING;
    properties.reason_string = slice_make(text, 65535);
    assert_int_equal(mqtt_encode_disconnect(out, 0x80, &properties), ERR_OK);
    buf_clear(out);
    properties.reason_string.count = 65536;
    assert_int_equal(mqtt_encode_disconnect(out, 0x80, &properties), ERR_TOO_LARGE);
    assert_int_equal(mqtt_encode_ack(out, MQTT_V5, MQTT_PUBACK, 1, 0x80, &properties),
                     ERR_TOO_LARGE);
    struct mqtt_publish publish = {.topic = slice_make(text, 65536)};
    assert_int_equal(mqtt_encode_publish(out, MQTT_V3, &publish), ERR_TOO_LARGE);
    assert_int_equal(buf_len(out), 0);
    free(text);
}

static int set_up(void **state) {
    static struct buf out;
    buf_init(&out, 1u << 20);
    *state = &out;
    return 0;
}

static int tear_down(void **state) {
    buf_finish(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connacks),
        cmocka_unit_test(acks),
        cmocka_unit_test(subacks),
        cmocka_unit_test(the_small_ones),
        cmocka_unit_test(publishes),
        cmocka_unit_test(sizes_are_told_in_advance),
        cmocka_unit_test(publishes_come_back),
        cmocka_unit_test(failures_leave_the_buffer),
        cmocka_unit_test(too_long_strings_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
