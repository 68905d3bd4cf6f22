/* signals: a person who types sends a signal every few seconds per conversation and device;
 * presence changes come in floods when a network comes back. So signals are collected for a short
 * while and only the last of its kind leaves. Whether the user is a member is checked against the
 * cache, which is loaded when needed: the entry itself waits in the conversation. Entries come from
 * one block; an empty pool drops the signal, which is what overload is meant to do to signals. */
#include "services/routing/signals.h"

#include "common/contract.h"
#include "common/mem.h"
#include "proto/names.h"
#include "services/routing/conversation.h"
#include "services/routing/directory.h"
#include "services/routing/fanout.h"
#include "services/routing/shed.h"
#include <string.h>

#define STATUS_BYTES_MAX 16

/* The key of the map: plain bytes, zero-padded. */
struct signal_key {
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    char user[LIMIT_USER_ID_BYTES + 1];
    uint8_t kind;
};
struct signal_entry {
    struct map_node node;
    struct list_node list_node; /* pool, or collecting */
    struct conversation_waiter waiter;
    struct routing *routing;
    struct signal_key key;
    uint64_t session;
    bool active;
    char status[STATUS_BYTES_MAX + 1];
};
struct signals {
    struct routing *routing;
    struct map map; /* collecting */
    struct list collecting, pool;
    struct loop_timer timer;
    size_t count_max;
    struct signal_entry entries[];
};

static bool match_signal(const struct map_node *node, const void *key, size_t key_bytes) {
    return memcmp(&CONTAINER_OF(node, struct signal_entry, node)->key, key, key_bytes) == 0;
}

static void on_members(struct conversation_waiter *waiter, struct conversation *conversation);

enum err signals_create(struct routing *routing, struct signals **out) {
    size_t count = routing->settings->signals_max;
    struct signals *signals = mem_zalloc(1, sizeof *signals + count * sizeof(struct signal_entry));
    if (signals == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = map_init(&signals->map, count, match_signal);
    if (error != ERR_OK) {
        mem_free(signals);
        return error;
    }
    signals->routing = routing;
    signals->count_max = count;
    list_init(&signals->collecting);
    list_init(&signals->pool);
    for (size_t i = 0; i < count; i++) {
        signals->entries[i].routing = routing;
        signals->entries[i].waiter.fn = on_members;
        list_push_back(&signals->pool, &signals->entries[i].list_node);
    }
    *out = signals;
    return ERR_OK;
}

void signals_destroy(struct signals **signals) {
    if (*signals != NULL) {
        loop_timer_stop((*signals)->routing->loop, &(*signals)->timer);
        map_finish(&(*signals)->map);
        mem_free(*signals);
        *signals = NULL;
    }
}

/* --- passing on */

static void publish(const struct signal_entry *entry) {
    struct routing *routing = entry->routing;
    Pipit__Signal signal = PIPIT__SIGNAL__INIT;
    signal.conversation = (char *)entry->key.conversation;
    signal.user = (char *)entry->key.user;
    signal.kind = (Pipit__SignalKind)entry->key.kind;
    signal.active = entry->active;
    signal.status = (char *)entry->status;
    signal.session = entry->session;
    Pipit__Delivery delivery = PIPIT__DELIVERY__INIT;
    delivery.event_case = PIPIT__DELIVERY__EVENT_SIGNAL;
    delivery.signal = &signal;
    delivery.skip_session = entry->session;
    struct endpoint_set to = {{0}};
    if (entry->key.conversation[0] != '\0') {
        directory_interested(routing->directory, entry->key.conversation, &to);
    } else {
        directory_all(routing->directory, &to);
    }
    fanout_event(routing, &delivery, &to);
}

static void release(struct signal_entry *entry) {
    list_push_front(&entry->routing->signals->pool, &entry->list_node);
}

static void on_members(struct conversation_waiter *waiter, struct conversation *conversation) {
    struct signal_entry *entry = CONTAINER_OF(waiter, struct signal_entry, waiter);
    if (conversation != NULL) {
        const struct member_entry *member = member_set_find(conversation->members, entry->key.user);
        if (member != NULL && member->state == PIPIT__MEMBER_STATE__MEMBER_ACTIVE) {
            publish(entry);
        }
    }
    release(entry);
}

static void pass_on(struct signal_entry *entry) {
    struct routing *routing = entry->routing;
    bool presence = entry->key.kind == PIPIT__SIGNAL_KIND__SIGNAL_PRESENCE;
    if (shed_drops(routing, presence ? SHED_PRESENCE : SHED_TYPING)) {
        release(entry);
        return;
    }
    if (presence && !entry->active &&
        sessions_online(directory_sessions(routing->directory), entry->key.user)) {
        release(entry); /* the last session at one endpoint, not the last one at all */
        return;
    }
    if (entry->key.conversation[0] == '\0') {
        publish(entry);
        release(entry);
        return;
    }
    struct conversation *conversation = conversation_get(routing, entry->key.conversation);
    if (conversation == NULL) {
        release(entry);
        return;
    }
    conversation_wait(conversation, &entry->waiter);
}

static void on_timer(struct loop_timer *timer) {
    struct signals *signals = CONTAINER_OF(timer, struct signals, timer);
    struct list_node *node = NULL;
    while ((node = list_pop_front(&signals->collecting)) != NULL) {
        struct signal_entry *entry = CONTAINER_OF(node, struct signal_entry, list_node);
        map_remove(&signals->map, &entry->node);
        pass_on(entry);
    }
}

/* --- collecting */

static bool signal_valid(const Pipit__Signal *signal) {
    size_t bytes = strlen(signal->conversation);
    bool presence = signal->kind == PIPIT__SIGNAL_KIND__SIGNAL_PRESENCE;
    if (bytes == 0 ? !presence : !names_conversation_id_valid(signal->conversation, bytes)) {
        return false;
    }
    return (presence || signal->kind == PIPIT__SIGNAL_KIND__SIGNAL_TYPING) &&
           names_user_id_valid(signal->user, strlen(signal->user)) &&
           strlen(signal->status) <= STATUS_BYTES_MAX;
}

static struct signal_entry *take_entry(struct signals *signals, const struct signal_key *key) {
    struct map_node *found = map_find(&signals->map, key, sizeof *key);
    if (found != NULL) {
        return CONTAINER_OF(found, struct signal_entry, node);
    }
    struct list_node *node = list_pop_front(&signals->pool);
    if (node == NULL) {
        routing_limit_hit(LIMIT_HIT_SIGNALS);
        return NULL;
    }
    struct signal_entry *entry = CONTAINER_OF(node, struct signal_entry, list_node);
    entry->key = *key;
    map_insert(&signals->map, &entry->node, key, sizeof *key);
    list_push_back(&signals->collecting, &entry->list_node);
    return entry;
}

void signals_receive(struct routing *routing, const Pipit__Signal *signal) {
    struct signals *signals = routing->signals;
    if (routing->draining || !signal_valid(signal)) {
        return;
    }
    struct signal_key key;
    memset(&key, 0, sizeof key);
    memcpy(key.conversation, signal->conversation, strlen(signal->conversation));
    memcpy(key.user, signal->user, strlen(signal->user));
    key.kind = (uint8_t)signal->kind;
    struct signal_entry *entry = take_entry(signals, &key);
    if (entry == NULL) {
        return;
    }
    entry->active = signal->active;
    entry->session = signal->session;
    memset(entry->status, 0, sizeof entry->status);
    memcpy(entry->status, signal->status, strlen(signal->status));
    if (!signals->timer.armed) {
        loop_timer_start(routing->loop, &signals->timer, routing->settings->signals_interval_us,
                         on_timer);
    }
}
