/* lookup: questions about single messages.
 *
 * Edits, recalls and reactions name a seq; who wrote it decides whether they are allowed. The row
 * is fetched as the sender (viewer), so storage also decides whether the sender may see it at all.
 * An MQTT PUBLISH with DUP=1 may be a copy of one that was stored before a crash, through another
 * instance: its origin is looked for in the last day's tail (design section 4).
 * One look-up at a time per conversation, and later messages wait behind it: order is worth more
 * than the round trip. */
#include "services/routing/lookup.h"

#include "common/clock.h"
#include "common/contract.h"
#include "proto/storage.pb-c.h"
#include "services/routing/reload.h"
#include "services/routing/storage_call.h"
#include "services/routing/targets.h"
#include <string.h>

#define ORIGIN_AGE_MS                                                                              \
    86400000u /* MQTT clients resend within their session's life; a day is enough */
#define ORIGIN_TAIL_ROWS 1024u

/* The message that was asked about: still the head of the inbox, because only we could resolve it.
 */
static struct pending *asked(struct conversation *conversation) {
    struct list_node *node = list_first(&conversation->inbox);
    return node != NULL ? CONTAINER_OF(node, struct pending, node) : NULL;
}

static void refuse_asked(struct conversation *conversation, enum err error) {
    struct pending *pending = asked(conversation);
    if (pending != NULL) {
        list_remove(&conversation->inbox, &pending->node);
        submit_refuse(pending, reason_from_err(error));
    }
}

/* --- targets */

static void learn_target(struct pending *pending, const Pipit__HistoryReply *reply) {
    pending->target_checked = true;
    pending->target_found = false;
    if (reply->n_messages == 0 || reply->messages[0]->seq != pending->submit->target_seq) {
        return; /* not there, or from before the sender joined */
    }
    const Pipit__StoredMessage *row = reply->messages[0];
    targets_add(pending->routing->targets, pending->conversation->id, row->seq, row->sender,
                row->kind);
    pending->target_found = true;
    pending->target_own = strcmp(row->sender, pending->submit->user) == 0;
    pending->target_kind = row->kind;
}

static void on_target(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct conversation *conversation = user;
    Pipit__HistoryReply *reply = NULL;
    enum err error = storage_reply(conversation->routing, status, MESSAGE_HISTORY_REPLY, body,
                                   body_bytes, (ProtobufCMessage **)&reply);
    conversation->busy = BUSY_NONE;
    if (reload_again(conversation, status)) {
        conversation_run(conversation); /* it asks again */
        return;
    }
    if (error == ERR_OK) {
        error = storage_error(reply->error);
    }
    struct pending *pending = asked(conversation);
    if (error == ERR_NOT_MEMBER) {
        conversation->stale = true; /* removed a moment ago */
    }
    if (error != ERR_OK) {
        refuse_asked(conversation, error);
    } else if (pending != NULL) {
        learn_target(pending, reply);
    }
    conversation_run(conversation);
}

enum err lookup_target(struct conversation *conversation, const struct pending *pending) {
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = conversation->id;
    request.viewer = pending->submit->user;
    request.after_seq = pending->submit->target_seq - 1;
    request.limit = 1;
    enum err error = storage_call(conversation->routing, MESSAGE_HISTORY_REQUEST, &request.base,
                                  on_target, conversation);
    if (error == ERR_OK) {
        conversation->busy = BUSY_LOOKING;
    }
    return error;
}

/* --- origins */

static void on_origin(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct conversation *conversation = user;
    Pipit__OriginReply *reply = NULL;
    enum err error = storage_reply(conversation->routing, status, MESSAGE_ORIGIN_REPLY, body,
                                   body_bytes, (ProtobufCMessage **)&reply);
    conversation->busy = BUSY_NONE;
    if (reload_again(conversation, status)) {
        conversation_run(conversation); /* it asks again */
        return;
    }
    if (error == ERR_OK) {
        error = storage_error(reply->error);
    }
    struct pending *pending = asked(conversation);
    if (pending != NULL && error == ERR_OK) {
        list_remove(&conversation->inbox, &pending->node);
        submit_resolve(pending, &(struct submit_outcome){.reason = REASON_OK,
                                                         .seq = reply->seq,
                                                         .ts_ms = reply->ts_ms,
                                                         .replay = true});
    } else if (pending != NULL && error == ERR_NOT_FOUND) {
        pending->origin_checked = true;
    } else {
        refuse_asked(conversation, error);
    }
    conversation_run(conversation);
}

enum err lookup_origin(struct conversation *conversation, const struct pending *pending) {
    uint64_t now_ms = clock_wall_ms();
    Pipit__OriginRequest request = PIPIT__ORIGIN_REQUEST__INIT;
    request.conversation = conversation->id;
    request.sender = pending->submit->user;
    request.origin = pending->submit->origin;
    request.since_ms = now_ms > ORIGIN_AGE_MS ? now_ms - ORIGIN_AGE_MS : 0;
    request.tail_max = ORIGIN_TAIL_ROWS;
    enum err error = storage_call(conversation->routing, MESSAGE_ORIGIN_REQUEST, &request.base,
                                  on_origin, conversation);
    if (error == ERR_OK) {
        conversation->busy = BUSY_LOOKING;
    }
    return error;
}
