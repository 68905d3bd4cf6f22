/* loop: one epoll event loop. A loop and everything added to it belongs to the thread that runs it;
 * only loop_post and loop_stop may be called from other threads. A turn is: wait, ready
 * descriptors, posted calls, due timers, then the turn-end hooks (batches are flushed and closed
 * objects are reclaimed there, so nothing is freed inside its own callback). Time is read once a
 * turn; timers cost no system call: the nearest one becomes the epoll_pwait2 timeout. */
#ifndef PIPIT_COMMON_LOOP_H
#define PIPIT_COMMON_LOOP_H

#include "common/err.h"
#include "common/list.h"
#include <stddef.h>
#include <stdint.h>

struct loop;

/* posted_max > 0 bounds the calls waiting from other threads (loop_post answers ERR_FULL beyond).
 * ERR_NO_MEMORY; ERR_IO: no descriptors. */
enum err loop_create(size_t posted_max, struct loop **out) MUST_CHECK;
/* After everything that uses the loop is gone; calls still posted are dropped. */
void loop_destroy(struct loop **loop);
/* Runs turns until loop_stop; ERR_IO when epoll fails. */
enum err loop_run(struct loop *loop) MUST_CHECK;
/* One turn that waits at most timeout_us; for tests. */
enum err loop_turn(struct loop *loop, uint64_t timeout_us) MUST_CHECK;
/* Under load, sockets wait until the monotonic clock reaches a multiple of this (0, as created:
 * they do not), a call is posted or a timer is due: many of them cost one wake-up. A turn that
 * found few of them, or as many as it takes, is followed at once. */
void loop_set_rest(struct loop *loop, uint64_t rest_us);
void loop_stop(struct loop *loop);             /* any thread, also from a signal's callback */
uint64_t loop_now_us(const struct loop *loop); /* clock_mono_us as of this turn */
/* Seconds x 1e-6 that the last turn spent working (not waiting): the loop lag metric. */
uint64_t loop_last_busy_us(const struct loop *loop);

/* --- descriptors: embed a loop_fd; events are EPOLLIN | EPOLLOUT | EPOLLRDHUP, level-triggered. */
struct loop_fd;
typedef void (*loop_fd_fn)(struct loop_fd *watch, uint32_t events);
struct loop_fd {
    int fd;
    uint32_t events;
    loop_fd_fn on_ready;
};
enum err loop_fd_add(struct loop *loop, struct loop_fd *watch, int fd, uint32_t events,
                     loop_fd_fn on_ready) MUST_CHECK;
/* No system call when the events are unchanged. */
enum err loop_fd_set_events(struct loop *loop, struct loop_fd *watch, uint32_t events) MUST_CHECK;
/* Also forgets events of this turn that are not yet dispatched. The descriptor stays open. */
void loop_fd_remove(struct loop *loop, struct loop_fd *watch);

/* --- timers: embed a loop_timer (zeroed = stopped); one shot; never allocate, never fail. */
struct loop_timer;
typedef void (*loop_timer_fn)(struct loop_timer *timer);
struct loop_timer {
    uint64_t due_us;
    loop_timer_fn on_due;
    struct loop_timer *heap_child, *heap_next, *heap_prev; /* pairing heap */
    bool armed;
};
/* Starts, or moves when running. Fires once, at or after now + delay_us. */
void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_us,
                      loop_timer_fn on_due);
void loop_timer_stop(struct loop *loop, struct loop_timer *timer); /* no-op when not armed */

/* --- turn-end hooks: called once at the end of each turn while linked. */
struct loop_hook;
typedef void (*loop_hook_fn)(struct loop_hook *hook);
struct loop_hook {
    struct list_node node;
    loop_hook_fn on_turn_end;
};
void loop_hook_add(struct loop *loop, struct loop_hook *hook, loop_hook_fn on_turn_end);
void loop_hook_remove(struct loop *loop, struct loop_hook *hook);

/* --- calls from other threads: runs fn(arg) on the loop's thread, in posting order per thread. One
 * eventfd write per wake-up, not per call. ERR_FULL beyond posted_max: the caller sheds or retries.
 */
enum err loop_post(struct loop *loop, void (*fn)(void *arg), void *arg) MUST_CHECK;
/* An embedded, intrusive form that cannot fail: the node may be posted again only after it ran. */
struct loop_call {
    struct loop_call *next;
    void (*run)(struct loop_call *call);
};
void loop_post_call(struct loop *loop, struct loop_call *call, void (*run)(struct loop_call *call));
/* Takes a posted call back, so that its memory may go; no-op when it is not posted. Loop's thread,
 * and no other thread may be posting it meanwhile. */
void loop_call_cancel(struct loop *loop, struct loop_call *call);

#endif
