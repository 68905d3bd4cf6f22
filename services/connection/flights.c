/* flights: batches on their way to a routing instance, and their answers.
 *
 * A submit in flight is remembered by its ref alone: session, request number, time; a session that
 * closes meanwhile simply is not found any more. The packed request is kept until the answer.
 *
 * Lost with its connection (ERR_CLOSED): the instance died, or froze and was given up. Nobody knows
 * what became of the batch; it waits in `returned` and goes to another instance (again.c) with the
 * same ids, so what was stored is found, not stored twice. A refusal of the second instance cannot
 * undo what the first may have done: it is told as `timeout`. Refused by an instance that drains:
 * nothing was done, it goes to another one.
 * A time-out is told to the client at once: the instance is there, but storage is slow, and more
 * work would make it slower. */
#include "services/connection/ingress_private.h"

#include "common/log.h"
#include "common/mem.h"
#include "services/connection/marks.h"

#define FLIGHT_WARM_BYTES (256u * 1024u) /* more than that is given back */
#define FULL_RETRY_US 1000u              /* all contexts are in use */

struct hub_flight *hub_flight_take(struct hub *hub) {
    struct hub_ingress *ingress = hub->ingress;
    struct list_node *node = list_pop_front(&ingress->idle);
    struct hub_flight *flight = node != NULL ? CONTAINER_OF(node, struct hub_flight, node) : NULL;
    if (flight == NULL) {
        flight = hub_pool_take(&ingress->flights);
        if (flight == NULL) {
            return NULL;
        }
        flight->hub = hub;
        list_init(&flight->pendings);
        list_init(&flight->marks);
        buf_init(&flight->bytes, hub->settings->bus.message_bytes_max);
        list_push_back(&ingress->all, &flight->all_node);
    }
    flight->number = ++ingress->flight_number;
    return flight;
}

void hub_flight_give(struct hub_flight *flight) {
    CONTRACT(flight->pendings.count == 0 && flight->marks.count == 0);
    buf_clear(&flight->bytes);
    if (flight->bytes.held > FLIGHT_WARM_BYTES) {
        buf_shrink(&flight->bytes);
    }
    flight->peer = NULL;
    list_push_front(&flight->hub->ingress->idle, &flight->node);
}

/* --- results */

void hub_flight_answer(struct hub *hub, struct hub_pending *pending,
                       const struct session_result *result) {
    struct session *session = session_find(hub, pending->session);
    uint64_t request = pending->request, began_us = pending->began_us;
    struct session_result told = *result;
    if (pending->in_doubt && told.reason != REASON_OK && told.reason != REASON_CONFLICT) {
        told.reason = REASON_TIMEOUT;
        told.retry_ms = 0;
    }
    hub_lane_leave(&hub->ingress->lanes, pending->lane);
    hub_pending_free(&hub->ingress->pendings, pending);
    if (session == NULL) {
        return; /* closed meanwhile */
    }
    metric_observe(&hub_metrics.submit_us, loop_now_us(hub->loop) - began_us);
    session->unanswered--;
    session->ops->on_result(session, request, &told);
}

static void take_result(struct hub_flight *flight, const Pipit__SubmitResult *told) {
    struct hub *hub = flight->hub;
    struct hub_pending *pending = hub_pending_find(&hub->ingress->pendings, told->ref);
    if (pending == NULL || pending->owner != flight) {
        return; /* not of this batch: a peer's mistake */
    }
    enum reason reason = reason_from_number(told->reason);
    if (reason == REASON_DRAIN && !hub->leaving) {
        pending->refused = true;
        hub_peer_leaves(flight->peer);
        return;
    }
    if (reason == REASON_OK && told->seq == 0) {
        reason = REASON_TIMEOUT; /* stored at no place: whatever it means, it is no ack (I1) */
    }
    struct session_result result = {.reason = reason,
                                    .seq = told->seq,
                                    .ts_ms = told->ts_ms,
                                    .conversation = told->conversation,
                                    .retry_ms = told->retry_ms,
                                    .replay = told->replay && !pending->in_doubt};
    list_remove(&flight->pendings, &pending->node);
    hub_flight_answer(hub, pending, &result);
}

/* What got no result: unknown, or refused and to be sent again. */
static void sort_out(struct hub_flight *flight, bool lost) {
    static const struct session_result unknown = {.reason = REASON_TIMEOUT, .conversation = ""};
    struct list kept;
    struct list_node *node = NULL;
    list_init(&kept);
    while ((node = list_pop_front(&flight->pendings)) != NULL) {
        struct hub_pending *pending = CONTAINER_OF(node, struct hub_pending, node);
        if (lost || pending->refused) {
            pending->in_doubt = pending->in_doubt || !pending->refused;
            pending->refused = false;
            list_push_back(&kept, node);
        } else {
            hub_flight_answer(flight->hub, pending, &unknown);
        }
    }
    while ((node = list_pop_front(&kept)) != NULL) {
        list_push_back(&flight->pendings, node);
    }
}

/* Behind those that were sent before it: calls end in any order when a connection is lost. */
static void put_back(struct hub_flight *flight) {
    struct list *returned = &flight->peer->ingress->returned;
    struct list later;
    list_init(&later);
    struct list_node *last = NULL;
    while (returned->count > 0 &&
           CONTAINER_OF(returned->head.prev, struct hub_flight, node)->number > flight->number) {
        last = returned->head.prev;
        list_remove(returned, last);
        list_push_front(&later, last);
    }
    list_push_back(returned, &flight->node);
    while ((last = list_pop_front(&later)) != NULL) {
        list_push_back(returned, last);
    }
    metric_add(&hub_metrics.retries, 1);
}

static void on_reply(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct hub_flight *flight = user;
    struct hub *hub = flight->hub;
    batch_returned(&flight->peer->ingress->batch);
    if (hub->closing) {
        return; /* the pools go as a whole */
    }
    bool lost = status == ERR_CLOSED;
    Pipit__SubmitReply *reply = NULL;
    if (status == ERR_OK) {
        status = ENVELOPE_UNPACK_REPLY(SUBMIT_REPLY, body, body_bytes, hub_arena(hub), &reply);
    }
    hub_marks_returned(hub, &flight->marks, status == ERR_OK);
    for (size_t i = 0; status == ERR_OK && i < reply->n_results; i++) {
        take_result(flight, reply->results[i]);
    }
    sort_out(flight, lost);
    if (flight->pendings.count > 0) {
        put_back(flight);
    } else {
        hub_flight_give(flight);
    }
    if (hub->leaving) {
        hub_soon(hub); /* hub_leave waits for the last one */
    }
}

/* --- sending */

static enum err pack(struct hub *hub, struct hub_ingress_peer *state, struct hub_flight *flight) {
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    batch.endpoint = hub->endpoint;
    batch.n_submits = state->submit_count;
    batch.submits = state->submits;
    batch.n_signals = state->signal_count;
    batch.signals = state->signals;
    batch.n_marks = state->mark_count;
    batch.marks = state->mark_rows;
    return envelope_pack(MESSAGE_SUBMIT_BATCH, &batch.base, false, &flight->bytes);
}

static void move_all(struct list *from, struct list *to) {
    struct list_node *node = NULL;
    while ((node = list_pop_front(from)) != NULL) {
        list_push_back(to, node);
    }
}

/* What was collected is in the flight now. */
static void load(struct hub_ingress_peer *state, struct hub_flight *flight) {
    for (struct list_node *node = list_first(&state->pendings); node != NULL;
         node = list_next(&state->pendings, node)) {
        CONTAINER_OF(node, struct hub_pending, node)->owner = flight;
    }
    move_all(&state->pendings, &flight->pendings);
    move_all(&state->marks, &flight->marks);
}

static void empty_batch(struct hub_ingress_peer *state) {
    state->batch.count = state->batch.bytes = 0;
    state->submit_count = state->signal_count = state->mark_count = 0;
    arena_reset(&state->arena);
}

static enum err call(struct hub_flight *flight) {
    struct hub_peer *peer = flight->peer;
    return rpc_call_peer(flight->hub->routing, peer->peer, buf_data(&flight->bytes),
                         buf_len(&flight->bytes), on_reply, flight);
}

/* No memory, or larger than a message may be: the client may try again. */
static void give_up(struct hub_peer *peer, enum err error) {
    static struct log_limit limit;
    struct hub_ingress_peer *state = peer->ingress;
    if (log_allowed(&limit, 1)) {
        log_event(LOG_WARN, "messages refused: the batch cannot be sent",
                  F_UINT("messages", state->submit_count), F_ERR(error));
    }
    hub_marks_returned(peer->hub, &state->marks, false);
    move_all(&state->pendings, &peer->hub->ingress->failed);
    hub_soon(peer->hub);
    empty_batch(state);
}

void hub_flight_send(struct hub_peer *peer) {
    struct hub *hub = peer->hub;
    struct hub_ingress_peer *state = peer->ingress;
    struct hub_flight *flight = hub_flight_take(hub);
    enum err error = flight != NULL ? pack(hub, state, flight) : ERR_NO_MEMORY;
    if (error == ERR_OK) {
        flight->peer = peer;
        error = call(flight);
    }
    if (error == ERR_OK) {
        load(state, flight);
        batch_sent(&state->batch, hub_now_us(hub));
        empty_batch(state);
    } else if (error == ERR_UNAVAILABLE) { /* its connection went this very moment */
        load(state, flight);
        empty_batch(state);
        hub_marks_returned(hub, &flight->marks, false);
        put_back(flight);
    } else {
        if (flight != NULL) {
            hub_flight_give(flight);
        }
        if (error == ERR_FULL) {
            hub_ingress_look_in(hub, FULL_RETRY_US);
        } else {
            give_up(peer, error);
        }
    }
}

enum err hub_flight_resend(struct hub_flight *flight) {
    enum err error = call(flight);
    if (error == ERR_OK) {
        flight->peer->ingress->batch.flights++;
    }
    return error;
}

enum err hub_flight_ground(struct hub_peer *peer) {
    struct hub_ingress_peer *state = peer->ingress;
    struct hub_flight *flight = hub_flight_take(peer->hub);
    enum err error = flight != NULL ? pack(peer->hub, state, flight) : ERR_NO_MEMORY;
    if (error != ERR_OK) {
        if (flight != NULL) {
            hub_flight_give(flight);
        }
        return error;
    }
    flight->peer = peer;
    load(state, flight);
    empty_batch(state);
    hub_marks_returned(peer->hub, &flight->marks, false);
    list_push_back(&state->returned, &flight->node);
    return ERR_OK;
}
