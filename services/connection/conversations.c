/* conversations: which of this hub's users are members of what.
 *
 * Delivery walks conversation -> memberships -> user -> sessions, so a session costs nothing per
 * conversation and a user one small object per membership, however many devices they use here.
 * A membership is found from whichever side has fewer: a user in three conversations of a group of
 * a thousand is three steps away.
 *
 * A conversation without members here is neither delivered nor announced to routing, but calls in
 * flight may still point at it: it stays, pinned, until they return. If it becomes interesting
 * again before, `last` begins anew, as for a conversation never seen. */
#include "services/connection/conversations.h"

#include "common/mem.h"
#include "services/connection/backlog.h"
#include "services/connection/interest.h"
#include "services/connection/repair.h"
#include "services/connection/sync.h"
#include <string.h>

struct hub_conversations {
    struct map map;
    struct list all;
    struct hub_pool conversations, memberships;
};

static bool match_conversation(const struct map_node *node, const void *key, size_t key_bytes) {
    const struct hub_conversation *conversation = CONTAINER_OF(node, struct hub_conversation, node);
    return strlen(conversation->id) == key_bytes && memcmp(conversation->id, key, key_bytes) == 0;
}

enum err hub_conversations_create(struct hub *hub) {
    struct hub_conversations *all = mem_zalloc(1, sizeof *all);
    if (all == NULL) {
        return ERR_NO_MEMORY;
    }
    list_init(&all->all);
    hub_pool_init(&all->conversations, sizeof(struct hub_conversation), HUB_CONVERSATIONS_MAX);
    hub_pool_init(&all->memberships, sizeof(struct hub_membership), HUB_MEMBERSHIPS_MAX);
    hub->conversations = all;
    return map_init(&all->map, 64, match_conversation);
}

/* The users are gone before; what calls in flight had pinned goes with the pool. */
void hub_conversations_destroy(struct hub *hub) {
    struct hub_conversations *all = hub->conversations;
    if (all != NULL) {
        map_finish(&all->map);
        hub_pool_finish(&all->conversations);
        hub_pool_finish(&all->memberships);
        mem_free(all);
        hub->conversations = NULL;
    }
}

struct hub_conversation *hub_conversation_find(const struct hub *hub, const char *id) {
    struct map_node *node = map_find(&hub->conversations->map, id, strlen(id));
    return node != NULL ? CONTAINER_OF(node, struct hub_conversation, node) : NULL;
}

const struct list *hub_conversations_all(const struct hub *hub) {
    return &hub->conversations->all;
}

void hub_conversation_pin(struct hub_conversation *conversation) {
    conversation->pins++;
}

static void free_unused(struct hub *hub, struct hub_conversation *conversation) {
    if (conversation->memberships.count == 0 && conversation->pins == 0) {
        map_remove(&hub->conversations->map, &conversation->node);
        hub_pool_give(&hub->conversations->conversations, conversation);
    }
}

void hub_conversation_unpin(struct hub *hub, struct hub_conversation *conversation) {
    CONTRACT(conversation->pins > 0);
    conversation->pins--;
    free_unused(hub, conversation);
}

static struct hub_conversation *make(struct hub *hub, const char *id) {
    size_t bytes = strlen(id);
    if (bytes == 0 || bytes > LIMIT_CONVERSATION_ID_BYTES) {
        return NULL;
    }
    struct hub_conversation *conversation = hub_pool_take(&hub->conversations->conversations);
    if (conversation == NULL) {
        hub_metrics_limit(HUB_LIMIT_CONVERSATIONS);
        return NULL;
    }
    memcpy(conversation->id, id, bytes + 1);
    list_init(&conversation->memberships);
    map_insert(&hub->conversations->map, &conversation->node, conversation->id, bytes);
    return conversation;
}

/* The first member here. */
static void begin_interest(struct hub *hub, struct hub_conversation *conversation,
                           const struct hub_join *join) {
    conversation->last = join->last;
    conversation->target = join->last;
    conversation->members_version = join->members_version;
    conversation->announced_version = join->members_version;
    conversation->needed_version = join->members_version;
    list_push_back(&hub->conversations->all, &conversation->all_node);
    metric_shift(&hub_metrics.conversations, 1);
    hub_interest_conversation(hub, conversation->id);
    hub_sync_fresh(hub, conversation);
}

static void end_interest(struct hub *hub, struct hub_conversation *conversation) {
    hub_interest_forget_conversation(hub, conversation);
    hub_sync_forget(hub, conversation);
    hub_repair_forget(hub, conversation);
    list_remove(&hub->conversations->all, &conversation->all_node);
    metric_shift(&hub_metrics.conversations, -1);
    free_unused(hub, conversation);
}

struct hub_membership *hub_membership_find(const struct hub_user *user,
                                           const struct hub_conversation *conversation) {
    const struct list *list = &user->memberships;
    if (conversation->memberships.count < list->count) {
        list = &conversation->memberships;
        for (struct list_node *node = list_first(list); node != NULL;
             node = list_next(list, node)) {
            struct hub_membership *membership =
                CONTAINER_OF(node, struct hub_membership, conversation_node);
            if (membership->user == user) {
                return membership;
            }
        }
        return NULL;
    }
    for (struct list_node *node = list_first(list); node != NULL; node = list_next(list, node)) {
        struct hub_membership *membership = CONTAINER_OF(node, struct hub_membership, user_node);
        if (membership->conversation == conversation) {
            return membership;
        }
    }
    return NULL;
}

enum err hub_membership_join(struct hub *hub, struct hub_user *user, const struct hub_join *join,
                             struct hub_membership **out, bool *is_new) {
    struct hub_conversation *conversation = hub_conversation_find(hub, join->conversation);
    struct hub_membership *membership =
        conversation != NULL ? hub_membership_find(user, conversation) : NULL;
    *is_new = membership == NULL;
    if (membership != NULL) {
        membership->joined_seq = join->joined_seq;
        *out = membership;
        return ERR_OK;
    }
    if (user->memberships.count >= HUB_USER_CONVERSATIONS_MAX) {
        hub_metrics_limit(HUB_LIMIT_MEMBERSHIPS);
        return ERR_FULL;
    }
    membership = hub_pool_take(&hub->conversations->memberships);
    if (membership == NULL) {
        hub_metrics_limit(HUB_LIMIT_MEMBERSHIPS);
        return ERR_FULL;
    }
    if (conversation == NULL && (conversation = make(hub, join->conversation)) == NULL) {
        hub_pool_give(&hub->conversations->memberships, membership);
        return ERR_FULL;
    }
    membership->user = user;
    membership->conversation = conversation;
    membership->joined_seq = join->joined_seq;
    bool is_first = conversation->memberships.count == 0;
    list_push_back(&user->memberships, &membership->user_node);
    list_push_back(&conversation->memberships, &membership->conversation_node);
    if (is_first) {
        begin_interest(hub, conversation, join);
    }
    *out = membership;
    return ERR_OK;
}

void hub_membership_drop(struct hub *hub, struct hub_membership *membership) {
    struct hub_user *user = membership->user;
    struct hub_conversation *conversation = membership->conversation;
    hub_conversation_pin(conversation);
    list_remove(&user->memberships, &membership->user_node);
    list_remove(&conversation->memberships, &membership->conversation_node);
    hub_pool_give(&hub->conversations->memberships, membership);
    hub_backlog_drop(hub, user, conversation);
    if (conversation->memberships.count == 0) {
        end_interest(hub, conversation);
    }
    hub_conversation_unpin(hub, conversation);
}
