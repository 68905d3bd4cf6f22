/* egress: the last hop of a message.
 *
 * Two rules make what sessions see dense, ordered and allowed. A delivery is handed out only when
 * it is the next one (seq == last + 1) and our knowledge of the members is as new as the message's
 * (members_version); anything older is a repetition, anything else starts a repair, and while that
 * runs deliveries are not kept. Two routing instances may well deliver one conversation out of
 * order when its owner changes; this is where it becomes order again.
 *
 * A frame is encoded when the first session wants it, once, into a buffer that is reused, and lent
 * to each session. Sessions that cannot take more (an MQTT client with a full window) fall behind:
 * they get the rest from their backlog. Callbacks may close sessions; memberships do not change in
 * them. */
#include "services/connection/egress.h"

#include "common/clock.h"
#include "common/log.h"
#include "services/connection/backlog.h"
#include "services/connection/interest.h"
#include "services/connection/loads.h"
#include "services/connection/members.h"
#include "services/connection/queries.h"
#include "services/connection/repair.h"
#include "services/connection/sync.h"

/* --- events to sessions */

void hub_egress_to_user(struct hub *hub, struct hub_user *user, const struct event *event,
                        uint64_t skip_session) {
    struct session_walk walk;
    struct session *session = session_walk_first(hub, &user->sessions, &walk);
    for (; session != NULL; session = session_walk_next(&walk)) {
        if (session->state == SESSION_LIVE && session->id != skip_session) {
            session->ops->on_event(session, event);
        }
    }
}

void hub_egress_to_members(struct hub *hub, struct hub_conversation *conversation,
                           const struct event *event, uint64_t skip_session,
                           const struct hub_user *except) {
    const struct list *members = &conversation->memberships;
    for (struct list_node *node = list_first(members); node != NULL;
         node = list_next(members, node)) {
        struct hub_user *user = CONTAINER_OF(node, struct hub_membership, conversation_node)->user;
        if (user != except) {
            hub_egress_to_user(hub, user, event, skip_session);
        }
    }
}

/* --- messages */

struct hand_out {
    struct hub *hub;
    struct hub_conversation *conversation;
    const struct frame_event *row;
    struct event event; /* frame NULL: not yet encoded */
    uint64_t skip_session;
};

static enum err encode(struct hand_out *out) {
    buf_clear(&out->hub->frame);
    enum err error = frame_encode_event(&out->hub->frame, out->row);
    if (error == ERR_OK) {
        out->event.frame = buf_data(&out->hub->frame);
        out->event.frame_bytes = buf_len(&out->hub->frame);
    }
    return error;
}

static enum err give(struct hand_out *out, struct session *session) {
    if (session->state != SESSION_LIVE || session->id == out->skip_session ||
        hub_backlog_covers(out->hub, session, out->conversation, out->event.seq)) {
        return ERR_OK;
    }
    if (session->ops->can_take != NULL && !session->ops->can_take(session)) {
        hub_backlog_fall_behind(out->hub, session, out->conversation, out->event.seq - 1);
        return ERR_OK;
    }
    if (out->event.frame == NULL) {
        enum err error = encode(out);
        if (error != ERR_OK) {
            return error;
        }
    }
    metric_add(&hub_metrics.handed_out, 1);
    session->ops->on_event(session, &out->event);
    return ERR_OK;
}

static enum err give_members(struct hand_out *out) {
    const struct list *members = &out->conversation->memberships;
    for (struct list_node *node = list_first(members); node != NULL;
         node = list_next(members, node)) {
        struct hub_membership *membership =
            CONTAINER_OF(node, struct hub_membership, conversation_node);
        if (membership->joined_seq >= out->event.seq) {
            continue;
        }
        struct session_walk walk;
        struct session *session = session_walk_first(out->hub, &membership->user->sessions, &walk);
        for (; session != NULL; session = session_walk_next(&walk)) {
            enum err error = give(out, session);
            if (error != ERR_OK) {
                session_walk_end(&walk);
                return error;
            }
        }
    }
    return ERR_OK;
}

static void observe(const Pipit__StoredMessage *message) {
    uint64_t now_ms = clock_wall_ms();
    metric_observe(&hub_metrics.delivery_us,
                   now_ms > message->ts_ms ? (now_ms - message->ts_ms) * 1000u : 0);
}

enum err hub_egress_hand_out(struct hub *hub, struct hub_conversation *conversation,
                             const Pipit__StoredMessage *message, uint64_t skip_session) {
    static struct log_limit limit;
    struct frame_event row;
    enum err error = ERR_CORRUPT;
    if (hub_event_of(message, &row)) {
        struct hand_out out = {.hub = hub,
                               .conversation = conversation,
                               .row = &row,
                               .event = {.class = EVENT_MESSAGE,
                                         .kind = row.kind,
                                         .conversation = conversation->id,
                                         .seq = row.seq,
                                         .id = row.id},
                               .skip_session = skip_session};
        row.conversation = conversation->id;
        error = give_members(&out);
    }
    /* Without memory the first session that needed the frame was the first to get it: nobody has.
     */
    if (error == ERR_NO_MEMORY) {
        return error;
    }
    if (error != ERR_OK && log_allowed(&limit, 1)) {
        log_event(LOG_ERROR, "stored message is not well-formed; left out",
                  F_TEXT("conversation", conversation->id), F_UINT("seq", message->seq),
                  F_ERR(error));
    }
    conversation->last = message->seq;
    conversation->active_us = hub_now_us(hub);
    return ERR_OK;
}

/* --- deliveries */

static void receive_message(struct hub *hub, const Pipit__Delivery *delivery) {
    const Pipit__StoredMessage *message = delivery->message;
    struct hub_conversation *conversation = hub_conversation_find(hub, message->conversation);
    if (conversation == NULL || conversation->memberships.count == 0) {
        return; /* interest ended a moment ago */
    }
    if (message->seq <= conversation->last) {
        metric_add(&hub_metrics.duplicates, 1);
        return;
    }
    bool members_old = delivery->members_version > conversation->members_version;
    if (conversation->repair != REPAIR_NONE || members_old ||
        message->seq != conversation->last + 1) {
        hub_repair_gap(hub, conversation, message->seq,
                       members_old ? HUB_GAP_MEMBERS : HUB_GAP_SEQ);
        hub_repair_members(hub, conversation, delivery->members_version);
        return;
    }
    if (hub_egress_hand_out(hub, conversation, message, delivery->skip_session) != ERR_OK) {
        hub_repair_gap(hub, conversation, message->seq, HUB_GAP_FAILED);
        return;
    }
    observe(message);
}

static void receive_mark(struct hub *hub, const Pipit__Mark *mark) {
    struct hub_conversation *conversation = hub_conversation_find(hub, mark->conversation);
    if (conversation == NULL || conversation->memberships.count == 0) {
        return;
    }
    buf_clear(&hub->frame);
    if (frame_encode_mark(&hub->frame, conversation->id, mark->user, mark->delivered_seq,
                          mark->read_seq) != ERR_OK) {
        metric_add(&hub_metrics.shed[HUB_SHED_RECEIPT], 1);
        return;
    }
    struct event event = {.class = EVENT_RECEIPT,
                          .conversation = conversation->id,
                          .frame = buf_data(&hub->frame),
                          .frame_bytes = buf_len(&hub->frame)};
    hub_egress_to_members(hub, conversation, &event, mark->session, NULL);
}

static void receive_signal(struct hub *hub, const Pipit__Signal *signal) {
    struct hub_conversation *conversation = hub_conversation_find(hub, signal->conversation);
    if (conversation == NULL || conversation->memberships.count == 0) {
        return;
    }
    bool typing = signal->kind == PIPIT__SIGNAL_KIND__SIGNAL_TYPING;
    if (!typing && signal->kind != PIPIT__SIGNAL_KIND__SIGNAL_PRESENCE) {
        return; /* of a newer version */
    }
    const char *status = signal->status[0] != '\0' ? signal->status
                         : signal->active          ? "online"
                                                   : "offline";
    buf_clear(&hub->frame);
    enum err error =
        typing ? frame_encode_typing(&hub->frame, conversation->id, signal->user, signal->active)
               : frame_encode_presence(&hub->frame, signal->user, status);
    if (error != ERR_OK) {
        metric_add(&hub_metrics.shed[typing ? HUB_SHED_TYPING : HUB_SHED_PRESENCE], 1);
        return;
    }
    struct event event = {.class = typing ? EVENT_TYPING : EVENT_PRESENCE,
                          .conversation = conversation->id,
                          .frame = buf_data(&hub->frame),
                          .frame_bytes = buf_len(&hub->frame)};
    /* Nobody is told about themselves. */
    hub_egress_to_members(hub, conversation, &event, signal->session,
                          hub_user_find(hub, signal->user));
}

static void receive_kick(struct hub *hub, const Pipit__Kick *kick) {
    struct session *session = session_find(hub, kick->session);
    enum reason reason = reason_from_number(kick->reason);
    if (session != NULL) { /* without a reason: there was only this one at first */
        session_end(session, reason != REASON_OK ? reason : REASON_SESSION_TAKEN_OVER);
    }
}

static void receive(struct hub_peer *peer, const Pipit__Delivery *delivery) {
    struct hub *hub = peer->hub;
    switch (delivery->event_case) {
    case PIPIT__DELIVERY__EVENT_MESSAGE:
        receive_message(hub, delivery);
        break;
    case PIPIT__DELIVERY__EVENT_MARK:
        receive_mark(hub, delivery->mark);
        break;
    case PIPIT__DELIVERY__EVENT_SIGNAL:
        receive_signal(hub, delivery->signal);
        break;
    case PIPIT__DELIVERY__EVENT_MEMBERS:
        hub_members_changed(hub, delivery->members);
        break;
    case PIPIT__DELIVERY__EVENT_KICK:
        receive_kick(hub, delivery->kick);
        break;
    case PIPIT__DELIVERY__EVENT_MEMBERS_UNCERTAIN:
        hub_loads_reload_all(hub);
        hub_sync_all(hub);
        break;
    case PIPIT__DELIVERY__EVENT_DRAINING:
        hub_peer_leaves(peer);
        break;
    default: /* of a newer routing */
        break;
    }
}

void hub_egress_receive(struct hub_peer *peer, const uint8_t *payload, size_t bytes) {
    static struct log_limit limit;
    struct hub *hub = peer->hub;
    Pipit__DeliverBatch *batch = NULL;
    enum err error = ENVELOPE_UNPACK(DELIVER_BATCH, payload, bytes, hub_arena(hub), &batch);
    if (error != ERR_OK) {
        /* The stream counts it as received, so nothing else would notice. */
        if (log_allowed(&limit, 1)) {
            log_event(LOG_WARN, "deliveries cannot be read; comparing heads", F_ERR(error));
        }
        hub_sync_all(hub);
        hub_loads_reload_all(hub);
        return;
    }
    metric_add(&hub_metrics.deliveries, batch->n_deliveries);
    for (size_t i = 0; i < batch->n_deliveries; i++) {
        receive(peer, batch->deliveries[i]);
    }
}

void hub_egress_trouble(struct hub *hub, enum stream_trouble trouble) {
    static const enum hub_trouble kinds[] = {[STREAM_GAP] = HUB_TROUBLE_GAP,
                                             [STREAM_NEW_BOOT] = HUB_TROUBLE_BOOT,
                                             [STREAM_SILENT] = HUB_TROUBLE_SILENT};
    metric_add(&hub_metrics.troubles[kinds[trouble]], 1);
    hub_sync_all(hub);
    hub_interest_stream_changed(hub);
    if (trouble != STREAM_SILENT) { /* it is told again when the stream is back */
        hub_loads_reload_all(hub);
    }
}
