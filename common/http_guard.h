/* http_guard: a deadline for every HTTP connection. libmicrohttpd's own time-out starts again with
 * every byte, so a peer that sends one byte a second (slowloris) would hold its place for ever. For
 * common/http alone. */
#ifndef PIPIT_COMMON_HTTP_GUARD_H
#define PIPIT_COMMON_HTTP_GUARD_H

#include "common/err.h"
#include "common/list.h"
#include <stdint.h>

/* What a connection does now; each phase but ANSWERING and CUT has a limit. */
enum http_phase {
    HTTP_PHASE_NONE,      /* not yet entered */
    HTTP_PHASE_RECEIVING, /* from the first byte to the whole request: 408, then closed */
    HTTP_PHASE_ANSWERING, /* our own work; the handler's duty to end */
    HTTP_PHASE_SENDING,   /* the peer reads the answer */
    HTTP_PHASE_IDLE,      /* kept alive, waiting for the next request */
    HTTP_PHASE_CUT,       /* shut down; waits to be closed */
    HTTP_PHASE_COUNT
};
struct http_guarded {
    struct list_node node;
    enum http_phase phase;
    uint64_t due_us;
    int fd; /* borrowed; open until http_guard_leave has returned */
};
struct http_guard;

/* A peer may read an answer this many times as long as it may take to send a request: a page's
 * files over a slow link are larger than any request. */
#define HTTP_GUARD_SENDING_FACTOR 10u

/* Starts the guard's thread. ERR_NO_MEMORY, ERR_FULL (no thread). */
enum err http_guard_create(uint64_t request_timeout_us, uint64_t idle_timeout_us,
                           struct http_guard **out) MUST_CHECK;
/* All connections must have left. */
void http_guard_destroy(struct http_guard **guard);
/* Moves the connection to a phase and starts its limit; a connection that was cut stays cut. Any
 * thread. */
void http_guard_enter(struct http_guard *guard, struct http_guarded *connection,
                      enum http_phase phase);
/* The first line of a request is here: from IDLE to RECEIVING; any other phase goes on as it is, so
 * that the first request's time counts from the connection's start. Any thread. */
void http_guard_begin(struct http_guard *guard, struct http_guarded *connection);
/* Before the descriptor is closed. Any thread. */
void http_guard_leave(struct http_guard *guard, struct http_guarded *connection);

#endif
