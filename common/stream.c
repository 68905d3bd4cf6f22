/* stream: publications whose loss is noticed. nng drops silently when a subscriber is slow and when
 * a connection breaks, so each topic's messages carry a number, and a heartbeat repeats the last
 * one twice a second: a subscriber compares each frame with the number it expects and tells its
 * owner of the difference before it delivers. Whatever is told is repaired by asking (REQ); nothing
 * is sent again here.
 *
 * The numbers live in the publisher's memory; boot_id tells one publisher's life from the next. A
 * number that is not the successor is a gap in either direction, so a publisher that went wrong is
 * noticed too. Silence is three missed heartbeats: the subscriber cannot tell a dead publisher from
 * a dead connection (it never writes, so TCP finds no fault), therefore it dials afresh.
 *
 * nng sends every publication to every subscriber, which drops what is not for it, and each costs
 * either side several wake-ups; so the frames of one turn travel as one publication, and a
 * subscriber picks its own out of it.
 *
 * Steady state allocates nothing here: topics live in a bounded map, the bundle's buffer stays. */
#include "common/stream.h"

#include "common/buf.h"
#include "common/contract.h"
#include "common/id.h"
#include "common/map.h"
#include "common/mem.h"

#include <string.h>

#define FRAME_HEAD_BYTES 24u
#define TOPIC_BYTES 8u
#define PART_HEAD_BYTES 4u
/* A larger frame travels alone. Below the lowest message_bytes_max. */
#define BUNDLE_BYTES_MAX (60u * 1024u)
#define OWN_DELAY_US 500000u /* a timer that is later shows that this process did not run */

struct topic {
    struct map_node node;
    uint64_t name;
    uint64_t seq; /* last used */
};

struct stream_publisher {
    struct loop *loop;
    struct bus_publisher *bus;
    uint64_t boot_id;
    struct topic everybody; /* topic 0, not in the map */
    struct map topics;
    size_t topics_max;
    uint64_t closed_seq_max; /* of closed topics: a topic starts here */
    struct loop_timer heartbeat;
    struct buf bundle; /* parts of this turn */
    size_t parts;
    enum err early_error; /* of a bundle that left before the turn's end */
    struct loop_hook turn_end;
    bool hooked;
};

static void put_u64(uint8_t bytes[8], uint64_t value) {
    for (int i = 7; i >= 0; i--) {
        bytes[i] = (uint8_t)value;
        value >>= 8;
    }
}

static uint64_t get_u64(const uint8_t bytes[8]) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static void put_u32(uint8_t bytes[4], uint32_t value) {
    for (int i = 3; i >= 0; i--) {
        bytes[i] = (uint8_t)value;
        value >>= 8;
    }
}

static uint32_t get_u32(const uint8_t bytes[4]) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* --- publisher */

static bool topic_matches(const struct map_node *node, const void *key, size_t key_bytes) {
    (void)key_bytes; /* all keys are u64 */
    return memcmp(&CONTAINER_OF(node, struct topic, node)->name, key, sizeof(uint64_t)) == 0;
}

static struct topic *find_topic(struct stream_publisher *publisher, uint64_t name) {
    if (name == STREAM_TOPIC_ALL) {
        return &publisher->everybody;
    }
    struct map_node *node = map_find(&publisher->topics, &name, sizeof name);
    return node != NULL ? CONTAINER_OF(node, struct topic, node) : NULL;
}

static enum err send_bundle(struct stream_publisher *publisher) {
    const uint8_t *bytes = buf_data(&publisher->bundle);
    size_t count = buf_len(&publisher->bundle);
    enum err error = ERR_OK;
    if (publisher->parts == 1) {
        error = bus_publish(publisher->bus, bytes + PART_HEAD_BYTES, count - PART_HEAD_BYTES);
    } else if (publisher->parts > 1) {
        uint8_t head[TOPIC_BYTES];
        put_u64(head, STREAM_TOPIC_BUNDLE);
        error = bus_publish_parts(publisher->bus, head, sizeof head, bytes, count);
    }
    buf_clear(&publisher->bundle);
    publisher->parts = 0;
    return error;
}

/* In the middle of a turn. */
static void send_early(struct stream_publisher *publisher) {
    enum err error = send_bundle(publisher);
    publisher->early_error = publisher->early_error != ERR_OK ? publisher->early_error : error;
}

enum err stream_flush(struct stream_publisher *publisher) {
    enum err error = send_bundle(publisher);
    enum err early = publisher->early_error;
    publisher->early_error = ERR_OK;
    return early != ERR_OK ? early : error;
}

/* Loss is noticed by the numbers. */
static void on_turn_end(struct loop_hook *hook) {
    err_ignore(stream_flush(CONTAINER_OF(hook, struct stream_publisher, turn_end)));
}

static bool add_part(struct stream_publisher *publisher, const uint8_t head[FRAME_HEAD_BYTES],
                     const void *payload, size_t bytes) {
    size_t all = PART_HEAD_BYTES + FRAME_HEAD_BYTES + bytes;
    if (all > BUNDLE_BYTES_MAX - buf_len(&publisher->bundle)) {
        send_early(publisher);
    }
    uint8_t *room = NULL;
    if (all > BUNDLE_BYTES_MAX || buf_reserve(&publisher->bundle, all, &room) != ERR_OK) {
        return false;
    }
    put_u32(room, (uint32_t)(FRAME_HEAD_BYTES + bytes));
    memcpy(room + PART_HEAD_BYTES, head, FRAME_HEAD_BYTES);
    if (bytes > 0) {
        memcpy(room + PART_HEAD_BYTES + FRAME_HEAD_BYTES, payload, bytes);
    }
    buf_commit(&publisher->bundle, all);
    publisher->parts++;
    return true;
}

static enum err send_frame(struct stream_publisher *publisher, const struct topic *topic,
                           const void *payload, size_t bytes) {
    uint8_t head[FRAME_HEAD_BYTES];
    put_u64(head, topic->name);
    put_u64(head + 8, publisher->boot_id);
    put_u64(head + 16, topic->seq);
    if (topic->name != STREAM_TOPIC_ALL && add_part(publisher, head, payload, bytes)) {
        return ERR_OK;
    }
    send_early(publisher); /* behind what waits */
    return bus_publish_parts(publisher->bus, head, sizeof head, payload, bytes);
}

static void send_heartbeat(struct stream_publisher *publisher, const struct topic *topic) {
    (void)send_frame(publisher, topic, NULL, 0); /* out of memory: the next one is near */
}

static void on_heartbeat(struct loop_timer *timer) {
    struct stream_publisher *publisher = CONTAINER_OF(timer, struct stream_publisher, heartbeat);
    send_heartbeat(publisher, &publisher->everybody);
    struct map_iter iter;
    for (struct map_node *node = map_iter_first(&publisher->topics, &iter); node != NULL;
         node = map_iter_next(&publisher->topics, &iter)) {
        send_heartbeat(publisher, CONTAINER_OF(node, struct topic, node));
    }
    loop_timer_start(publisher->loop, timer, STREAM_HEARTBEAT_US, on_heartbeat);
}

enum err stream_publisher_create(struct loop *loop, struct bus *bus, const char *url,
                                 size_t topics_max, struct stream_publisher **out) {
    struct stream_publisher *publisher = mem_zalloc(1, sizeof *publisher);
    if (publisher == NULL) {
        return ERR_NO_MEMORY;
    }
    publisher->loop = loop;
    publisher->topics_max = topics_max;
    publisher->everybody.name = STREAM_TOPIC_ALL;
    do {
        publisher->boot_id = id_random_u64();
    } while (publisher->boot_id == 0);
    buf_init(&publisher->bundle, BUNDLE_BYTES_MAX);
    enum err error = map_init(&publisher->topics, 8, topic_matches);
    if (error != ERR_OK) {
        mem_free(publisher);
        return error;
    }
    error = bus_publisher_create(bus, url, &publisher->bus);
    if (error != ERR_OK) {
        stream_publisher_destroy(&publisher);
        return error;
    }
    loop_timer_start(loop, &publisher->heartbeat, STREAM_HEARTBEAT_US, on_heartbeat);
    loop_hook_add(loop, &publisher->turn_end, on_turn_end);
    publisher->hooked = true;
    *out = publisher;
    return ERR_OK;
}

void stream_publisher_destroy(struct stream_publisher **publisher) {
    struct stream_publisher *gone = *publisher;
    if (gone == NULL) {
        return;
    }
    *publisher = NULL;
    loop_timer_stop(gone->loop, &gone->heartbeat);
    if (gone->hooked) {
        err_ignore(stream_flush(gone));
        loop_hook_remove(gone->loop, &gone->turn_end);
    }
    bus_publisher_close(&gone->bus);
    buf_finish(&gone->bundle);
    struct map_iter iter;
    for (struct map_node *node = map_iter_first(&gone->topics, &iter); node != NULL;
         node = map_iter_next(&gone->topics, &iter)) {
        map_remove(&gone->topics, node);
        mem_free(CONTAINER_OF(node, struct topic, node));
    }
    map_finish(&gone->topics);
    mem_free(gone);
}

uint64_t stream_publisher_boot_id(const struct stream_publisher *publisher) {
    return publisher->boot_id;
}

enum err stream_topic_open(struct stream_publisher *publisher, uint64_t topic) {
    if (find_topic(publisher, topic) != NULL) {
        return ERR_OK;
    }
    if (publisher->topics.count >= publisher->topics_max) {
        return ERR_FULL;
    }
    struct topic *opened = mem_zalloc(1, sizeof *opened);
    if (opened == NULL) {
        return ERR_NO_MEMORY;
    }
    opened->name = topic;
    opened->seq = publisher->closed_seq_max;
    map_insert(&publisher->topics, &opened->node, &opened->name, sizeof opened->name);
    send_heartbeat(publisher, opened); /* first contact without waiting for the timer */
    return ERR_OK;
}

void stream_topic_close(struct stream_publisher *publisher, uint64_t topic) {
    struct topic *gone = find_topic(publisher, topic);
    if (gone == NULL || topic == STREAM_TOPIC_ALL) {
        return;
    }
    if (gone->seq > publisher->closed_seq_max) {
        publisher->closed_seq_max = gone->seq;
    }
    map_remove(&publisher->topics, &gone->node);
    mem_free(gone);
}

enum err stream_publish(struct stream_publisher *publisher, uint64_t topic, const void *payload,
                        size_t bytes) {
    if (bytes == 0) {
        return ERR_INVALID;
    }
    enum err error = stream_topic_open(publisher, topic);
    if (error != ERR_OK) {
        return error;
    }
    struct topic *found = find_topic(publisher, topic);
    found->seq++;
    return send_frame(publisher, found, payload, bytes);
}

/* --- subscriber */

struct stream_subscriber {
    struct loop *loop;
    struct bus_subscriber *bus;
    uint64_t topic;
    stream_message_fn on_message;
    stream_trouble_fn on_trouble;
    void *user;
    uint64_t boot_id; /* 0: never heard */
    uint64_t seq;     /* last seen */
    uint64_t heard_us;
    bool silent;
    bool *gone; /* set when a callback destroys the subscriber */
    struct loop_timer watch;
};

static void on_part(struct stream_subscriber *subscriber, const uint8_t *bytes, size_t count) {
    uint64_t boot_id = get_u64(bytes + 8);
    uint64_t seq = get_u64(bytes + 16);
    bool heartbeat = count == FRAME_HEAD_BYTES;
    uint64_t expected = heartbeat ? subscriber->seq : subscriber->seq + 1;
    bool new_boot = boot_id != subscriber->boot_id;
    bool gap = !new_boot && seq != expected;
    const bool *gone = subscriber->gone;
    subscriber->boot_id = boot_id;
    subscriber->seq = seq;
    subscriber->heard_us = loop_now_us(subscriber->loop);
    subscriber->silent = false;
    if (new_boot || gap) {
        subscriber->on_trouble(new_boot ? STREAM_NEW_BOOT : STREAM_GAP, boot_id, subscriber->user);
    }
    if (!*gone && !heartbeat) {
        subscriber->on_message(bytes + FRAME_HEAD_BYTES, count - FRAME_HEAD_BYTES,
                               subscriber->user);
    }
}

static void on_bundle(struct stream_subscriber *subscriber, const uint8_t *bytes, size_t count) {
    const bool *gone = subscriber->gone;
    while (!*gone && count >= PART_HEAD_BYTES + FRAME_HEAD_BYTES) {
        size_t part_bytes = get_u32(bytes);
        if (part_bytes < FRAME_HEAD_BYTES || part_bytes > count - PART_HEAD_BYTES) {
            return; /* not a bundle of ours; what is missing is noticed */
        }
        const uint8_t *part = bytes + PART_HEAD_BYTES;
        bytes = part + part_bytes;
        count -= PART_HEAD_BYTES + part_bytes;
        if (get_u64(part) == subscriber->topic) {
            on_part(subscriber, part, part_bytes);
        }
    }
}

static void on_frame(const uint8_t *bytes, size_t count, void *user) {
    struct stream_subscriber *subscriber = user;
    uint64_t topic = count >= FRAME_HEAD_BYTES ? get_u64(bytes) : STREAM_TOPIC_BUNDLE;
    bool gone = false;
    subscriber->gone = &gone;
    if (count >= FRAME_HEAD_BYTES && topic == subscriber->topic) {
        on_part(subscriber, bytes, count);
    } else if (count >= FRAME_HEAD_BYTES && topic == STREAM_TOPIC_BUNDLE) {
        on_bundle(subscriber, bytes + TOPIC_BYTES, count - TOPIC_BYTES);
    }
    if (!gone) {
        subscriber->gone = NULL;
    }
}

static void on_watch(struct loop_timer *timer) {
    struct stream_subscriber *subscriber = CONTAINER_OF(timer, struct stream_subscriber, watch);
    uint64_t now_us = loop_now_us(subscriber->loop);
    if (now_us - timer->due_us > OWN_DELAY_US) { /* what was sent meanwhile waits to be read */
        loop_timer_start(subscriber->loop, timer, STREAM_SILENCE_US, on_watch);
        return;
    }
    uint64_t quiet_us = now_us - subscriber->heard_us;
    if (quiet_us < STREAM_SILENCE_US) {
        loop_timer_start(subscriber->loop, timer, STREAM_SILENCE_US - quiet_us, on_watch);
        return;
    }
    bus_subscriber_redial(subscriber->bus);
    loop_timer_start(subscriber->loop, timer, STREAM_SILENCE_US, on_watch);
    if (!subscriber->silent) {
        subscriber->silent = true;
        subscriber->on_trouble(STREAM_SILENT, subscriber->boot_id, subscriber->user);
        /* Nothing follows: it may be gone. */
    }
}

enum err stream_subscriber_create(struct loop *loop, struct bus *bus, const char *url,
                                  uint64_t topic, stream_message_fn on_message,
                                  stream_trouble_fn on_trouble, void *user,
                                  struct stream_subscriber **out) {
    CONTRACT(on_message != NULL && on_trouble != NULL);
    struct stream_subscriber *subscriber = mem_zalloc(1, sizeof *subscriber);
    if (subscriber == NULL) {
        return ERR_NO_MEMORY;
    }
    subscriber->loop = loop;
    subscriber->topic = topic;
    subscriber->on_message = on_message;
    subscriber->on_trouble = on_trouble;
    subscriber->user = user;
    subscriber->heard_us = loop_now_us(loop);
    enum err error = bus_subscriber_create(bus, url, on_frame, subscriber, &subscriber->bus);
    if (error == ERR_OK) {
        uint8_t prefix[TOPIC_BYTES];
        put_u64(prefix, topic);
        error = bus_subscribe(subscriber->bus, prefix, sizeof prefix);
        put_u64(prefix, STREAM_TOPIC_BUNDLE);
        if (error == ERR_OK && topic != STREAM_TOPIC_ALL) {
            error = bus_subscribe(subscriber->bus, prefix, sizeof prefix);
        }
    }
    if (error != ERR_OK) {
        stream_subscriber_destroy(&subscriber);
        return error;
    }
    loop_timer_start(loop, &subscriber->watch, STREAM_SILENCE_US, on_watch);
    *out = subscriber;
    return ERR_OK;
}

void stream_subscriber_destroy(struct stream_subscriber **subscriber) {
    struct stream_subscriber *gone = *subscriber;
    if (gone == NULL) {
        return;
    }
    *subscriber = NULL;
    if (gone->gone != NULL) {
        *gone->gone = true;
    }
    loop_timer_stop(gone->loop, &gone->watch);
    bus_subscriber_close(&gone->bus);
    mem_free(gone);
}

bool stream_subscriber_live(const struct stream_subscriber *subscriber) {
    return subscriber->boot_id != 0 &&
           loop_now_us(subscriber->loop) - subscriber->heard_us < STREAM_SILENCE_US;
}

uint64_t stream_subscriber_heard_us(const struct stream_subscriber *subscriber) {
    return subscriber->heard_us;
}
