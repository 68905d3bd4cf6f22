/* loop: one epoll event loop for one thread.
 *
 * The turn is fixed (wait, descriptors, posted calls, timers, turn-end hooks) so that batching
 * falls out of it: whatever one turn read is answered and flushed together by the hooks.
 *
 * Other threads reach the loop through a lock-free stack of calls; the loop takes the whole stack
 * with one exchange and reverses it, which keeps each thread's order. The eventfd is written only
 * when the loop says it is asleep: a burst costs one write, a busy loop none. It is edge-triggered,
 * so it is never read (its 64-bit counter cannot overflow in practice).
 *
 * A watch removed while its turn is being dispatched is erased from the events still to come; its
 * memory may be freed right away. Steady state allocates nothing: loop_post takes its nodes from a
 * fixed pool and answers ERR_FULL when that is empty.
 *
 * epoll_pwait2 gives nanosecond time-outs; where the kernel (< 5.11) or a seccomp profile refuses
 * it, epoll_wait rounds up to milliseconds, so timers are late there, never early. */
#include "common/loop.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/loop_private.h"
#include "common/mem.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* Events taken per turn: enough that a turn amortises the wait, small enough that a turn stays
 * short; the rest is ready again in the next turn. */
#define LOOP_EVENTS_MAX 256
#define LOOP_LOAD_EVENTS 3 /* ready at once: others will be, soon */

struct posted {
    struct loop_call call;
    struct loop *loop;
    void (*fn)(void *arg);
    void *arg;
    struct posted *next_free;
};

struct loop {
    int epoll_fd;
    int rest_fd; /* an epoll of wake_fd alone: what ends a rest */
    int wake_fd;
    bool no_pwait2; /* epoll_pwait2 was refused once */
    uint64_t now_us;
    uint64_t busy_us;
    uint64_t rest_us;
    struct loop_timers timers;
    struct list hooks;
    struct list_node *hook_next; /* the hook that follows the one being run */
    struct epoll_event events[LOOP_EVENTS_MAX];
    int event_next, event_count;
    int found; /* events of this turn */

    struct loop_call *due_calls, **due_end; /* taken from `calls`, oldest first */
    _Atomic(struct loop_call *) calls;      /* newest first */
    atomic_bool asleep;                     /* a poster must write wake_fd */
    atomic_bool stopped;

    pthread_mutex_t pool_lock;
    struct posted *pool; /* posted_max nodes */
    struct posted *pool_free;
};

static enum err watch_wake_fd(const struct loop *loop, int epoll_fd) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) == 0 ? ERR_OK
                                                                          : err_from_errno(errno);
}

enum err loop_create(size_t posted_max, struct loop **out) {
    CONTRACT(posted_max > 0);
    struct loop *loop = mem_zalloc(1, sizeof *loop);
    if (loop == NULL) {
        return ERR_NO_MEMORY;
    }
    loop->epoll_fd = loop->rest_fd = loop->wake_fd = -1;
    list_init(&loop->hooks);
    loop->due_end = &loop->due_calls;
    pthread_mutex_init(&loop->pool_lock, NULL);
    enum err error = ERR_NO_MEMORY;
    loop->pool = mem_zalloc(posted_max, sizeof *loop->pool);
    if (loop->pool == NULL) {
        goto fail;
    }
    for (size_t i = posted_max; i-- > 0;) {
        loop->pool[i].loop = loop;
        loop->pool[i].next_free = loop->pool_free;
        loop->pool_free = &loop->pool[i];
    }
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->rest_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->rest_fd < 0 || loop->wake_fd < 0) {
        error = err_from_errno(errno);
        goto fail;
    }
    error = watch_wake_fd(loop, loop->epoll_fd);
    if (error == ERR_OK) {
        error = watch_wake_fd(loop, loop->rest_fd);
    }
    if (error != ERR_OK) {
        goto fail;
    }
    loop->now_us = clock_mono_us();
    *out = loop;
    return ERR_OK;
fail:
    loop_destroy(&loop);
    return error;
}

void loop_destroy(struct loop **loop) {
    struct loop *gone = *loop;
    if (gone == NULL) {
        return;
    }
    *loop = NULL;
    const int fds[] = {gone->wake_fd, gone->rest_fd, gone->epoll_fd};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]); /* nothing to do about a failed close */
        }
    }
    pthread_mutex_destroy(&gone->pool_lock);
    mem_free(gone->pool);
    mem_free(gone);
}

uint64_t loop_now_us(const struct loop *loop) {
    return loop->now_us;
}

uint64_t loop_last_busy_us(const struct loop *loop) {
    return loop->busy_us;
}

struct loop_timers *loop_timers_of(struct loop *loop) {
    return &loop->timers;
}

/* --- turns */

static int wait_events(struct loop *loop, int epoll_fd, uint64_t timeout_us) {
    if (!loop->no_pwait2) {
        struct timespec limit = {
            .tv_sec = (time_t)(timeout_us / 1000000u),
            .tv_nsec = (long)(timeout_us % 1000000u) * 1000,
        };
        int count = epoll_pwait2(epoll_fd, loop->events, LOOP_EVENTS_MAX,
                                 timeout_us == UINT64_MAX ? NULL : &limit, NULL);
        if (count >= 0 || (errno != ENOSYS && errno != EPERM)) {
            return count;
        }
        loop->no_pwait2 = true;
    }
    uint64_t ms = timeout_us / 1000u + (timeout_us % 1000u != 0 ? 1 : 0);
    int limit_ms = timeout_us == UINT64_MAX ? -1 : ms > INT_MAX ? INT_MAX : (int)ms;
    return epoll_wait(epoll_fd, loop->events, LOOP_EVENTS_MAX, limit_ms);
}

/* Sleeps until one of the epoll's descriptors is ready, something is due or posted; how many are
 * ready is its result, as epoll's. A poster that finds `asleep` set writes the eventfd; one that
 * came before it was set is seen by the check of `calls` after it: no wake-up is lost. */
static int sleep_on(struct loop *loop, int epoll_fd, uint64_t now_us, uint64_t timeout_us) {
    uint64_t timer_us = loop_timers_wait_us(&loop->timers, now_us);
    if (timer_us < timeout_us) {
        timeout_us = timer_us;
    }
    atomic_store(&loop->asleep, true);
    if (loop->due_calls != NULL || atomic_load(&loop->calls) != NULL ||
        atomic_load(&loop->stopped)) {
        timeout_us = 0;
    }
    int count = wait_events(loop, epoll_fd, timeout_us);
    int wait_errno = errno;
    atomic_store(&loop->asleep, false);
    errno = wait_errno;
    return count;
}

static enum err wait_turn(struct loop *loop, uint64_t timeout_us) {
    int count = sleep_on(loop, loop->epoll_fd, clock_mono_us(), timeout_us);
    int wait_errno = errno;
    if (count < 0 && wait_errno != EINTR) {
        return err_from_errno(wait_errno) == ERR_NO_MEMORY ? ERR_NO_MEMORY : ERR_IO;
    }
    loop->event_next = 0;
    loop->event_count = loop->found = count < 0 ? 0 : count;
    return ERR_OK;
}

static void run_events(struct loop *loop) {
    while (loop->event_next < loop->event_count) {
        struct epoll_event *event = &loop->events[loop->event_next++];
        struct loop_fd *watch = event->data.ptr;
        if (watch != NULL) { /* NULL: the eventfd, or removed during this turn */
            watch->on_ready(watch, event->events);
        }
    }
    loop->event_next = loop->event_count = 0;
}

/* Moves what was posted behind the calls already due, oldest first. */
static void take_calls(struct loop *loop) {
    if (atomic_load_explicit(&loop->calls, memory_order_relaxed) == NULL) {
        return;
    }
    struct loop_call *newest = atomic_exchange(&loop->calls, NULL);
    struct loop_call *last = newest;
    struct loop_call *oldest = NULL;
    while (newest != NULL) {
        struct loop_call *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    *loop->due_end = oldest;
    loop->due_end = &last->next;
}

static void run_calls(struct loop *loop) {
    take_calls(loop);
    while (loop->due_calls != NULL) {
        struct loop_call *call = loop->due_calls;
        loop->due_calls = call->next;
        if (loop->due_calls == NULL) {
            loop->due_end = &loop->due_calls;
        }
        call->run(call); /* may post the call again, cancel others or free it */
    }
}

static void run_hooks(struct loop *loop) {
    struct list_node *node = list_first(&loop->hooks);
    while (node != NULL) {
        loop->hook_next = list_next(&loop->hooks, node);
        struct loop_hook *hook = CONTAINER_OF(node, struct loop_hook, node);
        hook->on_turn_end(hook);
        node = loop->hook_next;
    }
}

enum err loop_turn(struct loop *loop, uint64_t timeout_us) {
    enum err error = wait_turn(loop, timeout_us);
    if (error != ERR_OK) {
        return error;
    }
    loop->now_us = clock_mono_us();
    run_events(loop);
    run_calls(loop);
    loop_timers_fire(&loop->timers, loop->now_us);
    run_hooks(loop);
    loop->busy_us = clock_mono_us() - loop->now_us;
    return ERR_OK;
}

void loop_set_rest(struct loop *loop, uint64_t rest_us) {
    loop->rest_us = rest_us;
}

/* Sleeps without an eye on the sockets. What it is waked for is found by the turn that follows;
 * a signal ends it: as good. */
static void rest(struct loop *loop) {
    uint64_t now_us = clock_mono_us();
    (void)sleep_on(loop, loop->rest_fd, now_us, loop->rest_us - now_us % loop->rest_us);
}

enum err loop_run(struct loop *loop) {
    while (!atomic_load(&loop->stopped)) {
        enum err error = loop_turn(loop, UINT64_MAX);
        if (error != ERR_OK) {
            return error;
        }
        if (loop->rest_us > 0 && loop->found >= LOOP_LOAD_EVENTS && loop->found < LOOP_EVENTS_MAX) {
            rest(loop);
        }
    }
    atomic_store(&loop->stopped, false); /* the loop may run again */
    return ERR_OK;
}

/* Async-signal-safe: an atomic exchange and at most one write(2). */
static void wake(struct loop *loop) {
    if (atomic_exchange(&loop->asleep, false)) {
        uint64_t one = 1;
        int saved_errno = errno;
        ssize_t written = write(loop->wake_fd, &one, sizeof one);
        (void)written; /* fails only when the counter is full: then it is readable anyway */
        errno = saved_errno;
    }
}

void loop_stop(struct loop *loop) {
    atomic_store(&loop->stopped, true);
    wake(loop);
}

/* --- descriptors */

enum err loop_fd_add(struct loop *loop, struct loop_fd *watch, int fd, uint32_t events,
                     loop_fd_fn on_ready) {
    CONTRACT(on_ready != NULL);
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        return err_from_errno(errno);
    }
    watch->fd = fd;
    watch->events = events;
    watch->on_ready = on_ready;
    return ERR_OK;
}

enum err loop_fd_set_events(struct loop *loop, struct loop_fd *watch, uint32_t events) {
    CONTRACT(watch->on_ready != NULL);
    if (watch->events == events) {
        return ERR_OK;
    }
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) != 0) {
        return err_from_errno(errno);
    }
    watch->events = events;
    return ERR_OK;
}

void loop_fd_remove(struct loop *loop, struct loop_fd *watch) {
    if (watch->on_ready == NULL) {
        return;
    }
    /* Fails only when the descriptor was closed before: epoll has forgotten it then. */
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    for (int i = loop->event_next; i < loop->event_count; i++) {
        if (loop->events[i].data.ptr == watch) {
            loop->events[i].data.ptr = NULL;
        }
    }
    watch->fd = -1;
    watch->events = 0;
    watch->on_ready = NULL;
}

/* --- hooks */

void loop_hook_add(struct loop *loop, struct loop_hook *hook, loop_hook_fn on_turn_end) {
    CONTRACT(on_turn_end != NULL && !list_node_linked(&hook->node));
    hook->on_turn_end = on_turn_end;
    list_push_back(&loop->hooks, &hook->node);
}

void loop_hook_remove(struct loop *loop, struct loop_hook *hook) {
    if (!list_node_linked(&hook->node)) {
        return;
    }
    if (loop->hook_next == &hook->node) {
        loop->hook_next = list_next(&loop->hooks, &hook->node);
    }
    list_remove(&loop->hooks, &hook->node);
}

/* --- calls from other threads */

void loop_post_call(struct loop *loop, struct loop_call *call,
                    void (*run)(struct loop_call *call)) {
    call->run = run;
    struct loop_call *newest = atomic_load_explicit(&loop->calls, memory_order_relaxed);
    do {
        call->next = newest;
    } while (!atomic_compare_exchange_weak(&loop->calls, &newest, call));
    wake(loop);
}

void loop_call_cancel(struct loop *loop, struct loop_call *call) {
    take_calls(loop);
    struct loop_call **link = &loop->due_calls;
    while (*link != NULL && *link != call) {
        link = &(*link)->next;
    }
    if (*link == NULL) {
        return;
    }
    *link = call->next;
    if (loop->due_end == &call->next) {
        loop->due_end = link;
    }
}

static void run_posted(struct loop_call *call) {
    struct posted *posted = CONTAINER_OF(call, struct posted, call);
    struct loop *loop = posted->loop;
    void (*fn)(void *) = posted->fn;
    void *arg = posted->arg;
    pthread_mutex_lock(&loop->pool_lock);
    posted->next_free = loop->pool_free;
    loop->pool_free = posted;
    pthread_mutex_unlock(&loop->pool_lock);
    fn(arg);
}

enum err loop_post(struct loop *loop, void (*fn)(void *arg), void *arg) {
    CONTRACT(fn != NULL);
    pthread_mutex_lock(&loop->pool_lock);
    struct posted *posted = loop->pool_free;
    if (posted != NULL) {
        loop->pool_free = posted->next_free;
    }
    pthread_mutex_unlock(&loop->pool_lock);
    if (posted == NULL) {
        return ERR_FULL;
    }
    posted->fn = fn;
    posted->arg = arg;
    loop_post_call(loop, &posted->call, run_posted);
    return ERR_OK;
}
