/* fanout: what leaves routing.
 *
 * A delivery is encoded once into the turn's arena; each interested endpoint's outbox gets a
 * pointer to it. At the end of the turn (or when an outbox is full) an outbox becomes one
 * DeliverBatch on the endpoint's stream. Then the SubmitReplies leave: so the ack of a message and
 * its deliveries go out in one turn, and an ack never runs ahead of the deliveries by more than
 * that.
 *
 * When the turn's arena is full the delivery is packed and published alone, behind what waits, so
 * order holds. When even that fails (no memory) nothing is published: members notice the missing
 * seq at the next message, as with any loss on the stream. */
#include "services/routing/fanout.h"

#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/routing/storage_call.h"

struct fanout {
    struct list dirty;   /* endpoints with a filled outbox */
    struct list replies; /* batches to answer */
};

enum err fanout_create(struct routing *routing, struct fanout **out) {
    (void)routing; /* alike for all modules */
    struct fanout *fanout = mem_zalloc(1, sizeof *fanout);
    if (fanout == NULL) {
        return ERR_NO_MEMORY;
    }
    list_init(&fanout->dirty);
    list_init(&fanout->replies);
    *out = fanout;
    return ERR_OK;
}

void fanout_destroy(struct fanout **fanout) {
    mem_free(*fanout);
    *fanout = NULL;
}

/* --- deliveries */

static void check_published(enum err error) {
    static struct log_limit limit;
    if (error != ERR_OK) {
        metric_add(&routing_metrics.publish_failures, 1);
        if (log_allowed(&limit, 1)) {
            log_event(LOG_WARN, "deliveries lost; endpoints will fetch them from history",
                      F_ERR(error));
        }
    }
}

static void publish_scratch(struct routing *routing, const struct endpoint *endpoint,
                            enum err packed) {
    check_published(packed != ERR_OK
                        ? packed
                        : stream_publish(routing->publisher, endpoint->id,
                                         buf_data(&routing->scratch), buf_len(&routing->scratch)));
}

static void flush_endpoint(struct routing *routing, struct endpoint *endpoint) {
    if (endpoint->outbox.count == 0) {
        return;
    }
    buf_clear(&routing->scratch);
    enum err error = delivery_batch_pack(&endpoint->outbox, &routing->scratch);
    publish_scratch(routing, endpoint, error);
    delivery_batch_clear(&endpoint->outbox);
}

static void publish_alone(struct routing *routing, const Pipit__Delivery *delivery,
                          const struct endpoint_set *to) {
    routing_limit_hit(LIMIT_HIT_TURN_MEMORY);
    Pipit__Delivery *deliveries[1] = {(Pipit__Delivery *)delivery};
    Pipit__DeliverBatch batch = PIPIT__DELIVER_BATCH__INIT;
    batch.n_deliveries = 1;
    batch.deliveries = deliveries;
    size_t slot = endpoint_set_next(to, 0);
    for (; slot < ENDPOINTS_MAX; slot = endpoint_set_next(to, slot + 1)) {
        struct endpoint *endpoint = directory_at(routing->directory, slot);
        flush_endpoint(routing, endpoint);
        buf_clear(&routing->scratch);
        enum err error =
            envelope_pack(MESSAGE_DELIVER_BATCH, &batch.base, false, &routing->scratch);
        publish_scratch(routing, endpoint, error);
    }
}

void fanout_event(struct routing *routing, const Pipit__Delivery *delivery,
                  const struct endpoint_set *to) {
    if (endpoint_set_empty(to)) {
        return;
    }
    struct delivery_bytes bytes;
    if (delivery_encode(delivery, &routing->turn, &bytes) != ERR_OK) {
        publish_alone(routing, delivery, to);
        return;
    }
    uint64_t count = 0;
    size_t slot = endpoint_set_next(to, 0);
    for (; slot < ENDPOINTS_MAX; slot = endpoint_set_next(to, slot + 1)) {
        struct endpoint *endpoint = directory_at(routing->directory, slot);
        CONTRACT(endpoint != NULL);
        if (!delivery_batch_fits(&endpoint->outbox, &bytes)) {
            flush_endpoint(routing, endpoint);
        }
        delivery_batch_add(&endpoint->outbox, &bytes);
        if (!list_node_linked(&endpoint->dirty_node)) {
            list_push_back(&routing->fanout->dirty, &endpoint->dirty_node);
        }
        count++;
    }
    metric_add(&routing_metrics.deliveries, count);
}

void fanout_message(struct routing *routing, Pipit__StoredMessage *message,
                    uint64_t members_version, uint64_t skip_session) {
    struct endpoint_set to = {{0}};
    directory_interested(routing->directory, message->conversation, &to);
    uint64_t recipients = 0;
    for (size_t i = 0; i < ENDPOINT_SET_WORDS; i++) {
        recipients += (uint64_t)__builtin_popcountll(to.words[i]);
    }
    metric_observe(&routing_metrics.fanout_recipients, recipients);
    Pipit__Delivery delivery = PIPIT__DELIVERY__INIT;
    delivery.event_case = PIPIT__DELIVERY__EVENT_MESSAGE;
    delivery.message = message;
    delivery.members_version = members_version;
    delivery.skip_session = skip_session;
    fanout_event(routing, &delivery, &to);
}

void fanout_forget(struct routing *routing, struct endpoint *endpoint) {
    delivery_batch_clear(&endpoint->outbox);
    if (list_node_linked(&endpoint->dirty_node)) {
        list_remove(&routing->fanout->dirty, &endpoint->dirty_node);
    }
}

/* --- answers */

void fanout_answer(struct routing *routing, struct bus_request *request, enum message_type type,
                   const ProtobufCMessage *answer) {
    buf_clear(&routing->scratch);
    /* Without memory for the answer the asker gets an empty one and treats it as unknown. */
    if (envelope_pack(type, answer, false, &routing->scratch) != ERR_OK) {
        buf_clear(&routing->scratch);
    }
    bus_reply(request, buf_data(&routing->scratch), buf_len(&routing->scratch));
}

void fanout_reply(struct routing *routing, struct submit_batch *batch) {
    list_push_back(&routing->fanout->replies, &batch->node);
}

void fanout_flush(struct routing *routing) {
    struct list_node *node = NULL;
    while ((node = list_pop_front(&routing->fanout->dirty)) != NULL) {
        flush_endpoint(routing, CONTAINER_OF(node, struct endpoint, dirty_node));
    }
    check_published(stream_flush(routing->publisher));
    while ((node = list_pop_front(&routing->fanout->replies)) != NULL) {
        struct submit_batch *batch = CONTAINER_OF(node, struct submit_batch, node);
        Pipit__SubmitReply reply = PIPIT__SUBMIT_REPLY__INIT;
        reply.n_results = batch->message->n_submits;
        reply.results = batch->results;
        fanout_answer(routing, batch->request, MESSAGE_SUBMIT_REPLY, &reply.base);
        submit_release(routing, batch);
    }
}
