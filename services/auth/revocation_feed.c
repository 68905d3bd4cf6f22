/* revocation_feed: durable first, then told. A revocation is in storage before it is published, so
 * a snapshot asked for after a trouble contains whatever the trouble may have swallowed; while one
 * is on its way, further troubles only mark that another is due. This instance reads its own stream
 * as well: one path for all, and merging twice is harmless. */
#include "services/auth/revocation_feed.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/envelope.h"
#include <stdatomic.h>
#include <string.h>

#define FEED_RETRY_US 500000u
#define FEED_ARENA_BLOCK_BYTES (16u * 1024u)
#define FEED_ARENA_CAP_BYTES (2u * ENVELOPE_RAW_BYTES_MAX)
#define FEED_EVENT_BYTES_MAX (64u * 1024u)
#define FEED_EXPIRE_US 60000000u

struct revocation_feed {
    struct revocation_feed_config config;
    bool asking, due; /* a snapshot is on its way; another is needed */
    struct loop_timer retry, expire;
    atomic_bool loaded;
};
struct revocation_announcement {
    struct loop_call call;
    struct revocation_feed *feed;
    struct revocation what;
    bool keys_changed;
};

static void refresh(struct revocation_feed *feed);

/* --- merging */

static bool copy_id(char *out, size_t out_bytes, const char *text) {
    size_t length = strlen(text);
    if (length >= out_bytes) {
        return false;
    }
    memcpy(out, text, length + 1);
    return true;
}

static void merge(struct revocation_feed *feed, Pipit__Revocation *const *list, size_t count) {
    uint64_t now_ms = clock_wall_ms();
    for (size_t i = 0; i < count; i++) {
        const Pipit__Revocation *from = list[i];
        struct revocation what = {
            .before_ms = from->before_ms, .until_ms = from->until_ms, .disabled = from->disabled};
        if (copy_id(what.user, sizeof what.user, from->user) &&
            copy_id(what.device, sizeof what.device, from->device) &&
            copy_id(what.except, sizeof what.except, from->except_device)) {
            revocations_add(feed->config.revocations, &what, now_ms);
        } /* else no token can carry such an id */
    }
}

/* --- snapshots from storage */

struct question {
    struct revocation_feed *feed;
    revocation_feed_fn done;
    void *user;
};

static enum err unpack_snapshot(enum err status, const uint8_t *body, size_t body_bytes,
                                struct arena *arena, Pipit__RevocationsReply **reply) {
    if (status == ERR_OK) {
        status = ENVELOPE_UNPACK_REPLY(REVOCATIONS_REPLY, body, body_bytes, arena, reply);
    }
    if (status == ERR_OK && (*reply)->error != 0) {
        status = ERR_UNAVAILABLE;
    }
    return status;
}

static void on_snapshot(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct question *question = user;
    Pipit__RevocationsReply *reply = NULL;
    struct arena arena;
    arena_init(&arena, FEED_ARENA_BLOCK_BYTES, FEED_ARENA_CAP_BYTES);
    enum err error = unpack_snapshot(status, body, body_bytes, &arena, &reply);
    if (error == ERR_OK) {
        merge(question->feed, reply->revocations, reply->n_revocations);
        if (!atomic_exchange(&question->feed->loaded, true)) {
            question->feed->config.on_loaded(question->feed->config.user);
        }
    }
    question->done(error, error == ERR_OK ? reply : NULL, question->user);
    arena_finish(&arena);
    mem_free(question);
}

void revocation_feed_ask(struct revocation_feed *feed, revocation_feed_fn done, void *user) {
    struct question *question = mem_zalloc(1, sizeof *question);
    Pipit__RevocationsRequest request = PIPIT__REVOCATIONS_REQUEST__INIT;
    struct buf packed;
    if (question == NULL) {
        done(ERR_NO_MEMORY, NULL, user);
        return;
    }
    *question = (struct question){feed, done, user};
    request.now_ms = clock_wall_ms();
    buf_init(&packed, 256);
    enum err error = envelope_pack(MESSAGE_REVOCATIONS_REQUEST, &request.base, false, &packed);
    if (error == ERR_OK) {
        error = rpc_call(feed->config.storage, buf_data(&packed), buf_len(&packed), on_snapshot,
                         question);
    }
    buf_finish(&packed);
    if (error != ERR_OK) {
        mem_free(question);
        done(error, NULL, user);
    }
}

static void on_retry(struct loop_timer *timer) {
    refresh(CONTAINER_OF(timer, struct revocation_feed, retry));
}

static void on_refreshed(enum err error, const Pipit__RevocationsReply *reply, void *user) {
    static struct log_limit limit;
    struct revocation_feed *feed = user;
    feed->asking = false;
    if (error != ERR_OK) {
        if (log_allowed(&limit, 1)) {
            /* At the start storage may come later than we; readiness shows that. */
            log_event(revocation_feed_loaded(feed) ? LOG_WARN : LOG_DEBUG,
                      "revocations could not be loaded; trying again", F_ERR(error));
        }
        loop_timer_start(feed->config.loop, &feed->retry, FEED_RETRY_US, on_retry);
    } else if (feed->due) {
        refresh(feed);
    } else {
        log_event(LOG_DEBUG, "revocations loaded", F_UINT("count", reply->n_revocations));
    }
}

static void refresh(struct revocation_feed *feed) {
    feed->due = feed->asking;
    if (!feed->asking) {
        feed->asking = true;
        loop_timer_stop(feed->config.loop, &feed->retry);
        revocation_feed_ask(feed, on_refreshed, feed);
    }
}

/* --- the streams of all auth instances */

static void on_event(const uint8_t *payload, size_t bytes, void *user) {
    struct revocation_feed *feed = user;
    Pipit__AuthEvent *event = NULL;
    struct arena arena;
    arena_init(&arena, FEED_ARENA_BLOCK_BYTES, FEED_ARENA_CAP_BYTES);
    if (ENVELOPE_UNPACK(AUTH_EVENT, payload, bytes, &arena, &event) == ERR_OK) {
        merge(feed, event->revocations, event->n_revocations);
        if (event->keys_changed) {
            feed->config.on_keys_changed(feed->config.user);
        }
    } else {
        refresh(feed); /* whatever it said, storage knows */
    }
    arena_finish(&arena);
}

static void on_trouble(enum stream_trouble trouble, uint64_t boot_id, void *user) {
    struct revocation_feed *feed = user;
    (void)boot_id;
    log_event(LOG_DEBUG, "revocation stream in doubt", F_INT("trouble", trouble));
    refresh(feed);
    feed->config.on_keys_changed(feed->config.user);
}

/* An instance that just came may have revoked something before. */
static void on_changed(void *user) {
    refresh(user);
}

struct instance_topic revocation_feed_topic(struct revocation_feed *feed) {
    return (struct instance_topic){.topic = STREAM_TOPIC_ALL,
                                   .on_message = on_event,
                                   .on_trouble = on_trouble,
                                   .on_changed = on_changed,
                                   .user = feed};
}

/* --- announcements */

struct revocation_announcement *revocation_announcement_make(struct revocation_feed *feed) {
    struct revocation_announcement *made = mem_zalloc(1, sizeof *made);
    if (made != NULL) {
        made->feed = feed;
    }
    return made;
}

void revocation_announcement_drop(struct revocation_announcement **announcement) {
    mem_free(*announcement);
    *announcement = NULL;
}

static enum err publish(const struct revocation_announcement *announcement) {
    struct revocation what = announcement->what;
    Pipit__Revocation revocation = PIPIT__REVOCATION__INIT;
    Pipit__Revocation *list[] = {&revocation};
    Pipit__AuthEvent event = PIPIT__AUTH_EVENT__INIT;
    struct buf packed;
    revocation.user = what.user;
    revocation.device = what.device;
    revocation.except_device = what.except;
    revocation.before_ms = what.before_ms;
    revocation.until_ms = what.until_ms;
    revocation.disabled = what.disabled;
    event.revocations = list;
    event.n_revocations = what.user[0] != '\0' ? 1 : 0;
    event.keys_changed = announcement->keys_changed;
    buf_init(&packed, FEED_EVENT_BYTES_MAX);
    enum err error = envelope_pack(MESSAGE_AUTH_EVENT, &event.base, false, &packed);
    if (error == ERR_OK) {
        error = stream_publish(announcement->feed->config.publisher, STREAM_TOPIC_ALL,
                               buf_data(&packed), buf_len(&packed));
    }
    buf_finish(&packed);
    return error;
}

static void run_announcement(struct loop_call *call) {
    struct revocation_announcement *announcement =
        CONTAINER_OF(call, struct revocation_announcement, call);
    struct stream_publisher *publisher = announcement->feed->config.publisher;
    enum err error = publish(announcement);
    if (error != ERR_OK) {
        /* What nobody can read makes everybody ask; should it not go out either, its number is used
         * up and they notice the gap. */
        enum err asked = stream_publish(publisher, STREAM_TOPIC_ALL, "?", 1);
        log_event(LOG_WARN, "a revocation was not published; subscribers will ask", F_ERR(error),
                  F_INT("hint", asked));
    }
    mem_free(announcement);
}

void revocation_announce(struct revocation_announcement **announcement,
                         const struct revocation *revocation) {
    struct revocation_announcement *taken = *announcement;
    *announcement = NULL;
    taken->what = *revocation;
    revocations_add(taken->feed->config.revocations, revocation, clock_wall_ms());
    loop_post_call(taken->feed->config.loop, &taken->call, run_announcement);
}

void revocation_announce_keys(struct revocation_announcement **announcement) {
    struct revocation_announcement *taken = *announcement;
    *announcement = NULL;
    taken->keys_changed = true;
    loop_post_call(taken->feed->config.loop, &taken->call, run_announcement);
}

/* --- life */

static void on_expire(struct loop_timer *timer) {
    struct revocation_feed *feed = CONTAINER_OF(timer, struct revocation_feed, expire);
    revocations_expire(feed->config.revocations, clock_wall_ms());
    loop_timer_start(feed->config.loop, &feed->expire, FEED_EXPIRE_US, on_expire);
}

enum err revocation_feed_create(const struct revocation_feed_config *config,
                                struct revocation_feed **out) {
    struct revocation_feed *feed = mem_zalloc(1, sizeof *feed);
    if (feed == NULL) {
        return ERR_NO_MEMORY;
    }
    feed->config = *config;
    loop_timer_start(config->loop, &feed->expire, FEED_EXPIRE_US, on_expire);
    refresh(feed);
    *out = feed;
    return ERR_OK;
}

void revocation_feed_destroy(struct revocation_feed **feed) {
    struct revocation_feed *old = *feed;
    if (old == NULL) {
        return;
    }
    loop_timer_stop(old->config.loop, &old->retry);
    loop_timer_stop(old->config.loop, &old->expire);
    mem_free(old);
    *feed = NULL;
}

bool revocation_feed_loaded(const struct revocation_feed *feed) {
    return atomic_load(&feed->loaded);
}
