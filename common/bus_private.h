/* bus_private: what the bus*.c files share; nothing else includes it, and no other file includes
 * nng.
 *
 * nng's sockets, contexts and aios are never freed (closing them is unsafe in 1.5 and 1.10), so
 * they live in endpoints that outlast the buses: a closed peer leaves its endpoint idle in a
 * registry, and a later one of the same kind takes it over once nng is done with its last
 * operation. */
#ifndef PIPIT_COMMON_BUS_PRIVATE_H
#define PIPIT_COMMON_BUS_PRIVATE_H

#include "common/bus.h"

#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>
#include <pthread.h>
#include <stdatomic.h>

/* Something nng finished, on its way to the loop. `run` is called on the loop's thread; after the
 * bus was destroyed on whichever thread finished it (the endpoint has no owner then). */
struct bus_op {
    struct bus_op *next;
    void (*run)(struct bus_op *op);
};

/* The mailbox between nng's threads and one loop. Immortal and reused, because nng may finish
 * operations after the bus is gone. */
struct bus_core {
    struct list_node node;
    bool taken; /* under the registry's lock */
    pthread_mutex_t lock;
    struct loop *loop;            /* under lock; NULL once the bus is destroyed */
    _Atomic(struct bus_op *) ops; /* newest first */
    atomic_bool posted;           /* call is on its way through the loop */
    struct loop_call call;
};

struct bus {
    struct loop *loop;
    struct bus_core *core;
    size_t message_bytes_max;
    nng_tls_config *tls_server, *tls_client; /* NULL without TLS */
    struct loop_timer redial_timer;
};

enum bus_endpoint_kind { BUS_REP, BUS_REQ, BUS_PUB, BUS_SUB };

struct bus_endpoint {
    struct list_node node; /* registry: for ever */
    enum bus_endpoint_kind kind;
    uint32_t contexts;
    nng_socket socket;
    /* Loop's thread, while attached. */
    bool attached; /* also under the registry's lock */
    struct bus *bus;
    void *owner; /* struct bus_server, bus_peer, bus_publisher or bus_subscriber; NULL: orphan */
    void (*on_event)(struct bus_endpoint *endpoint);
    void (*close_owner)(void *owner); /* for bus_destroy */
    uint64_t generation;              /* counts owners: tells whether one was replaced */
    char url[BUS_URL_BYTES];
    bool dialing, listening;
    bool lingering; /* no owner any more, but still connected */
    nng_dialer dialer;
    nng_listener listener;
    uint64_t down_since_us; /* 0: connected when last looked at */
    /* Any thread. */
    _Atomic(struct bus_core *) core;
    struct bus_op event; /* a pipe came or went, or a message came (SUB) */
    atomic_bool event_queued;
    _Atomic uint32_t pipe_id;    /* usable pipe of a dialing endpoint; 0: none */
    _Atomic uint32_t last_pipe;  /* newest pipe, even before it is usable */
    _Atomic uint32_t stale_pipe; /* newest pipe of the previous owner */
    _Atomic uint32_t pipes;
    atomic_bool ending; /* its connections are being ended: takes no new ones */
    _Atomic uint32_t connects;
    _Atomic uint32_t busy; /* contexts with an operation that nng or a queue still holds */
};

enum err bus_err_from_nng(int code);

/* bus_hangup.c is part of the program; always true. */
extern const bool bus_hangup_linked;
/* Shuts the sockets of the endpoint's connections down: nng reads their end, and its pipes go.
 * False: there is none. */
bool bus_hang_up(const struct bus_endpoint *endpoint);
/* How often nng had not buried them in time, in this process. */
extern _Atomic uint64_t bus_late_hang_ups;

/* Leaves nng one worker thread; once in a process, after nng's first socket. */
void bus_workers_limit(void);

/* Leaves both untouched (NULL) when the configuration has no files. Errors as bus_create. On an
 * error one of them may be set: the caller frees what is not NULL. */
enum err bus_tls_load(const struct bus_config *config, nng_tls_config **server,
                      nng_tls_config **client) MUST_CHECK;

/* Queues op for the loop; any thread. */
void bus_core_push(struct bus_core *core, struct bus_op *op);
/* Queues endpoint->event unless it is queued already; any thread. */
void bus_endpoint_signal(struct bus_endpoint *endpoint);

/* An idle endpoint of this kind with exactly `contexts` contexts, attached to the bus; else a new
 * one from create(). */
typedef enum err (*bus_endpoint_create_fn)(uint32_t contexts, struct bus_endpoint **out);
enum err bus_endpoint_take(struct bus *bus, enum bus_endpoint_kind kind, uint32_t contexts,
                           bus_endpoint_create_fn create, struct bus_endpoint **out) MUST_CHECK;
/* For create(): fills in a fresh endpoint around an open socket. */
enum err bus_endpoint_init(struct bus_endpoint *endpoint, enum bus_endpoint_kind kind,
                           uint32_t contexts, nng_socket socket) MUST_CHECK;
/* Closes dialer, listener and pipe; the endpoint goes back to the registry. */
void bus_endpoint_release(struct bus_endpoint *endpoint);
/* Forgets the owner; releases once no operation is under way or the connection is gone. */
void bus_endpoint_retire(struct bus_endpoint *endpoint);
/* To be called when `busy` went down: releases a retired endpoint that has become quiet. */
void bus_endpoint_settle(struct bus_endpoint *endpoint);
enum err bus_endpoint_listen(struct bus_endpoint *endpoint, const char *url) MUST_CHECK;
enum err bus_endpoint_dial(struct bus_endpoint *endpoint, const char *url) MUST_CHECK;
/* Gives the connection up, if there is one, and dials afresh. */
void bus_endpoint_drop_pipe(struct bus_endpoint *endpoint);

#endif
