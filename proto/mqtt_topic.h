/* mqtt_topic: topic names and filters: their rules (MQTT 5.0 section 4.7), matching, and the chat
 * topics of Pipit. */
#ifndef PIPIT_PROTO_MQTT_TOPIC_H
#define PIPIT_PROTO_MQTT_TOPIC_H

#include "common/err.h"
#include "proto/limits.h"
#include "proto/slice.h"

#define MQTT_TOPIC_INBOX "pipit/me/inbox"   /* every message */
#define MQTT_TOPIC_EVENTS "pipit/me/events" /* edit, recall, react, mark, conv, member */
#define MQTT_TOPIC_CTL "pipit/me/ctl"       /* typing, presence, bye */

/* A topic that a PUBLISH may carry: 1..LIMIT_MQTT_TOPIC_BYTES of UTF-8 (checked by the decoder), no
 * wildcard, no NUL, at most LIMIT_MQTT_TOPIC_LEVELS levels. [MQTT-4.7.1-1] [MQTT-4.7.3-1..3] */
bool mqtt_topic_valid(struct slice topic);
/* A filter that a SUBSCRIBE may carry: "#" alone in the last level, "+" alone in its level;
 * "$share/name/ filter" with a name without wildcards. [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.8.2-1]
 * [MQTT-4.8.2-2] */
bool mqtt_filter_valid(struct slice filter);

/* Splits "$share/name/filter"; false when it is no shared subscription. filter must be valid. */
bool mqtt_filter_shared(struct slice filter, struct slice *share_name, struct slice *inner);
/* Does the valid filter (without $share) match the valid topic? A leading wildcard does not match
 * topics that begin with "$" [MQTT-4.7.2-1]. Linear in the lengths. */
bool mqtt_filter_matches(struct slice filter, struct slice topic);

enum mqtt_chat_topic_kind {
    MQTT_CHAT_NONE,              /* an ordinary broker's topic */
    MQTT_CHAT_SEND_USER,         /* pipit/u/{user}/send */
    MQTT_CHAT_SEND_CONVERSATION, /* pipit/c/{conversation}/send */
    MQTT_CHAT_INBOX,             /* pipit/me/inbox: nobody may publish there */
    MQTT_CHAT_EVENTS,
    MQTT_CHAT_CTL,
    MQTT_CHAT_RESERVED /* everything else below pipit/ */
};
struct mqtt_chat_topic {
    enum mqtt_chat_topic_kind kind;
    char id[LIMIT_CONVERSATION_ID_BYTES + 1]; /* user id or conversation id; "" otherwise */
};
/* Classifies a valid topic. Accepts "bob" and "u_bob", "family" and "c_family". ERR_INVALID: the
 * name in a send topic cannot be a user or conversation. *chat is untouched on failure. */
enum err mqtt_chat_topic_parse(struct slice topic, struct mqtt_chat_topic *chat) MUST_CHECK;

/* Bits for the topics that the server itself publishes to a client. */
enum mqtt_chat_feed { MQTT_FEED_INBOX = 1, MQTT_FEED_EVENTS = 2, MQTT_FEED_CTL = 4 };
/* Which of them a valid filter (without $share) subscribes to: "pipit/me/+", "pipit/#", "#" give
 * all. */
unsigned mqtt_filter_feeds(struct slice filter);

#endif
