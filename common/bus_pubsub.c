/* bus_pubsub: publications. nng's PUB keeps a ring of messages for each subscriber and drops the
 * oldest in silence; its SUB does the same. The rings are sized here (messages, not bytes) and loss
 * is left to common/stream to notice.
 *
 * A PUB send never waits, so one aio without a callback serves every publication.
 *
 * A subscriber keeps SLOTS receives posted. nng serves them in the order they were posted whichever
 * thread completes them, so taking them in that order, as a ring, keeps the publisher's order while
 * a burst of messages costs one wake-up. What is not taken waits in nng's ring: bounded. */
#include "common/bus_private.h"

#include "common/contract.h"
#include "common/mem.h"

#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <string.h>

/* Source: loss measured at 5k-20k msg/s with these and with nng's defaults (16, 128). */
#define BUS_SEND_BUFFER_MESSAGES 1024
#define BUS_RECEIVE_BUFFER_MESSAGES 8192
#define BUS_SLOTS 64
#define BUS_TOPICS_MAX 64

/* --- publisher */

struct publisher_endpoint {
    struct bus_endpoint endpoint;
    nng_aio *aio;
};

struct bus_publisher {
    struct bus_endpoint *endpoint;
};

static enum err create_publisher(uint32_t contexts, struct bus_endpoint **out) {
    struct publisher_endpoint *made = mem_zalloc(1, sizeof *made);
    if (made == NULL) {
        return ERR_NO_MEMORY;
    }
    nng_socket socket;
    int code = nng_pub0_open(&socket);
    if (code != 0) {
        mem_free(made);
        return bus_err_from_nng(code);
    }
    enum err error = bus_endpoint_init(&made->endpoint, BUS_PUB, contexts, socket);
    if (error == ERR_OK) {
        error =
            bus_err_from_nng(nng_socket_set_int(socket, NNG_OPT_SENDBUF, BUS_SEND_BUFFER_MESSAGES));
    }
    if (error == ERR_OK) {
        error = bus_err_from_nng(nng_aio_alloc(&made->aio, NULL, NULL));
    }
    if (error != ERR_OK) {
        (void)nng_close(socket); /* no connection ever used it */
        mem_free(made);
        return error;
    }
    *out = &made->endpoint;
    return ERR_OK;
}

static void close_publisher(void *owner) {
    struct bus_publisher *publisher = owner;
    bus_publisher_close(&publisher);
}

enum err bus_publisher_create(struct bus *bus, const char *url, struct bus_publisher **out) {
    struct bus_publisher *publisher = mem_zalloc(1, sizeof *publisher);
    if (publisher == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = bus_endpoint_take(bus, BUS_PUB, 0, create_publisher, &publisher->endpoint);
    if (error != ERR_OK) {
        mem_free(publisher);
        return error;
    }
    publisher->endpoint->owner = publisher;
    publisher->endpoint->close_owner = close_publisher;
    error = bus_endpoint_listen(publisher->endpoint, url);
    if (error != ERR_OK) {
        bus_publisher_close(&publisher);
        return error;
    }
    *out = publisher;
    return ERR_OK;
}

enum err bus_publish_parts(struct bus_publisher *publisher, const void *head, size_t head_bytes,
                           const void *body, size_t body_bytes) {
    struct bus_endpoint *endpoint = publisher->endpoint;
    size_t bytes_max = endpoint->bus->message_bytes_max;
    if (head_bytes > bytes_max || body_bytes > bytes_max - head_bytes) {
        return ERR_TOO_LARGE;
    }
    if (atomic_load(&endpoint->pipes) == 0) {
        return ERR_OK; /* nobody listens */
    }
    nng_aio *aio = CONTAINER_OF(endpoint, struct publisher_endpoint, endpoint)->aio;
    nng_msg *message;
    int code = nng_msg_alloc(&message, head_bytes + body_bytes);
    if (code != 0) {
        return bus_err_from_nng(code);
    }
    uint8_t *bytes = nng_msg_body(message);
    if (head_bytes > 0) {
        memcpy(bytes, head, head_bytes);
    }
    if (body_bytes > 0) {
        memcpy(bytes + head_bytes, body, body_bytes);
    }
    nng_aio_set_msg(aio, message);
    nng_send_aio(endpoint->socket, aio);
    nng_aio_wait(aio); /* it is complete: PUB never waits */
    code = nng_aio_result(aio);
    if (code != 0) {
        nng_msg_free(message);
    }
    nng_aio_set_msg(aio, NULL);
    return bus_err_from_nng(code);
}

enum err bus_publish(struct bus_publisher *publisher, const void *bytes, size_t count) {
    return bus_publish_parts(publisher, bytes, count, NULL, 0);
}

void bus_publisher_close(struct bus_publisher **publisher) {
    struct bus_publisher *gone = *publisher;
    if (gone == NULL) {
        return;
    }
    *publisher = NULL;
    bus_endpoint_release(gone->endpoint);
    mem_free(gone);
}

/* --- subscriber */

struct slot {
    struct bus_endpoint *endpoint;
    nng_aio *aio;
    nng_msg *message;
    atomic_bool done;
};

struct subscriber_endpoint {
    struct bus_endpoint endpoint;
    uint32_t next; /* the slot posted first */
    struct slot slots[BUS_SLOTS];
};

struct topic {
    struct topic *next;
    size_t bytes;
    uint8_t prefix[];
};

struct bus_subscriber {
    struct bus_endpoint *endpoint;
    bus_message_fn on_message;
    void *user;
    struct topic *topics;
    size_t topic_count;
};

static void on_slot(void *arg) {
    struct slot *slot = arg;
    if (nng_aio_result(slot->aio) != 0) {
        return; /* only when the process ends: nothing else cancels a receive */
    }
    CONTRACT(!atomic_load(&slot->done)); /* taken before it was posted again */
    slot->message = nng_aio_get_msg(slot->aio);
    nng_aio_set_msg(slot->aio, NULL);
    atomic_store(&slot->done, true);
    bus_endpoint_signal(slot->endpoint);
}

/* The oldest message, or NULL; its slot receives again at once, which makes it the last. */
static nng_msg *take_message(struct subscriber_endpoint *whole) {
    struct slot *slot = &whole->slots[whole->next];
    if (!atomic_load(&slot->done)) {
        return NULL;
    }
    nng_msg *message = slot->message;
    slot->message = NULL;
    atomic_store(&slot->done, false);
    whole->next = (whole->next + 1) % BUS_SLOTS;
    nng_recv_aio(whole->endpoint.socket, slot->aio);
    return message;
}

static void on_messages(struct bus_endpoint *endpoint) {
    struct subscriber_endpoint *whole =
        CONTAINER_OF(endpoint, struct subscriber_endpoint, endpoint);
    struct bus_subscriber *subscriber = endpoint->owner;
    uint64_t generation = endpoint->generation;
    uint32_t stale_pipe = atomic_load(&endpoint->stale_pipe);
    for (uint32_t i = 0; i < BUS_SLOTS; i++) {
        nng_msg *message = take_message(whole);
        if (message == NULL) {
            return;
        }
        uint32_t pipe = (uint32_t)nng_pipe_id(nng_msg_get_pipe(message));
        if (stale_pipe == 0 || pipe != stale_pipe) {
            subscriber->on_message(nng_msg_body(message), nng_msg_len(message), subscriber->user);
        }
        nng_msg_free(message);
        if (endpoint->owner != subscriber || endpoint->generation != generation) {
            return; /* closed by its owner */
        }
    }
    if (atomic_load(&whole->slots[whole->next].done)) {
        bus_endpoint_signal(endpoint); /* more: after whatever else the loop has to do */
    }
}

static enum err create_subscriber(uint32_t contexts, struct bus_endpoint **out) {
    struct subscriber_endpoint *made = mem_zalloc(1, sizeof *made);
    if (made == NULL) {
        return ERR_NO_MEMORY;
    }
    nng_socket socket;
    int code = nng_sub0_open(&socket);
    if (code != 0) {
        mem_free(made);
        return bus_err_from_nng(code);
    }
    uint32_t opened = 0;
    enum err error = bus_endpoint_init(&made->endpoint, BUS_SUB, contexts, socket);
    if (error == ERR_OK) {
        error = bus_err_from_nng(
            nng_socket_set_int(socket, NNG_OPT_RECVBUF, BUS_RECEIVE_BUFFER_MESSAGES));
    }
    for (; error == ERR_OK && opened < BUS_SLOTS; opened++) {
        struct slot *slot = &made->slots[opened];
        slot->endpoint = &made->endpoint;
        error = bus_err_from_nng(nng_aio_alloc(&slot->aio, on_slot, slot));
        if (error != ERR_OK) {
            break;
        }
    }
    if (error != ERR_OK) {
        while (opened-- > 0) {
            nng_aio_free(made->slots[opened].aio);
        }
        (void)nng_close(socket); /* no connection ever used it */
        mem_free(made);
        return error;
    }
    for (uint32_t i = 0; i < BUS_SLOTS; i++) {
        nng_recv_aio(socket, made->slots[i].aio);
    }
    *out = &made->endpoint;
    return ERR_OK;
}

static void close_subscriber(void *owner) {
    struct bus_subscriber *subscriber = owner;
    bus_subscriber_close(&subscriber);
}

enum err bus_subscriber_create(struct bus *bus, const char *url, bus_message_fn on_message,
                               void *user, struct bus_subscriber **out) {
    CONTRACT(on_message != NULL);
    struct bus_subscriber *subscriber = mem_zalloc(1, sizeof *subscriber);
    if (subscriber == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = bus_endpoint_take(bus, BUS_SUB, 0, create_subscriber, &subscriber->endpoint);
    if (error != ERR_OK) {
        mem_free(subscriber);
        return error;
    }
    struct bus_endpoint *endpoint = subscriber->endpoint;
    nng_msg *old; /* what the previous owner did not take */
    while ((old = take_message(CONTAINER_OF(endpoint, struct subscriber_endpoint, endpoint))) !=
           NULL) {
        nng_msg_free(old);
    }
    subscriber->on_message = on_message;
    subscriber->user = user;
    endpoint->owner = subscriber;
    endpoint->on_event = on_messages;
    endpoint->close_owner = close_subscriber;
    error = bus_endpoint_dial(endpoint, url);
    if (error != ERR_OK) {
        bus_subscriber_close(&subscriber);
        return error;
    }
    *out = subscriber;
    return ERR_OK;
}

enum err bus_subscribe(struct bus_subscriber *subscriber, const void *topic, size_t bytes) {
    if (subscriber->topic_count == BUS_TOPICS_MAX) {
        return ERR_FULL; /* nng looks through all of them for each message */
    }
    struct topic *added = mem_alloc(sizeof *added + bytes);
    if (added == NULL) {
        return ERR_NO_MEMORY;
    }
    added->bytes = bytes;
    if (bytes > 0) {
        memcpy(added->prefix, topic, bytes);
    }
    int code = nng_socket_set(subscriber->endpoint->socket, NNG_OPT_SUB_SUBSCRIBE, topic, bytes);
    if (code != 0) {
        mem_free(added);
        return bus_err_from_nng(code);
    }
    added->next = subscriber->topics;
    subscriber->topics = added;
    subscriber->topic_count++;
    return ERR_OK;
}

void bus_subscriber_redial(struct bus_subscriber *subscriber) {
    bus_endpoint_drop_pipe(subscriber->endpoint);
}

void bus_subscriber_close(struct bus_subscriber **subscriber) {
    struct bus_subscriber *gone = *subscriber;
    if (gone == NULL) {
        return;
    }
    *subscriber = NULL;
    while (gone->topics != NULL) { /* before the release: the next owner starts without topics */
        struct topic *topic = gone->topics;
        gone->topics = topic->next;
        /* Fails only for a topic that was subscribed twice and is gone already. */
        (void)nng_socket_set(gone->endpoint->socket, NNG_OPT_SUB_UNSUBSCRIBE, topic->prefix,
                             topic->bytes);
        mem_free(topic);
    }
    bus_endpoint_release(gone->endpoint);
    mem_free(gone);
}
