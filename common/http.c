/* http: one libmicrohttpd daemon, one internal epoll thread, one handler.
 *
 * A request is collected first (bounded by body_bytes_max) and the handler is called once, so it
 * never sees half a body. It may answer at once, and then no connection is suspended; if it returns
 * without an answer the connection is suspended until http_reply, from whatever thread, hands the
 * response over and resumes it. Both sides of that race meet under the call's lock: whoever comes
 * second acts. libmicrohttpd cannot answer in the middle of an upload, so a body that turns out too
 * large is read and dropped (bounded) and answered 413 at its end; one that announces itself too
 * large is refused before a byte of it is read. http_guard bounds how long each phase may take.
 * Destroying stops the daemon, which closes what is open; suspended calls must be answered before.
 */
#include "common/http.h"

#include "common/buf.h"
#include "common/contract.h"
#include "common/http_guard.h"
#include "common/http_listen.h"
#include "common/mem.h"
#include "common/metrics.h"
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define HTTP_POOL_BYTES                                                                            \
    (8u * 1024u) /* per connection; request headers must fit. Source: measured */
#define HTTP_DISCARD_BYTES_MAX                                                                     \
    (1024u * 1024u) /* of a refused body we read to be able to answer                              \
                     */

struct http_server {
    struct MHD_Daemon *daemon;
    struct http_guard *guard;
    struct MHD_Response *busy; /* 503 for when a response cannot be allocated */
    struct http_config config; /* without listen */
    http_handler_fn handler;
    void *user;
    int listen_fd; /* ours again after quiesce; -1 while the daemon owns it */
    uint16_t port;
    atomic_uint_fast64_t in_flight; /* from complete headers to the sent answer */
};

struct http_call {
    struct http_server *server;
    struct MHD_Connection *connection;
    struct http_guarded *guarded;
    const char *method, *path; /* the connection's memory, valid until completion */
    struct buf body;
    size_t discarded;
    int refused; /* HTTP status decided while the body came in; 0 = none */
    bool headers_seen;
    bool body_ended;
    char peer[HTTP_ADDRESS_BYTES];
    pthread_mutex_t lock; /* guards the four below */
    bool suspended;
    bool replied;
    int status;
    struct MHD_Response *response;
};

static struct metric_counter requests_total = {
    .name = "pipit_http_received_total",
    .help = "HTTP requests whose headers arrived, refused ones included."};
static struct metric_counter refused_total = {
    .name = "pipit_http_refused_total",
    .help = "HTTP requests refused before the handler: body too large, ambiguous or no memory."};

/* --- the request, as the handler sees it */

const char *http_method(const struct http_call *call) {
    return call->method;
}

const char *http_path(const struct http_call *call) {
    return call->path;
}

struct query_search {
    const char *name;
    const char *value; /* "" for a name without '=' */
};

static enum MHD_Result match_query(void *user, enum MHD_ValueKind kind, const char *key,
                                   const char *value) {
    struct query_search *search = user;
    (void)kind; /* only arguments are iterated */
    if (key == NULL || strcmp(key, search->name) != 0) {
        return MHD_YES;
    }
    search->value = value != NULL ? value : "";
    return MHD_NO; /* the first one counts */
}

const char *http_query(const struct http_call *call, const char *name) {
    struct query_search search = {.name = name};
    (void)MHD_get_connection_values(call->connection, MHD_GET_ARGUMENT_KIND, match_query, &search);
    return search.value;
}

struct query_check {
    const char *const *names;
    bool all_known;
};

static enum MHD_Result check_query(void *user, enum MHD_ValueKind kind, const char *key,
                                   const char *value) {
    struct query_check *check = user;
    (void)kind;
    (void)value; /* names alone are checked */
    for (size_t i = 0; key != NULL && check->names[i] != NULL; i++) {
        if (strcmp(check->names[i], key) == 0) {
            return MHD_YES;
        }
    }
    check->all_known = false;
    return MHD_NO;
}

bool http_query_known(const struct http_call *call, const char *const *names) {
    struct query_check check = {.names = names, .all_known = true};
    (void)MHD_get_connection_values(call->connection, MHD_GET_ARGUMENT_KIND, check_query, &check);
    return check.all_known;
}

const char *http_header(const struct http_call *call, const char *name) {
    return MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, name);
}

const uint8_t *http_body(const struct http_call *call, size_t *bytes) {
    *bytes = buf_len(&call->body);
    return buf_data(&call->body);
}

const char *http_peer_address(const struct http_call *call) {
    return call->peer;
}

/* --- the answer */

static struct MHD_Response *make_response(const char *content_type, const void *body,
                                          size_t body_bytes,
                                          const struct http_reply_header *headers) {
    union { /* the library copies but does not say const */
        const void *in;
        void *out;
    } borrowed = {.in = body_bytes > 0 ? body : ""};
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body_bytes, borrowed.out, MHD_RESPMEM_MUST_COPY);
    if (response == NULL) {
        return NULL;
    }
    bool whole = MHD_add_response_header(response, "X-Content-Type-Options", "nosniff") == MHD_YES;
    if (content_type != NULL) {
        whole = whole && MHD_add_response_header(response, "Content-Type", content_type) == MHD_YES;
    }
    for (size_t i = 0; headers != NULL && headers[i].name != NULL; i++) {
        whole = whole &&
                MHD_add_response_header(response, headers[i].name, headers[i].value) == MHD_YES;
    }
    if (!whole) {
        MHD_destroy_response(response);
        return NULL;
    }
    return response;
}

void http_reply(struct http_call *call, int status, const char *content_type, const void *body,
                size_t body_bytes, const struct http_reply_header *headers) {
    struct MHD_Response *response = make_response(content_type, body, body_bytes, headers);
    struct MHD_Connection *connection = call->connection;
    CONTRACT(pthread_mutex_lock(&call->lock) == 0);
    CONTRACT(!call->replied);
    call->replied = true;
    call->response = response;
    call->status = response != NULL ? status : 503;
    bool resume = call->suspended;
    if (resume) {
        MHD_resume_connection(
            connection); /* only marks it; the call is freed by the daemon's thread */
    }
    CONTRACT(pthread_mutex_unlock(&call->lock) == 0);
}

/* On the daemon's thread, once replied. */
static enum MHD_Result queue_reply(struct http_call *call) {
    struct MHD_Response *response = call->response != NULL ? call->response : call->server->busy;
    http_guard_enter(call->server->guard, call->guarded, HTTP_PHASE_SENDING);
    return MHD_queue_response(call->connection, (unsigned)call->status, response);
}

static enum MHD_Result refuse(struct http_call *call, int status) {
    static const char text[] = "{\"title\":\"%s\",\"status\":%d,\"code\":\"%s\"}";
    char body[128];
    const char *title = status == 413   ? "Content Too Large"
                        : status == 400 ? "Bad Request"
                                        : "Service Unavailable";
    const char *code = status == 413   ? err_name(ERR_TOO_LARGE)
                       : status == 400 ? err_name(ERR_INVALID)
                                       : err_name(ERR_NO_MEMORY);
    int length = snprintf(body, sizeof(body), text, title, status, code);
    CONTRACT(length > 0 && (size_t)length < sizeof(body));
    const struct http_reply_header headers[] = {{"Connection", "close"}, {NULL, NULL}};
    metric_add(&refused_total, 1);
    http_reply(call, status, "application/problem+json", body, (size_t)length, headers);
    return queue_reply(call);
}

/* --- the daemon's callbacks, all on its one thread */

static struct http_guarded *guarded_of(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

static void on_connection(void *user, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode event) {
    struct http_server *server = user;
    if (event == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct http_guarded *guarded = mem_zalloc(1, sizeof(*guarded));
        *socket_context = guarded;
        if (guarded == NULL) {
            (void)shutdown(info->connect_fd, SHUT_RDWR); /* no memory: the peer may try again */
            return;
        }
        guarded->fd = info->connect_fd;
        http_guard_enter(server->guard, guarded, HTTP_PHASE_RECEIVING);
    } else if (*socket_context != NULL) {
        struct http_guarded *guarded = *socket_context;
        http_guard_leave(server->guard, guarded);
        mem_free(guarded);
        *socket_context = NULL;
    }
}

/* The request line is here: on a connection kept alive this starts the request's time. */
static void *on_request_line(void *user, const char *uri, struct MHD_Connection *connection) {
    struct http_server *server = user;
    struct http_guarded *guarded = guarded_of(connection);
    (void)uri; /* decoded later */
    if (guarded != NULL) {
        http_guard_begin(server->guard, guarded);
    }
    return NULL; /* the call is made when the headers are complete */
}

static int hex_value(char character) {
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    char lower = (char)(character | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Percent-decoding in place. %00 stays as it is: it would cut the path short, and what follows
 * would be seen by nobody. */
static size_t on_unescape(void *user, struct MHD_Connection *connection, char *text) {
    char *out = text;
    (void)user;
    (void)connection;
    for (const char *in = text; *in != '\0'; in++) {
        int high = *in == '%' ? hex_value(in[1]) : -1;
        int low = high >= 0 ? hex_value(in[2]) : -1;
        if (low >= 0 && high + low > 0) {
            *out++ = (char)(high << 4 | low);
            in += 2;
        } else {
            *out++ = *in;
        }
    }
    *out = '\0';
    return (size_t)(out - text);
}

static struct http_call *make_call(struct http_server *server, struct MHD_Connection *connection,
                                   const char *method, const char *path) {
    const union MHD_ConnectionInfo *peer =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct http_guarded *guarded = guarded_of(connection);
    struct http_call *call = guarded != NULL ? mem_zalloc(1, sizeof(*call)) : NULL;
    if (call == NULL) {
        return NULL;
    }
    call->server = server;
    call->connection = connection;
    call->guarded = guarded;
    call->method = method;
    call->path = path;
    buf_init(&call->body, server->config.body_bytes_max + 1);
    CONTRACT(pthread_mutex_init(&call->lock, NULL) == 0);
    if (peer != NULL && peer->client_addr != NULL) {
        http_listen_format(peer->client_addr, call->peer);
    }
    return call;
}

struct framing {
    unsigned lengths, encodings;
    uint64_t length;
    bool broken;
};

static enum MHD_Result read_framing(void *user, enum MHD_ValueKind kind, const char *key,
                                    const char *value) {
    struct framing *framing = user;
    (void)kind; /* only headers are iterated */
    if (strcasecmp(key, "Transfer-Encoding") == 0) {
        framing->encodings++;
    } else if (strcasecmp(key, "Content-Length") == 0) {
        size_t digits = value != NULL ? strspn(value, "0123456789") : 0;
        framing->lengths++;
        framing->broken = framing->broken || digits == 0 || digits > 18 || value[digits] != '\0';
        framing->length = framing->broken ? 0 : strtoull(value, NULL, 10);
    }
    return MHD_YES;
}

/* The first call of a request: headers are complete, no body yet, an answer is allowed. Two
 * lengths, or a length beside an encoding, are how requests are smuggled past a proxy. Source: RFC
 * 9112 section 6.3. */
static enum MHD_Result begin(struct http_call *call) {
    struct framing framing = {0};
    call->headers_seen = true;
    metric_add(&requests_total, 1);
    (void)MHD_get_connection_values(call->connection, MHD_HEADER_KIND, read_framing, &framing);
    if (framing.broken || framing.lengths > 1 || (framing.lengths > 0 && framing.encodings > 0) ||
        framing.encodings > 1) {
        return refuse(call, 400);
    }
    if (framing.length > call->server->config.body_bytes_max) {
        return refuse(call, 413);
    }
    return MHD_YES;
}

static enum MHD_Result take_body(struct http_call *call, const char *bytes, size_t count) {
    if (call->refused == 0 && buf_len(&call->body) + count > call->server->config.body_bytes_max) {
        call->refused = 413;
    }
    if (call->refused == 0 && buf_append(&call->body, bytes, count) != ERR_OK) {
        call->refused = 503;
    }
    if (call->refused != 0) {
        buf_finish(&call->body);
        call->discarded += count;
        return call->discarded <= HTTP_DISCARD_BYTES_MAX ? MHD_YES : MHD_NO;
    }
    return MHD_YES;
}

static enum MHD_Result end(struct http_call *call) {
    call->body_ended = true;
    if (call->refused != 0) {
        return refuse(call, call->refused);
    }
    http_guard_enter(call->server->guard, call->guarded, HTTP_PHASE_ANSWERING);
    call->server->handler(call, call->server->user);
    CONTRACT(pthread_mutex_lock(&call->lock) == 0);
    bool replied = call->replied;
    if (!replied) {
        call->suspended = true;
        MHD_suspend_connection(call->connection);
    }
    CONTRACT(pthread_mutex_unlock(&call->lock) == 0);
    return replied ? queue_reply(call) : MHD_YES;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_bytes, void **context) {
    struct http_server *server = user;
    struct http_call *call = *context;
    (void)version; /* HTTP/1.0 and 1.1 are served alike */
    if (call == NULL) {
        call = make_call(server, connection, method, path);
        if (call == NULL) {
            return MHD_NO; /* no memory for an answer either: cut */
        }
        *context = call;
        atomic_fetch_add(&server->in_flight, 1);
        return begin(call);
    }
    if (*upload_bytes > 0) {
        enum MHD_Result result = take_body(call, upload, *upload_bytes);
        *upload_bytes = 0;
        return result;
    }
    return call->body_ended ? queue_reply(call) /* resumed */ : end(call);
}

static void on_completed(void *user, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code) {
    struct http_server *server = user;
    struct http_call *call = *context;
    (void)code; /* an answer that did not arrive is the peer's to repeat */
    struct http_guarded *guarded = guarded_of(connection);
    if (guarded != NULL) {
        http_guard_enter(server->guard, guarded, HTTP_PHASE_IDLE);
    }
    if (call == NULL) {
        return;
    }
    *context = NULL;
    CONTRACT(pthread_mutex_lock(&call->lock) == 0); /* http_reply may be on its last line */
    CONTRACT(pthread_mutex_unlock(&call->lock) == 0);
    CONTRACT(pthread_mutex_destroy(&call->lock) == 0);
    if (call->response != NULL) {
        MHD_destroy_response(call->response);
    }
    buf_finish(&call->body);
    mem_free(call);
    atomic_fetch_sub(&server->in_flight, 1);
}

/* --- the server */

static struct MHD_Daemon *start_daemon(struct http_server *server) {
    const struct http_config *config = &server->config;
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_LISTEN_SOCKET, server->listen_fd, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)config->connections_max, NULL},
        {MHD_OPTION_PER_IP_CONNECTION_LIMIT, (intptr_t)config->connections_per_address_max, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)config->idle_timeout_s, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, HTTP_POOL_BYTES, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {MHD_OPTION_END, 0, NULL}};
    return MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC, 0, NULL, NULL,
        on_request, server, MHD_OPTION_ARRAY, options, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        server, MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_URI_LOG_CALLBACK,
        on_request_line, server, MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, server, MHD_OPTION_END);
}

static enum err start(struct http_server *server, const char *listen) {
    static char busy[] =
        "{\"title\":\"Service Unavailable\",\"status\":503,\"code\":\"no_memory\"}";
    enum err error = http_listen_open(listen, &server->listen_fd, &server->port);
    if (error != ERR_OK) {
        return error;
    }
    error = http_guard_create(server->config.request_timeout_s * 1000000u,
                              server->config.idle_timeout_s * 1000000u, &server->guard);
    if (error != ERR_OK) {
        return error;
    }
    server->busy = MHD_create_response_from_buffer(strlen(busy), busy, MHD_RESPMEM_PERSISTENT);
    if (server->busy == NULL || MHD_add_response_header(server->busy, "Content-Type",
                                                        "application/problem+json") != MHD_YES) {
        return ERR_NO_MEMORY;
    }
    server->daemon = start_daemon(server);
    if (server->daemon == NULL) {
        server->listen_fd =
            -1; /* the library may or may not have closed it; closing twice is worse */
        return ERR_IO;
    }
    server->listen_fd = -1;
    return ERR_OK;
}

enum err http_server_create(const struct http_config *config, http_handler_fn handler, void *user,
                            struct http_server **out) {
    CONTRACT(handler != NULL && config->connections_max > 0 && config->idle_timeout_s > 0 &&
             config->request_timeout_s > 0 && config->idle_timeout_s < UINT32_MAX / 2 &&
             config->request_timeout_s < UINT32_MAX / 2);
    struct http_server *server = mem_zalloc(1, sizeof(*server));
    if (server == NULL) {
        return ERR_NO_MEMORY;
    }
    metric_counter_register(&requests_total);
    metric_counter_register(&refused_total);
    server->config = *config;
    server->config.listen = NULL; /* not ours to keep */
    server->handler = handler;
    server->user = user;
    server->listen_fd = -1;
    enum err error = start(server, config->listen);
    if (error != ERR_OK) {
        http_server_destroy(&server);
        return error;
    }
    *out = server;
    return ERR_OK;
}

void http_server_quiesce(struct http_server *server) {
    if (server->listen_fd >= 0) {
        return;
    }
    server->listen_fd = MHD_quiesce_daemon(server->daemon);
    if (server->listen_fd >= 0) {
        /* Refuses from now on. Closed only with the server: the daemon's thread may be in accept.
         */
        (void)shutdown(server->listen_fd, SHUT_RDWR);
    }
}

void http_server_destroy(struct http_server **server) {
    struct http_server *old = *server;
    if (old == NULL) {
        return;
    }
    if (old->daemon != NULL) {
        MHD_stop_daemon(old->daemon);
    }
    http_guard_destroy(&old->guard);
    if (old->busy != NULL) {
        MHD_destroy_response(old->busy);
    }
    if (old->listen_fd >= 0) {
        (void)close(old->listen_fd); /* nothing was written to it */
    }
    mem_free(old);
    *server = NULL;
}

uint16_t http_server_port(const struct http_server *server) {
    return server->port;
}

uint64_t http_server_in_flight(const struct http_server *server) {
    return atomic_load(&server->in_flight);
}
