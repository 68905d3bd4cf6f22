/* http: a small HTTP/1.1 server over libmicrohttpd: collects a bounded request, calls one handler,
 * and lets the answer come later from any thread. Used by auth's REST and every operations port. */
#ifndef PIPIT_COMMON_HTTP_H
#define PIPIT_COMMON_HTTP_H

#include "common/err.h"
#include <stddef.h>
#include <stdint.h>

struct http_server;
struct http_call; /* one request; lives until http_reply */

struct http_config {
    const char *listen;                   /* "0.0.0.0:8080", "[::]:8080", "127.0.0.1:9461" */
    uint32_t connections_max;             /* open TCP connections */
    uint32_t connections_per_address_max; /* 0 = unlimited */
    size_t body_bytes_max;                /* 413 beyond */
    uint64_t idle_timeout_s;              /* slow headers or bodies are cut after this */
    uint64_t request_timeout_s;           /* a whole request must have arrived by then: 408 */
};
/* Called on the server's thread once the whole request is here. Must not block: answer at once or
 * hand the call to a worker. Exactly one http_reply must follow, from any thread. */
typedef void (*http_handler_fn)(struct http_call *call, void *user);

/* ERR_EXISTS when the address is in use, ERR_DENIED when not allowed, ERR_INVALID when not
 * numeric, ERR_NOT_FOUND when no interface has it, ERR_NO_MEMORY, ERR_FULL (no thread), ERR_IO.
 * config is copied; logs nothing. */
enum err http_server_create(const struct http_config *config, http_handler_fn handler, void *user,
                            struct http_server **out) MUST_CHECK;
/* Stops accepting at once (listening socket closed); open calls may still be answered. */
void http_server_quiesce(struct http_server *server);
void http_server_destroy(struct http_server **server);       /* after all calls are answered */
uint16_t http_server_port(const struct http_server *server); /* for listen ":0" in tests */
uint64_t http_server_in_flight(const struct http_server *server);

const char *http_method(const struct http_call *call);
const char *http_path(const struct http_call *call); /* percent-decoded but %00, no query */
/* Exact name; the first of several; "" when it has no value; NULL when absent. */
const char *http_query(const struct http_call *call, const char *name); /* NULL when absent */
bool http_query_known(const struct http_call *call,
                      const char *const *names);                         /* all names listed? */
const char *http_header(const struct http_call *call, const char *name); /* NULL when absent */
const uint8_t *http_body(const struct http_call *call, size_t *bytes);
const char *http_peer_address(const struct http_call *call); /* "192.0.2.1", no port */

struct http_reply_header {
    const char *name, *value; /* a NULL name ends the list */
};
/* Consumes the call. body is copied. Adds Content-Type, Content-Length, X-Content-Type-Options. */
void http_reply(struct http_call *call, int status, const char *content_type, const void *body,
                size_t body_bytes, const struct http_reply_header *headers);

#endif
