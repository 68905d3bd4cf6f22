/* rest: parses, dispatches, renders; what an operation means is its handler's business.
 *
 *   HTTP thread: route -> pool's queue (full: 503 with Retry-After)
 *   worker:      token -> query -> body -> handler -> answer
 *
 * The token is checked on the worker because a verification costs 60 us and an administrator's one
 * a question to storage; a request that fails a check costs no more than that. Everything a call
 * needs lives in one allocation and one arena, freed after the answer. */
#include "services/auth/rest.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/auth/access.h"
#include "services/auth/call.h"
#include "services/auth/metrics.h"
#include <jansson.h>
#include <sodium.h>
#include <string.h>
#include <strings.h>

#define HASH_MS_EACH 100u /* Source: 33 ms on a PC, 200 ms on a Raspberry Pi 4 */
#define API_MS_EACH 10u

/* --- the answer */

static bool has_header(const struct call *call, const char *name) {
    for (size_t i = 0; i < call->header_count; i++) {
        if (strcmp(call->headers[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void add_common_headers(struct call *call) {
    call_header(call, "X-Request-Id", "%s", call->request_id);
    if (!has_header(call, "Cache-Control")) {
        call_header(call, "Cache-Control", "no-store");
    }
    if (call->status == 401 && !has_header(call, "WWW-Authenticate")) {
        call_header(call, "WWW-Authenticate", "Bearer"); /* RFC 9110 section 15.5.2 */
    }
    if (atomic_load(&call->auth->draining)) {
        call_header(call, "Connection", "close");
    }
    call->headers[call->header_count] = (struct http_reply_header){NULL, NULL};
}

static void end_document(struct call *call) {
    if (!call->json_open) {
        return;
    }
    call->json_open = false;
    enum err error = json_write_end(&call->json);
    if (error != ERR_OK && call->problem.reason == REASON_OK) {
        (void)call_fail_err(call, error);
    }
}

static void render_problem(struct call *call) {
    buf_clear(&call->out);
    call->status = call->problem.status;
    call->type = PROBLEM_CONTENT_TYPE;
    if (call->problem.retry_ms > 0) {
        call_header(call, "Retry-After", "%u", problem_retry_s(&call->problem));
    }
    if (call->status == 503) {
        metric_add(&auth_metrics.refused_busy, 1);
    }
    enum err error = problem_render(&call->problem, call->request_id, &call->out);
    if (error != ERR_OK) {
        buf_clear(&call->out); /* the status alone must do */
    }
}

static void release(struct call *call) {
    json_decref(call->body);
    ask_finish(&call->ask);
    buf_finish(&call->out);
    sodium_memzero(&call->self, sizeof call->self);
    mem_free(call);
}

static void finish(struct call *call) {
    struct auth *auth = call->auth;
    end_document(call);
    call_attempt_end(call);
    if (call->problem.reason == REASON_OK && call->status == 0) {
        (void)call_fail_err(call, ERR_INTERNAL); /* a handler that forgot to answer */
    }
    if (call->problem.reason != REASON_OK) {
        render_problem(call);
    }
    add_common_headers(call);
    auth_metrics_request(call->route != NULL ? (size_t)(call->route - routes) : route_count,
                         call->status, clock_mono_us() - call->started_us);
    http_reply(call->http, call->status, call->type, buf_data(&call->out), buf_len(&call->out),
               call->headers);
    sodium_memzero(call->out.bytes, call->out.held); /* tokens and one-time passwords */
    release(call);
    atomic_fetch_sub(&auth->calls_open, 1);
}

/* --- the request */

/* True for application/json with or without parameters. */
static bool is_json(const char *content_type) {
    static const char json[] = "application/json";
    if (content_type == NULL || strncasecmp(content_type, json, sizeof json - 1) != 0) {
        return false;
    }
    char next = content_type[sizeof json - 1];
    return next == '\0' || next == ';' || next == ' ';
}

static bool read_body(struct call *call) {
    size_t bytes = 0;
    const uint8_t *body = http_body(call->http, &bytes);
    if (call->route->body == ROUTE_NO_BODY) {
        return bytes == 0 ? true
                          : call_fail(call, REASON_MALFORMED, 0, "This operation takes no body.");
    }
    if (bytes > 0 && !is_json(http_header(call->http, "Content-Type"))) {
        return call_fail(call, REASON_UNSUPPORTED, 415, "Content-Type must be application/json.");
    }
    return call->route->body == ROUTE_RAW ||
           json_in_parse(body, bytes, &call->body, &call->problem);
}

static bool read_query(struct call *call) {
    static const char *const none[] = {NULL};
    const char *const *known = call->route->query != NULL ? call->route->query : none;
    if (!http_query_known(call->http, known)) {
        return call_fail(call, REASON_MALFORMED, 422, "Unknown query parameter.");
    }
    return true;
}

static void run(struct worker_job *job) {
    struct call *call = CONTAINER_OF(job, struct call, job);
    if (access_check(call) && read_query(call) && read_body(call)) {
        call->route->run(call);
    }
    finish(call);
}

/* The client's id for logs and support, or one of ours. */
static void choose_request_id(struct call *call) {
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    const char *sent = http_header(call->http, "X-Request-Id");
    size_t length = sent != NULL ? strlen(sent) : 0;
    if (length > 0 && length < sizeof call->request_id && strspn(sent, allowed) == length) {
        memcpy(call->request_id, sent, length + 1);
    } else {
        id_random_text("r_", call->request_id, sizeof call->request_id);
    }
}

static struct call *make_call(struct auth *auth, struct http_call *http) {
    struct call *call = mem_zalloc(1, sizeof *call);
    if (call == NULL) {
        return NULL;
    }
    call->auth = auth;
    call->http = http;
    call->job.run = run;
    call->started_us = clock_mono_us();
    ask_init(&call->ask, &auth->peers);
    buf_init(&call->out, CALL_OUT_BYTES_MAX);
    choose_request_id(call);
    address_client(auth->proxies, http_peer_address(http), http_header(http, "X-Forwarded-For"),
                   call->address);
    return call;
}

/* True: call->route is set. */
static bool find_route(struct call *call) {
    char allow[ROUTE_ALLOW_BYTES];
    switch (route_find(http_method(call->http), http_path(call->http), &call->match, allow)) {
    case ERR_OK:
        call->route = &routes[call->match.index];
        return true;
    case ERR_UNSUPPORTED:
        call_header(call, "Allow", "%s", allow);
        return call_fail(call, REASON_UNSUPPORTED, 405, "Allowed here: %s.", allow);
    default:
        return call_fail(call, REASON_NOT_FOUND, 0, "There is nothing at this path.");
    }
}

static void dispatch(struct call *call) {
    struct auth *auth = call->auth;
    if (call->route->pool == ROUTE_INLINE) {
        run(&call->job);
        return;
    }
    bool hash = call->route->pool == ROUTE_HASH;
    struct worker_pool *pool = hash ? auth->hash : auth->api;
    if (worker_submit(pool, &call->job) != ERR_OK) {
        uint32_t each_ms = hash ? HASH_MS_EACH : API_MS_EACH;
        metric_add(hash ? &auth_metrics.hash_queue_full : &auth_metrics.api_queue_full, 1);
        (void)call_fail(call, REASON_OVERLOAD, 0, "Too many requests are waiting.");
        call->problem.retry_ms = 1 + (uint32_t)worker_queued(pool) * each_ms;
        finish(call);
    }
}

void rest_handle(struct http_call *http, void *user) {
    struct auth *auth = user;
    static const char busy[] = "{\"title\":\"Service Unavailable\",\"status\":503,\"code\":"
                               "\"overload\",\"retryable\":true}";
    struct call *call = make_call(auth, http);
    if (call == NULL) {
        const struct http_reply_header headers[] = {{"Retry-After", "1"}, {NULL, NULL}};
        http_reply(http, 503, PROBLEM_CONTENT_TYPE, busy, sizeof busy - 1, headers);
        return;
    }
    atomic_fetch_add(&auth->calls_open, 1);
    if (!find_route(call)) {
        finish(call);
    } else if (atomic_load(&auth->draining)) {
        (void)call_fail(call, REASON_DRAIN, 0, "Another instance will answer.");
        call->problem.retry_ms = 1000;
        finish(call);
    } else {
        dispatch(call);
    }
}
