/* admit: hop 2, the deciding side.
 *
 * The first half looks at the message alone and at its sender: shape and sizes (validated here too,
 * because auth and future bridges submit as well as connection), the id's version and age (time-
 * ordered ids keep storage's index append-mostly, and an id from the far past or future could never
 * be found again), the sender's rate, and whether there is room.
 * The second half needs the conversation: was this id stored already, is the sender an active
 * member, may it touch the target. A non-member's refusal rests on members that are at most
 * ABSENT_AGE_US old: somebody who was just added must not be turned away because the event is still
 * on its way. */
#include "services/routing/admit.h"

#include "common/clock.h"
#include "common/id.h"
#include "proto/names.h"
#include "services/routing/copies.h"
#include "services/routing/lookup.h"
#include "services/routing/recent.h"
#include "services/routing/targets.h"
#include "services/routing/user_rate.h"
#include <string.h>

#define ABSENT_AGE_US 1000000u

/* --- without the conversation */

static enum reason check_id(const ProtobufCBinaryData *id) {
    if (id->len != ID_UUID_BYTES || id->data[6] >> 4 != 7 || id->data[8] >> 6 != 2) {
        return REASON_INVALID_ID;
    }
    uint64_t id_ms = id_uuid7_wall_ms(id->data);
    uint64_t now_ms = clock_wall_ms();
    uint64_t off_ms = id_ms > now_ms ? id_ms - now_ms : now_ms - id_ms;
    return off_ms > LIMIT_ID_WINDOW_MS ? REASON_ID_OUT_OF_WINDOW : REASON_OK;
}

static enum reason check_kind(const Pipit__Submit *submit) {
    bool needs_target = submit->kind != PIPIT__MESSAGE_KIND__MESSAGE_TEXT;
    if (submit->kind < PIPIT__MESSAGE_KIND__MESSAGE_TEXT ||
        submit->kind > PIPIT__MESSAGE_KIND__MESSAGE_REACT ||
        needs_target != (submit->target_seq != 0)) {
        return REASON_MALFORMED;
    }
    return submit->target_seq > LIMIT_SEQ_MAX || submit->reply_seq > LIMIT_SEQ_MAX
               ? REASON_MALFORMED
               : REASON_OK;
}

static enum reason check_origin(const Pipit__Submit *submit) {
    const Pipit__Origin *origin = submit->origin;
    if (origin == NULL) {
        return submit->maybe_copy ? REASON_MALFORMED : REASON_OK;
    }
    return origin->hash.len == ORIGIN_HASH_BYTES &&
                   strlen(origin->device) <= ROUTING_DEVICE_BYTES_MAX
               ? REASON_OK
               : REASON_MALFORMED;
}

static enum reason check_shape(const Pipit__Submit *submit) {
    if (!names_user_id_valid(submit->user, strlen(submit->user)) ||
        strlen(submit->device) > ROUTING_DEVICE_BYTES_MAX) {
        return REASON_MALFORMED;
    }
    if (submit->body.len > LIMIT_BODY_BYTES) {
        return REASON_TOO_LARGE;
    }
    enum reason reason = check_id(&submit->id);
    if (reason == REASON_OK) {
        reason = check_kind(submit);
    }
    return reason == REASON_OK ? check_origin(submit) : reason;
}

/* The conversation's id: given, or derived from the two users. Also fills the result's. */
static enum reason resolve_id(struct pending *pending, char id[LIMIT_CONVERSATION_ID_BYTES + 1]) {
    const Pipit__Submit *submit = pending->submit;
    size_t bytes = strlen(submit->conversation);
    if (bytes > 0) {
        if (!names_conversation_id_valid(submit->conversation, bytes)) {
            return REASON_MALFORMED;
        }
        memcpy(id, submit->conversation, bytes + 1);
        return REASON_OK;
    }
    if (names_direct_conversation(submit->user, submit->to_user, id) != ERR_OK) {
        return REASON_MALFORMED;
    }
    char *copy = arena_copy(&pending->batch->arena, id, strlen(id));
    if (copy == NULL) {
        return REASON_OVERLOAD;
    }
    pending->result->conversation = copy;
    return REASON_OK;
}

/* Before it is with the conversation; NULL: that is not cached, or not known. */
static void refuse_early(struct conversation *conversation, struct pending *pending,
                         enum reason reason, uint32_t retry_ms) {
    if (reason_retryable(reason)) {
        submit_keep_turn(pending, conversation);
    }
    submit_resolve(pending, &(struct submit_outcome){.reason = reason, .retry_ms = retry_ms});
}

/* One that is not cached is made behind the rate limit: nobody empties the cache at a higher one.
 */
static void admit_to(struct routing *routing, const char *id, struct pending *pending) {
    struct conversation *conversation = conversation_find(routing, id);
    if (submit_overtakes(pending, conversation)) {
        refuse_early(conversation, pending, REASON_UNAVAILABLE, 0);
        return;
    }
    uint32_t wait_ms =
        user_rates_take(routing->rates, pending->submit->user, loop_now_us(routing->loop));
    if (wait_ms > 0) {
        routing_limit_hit(LIMIT_HIT_RATE);
        refuse_early(conversation, pending, REASON_RATE_LIMITED, wait_ms);
        return;
    }
    if (conversation != NULL) {
        conversation_used(conversation);
    } else {
        conversation = conversation_get(routing, id);
    }
    if (conversation == NULL || !submit_enter(pending, conversation)) {
        refuse_early(conversation, pending, REASON_OVERLOAD, ADMIT_RETRY_MS);
        return;
    }
    conversation_enqueue(conversation, pending);
}

void admit_submit(struct pending *pending) {
    struct routing *routing = pending->routing;
    if (routing->draining) {
        submit_refuse(pending, REASON_DRAIN);
        return;
    }
    char id[LIMIT_CONVERSATION_ID_BYTES + 1];
    enum reason reason = check_shape(pending->submit);
    if (reason == REASON_OK) {
        reason = resolve_id(pending, id);
    }
    if (reason != REASON_OK) {
        refuse_early(NULL, pending, reason, 0);
        return;
    }
    admit_to(routing, id, pending);
}

void admit_refuse(struct pending *pending, enum reason reason, uint32_t retry_ms) {
    char id[LIMIT_CONVERSATION_ID_BYTES + 1];
    enum reason shape = check_shape(pending->submit);
    bool known = shape == REASON_OK && resolve_id(pending, id) == REASON_OK;
    refuse_early(known ? conversation_find(pending->routing, id) : NULL, pending, reason, retry_ms);
}

/* --- with the conversation */

static bool answer_repeated(struct conversation *conversation, struct pending *pending) {
    const Pipit__Submit *submit = pending->submit;
    struct submit_outcome outcome = {.reason = REASON_OK, .replay = true};
    if (!recent_ids_find(pending->routing->recent, submit->id.data, conversation->id, submit->user,
                         &outcome.seq, &outcome.ts_ms)) {
        return false;
    }
    submit_take_turn(pending, conversation);
    submit_resolve(pending, &outcome);
    return true;
}

static enum admit_result refuse(struct pending *pending, enum reason reason) {
    submit_refuse(pending, reason);
    return ADMIT_DONE;
}

/* Look-ups need the conversation for themselves, and everything admitted before them on disk. */
static enum admit_result look_up(struct conversation *conversation, struct pending *pending,
                                 enum err (*start)(struct conversation *conversation,
                                                   const struct pending *pending)) {
    if (conversation->busy != BUSY_NONE || conversation->queue.count > 0) {
        return ADMIT_WAIT;
    }
    enum err error = start(conversation, pending);
    if (error == ERR_FULL) {
        conversation_starve(conversation);
        return ADMIT_WAIT;
    }
    return error == ERR_OK ? ADMIT_WAIT : refuse(pending, reason_from_err(error));
}

static enum reason check_target(const struct conversation *conversation,
                                const struct pending *pending) {
    const struct member_entry *member =
        member_set_find(conversation->members, pending->submit->user);
    if (!pending->target_found || pending->submit->target_seq <= member->joined_seq) {
        return REASON_NOT_FOUND;
    }
    if (pending->target_kind != PIPIT__MESSAGE_KIND__MESSAGE_TEXT) {
        return REASON_MALFORMED; /* edits of edits would have no end */
    }
    switch (pending->submit->kind) {
    case PIPIT__MESSAGE_KIND__MESSAGE_EDIT:
        return pending->target_own ? REASON_OK : REASON_FORBIDDEN;
    case PIPIT__MESSAGE_KIND__MESSAGE_RECALL:
        return pending->target_own || member->role != PIPIT__MEMBER_ROLE__ROLE_MEMBER
                   ? REASON_OK
                   : REASON_FORBIDDEN;
    default:
        return REASON_OK; /* every member may react */
    }
}

static enum admit_result admit_target(struct conversation *conversation, struct pending *pending) {
    const Pipit__Submit *submit = pending->submit;
    if (!pending->target_checked &&
        targets_find(pending->routing->targets, conversation->id, submit->target_seq, submit->user,
                     &pending->target_own, &pending->target_kind)) {
        pending->target_checked = true;
        pending->target_found = true;
    }
    if (!pending->target_checked) {
        return look_up(conversation, pending, lookup_target);
    }
    enum reason reason = check_target(conversation, pending);
    return reason == REASON_OK ? ADMIT_QUEUE : refuse(pending, reason);
}

/* ADMIT_QUEUE: the sender may write here. */
static enum admit_result admit_sender(struct conversation *conversation, struct pending *pending) {
    const struct member_entry *member =
        member_set_find(conversation->members, pending->submit->user);
    bool direct = conversation->kind == PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT;
    bool blocked = direct && member != NULL && conversation->members->any_blocked;
    if (member != NULL && !blocked && member->state == PIPIT__MEMBER_STATE__MEMBER_ACTIVE) {
        return ADMIT_QUEUE;
    }
    uint64_t age_us = loop_now_us(pending->routing->loop) - conversation->loaded_us;
    if (age_us > ABSENT_AGE_US) {
        conversation->stale = true;
        return ADMIT_WAIT;
    }
    return refuse(pending, blocked ? REASON_BLOCKED : REASON_NOT_MEMBER);
}

/* A publication that was delayed: its copy, sent later, may have come before it. */
static enum admit_result admit_first(struct conversation *conversation, struct pending *pending) {
    struct submit_outcome outcome = {0};
    if (copies_under_way(conversation, pending)) {
        return ADMIT_WAIT;
    }
    if (copies_find(conversation, pending, &outcome)) {
        submit_resolve(pending, &outcome);
        return ADMIT_DONE;
    }
    return ADMIT_QUEUE;
}

static enum admit_result admit_origin(struct conversation *conversation, struct pending *pending) {
    if (pending->submit->origin == NULL) {
        return ADMIT_QUEUE;
    }
    if (!pending->submit->maybe_copy) {
        return admit_first(conversation, pending);
    }
    if (!pending->origin_checked) {
        return look_up(conversation, pending, lookup_origin);
    }
    copies_admitted(conversation);
    return ADMIT_QUEUE;
}

enum admit_result admit_member(struct conversation *conversation, struct pending *pending) {
    if (answer_repeated(conversation, pending)) {
        return ADMIT_DONE;
    }
    if (submit_overtakes(pending, conversation)) { /* the one before it was refused here */
        return refuse(pending, REASON_UNAVAILABLE);
    }
    submit_take_turn(pending, conversation);
    enum admit_result result = admit_sender(conversation, pending);
    if (result != ADMIT_QUEUE) {
        return result;
    }
    result = admit_origin(conversation, pending);
    if (result == ADMIT_QUEUE && pending->submit->kind != PIPIT__MESSAGE_KIND__MESSAGE_TEXT) {
        result = admit_target(conversation, pending);
    }
    if (result == ADMIT_QUEUE) {
        uint64_t now_ms = clock_wall_ms();
        pending->ts_ms = now_ms > conversation->last_ts_ms ? now_ms : conversation->last_ts_ms;
        conversation->last_ts_ms = pending->ts_ms;
    }
    return result;
}
