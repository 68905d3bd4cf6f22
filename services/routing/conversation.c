/* conversation: the life of a cached conversation.
 *
 * Everything that happens to a conversation is decided by conversation_run, which looks at the
 * whole state and starts at most one call to storage. Whoever gets an answer stores what it learnt,
 * clears busy and runs it again; whoever hands out work sets busy. So one append at most is in
 * flight (design section 4), no wake-up is lost, and order within a conversation is the order of
 * its lists: inbox -> queue -> flight -> stored -> answered.
 *
 * head and published differ for a moment only: head is where the next message goes; published is
 * how far deliveries went out. A message that is on disk but whose append ended in doubt, or that
 * came through another instance that may be dead, lies between published and store_head; run
 * fetches that tail from history and delivers it before anything newer.
 *
 * Conversations in use are never evicted; idle ones go least recently used first. Absence is cached
 * too, for a second, so that a client with a wrong id does not cost a query per message.
 * Unknown outcomes put a conversation on the trouble list: it is reloaded every second until that
 * succeeds or TROUBLE_TRIES_MAX is reached, so that a message stored by a timed-out append is
 * delivered even when nobody sends again. */
#include "services/routing/conversation.h"

#include "common/contract.h"
#include "common/mem.h"
#include "services/routing/admit.h"
#include "services/routing/append.h"
#include "services/routing/copies.h"
#include "services/routing/doubt.h"
#include "services/routing/fanout.h"
#include "services/routing/members.h"
#include "services/routing/recent.h"
#include "services/routing/reload.h"
#include "services/routing/targets.h"
#include <string.h>

#define ABSENT_US 1000000u
#define UNTRUSTED_AGE_US 1000000u /* while a membership stream is silent; I4 allows 2 s */
#define TROUBLE_TRIES_MAX 30u

struct conversations {
    struct map map;
    struct list idle, trouble, starved;
    size_t members; /* entries in all member sets */
    uint64_t generation;
};

static bool match_conversation(const struct map_node *node, const void *key, size_t key_bytes) {
    const struct conversation *conversation = CONTAINER_OF(node, struct conversation, node);
    return strlen(conversation->id) == key_bytes && memcmp(conversation->id, key, key_bytes) == 0;
}

enum err conversations_create(struct routing *routing, struct conversations **out) {
    (void)routing; /* alike for all modules */
    struct conversations *all = mem_zalloc(1, sizeof *all);
    if (all == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = map_init(&all->map, 1024, match_conversation);
    if (error != ERR_OK) {
        mem_free(all);
        return error;
    }
    list_init(&all->idle);
    list_init(&all->trouble);
    list_init(&all->starved);
    *out = all;
    return ERR_OK;
}

static void count_members(struct conversations *all, const struct member_set *old,
                          const struct member_set *fresh) {
    all->members -= old != NULL ? old->count : 0;
    all->members += fresh != NULL ? fresh->count : 0;
    metric_set(&routing_metrics.members, (int64_t)all->members);
}

static void destroy_one(struct conversations *all, struct conversation *conversation) {
    count_members(all, conversation->members, NULL);
    member_set_destroy(&conversation->members);
    doubt_forget(conversation);
    map_remove(&all->map, &conversation->node);
    metric_set(&routing_metrics.conversations, (int64_t)all->map.count);
    turns_finish(&conversation->turns);
    mem_free(conversation);
}

void conversations_destroy(struct conversations **conversations) {
    struct conversations *all = *conversations;
    if (all == NULL) {
        return;
    }
    *conversations = NULL;
    struct list_node *node = NULL;
    while ((node = list_pop_front(&all->idle)) != NULL) {
        destroy_one(all, CONTAINER_OF(node, struct conversation, idle_node));
    }
    CONTRACT(all->map.count == 0);
    map_finish(&all->map);
    mem_free(all);
}

/* --- look-up and eviction */

struct conversation *conversation_find(struct routing *routing, const char *id) {
    struct map_node *node = map_find(&routing->conversations->map, id, strlen(id));
    return node != NULL ? CONTAINER_OF(node, struct conversation, node) : NULL;
}

void conversations_each(struct routing *routing,
                        bool (*fn)(struct conversation *conversation, void *user), void *user) {
    struct map_iter iter;
    struct map_node *node = map_iter_first(&routing->conversations->map, &iter);
    while (node != NULL && fn(CONTAINER_OF(node, struct conversation, node), user)) {
        node = map_iter_next(&routing->conversations->map, &iter);
    }
}

static bool evict_one(struct conversations *all) {
    struct list_node *node = list_pop_front(&all->idle);
    if (node == NULL) {
        return false;
    }
    struct conversation *conversation = CONTAINER_OF(node, struct conversation, idle_node);
    submits_keep_turns(conversation->routing, &conversation->turns);
    destroy_one(all, conversation);
    return true;
}

static struct conversation *make(struct routing *routing, const char *id) {
    struct conversations *all = routing->conversations;
    while (all->members > routing->settings->members_max && evict_one(all)) {
        routing_limit_hit(LIMIT_HIT_MEMBERS);
    }
    if (all->map.count >= routing->settings->conversations_max) {
        routing_limit_hit(LIMIT_HIT_CONVERSATIONS);
        if (!evict_one(all)) {
            return NULL;
        }
    }
    struct conversation *fresh = mem_zalloc(1, sizeof *fresh);
    if (fresh == NULL) {
        return NULL;
    }
    size_t bytes = strlen(id);
    CONTRACT(bytes < sizeof fresh->id);
    memcpy(fresh->id, id, bytes + 1);
    fresh->routing = routing;
    list_init(&fresh->inbox);
    list_init(&fresh->queue);
    list_init(&fresh->flight);
    list_init(&fresh->stored);
    list_init(&fresh->waiters);
    map_insert(&all->map, &fresh->node, id, bytes);
    list_push_back(&all->idle, &fresh->idle_node);
    metric_set(&routing_metrics.conversations, (int64_t)all->map.count);
    return fresh;
}

void conversation_used(struct conversation *conversation) {
    if (list_node_linked(&conversation->idle_node)) {
        struct list *idle = &conversation->routing->conversations->idle;
        list_remove(idle, &conversation->idle_node);
        list_push_back(idle, &conversation->idle_node);
    }
}

struct conversation *conversation_get(struct routing *routing, const char *id) {
    struct conversation *conversation = conversation_find(routing, id);
    if (conversation == NULL) {
        return make(routing, id);
    }
    conversation_used(conversation);
    return conversation;
}

static bool in_use(const struct conversation *conversation) {
    return conversation->busy != BUSY_NONE || conversation->pending_count > 0 ||
           conversation->waiters.count > 0 || list_node_linked(&conversation->ready_node) ||
           list_node_linked(&conversation->trouble_node) ||
           list_node_linked(&conversation->starved_node);
}

static void settle(struct conversation *conversation) {
    struct list *idle = &conversation->routing->conversations->idle;
    bool linked = list_node_linked(&conversation->idle_node);
    if (in_use(conversation) && linked) {
        list_remove(idle, &conversation->idle_node);
    } else if (!in_use(conversation) && !linked) {
        list_push_back(idle, &conversation->idle_node);
    }
}

/* --- freshness */

bool conversation_members_fresh(const struct conversation *conversation) {
    const struct routing *routing = conversation->routing;
    if (conversation->state != CONVERSATION_KNOWN ||
        conversation->members_generation != routing->conversations->generation ||
        conversation->members_version < conversation->members_seen) {
        return false;
    }
    return members_live(routing) ||
           loop_now_us(routing->loop) - conversation->loaded_us < UNTRUSTED_AGE_US;
}

static bool needs_load(const struct conversation *conversation) {
    if (conversation->state == CONVERSATION_ABSENT) {
        return loop_now_us(conversation->routing->loop) - conversation->loaded_us >= ABSENT_US;
    }
    return conversation->stale || !conversation_members_fresh(conversation);
}

void conversations_distrust(struct routing *routing) {
    routing->conversations->generation++;
}

uint64_t conversations_generation(const struct routing *routing) {
    return routing->conversations->generation;
}

void conversation_set_members(struct conversation *conversation, struct member_set *members) {
    struct conversations *all = conversation->routing->conversations;
    count_members(all, conversation->members, members);
    member_set_destroy(&conversation->members);
    conversation->members = members;
}

void conversation_members_changed(struct routing *routing, const Pipit__MembersChanged *change) {
    struct conversation *conversation = conversation_find(routing, change->conversation);
    if (conversation == NULL) {
        return;
    }
    if (change->members_version > conversation->members_seen) {
        conversation->members_seen = change->members_version;
    }
    if (conversation->state == CONVERSATION_ABSENT) {
        conversation->state = CONVERSATION_UNKNOWN;
    } else if (conversation->state == CONVERSATION_KNOWN &&
               change->members_version == conversation->members_version + 1 &&
               conversation->members_generation == routing->conversations->generation) {
        struct member_set *members = NULL;
        if (member_set_change(conversation->members, change->changed, change->n_changed,
                              &members) == ERR_OK) {
            conversation_set_members(conversation, members);
            conversation->members_version = change->members_version;
        } /* else: older than members_seen, so it is loaded before the next use */
    }
}

/* --- messages on the way */

void conversation_enqueue(struct conversation *conversation, struct pending *pending) {
    list_push_back(&conversation->inbox, &pending->node);
    conversation_run(conversation);
}

void conversation_wait(struct conversation *conversation, struct conversation_waiter *waiter) {
    list_push_back(&conversation->waiters, &waiter->node);
    conversation_run(conversation);
}

static void end_waiters(struct conversation *conversation, struct conversation *answer) {
    struct list_node *node = NULL;
    while ((node = list_pop_front(&conversation->waiters)) != NULL) {
        struct conversation_waiter *waiter = CONTAINER_OF(node, struct conversation_waiter, node);
        waiter->fn(waiter, answer);
    }
}

static void refuse_all(struct list *list, enum reason reason) {
    struct list_node *node = NULL;
    while ((node = list_pop_front(list)) != NULL) {
        submit_resolve(
            CONTAINER_OF(node, struct pending, node),
            &(struct submit_outcome){.reason = reason,
                                     .retry_ms = reason_retryable(reason) ? ADMIT_RETRY_MS : 0});
    }
}

static void resolve_stored(struct pending *pending) {
    submit_resolve(pending, &(struct submit_outcome){
                                .reason = REASON_OK, .seq = pending->seq, .ts_ms = pending->ts_ms});
}

void conversation_fail(struct conversation *conversation, enum reason reason) {
    struct list_node *node = NULL;
    while ((node = list_pop_front(&conversation->stored)) != NULL) {
        struct pending *pending = CONTAINER_OF(node, struct pending, node);
        if (pending->seq > conversation->store_head) {
            conversation->store_head = pending->seq;
        }
        resolve_stored(pending); /* it is on disk, whatever else failed */
        conversation_trouble(conversation);
    }
    end_waiters(conversation, NULL);
    append_unready(conversation);
    conversation->queue_bytes = 0;
    refuse_all(&conversation->queue, reason);
    refuse_all(&conversation->inbox, reason);
    settle(conversation);
}

void conversation_trouble(struct conversation *conversation) {
    if (!list_node_linked(&conversation->trouble_node)) {
        conversation->trouble_tries = 0;
        list_push_back(&conversation->routing->conversations->trouble, &conversation->trouble_node);
    }
}

static void end_trouble(struct conversation *conversation) {
    if (list_node_linked(&conversation->trouble_node)) {
        list_remove(&conversation->routing->conversations->trouble, &conversation->trouble_node);
    }
}

void conversation_starve(struct conversation *conversation) {
    if (!list_node_linked(&conversation->starved_node)) {
        list_push_back(&conversation->routing->conversations->starved, &conversation->starved_node);
    }
}

/* A conversation that starves again goes to the front: first come, first served. */
void conversations_resume(struct routing *routing) {
    struct list *starved = &routing->conversations->starved;
    size_t count = starved->count;
    for (size_t i = 0; i < count; i++) {
        struct list_node *node = list_pop_front(starved);
        struct conversation *conversation = CONTAINER_OF(node, struct conversation, starved_node);
        conversation_run(conversation);
        if (list_node_linked(node)) {
            list_remove(starved, node);
            list_push_front(starved, node);
            return;
        }
    }
}

void conversations_tick(struct routing *routing) {
    struct list *trouble = &routing->conversations->trouble;
    size_t count = trouble->count;
    for (size_t i = 0; i < count && trouble->count > 0; i++) {
        struct conversation *conversation =
            CONTAINER_OF(list_pop_front(trouble), struct conversation, trouble_node);
        if (conversation->trouble_tries++ < TROUBLE_TRIES_MAX) {
            list_push_back(trouble, &conversation->trouble_node);
        }
        conversation_run(conversation);
    }
}

/* --- delivering what is on disk */

static void publish_one(struct conversation *conversation, struct pending *pending) {
    struct routing *routing = conversation->routing;
    const Pipit__Submit *submit = pending->submit;
    Pipit__StoredMessage message = PIPIT__STORED_MESSAGE__INIT;
    append_fill_message(pending, &message);
    message.conversation = conversation->id;
    message.seq = pending->seq;
    fanout_message(routing, &message, conversation->members_version, submit->session);
    conversation->published = pending->seq;
    recent_ids_add(routing->recent, submit->id.data, conversation->id, submit->user, pending->seq,
                   pending->ts_ms);
    if (submit->maybe_copy) {
        copies_stored(conversation, submit->origin, &submit->id, submit->user, pending->seq);
    }
    targets_add(routing->targets, conversation->id, pending->seq, submit->user, submit->kind);
    resolve_stored(pending);
}

void conversation_publish_stored(struct conversation *conversation) {
    struct list_node *node = NULL;
    while ((node = list_first(&conversation->stored)) != NULL) {
        struct pending *pending = CONTAINER_OF(node, struct pending, node);
        if (pending->seq > conversation->published + 1) {
            if (pending->seq > conversation->store_head) {
                conversation->store_head = pending->seq; /* the tail brings it, in order */
            }
            return;
        }
        list_remove(&conversation->stored, node);
        if (pending->seq <= conversation->published) {
            resolve_stored(pending);
        } else {
            publish_one(conversation, pending);
        }
    }
}

/* --- deciding */

/* Refused like somebody else's conversation: an outsider could find out by the id, which is known
 * from two names, who talks with whom. */
static void run_absent(struct conversation *conversation) {
    end_waiters(conversation, NULL);
    append_unready(conversation);
    conversation->queue_bytes = 0;
    refuse_all(&conversation->queue, REASON_NOT_MEMBER);
    struct list_node *node = NULL;
    while ((node = list_first(&conversation->inbox)) != NULL && conversation->busy == BUSY_NONE) {
        struct pending *pending = CONTAINER_OF(node, struct pending, node);
        if (pending->submit->to_user[0] != '\0') {
            reload_create(conversation, pending);
            return;
        }
        list_remove(&conversation->inbox, node);
        submit_refuse(pending, REASON_NOT_MEMBER);
    }
}

static void run_admission(struct conversation *conversation) {
    struct list_node *node = NULL;
    while ((node = list_first(&conversation->inbox)) != NULL) {
        struct pending *pending = CONTAINER_OF(node, struct pending, node);
        list_remove(&conversation->inbox, node);
        enum admit_result result = admit_member(conversation, pending);
        if (result == ADMIT_WAIT) {
            list_push_front(&conversation->inbox, node);
            return;
        }
        if (result == ADMIT_QUEUE) {
            list_push_back(&conversation->queue, node);
            conversation->queue_bytes += pending->submit->body.len;
        }
    }
}

static void run_known(struct conversation *conversation) {
    bool idle = conversation->busy == BUSY_NONE;
    if (idle) {
        conversation_publish_stored(conversation);
        if (conversation->published < conversation->store_head) {
            reload_tail(conversation);
            return;
        }
        end_trouble(conversation);
    }
    end_waiters(conversation, conversation);
    run_admission(conversation);
    if (conversation->busy == BUSY_NONE && conversation->queue.count > 0 &&
        !needs_load(conversation)) {
        append_ready(conversation);
    }
}

static void run_once(struct conversation *conversation) {
    if (conversation->busy != BUSY_NONE && conversation->busy != BUSY_APPENDING) {
        return;
    }
    if (needs_load(conversation)) {
        if (conversation->busy == BUSY_NONE && in_use(conversation)) {
            append_unready(conversation);
            reload_start(conversation);
        }
    } else if (conversation->state == CONVERSATION_ABSENT) {
        run_absent(conversation);
        end_trouble(conversation);
    } else {
        run_known(conversation);
        if (needs_load(conversation) && conversation->busy == BUSY_NONE && in_use(conversation)) {
            append_unready(conversation);
            reload_start(conversation); /* admission asked for fresher members */
        }
    }
}

void conversation_run(struct conversation *conversation) {
    if (!conversation->routing->closing) {
        run_once(conversation);
    }
    settle(conversation);
}

void conversations_abort(struct routing *routing) {
    struct conversations *all = routing->conversations;
    struct map_iter iter;
    for (struct map_node *node = map_iter_first(&all->map, &iter); node != NULL;
         node = map_iter_next(&all->map, &iter)) {
        struct conversation *conversation = CONTAINER_OF(node, struct conversation, node);
        conversation_fail(conversation, REASON_DRAIN);
        end_trouble(conversation);
        if (list_node_linked(&conversation->starved_node)) {
            list_remove(&all->starved, &conversation->starved_node);
        }
        settle(conversation);
    }
}
