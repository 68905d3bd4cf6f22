/* append: group commit, seen from routing.
 *
 * Conversations with admitted messages wait on a list. At the end of each turn as many of them as
 * common/batch allows leave in one AppendBatch: at once when nothing is in flight, so an idle
 * system adds no wait; otherwise when enough has gathered or at the next beat. Several
 * batches may be in flight, but a conversation is in one at most (busy), which keeps its order
 * whatever storage does with the batches.
 *
 * The answer tells for each conversation how many of its messages are on disk, and why the next one
 * is not:
 *   DUPLICATE_ID   that message is stored already: its stored seq is the answer (or CONFLICT when
 * the id belongs to something else); the rest goes again, renumbered. DUPLICATE_SEQ  another
 * instance appended: fetch the tail, deliver it, look for our ids in it, go on behind it. When that
 * loses the race several times in a row the queue goes again at once behind the head that the
 * answer told, and the tail is fetched after: two instances that fight over a conversation then
 * take turns.
 *   no answer      the outcome is unknown. When the connection was lost, the storage instance is
 * gone or frozen: the messages go back to the queue, the conversation is loaded anew through
 * another instance, those that are in its tail are acknowledged and the others appended; their ids
 * make it harmless that the first append may still be carried out. After a time-out, or when they
 * waited for one already, they are answered with TIMEOUT (send the same id again). doubt.c looks
 * later for what was stored late.
 *
 * A session's messages keep their order: when one is refused and will come again, those that the
 * session sent behind it, and that still wait here, are refused with it. Those that are still on
 * their way here meet turns.h, where the session tries again by itself. */
#include "services/routing/append.h"

#include "common/batch.h"
#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/storage.pb-c.h"
#include "services/routing/doubt.h"
#include "services/routing/storage_call.h"
#include <string.h>

#define APPEND_FLIGHTS_MAX 16u
#define APPEND_RUNS_MAX 256u
#define APPEND_MESSAGES_MAX 512u
#define APPEND_BYTES_MAX (256u * 1024u)
#define MESSAGE_OVERHEAD_BYTES 192u /* id, sender, device, numbers: an estimate for the limits */
#define CONFLICTS_POLITE 2u         /* after these, renumber first and fetch the tail later */
#define CONFLICTS_MAX 32u
/* Behind the beat on which connection sends: long enough for its batches to have arrived. */
#define APPEND_PHASE_US 300u
#define RETRY_US 1000u /* storage's contexts are all in use by others */

struct flight {
    struct list_node node; /* pool */
    struct routing *routing;
    uint64_t sent_us;
    size_t run_count, message_count;
    struct conversation *runs[APPEND_RUNS_MAX];
};
struct append {
    struct routing *routing;
    struct list ready; /* struct conversation */
    struct batch batch;
    struct list pool;
    struct loop_timer timer;
    struct flight flights[APPEND_FLIGHTS_MAX];
};

enum err append_create(struct routing *routing, struct append **out) {
    struct append *append = mem_zalloc(1, sizeof *append);
    if (append == NULL) {
        return ERR_NO_MEMORY;
    }
    append->routing = routing;
    append->batch.phase_us = APPEND_PHASE_US;
    list_init(&append->ready);
    list_init(&append->pool);
    for (size_t i = 0; i < APPEND_FLIGHTS_MAX; i++) {
        append->flights[i].routing = routing;
        list_push_back(&append->pool, &append->flights[i].node);
    }
    *out = append;
    return ERR_OK;
}

void append_destroy(struct append **append) {
    if (*append != NULL) {
        CONTRACT((*append)->pool.count == APPEND_FLIGHTS_MAX && (*append)->ready.count == 0);
        loop_timer_stop((*append)->routing->loop, &(*append)->timer);
        mem_free(*append);
        *append = NULL;
    }
}

/* --- what is ready */

static size_t queued_bytes(const struct conversation *conversation) {
    return conversation->queue_bytes + conversation->queue.count * MESSAGE_OVERHEAD_BYTES;
}

/* The batch counts every message of every ready conversation: recounted, because queues also
 * shrink. */
static void recount(struct append *append) {
    append->batch.count = 0;
    append->batch.bytes = 0;
    struct list_node *node = list_first(&append->ready);
    for (; node != NULL; node = list_next(&append->ready, node)) {
        const struct conversation *conversation =
            CONTAINER_OF(node, struct conversation, ready_node);
        append->batch.count += conversation->queue.count;
        append->batch.bytes += queued_bytes(conversation);
    }
}

void append_ready(struct conversation *conversation) {
    struct append *append = conversation->routing->append;
    CONTRACT(conversation->busy == BUSY_NONE && conversation->queue.count > 0);
    append->batch.count++; /* exact numbers come with recount, once a turn */
    if (!list_node_linked(&conversation->ready_node)) {
        list_push_back(&append->ready, &conversation->ready_node);
    }
}

void append_unready(struct conversation *conversation) {
    if (list_node_linked(&conversation->ready_node)) {
        list_remove(&conversation->routing->append->ready, &conversation->ready_node);
    }
}

/* --- sending */

void append_fill_message(const struct pending *pending, Pipit__StoredMessage *message) {
    const Pipit__Submit *submit = pending->submit;
    message->id = submit->id;
    message->sender = submit->user;
    message->device = submit->device;
    message->kind = submit->kind;
    message->target_seq = submit->target_seq;
    message->reply_seq = submit->reply_seq;
    message->ts_ms = pending->ts_ms;
    message->body = submit->body;
    message->origin = submit->origin;
}

/* Moves up to `room` messages from the queue into the flight and describes them; NULL: no memory.
 */
static Pipit__AppendRun *load_run(struct conversation *conversation, size_t room,
                                  size_t room_bytes) {
    struct arena *arena = &conversation->routing->turn;
    size_t count = conversation->queue.count < room ? conversation->queue.count : room;
    Pipit__AppendRun *run = arena_alloc(arena, sizeof *run);
    Pipit__StoredMessage *messages = arena_alloc(arena, count * sizeof *messages);
    Pipit__StoredMessage **pointers = arena_alloc(arena, count * sizeof *pointers);
    if (run == NULL || messages == NULL || pointers == NULL) {
        return NULL;
    }
    pipit__append_run__init(run);
    run->conversation = conversation->id;
    run->first_seq = conversation->flight_first = conversation->head + 1;
    run->messages = pointers;
    size_t bytes = 0;
    while (run->n_messages < count) {
        struct pending *pending =
            CONTAINER_OF(list_first(&conversation->queue), struct pending, node);
        size_t cost = pending->submit->body.len + MESSAGE_OVERHEAD_BYTES;
        if (run->n_messages > 0 && bytes + cost > room_bytes) {
            break;
        }
        bytes += cost;
        list_remove(&conversation->queue, &pending->node);
        conversation->queue_bytes -= pending->submit->body.len;
        list_push_back(&conversation->flight, &pending->node);
        Pipit__StoredMessage *message = &messages[run->n_messages];
        pipit__stored_message__init(message);
        append_fill_message(pending, message);
        pointers[run->n_messages++] = message;
    }
    return run;
}

/* Back to the front of the queue, in order. */
static void unload_run(struct conversation *conversation) {
    while (conversation->flight.count > 0) {
        struct pending *pending =
            CONTAINER_OF(conversation->flight.head.prev, struct pending, node);
        list_remove(&conversation->flight, &pending->node);
        list_push_front(&conversation->queue, &pending->node);
        conversation->queue_bytes += pending->submit->body.len;
    }
}

static size_t flight_bytes(const Pipit__AppendRun *run) {
    size_t bytes = 0;
    for (size_t i = 0; i < run->n_messages; i++) {
        bytes += run->messages[i]->body.len + MESSAGE_OVERHEAD_BYTES;
    }
    return bytes;
}

static void load_flight(struct append *append, struct flight *flight, Pipit__AppendRun **runs) {
    size_t bytes = 0;
    size_t bytes_max = append->routing->settings->bus.message_bytes_max / 2;
    bytes_max = bytes_max < APPEND_BYTES_MAX ? bytes_max : APPEND_BYTES_MAX;
    flight->run_count = flight->message_count = 0;
    while (append->ready.count > 0 && flight->run_count < APPEND_RUNS_MAX &&
           flight->message_count < APPEND_MESSAGES_MAX && bytes < bytes_max) {
        struct conversation *conversation =
            CONTAINER_OF(list_first(&append->ready), struct conversation, ready_node);
        Pipit__AppendRun *run =
            load_run(conversation, APPEND_MESSAGES_MAX - flight->message_count, bytes_max - bytes);
        if (run == NULL) {
            routing_limit_hit(LIMIT_HIT_TURN_MEMORY);
            return; /* the next turn has an empty arena */
        }
        list_remove(&append->ready, &conversation->ready_node);
        conversation->busy = BUSY_APPENDING;
        bytes += flight_bytes(run);
        flight->message_count += run->n_messages;
        runs[flight->run_count] = run;
        flight->runs[flight->run_count++] = conversation;
    }
}

static void on_appended(enum err status, const uint8_t *body, size_t body_bytes, void *user);

/* Nothing was sent: FULL waits for a free context; else the messages are refused, all retryable. */
static void give_back(struct append *append, struct flight *flight, enum err error) {
    for (size_t i = 0; i < flight->run_count; i++) {
        struct conversation *conversation = flight->runs[i];
        unload_run(conversation);
        conversation->busy = BUSY_NONE;
        if (error == ERR_FULL) {
            append_ready(conversation);
        } else {
            conversation_fail(conversation, reason_from_err(error));
        }
    }
    list_push_front(&append->pool, &flight->node);
}

static bool send_flight(struct append *append) {
    struct routing *routing = append->routing;
    struct list_node *node = list_pop_front(&append->pool);
    if (node == NULL) {
        return false; /* a returning flight sends the rest */
    }
    struct flight *flight = CONTAINER_OF(node, struct flight, node);
    Pipit__AppendRun *runs[APPEND_RUNS_MAX];
    load_flight(append, flight, runs);
    if (flight->run_count == 0) {
        list_push_front(&append->pool, node);
        return false;
    }
    Pipit__AppendBatch batch = PIPIT__APPEND_BATCH__INIT;
    batch.n_runs = flight->run_count;
    batch.runs = runs;
    flight->sent_us = loop_now_us(routing->loop);
    enum err error = storage_call(routing, MESSAGE_APPEND_BATCH, &batch.base, on_appended, flight);
    if (error != ERR_OK) {
        give_back(append, flight, error);
        recount(append);
        return error != ERR_FULL;
    }
    metric_observe(&routing_metrics.append_messages, flight->message_count);
    batch_sent(&append->batch, flight->sent_us);
    recount(append);
    return true;
}

static void on_timer(struct loop_timer *timer) {
    (void)timer; /* the end of this turn sends what is due */
}

void append_flush(struct routing *routing) {
    struct append *append = routing->append;
    uint64_t now_us = loop_now_us(routing->loop);
    bool going = append->ready.count > 0;
    recount(append);
    while (going && append->ready.count > 0 && batch_due(&append->batch, now_us)) {
        going = send_flight(append);
    }
    if (append->ready.count == 0) {
        loop_timer_stop(routing->loop, &append->timer);
    } else {
        uint64_t wait_us = batch_due_in_us(&append->batch, now_us);
        loop_timer_start(routing->loop, &append->timer, wait_us > 0 ? wait_us : RETRY_US, on_timer);
    }
}

/* --- answers */

static struct pending *pop_flight(struct conversation *conversation) {
    struct list_node *node = list_pop_front(&conversation->flight);
    return node != NULL ? CONTAINER_OF(node, struct pending, node) : NULL;
}

/* Sessions whose messages were refused: what they sent later must not be stored before. */
struct refused {
    size_t count;
    uint64_t sessions[APPEND_MESSAGES_MAX]; /* a flight has no more messages */
};

static bool was_refused(const struct refused *refused, uint64_t session) {
    size_t i = 0;
    while (i < refused->count && refused->sessions[i] != session) {
        i++;
    }
    return i < refused->count;
}

static void refuse_in_order(struct refused *refused, struct pending *pending, enum reason reason) {
    uint64_t session = pending->submit->session;
    if (session != 0 && reason_retryable(reason) && !was_refused(refused, session)) {
        refused->sessions[refused->count++] = session;
    }
    submit_refuse(pending, reason);
}

static void refuse_followers(const struct refused *refused, struct list *list) {
    struct list_node *node = list_first(list);
    while (node != NULL) {
        struct list_node *next = list_next(list, node);
        struct pending *pending = CONTAINER_OF(node, struct pending, node);
        if (was_refused(refused, pending->submit->session)) {
            list_remove(list, node);
            submit_refuse(pending, REASON_UNAVAILABLE);
        }
        node = next;
    }
}

/* The flight is empty, or in the queue again. */
static void refuse_behind(struct conversation *conversation, const struct refused *refused) {
    if (refused->count == 0) {
        return;
    }
    refuse_followers(refused, &conversation->queue);
    refuse_followers(refused, &conversation->inbox);
    conversation->queue_bytes = 0;
    struct list_node *node = list_first(&conversation->queue);
    for (; node != NULL; node = list_next(&conversation->queue, node)) {
        conversation->queue_bytes += CONTAINER_OF(node, struct pending, node)->submit->body.len;
    }
}

static void refuse_flight(struct conversation *conversation, enum reason reason) {
    struct refused refused;
    struct pending *pending = NULL;
    refused.count = 0;
    while ((pending = pop_flight(conversation)) != NULL) {
        refuse_in_order(&refused, pending, reason);
    }
    refuse_behind(conversation, &refused);
}

/* The messages may be stored or not, now or in a while. again: another instance may know. */
static void outcome_unknown(struct conversation *conversation, bool again) {
    struct routing *routing = conversation->routing;
    struct refused refused;
    uint64_t now_us = loop_now_us(routing->loop);
    struct list_node *node = list_first(&conversation->flight);
    refused.count = 0;
    while (node != NULL) {
        struct list_node *next = list_next(&conversation->flight, node);
        struct pending *pending = CONTAINER_OF(node, struct pending, node);
        pending->in_doubt = true;
        if (!again || now_us - pending->batch->received_us >= routing->settings->bus.timeout_us) {
            list_remove(&conversation->flight, node);
            refuse_in_order(&refused, pending, REASON_TIMEOUT);
        }
        node = next;
    }
    metric_add(&routing_metrics.appends_again, conversation->flight.count);
    unload_run(conversation);
    refuse_behind(conversation, &refused);
    conversation->stale = true;
    conversation_trouble(conversation);
    doubt_add(conversation);
}

static void heard_of(struct conversation *conversation, uint64_t seq) {
    if (seq > conversation->store_head) {
        conversation->store_head = seq;
    }
}

static void duplicate_id(struct conversation *conversation, const Pipit__AppendResult *result) {
    struct pending *pending = pop_flight(conversation);
    bool same = strcmp(result->existing_conversation, conversation->id) == 0 &&
                strcmp(result->existing_sender, pending->submit->user) == 0;
    if (same) {
        submit_resolve(pending, &(struct submit_outcome){.reason = REASON_OK,
                                                         .seq = result->existing_seq,
                                                         .ts_ms = result->existing_ts_ms,
                                                         .replay = !pending->in_doubt});
        if (result->existing_seq > conversation->published) {
            heard_of(conversation, result->existing_seq); /* nobody may have delivered it */
        }
    } else {
        submit_refuse(pending, REASON_CONFLICT);
    }
    if (result->head > conversation->head) {
        heard_of(conversation, result->head);
    }
    unload_run(conversation);
}

static void duplicate_seq(struct conversation *conversation, const Pipit__AppendResult *result) {
    metric_add(&routing_metrics.conflicts, 1);
    metric_add(&routing_metrics.owner_changes, 1);
    conversation->conflicts++;
    if (conversation->conflicts > CONFLICTS_MAX) {
        conversation->conflicts = 0;
        conversation->stale = true;
        refuse_flight(conversation, REASON_UNAVAILABLE);
        return;
    }
    unload_run(conversation);
    if (result->head <= conversation->head) {
        conversation->stale = true; /* no newer head: storage knows better what there is */
    } else if (conversation->conflicts <= CONFLICTS_POLITE) {
        heard_of(conversation, result->head);
    } else {
        conversation->head = result->head;
    }
}

static void stop_at(struct conversation *conversation, enum err error,
                    const Pipit__AppendResult *result) {
    switch (error) {
    case ERR_DUPLICATE_ID:
        duplicate_id(conversation, result);
        break;
    case ERR_DUPLICATE_SEQ:
        duplicate_seq(conversation, result);
        break;
    case ERR_NO_SPACE:
    case ERR_INVALID:
        refuse_flight(conversation, reason_from_err(error));
        break;
    case ERR_NOT_FOUND:
        refuse_flight(conversation, REASON_NOT_FOUND);
        conversation->stale = true;
        break;
    default:
        outcome_unknown(conversation, false);
        break;
    }
}

static void finish_run(struct conversation *conversation, const Pipit__AppendResult *result) {
    uint64_t seq = conversation->flight_first;
    uint32_t stored = result->stored_count;
    for (; stored > 0 && conversation->flight.count > 0; stored--) {
        struct pending *pending = pop_flight(conversation);
        pending->seq = seq++;
        conversation->head = pending->seq;
        list_push_back(&conversation->stored, &pending->node);
    }
    if (result->members_version > conversation->members_seen) {
        conversation->members_seen = result->members_version; /* run loads them first (I4) */
    }
    enum err error = storage_error(result->error);
    if (conversation->flight.count > 0) {
        stop_at(conversation, error, result);
    } else if (error == ERR_OK) {
        conversation->conflicts = 0;
    }
}

static void finish_all(struct flight *flight, enum err error, const Pipit__AppendReply *reply,
                       bool lost) {
    for (size_t i = 0; i < flight->run_count; i++) {
        struct conversation *conversation = flight->runs[i];
        if (error == ERR_OK) {
            finish_run(conversation, reply->results[i]);
        } else if (error == ERR_NO_SPACE) {
            refuse_flight(conversation, REASON_STORAGE_FULL);
        } else {
            outcome_unknown(conversation, lost);
        }
        conversation->busy = BUSY_NONE;
        conversation_run(conversation);
    }
}

static void log_failure(const struct flight *flight, enum err error) {
    static struct log_limit limit;
    if (error != ERR_OK && !flight->routing->closing && log_allowed(&limit, 1)) {
        log_event(LOG_WARN, "append failed; its messages may be stored", F_ERR(error),
                  F_UINT("messages", flight->message_count));
    }
}

static void on_appended(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct flight *flight = user;
    struct routing *routing = flight->routing;
    Pipit__AppendReply *reply = NULL;
    enum err error = storage_reply(routing, status, MESSAGE_APPEND_REPLY, body, body_bytes,
                                   (ProtobufCMessage **)&reply);
    if (error == ERR_NO_SPACE) {
        error = ERR_CORRUPT; /* only a reply may say so */
    }
    if (error == ERR_OK) {
        error = storage_error(reply->error);
        if (error == ERR_OK && reply->n_results != flight->run_count) {
            error = ERR_CORRUPT;
        }
    }
    log_failure(flight, error);
    metric_observe(&routing_metrics.append_us, loop_now_us(routing->loop) - flight->sent_us);
    finish_all(flight, error, reply, status == ERR_CLOSED);
    batch_returned(&routing->append->batch);
    list_push_front(&routing->append->pool, &flight->node);
}
