/* repair: catching up one conversation.
 *
 * While a conversation is repaired its deliveries are not kept: they only raise the target, and the
 * store gives them again, in order. That bounds memory whatever the stream does. Steps, each
 * decided afresh from the conversation's numbers: members too old -> ask for them; behind the
 * target -> read a page of history; page read -> ask for the head and the version of the members,
 * which is now at least as new as the newest message of the page; members too old after all -> ask;
 * hand out; again. Asking for the version after the page is what keeps a message from a member who
 * was removed just before it (I4): history itself does not say who was a member.
 *
 * A page's messages may include the own messages of sessions here; live deliveries name the session
 * to skip, here the ids of what was sent lately tell it (sent.h).
 *
 * Failures wait HUB_RETRY_US and begin anew; the conversation stays silent meanwhile rather than
 * going on with a hole. */
#include "services/connection/repair.h"

#include "common/log.h"
#include "common/mem.h"
#include "services/connection/egress.h"
#include "services/connection/ingress.h"
#include "services/connection/members.h"
#include "services/connection/queries.h"
#include <string.h>

#define REPAIR_ARENA_BLOCK (32u * 1024u)

struct running {
    struct hub_conversation *conversation; /* NULL: free */
    struct arena arena;
    const Pipit__HistoryReply *page; /* in the arena; checked and not yet handed out */
};
struct hub_repairs {
    struct list queued, waiting; /* conversation.repair_node; waiting: the longest first */
    struct running running[HUB_REPAIRS_RUNNING_MAX];
};

enum err hub_repairs_create(struct hub *hub) {
    struct hub_repairs *repairs = mem_zalloc(1, sizeof *repairs);
    if (repairs == NULL) {
        return ERR_NO_MEMORY;
    }
    list_init(&repairs->queued);
    list_init(&repairs->waiting);
    for (size_t i = 0; i < HUB_REPAIRS_RUNNING_MAX; i++) {
        arena_init(&repairs->running[i].arena, REPAIR_ARENA_BLOCK,
                   4u * hub->settings->bus.message_bytes_max);
    }
    hub->repairs = repairs;
    return ERR_OK;
}

void hub_repairs_destroy(struct hub *hub) {
    struct hub_repairs *repairs = hub->repairs;
    if (repairs == NULL) {
        return;
    }
    for (size_t i = 0; i < HUB_REPAIRS_RUNNING_MAX; i++) {
        arena_finish(&repairs->running[i].arena);
    }
    mem_free(repairs);
    hub->repairs = NULL;
}

static void pump(struct hub *hub);

static struct running *running_of(struct hub *hub, const struct hub_conversation *conversation) {
    for (size_t i = 0; i < HUB_REPAIRS_RUNNING_MAX; i++) {
        if (hub->repairs->running[i].conversation == conversation) {
            return &hub->repairs->running[i];
        }
    }
    return NULL;
}

static void request(struct hub *hub, struct hub_conversation *conversation) {
    if (conversation->repair == REPAIR_NONE) {
        hub_conversation_pin(conversation);
        conversation->repair = REPAIR_QUEUED;
        list_push_back(&hub->repairs->queued, &conversation->repair_node);
        hub_soon(hub);
    }
}

void hub_repair_gap(struct hub *hub, struct hub_conversation *conversation, uint64_t seq,
                    enum hub_gap cause) {
    if (conversation->repair == REPAIR_NONE) {
        metric_add(&hub_metrics.gaps[cause], 1);
    }
    if (seq > conversation->target) {
        conversation->target = seq;
    }
    request(hub, conversation);
}

void hub_repair_members(struct hub *hub, struct hub_conversation *conversation, uint64_t version) {
    if (version > conversation->needed_version) {
        conversation->needed_version = version;
    }
    if (conversation->needed_version > conversation->members_version) {
        request(hub, conversation);
    }
}

void hub_repair_forget(struct hub *hub, struct hub_conversation *conversation) {
    struct hub_repairs *repairs = hub->repairs;
    if (conversation->repair == REPAIR_QUEUED || conversation->repair == REPAIR_WAITING) {
        bool queued = conversation->repair == REPAIR_QUEUED;
        list_remove(queued ? &repairs->queued : &repairs->waiting, &conversation->repair_node);
        conversation->repair = REPAIR_NONE;
        hub_conversation_unpin(hub, conversation);
    }
    /* REPAIR_RUNNING: the answer finds no members and ends it. */
}

/* --- one repair */

static struct hub_conversation *release(struct running *running) {
    struct hub_conversation *conversation = running->conversation;
    running->conversation = NULL;
    running->page = NULL;
    arena_reset(&running->arena);
    return conversation;
}

static void finish(struct hub *hub, struct running *running) {
    struct hub_conversation *conversation = release(running);
    conversation->repair = REPAIR_NONE;
    hub_conversation_unpin(hub, conversation);
    hub_soon(hub); /* a place is free */
}

static void wait(struct hub *hub, struct running *running, enum err error) {
    static struct log_limit limit;
    struct hub_conversation *conversation = release(running);
    conversation->repair = REPAIR_WAITING;
    conversation->retry_us = hub_now_us(hub) + HUB_RETRY_US;
    list_push_back(&hub->repairs->waiting, &conversation->repair_node);
    if (log_allowed(&limit, 1)) {
        log_event(LOG_WARN, "conversation cannot be caught up; trying again",
                  F_TEXT("conversation", conversation->id), F_UINT("last", conversation->last),
                  F_UINT("target", conversation->target), F_ERR(error));
    }
}

static enum err hand_out_page(struct hub *hub, struct running *running) {
    struct hub_conversation *conversation = running->conversation;
    const Pipit__HistoryReply *page = running->page;
    enum err error = ERR_OK;
    uint64_t before = conversation->last;
    for (size_t i = 0; i < page->n_messages && error == ERR_OK; i++) {
        const Pipit__StoredMessage *message = page->messages[i];
        if (message->seq == conversation->last + 1) {
            error = hub_egress_hand_out(hub, conversation, message,
                                        hub_ingress_sender(hub, message->id.data, message->id.len));
        }
    }
    running->page = NULL;
    bool stuck = conversation->last == before && conversation->target > before;
    return error == ERR_OK && stuck ? ERR_CORRUPT : error;
}

static void on_history(struct hub *hub, const struct hub_query *query, enum err status,
                       const Pipit__HistoryReply *reply);
static void on_head(struct hub *hub, const struct hub_query *query, enum err status,
                    const Pipit__HeadsReply *reply);

static enum err ask_history(struct hub *hub, struct running *running) {
    struct hub_conversation *conversation = running->conversation;
    struct hub_history_ask ask = {.viewer = "",
                                  .after_seq = conversation->last,
                                  .limit = HUB_HISTORY_LIMIT_MAX,
                                  .urgent = true};
    struct hub_query query = {
        .object = running, .arena = &running->arena, .answer.history = on_history};
    memcpy(query.conversation, conversation->id, sizeof query.conversation);
    return hub_query_history(hub, &ask, &query);
}

static enum err ask_head(struct hub *hub, struct running *running) {
    const char *id = running->conversation->id;
    struct hub_query query = {.object = running, .answer.heads = on_head};
    return hub_query_heads(hub, &id, 1, &query);
}

/* Looks what is missing and asks for it; hands out when nothing is. */
static void step(struct hub *hub, struct running *running) {
    struct hub_conversation *conversation = running->conversation;
    enum err error = ERR_OK;
    if (conversation->memberships.count == 0) {
        finish(hub, running);
        return;
    }
    bool stale = conversation->needed_version > conversation->members_version;
    if (stale) {
        error = hub_members_refresh(hub, conversation);
    } else {
        if (running->page != NULL) {
            error = hand_out_page(hub, running);
        }
        if (error == ERR_OK && conversation->last >= conversation->target) {
            finish(hub, running);
            return;
        }
        if (error == ERR_OK) {
            error = ask_history(hub, running);
        }
    }
    if (error != ERR_OK) {
        wait(hub, running, error);
    }
}

void hub_repair_refreshed(struct hub *hub, struct hub_conversation *conversation, enum err status) {
    struct running *running = running_of(hub, conversation);
    CONTRACT(running != NULL);
    if (conversation->memberships.count == 0) {
        finish(hub, running);
    } else if (status == ERR_OK && conversation->needed_version > conversation->members_version) {
        wait(hub, running, ERR_CONFLICT); /* the store is behind what was announced */
    } else if (status != ERR_OK) {
        wait(hub, running, status);
    } else {
        step(hub, running);
    }
}

static void on_history(struct hub *hub, const struct hub_query *query, enum err status,
                       const Pipit__HistoryReply *reply) {
    struct running *running = query->object;
    running->page = reply;
    if (status == ERR_OK) {
        status = ask_head(hub, running);
    }
    if (status != ERR_OK) {
        wait(hub, running, status);
    }
}

static void on_head(struct hub *hub, const struct hub_query *query, enum err status,
                    const Pipit__HeadsReply *reply) {
    struct running *running = query->object;
    struct hub_conversation *conversation = running->conversation;
    if (status == ERR_OK && reply->n_heads != 1) {
        status = ERR_INVALID;
    }
    if (status != ERR_OK) {
        wait(hub, running, status);
        return;
    }
    if (reply->heads[0]->members_version > conversation->needed_version) {
        conversation->needed_version = reply->heads[0]->members_version;
    }
    bool empty = running->page->n_messages == 0;
    if (empty && reply->heads[0]->head <= conversation->last) {
        conversation->target = conversation->last; /* there never was more */
    } else if (empty) {
        wait(hub, running, ERR_CORRUPT);
        return;
    }
    step(hub, running);
}

/* --- who is next */

static struct running *free_place(struct hub *hub) {
    return running_of(hub, NULL);
}

static void pump(struct hub *hub) {
    struct hub_repairs *repairs = hub->repairs;
    struct running *running = NULL;
    if (!hub_can_ask(hub)) {
        return;
    }
    for (size_t count = repairs->queued.count;
         count > 0 && repairs->queued.count > 0 && (running = free_place(hub)) != NULL; count--) {
        struct list_node *node = list_pop_front(&repairs->queued);
        running->conversation = CONTAINER_OF(node, struct hub_conversation, repair_node);
        running->conversation->repair = REPAIR_RUNNING;
        step(hub, running);
    }
}

void hub_repairs_tick(struct hub *hub) {
    struct hub_repairs *repairs = hub->repairs;
    struct list_node *node = NULL;
    while ((node = list_first(&repairs->waiting)) != NULL) {
        struct hub_conversation *conversation =
            CONTAINER_OF(node, struct hub_conversation, repair_node);
        if (hub_now_us(hub) < conversation->retry_us) {
            break;
        }
        list_remove(&repairs->waiting, node);
        conversation->repair = REPAIR_QUEUED;
        list_push_back(&repairs->queued, node);
    }
    pump(hub);
}
