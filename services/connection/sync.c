/* sync: what the live stream cannot promise is made good by asking.
 *
 * Streams lose messages (nng drops, instances die), and interest begins later than the list of
 * conversations was read. In both cases the question is the same: does the store have more than we
 * have handed out? One request answers it for 1,024 conversations; those that are behind are
 * repaired (repair.c). The answer also tells the version of the members, so a lost change of
 * members is noticed as well.
 *
 * A conversation that becomes interesting is compared after routing has acknowledged the interest;
 * a comparison before that could miss what came in between. Trouble that comes while all
 * conversations are being compared begins another round behind this one. A failed comparison is
 * made again, for all: simpler than remembering which, and rare. */
#include "services/connection/sync.h"

#include "common/mem.h"
#include "services/connection/interest.h"
#include "services/connection/queries.h"
#include "services/connection/repair.h"
#include <string.h>

struct heads_call {
    size_t count;
    struct hub_conversation *conversations[HUB_HEADS_MAX]; /* pinned */
};
struct hub_sync {
    struct list fresh; /* conversations, lowest version first */
    struct hub_pool calls;
    struct list_node *next; /* of the round over all */
    bool round_due, in_round;
    uint64_t not_before_us;
};

enum err hub_sync_create(struct hub *hub) {
    struct hub_sync *sync = mem_zalloc(1, sizeof *sync);
    if (sync == NULL) {
        return ERR_NO_MEMORY;
    }
    list_init(&sync->fresh);
    hub_pool_init(&sync->calls, sizeof(struct heads_call), HUB_HEADS_FLIGHT_MAX);
    hub->sync = sync;
    return ERR_OK;
}

void hub_sync_destroy(struct hub *hub) {
    if (hub->sync != NULL) {
        hub_pool_finish(&hub->sync->calls);
        mem_free(hub->sync);
        hub->sync = NULL;
    }
}

/* --- heads */

void hub_sync_fresh(struct hub *hub, struct hub_conversation *conversation) {
    conversation->fresh_version = hub_interest_version(hub);
    conversation->fresh_since_us = hub_now_us(hub);
    list_push_back(&hub->sync->fresh, &conversation->fresh_node);
}

void hub_sync_forget(struct hub *hub, struct hub_conversation *conversation) {
    struct hub_sync *sync = hub->sync;
    if (list_node_linked(&conversation->fresh_node)) {
        list_remove(&sync->fresh, &conversation->fresh_node);
    }
    if (sync->next == &conversation->all_node) {
        sync->next = list_next(hub_conversations_all(hub), sync->next);
    }
}

void hub_sync_all(struct hub *hub) {
    hub->sync->round_due = true;
    hub_soon(hub);
}

static void compare(struct hub *hub, struct hub_conversation *conversation,
                    const Pipit__ConversationHead *told) {
    if (conversation->memberships.count == 0) {
        return;
    }
    if (told->members_version > conversation->members_version) {
        hub_repair_members(hub, conversation, told->members_version);
    }
    if (told->head > conversation->last) {
        hub_repair_gap(hub, conversation, told->head, HUB_GAP_HEAD);
    }
}

static void on_heads(struct hub *hub, const struct hub_query *query, enum err status,
                     const Pipit__HeadsReply *reply) {
    struct heads_call *call = query->object;
    bool complete = status == ERR_OK && reply->n_heads == call->count;
    for (size_t i = 0; i < call->count; i++) {
        if (complete) {
            compare(hub, call->conversations[i], reply->heads[i]);
        }
        hub_conversation_unpin(hub, call->conversations[i]);
    }
    hub_pool_give(&hub->sync->calls, call);
    if (!complete) {
        hub->sync->round_due = true;
        hub->sync->not_before_us = hub_now_us(hub) + HUB_RETRY_US;
    }
    hub_soon(hub);
}

static void take(struct heads_call *call, struct hub_conversation *conversation) {
    hub_conversation_pin(conversation);
    call->conversations[call->count++] = conversation;
}

/* Those whose interest is acknowledged, or was waited for long enough. */
static void take_fresh(struct hub *hub, struct heads_call *call) {
    struct list *fresh = &hub->sync->fresh;
    uint64_t confirmed = hub_interest_confirmed(hub), now_us = hub_now_us(hub);
    struct list_node *node = NULL;
    while (call->count < HUB_HEADS_MAX && (node = list_first(fresh)) != NULL) {
        struct hub_conversation *conversation =
            CONTAINER_OF(node, struct hub_conversation, fresh_node);
        if (conversation->fresh_version > confirmed &&
            now_us - conversation->fresh_since_us < HUB_ATTACH_US) {
            return;
        }
        list_remove(fresh, node);
        take(call, conversation);
    }
}

static void take_round(struct hub *hub, struct heads_call *call) {
    struct hub_sync *sync = hub->sync;
    if (sync->round_due && !sync->in_round && hub_now_us(hub) >= sync->not_before_us) {
        sync->round_due = false;
        sync->in_round = true;
        sync->next = list_first(hub_conversations_all(hub));
    }
    while (sync->in_round && call->count < HUB_HEADS_MAX) {
        if (sync->next == NULL) {
            sync->in_round = false;
            break;
        }
        take(call, CONTAINER_OF(sync->next, struct hub_conversation, all_node));
        sync->next = list_next(hub_conversations_all(hub), sync->next);
    }
}

static bool ask_next(struct hub *hub) {
    struct heads_call *call = hub_can_ask(hub) ? hub_pool_take(&hub->sync->calls) : NULL;
    if (call == NULL) {
        return false; /* an answer goes on, or the next tick */
    }
    take_fresh(hub, call);
    take_round(hub, call);
    if (call->count == 0) {
        hub_pool_give(&hub->sync->calls, call);
        return false;
    }
    const char *ids[HUB_HEADS_MAX];
    for (size_t i = 0; i < call->count; i++) {
        ids[i] = call->conversations[i]->id;
    }
    struct hub_query query = {.object = call, .answer.heads = on_heads};
    enum err error = hub_query_heads(hub, ids, call->count, &query);
    if (error != ERR_OK) {
        on_heads(hub, &query, error, NULL);
        return false;
    }
    return true;
}

void hub_sync_soon(struct hub *hub) {
    while (ask_next(hub)) {
    }
}

/* --- pages for clients */

static void on_page(struct hub *hub, const struct hub_query *query, enum err status,
                    const Pipit__HistoryReply *reply) {
    struct session *session = session_find(hub, query->session);
    if (session == NULL || session->state != SESSION_LIVE) {
        return;
    }
    struct frame_event *events = NULL;
    struct session_page page = {.reason = reason_from_err(status),
                                .conversation = query->conversation};
    if (status == ERR_CLOSED) {
        page.reason = REASON_UNAVAILABLE;
    }
    if (status == ERR_OK) {
        page.head = reply->head;
        page.has_more = reply->has_more;
        events = arena_alloc(&hub->turn, (reply->n_messages + 1) * sizeof *events);
        if (events == NULL) {
            page.reason = REASON_OVERLOAD;
        }
    }
    for (size_t i = 0; events != NULL && i < reply->n_messages; i++) {
        if (hub_event_of(reply->messages[i], &events[page.event_count])) {
            page.event_count++;
        }
    }
    page.events = events;
    session->ops->on_page(session, query->request, &page);
}

enum err hub_sync_page(struct hub *hub, struct session *session, uint64_t request,
                       const char *conversation, uint64_t after_seq, uint32_t limit) {
    if (strlen(conversation) > LIMIT_CONVERSATION_ID_BYTES) {
        return ERR_INVALID;
    }
    metric_add(&hub_metrics.syncs, 1);
    struct hub_history_ask ask = {
        .viewer = session->user->id,
        .after_seq = after_seq,
        .limit = limit == 0 || limit > HUB_HISTORY_LIMIT_MAX ? HUB_HISTORY_LIMIT_MAX : limit,
    };
    struct hub_query query = {
        .session = session->id, .request = request, .answer.history = on_page};
    memcpy(query.conversation, conversation, strlen(conversation) + 1);
    return hub_query_history(hub, &ask, &query);
}
