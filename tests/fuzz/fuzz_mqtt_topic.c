/* fuzz_mqtt_topic: a filter and a topic, divided by a newline. */
#include "proto/mqtt_topic.h"
#include "proto/names.h"
#include "tests/fuzz/fuzz_support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *newline = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t filter_bytes = newline != NULL ? (size_t)(newline - data) : size;
    size_t topic_bytes = newline != NULL ? size - filter_bytes - 1 : 0;
    uint8_t *filter_copy = fuzz_copy(data, filter_bytes);
    uint8_t *topic_copy = fuzz_copy(newline != NULL ? newline + 1 : NULL, topic_bytes);
    struct slice filter = slice_make(filter_copy, filter_bytes);
    struct slice topic = slice_make(topic_copy, topic_bytes), share, inner = filter;
    struct mqtt_chat_topic chat;
    if (mqtt_topic_valid(topic)) {
        CONTRACT(mqtt_filter_valid(topic) || memcmp(topic.bytes, "$share/", 7) == 0);
        CONTRACT(mqtt_filter_matches(topic, topic));
        if (mqtt_chat_topic_parse(topic, &chat) == ERR_OK) {
            size_t count = strlen(chat.id);
            CONTRACT(chat.kind != MQTT_CHAT_SEND_USER || names_user_id_valid(chat.id, count));
            CONTRACT(chat.kind != MQTT_CHAT_SEND_CONVERSATION ||
                     names_conversation_id_valid(chat.id, count));
        }
    }
    if (mqtt_filter_valid(filter)) {
        if (mqtt_filter_shared(filter, &share, &inner)) {
            CONTRACT(share.count > 0 && mqtt_filter_valid(inner));
        }
        (void)mqtt_filter_feeds(inner);
        if (mqtt_topic_valid(topic) && topic.bytes[0] != '$') {
            CONTRACT(mqtt_filter_matches(slice_text("#"), topic));
            (void)mqtt_filter_matches(inner, topic);
        }
    }
    free(filter_copy);
    free(topic_copy);
    return 0;
}
