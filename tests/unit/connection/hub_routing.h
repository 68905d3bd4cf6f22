/* hub_routing: a scripted routing instance over a real bus: it answers a hub's requests from the
 * store, remembers what the hub told it, and does to the hub what the test says: keeps answers
 * back, loses deliveries, restarts. Include behind cmocka. */
#ifndef PIPIT_TESTS_HUB_ROUTING_H
#define PIPIT_TESTS_HUB_ROUTING_H

#include "common/bus.h"
#include "common/stream.h"
#include "proto/deliver.pb-c.h"
#include "proto/directory.pb-c.h"
#include "proto/envelope.h"
#include "proto/reason.h"
#include "tests/unit/connection/hub_store.h"

#define ROUTING_HELD_MAX 32
#define ROUTING_SEEN_MAX 4096
#define ROUTING_SIGNALS_MAX 512

struct seen_submit {
    char user[40], device[80], conversation[48], to_user[40], body[96];
    uint8_t id[16];
    uint64_t session, ref;
    bool from_mqtt, maybe_copy;
};
struct seen_mark {
    char user[40], device[80], conversation[48];
    uint64_t delivered, read;
};
struct seen_signal {
    char user[40], conversation[48], status[16];
    bool typing, active;
};
struct routing_script {
    struct loop *loop;
    struct bus *bus;
    struct hub_store *store;
    struct bus_server *server;
    struct stream_publisher *publisher;
    char rep_url[BUS_URL_BYTES], pub_url[BUS_URL_BYTES];
    struct arena arena;
    struct buf out;

    uint64_t endpoint; /* the one hub's */
    uint64_t update_seq;
    unsigned updates, snapshots, parts, empty_updates, leavings;
    char conversations[ROUTING_SEEN_MAX][48]; /* of interest */
    size_t conversation_count;
    uint64_t sessions[256];
    size_t session_count;
    struct seen_submit submits[ROUTING_SEEN_MAX];
    size_t submit_count, batches;
    struct seen_mark marks[256];
    size_t mark_count;
    struct seen_signal signals[ROUTING_SIGNALS_MAX];
    size_t signal_count;

    unsigned devices_remembered;
    bool hold_interest, hold_submits, hold_lists, hold_history, hold_heads; /* keep requests back */
    bool ask_snapshot;       /* answer the next update with need_snapshot */
    bool no_publish;         /* stored, acknowledged, not published */
    bool draining;           /* refuses submits, and says so in answers to updates */
    unsigned releases;       /* updates that say that nothing more will be sent */
    enum reason refuse_with; /* not OK: all submits are refused */
    struct bus_request *held[ROUTING_HELD_MAX];
    uint8_t held_bytes[ROUTING_HELD_MAX][262144];
    size_t held_sizes[ROUTING_HELD_MAX];
    size_t held_count;
};

static inline void routing_reply(struct routing_script *routing, struct bus_request *request,
                                 enum message_type type, const ProtobufCMessage *message) {
    buf_clear(&routing->out);
    assert_int_equal(envelope_pack(type, message, false, &routing->out), ERR_OK);
    bus_reply(request, buf_data(&routing->out), buf_len(&routing->out));
}

static inline void routing_publish(struct routing_script *routing, Pipit__Delivery *delivery) {
    Pipit__Delivery *deliveries[1] = {delivery};
    Pipit__DeliverBatch batch = PIPIT__DELIVER_BATCH__INIT;
    batch.n_deliveries = 1;
    batch.deliveries = deliveries;
    buf_clear(&routing->out);
    assert_int_equal(envelope_pack(MESSAGE_DELIVER_BATCH, &batch.base, false, &routing->out),
                     ERR_OK);
    assert_int_equal(stream_publish(routing->publisher, routing->endpoint, buf_data(&routing->out),
                                    buf_len(&routing->out)),
                     ERR_OK);
}

/* Publishes a stored message, with the members' version of now. */
static inline void routing_deliver(struct routing_script *routing, const char *conversation,
                                   uint64_t seq, uint64_t skip_session) {
    struct stored_conversation *stored = store_find(routing->store, conversation);
    Pipit__StoredMessage row;
    store_row(stored, seq, &row);
    Pipit__Delivery delivery = PIPIT__DELIVERY__INIT;
    delivery.event_case = PIPIT__DELIVERY__EVENT_MESSAGE;
    delivery.message = &row;
    delivery.members_version = stored->members_version;
    delivery.skip_session = skip_session;
    routing_publish(routing, &delivery);
}

/* Publishes the state of one member as a change. */
static inline void routing_deliver_change(struct routing_script *routing, const char *conversation,
                                          const char *user) {
    struct stored_conversation *stored = store_find(routing->store, conversation);
    const struct stored_member *member = store_member(stored, user);
    Pipit__Member row = PIPIT__MEMBER__INIT;
    row.user = (char *)member->user;
    row.state = member->state;
    row.joined_seq = member->joined_seq;
    Pipit__Member *rows[1] = {&row};
    Pipit__MembersChanged change = PIPIT__MEMBERS_CHANGED__INIT;
    change.conversation = stored->id;
    change.members_version = stored->members_version;
    change.head = stored->head;
    change.n_changed = 1;
    change.changed = rows;
    Pipit__Delivery delivery = PIPIT__DELIVERY__INIT;
    delivery.event_case = PIPIT__DELIVERY__EVENT_MEMBERS;
    delivery.members = &change;
    routing_publish(routing, &delivery);
}

static inline bool routing_interested(const struct routing_script *routing, const char *id) {
    for (size_t i = 0; i < routing->conversation_count; i++) {
        if (strcmp(routing->conversations[i], id) == 0) {
            return true;
        }
    }
    return false;
}

static inline void routing_apply(struct routing_script *routing,
                                 const Pipit__InterestUpdate *update) {
    for (size_t i = 0; i < update->n_remove_conversations; i++) {
        for (size_t k = 0; k < routing->conversation_count; k++) {
            if (strcmp(routing->conversations[k], update->remove_conversations[i]) == 0) {
                memmove(routing->conversations[k],
                        routing->conversations[--routing->conversation_count], 48);
                break;
            }
        }
    }
    for (size_t i = 0; i < update->n_add_conversations; i++) {
        if (!routing_interested(routing, update->add_conversations[i])) {
            (void)snprintf(routing->conversations[routing->conversation_count++], 48, "%s",
                           update->add_conversations[i]);
        }
    }
    for (size_t i = 0; i < update->n_remove_sessions; i++) {
        for (size_t k = 0; k < routing->session_count; k++) {
            if (routing->sessions[k] == update->remove_sessions[i]) {
                routing->sessions[k] = routing->sessions[--routing->session_count];
                break;
            }
        }
    }
    for (size_t i = 0; i < update->n_add_sessions; i++) {
        routing->sessions[routing->session_count++] = update->add_sessions[i]->session;
    }
}

static inline void routing_on_interest(struct routing_script *routing, struct bus_request *request,
                                       const uint8_t *body, size_t bytes) {
    Pipit__InterestUpdate *update = NULL;
    assert_int_equal(ENVELOPE_UNPACK(INTEREST_UPDATE, body, bytes, &routing->arena, &update),
                     ERR_OK);
    Pipit__InterestReply reply = PIPIT__INTEREST_REPLY__INIT;
    reply.boot_id = stream_publisher_boot_id(routing->publisher);
    reply.draining = routing->draining;
    routing->updates++;
    routing->releases += update->released ? 1u : 0u;
    bool in_order = update->update_seq == routing->update_seq + 1 && routing->endpoint != 0;
    if (update->leaving) {
        routing->leavings++;
    } else if (routing->ask_snapshot || (!update->snapshot && !in_order)) {
        routing->ask_snapshot = false;
        reply.need_snapshot = true;
    } else {
        if (update->snapshot) {
            routing->snapshots++;
            routing->conversation_count = routing->session_count = 0;
        }
        size_t changes = update->n_add_conversations + update->n_remove_conversations +
                         update->n_add_sessions + update->n_remove_sessions;
        routing->empty_updates += !update->snapshot && changes == 0;
        routing->update_seq = update->update_seq;
        routing->endpoint = update->endpoint;
        assert_int_equal(stream_topic_open(routing->publisher, update->endpoint), ERR_OK);
        routing_apply(routing, update);
    }
    routing_reply(routing, request, MESSAGE_INTEREST_REPLY, &reply.base);
}

static inline void routing_see_batch(struct routing_script *routing,
                                     const Pipit__SubmitBatch *batch) {
    routing->batches++;
    for (size_t i = 0; i < batch->n_marks && routing->mark_count < 256; i++) {
        struct seen_mark *seen = &routing->marks[routing->mark_count++];
        (void)snprintf(seen->user, sizeof seen->user, "%s", batch->marks[i]->user);
        (void)snprintf(seen->device, sizeof seen->device, "%s", batch->marks[i]->device);
        (void)snprintf(seen->conversation, sizeof seen->conversation, "%s",
                       batch->marks[i]->conversation);
        seen->delivered = batch->marks[i]->delivered_seq;
        seen->read = batch->marks[i]->read_seq;
    }
    for (size_t i = 0; i < batch->n_signals && routing->signal_count < ROUTING_SIGNALS_MAX; i++) {
        struct seen_signal *seen = &routing->signals[routing->signal_count++];
        const Pipit__Signal *signal = batch->signals[i];
        (void)snprintf(seen->user, sizeof seen->user, "%s", signal->user);
        (void)snprintf(seen->conversation, sizeof seen->conversation, "%s", signal->conversation);
        (void)snprintf(seen->status, sizeof seen->status, "%s", signal->status);
        seen->typing = signal->kind == PIPIT__SIGNAL_KIND__SIGNAL_TYPING;
        seen->active = signal->active;
    }
}

static inline void routing_see_submit(struct routing_script *routing, const Pipit__Submit *submit) {
    struct seen_submit *seen = &routing->submits[routing->submit_count++ % ROUTING_SEEN_MAX];
    (void)snprintf(seen->user, sizeof seen->user, "%s", submit->user);
    (void)snprintf(seen->device, sizeof seen->device, "%s", submit->device);
    (void)snprintf(seen->conversation, sizeof seen->conversation, "%s", submit->conversation);
    (void)snprintf(seen->to_user, sizeof seen->to_user, "%s", submit->to_user);
    (void)snprintf(seen->body, sizeof seen->body, "%.*s", (int)submit->body.len,
                   (const char *)submit->body.data);
    memcpy(seen->id, submit->id.data, 16);
    seen->session = submit->session;
    seen->ref = submit->ref;
    seen->from_mqtt = submit->origin != NULL;
    seen->maybe_copy = submit->maybe_copy;
}

/* Stores and answers each submit of the batch; publishes to the hub unless told not to. */
static inline void routing_on_submits(struct routing_script *routing, struct bus_request *request,
                                      const uint8_t *body, size_t bytes) {
    Pipit__SubmitBatch *batch = NULL;
    assert_int_equal(ENVELOPE_UNPACK(SUBMIT_BATCH, body, bytes, &routing->arena, &batch), ERR_OK);
    routing_see_batch(routing, batch);
    Pipit__SubmitReply reply = PIPIT__SUBMIT_REPLY__INIT;
    reply.results = arena_alloc(&routing->arena, (batch->n_submits + 1) * sizeof *reply.results);
    for (size_t i = 0; i < batch->n_submits; i++) {
        const Pipit__Submit *submit = batch->submits[i];
        routing_see_submit(routing, submit);
        Pipit__SubmitResult *result = arena_alloc(&routing->arena, sizeof *result);
        pipit__submit_result__init(result);
        result->ref = submit->ref;
        struct stored_conversation *stored = store_find(routing->store, submit->conversation);
        struct stored_member *member = stored != NULL ? store_member(stored, submit->user) : NULL;
        if (routing->draining || routing->refuse_with != REASON_OK) {
            result->reason = routing->draining ? REASON_DRAIN : (uint32_t)routing->refuse_with;
        } else if (member == NULL || member->state != PIPIT__MEMBER_STATE__MEMBER_ACTIVE) {
            result->reason = REASON_NOT_MEMBER;
        } else if (store_seq_of(stored, submit->id.data) != 0) {
            result->conversation = stored->id;
            result->seq = store_seq_of(stored, submit->id.data);
            result->replay = true;
        } else {
            result->conversation = stored->id;
            result->seq = store_append(stored, submit->user, submit->device, submit->id.data);
            if (!routing->no_publish && routing_interested(routing, stored->id)) {
                routing_deliver(routing, stored->id, result->seq, submit->session);
            }
        }
        reply.results[reply.n_results++] = result;
    }
    routing_reply(routing, request, MESSAGE_SUBMIT_REPLY, &reply.base);
}

static inline void routing_answer(struct routing_script *routing, struct bus_request *request,
                                  const uint8_t *body, size_t bytes) {
    arena_reset(&routing->arena);
    switch (envelope_type(body, bytes)) {
    case MESSAGE_INTEREST_UPDATE:
        routing_on_interest(routing, request, body, bytes);
        break;
    case MESSAGE_SUBMIT_BATCH:
        routing_on_submits(routing, request, body, bytes);
        break;
    case MESSAGE_HISTORY_REQUEST: {
        Pipit__HistoryRequest *ask = NULL;
        Pipit__HistoryReply reply = PIPIT__HISTORY_REPLY__INIT;
        assert_int_equal(ENVELOPE_UNPACK(HISTORY_REQUEST, body, bytes, &routing->arena, &ask),
                         ERR_OK);
        store_history(routing->store, ask, &routing->arena, &reply);
        routing_reply(routing, request, MESSAGE_HISTORY_REPLY, &reply.base);
        break;
    }
    case MESSAGE_HEADS_REQUEST: {
        Pipit__HeadsRequest *ask = NULL;
        Pipit__HeadsReply reply = PIPIT__HEADS_REPLY__INIT;
        assert_int_equal(ENVELOPE_UNPACK(HEADS_REQUEST, body, bytes, &routing->arena, &ask),
                         ERR_OK);
        store_heads(routing->store, ask, &routing->arena, &reply);
        routing_reply(routing, request, MESSAGE_HEADS_REPLY, &reply.base);
        break;
    }
    case MESSAGE_CONVERSATIONS_REQUEST: {
        Pipit__ConversationsRequest *ask = NULL;
        Pipit__ConversationsReply reply = PIPIT__CONVERSATIONS_REPLY__INIT;
        assert_int_equal(ENVELOPE_UNPACK(CONVERSATIONS_REQUEST, body, bytes, &routing->arena, &ask),
                         ERR_OK);
        store_list(routing->store, ask, &routing->arena, &reply);
        routing_reply(routing, request, MESSAGE_CONVERSATIONS_REPLY, &reply.base);
        break;
    }
    case MESSAGE_CURSORS_REQUEST: { /* only to remember a device */
        Pipit__CursorsReply reply = PIPIT__CURSORS_REPLY__INIT;
        routing->devices_remembered++;
        routing_reply(routing, request, MESSAGE_CURSORS_REPLY, &reply.base);
        break;
    }
    case MESSAGE_PRESENCE_QUERY: {
        static char *online[] = {(char *)"u_ann", (char *)"u_bob"};
        Pipit__PresenceReply reply = PIPIT__PRESENCE_REPLY__INIT;
        reply.n_online = 2;
        reply.online = online;
        routing_reply(routing, request, MESSAGE_PRESENCE_REPLY, &reply.base);
        break;
    }
    default:
        fail_msg("unexpected request");
    }
}

static inline bool routing_holds(const struct routing_script *routing, enum message_type type) {
    return (type == MESSAGE_INTEREST_UPDATE && routing->hold_interest) ||
           (type == MESSAGE_SUBMIT_BATCH && routing->hold_submits) ||
           (type == MESSAGE_CONVERSATIONS_REQUEST && routing->hold_lists) ||
           (type == MESSAGE_HEADS_REQUEST && routing->hold_heads) ||
           (type == MESSAGE_HISTORY_REQUEST && routing->hold_history);
}

static inline void routing_on_request(struct bus_request *request, const uint8_t *body,
                                      size_t bytes, void *user) {
    struct routing_script *routing = user;
    if (routing_holds(routing, envelope_type(body, bytes))) {
        assert_true(routing->held_count < ROUTING_HELD_MAX &&
                    bytes <= sizeof routing->held_bytes[0]);
        routing->held[routing->held_count] = request;
        memcpy(routing->held_bytes[routing->held_count], body, bytes);
        routing->held_sizes[routing->held_count++] = bytes;
        return;
    }
    routing_answer(routing, request, body, bytes);
}

/* Answers what was kept back; what is held from now on is not. */
static inline void routing_release(struct routing_script *routing) {
    routing->hold_interest = routing->hold_submits = routing->hold_lists = false;
    routing->hold_history = routing->hold_heads = false;
    size_t count = routing->held_count;
    routing->held_count = 0;
    for (size_t i = 0; i < count; i++) {
        routing_answer(routing, routing->held[i], routing->held_bytes[i], routing->held_sizes[i]);
    }
}

/* Answers with nothing that can be read: for the hub the outcome is unknown. */
static inline void routing_spoil_held(struct routing_script *routing) {
    for (size_t i = 0; i < routing->held_count; i++) {
        bus_reply(routing->held[i], "?", 1);
    }
    routing->held_count = 0;
}

#endif
