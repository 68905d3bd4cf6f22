/* bus_peer: the asking side. A peer is one REQ socket that dials one instance, with a fixed set of
 * contexts; a call borrows one of them and its aio: send, then (in nng's callback, when the pipe
 * has taken the request) receive what is left of the time-out, then the reply goes to the loop.
 *
 * Receiving starts only after the send has completed: nng 1.5 corrupts a context whose receive
 * times out while its send still waits for the pipe. Resending is off (a lost pipe would otherwise
 * send the request to the next connection on nng's own decision), so a lost pipe ends its calls
 * with ERR_CLOSED at once.
 *
 * nng notices no dead machine: after two time-outs in a row without a reply the pipe is closed, and
 * the dialer finds out whether somebody is there; the owner may say so earlier (redial).
 *
 * Open calls of a peer that was closed or lost its connection are answered here and at once: nng
 * keeps what it had not sent yet for the next connection, or to the end of the time-out. Its own
 * ends come later and find no one waiting; until then the context stays busy. */
#include "common/bus_private.h"

#include "common/contract.h"
#include "common/mem.h"

#include <limits.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/util/platform.h>
#include <string.h>

#define BUS_TIMEOUTS_MAX 2

struct call {
    struct bus_op op;
    struct bus_endpoint *endpoint;
    nng_ctx context;
    nng_aio *aio;
    /* The request is sent. Atomic, and written last before nng gets the call: that publishes the
     * other members to nng's threads whatever nng does inside. */
    atomic_bool receiving;
    nng_time deadline; /* nng_clock, milliseconds */
    int code;          /* how it ended */
    nng_msg *reply;
    bus_reply_fn on_reply; /* NULL: nobody waits (any more) */
    void *user;
    struct call *next_free;
};

struct peer_endpoint {
    struct bus_endpoint endpoint;
    struct call calls[];
};

struct bus_peer {
    struct bus_endpoint *endpoint;
    bus_peer_fn on_state;
    void *user;
    struct call *free_calls;
    uint32_t outstanding;
    uint32_t timeouts; /* in a row */
    bool (*is_alive)(void *user);
    void *is_alive_user;
    uint32_t connects_seen; /* endpoint->connects when up was last reported */
    bool up;
};

static void on_aio(void *arg) {
    struct call *call = arg;
    int code = nng_aio_result(call->aio);
    if (!atomic_load(&call->receiving)) {
        if (code == 0) {
            nng_time now = nng_clock();
            nng_aio_set_msg(call->aio, NULL);
            nng_aio_set_timeout(call->aio,
                                call->deadline > now ? (nng_duration)(call->deadline - now) : 1);
            atomic_store(&call->receiving, true);
            nng_ctx_recv(call->context, call->aio);
            return;
        }
        nng_msg *unsent = nng_aio_get_msg(call->aio);
        if (unsent != NULL) {
            nng_msg_free(unsent);
        }
    } else if (code == 0) {
        call->reply = nng_aio_get_msg(call->aio);
    }
    nng_aio_set_msg(call->aio, NULL);
    call->code = code;
    bus_core_push(atomic_load(&call->endpoint->core), &call->op);
}

static enum err call_status(int code) {
    switch (code) {
    case 0:
        return ERR_OK;
    case NNG_ETIMEDOUT:
        return ERR_TIMEOUT;
    case NNG_ENOMEM:
        return ERR_NO_MEMORY;
    default: /* ECONNRESET, ECLOSED; ESTATE when the pipe went between sending and receiving */
        return ERR_CLOSED;
    }
}

static void note_outcome(struct bus_peer *peer, enum err status) {
    if (status == ERR_OK) {
        peer->timeouts = 0;
    } else if (status == ERR_TIMEOUT && ++peer->timeouts >= BUS_TIMEOUTS_MAX &&
               (peer->is_alive == NULL || !peer->is_alive(peer->is_alive_user))) {
        peer->timeouts = 0;
        bus_endpoint_drop_pipe(peer->endpoint);
    }
}

/* For a closed peer this only gives back what the call held; that may be on one of nng's threads,
 * after the bus is gone. */
static void run_orphan(struct call *call) {
    struct bus_endpoint *endpoint = call->endpoint;
    bool lingering = endpoint->lingering;
    if (call->reply != NULL) {
        nng_msg_free(call->reply);
        call->reply = NULL;
    }
    atomic_fetch_sub(&endpoint->busy, 1); /* last, unless it lingers and so is still ours */
    if (lingering) {
        bus_endpoint_settle(endpoint);
    }
}

static void run_call(struct bus_op *op) {
    struct call *call = CONTAINER_OF(op, struct call, op);
    struct bus_peer *peer = call->endpoint->owner;
    if (peer == NULL) {
        run_orphan(call);
        return;
    }
    bus_reply_fn on_reply = call->on_reply;
    void *user = call->user;
    nng_msg *reply = call->reply;
    enum err status = call_status(call->code);
    call->on_reply = NULL;
    call->reply = NULL;
    call->next_free = peer->free_calls;
    peer->free_calls = call;
    atomic_fetch_sub(&call->endpoint->busy, 1);
    if (on_reply != NULL) { /* else it was ended when the connection was lost */
        peer->outstanding--;
        note_outcome(peer, status);
        /* May call again, or close the peer. */
        on_reply(status, reply != NULL ? nng_msg_body(reply) : NULL,
                 reply != NULL ? nng_msg_len(reply) : 0, user);
    }
    if (reply != NULL) {
        nng_msg_free(reply);
    }
}

/* Ends the calls that somebody waits for. False when a callback closed the peer. */
static bool end_calls(struct bus_peer *peer) {
    struct bus_endpoint *endpoint = peer->endpoint;
    struct call *calls = CONTAINER_OF(endpoint, struct peer_endpoint, endpoint)->calls;
    uint64_t generation = endpoint->generation;
    for (uint32_t i = 0; i < endpoint->contexts; i++) {
        bus_reply_fn on_reply = calls[i].on_reply;
        if (on_reply == NULL) {
            continue;
        }
        calls[i].on_reply = NULL;
        peer->outstanding--;
        on_reply(ERR_CLOSED, NULL, 0, calls[i].user);
        if (endpoint->owner != peer || endpoint->generation != generation) {
            return false;
        }
    }
    return true;
}

enum err bus_call(struct bus_peer *peer, const void *bytes, size_t count, uint64_t timeout_us,
                  bus_reply_fn on_reply, void *user) {
    CONTRACT(on_reply != NULL && timeout_us > 0);
    if (count > peer->endpoint->bus->message_bytes_max) {
        return ERR_TOO_LARGE;
    }
    if (!peer->up || atomic_load(&peer->endpoint->pipe_id) == 0) {
        return ERR_UNAVAILABLE;
    }
    struct call *call = peer->free_calls;
    if (call == NULL) {
        return ERR_FULL;
    }
    nng_msg *message;
    int code = nng_msg_alloc(&message, count);
    if (code != 0) {
        return bus_err_from_nng(code);
    }
    if (count > 0) {
        memcpy(nng_msg_body(message), bytes, count);
    }
    peer->free_calls = call->next_free;
    peer->outstanding++;
    uint64_t timeout_ms = timeout_us / 1000u + (timeout_us % 1000u != 0 ? 1 : 0);
    if (timeout_ms > INT_MAX) {
        timeout_ms = INT_MAX;
    }
    call->on_reply = on_reply;
    call->user = user;
    call->deadline = nng_clock() + timeout_ms;
    atomic_fetch_add(&peer->endpoint->busy, 1);
    nng_aio_set_msg(call->aio, message);
    nng_aio_set_timeout(call->aio, (nng_duration)timeout_ms);
    atomic_store(&call->receiving, false);
    nng_ctx_send(call->context, call->aio);
    return ERR_OK;
}

/* --- connection state */

static void on_event(struct bus_endpoint *endpoint) {
    struct bus_peer *peer = endpoint->owner;
    uint64_t generation = endpoint->generation;
    uint32_t connects = atomic_load(&endpoint->connects);
    bool up = atomic_load(&endpoint->pipe_id) != 0;
    if (peer->up && (!up || connects != peer->connects_seen)) {
        peer->up = false;
        if (peer->on_state != NULL) {
            peer->on_state(peer, false, peer->user);
            if (endpoint->owner != peer || endpoint->generation != generation) {
                return; /* closed by its owner */
            }
        }
        if (!end_calls(peer)) {
            return;
        }
    }
    if (!peer->up && up) {
        peer->up = true;
        peer->connects_seen = connects;
        peer->timeouts = 0;
        if (peer->on_state != NULL) {
            peer->on_state(peer, true, peer->user);
        }
    }
}

bool bus_peer_up(const struct bus_peer *peer) {
    return peer->up;
}

void bus_peer_redial(struct bus_peer *peer) {
    bus_endpoint_drop_pipe(peer->endpoint);
}

void bus_peer_set_pulse(struct bus_peer *peer, bool (*is_alive)(void *user), void *user) {
    peer->is_alive = is_alive;
    peer->is_alive_user = user;
}

uint32_t bus_peer_outstanding(const struct bus_peer *peer) {
    return peer->outstanding;
}

/* --- peers */

/* On failure what was made is freed: no connection ever used it, so closing is safe here. */
static enum err create_endpoint(uint32_t contexts, struct bus_endpoint **out) {
    struct peer_endpoint *made = mem_zalloc(1, sizeof *made + contexts * sizeof made->calls[0]);
    if (made == NULL) {
        return ERR_NO_MEMORY;
    }
    nng_socket socket;
    int code = nng_req0_open(&socket);
    if (code != 0) {
        mem_free(made);
        return bus_err_from_nng(code);
    }
    uint32_t opened = 0;
    enum err error = bus_endpoint_init(&made->endpoint, BUS_REQ, contexts, socket);
    if (error == ERR_OK) { /* before the contexts: they inherit it */
        error = bus_err_from_nng(
            nng_socket_set_ms(socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE));
    }
    for (; error == ERR_OK && opened < contexts; opened++) {
        struct call *call = &made->calls[opened];
        call->endpoint = &made->endpoint;
        call->op.run = run_call;
        code = nng_ctx_open(&call->context, socket);
        if (code == 0 && (code = nng_aio_alloc(&call->aio, on_aio, call)) != 0) {
            (void)nng_ctx_close(call->context);
        }
        error = bus_err_from_nng(code);
        if (error != ERR_OK) {
            break;
        }
    }
    if (error != ERR_OK) {
        while (opened-- > 0) {
            (void)nng_ctx_close(made->calls[opened].context);
            nng_aio_free(made->calls[opened].aio);
        }
        (void)nng_close(socket);
        mem_free(made);
        return error;
    }
    *out = &made->endpoint;
    return ERR_OK;
}

static void close_peer(void *owner) {
    struct bus_peer *peer = owner;
    bus_peer_close(&peer);
}

enum err bus_peer_create(struct bus *bus, const char *url, uint32_t contexts, bus_peer_fn on_state,
                         void *user, struct bus_peer **out) {
    CONTRACT(contexts > 0);
    struct bus_peer *peer = mem_zalloc(1, sizeof *peer);
    if (peer == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = bus_endpoint_take(bus, BUS_REQ, contexts, create_endpoint, &peer->endpoint);
    if (error != ERR_OK) {
        mem_free(peer);
        return error;
    }
    struct call *calls = CONTAINER_OF(peer->endpoint, struct peer_endpoint, endpoint)->calls;
    for (uint32_t i = contexts; i-- > 0;) {
        calls[i].next_free = peer->free_calls;
        peer->free_calls = &calls[i];
    }
    peer->on_state = on_state;
    peer->user = user;
    peer->connects_seen = atomic_load(&peer->endpoint->connects);
    peer->endpoint->owner = peer;
    peer->endpoint->on_event = on_event;
    peer->endpoint->close_owner = close_peer;
    error = bus_endpoint_dial(peer->endpoint, url);
    if (error != ERR_OK) {
        bus_peer_close(&peer);
        return error;
    }
    *out = peer;
    return ERR_OK;
}

void bus_peer_close(struct bus_peer **peer) {
    struct bus_peer *gone = *peer;
    if (gone == NULL) {
        return;
    }
    *peer = NULL;
    gone->up = false; /* a callback below that calls again gets ERR_UNAVAILABLE */
    CONTRACT(end_calls(gone));
    bus_endpoint_retire(gone->endpoint);
    mem_free(gone);
}
