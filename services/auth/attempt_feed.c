/* attempt_feed: counts are collected for 20 ms and go out together: an attacker's thousand guesses
 * a second are fifty messages, and 20 ms is what one guess takes anyway. They are sent once and
 * never repeated; a peer that misses some allows a few attempts more (rate_limits.c says why that
 * is the right way round), and an instance that is cut off keeps its own limit.
 *
 * A message names its instance by a number drawn at start and counts its messages: an instance may
 * be listed under two addresses (IPv4 and IPv6 of one pod), and whatever comes twice must not count
 * twice. Our own messages are known by the same number. */
#include "services/auth/attempt_feed.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/discovery.h"
#include "common/id.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/accounts.pb-c.h"
#include "proto/envelope.h"
#include "services/auth/metrics.h"
#include <stdatomic.h>
#include <string.h>

#define COUNTS_MAX 256u /* in one message: about 7 KiB */
#define EVENT_BYTES_MAX (64u * 1024u)
#define ARENA_BLOCK_BYTES (16u * 1024u)
#define ARENA_CAP_BYTES (256u * 1024u)
#define PEERS_MAX DISCOVERY_ADDRESSES_MAX /* instances whose numbers are remembered */

struct peer {
    uint64_t instance; /* 0 = unused */
    uint64_t number;   /* of its last message */
};
struct attempt_feed {
    struct loop *loop;
    struct stream_publisher *publisher;
    struct rate_limits *limits;
    uint64_t instance, number;
    struct peer peers[PEERS_MAX];
    size_t next_peer; /* replaced next */
    struct loop_call woken;
    struct loop_timer timer;
    atomic_bool awake; /* woken or timer is on its way */
};

/* --- ours */

static enum err publish(struct attempt_feed *feed, const struct rate_count *counts, size_t count) {
    Pipit__AttemptCount rows[COUNTS_MAX];
    Pipit__AttemptCount *list[COUNTS_MAX];
    Pipit__AuthAttempts message = PIPIT__AUTH_ATTEMPTS__INIT;
    struct buf packed;
    for (size_t i = 0; i < count; i++) {
        pipit__attempt_count__init(&rows[i]);
        rows[i].key =
            (ProtobufCBinaryData){.data = (uint8_t *)counts[i].key, .len = RATE_KEY_BYTES};
        rows[i].of_login = counts[i].scope == RATE_LOGIN;
        rows[i].count = counts[i].count;
        list[i] = &rows[i];
    }
    message.instance = feed->instance;
    message.number = ++feed->number;
    message.counts = list;
    message.n_counts = count;
    buf_init(&packed, EVENT_BYTES_MAX);
    enum err error = envelope_pack(MESSAGE_AUTH_ATTEMPTS, &message.base, false, &packed);
    if (error == ERR_OK) {
        error = stream_publish(feed->publisher, ATTEMPT_FEED_TOPIC, buf_data(&packed),
                               buf_len(&packed));
    }
    buf_finish(&packed);
    return error;
}

static void on_timer(struct loop_timer *timer) {
    struct attempt_feed *feed = CONTAINER_OF(timer, struct attempt_feed, timer);
    struct rate_count counts[COUNTS_MAX];
    atomic_store(&feed->awake, false); /* before looking: what comes later wakes again */
    size_t count = rate_limits_untold(feed->limits, counts, COUNTS_MAX);
    if (count == 0) {
        return;
    }
    if (publish(feed, counts, count) == ERR_OK) {
        metric_add(&auth_metrics.counts_told, count);
    } /* else the others allow a little more */
    if (count == COUNTS_MAX) {
        attempt_feed_wake(feed);
    }
}

static void on_woken(struct loop_call *call) {
    struct attempt_feed *feed = CONTAINER_OF(call, struct attempt_feed, woken);
    loop_timer_start(feed->loop, &feed->timer, ATTEMPT_FEED_DELAY_US, on_timer);
}

void attempt_feed_wake(struct attempt_feed *feed) {
    if (!atomic_exchange(&feed->awake, true)) {
        loop_post_call(feed->loop, &feed->woken, on_woken);
    }
}

/* --- the others' */

/* True when this message was not seen yet; remembers it. */
static bool is_new(struct attempt_feed *feed, uint64_t instance, uint64_t number) {
    for (size_t i = 0; i < PEERS_MAX; i++) {
        struct peer *peer = &feed->peers[i];
        if (peer->instance == instance) {
            bool later = number > peer->number;
            peer->number = later ? number : peer->number;
            return later;
        }
    }
    feed->peers[feed->next_peer] = (struct peer){instance, number};
    feed->next_peer = (feed->next_peer + 1) % PEERS_MAX;
    return true;
}

static void add(struct attempt_feed *feed, const Pipit__AttemptCount *row, uint64_t now_us) {
    struct rate_count count = {.scope = row->of_login ? RATE_LOGIN : RATE_ADDRESS,
                               .count = row->count};
    if (row->key.len == RATE_KEY_BYTES) { /* else a later version's: not ours to count */
        memcpy(count.key, row->key.data, RATE_KEY_BYTES);
        rate_limits_add(feed->limits, &count, now_us);
    }
}

static void on_message(const uint8_t *payload, size_t bytes, void *user) {
    static struct log_limit limit;
    struct attempt_feed *feed = user;
    Pipit__AuthAttempts *message = NULL;
    struct arena arena;
    arena_init(&arena, ARENA_BLOCK_BYTES, ARENA_CAP_BYTES);
    enum err error = ENVELOPE_UNPACK(AUTH_ATTEMPTS, payload, bytes, &arena, &message);
    if (error != ERR_OK) {
        if (log_allowed(&limit, 1)) {
            log_event(LOG_WARN, "another instance's failed attempts are not counted here",
                      F_ERR(error));
        }
    } else if (message->instance != 0 && message->instance != feed->instance &&
               is_new(feed, message->instance, message->number)) {
        uint64_t now_us = clock_mono_us();
        for (size_t i = 0; i < message->n_counts; i++) {
            add(feed, message->counts[i], now_us);
        }
        metric_add(&auth_metrics.counts_heard, message->n_counts);
    }
    arena_finish(&arena);
}

static void on_trouble(enum stream_trouble trouble, uint64_t boot_id, void *user) {
    (void)trouble, (void)boot_id, (void)user; /* what was missed is not made up for */
}

struct instance_topic attempt_feed_topic(struct attempt_feed *feed) {
    return (struct instance_topic){.topic = ATTEMPT_FEED_TOPIC,
                                   .on_message = on_message,
                                   .on_trouble = on_trouble,
                                   .user = feed};
}

/* --- life */

enum err attempt_feed_create(struct loop *loop, struct stream_publisher *publisher,
                             struct rate_limits *limits, struct attempt_feed **out) {
    enum err error = stream_topic_open(publisher, ATTEMPT_FEED_TOPIC);
    if (error != ERR_OK) {
        return error;
    }
    struct attempt_feed *feed = mem_zalloc(1, sizeof *feed);
    if (feed == NULL) {
        return ERR_NO_MEMORY;
    }
    feed->loop = loop;
    feed->publisher = publisher;
    feed->limits = limits;
    do {
        feed->instance = id_random_u64();
    } while (feed->instance == 0);
    *out = feed;
    return ERR_OK;
}

void attempt_feed_destroy(struct attempt_feed **feed) {
    if (*feed == NULL) {
        return;
    }
    loop_call_cancel((*feed)->loop, &(*feed)->woken);
    loop_timer_stop((*feed)->loop, &(*feed)->timer);
    mem_free(*feed);
    *feed = NULL;
}
