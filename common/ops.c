/* ops: what operators and orchestrators ask a process.
 *
 * The port has its own thread (http's), so it answers while the loop is stuck, and that is the
 * point: a timer on the loop stamps the time each second, and /livez compares. Before the first
 * stamp the loop has not begun (a service may migrate its store first) and the process counts as
 * alive. Readiness is the conjunction of checks that their owners set; the port only reads atomics
 * and never asks a dependency itself, so a probe cannot add load to a failing one. */
#include "common/ops.h"

#include "common/buf.h"
#include "common/clock.h"
#include "common/contract.h"
#include "common/http.h"
#include "common/mem.h"
#include "common/metrics.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define OPS_STAMP_US 1000000u
#define OPS_STUCK_US 5000000u
#define OPS_CONNECTIONS_MAX 64u /* probes and a few scrapers */
#define OPS_IDLE_TIMEOUT_S 30u
#define OPS_REQUEST_TIMEOUT_S 5u
#define OPS_METRICS_BYTES_MAX (4u * 1024u * 1024u)

struct ops {
    struct loop *loop;
    struct http_server *server;
    struct loop_timer stamp_timer;
    atomic_uint_fast64_t stamped_us; /* 0 = the loop has not turned yet */
    atomic_bool draining;
    pthread_mutex_t lock;     /* guards the list of checks */
    struct ops_check *checks; /* in the order of their adding */
};

static void on_stamp(struct loop_timer *timer) {
    struct ops *ops = CONTAINER_OF(timer, struct ops, stamp_timer);
    atomic_store(&ops->stamped_us, clock_mono_us());
    loop_timer_start(ops->loop, timer, OPS_STAMP_US, on_stamp);
}

static void reply_text(struct http_call *call, int status, const char *text) {
    http_reply(call, status, "text/plain; charset=utf-8", text, strlen(text), NULL);
}

static void reply_live(struct ops *ops, struct http_call *call) {
    uint64_t stamped_us = atomic_load(&ops->stamped_us);
    uint64_t now_us = clock_mono_us();
    bool stuck = stamped_us != 0 && now_us > stamped_us && now_us - stamped_us > OPS_STUCK_US;
    reply_text(call, stuck ? 503 : 200, stuck ? "the event loop is stuck\n" : "alive\n");
}

/* "[+]store ok" and "[-]bus failed: no peer" lines, then the verdict. */
static enum err describe_checks(struct ops *ops, struct buf *out) {
    enum err error = ERR_OK;
    CONTRACT(pthread_mutex_lock(&ops->lock) == 0);
    for (struct ops_check *check = ops->checks; check != NULL && error == ERR_OK;
         check = check->next) {
        const char *detail = atomic_load(&check->detail);
        bool ready = atomic_load(&check->ready);
        error = buf_append_format(out, "[%c]%s %s%s%s\n", ready ? '+' : '-', check->name,
                                  ready ? "ok" : "failed", detail != NULL ? ": " : "",
                                  detail != NULL ? detail : "");
    }
    CONTRACT(pthread_mutex_unlock(&ops->lock) == 0);
    if (error == ERR_OK && atomic_load(&ops->draining)) {
        error = buf_append_text(out, "[-]draining\n");
    }
    return error;
}

static void reply_ready(struct ops *ops, struct http_call *call) {
    bool ready = ops_is_ready(ops);
    int status = ready ? 200 : 503;
    const char *verdict = ready                         ? "ready\n"
                          : atomic_load(&ops->draining) ? "draining\n"
                                                        : "not ready\n";
    if (http_query(call, "verbose") == NULL) {
        reply_text(call, status, verdict);
        return;
    }
    struct buf out;
    buf_init(&out, 64 * 1024);
    if (describe_checks(ops, &out) == ERR_OK && buf_append_text(&out, verdict) == ERR_OK) {
        http_reply(call, status, "text/plain; charset=utf-8", buf_data(&out), buf_len(&out), NULL);
    } else {
        reply_text(call, status, verdict); /* the verdict matters more than the list */
    }
    buf_finish(&out);
}

static void reply_metrics(struct http_call *call) {
    struct buf out;
    buf_init(&out, OPS_METRICS_BYTES_MAX);
    enum err error = metrics_render(&out);
    if (error == ERR_OK) {
        http_reply(call, 200, "text/plain; version=0.0.4; charset=utf-8", buf_data(&out),
                   buf_len(&out), NULL);
    } else {
        reply_text(call, err_http_status(error), err_text(error));
    }
    buf_finish(&out);
}

static void on_call(struct http_call *call, void *user) {
    struct ops *ops = user;
    const char *method = http_method(call);
    const char *path = http_path(call);
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        static const struct http_reply_header allow[] = {{"Allow", "GET, HEAD"}, {NULL, NULL}};
        http_reply(call, 405, "text/plain; charset=utf-8", "read only\n", 10, allow);
    } else if (strcmp(path, "/livez") == 0) {
        reply_live(ops, call);
    } else if (strcmp(path, "/readyz") == 0) {
        reply_ready(ops, call);
    } else if (strcmp(path, "/metrics") == 0) {
        reply_metrics(call);
    } else {
        reply_text(call, 404, "there are /livez, /readyz?verbose and /metrics\n");
    }
}

enum err ops_create(struct loop *loop, const char *listen, struct ops **out) {
    struct ops *ops = mem_zalloc(1, sizeof(*ops));
    if (ops == NULL) {
        return ERR_NO_MEMORY;
    }
    ops->loop = loop;
    CONTRACT(pthread_mutex_init(&ops->lock, NULL) == 0);
    const struct http_config config = {.listen = listen,
                                       .connections_max = OPS_CONNECTIONS_MAX,
                                       .body_bytes_max = 0,
                                       .idle_timeout_s = OPS_IDLE_TIMEOUT_S,
                                       .request_timeout_s = OPS_REQUEST_TIMEOUT_S};
    enum err error = http_server_create(&config, on_call, ops, &ops->server);
    if (error != ERR_OK) {
        CONTRACT(pthread_mutex_destroy(&ops->lock) == 0);
        mem_free(ops);
        return error;
    }
    loop_timer_start(loop, &ops->stamp_timer, 0, on_stamp);
    *out = ops;
    return ERR_OK;
}

void ops_destroy(struct ops **ops) {
    struct ops *old = *ops;
    if (old == NULL) {
        return;
    }
    loop_timer_stop(old->loop, &old->stamp_timer);
    http_server_destroy(&old->server);
    CONTRACT(pthread_mutex_destroy(&old->lock) == 0);
    mem_free(old);
    *ops = NULL;
}

void ops_check_add(struct ops *ops, struct ops_check *check) {
    CONTRACT(pthread_mutex_lock(&ops->lock) == 0);
    struct ops_check **end = &ops->checks;
    for (; *end != NULL; end = &(*end)->next) {
        CONTRACT(*end != check);
    }
    check->next = NULL;
    *end = check;
    CONTRACT(pthread_mutex_unlock(&ops->lock) == 0);
}

void ops_drain(struct ops *ops) {
    atomic_store(&ops->draining, true);
}

bool ops_is_ready(struct ops *ops) {
    bool ready = !atomic_load(&ops->draining);
    CONTRACT(pthread_mutex_lock(&ops->lock) == 0);
    ready = ready && ops->checks != NULL; /* none yet: the service is still being built */
    for (struct ops_check *check = ops->checks; check != NULL && ready; check = check->next) {
        ready = atomic_load(&check->ready);
    }
    CONTRACT(pthread_mutex_unlock(&ops->lock) == 0);
    return ready;
}

uint16_t ops_port(const struct ops *ops) {
    return http_server_port(ops->server);
}
