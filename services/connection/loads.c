/* loads: what a user is a member of, and the head of each conversation, in pages of 500.
 *
 * A load competes with events: while its pages travel, MembersChanged may add or remove
 * memberships. Two rules decide. A page's item older (members_version) than what we know of the
 * conversation is ignored. And memberships carry the number of the load that last saw them, or of
 * the newest load begun when an event made them: at the end, those with an older number than the
 * load's own were seen by neither and are dropped. A wrong guess lasts until the next comparison of
 * heads or the next message, whichever is first, and never lets a message through: deliveries carry
 * the version.
 *
 * A reload finds memberships nobody told us about (events were lost). Their sessions get a `conv`
 * frame, and hand-out begins where the user joined, unless that is long ago. */
#include "services/connection/loads.h"

#include "common/log.h"
#include "common/mem.h"
#include "services/connection/backlog.h"
#include "services/connection/members.h"
#include "services/connection/opening.h"
#include "services/connection/queries.h"
#include "services/connection/repair.h"
#include <string.h>

struct load {
    struct list_node node;
    uint64_t session; /* id; 0: a reload */
    uint64_t generation;
    uint64_t losses; /* hub_loads.losses when it began */
    char user[LIMIT_USER_ID_BYTES + 1];
};
struct hub_loads {
    struct hub_pool pool;
    struct list flying;
    uint64_t generation;
    uint64_t losses; /* times that events may have been lost */
    size_t reloads;
    bool reload_due; /* begin at the first user */
    bool reload_running;
};

enum err hub_loads_create(struct hub *hub) {
    struct hub_loads *loads = mem_zalloc(1, sizeof *loads);
    if (loads == NULL) {
        return ERR_NO_MEMORY;
    }
    hub_pool_init(&loads->pool, sizeof(struct load), HUB_LOADS_MAX);
    list_init(&loads->flying);
    hub->loads = loads;
    return ERR_OK;
}

void hub_loads_destroy(struct hub *hub) {
    if (hub->loads != NULL) {
        hub_pool_finish(&hub->loads->pool);
        mem_free(hub->loads);
        hub->loads = NULL;
    }
}

static void on_page(struct hub *hub, const struct hub_query *query, enum err status,
                    const Pipit__ConversationsReply *reply);

static enum err ask(struct hub *hub, struct load *load, const char *after) {
    const struct session *session = load->session != 0 ? session_find(hub, load->session) : NULL;
    struct hub_conversations_ask page = {
        .user = load->user,
        .device = session != NULL && session->wants_backlog ? session->device : "",
        .after = after,
    };
    struct hub_query query = {.object = load, .answer.conversations = on_page};
    return hub_query_conversations(hub, &page, &query);
}

static enum err begin(struct hub *hub, const char *user, uint64_t session) {
    struct hub_loads *loads = hub->loads;
    struct load *load = hub_pool_take(&loads->pool);
    if (load == NULL) {
        return ERR_FULL;
    }
    memcpy(load->user, user, strlen(user) + 1);
    load->session = session;
    load->generation = ++loads->generation;
    load->losses = loads->losses;
    enum err error = ask(hub, load, "");
    if (error != ERR_OK) {
        hub_pool_give(&loads->pool, load);
        return error;
    }
    list_push_back(&loads->flying, &load->node);
    return ERR_OK;
}

enum err hub_load_session(struct hub *hub, struct session *session) {
    return begin(hub, session->user->id, session->id);
}

uint64_t hub_load_generation(const struct hub *hub) {
    return hub->loads->generation;
}

/* --- pages */

static uint64_t first_seq_to_hand_out(const struct load *load,
                                      const Pipit__ConversationItem *item) {
    uint64_t head = item->conversation->head, joined = item->self->joined_seq;
    if (load->session == 0 && joined < head && head - joined <= HUB_RELOAD_MESSAGES_MAX) {
        return joined;
    }
    return head;
}

static enum err take_item(struct hub *hub, const struct load *load, struct hub_user *user,
                          struct session *session, const Pipit__ConversationItem *item) {
    const Pipit__Conversation *told = item->conversation;
    if (told == NULL || item->self == NULL ||
        item->self->state != PIPIT__MEMBER_STATE__MEMBER_ACTIVE) {
        return ERR_OK;
    }
    struct hub_conversation *known = hub_conversation_find(hub, told->id);
    bool interesting = known != NULL && known->memberships.count > 0;
    bool is_new = false;
    struct hub_membership *membership = NULL;
    if (interesting && told->members_version < known->members_version) {
        membership = hub_membership_find(user, known); /* we know better */
    } else {
        struct hub_join join = {.conversation = told->id,
                                .last = first_seq_to_hand_out(load, item),
                                .members_version = told->members_version,
                                .joined_seq = item->self->joined_seq};
        enum err error = hub_membership_join(hub, user, &join, &membership, &is_new);
        if (error != ERR_OK) {
            return error;
        }
        if (membership->conversation->members_version < told->members_version) {
            hub_repair_members(hub, membership->conversation, told->members_version);
        }
    }
    if (membership == NULL) {
        return ERR_OK;
    }
    if (membership->generation < load->generation) {
        membership->generation = load->generation;
    }
    if (is_new && load->session == 0) {
        hub_members_tell_added(hub, user, told);
    }
    if (session != NULL && session->wants_backlog) {
        return hub_backlog_seed(hub, session, membership->conversation, item->device_known,
                                item->device_delivered_seq);
    }
    return ERR_OK;
}

/* Memberships that storage did not name and no event made since. */
static void drop_unseen(struct hub *hub, const struct load *load, struct hub_user *user) {
    struct list_node *node = list_first(&user->memberships);
    while (node != NULL) {
        struct list_node *next = list_next(&user->memberships, node);
        struct hub_membership *membership = CONTAINER_OF(node, struct hub_membership, user_node);
        if (membership->generation < load->generation) {
            hub_members_tell_left(hub, user, membership->conversation);
            hub_membership_drop(hub, membership);
        }
        node = next;
    }
}

static void end(struct hub *hub, struct load *load, enum err status) {
    struct hub_loads *loads = hub->loads;
    uint64_t session = load->session;
    struct hub_user *user = hub_user_find(hub, load->user);
    if (status == ERR_OK && user != NULL && user->sessions.count > 0) {
        drop_unseen(hub, load, user);
        user->loaded = true;
        if (load->losses != loads->losses) {
            loads->reload_due = true; /* what was lost meanwhile this load may not have seen */
        }
    }
    list_remove(&loads->flying, &load->node);
    hub_pool_give(&loads->pool, load);
    if (session != 0) {
        hub_opening_loaded(hub, session, status);
        return;
    }
    loads->reloads--;
    if (status != ERR_OK && user != NULL && user->sessions.count > 0) {
        loads->reload_due = true; /* somebody was missed: all of them again, at the next tick */
    } else {
        hub_loads_tick(hub);
    }
}

static void on_remembered(struct hub *hub, const struct hub_query *query, enum err status) {
    (void)hub;
    (void)query;
    (void)status; /* not remembered: the device begins at the heads next time, too */
}

/* A device that comes for the first time and means to come back. */
static void note_device(struct hub *hub, struct session *session,
                        const Pipit__ConversationsReply *reply) {
    session->resumed = reply->device_known;
    if (!reply->device_known && !session->new_backlog) {
        struct hub_query query = {.answer.remembered = on_remembered};
        err_ignore(hub_query_remember(hub, session->user->id, session->device, &query));
    }
}

static void on_page(struct hub *hub, const struct hub_query *query, enum err status,
                    const Pipit__ConversationsReply *reply) {
    struct load *load = query->object;
    struct hub_user *user = hub_user_find(hub, load->user);
    struct session *session = load->session != 0 ? session_find(hub, load->session) : NULL;
    bool wanted =
        user != NULL && user->sessions.count > 0 && (load->session == 0 || session != NULL);
    if (status != ERR_OK || !wanted) {
        end(hub, load, status != ERR_OK ? status : ERR_CLOSED);
        return;
    }
    if (hub_set_epoch(hub, reply->epoch)) {
        end(hub, load, ERR_CLOSED); /* user and session are gone */
        return;
    }
    if (session != NULL && session->wants_backlog && !session->resumed) {
        note_device(hub, session, reply);
    }
    for (size_t i = 0; i < reply->n_items && status == ERR_OK; i++) {
        status = take_item(hub, load, user, session, reply->items[i]);
    }
    if (status == ERR_OK && reply->next[0] != '\0') {
        status = ask(hub, load, reply->next);
        if (status == ERR_OK) {
            return;
        }
    }
    end(hub, load, status);
}

/* --- reloads */

void hub_loads_reload_all(struct hub *hub) {
    hub->loads->losses++;
    hub->loads->reload_due = true;
}

void hub_loads_tick(struct hub *hub) {
    struct hub_loads *loads = hub->loads;
    if (!hub_can_ask(hub)) {
        return;
    }
    if (loads->reload_due && loads->reloads == 0) {
        loads->reload_due = false;
        loads->reload_running = true;
        hub_users_cursor_rewind(hub);
    }
    struct hub_user *user = NULL;
    while (loads->reload_running && loads->reloads < HUB_RELOADS_FLIGHT_MAX &&
           (user = hub_users_cursor(hub)) != NULL) {
        /* The others are loaded with their next session, or are being loaded for it. */
        if (user->sessions.count > 0 && user->loaded) {
            if (begin(hub, user->id, 0) != ERR_OK) {
                return; /* the next tick goes on here */
            }
            loads->reloads++;
        }
        hub_users_cursor_advance(hub);
    }
    loads->reload_running = hub_users_cursor(hub) != NULL && loads->reload_running;
}
