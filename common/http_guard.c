/* http_guard: one thread that sleeps until the next deadline.
 *
 * The limit of a phase is one constant, so the connections of a phase are due in the order in which
 * they entered it: a list per phase, and only the heads are looked at. The thread never closes a
 * descriptor; it shuts the socket down, and libmicrohttpd sees the end and closes it. Both happen
 * under the lock that http_guard_leave takes first, so a descriptor number that was reused is never
 * touched. The 408 is written past libmicrohttpd, which cannot answer in the middle of a request;
 * nothing else is written in that phase but "100 Continue". */
#include "common/http_guard.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/mem.h"
#include "common/metrics.h"
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

struct http_guard {
    pthread_mutex_t lock; /* guards all below and every connection's fields */
    pthread_cond_t changed;
    pthread_t thread;
    bool stopping;
    uint64_t limits_us[HTTP_PHASE_COUNT]; /* 0 = none */
    struct list phases[HTTP_PHASE_COUNT];
};

static struct metric_counter cut_total = {
    .name = "pipit_http_cut_total",
    .help = "HTTP connections cut because a request, an answer or a pause took too long."};

/* The phase whose first connection is due first; HTTP_PHASE_NONE when nothing has a limit. */
static enum http_phase next_due(const struct http_guard *guard, uint64_t *due_us) {
    enum http_phase phase = HTTP_PHASE_NONE;
    *due_us = UINT64_MAX;
    for (enum http_phase i = HTTP_PHASE_RECEIVING; i < HTTP_PHASE_COUNT; i++) {
        struct list_node *first = guard->limits_us[i] > 0 ? list_first(&guard->phases[i]) : NULL;
        if (first != NULL && CONTAINER_OF(first, struct http_guarded, node)->due_us < *due_us) {
            *due_us = CONTAINER_OF(first, struct http_guarded, node)->due_us;
            phase = i;
        }
    }
    return phase;
}

/* With the lock held: the only place where a connection changes its phase. */
static void move(struct http_guard *guard, struct http_guarded *connection, enum http_phase phase) {
    if (connection->phase != HTTP_PHASE_NONE) {
        list_remove(&guard->phases[connection->phase], &connection->node);
    }
    connection->phase = phase;
    if (phase != HTTP_PHASE_NONE) {
        connection->due_us = clock_mono_us() + guard->limits_us[phase];
        list_push_back(&guard->phases[phase], &connection->node);
    }
}

static void cut(struct http_guard *guard, enum http_phase phase) {
    static const char late[] = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n"
                               "Connection: close\r\n\r\n";
    struct http_guarded *connection =
        CONTAINER_OF(list_first(&guard->phases[phase]), struct http_guarded, node);
    if (phase == HTTP_PHASE_RECEIVING) {
        ssize_t sent = send(connection->fd, late, strlen(late), MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)sent; /* a peer that does not take it is cut all the same */
    }
    (void)shutdown(connection->fd, SHUT_RDWR); /* fails only when the peer was faster */
    metric_add(&cut_total, 1);
    move(guard, connection, HTTP_PHASE_CUT);
}

static void *run_guard(void *argument) {
    struct http_guard *guard = argument;
    CONTRACT(pthread_mutex_lock(&guard->lock) == 0);
    while (!guard->stopping) {
        uint64_t due_us = 0;
        enum http_phase phase = next_due(guard, &due_us);
        if (phase == HTTP_PHASE_NONE) {
            CONTRACT(pthread_cond_wait(&guard->changed, &guard->lock) == 0);
        } else if (due_us <= clock_mono_us()) {
            cut(guard, phase);
        } else {
            struct timespec until = {.tv_sec = (time_t)(due_us / 1000000u),
                                     .tv_nsec = (long)(due_us % 1000000u) * 1000};
            /* Time-out or wake-up: both mean to look again. */
            (void)pthread_cond_timedwait(&guard->changed, &guard->lock, &until);
        }
    }
    CONTRACT(pthread_mutex_unlock(&guard->lock) == 0);
    return NULL;
}

static enum err start_thread(struct http_guard *guard) {
    sigset_t all;
    sigset_t before;
    CONTRACT(sigfillset(&all) == 0);
    CONTRACT(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    int failed = pthread_create(&guard->thread, NULL, run_guard, guard);
    CONTRACT(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (failed != 0) {
        return ERR_FULL;
    }
    (void)pthread_setname_np(guard->thread, "http-guard"); /* only for the reader of top */
    return ERR_OK;
}

enum err http_guard_create(uint64_t request_timeout_us, uint64_t idle_timeout_us,
                           struct http_guard **out) {
    CONTRACT(request_timeout_us > 0);
    struct http_guard *guard = mem_zalloc(1, sizeof(*guard));
    if (guard == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < HTTP_PHASE_COUNT; i++) {
        list_init(&guard->phases[i]);
    }
    guard->limits_us[HTTP_PHASE_RECEIVING] = request_timeout_us;
    guard->limits_us[HTTP_PHASE_SENDING] = request_timeout_us * HTTP_GUARD_SENDING_FACTOR;
    /* The next request's line may trickle in before anybody knows that it began. */
    guard->limits_us[HTTP_PHASE_IDLE] = idle_timeout_us + request_timeout_us;
    metric_counter_register(&cut_total);

    pthread_condattr_t attributes;
    CONTRACT(pthread_condattr_init(&attributes) == 0);
    CONTRACT(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CONTRACT(pthread_cond_init(&guard->changed, &attributes) == 0);
    CONTRACT(pthread_condattr_destroy(&attributes) == 0);
    CONTRACT(pthread_mutex_init(&guard->lock, NULL) == 0);
    if (start_thread(guard) != ERR_OK) {
        CONTRACT(pthread_cond_destroy(&guard->changed) == 0);
        CONTRACT(pthread_mutex_destroy(&guard->lock) == 0);
        mem_free(guard);
        return ERR_FULL;
    }
    *out = guard;
    return ERR_OK;
}

void http_guard_destroy(struct http_guard **guard) {
    struct http_guard *old = *guard;
    if (old == NULL) {
        return;
    }
    CONTRACT(pthread_mutex_lock(&old->lock) == 0);
    for (size_t i = 0; i < HTTP_PHASE_COUNT; i++) {
        CONTRACT(old->phases[i].count == 0);
    }
    old->stopping = true;
    CONTRACT(pthread_cond_signal(&old->changed) == 0);
    CONTRACT(pthread_mutex_unlock(&old->lock) == 0);
    CONTRACT(pthread_join(old->thread, NULL) == 0);
    CONTRACT(pthread_cond_destroy(&old->changed) == 0);
    CONTRACT(pthread_mutex_destroy(&old->lock) == 0);
    mem_free(old);
    *guard = NULL;
}

/* With the lock held. Only a new head can be due earlier than what the thread waits for. */
static void move_and_wake(struct http_guard *guard, struct http_guarded *connection,
                          enum http_phase phase) {
    move(guard, connection, phase);
    if (guard->phases[phase].count == 1 && guard->limits_us[phase] > 0) {
        CONTRACT(pthread_cond_signal(&guard->changed) == 0);
    }
}

void http_guard_enter(struct http_guard *guard, struct http_guarded *connection,
                      enum http_phase phase) {
    CONTRACT(phase > HTTP_PHASE_NONE && phase < HTTP_PHASE_CUT);
    CONTRACT(pthread_mutex_lock(&guard->lock) == 0);
    if (connection->phase != HTTP_PHASE_CUT) {
        move_and_wake(guard, connection, phase);
    }
    CONTRACT(pthread_mutex_unlock(&guard->lock) == 0);
}

void http_guard_begin(struct http_guard *guard, struct http_guarded *connection) {
    CONTRACT(pthread_mutex_lock(&guard->lock) == 0);
    if (connection->phase == HTTP_PHASE_IDLE) {
        move_and_wake(guard, connection, HTTP_PHASE_RECEIVING);
    }
    CONTRACT(pthread_mutex_unlock(&guard->lock) == 0);
}

void http_guard_leave(struct http_guard *guard, struct http_guarded *connection) {
    CONTRACT(pthread_mutex_lock(&guard->lock) == 0);
    move(guard, connection, HTTP_PHASE_NONE);
    CONTRACT(pthread_mutex_unlock(&guard->lock) == 0);
}
