/* relay: connection knows routing only, so its reads (history pages, heads, a user's conversations,
 * an MQTT origin) come through here. They are not decoded: the bytes go to the storage instance
 * with the fewest calls outstanding, the answer's bytes go back. Reads may be many at once (every
 * client syncs after a restart) and large, so at most relays_max of them are out; the rest waits in
 * arrival order, bounded by the bus, which has at most requests_max requests unanswered. A read
 * whose storage instance was lost is asked of another one: none of them changes anything twice. */
#include "services/routing/relay.h"

#include "common/contract.h"
#include "common/mem.h"
#include "proto/storage.pb-c.h"
#include "services/routing/fanout.h"

#define RELAY_ATTEMPTS_MAX 3u

struct relayed {
    struct list_node node; /* pool or waiting */
    struct routing *routing;
    struct bus_request *request;
    enum message_type type;
    const uint8_t *body; /* borrowed from the request until its answer */
    size_t body_bytes;
    unsigned attempts;
};
struct relay {
    struct list pool, waiting;
    size_t out; /* calls in flight */
    size_t count_max;
    struct relayed all[];
};

enum err relay_create(struct routing *routing, struct relay **out) {
    size_t count = routing->settings->requests_max;
    struct relay *relay = mem_zalloc(1, sizeof *relay + count * sizeof(struct relayed));
    if (relay == NULL) {
        return ERR_NO_MEMORY;
    }
    relay->count_max = count;
    list_init(&relay->pool);
    list_init(&relay->waiting);
    for (size_t i = 0; i < count; i++) {
        relay->all[i].routing = routing;
        list_push_back(&relay->pool, &relay->all[i].node);
    }
    *out = relay;
    return ERR_OK;
}

void relay_destroy(struct relay **relay) {
    if (*relay != NULL) {
        CONTRACT((*relay)->out == 0 && (*relay)->waiting.count == 0);
        mem_free(*relay);
        *relay = NULL;
    }
}

bool relay_takes(enum message_type type) {
    return type == MESSAGE_HISTORY_REQUEST || type == MESSAGE_HEADS_REQUEST ||
           type == MESSAGE_CONVERSATIONS_REQUEST || type == MESSAGE_ORIGIN_REQUEST ||
           type == MESSAGE_CURSORS_REQUEST; /* a device that connected for the first time */
}

static void refuse(struct routing *routing, struct bus_request *request, enum message_type type,
                   enum err error) {
    Pipit__HistoryReply history = PIPIT__HISTORY_REPLY__INIT;
    Pipit__HeadsReply heads = PIPIT__HEADS_REPLY__INIT;
    Pipit__ConversationsReply conversations = PIPIT__CONVERSATIONS_REPLY__INIT;
    Pipit__OriginReply origin = PIPIT__ORIGIN_REPLY__INIT;
    Pipit__CursorsReply cursors = PIPIT__CURSORS_REPLY__INIT;
    cursors.error = history.error = heads.error = conversations.error = origin.error =
        (uint32_t)error;
    switch (type) {
    case MESSAGE_HISTORY_REQUEST:
        fanout_answer(routing, request, MESSAGE_HISTORY_REPLY, &history.base);
        break;
    case MESSAGE_HEADS_REQUEST:
        fanout_answer(routing, request, MESSAGE_HEADS_REPLY, &heads.base);
        break;
    case MESSAGE_CONVERSATIONS_REQUEST:
        fanout_answer(routing, request, MESSAGE_CONVERSATIONS_REPLY, &conversations.base);
        break;
    case MESSAGE_CURSORS_REQUEST:
        fanout_answer(routing, request, MESSAGE_CURSORS_REPLY, &cursors.base);
        break;
    default:
        fanout_answer(routing, request, MESSAGE_ORIGIN_REPLY, &origin.base);
        break;
    }
}

static void end(struct relayed *relayed) {
    relayed->request = NULL;
    list_push_front(&relayed->routing->relay->pool, &relayed->node);
}

static void send_waiting(struct routing *routing);

static void on_reply(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct relayed *relayed = user;
    struct routing *routing = relayed->routing;
    routing->relay->out--;
    if (status == ERR_CLOSED && relayed->attempts < RELAY_ATTEMPTS_MAX && !routing->closing) {
        list_push_front(&routing->relay->waiting, &relayed->node);
        send_waiting(routing);
        return;
    }
    if (status == ERR_OK) {
        bus_reply(relayed->request, body, body_bytes);
    } else {
        refuse(routing, relayed->request, relayed->type, status);
    }
    end(relayed);
    send_waiting(routing);
}

/* Keeps order: the first that finds no free call stays first. */
static void send_waiting(struct routing *routing) {
    struct relay *relay = routing->relay;
    while (relay->waiting.count > 0 && relay->out < routing->settings->relays_max &&
           !routing->closing) {
        struct relayed *relayed = CONTAINER_OF(list_first(&relay->waiting), struct relayed, node);
        enum err error =
            rpc_call(routing->storage, relayed->body, relayed->body_bytes, on_reply, relayed);
        if (error == ERR_FULL && relay->out > 0) {
            routing_limit_hit(LIMIT_HIT_STORAGE_CALLS);
            return; /* tried again when one of ours returns */
        }
        list_remove(&relay->waiting, &relayed->node);
        if (error == ERR_OK) {
            relayed->attempts++;
            relay->out++;
            metric_add(&routing_metrics.relays, 1);
        } else {
            refuse(routing, relayed->request, relayed->type, error);
            end(relayed);
        }
    }
}

void relay_receive(struct routing *routing, struct bus_request *request, enum message_type type,
                   const uint8_t *body, size_t body_bytes) {
    struct list_node *node = list_pop_front(&routing->relay->pool);
    if (node == NULL) {
        refuse(routing, request, type, ERR_FULL);
        return;
    }
    struct relayed *relayed = CONTAINER_OF(node, struct relayed, node);
    relayed->request = request;
    relayed->type = type;
    relayed->body = body;
    relayed->body_bytes = body_bytes;
    relayed->attempts = 0;
    list_push_back(&routing->relay->waiting, &relayed->node);
    send_waiting(routing);
}

bool relay_idle(const struct relay *relay) {
    return relay->out == 0 && relay->waiting.count == 0;
}

void relay_abort(struct routing *routing) {
    struct list_node *node = NULL;
    while ((node = list_pop_front(&routing->relay->waiting)) != NULL) {
        struct relayed *relayed = CONTAINER_OF(node, struct relayed, node);
        refuse(routing, relayed->request, relayed->type, ERR_CLOSED);
        end(relayed);
    }
}
