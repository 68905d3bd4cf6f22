/* test_mqtt_properties: every property in every packet against table 2-4 of MQTT 5.0, duplicates,
 * ranges, user properties, and the way back through the encoder. */
#include "proto/mqtt_wire.h"

#include "tests/unit/proto/support_mqtt.h"

/* Table 2-4, typed in again: identifier, a valid value, packets a client may put it into. */
static const struct {
    uint8_t id;
    const char *value;
    size_t value_bytes;
    const char *packets; /* W will, C CONNECT, P PUBLISH, a the four acks, S SUBSCRIBE, U
                            UNSUBSCRIBE, D DISCONNECT, A AUTH */
} table[] = {
    {0x01, "\x01", 1, "WP"},
    {0x02, "\0\0\0\x01", 4, "WP"},
    {0x03, "\0\x01t", 3, "WP"},
    {0x08, "\0\x01r", 3, "WP"},
    {0x09, "\0\x01\xFF", 3, "WP"},
    {0x0B, "\x01", 1, "S"},
    {0x11, "\0\0\0\x01", 4, "CD"},
    {0x12,
     "\0\x01"
     "c",
     3, ""},
    {0x13, "\0\x01", 2, ""},
    {0x15, "\0\x01m", 3, "CA"},
    {0x17, "\x01", 1, "C"},
    {0x18, "\0\0\0\x01", 4, "W"},
    {0x19, "\x01", 1, "C"},
    {0x1A, "\0\x01i", 3, ""},
    {0x1C, "\0\x01s", 3, "D"}, /* refused by DISCONNECT itself */
    {0x1F, "\0\x01r", 3, "aDA"},
    {0x21, "\0\x01", 2, "C"},
    {0x22, "\0\x01", 2, "C"},
    {0x23, "\0\x01", 2, "P"},
    {0x24, "\x01", 1, ""},
    {0x25, "\x01", 1, ""},
    {0x26, "\0\x01k\0\x01v", 6, "WCPaSUDA"},
    {0x27, "\0\0\0\x01", 4, "C"},
    {0x28, "\x01", 1, ""},
    {0x29, "\x01", 1, ""},
    {0x2A, "\x01", 1, ""},
};
#define TABLE_COUNT (sizeof table / sizeof table[0])

static enum reason take(unsigned packet, const void *block, size_t count,
                        struct mqtt_properties *properties) {
    uint8_t bytes[2000];
    assert_true(count < 128 || count < 1900);
    size_t length_bytes = (size_t)(mqtt_put_varint(bytes, (uint32_t)count) - bytes);
    memcpy(bytes + length_bytes, block, count);
    static uint8_t *copy;
    free(copy);
    copy = support_copy(bytes, length_bytes + count);
    struct mqtt_cursor cursor = {.at = copy, .end = copy + length_bytes + count};
    enum reason reason = mqtt_take_properties(&cursor, packet, properties);
    if (reason == REASON_OK) {
        assert_ptr_equal(cursor.at, cursor.end);
    }
    return reason;
}

static void each_property_in_each_packet(void **state) {
    (void)state;
    static const struct {
        unsigned packet;
        char letter;
    } packets[] = {{MQTT_IN_WILL, 'W'},    {MQTT_CONNECT, 'C'},   {MQTT_PUBLISH, 'P'},
                   {MQTT_PUBACK, 'a'},     {MQTT_PUBREC, 'a'},    {MQTT_PUBREL, 'a'},
                   {MQTT_PUBCOMP, 'a'},    {MQTT_SUBSCRIBE, 'S'}, {MQTT_UNSUBSCRIBE, 'U'},
                   {MQTT_DISCONNECT, 'D'}, {MQTT_AUTH, 'A'}};
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        for (size_t j = 0; j < sizeof packets / sizeof packets[0]; j++) {
            uint8_t block[16] = {table[i].id};
            struct mqtt_properties properties;
            memcpy(block + 1, table[i].value, table[i].value_bytes);
            bool is_allowed = strchr(table[i].packets, packets[j].letter) != NULL;
            assert_int_equal(take(packets[j].packet, block, 1 + table[i].value_bytes, &properties),
                             is_allowed ? REASON_OK : REASON_PROTOCOL_ERROR);
            for (size_t cut = 1; cut < 1 + table[i].value_bytes && is_allowed; cut++) {
                assert_int_equal(take(packets[j].packet, block, cut, &properties),
                                 REASON_MALFORMED);
            }
        }
    }
}

static void twice_is_an_error(void **state) {
    (void)state;
    static const unsigned packets[] = {MQTT_IN_WILL, MQTT_CONNECT, MQTT_PUBLISH, MQTT_SUBSCRIBE,
                                       MQTT_PUBACK};
    size_t tried = 0;
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        for (size_t j = 0; j < sizeof packets / sizeof packets[0]; j++) {
            uint8_t block[32] = {table[i].id};
            struct mqtt_properties properties;
            size_t bytes = 1 + table[i].value_bytes;
            memcpy(block + 1, table[i].value, table[i].value_bytes);
            if (take(packets[j], block, bytes, &properties) == REASON_OK) {
                memcpy(block + bytes, block, bytes);
                assert_int_equal(take(packets[j], block, 2 * bytes, &properties),
                                 table[i].id == 0x26 ? REASON_OK : REASON_PROTOCOL_ERROR);
                tried++;
            }
        }
    }
    assert_true(tried > 20);
}

static void unknown_identifiers_are_malformed(void **state) {
    (void)state;
    for (unsigned id = 0; id < 256; id++) {
        bool is_known = id == 0x16; /* needs a method beside it */
        for (size_t i = 0; i < TABLE_COUNT; i++) {
            is_known = is_known || table[i].id == id;
        }
        if (!is_known) {
            uint8_t block[] = {(uint8_t)id, 1, 1, 1, 1, 1};
            struct mqtt_properties properties;
            assert_int_equal(take(MQTT_PUBLISH, block, sizeof block, &properties),
                             REASON_MALFORMED);
        }
    }
}

static void ranges(void **state) {
    (void)state;
    static const struct {
        unsigned packet;
        const char *block;
        size_t bytes;
        enum reason reason;
    } cases[] = {
        {MQTT_PUBLISH, "\x01\x02", 2, REASON_PROTOCOL_ERROR},
        {MQTT_CONNECT, "\x17\x02", 2, REASON_PROTOCOL_ERROR},
        {MQTT_CONNECT, "\x19\xFF", 2, REASON_PROTOCOL_ERROR},
        {MQTT_CONNECT, "\x21\x00\x00", 3, REASON_PROTOCOL_ERROR},
        {MQTT_CONNECT, "\x27\x00\x00\x00\x00", 5, REASON_PROTOCOL_ERROR},
        {MQTT_SUBSCRIBE, "\x0B\x00", 2, REASON_PROTOCOL_ERROR},
        {MQTT_SUBSCRIBE, "\x0B\x80\x00", 3, REASON_MALFORMED}, /* [MQTT-1.5.5-1] */
        {MQTT_SUBSCRIBE, "\x0B\xFF\xFF\xFF\xFF\x7F", 6, REASON_MALFORMED},
        {MQTT_SUBSCRIBE, "\x0B\xFF\xFF\xFF\x7F", 5, REASON_OK},
        {MQTT_PUBLISH, "\x23\x00\x00", 3, REASON_TOPIC_ALIAS_INVALID},
        {MQTT_PUBLISH,
         "\x08\x00\x02"
         "a#",
         5, REASON_TOPIC_INVALID},
        {MQTT_PUBLISH, "\x08\x00\x00", 3, REASON_TOPIC_INVALID},
        {MQTT_PUBLISH, "\x03\x00\x01\xFF", 4, REASON_BAD_UTF8},
        {MQTT_PUBLISH, "\x26\x00\x01\x00\x00\x00", 6, REASON_BAD_UTF8},
        {MQTT_CONNECT, "\x16\x00\x00", 3, REASON_PROTOCOL_ERROR}, /* data without method */
        {MQTT_CONNECT, "\x16\x00\x00\x15\x00\x01m", 7, REASON_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mqtt_properties properties;
        assert_int_equal(take(cases[i].packet, cases[i].block, cases[i].bytes, &properties),
                         cases[i].reason);
    }
    struct mqtt_properties properties;
    struct mqtt_cursor cursor = {.at = (const uint8_t *)"\x05\x26", .end = NULL};
    cursor.end = cursor.at + 2;
    assert_int_equal(mqtt_take_properties(&cursor, MQTT_PUBLISH, &properties), REASON_MALFORMED);
}

static void user_properties_are_walked_and_limited(void **state) {
    (void)state;
    struct mqtt_properties properties;
    struct mqtt_user_property pair;
    uint8_t block[1000];
    size_t count = 0, offset = 0, walked = 0;
    for (size_t i = 0; i <= LIMIT_MQTT_USER_PROPERTIES; i++) {
        if (i == 3) { /* others in between */
            memcpy(block + count, "\x01\x01\x09\x00\x05\x26\x00\x01\x26\x00", 10);
            count += 10;
        }
        memcpy(block + count, "\x26\x00\x01k\x00\x02v", 7);
        block[count + 7] = (uint8_t)('a' + i);
        count += 8;
    }
    assert_int_equal(take(MQTT_PUBLISH, block, count, &properties), REASON_TOO_LARGE);
    assert_int_equal(take(MQTT_PUBLISH, block, count - 8, &properties), REASON_OK);
    assert_int_equal(properties.user_property_count, LIMIT_MQTT_USER_PROPERTIES);
    while (mqtt_user_property_next(&properties, &offset, &pair)) {
        support_expect_slice(pair.name, "k");
        assert_int_equal(pair.value.bytes[1], 'a' + walked);
        walked++;
    }
    assert_int_equal(walked, LIMIT_MQTT_USER_PROPERTIES);
    mqtt_properties_init(&properties);
    offset = 0;
    assert_false(mqtt_user_property_next(&properties, &offset, &pair));
}

static void the_way_back(void **state) {
    (void)state;
    static const uint8_t block[] =
        "\x01\x01\x02\x00\x00\x00\x3C\x03\x00\x01t\x08\x00\x01r\x09\x00\x02\x00\xFF"
        "\x23\x00\x05\x26\x00\x01k\x00\x01v\x26\x00\x01k\x00\x01w";
    struct mqtt_properties properties;
    uint8_t out[100];
    assert_int_equal(take(MQTT_PUBLISH, block, sizeof block - 1, &properties), REASON_OK);
    assert_int_equal(mqtt_properties_bytes(MQTT_PUBLISH, &properties), sizeof block - 1);
    assert_ptr_equal(mqtt_put_properties(out, MQTT_PUBLISH, &properties), out + sizeof block - 1);
    assert_memory_equal(out, block, sizeof block - 1);
    /* What the packet may not carry stays out: only the user properties are left. */
    assert_int_equal(mqtt_properties_bytes(MQTT_PUBACK, &properties), 14);
    assert_int_equal(mqtt_properties_bytes(MQTT_PUBLISH, NULL), 0);
}

static void subscription_ids_and_own_pairs_are_written(void **state) {
    (void)state;
    static const uint32_t ids[] = {1, 200, 268435455};
    const struct mqtt_user_property pairs[] = {{slice_text("a"), slice_text("b")}};
    struct mqtt_properties properties;
    uint8_t out[64];
    static const uint8_t expected[] = "\x26\x00\x01"
                                      "a\x00\x01"
                                      "b\x0B\x01\x0B\xC8\x01\x0B\xFF\xFF\xFF\x7F";
    mqtt_properties_init(&properties);
    properties.subscription_ids = ids;
    properties.subscription_ids_count = 3;
    properties.user_properties = pairs;
    properties.user_properties_count = 1;
    assert_int_equal(mqtt_properties_bytes(MQTT_PUBLISH, &properties), sizeof expected - 1);
    (void)mqtt_put_properties(out, MQTT_PUBLISH, &properties);
    assert_memory_equal(out, expected, sizeof expected - 1);
    assert_int_equal(mqtt_properties_bytes(MQTT_PUBACK, &properties), 7);
    properties.present = MQTT_HAS_CONTENT_TYPE;
    properties.content_type = slice_make(out, 65536);
    assert_true(mqtt_properties_bytes(MQTT_PUBLISH, &properties) == SIZE_MAX);
}

static void varints(void **state) { /* table 1-1 */
    (void)state;
    static const struct {
        uint32_t value;
        const char *bytes;
        size_t count;
    } cases[] = {{0, "\x00", 1},
                 {127, "\x7F", 1},
                 {128, "\x80\x01", 2},
                 {16383, "\xFF\x7F", 2},
                 {16384, "\x80\x80\x01", 3},
                 {2097151, "\xFF\xFF\x7F", 3},
                 {2097152, "\x80\x80\x80\x01", 4},
                 {268435455, "\xFF\xFF\xFF\x7F", 4}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t out[8];
        uint32_t value = 0;
        assert_int_equal(mqtt_varint_bytes(cases[i].value), cases[i].count);
        assert_ptr_equal(mqtt_put_varint(out, cases[i].value), out + cases[i].count);
        assert_memory_equal(out, cases[i].bytes, cases[i].count);
        uint8_t *copy = support_copy(out, cases[i].count);
        struct mqtt_cursor cursor = {.at = copy, .end = copy + cases[i].count};
        assert_int_equal(mqtt_take_varint(&cursor, &value), REASON_OK);
        assert_int_equal(value, cases[i].value);
        cursor = (struct mqtt_cursor){.at = copy, .end = copy + cases[i].count - 1};
        assert_int_equal(mqtt_take_varint(&cursor, &value), REASON_MALFORMED);
        free(copy);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_property_in_each_packet),
        cmocka_unit_test(twice_is_an_error),
        cmocka_unit_test(unknown_identifiers_are_malformed),
        cmocka_unit_test(ranges),
        cmocka_unit_test(user_properties_are_walked_and_limited),
        cmocka_unit_test(the_way_back),
        cmocka_unit_test(subscription_ids_and_own_pairs_are_written),
        cmocka_unit_test(varints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
