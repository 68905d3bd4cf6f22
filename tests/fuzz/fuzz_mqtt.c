/* fuzz_mqtt: a stream of packets from a client. The first byte chooses the version. Every packet
 * that passes is walked to its last property and filter; a PUBLISH is encoded and must decode to
 * the same. */
#include "proto/mqtt_packet.h"
#include "proto/mqtt_topic.h"
#include "proto/utf8.h"
#include "tests/fuzz/fuzz_support.h"

static void check_properties(const struct mqtt_properties *properties, const uint8_t *bytes,
                             size_t size) {
    struct mqtt_user_property pair;
    size_t offset = 0, count = 0;
    fuzz_inside(properties->block, bytes, size);
    while (mqtt_user_property_next(properties, &offset, &pair)) {
        CONTRACT(utf8_valid(pair.name.bytes, pair.name.count));
        CONTRACT(utf8_valid(pair.value.bytes, pair.value.count));
        count++;
    }
    CONTRACT(count == properties->user_property_count && count <= LIMIT_MQTT_USER_PROPERTIES);
}

static bool slices_equal(struct slice one, struct slice two) {
    return one.count == two.count &&
           (one.count == 0 || memcmp(one.bytes, two.bytes, one.count) == 0);
}

static void check_publish(const struct mqtt_packet *packet, const uint8_t *bytes, size_t size) {
    const struct mqtt_publish *publish = &packet->publish;
    struct mqtt_packet again;
    struct mqtt_chat_topic chat;
    struct buf out;
    enum reason reason = REASON_OK;
    size_t used = 0;
    fuzz_inside(publish->topic, bytes, size);
    fuzz_inside(publish->payload, bytes, size);
    CONTRACT(publish->topic.count == 0 || mqtt_topic_valid(publish->topic));
    (void)mqtt_chat_topic_parse(publish->topic, &chat);
    buf_init(&out, 4u << 20);
    CONTRACT(mqtt_encode_publish(&out, packet->version, publish) == ERR_OK);
    CONTRACT(mqtt_publish_bytes(packet->version, publish) == buf_len(&out));
    CONTRACT(mqtt_decode(buf_data(&out), buf_len(&out), packet->version, 4u << 20, &again, &used,
                         &reason) == ERR_OK);
    CONTRACT(used == buf_len(&out) && again.publish.packet_id == publish->packet_id);
    CONTRACT(again.publish.properties.present == publish->properties.present);
    CONTRACT(slices_equal(again.publish.topic, publish->topic));
    CONTRACT(slices_equal(again.publish.payload, publish->payload));
    check_properties(&again.publish.properties, buf_data(&out), buf_len(&out));
    buf_finish(&out);
}

static void check_filters(const struct mqtt_packet *packet) {
    struct mqtt_filter filter;
    struct slice share, inner;
    size_t offset = 0, count = 0;
    while (mqtt_filter_next(packet, &offset, &filter)) {
        CONTRACT(mqtt_filter_valid(filter.filter) && filter.qos <= 2 &&
                 filter.retain_handling <= 2);
        inner = filter.filter;
        (void)mqtt_filter_shared(filter.filter, &share, &inner);
        (void)mqtt_filter_feeds(inner);
        count++;
    }
    CONTRACT(count == packet->subscribe.filter_count && count >= 1 && count <= LIMIT_MQTT_FILTERS);
}

static void check_packet(const struct mqtt_packet *packet, const uint8_t *bytes, size_t size) {
    switch (packet->type) {
    case MQTT_CONNECT:
        fuzz_inside(packet->connect.client_id, bytes, size);
        fuzz_inside(packet->connect.user_name, bytes, size);
        fuzz_inside(packet->connect.password, bytes, size);
        fuzz_inside(packet->connect.will.payload, bytes, size);
        check_properties(&packet->connect.properties, bytes, size);
        check_properties(&packet->connect.will.properties, bytes, size);
        break;
    case MQTT_PUBLISH:
        check_properties(&packet->publish.properties, bytes, size);
        check_publish(packet, bytes, size);
        break;
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        check_properties(&packet->subscribe.properties, bytes, size);
        check_filters(packet);
        break;
    case MQTT_PINGREQ:
        break;
    default:
        check_properties(&packet->ack.properties, bytes, size);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    enum mqtt_version version = data[0] % 2 ? MQTT_V5 : MQTT_V3;
    size_t left = size - 1, at = 1;
    enum err error = ERR_OK;
    while (error == ERR_OK && left > 0) {
        struct mqtt_packet packet;
        enum reason reason = REASON_OK;
        size_t used = 0;
        uint8_t *bytes = fuzz_copy(data + at, left);
        error = mqtt_decode(bytes, left, version, LIMIT_MQTT_PACKET_BYTES, &packet, &used, &reason);
        if (error == ERR_OK) {
            CONTRACT(used >= 2 && used <= left);
            check_packet(&packet, bytes, used);
            version = packet.version;
            at += used;
            left -= used;
        } else {
            CONTRACT(error == ERR_MORE ? used > left : error == ERR_INVALID && reason != REASON_OK);
        }
        free(bytes);
    }
    return 0;
}
