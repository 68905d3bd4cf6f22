/* test_mqtt_topic: names and filters after MQTT 5.0 section 4.7, matching against a naive matcher,
 * and the topics of chat. */
#include "proto/mqtt_topic.h"

#include "tests/unit/proto/support.h"
#include <stdio.h>

static bool matches(const char *filter, const char *topic) {
    uint8_t *filter_copy = support_copy(filter, strlen(filter));
    uint8_t *topic_copy = support_copy(topic, strlen(topic));
    bool result = mqtt_filter_matches(slice_make(filter_copy, strlen(filter)),
                                      slice_make(topic_copy, strlen(topic)));
    free(filter_copy);
    free(topic_copy);
    return result;
}

static void topics(void **state) {
    (void)state;
    static const char *const good[] = {"a", "/", "a/b", "//", " ", "$SYS/x", "日/本", "a b", "A"};
    static const char *const bad[] = {"", "+", "#", "a/+", "a#b", "a/#"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(mqtt_topic_valid(slice_text(good[i])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(mqtt_topic_valid(slice_text(bad[i])));
    }
    assert_false(mqtt_topic_valid(slice_make("a\0b", 3)));
}

static void bounds(void **state) {
    (void)state;
    char text[LIMIT_MQTT_TOPIC_BYTES + 2];
    memset(text, 'x', sizeof text);
    assert_true(mqtt_topic_valid(slice_make(text, LIMIT_MQTT_TOPIC_BYTES)));
    assert_false(mqtt_topic_valid(slice_make(text, LIMIT_MQTT_TOPIC_BYTES + 1)));
    assert_false(mqtt_filter_valid(slice_make(text, LIMIT_MQTT_TOPIC_BYTES + 1)));
    memset(text, '/', sizeof text);
    assert_true(mqtt_topic_valid(slice_make(text, LIMIT_MQTT_TOPIC_LEVELS - 1)));
    assert_false(mqtt_topic_valid(slice_make(text, LIMIT_MQTT_TOPIC_LEVELS)));
    assert_false(mqtt_filter_valid(slice_make(text, LIMIT_MQTT_TOPIC_LEVELS)));
}

static void filters(void **state) {
    (void)state;
    static const char *const good[] = {
        "#",   "+",      "/",          "/#",         "+/+",        "a/+/b",     "a/#",
        "+/#", "$SYS/#", "$share/g/a", "$share/g/#", "$share/g//", "$shared/+", "$share"};
    static const char *const bad[] = {"",
                                      "a#",
                                      "#/",
                                      "#/a",
                                      "##",
                                      "a/##",
                                      "++",
                                      "a+",
                                      "+a",
                                      "a/+b/c",
                                      "$share/",
                                      "$share/g",
                                      "$share/g/",
                                      "$share//a",
                                      "$share/+/a",
                                      "$share/g#/a",
                                      "$share/g/a#",
                                      "$share/g/$share/h/a"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(mqtt_filter_valid(slice_text(good[i])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(mqtt_filter_valid(slice_text(bad[i])));
    }
    assert_false(mqtt_filter_valid(slice_make("a\0", 2)));
    assert_false(mqtt_filter_valid(slice_make("$share/g\0/a", 11)));
}

static void shared(void **state) {
    (void)state;
    struct slice name, inner;
    assert_true(mqtt_filter_shared(slice_text("$share/group/a/+/b"), &name, &inner));
    support_expect_slice(name, "group");
    support_expect_slice(inner, "a/+/b");
    assert_false(mqtt_filter_shared(slice_text("share/group/a"), &name, &inner));
    assert_false(mqtt_filter_shared(slice_text("$share"), &name, &inner));
}

static void matching_by_example(void **state) { /* sections 4.7.1.2, 4.7.1.3, 4.7.2 */
    (void)state;
    static const struct {
        const char *filter, *topic;
        bool match;
    } cases[] = {
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/#", "sport", true},
        {"sport/#", "sports", false},
        {"#", "a/b/c", true},
        {"#", "/", true},
        {"sport/tennis/+", "sport/tennis/player1", true},
        {"sport/tennis/+", "sport/tennis/player1/ranking", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        {"#", "$SYS/broker", false},
        {"+/monitor/Clients", "$SYS/monitor/Clients", false},
        {"$SYS/#", "$SYS/", true},
        {"$SYS/#", "$SYS", true},
        {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
        {"a", "a", true},
        {"a", "A", false},
        {"a", "a/", false},
        {"a/", "a", false},
        {"/a", "a", false},
        {"a//b", "a//b", true},
        {"a/+/b", "a//b", true},
        {"a/b", "a/bc", false},
        {"a/bc", "a/b", false},
        {"+/#", "a", true},
        {"+/#", "a/b", true},
        {"a/+/#", "a", false},
        {"a/+/#", "a/b", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(matches(cases[i].filter, cases[i].topic), cases[i].match);
    }
}

/* Levels as strings, recursion: slow and plain. */
static bool naive(const char *filter, const char *topic) {
    if (strcmp(filter, "#") == 0) {
        return true;
    }
    size_t filter_bytes = strcspn(filter, "/"), topic_bytes = strcspn(topic, "/");
    bool is_plus = filter_bytes == 1 && filter[0] == '+';
    if (!is_plus && (filter_bytes != topic_bytes || strncmp(filter, topic, topic_bytes) != 0)) {
        return false;
    }
    bool filter_ends = filter[filter_bytes] == '\0', topic_ends = topic[topic_bytes] == '\0';
    if (topic_ends) {
        return filter_ends || strcmp(filter + filter_bytes, "/#") == 0;
    }
    return !filter_ends && naive(filter + filter_bytes + 1, topic + topic_bytes + 1);
}

static void matching_by_force(void **state) {
    (void)state;
    static const char *const parts[] = {"a", "b", "", "+", "#", "ab"};
    uint64_t seed = 4;
    size_t matched = 0;
    for (int round = 0; round < 50000; round++) {
        char filter[64] = "", topic[64] = "";
        for (uint64_t i = 0, levels = 1 + support_random(&seed) % 4; i < levels; i++) {
            strcat(strcat(filter, i > 0 ? "/" : ""), parts[support_random(&seed) % 6]);
        }
        for (uint64_t i = 0, levels = 1 + support_random(&seed) % 4; i < levels; i++) {
            strcat(strcat(topic, i > 0 ? "/" : ""), parts[support_random(&seed) % 3]);
        }
        if (mqtt_filter_valid(slice_text(filter)) && mqtt_topic_valid(slice_text(topic))) {
            bool expected = naive(filter, topic);
            matched += expected;
            assert_int_equal(matches(filter, topic), expected);
        }
    }
    assert_true(matched > 1000);
}

static void chat_topics(void **state) {
    (void)state;
    static const struct {
        const char *topic, *id;
        enum mqtt_chat_topic_kind kind;
    } cases[] = {
        {"pipit/u/bob/send", "u_bob", MQTT_CHAT_SEND_USER},
        {"pipit/u/u_bob/send", "u_bob", MQTT_CHAT_SEND_USER},
        {"pipit/c/family/send", "c_family", MQTT_CHAT_SEND_CONVERSATION},
        {"pipit/c/c_family/send", "c_family", MQTT_CHAT_SEND_CONVERSATION},
        {"pipit/me/inbox", "", MQTT_CHAT_INBOX},
        {"pipit/me/events", "", MQTT_CHAT_EVENTS},
        {"pipit/me/ctl", "", MQTT_CHAT_CTL},
        {"pipit", "", MQTT_CHAT_RESERVED},
        {"pipit/", "", MQTT_CHAT_RESERVED},
        {"pipit/me", "", MQTT_CHAT_RESERVED},
        {"pipit/me/inbox/", "", MQTT_CHAT_RESERVED},
        {"pipit/me/send", "", MQTT_CHAT_RESERVED},
        {"pipit/c/family", "", MQTT_CHAT_RESERVED},
        {"pipit/c/family/send/", "", MQTT_CHAT_RESERVED},
        {"pipit/c/family/sent", "", MQTT_CHAT_RESERVED},
        {"pipit/c/a/b/send", "", MQTT_CHAT_RESERVED},
        {"pipit/x/family/send", "", MQTT_CHAT_RESERVED},
        {"Pipit/c/family/send", "", MQTT_CHAT_NONE},
        {"pipits/c", "", MQTT_CHAT_NONE},
        {"/pipit/me/inbox", "", MQTT_CHAT_NONE},
        {"home/door", "", MQTT_CHAT_NONE},
        {"$SYS/broker", "", MQTT_CHAT_NONE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mqtt_chat_topic chat;
        uint8_t *copy = support_copy(cases[i].topic, strlen(cases[i].topic));
        assert_int_equal(mqtt_chat_topic_parse(slice_make(copy, strlen(cases[i].topic)), &chat),
                         ERR_OK);
        assert_int_equal(chat.kind, cases[i].kind);
        assert_string_equal(chat.id, cases[i].id);
        free(copy);
    }
}

static void chat_topics_with_bad_names(void **state) {
    (void)state;
    static const char *const texts[] = {
        "pipit/u//send",       "pipit/u/Bob/send",
        "pipit/u/u_/send",     "pipit/c//send",
        "pipit/c/c_/send",     "pipit/c/a b/send",
        "pipit/c/Family/send", "pipit/c/aaaaaaaaaabbbbbbbbbbccccccccccddddddddddx/send"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct mqtt_chat_topic chat = {.kind = MQTT_CHAT_CTL};
        assert_int_equal(mqtt_chat_topic_parse(slice_text(texts[i]), &chat), ERR_INVALID);
        assert_int_equal(chat.kind, MQTT_CHAT_CTL);
    }
}

static void feeds(void **state) {
    (void)state;
    static const struct {
        const char *filter;
        unsigned feeds;
    } cases[] = {{"pipit/me/inbox", MQTT_FEED_INBOX},
                 {"pipit/me/events", MQTT_FEED_EVENTS},
                 {"pipit/me/ctl", MQTT_FEED_CTL},
                 {"pipit/me/+", 7},
                 {"pipit/me/#", 7},
                 {"pipit/#", 7},
                 {"+/me/+", 7},
                 {"#", 7},
                 {"+/+/inbox", MQTT_FEED_INBOX},
                 {"pipit/me", 0},
                 {"pipit/+", 0},
                 {"pipit/me/inbox/#", MQTT_FEED_INBOX},
                 {"pipit/me/inbox/+", 0},
                 {"home/#", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(mqtt_filter_feeds(slice_text(cases[i].filter)), cases[i].feeds);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics),
        cmocka_unit_test(bounds),
        cmocka_unit_test(filters),
        cmocka_unit_test(shared),
        cmocka_unit_test(matching_by_example),
        cmocka_unit_test(matching_by_force),
        cmocka_unit_test(chat_topics),
        cmocka_unit_test(chat_topics_with_bad_names),
        cmocka_unit_test(feeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
