/* submit: one SubmitBatch request from its arrival to its answer, and the messages in it. */
#ifndef PIPIT_ROUTING_SUBMIT_H
#define PIPIT_ROUTING_SUBMIT_H

#include "proto/limits.h"
#include "proto/submit.pb-c.h"
#include "services/routing/state.h"

struct conversation;
struct turns;

/* One request. Lives until its answer is sent: everything below points into its arena. */
struct submit_batch {
    struct list_node node; /* pool, or fanout's list of answers of this turn */
    struct bus_request *request;
    struct arena arena;
    const Pipit__SubmitBatch *message;
    Pipit__SubmitResult **results; /* one per submit, in order */
    size_t unresolved;
    size_t body_bytes;
    uint64_t received_us;
};

/* One message on its way. It is on exactly one list of its conversation (inbox, queue, flight or
 * stored) until submit_resolve. */
struct pending {
    struct list_node node;
    struct routing *routing;
    struct submit_batch *batch;
    const Pipit__Submit *submit;
    Pipit__SubmitResult *result;
    struct conversation *conversation; /* NULL before admission */
    uint64_t seq, ts_ms;
    uint64_t place; /* among those of its session (turns.h); 0: not looked up */
    bool in_doubt;  /* an append of it ended without an answer: it may be stored */
    bool origin_checked;
    bool target_checked; /* the three below are filled in */
    bool target_own;
    bool target_found;
    Pipit__MessageKind target_kind;
};

/* How a submit ended. */
struct submit_outcome {
    enum reason reason;
    uint64_t seq, ts_ms;
    uint32_t retry_ms;
    bool replay;
};

struct submits;
enum err submits_create(struct routing *routing, struct submits **out) MUST_CHECK;
void submits_destroy(struct submits **submits); /* all batches answered */
/* Reads a SubmitBatch: hands signals, marks and submits on; the answer follows when all submits are
 * resolved. */
void submit_receive(struct routing *routing, struct bus_request *request, const uint8_t *body,
                    size_t body_bytes);
/* Ends a pending submit; it must be on no list. Its memory may be gone at the end of the turn. One
 * that is in doubt cannot be refused: whatever the reason, its sender is told `timeout`, except
 * that `conflict` says who has the id. */
void submit_resolve(struct pending *pending, const struct submit_outcome *outcome);
void submit_refuse(struct pending *pending, enum reason reason);
/* It is refused, and its session will send it again by itself (turns.h): what came behind it
 * overtakes. conversation: where it is going, its id checked; NULL: not cached, or not known. */
void submit_keep_turn(struct pending *pending, struct conversation *conversation);
/* The conversation leaves the cache; takes over what its turns remember. */
void submits_keep_turns(struct routing *routing, struct turns *turns);
/* Something that its session sent before was refused, and the session did not know: to be refused.
 * conversation: where it is going; NULL: not cached. */
bool submit_overtakes(struct pending *pending, struct conversation *conversation);
/* It does not, nor does anything that came to this conversation before it wait any more. */
void submit_take_turn(struct pending *pending, struct conversation *conversation);
/* Counts a pending submit as waiting in a conversation; false when the total is at its limit. */
bool submit_enter(struct pending *pending, struct conversation *conversation);
/* After the answer was sent: the batch goes back to the pool. */
void submit_release(struct routing *routing, struct submit_batch *batch);
size_t submits_open(const struct submits *submits);    /* batches not yet answered */
size_t submits_pending(const struct submits *submits); /* messages in conversations */

#endif
