/* Topic names, filters, matching, and the topics that chat uses.
 *
 * Matching walks filter and topic level by level, once, without allocation. Lengths and levels are
 * bounded where names enter (the decoder), because a filter with thousands of levels is how brokers
 * were made to recurse or to spend memory. Chat topics are recognised by exact shape; everything
 * else below pipit/ is reserved, so a name that is misspelled is refused instead of becoming an
 * ordinary topic nobody reads. */
#include "proto/mqtt_topic.h"

#include "proto/names.h"

#define SHARE "$share/"
#define CHAT_ROOT "pipit/"

static bool has_prefix(struct slice text, const char *prefix) {
    size_t count = strlen(prefix);
    return text.count >= count && memcmp(text.bytes, prefix, count) == 0;
}

static struct slice skip(struct slice text, size_t count) {
    return slice_make(text.bytes + count, text.count - count);
}

/* The level at the front; *rest is what follows its slash. False: this was the last level. */
static bool cut_level(struct slice text, struct slice *level, struct slice *rest) {
    const uint8_t *slash = text.count > 0 ? memchr(text.bytes, '/', text.count) : NULL;
    if (slash == NULL) {
        *level = text;
        *rest = (struct slice){0};
        return false;
    }
    *level = slice_make(text.bytes, (size_t)(slash - text.bytes));
    *rest = skip(text, level->count + 1);
    return true;
}

static bool bounds_valid(struct slice text) {
    if (text.count == 0 || text.count > LIMIT_MQTT_TOPIC_BYTES) {
        return false; /* [MQTT-4.7.3-1] */
    }
    size_t levels = 1;
    for (size_t i = 0; i < text.count; i++) {
        if (text.bytes[i] == '\0') {
            return false; /* [MQTT-4.7.3-2] */
        }
        levels += text.bytes[i] == '/';
    }
    return levels <= LIMIT_MQTT_TOPIC_LEVELS;
}

static bool has_wildcard(struct slice text) {
    return text.count > 0 && (memchr(text.bytes, '#', text.count) != NULL ||
                              memchr(text.bytes, '+', text.count) != NULL);
}

bool mqtt_topic_valid(struct slice topic) {
    return bounds_valid(topic) && !has_wildcard(topic);
}

/* Without $share. */
static bool plain_filter_valid(struct slice filter) {
    struct slice level, rest = filter;
    bool has_more = bounds_valid(filter);
    if (!has_more) {
        return false;
    }
    while (has_more) {
        has_more = cut_level(rest, &level, &rest);
        if (has_wildcard(level) && level.count != 1) {
            return false; /* [MQTT-4.7.1-1] [MQTT-4.7.1-2] */
        }
        if (slice_is(level, "#") && has_more) {
            return false; /* [MQTT-4.7.1-1] */
        }
    }
    return true;
}

bool mqtt_filter_shared(struct slice filter, struct slice *share_name, struct slice *inner) {
    if (!has_prefix(filter, SHARE)) {
        return false;
    }
    return cut_level(skip(filter, strlen(SHARE)), share_name, inner);
}

bool mqtt_filter_valid(struct slice filter) {
    struct slice name, inner;
    if (!has_prefix(filter, SHARE)) {
        return plain_filter_valid(filter);
    }
    return filter.count <= LIMIT_MQTT_TOPIC_BYTES && mqtt_filter_shared(filter, &name, &inner) &&
           name.count > 0 && !has_wildcard(name) && /* [MQTT-4.8.2-1] [MQTT-4.8.2-2] */
           memchr(name.bytes, '\0', name.count) == NULL && !has_prefix(inner, SHARE) &&
           plain_filter_valid(inner);
}

bool mqtt_filter_matches(struct slice filter, struct slice topic) {
    if (topic.count > 0 && topic.bytes[0] == '$' && filter.count > 0 &&
        (filter.bytes[0] == '+' || filter.bytes[0] == '#')) {
        return false; /* [MQTT-4.7.2-1] */
    }
    for (;;) {
        struct slice filter_level, topic_level;
        bool filter_goes_on = cut_level(filter, &filter_level, &filter);
        if (slice_is(filter_level, "#")) {
            return true;
        }
        bool topic_goes_on = cut_level(topic, &topic_level, &topic);
        if (!slice_is(filter_level, "+") &&
            (filter_level.count != topic_level.count ||
             (filter_level.count > 0 &&
              memcmp(filter_level.bytes, topic_level.bytes, filter_level.count) != 0))) {
            return false;
        }
        if (!filter_goes_on || !topic_goes_on) {
            /* "sport/#" also matches "sport", section 4.7.1.2 */
            return filter_goes_on == topic_goes_on || (filter_goes_on && slice_is(filter, "#"));
        }
    }
}

/* {name}/send behind the given prefix. */
static bool cut_send(struct slice topic, const char *prefix, struct slice *name) {
    struct slice rest;
    return has_prefix(topic, prefix) && cut_level(skip(topic, strlen(prefix)), name, &rest) &&
           slice_is(rest, "send");
}

enum err mqtt_chat_topic_parse(struct slice topic, struct mqtt_chat_topic *chat) {
    static const struct {
        const char *topic;
        enum mqtt_chat_topic_kind kind;
    } fixed[] = {{MQTT_TOPIC_INBOX, MQTT_CHAT_INBOX},
                 {MQTT_TOPIC_EVENTS, MQTT_CHAT_EVENTS},
                 {MQTT_TOPIC_CTL, MQTT_CHAT_CTL}};
    struct mqtt_chat_topic result = {.kind = MQTT_CHAT_NONE};
    struct slice name;
    enum err error = ERR_OK;
    if (cut_send(topic, CHAT_ROOT "c/", &name)) {
        result.kind = MQTT_CHAT_SEND_CONVERSATION;
        error = names_conversation_id_accept((const char *)name.bytes, name.count, result.id);
    } else if (cut_send(topic, CHAT_ROOT "u/", &name)) {
        result.kind = MQTT_CHAT_SEND_USER;
        error = names_user_id_accept((const char *)name.bytes, name.count, result.id);
    } else if (has_prefix(topic, CHAT_ROOT) || slice_is(topic, "pipit")) {
        result.kind = MQTT_CHAT_RESERVED;
        for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
            if (slice_is(topic, fixed[i].topic)) {
                result.kind = fixed[i].kind;
            }
        }
    }
    if (error == ERR_OK) {
        *chat = result;
    }
    return error;
}

unsigned mqtt_filter_feeds(struct slice filter) {
    unsigned feeds = 0;
    feeds |= mqtt_filter_matches(filter, slice_text(MQTT_TOPIC_INBOX)) ? MQTT_FEED_INBOX : 0;
    feeds |= mqtt_filter_matches(filter, slice_text(MQTT_TOPIC_EVENTS)) ? MQTT_FEED_EVENTS : 0;
    feeds |= mqtt_filter_matches(filter, slice_text(MQTT_TOPIC_CTL)) ? MQTT_FEED_CTL : 0;
    return feeds;
}
