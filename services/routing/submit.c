/* submit: hop 2, the reading side.
 *
 * A request is unpacked into an arena of its own that lives until the answer, so a message's texts
 * and body are copied once (out of the bus message) and then only pointed at: by the append, by the
 * delivery and by the result. Objects of answered batches are kept in a pool with the first block
 * of their arena; the newest is reused first, so only as many stay warm as the load needs. There
 * are at most `requests_max` of them, because the bus has no more requests unanswered.
 *
 * A submit is resolved exactly once. The batch is answered when all of them are, at the end of that
 * turn, behind the deliveries of the same turn. */
#include "services/routing/submit.h"

#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/envelope.h"
#include "services/routing/admit.h"
#include "services/routing/conversation.h"
#include "services/routing/fanout.h"
#include "services/routing/marks.h"
#include "services/routing/signals.h"

#define BATCH_ARENA_BLOCK_BYTES (64u * 1024u)
#define BATCH_ARENA_BYTES_MAX (64u * 1024u * 1024u) /* 8 MiB of tiny submits unpack to less */
#define POOL_WARM_MAX 16                            /* pooled batches that keep their memory */

struct submits {
    struct list pool;
    size_t open, pending;
    size_t bytes;             /* bodies of open batches */
    struct turns_rough rough; /* of all conversations */
};

enum err submits_create(struct routing *routing, struct submits **out) {
    (void)routing; /* alike for all modules */
    struct submits *submits = mem_zalloc(1, sizeof *submits);
    if (submits == NULL) {
        return ERR_NO_MEMORY;
    }
    list_init(&submits->pool);
    *out = submits;
    return ERR_OK;
}

void submits_destroy(struct submits **submits) {
    if (*submits == NULL) {
        return;
    }
    CONTRACT((*submits)->open == 0);
    struct list_node *node = NULL;
    while ((node = list_pop_front(&(*submits)->pool)) != NULL) {
        struct submit_batch *batch = CONTAINER_OF(node, struct submit_batch, node);
        arena_finish(&batch->arena);
        mem_free(batch);
    }
    mem_free(*submits);
    *submits = NULL;
}

static struct submit_batch *take_batch(struct submits *submits) {
    struct list_node *node = list_pop_front(&submits->pool);
    if (node != NULL) {
        return CONTAINER_OF(node, struct submit_batch, node);
    }
    struct submit_batch *batch = mem_zalloc(1, sizeof *batch);
    if (batch != NULL) {
        arena_init(&batch->arena, BATCH_ARENA_BLOCK_BYTES, BATCH_ARENA_BYTES_MAX);
    }
    return batch;
}

void submit_release(struct routing *routing, struct submit_batch *batch) {
    struct submits *submits = routing->submits;
    CONTRACT(batch->unresolved == 0 && submits->open > 0);
    submits->open--;
    submits->bytes -= batch->body_bytes;
    batch->request = NULL;
    batch->message = NULL;
    if (submits->pool.count < POOL_WARM_MAX) {
        arena_reset(&batch->arena);
    } else {
        arena_finish(&batch->arena);
    }
    list_push_front(&submits->pool, &batch->node);
}

/* --- resolving */

static void count_outcome(const struct pending *pending, const struct submit_outcome *outcome) {
    if (outcome->reason != REASON_OK) {
        routing_metrics_rejected(outcome->reason);
        if (outcome->reason == REASON_TIMEOUT) {
            metric_add(&routing_metrics.unknown_outcomes, 1);
        }
        return;
    }
    metric_add(outcome->replay ? &routing_metrics.replays : &routing_metrics.accepted, 1);
    metric_observe(&routing_metrics.accept_us,
                   loop_now_us(pending->routing->loop) - pending->batch->received_us);
}

static void finish_one(struct routing *routing, struct submit_batch *batch) {
    CONTRACT(batch->unresolved > 0);
    if (--batch->unresolved == 0) {
        fanout_reply(routing, batch);
    }
}

static struct turn turn_of(const struct pending *pending) {
    const Pipit__Submit *submit = pending->submit;
    return (struct turn){.id = submit->id.data,
                         .session = submit->session,
                         .turn = submit->turn,
                         .oldest = submit->oldest_turn,
                         .place = pending->place != 0 ? pending->place : submit->turn};
}

void submit_keep_turn(struct pending *pending, struct conversation *conversation) {
    if (pending->submit->turn == 0) {
        return;
    }
    struct turn turn = turn_of(pending);
    uint64_t now_us = loop_now_us(pending->routing->loop);
    bool kept = conversation != NULL && turns_refused(&conversation->turns, &turn, now_us);
    if (conversation != NULL && !kept) {
        routing_limit_hit(LIMIT_HIT_REFUSED_TURNS);
    }
    if (!kept) {
        turns_rough_refused(&pending->routing->submits->rough, turn.session, turn.turn, now_us);
    }
}

void submits_keep_turns(struct routing *routing, struct turns *turns) {
    turns_rough_take(&routing->submits->rough, turns, loop_now_us(routing->loop));
}

bool submit_overtakes(struct pending *pending, struct conversation *conversation) {
    if (pending->submit->turn == 0) {
        return false;
    }
    struct turn turn = turn_of(pending);
    uint64_t now_us = loop_now_us(pending->routing->loop);
    bool may = turns_rough_may(&pending->routing->submits->rough, &turn, now_us) &&
               (conversation == NULL || turns_may(&conversation->turns, &turn, now_us));
    pending->place = turn.place;
    return !may;
}

void submit_take_turn(struct pending *pending, struct conversation *conversation) {
    if (pending->submit->turn != 0 && conversation->turns.room > 0) {
        struct turn turn = turn_of(pending);
        turns_take(&conversation->turns, &turn);
    }
}

void submit_resolve(struct pending *pending, const struct submit_outcome *how) {
    CONTRACT(!list_node_linked(&pending->node));
    static const struct submit_outcome unknown = {.reason = REASON_TIMEOUT};
    bool refused = how->reason != REASON_OK && how->reason != REASON_CONFLICT;
    const struct submit_outcome *outcome = refused && pending->in_doubt ? &unknown : how;
    struct routing *routing = pending->routing;
    Pipit__SubmitResult *result = pending->result;
    result->reason = (uint32_t)outcome->reason;
    result->seq = outcome->seq;
    result->ts_ms = outcome->ts_ms;
    result->retry_ms = outcome->retry_ms;
    result->replay = outcome->replay;
    count_outcome(pending, outcome);
    if (pending->conversation != NULL) {
        if (reason_retryable(outcome->reason)) {
            submit_keep_turn(pending, pending->conversation);
        }
        pending->conversation->pending_count--;
        pending->conversation = NULL;
        routing->submits->pending--;
        metric_set(&routing_metrics.pending, (int64_t)routing->submits->pending);
    }
    finish_one(routing, pending->batch);
}

void submit_refuse(struct pending *pending, enum reason reason) {
    submit_resolve(pending, &(struct submit_outcome){.reason = reason});
}

bool submit_enter(struct pending *pending, struct conversation *conversation) {
    struct routing *routing = pending->routing;
    if (routing->submits->pending >= routing->settings->pending_max) {
        routing_limit_hit(LIMIT_HIT_PENDING);
        return false;
    }
    if (conversation->pending_count >= routing->settings->pending_per_conversation_max) {
        routing_limit_hit(LIMIT_HIT_PENDING_CONVERSATION);
        return false;
    }
    pending->conversation = conversation;
    conversation->pending_count++;
    routing->submits->pending++;
    metric_set(&routing_metrics.pending, (int64_t)routing->submits->pending);
    return true;
}

size_t submits_open(const struct submits *submits) {
    return submits->open;
}

size_t submits_pending(const struct submits *submits) {
    return submits->pending;
}

/* --- receiving */

static enum err prepare_results(struct submit_batch *batch, struct pending **pendings) {
    size_t count = batch->message->n_submits;
    struct pending *all = arena_alloc(&batch->arena, (count + 1) * sizeof *all);
    Pipit__SubmitResult *results = arena_alloc(&batch->arena, (count + 1) * sizeof *results);
    batch->results = arena_alloc(&batch->arena, (count + 1) * sizeof *batch->results);
    if (all == NULL || results == NULL || batch->results == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        const Pipit__Submit *submit = batch->message->submits[i];
        pipit__submit_result__init(&results[i]);
        results[i].ref = submit->ref;
        results[i].conversation = submit->conversation;
        batch->results[i] = &results[i];
        all[i] = (struct pending){.batch = batch, .submit = submit, .result = &results[i]};
    }
    *pendings = all;
    return ERR_OK;
}

static void receive_all(struct routing *routing, struct submit_batch *batch,
                        struct pending *pendings) {
    const Pipit__SubmitBatch *message = batch->message;
    struct submits *submits = routing->submits;
    bool overload = submits->bytes > routing->settings->pending_bytes_max;
    if (overload) {
        routing_limit_hit(LIMIT_HIT_PENDING_BYTES);
    }
    batch->unresolved = message->n_submits + 1; /* one for us, so that no answer overtakes this */
    for (size_t i = 0; i < message->n_submits; i++) {
        pendings[i].routing = routing;
        if (overload) {
            admit_refuse(&pendings[i], REASON_OVERLOAD, ADMIT_RETRY_MS);
        } else {
            admit_submit(&pendings[i]);
        }
    }
    for (size_t i = 0; i < message->n_signals; i++) {
        signals_receive(routing, message->signals[i]);
    }
    for (size_t i = 0; i < message->n_marks; i++) {
        marks_receive(routing, message->marks[i]);
    }
    finish_one(routing, batch);
}

void submit_receive(struct routing *routing, struct bus_request *request, const uint8_t *body,
                    size_t body_bytes) {
    static struct log_limit limit;
    struct submit_batch *batch = take_batch(routing->submits);
    Pipit__SubmitReply nothing = PIPIT__SUBMIT_REPLY__INIT;
    if (batch == NULL) {
        fanout_answer(routing, request, MESSAGE_SUBMIT_REPLY, &nothing.base);
        return;
    }
    routing->submits->open++;
    routing->submits->bytes += body_bytes;
    batch->request = request;
    batch->body_bytes = body_bytes;
    batch->received_us = loop_now_us(routing->loop);
    batch->unresolved = 0;
    Pipit__SubmitBatch *message = NULL;
    struct pending *pendings = NULL;
    enum err error = ENVELOPE_UNPACK(SUBMIT_BATCH, body, body_bytes, &batch->arena, &message);
    if (error == ERR_OK) {
        batch->message = message;
        error = prepare_results(batch, &pendings);
    }
    if (error != ERR_OK) {
        if (log_allowed(&limit, 1)) {
            log_event(LOG_WARN, "submit batch refused", F_ERR(error), F_UINT("bytes", body_bytes));
        }
        fanout_answer(routing, request, MESSAGE_SUBMIT_REPLY, &nothing.base);
        submit_release(routing, batch);
        return;
    }
    receive_all(routing, batch, pendings);
}
