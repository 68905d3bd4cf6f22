/* marks: every client of a conversation marks every message as delivered, most as read: more marks
 * than messages. Cursors only move forward (I5), so of many marks the highest is enough: they are
 * collected per (user, device, conversation) for marks_interval or until MARKS_BATCH of them wait,
 * and written by one CursorsRequest at a time; while it is out the next collects behind it.
 *
 * An entry's life: pool -> collecting (in the map) -> flight -> waiting for the conversation's
 * members, which decide who gets to see it -> pool. A failed write goes back to collecting, where
 * it merges with newer marks of the same cursor, MARK_TRIES_MAX times: cursors are idempotent, so
 * writing one twice is harmless. Under overload the writes go on but nobody is told (receipts are
 * shed last); the next mark of that cursor tells. */
#include "services/routing/marks.h"

#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/names.h"
#include "proto/storage.pb-c.h"
#include "services/routing/conversation.h"
#include "services/routing/directory.h"
#include "services/routing/fanout.h"
#include "services/routing/shed.h"
#include "services/routing/storage_call.h"
#include <string.h>

#define MARKS_BATCH 256u
#define MARK_TRIES_MAX 10u
#define MARKS_RETRY_US 1000000u

/* The key of the map: plain bytes, zero-padded. */
struct mark_key {
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    char user[LIMIT_USER_ID_BYTES + 1];
    char device[ROUTING_DEVICE_BYTES_MAX + 1];
};
struct mark_entry {
    struct map_node node;
    struct list_node list_node; /* pool, collecting or flight */
    struct conversation_waiter waiter;
    struct routing *routing;
    struct mark_key key;
    uint64_t delivered_seq, read_seq;
    uint64_t session;
    uint8_t tries;
};
struct marks {
    struct routing *routing;
    struct map map; /* collecting */
    struct list collecting, flight, pool;
    struct loop_timer timer;
    bool out;   /* a CursorsRequest is in flight */
    bool hurry; /* shutdown */
    size_t count_max;
    struct mark_entry entries[];
};

static bool match_mark(const struct map_node *node, const void *key, size_t key_bytes) {
    return memcmp(&CONTAINER_OF(node, struct mark_entry, node)->key, key, key_bytes) == 0;
}

static void on_members(struct conversation_waiter *waiter, struct conversation *conversation);

enum err marks_create(struct routing *routing, struct marks **out) {
    size_t count = routing->settings->marks_max;
    struct marks *marks = mem_zalloc(1, sizeof *marks + count * sizeof(struct mark_entry));
    if (marks == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = map_init(&marks->map, count, match_mark);
    if (error != ERR_OK) {
        mem_free(marks);
        return error;
    }
    marks->routing = routing;
    marks->count_max = count;
    list_init(&marks->collecting);
    list_init(&marks->flight);
    list_init(&marks->pool);
    for (size_t i = 0; i < count; i++) {
        marks->entries[i].routing = routing;
        marks->entries[i].waiter.fn = on_members;
        list_push_back(&marks->pool, &marks->entries[i].list_node);
    }
    *out = marks;
    return ERR_OK;
}

void marks_destroy(struct marks **marks) {
    if (*marks != NULL) {
        CONTRACT(!(*marks)->out);
        loop_timer_stop((*marks)->routing->loop, &(*marks)->timer);
        map_finish(&(*marks)->map);
        mem_free(*marks);
        *marks = NULL;
    }
}

size_t marks_waiting(const struct marks *marks) {
    return marks->collecting.count + marks->flight.count;
}

/* --- showing */

static void release(struct mark_entry *entry) {
    list_push_front(&entry->routing->marks->pool, &entry->list_node);
}

static void publish(const struct mark_entry *entry, const struct conversation *conversation) {
    struct routing *routing = entry->routing;
    Pipit__Mark mark = PIPIT__MARK__INIT;
    mark.conversation = (char *)entry->key.conversation;
    mark.user = (char *)entry->key.user;
    mark.device = (char *)entry->key.device;
    mark.delivered_seq = entry->delivered_seq;
    mark.read_seq = entry->read_seq;
    mark.session = entry->session;
    Pipit__Delivery delivery = PIPIT__DELIVERY__INIT;
    delivery.event_case = PIPIT__DELIVERY__EVENT_MARK;
    delivery.mark = &mark;
    delivery.skip_session = entry->session;
    struct endpoint_set to = {{0}};
    if (conversation->members->count <= routing->settings->receipts_members_max) {
        directory_interested(routing->directory, conversation->id, &to);
    } else {
        sessions_endpoints(directory_sessions(routing->directory), entry->key.user, &to);
    }
    fanout_event(routing, &delivery, &to);
}

static void on_members(struct conversation_waiter *waiter, struct conversation *conversation) {
    struct mark_entry *entry = CONTAINER_OF(waiter, struct mark_entry, waiter);
    if (conversation != NULL && member_set_find(conversation->members, entry->key.user) != NULL) {
        publish(entry, conversation);
    }
    release(entry);
}

static void show(struct mark_entry *entry, const Pipit__CursorResult *result) {
    struct routing *routing = entry->routing;
    bool shown = storage_error(result->error) == ERR_OK && result->changed;
    struct conversation *conversation = NULL;
    if (shown && !shed_drops(routing, SHED_RECEIPTS)) {
        conversation = conversation_get(routing, entry->key.conversation);
    }
    if (conversation == NULL) {
        release(entry);
        return;
    }
    entry->delivered_seq = result->delivered_seq;
    entry->read_seq = result->read_seq;
    conversation_wait(conversation, &entry->waiter);
}

/* --- writing */

static void flush(struct marks *marks);

static void on_timer(struct loop_timer *timer) {
    flush(CONTAINER_OF(timer, struct marks, timer));
}

static void start_timer(struct marks *marks, uint64_t delay_us) {
    if (!marks->timer.armed) {
        loop_timer_start(marks->routing->loop, &marks->timer, delay_us, on_timer);
    }
}

static void raise_to(struct mark_entry *entry, uint64_t delivered_seq, uint64_t read_seq) {
    if (delivered_seq > entry->delivered_seq) {
        entry->delivered_seq = delivered_seq;
    }
    if (read_seq > entry->read_seq) {
        entry->read_seq = read_seq;
    }
}

/* Not written: collects again, or merges into what was collected meanwhile. */
static void collect_again(struct marks *marks, struct mark_entry *entry) {
    struct map_node *found = map_find(&marks->map, &entry->key, sizeof entry->key);
    if (found != NULL) {
        raise_to(CONTAINER_OF(found, struct mark_entry, node), entry->delivered_seq,
                 entry->read_seq);
        release(entry);
    } else if (++entry->tries > MARK_TRIES_MAX) {
        release(entry);
    } else {
        map_insert(&marks->map, &entry->node, &entry->key, sizeof entry->key);
        list_push_back(&marks->collecting, &entry->list_node);
    }
}

static void write_failed(struct marks *marks, enum err error) {
    static struct log_limit limit;
    if (!marks->routing->closing && log_allowed(&limit, 1)) {
        log_event(LOG_WARN, "cursors not written; they are tried again", F_ERR(error),
                  F_UINT("cursors", marks->flight.count));
    }
    struct list_node *node = NULL;
    while ((node = list_pop_front(&marks->flight)) != NULL) {
        collect_again(marks, CONTAINER_OF(node, struct mark_entry, list_node));
    }
    start_timer(marks, MARKS_RETRY_US);
}

static void on_written(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct marks *marks = user;
    Pipit__CursorsReply *reply = NULL;
    enum err error = storage_reply(marks->routing, status, MESSAGE_CURSORS_REPLY, body, body_bytes,
                                   (ProtobufCMessage **)&reply);
    marks->out = false;
    if (error == ERR_OK) {
        error = storage_error(reply->error);
    }
    if (error == ERR_OK && reply->n_results != marks->flight.count) {
        error = ERR_CORRUPT;
    }
    if (error != ERR_OK) {
        write_failed(marks, error);
        return;
    }
    metric_add(&routing_metrics.marks, reply->n_results);
    for (size_t i = 0; i < reply->n_results; i++) {
        struct list_node *node = list_pop_front(&marks->flight);
        show(CONTAINER_OF(node, struct mark_entry, list_node), reply->results[i]);
    }
    if (marks->collecting.count >= MARKS_BATCH || marks->hurry) {
        flush(marks);
    } else if (marks->collecting.count > 0) {
        start_timer(marks, marks->routing->settings->marks_interval_us);
    }
}

static void take_flight(struct marks *marks, Pipit__CursorUpdate *updates,
                        Pipit__CursorUpdate **pointers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct mark_entry *entry =
            CONTAINER_OF(list_pop_front(&marks->collecting), struct mark_entry, list_node);
        map_remove(&marks->map, &entry->node);
        list_push_back(&marks->flight, &entry->list_node);
        pipit__cursor_update__init(&updates[i]);
        updates[i].user = entry->key.user;
        updates[i].device = entry->key.device;
        updates[i].conversation = entry->key.conversation;
        updates[i].delivered_seq = entry->delivered_seq;
        updates[i].read_seq = entry->read_seq;
        pointers[i] = &updates[i];
    }
}

static void flush(struct marks *marks) {
    struct routing *routing = marks->routing;
    if (marks->out || marks->collecting.count == 0 || routing->closing) {
        return;
    }
    loop_timer_stop(routing->loop, &marks->timer);
    Pipit__CursorUpdate updates[MARKS_BATCH];
    Pipit__CursorUpdate *pointers[MARKS_BATCH];
    size_t count = marks->collecting.count < MARKS_BATCH ? marks->collecting.count : MARKS_BATCH;
    take_flight(marks, updates, pointers, count);
    Pipit__CursorsRequest request = PIPIT__CURSORS_REQUEST__INIT;
    request.updates = pointers;
    request.n_updates = count;
    enum err error =
        storage_call(routing, MESSAGE_CURSORS_REQUEST, &request.base, on_written, marks);
    if (error != ERR_OK) {
        write_failed(marks, error);
        return;
    }
    marks->out = true;
}

/* --- collecting */

static bool mark_valid(const Pipit__Mark *mark) {
    return (mark->delivered_seq > 0 || mark->read_seq > 0) &&
           mark->delivered_seq <= LIMIT_SEQ_MAX && mark->read_seq <= LIMIT_SEQ_MAX &&
           names_conversation_id_valid(mark->conversation, strlen(mark->conversation)) &&
           names_user_id_valid(mark->user, strlen(mark->user)) &&
           strlen(mark->device) <= ROUTING_DEVICE_BYTES_MAX;
}

static struct mark_entry *take_entry(struct marks *marks, const struct mark_key *key) {
    struct map_node *found = map_find(&marks->map, key, sizeof *key);
    if (found != NULL) {
        return CONTAINER_OF(found, struct mark_entry, node);
    }
    struct list_node *node = list_pop_front(&marks->pool);
    if (node == NULL) {
        routing_limit_hit(LIMIT_HIT_MARKS);
        return NULL;
    }
    struct mark_entry *entry = CONTAINER_OF(node, struct mark_entry, list_node);
    entry->key = *key;
    entry->delivered_seq = entry->read_seq = 0;
    entry->tries = 0;
    map_insert(&marks->map, &entry->node, key, sizeof *key);
    list_push_back(&marks->collecting, &entry->list_node);
    return entry;
}

void marks_receive(struct routing *routing, const Pipit__Mark *mark) {
    struct marks *marks = routing->marks;
    if (!mark_valid(mark)) {
        return;
    }
    struct mark_key key;
    memset(&key, 0, sizeof key);
    memcpy(key.conversation, mark->conversation, strlen(mark->conversation));
    memcpy(key.user, mark->user, strlen(mark->user));
    memcpy(key.device, mark->device, strlen(mark->device));
    struct mark_entry *entry = take_entry(marks, &key);
    if (entry == NULL) {
        return;
    }
    raise_to(entry, mark->delivered_seq, mark->read_seq);
    entry->session = mark->session;
    if (marks->collecting.count >= MARKS_BATCH || marks->hurry) {
        flush(marks);
    } else {
        start_timer(marks, routing->settings->marks_interval_us);
    }
}

void marks_hurry(struct routing *routing) {
    routing->marks->hurry = true;
    flush(routing->marks);
}
