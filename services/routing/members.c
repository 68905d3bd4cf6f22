/* members: I4's supply line.
 *
 * Storage publishes each change of members after it is on disk. Every routing instance follows
 * every storage instance, updates its cache, and passes the change on, whether the conversation is
 * cached here or not: endpoints get it from each routing instance and order it by members_version.
 * Users who were just added have no endpoint that cares about the conversation yet, so the
 * endpoints of their sessions get it too.
 *
 * A gap, a restarted publisher, silence or a lost connection means that changes may be missed: the
 * instance may have died between a commit and its publication. Everything cached is distrusted
 * (loaded again at its next use) and endpoints are told to load afresh; a write that was still on
 * its way to the database then is covered by the second time, when the stream falls silent or a new
 * life begins. While a stream is not heard, cached members are trusted for one second after
 * loading, no longer. And whatever the streams do, each append's answer carries the version that
 * was in force in its transaction. */
#include "services/routing/members.h"

#include "common/log.h"
#include "common/mem.h"
#include "services/routing/conversation.h"
#include "services/routing/directory.h"
#include "services/routing/fanout.h"

#define FOLLOWED_MAX DISCOVERY_ADDRESSES_MAX
#define LIVE_AGE_US 2000000u /* looked at each second */

struct followed {
    struct routing *routing;
    struct rpc_peer *peer; /* NULL = free */
    struct stream_subscriber *stream;
    uint64_t lost_us; /* when its connection was lost last: what was heard before is no news */
};
struct members {
    bool live;
    uint64_t checked_us; /* when `live` was found out */
    struct followed followed[FOLLOWED_MAX];
};

enum err members_create(struct routing *routing, struct members **out) {
    struct members *members = mem_zalloc(1, sizeof *members);
    if (members == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < FOLLOWED_MAX; i++) {
        members->followed[i].routing = routing;
    }
    *out = members;
    return ERR_OK;
}

void members_destroy(struct members **members) {
    if (*members == NULL) {
        return;
    }
    for (size_t i = 0; i < FOLLOWED_MAX; i++) {
        stream_subscriber_destroy(&(*members)->followed[i].stream);
    }
    mem_free(*members);
    *members = NULL;
}

/* An old answer is none: this process may have been frozen since. */
bool members_live(const struct routing *routing) {
    const struct members *members = routing->members;
    return members->live && loop_now_us(routing->loop) - members->checked_us < LIVE_AGE_US;
}

static bool all_live(const struct members *members) {
    size_t count = 0;
    for (size_t i = 0; i < FOLLOWED_MAX; i++) {
        const struct followed *followed = &members->followed[i];
        if (followed->stream != NULL) {
            count++;
            if (!stream_subscriber_live(followed->stream) ||
                stream_subscriber_heard_us(followed->stream) <= followed->lost_us) {
                return false;
            }
        }
    }
    return count > 0;
}

void members_tick(struct routing *routing) {
    routing->members->live = all_live(routing->members);
    routing->members->checked_us = loop_now_us(routing->loop);
}

/* --- what the streams bring */

static void on_change(const uint8_t *payload, size_t bytes, void *user) {
    struct followed *followed = user;
    struct routing *routing = followed->routing;
    Pipit__MembersChanged *change = NULL;
    if (ENVELOPE_UNPACK(MEMBERS_CHANGED, payload, bytes, &routing->turn, &change) != ERR_OK) {
        members_uncertain(routing); /* a change we cannot read is a change we missed */
        return;
    }
    conversation_members_changed(routing, change);
    members_publish(routing, change);
}

static void on_trouble(enum stream_trouble trouble, uint64_t boot_id, void *user) {
    static const char *const names[] = {"gap", "new_boot", "silent"};
    struct followed *followed = user;
    struct routing *routing = followed->routing;
    log_event(LOG_INFO, "membership stream interrupted; members are loaded afresh",
              F_TEXT("trouble", names[trouble]),
              F_TEXT("storage", followed->peer != NULL ? followed->peer->address : ""));
    if (trouble == STREAM_SILENT && boot_id != 0 && followed->peer != NULL) {
        rpc_peer_silent(routing->storage, followed->peer);
    }
    members_uncertain(routing);
    members_tick(routing);
}

void members_lost(struct routing *routing, const struct rpc_peer *peer) {
    for (size_t i = 0; i < FOLLOWED_MAX; i++) {
        struct followed *followed = &routing->members->followed[i];
        if (followed->peer == peer) {
            followed->lost_us = loop_now_us(routing->loop);
            members_uncertain(routing);
        }
    }
    members_tick(routing);
}

enum err members_follow(struct routing *routing, struct rpc_peer *peer) {
    struct followed *free_one = NULL;
    for (size_t i = 0; i < FOLLOWED_MAX; i++) {
        struct followed *followed = &routing->members->followed[i];
        if (followed->peer == peer) {
            return ERR_OK;
        }
        if (followed->peer == NULL && free_one == NULL) {
            free_one = followed;
        }
    }
    if (free_one == NULL) {
        return ERR_FULL;
    }
    char url[BUS_URL_BYTES];
    enum err error = bus_url_derive(peer->address, BUS_URL_PUB, url);
    if (error == ERR_OK) {
        error = stream_subscriber_create(routing->loop, routing->bus, url, STREAM_TOPIC_ALL,
                                         on_change, on_trouble, free_one, &free_one->stream);
    }
    if (error == ERR_OK) {
        free_one->peer = peer;
        peer->pulse = free_one->stream;
        free_one->lost_us = 0;
        routing->members->live = false; /* until it is heard */
    }
    return error;
}

void members_unfollow(struct routing *routing, struct rpc_peer *peer) {
    for (size_t i = 0; i < FOLLOWED_MAX; i++) {
        struct followed *followed = &routing->members->followed[i];
        if (followed->peer == peer) {
            peer->pulse = NULL;
            stream_subscriber_destroy(&followed->stream);
            followed->peer = NULL;
            members_uncertain(routing); /* its last changes may not have arrived */
        }
    }
    members_tick(routing);
}

/* --- what endpoints get */

void members_publish(struct routing *routing, const Pipit__MembersChanged *change) {
    struct endpoint_set to = {{0}};
    directory_interested(routing->directory, change->conversation, &to);
    for (size_t i = 0; i < change->n_changed; i++) {
        sessions_endpoints(directory_sessions(routing->directory), change->changed[i]->user, &to);
    }
    Pipit__Delivery delivery = PIPIT__DELIVERY__INIT;
    delivery.event_case = PIPIT__DELIVERY__EVENT_MEMBERS;
    delivery.members = (Pipit__MembersChanged *)change;
    delivery.members_version = change->members_version;
    fanout_event(routing, &delivery, &to);
}

void members_uncertain(struct routing *routing) {
    conversations_distrust(routing);
    metric_add(&routing_metrics.members_uncertain, 1);
    struct endpoint_set to = {{0}};
    directory_all(routing->directory, &to);
    Pipit__Delivery delivery = PIPIT__DELIVERY__INIT;
    delivery.event_case = PIPIT__DELIVERY__EVENT_MEMBERS_UNCERTAIN;
    delivery.members_uncertain = true;
    fanout_event(routing, &delivery, &to);
}
