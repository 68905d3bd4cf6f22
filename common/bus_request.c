/* bus_request: the answering side. A server is one REP socket with a fixed set of contexts, each
 * with one aio that lives for ever and alternates between receiving a request and sending its
 * reply.
 *
 * A request is its context: the body stays in nng's message until bus_reply, which sends from the
 * calling thread; when nng has taken the reply, its callback puts the context back to receiving
 * without troubling the loop. A server whose contexts are all answering reads no more, so its
 * senders' TCP windows fill: that is the back-pressure.
 *
 * Order: nng gives requests to contexts in the order in which they were set to receive, but
 * completes them on several threads. Each receive takes a ticket under a lock, so the loop can hand
 * requests out in ticket order: two requests of one peer are never swapped.
 *
 * A reply to a peer that no longer reads would hold its context for ever: after
 * BUS_REPLY_TIMEOUT_MS it is dropped and that connection closed. */
#include "common/bus_private.h"

#include "common/contract.h"
#include "common/mem.h"

#include <nng/protocol/reqrep0/rep.h>
#include <pthread.h>
#include <string.h>

#define BUS_REPLY_TIMEOUT_MS 10000

enum request_state {
    REQUEST_RECEIVING,
    REQUEST_QUEUED,    /* on its way to the loop */
    REQUEST_ANSWERING, /* the user owes a bus_reply */
    REQUEST_REPLYING,  /* inside bus_reply */
    REQUEST_SENDING,
    REQUEST_DEAD, /* nng gave the context up; happens only when the process ends */
};

struct bus_request {
    struct bus_op op;
    struct bus_endpoint *endpoint;
    nng_ctx context;
    nng_aio *aio;
    _Atomic int state;
    nng_msg *message; /* the request, while QUEUED and ANSWERING; NULL: receiving failed */
    nng_pipe pipe;
    uint64_t ticket;
};

struct server_endpoint {
    struct bus_endpoint endpoint;
    pthread_mutex_t order_lock;
    uint64_t tickets;             /* given out */
    uint64_t next_ticket;         /* to be handed out; at most `contexts` behind `tickets` */
    struct bus_request **arrived; /* by ticket modulo contexts */
    struct bus_request requests[];
};

struct bus_server {
    struct bus_endpoint *endpoint;
    bus_request_fn on_request;
    void *user;
};

static struct server_endpoint *whole(struct bus_request *request) {
    return CONTAINER_OF(request->endpoint, struct server_endpoint, endpoint);
}

static void receive(struct bus_request *request) {
    struct server_endpoint *all = whole(request);
    nng_aio_set_timeout(request->aio, NNG_DURATION_INFINITE);
    atomic_store(&request->state, REQUEST_RECEIVING);
    pthread_mutex_lock(&all->order_lock);
    request->ticket = all->tickets++;
    nng_ctx_recv(request->context, request->aio); /* completes on another thread */
    pthread_mutex_unlock(&all->order_lock);
}

/* Back to receiving. Busy ends before the receive is posted: it may complete at once. */
static void recycle(struct bus_request *request) {
    atomic_fetch_sub(&request->endpoint->busy, 1);
    receive(request);
}

static void hand_out(struct bus_request *request) {
    struct bus_server *server = request->endpoint->owner;
    if (request->message == NULL || server == NULL) { /* failed, or closed meanwhile */
        if (request->message != NULL) {
            nng_msg_free(request->message);
            request->message = NULL;
        }
        recycle(request);
        return;
    }
    atomic_store(&request->state, REQUEST_ANSWERING);
    server->on_request(request, nng_msg_body(request->message), nng_msg_len(request->message),
                       server->user);
}

/* The arrived request whose turn it is, or NULL. */
static struct bus_request *take_next(struct server_endpoint *all) {
    pthread_mutex_lock(&all->order_lock);
    struct bus_request **place = &all->arrived[all->next_ticket % all->endpoint.contexts];
    struct bus_request *next = *place;
    if (next != NULL) {
        CONTRACT(next->ticket == all->next_ticket);
        *place = NULL;
        all->next_ticket++;
    }
    pthread_mutex_unlock(&all->order_lock);
    return next;
}

static void run_request(struct bus_op *op) {
    struct bus_request *request = CONTAINER_OF(op, struct bus_request, op);
    struct server_endpoint *all = whole(request);
    pthread_mutex_lock(&all->order_lock);
    all->arrived[request->ticket % all->endpoint.contexts] = request;
    pthread_mutex_unlock(&all->order_lock);
    while ((request = take_next(all)) != NULL) {
        hand_out(request);
    }
}

static void on_aio(void *arg) {
    struct bus_request *request = arg;
    int code = nng_aio_result(request->aio);
    if (atomic_load(&request->state) == REQUEST_SENDING) {
        if (code != 0) { /* the message came back */
            nng_msg_free(nng_aio_get_msg(request->aio));
            if (code == NNG_ETIMEDOUT) {
                (void)nng_pipe_close(request->pipe);
            }
        }
        nng_aio_set_msg(request->aio, NULL);
        recycle(request);
        return;
    }
    if (code == NNG_ECLOSED) {
        atomic_store(&request->state, REQUEST_DEAD);
        return;
    }
    request->message = code == 0 ? nng_aio_get_msg(request->aio) : NULL;
    nng_aio_set_msg(request->aio, NULL);
    if (request->message != NULL) {
        request->pipe = nng_msg_get_pipe(request->message);
    }
    atomic_store(&request->state, REQUEST_QUEUED);
    atomic_fetch_add(&request->endpoint->busy, 1);
    bus_core_push(atomic_load(&request->endpoint->core), &request->op);
}

void bus_reply(struct bus_request *request, const void *bytes, size_t count) {
    int state = atomic_exchange(&request->state, REQUEST_REPLYING);
    CONTRACT(state == REQUEST_ANSWERING); /* exactly one reply */
    nng_msg *reply;
    int code = nng_msg_alloc(&reply, count);
    if (code == 0 && count > 0) {
        memcpy(nng_msg_body(reply), bytes, count); /* before the request goes: it may be its body */
    }
    nng_msg_free(request->message);
    request->message = NULL;
    if (code != 0) { /* out of memory: the caller's time-out tells it */
        recycle(request);
        return;
    }
    nng_aio_set_msg(request->aio, reply);
    nng_aio_set_timeout(request->aio, BUS_REPLY_TIMEOUT_MS);
    atomic_store(&request->state, REQUEST_SENDING); /* last: publishes the rest to nng's threads */
    nng_ctx_send(request->context, request->aio);
}

/* --- servers */

/* On failure what was made is freed: no connection ever used it, so closing is safe here. */
static enum err create_endpoint(uint32_t contexts, struct bus_endpoint **out) {
    struct server_endpoint *made =
        mem_zalloc(1, sizeof *made + contexts * sizeof made->requests[0]);
    if (made == NULL) {
        return ERR_NO_MEMORY;
    }
    made->arrived = mem_zalloc(contexts, sizeof(struct bus_request *));
    if (made->arrived == NULL) {
        mem_free(made);
        return ERR_NO_MEMORY;
    }
    nng_socket socket;
    int code = nng_rep0_open(&socket);
    if (code != 0) {
        mem_free(made->arrived);
        mem_free(made);
        return bus_err_from_nng(code);
    }
    pthread_mutex_init(&made->order_lock, NULL);
    uint32_t opened = 0;
    enum err error = bus_endpoint_init(&made->endpoint, BUS_REP, contexts, socket);
    for (; error == ERR_OK && opened < contexts; opened++) {
        struct bus_request *request = &made->requests[opened];
        request->endpoint = &made->endpoint;
        request->op.run = run_request;
        code = nng_ctx_open(&request->context, socket);
        if (code == 0 && (code = nng_aio_alloc(&request->aio, on_aio, request)) != 0) {
            (void)nng_ctx_close(request->context);
        }
        error = bus_err_from_nng(code);
        if (error != ERR_OK) {
            break;
        }
    }
    if (error != ERR_OK) {
        while (opened-- > 0) {
            (void)nng_ctx_close(made->requests[opened].context);
            nng_aio_free(made->requests[opened].aio);
        }
        (void)nng_close(socket);
        pthread_mutex_destroy(&made->order_lock);
        mem_free(made->arrived);
        mem_free(made);
        return error;
    }
    for (uint32_t i = 0; i < contexts; i++) {
        receive(&made->requests[i]);
    }
    *out = &made->endpoint;
    return ERR_OK;
}

static void close_server(void *owner) {
    struct bus_server *server = owner;
    bus_server_close(&server);
}

enum err bus_server_create(struct bus *bus, const char *url, uint32_t contexts,
                           bus_request_fn on_request, void *user, struct bus_server **out) {
    CONTRACT(contexts > 0 && on_request != NULL);
    struct bus_server *server = mem_zalloc(1, sizeof *server);
    if (server == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = bus_endpoint_take(bus, BUS_REP, contexts, create_endpoint, &server->endpoint);
    if (error != ERR_OK) {
        mem_free(server);
        return error;
    }
    server->on_request = on_request;
    server->user = user;
    server->endpoint->owner = server;
    server->endpoint->close_owner = close_server;
    error = bus_endpoint_listen(server->endpoint, url);
    if (error != ERR_OK) {
        bus_server_close(&server);
        return error;
    }
    *out = server;
    return ERR_OK;
}

void bus_server_close(struct bus_server **server) {
    struct bus_server *gone = *server;
    if (gone == NULL) {
        return;
    }
    *server = NULL;
    bus_endpoint_release(gone->endpoint);
    mem_free(gone);
}
