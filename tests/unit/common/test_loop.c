/* loop: order within a turn, safety of removing things while they are dispatched, timers against a
 * sorted reference, calls from other threads, and waiting without epoll_pwait2. */
#include "common/loop.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define POSTED_MAX 64

static struct loop *loop;

static int setup(void **state) {
    (void)state;
    return loop_create(POSTED_MAX, &loop) == ERR_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    loop_destroy(&loop);
    clock_fake_off();
    return loop == NULL ? 0 : -1;
}

static void turn(void) {
    assert_int_equal(loop_turn(loop, 0), ERR_OK);
}

/* --- descriptors */

struct watched {
    struct loop_fd watch;
    int ends[2];
    unsigned calls;
    uint32_t events;
    struct watched *victim; /* removed from on_ready */
};

static void on_pipe(struct loop_fd *watch, uint32_t events) {
    struct watched *self = CONTAINER_OF(watch, struct watched, watch);
    self->calls++;
    self->events = events;
    if (self->victim != NULL) {
        loop_fd_remove(loop, &self->victim->watch);
    }
}

static void watch_pipe(struct watched *watched) {
    memset(watched, 0, sizeof *watched);
    assert_int_equal(pipe(watched->ends), 0);
    assert_int_equal(loop_fd_add(loop, &watched->watch, watched->ends[0], EPOLLIN, on_pipe),
                     ERR_OK);
}

static void make_readable(struct watched *watched) {
    assert_int_equal(write(watched->ends[1], "x", 1), 1);
}

static void unwatch_pipe(struct watched *watched) {
    loop_fd_remove(loop, &watched->watch);
    close(watched->ends[0]);
    close(watched->ends[1]);
}

static void descriptors_are_level_triggered(void **state) {
    (void)state;
    struct watched a;
    watch_pipe(&a);
    turn();
    assert_int_equal(a.calls, 0);
    make_readable(&a);
    turn();
    turn();
    assert_int_equal(a.calls, 2);
    assert_int_equal(a.events, EPOLLIN);
    assert_int_equal(loop_fd_set_events(loop, &a.watch, 0), ERR_OK);
    turn();
    assert_int_equal(a.calls, 2);
    assert_int_equal(loop_fd_set_events(loop, &a.watch, EPOLLIN), ERR_OK);
    turn();
    assert_int_equal(a.calls, 3);
    loop_fd_remove(loop, &a.watch);
    loop_fd_remove(loop, &a.watch); /* a second time is harmless */
    turn();
    assert_int_equal(a.calls, 3);
    unwatch_pipe(&a);
}

static void a_removed_watch_is_not_called_in_its_turn(void **state) {
    (void)state;
    struct watched a, b;
    watch_pipe(&a);
    watch_pipe(&b);
    a.victim = &b;
    b.victim = &a;
    make_readable(&a);
    make_readable(&b);
    turn(); /* both are ready in this turn; the first one called removes the other */
    assert_int_equal(a.calls + b.calls, 1);
    turn();
    assert_int_equal(a.calls + b.calls, 2);
    assert_true(a.calls == 0 || b.calls == 0);
    unwatch_pipe(&a);
    unwatch_pipe(&b);
}

static void a_watch_may_remove_itself(void **state) {
    (void)state;
    struct watched a;
    watch_pipe(&a);
    a.victim = &a;
    make_readable(&a);
    turn();
    turn();
    assert_int_equal(a.calls, 1);
    unwatch_pipe(&a);
}

static void a_bad_descriptor_is_refused(void **state) {
    (void)state;
    struct loop_fd watch = {0};
    assert_int_equal(loop_fd_add(loop, &watch, -1, EPOLLIN, on_pipe), ERR_IO);
    assert_null(watch.on_ready);
    loop_fd_remove(loop, &watch); /* was never added */
}

/* --- timers */

#define TIMERS 2000

struct tick {
    struct loop_timer timer;
    uint64_t expected_us; /* 0: stopped */
    unsigned fired;
    unsigned restarts; /* starts itself again, with this delay: 0 us */
};
static struct tick ticks[TIMERS];
static uint64_t last_due_us;
static unsigned fired_total;

static void on_tick(struct loop_timer *timer) {
    struct tick *tick = CONTAINER_OF(timer, struct tick, timer);
    assert_false(timer->armed);
    assert_true(loop_now_us(loop) >= tick->expected_us);
    assert_true(tick->expected_us >= last_due_us); /* in order of due time */
    last_due_us = tick->expected_us;
    tick->fired++;
    fired_total++;
}

static void reset_ticks(void) {
    memset(ticks, 0, sizeof ticks);
    last_due_us = 0;
    fired_total = 0;
    clock_fake_on(1000000, 0);
    turn(); /* the loop takes the fake time over */
}

static void timers_fire_in_order_once(void **state) {
    (void)state;
    reset_ticks();
    srandom(7);
    unsigned expected = 0;
    for (int round = 0; round < 5 * TIMERS; round++) { /* start, move and stop at random */
        struct tick *tick = &ticks[random() % TIMERS];
        if (random() % 4 == 0) {
            loop_timer_stop(loop, &tick->timer);
            tick->expected_us = 0;
        } else {
            uint64_t delay_us = (uint64_t)(random() % 10000);
            loop_timer_start(loop, &tick->timer, delay_us, on_tick);
            tick->expected_us = loop_now_us(loop) + delay_us;
        }
    }
    for (int i = 0; i < TIMERS; i++) {
        expected += ticks[i].expected_us != 0;
        assert_int_equal(ticks[i].timer.armed, ticks[i].expected_us != 0);
    }
    for (int step = 0; step < 100; step++) {
        turn();
        for (int i = 0; i < TIMERS; i++) { /* all that are due have fired, no other has */
            bool due = ticks[i].expected_us != 0 && ticks[i].expected_us <= loop_now_us(loop);
            assert_int_equal(ticks[i].fired, due);
        }
        clock_fake_advance_us(101);
    }
    assert_int_equal(fired_total, expected);
}

static void on_restart(struct loop_timer *timer) {
    struct tick *tick = CONTAINER_OF(timer, struct tick, timer);
    tick->fired++;
    loop_timer_start(loop, timer, 0, on_restart);
}

static void a_timer_that_restarts_at_once_does_not_hold_up_the_turn(void **state) {
    (void)state;
    reset_ticks();
    loop_timer_start(loop, &ticks[0].timer, 0, on_restart);
    turn();
    assert_int_equal(ticks[0].fired, 1);
    clock_fake_advance_us(1);
    turn();
    assert_int_equal(ticks[0].fired, 2);
    loop_timer_stop(loop, &ticks[0].timer);
    loop_timer_stop(loop, &ticks[0].timer);
}

static void on_stop_others(struct loop_timer *timer) {
    struct tick *tick = CONTAINER_OF(timer, struct tick, timer);
    tick->fired++;
    for (int i = 0; i < 10; i++) {
        loop_timer_stop(loop, &ticks[i].timer);
    }
}

static void a_timer_may_stop_others_that_are_due(void **state) {
    (void)state;
    reset_ticks();
    for (int i = 0; i < 10; i++) {
        loop_timer_start(loop, &ticks[i].timer, 5, on_stop_others);
    }
    clock_fake_advance_us(5);
    turn();
    unsigned fired = 0;
    for (int i = 0; i < 10; i++) {
        fired += ticks[i].fired;
    }
    assert_int_equal(fired, 1);
}

static void the_largest_delay_is_never(void **state) {
    (void)state;
    reset_ticks();
    loop_timer_start(loop, &ticks[0].timer, UINT64_MAX, on_tick);
    clock_fake_advance_us(1000000);
    turn();
    assert_int_equal(ticks[0].fired, 0);
    loop_timer_stop(loop, &ticks[0].timer);
}

static void on_stop_loop(struct loop_timer *timer) {
    (void)timer;
    loop_stop(loop);
}

static void run_wakes_for_a_timer_and_not_before(void **state) {
    (void)state;
    struct loop_timer timer = {0};
    turn();
    uint64_t begin_us = loop_now_us(loop);
    loop_timer_start(loop, &timer, 2500, on_stop_loop);
    assert_int_equal(loop_run(loop), ERR_OK);
    assert_true(clock_mono_us() - begin_us >= 2500);
    assert_true(loop_last_busy_us(loop) < 1000000);
}

/* --- hooks and the order of a turn */

static char trace[16];

static void note(char what) {
    size_t length = strlen(trace);
    assert_true(length + 1 < sizeof trace);
    trace[length] = what;
    trace[length + 1] = '\0';
}
static void note_fd(struct loop_fd *watch, uint32_t events) {
    (void)watch, (void)events;
    note('f');
}
static void note_timer(struct loop_timer *timer) {
    (void)timer;
    note('t');
}
static void note_hook(struct loop_hook *hook) {
    (void)hook;
    note('h');
}
static void note_call(void *arg) {
    (void)arg;
    note('c');
}

static void a_turn_has_its_order(void **state) {
    (void)state;
    trace[0] = '\0';
    struct watched a;
    watch_pipe(&a);
    a.watch.on_ready = note_fd;
    make_readable(&a);
    struct loop_hook hook = {0};
    struct loop_timer timer = {0};
    loop_hook_add(loop, &hook, note_hook);
    loop_timer_start(loop, &timer, 0, note_timer);
    assert_int_equal(loop_post(loop, note_call, NULL), ERR_OK);
    turn();
    assert_string_equal(trace, "fcth");
    loop_hook_remove(loop, &hook);
    loop_hook_remove(loop, &hook);
    turn();
    assert_string_equal(trace, "fcthf");
    unwatch_pipe(&a);
}

struct chained_hook {
    struct loop_hook hook;
    struct loop_hook *victims[3];
    unsigned calls;
};

static void on_chained(struct loop_hook *hook) {
    struct chained_hook *self = CONTAINER_OF(hook, struct chained_hook, hook);
    self->calls++;
    for (int i = 0; i < 3 && self->victims[i] != NULL; i++) {
        loop_hook_remove(loop, self->victims[i]);
    }
}

static void a_hook_may_remove_itself_and_the_next(void **state) {
    (void)state;
    struct chained_hook hooks[4];
    memset(hooks, 0, sizeof hooks);
    for (int i = 0; i < 4; i++) {
        loop_hook_add(loop, &hooks[i].hook, on_chained);
    }
    hooks[0].victims[0] = &hooks[0].hook;
    hooks[0].victims[1] = &hooks[1].hook;
    hooks[0].victims[2] = &hooks[2].hook;
    turn();
    turn();
    assert_int_equal(hooks[0].calls, 1);
    assert_int_equal(hooks[1].calls, 0);
    assert_int_equal(hooks[2].calls, 0);
    assert_int_equal(hooks[3].calls, 2);
    loop_hook_remove(loop, &hooks[3].hook);
}

/* --- calls from other threads */

#define THREADS 4
#define CALLS_PER_THREAD 20000u

struct numbered_call {
    struct loop_call call;
    uint32_t thread, number;
};
static struct numbered_call (*numbered)[CALLS_PER_THREAD];
static uint32_t next_number[THREADS];

static void on_numbered(struct loop_call *call) {
    struct numbered_call *self = CONTAINER_OF(call, struct numbered_call, call);
    assert_int_equal(self->number, next_number[self->thread]);
    next_number[self->thread]++;
}

static void *post_numbered(void *arg) {
    uint32_t thread = *(uint32_t *)arg;
    for (uint32_t i = 0; i < CALLS_PER_THREAD; i++) {
        numbered[thread][i].thread = thread;
        numbered[thread][i].number = i;
        loop_post_call(loop, &numbered[thread][i].call, on_numbered);
    }
    return NULL;
}

static void calls_run_once_and_in_each_threads_order(void **state) {
    (void)state;
    numbered = mem_zalloc(THREADS, sizeof *numbered);
    assert_non_null(numbered);
    memset(next_number, 0, sizeof next_number);
    pthread_t threads[THREADS];
    uint32_t names[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        names[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, post_numbered, &names[i]), 0);
    }
    uint64_t deadline_us = clock_mono_us() + 60000000u;
    uint32_t done = 0;
    while (done < THREADS * CALLS_PER_THREAD && clock_mono_us() < deadline_us) {
        /* A lost wake-up would hang here until the deadline. */
        assert_int_equal(loop_turn(loop, 60000000u), ERR_OK);
        done = 0;
        for (uint32_t i = 0; i < THREADS; i++) {
            done += next_number[i];
        }
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(next_number[i], CALLS_PER_THREAD);
    }
    mem_free(numbered);
}

static unsigned counted;

static void count(void *arg) {
    counted += *(unsigned *)arg;
}

static void posting_is_bounded(void **state) {
    (void)state;
    unsigned one = 1;
    counted = 0;
    for (int i = 0; i < POSTED_MAX; i++) {
        assert_int_equal(loop_post(loop, count, &one), ERR_OK);
    }
    assert_int_equal(loop_post(loop, count, &one), ERR_FULL);
    turn();
    assert_int_equal(counted, POSTED_MAX);
    assert_int_equal(loop_post(loop, count, &one), ERR_OK);
    turn();
    assert_int_equal(counted, POSTED_MAX + 1);
}

struct again_call {
    struct loop_call call;
    unsigned runs;
};

static void on_again(struct loop_call *call) {
    struct again_call *self = CONTAINER_OF(call, struct again_call, call);
    if (++self->runs < 3) {
        loop_post_call(loop, call, on_again);
    }
}

static void a_call_posted_by_a_call_runs_in_the_next_turn(void **state) {
    (void)state;
    struct again_call again = {0};
    loop_post_call(loop, &again.call, on_again);
    turn();
    assert_int_equal(again.runs, 1);
    assert_int_equal(loop_turn(loop, 60000000u), ERR_OK); /* does not wait */
    assert_int_equal(again.runs, 2);
    turn();
    turn();
    assert_int_equal(again.runs, 3);
}

static void on_cancel_first(struct loop_call *call) {
    struct again_call *self = CONTAINER_OF(call, struct again_call, call);
    self->runs++;
    loop_call_cancel(loop, &(self + 1)->call); /* the next one, already due */
}

static void on_count(struct loop_call *call) {
    CONTAINER_OF(call, struct again_call, call)->runs++;
}

static void a_posted_call_can_be_taken_back(void **state) {
    (void)state;
    struct again_call calls[4] = {0};
    loop_call_cancel(loop, &calls[0].call); /* not posted */
    for (int i = 0; i < 4; i++) {
        loop_post_call(loop, &calls[i].call, i == 1 ? on_cancel_first : on_count);
    }
    loop_call_cancel(loop, &calls[3].call); /* the last: what is posted now comes behind 2 */
    loop_post_call(loop, &calls[3].call, on_count);
    loop_call_cancel(loop, &calls[0].call);               /* the first */
    assert_int_equal(loop_turn(loop, 60000000u), ERR_OK); /* does not wait for the others */
    assert_int_equal(calls[0].runs, 0);
    assert_int_equal(calls[1].runs, 1);
    assert_int_equal(calls[2].runs, 0);
    assert_int_equal(calls[3].runs, 1);
    loop_post_call(loop, &calls[0].call, on_count);
    turn();
    assert_int_equal(calls[0].runs, 1);
}

static void *stop_from_thread(void *arg) {
    loop_stop(arg);
    return NULL;
}

static void stop_works_from_another_thread_and_before_run(void **state) {
    (void)state;
    loop_stop(loop);
    assert_int_equal(loop_run(loop), ERR_OK);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop_from_thread, loop), 0);
    assert_int_equal(loop_run(loop), ERR_OK);
    pthread_join(thread, NULL);
}

static void on_alarm(int number) {
    (void)number;
    loop_stop(loop);
}

static void stop_works_from_a_signal_handler(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler = on_alarm}, old;
    sigemptyset(&action.sa_mask);
    assert_int_equal(sigaction(SIGALRM, &action, &old), 0);
    ualarm(2000, 0);
    assert_int_equal(loop_run(loop), ERR_OK);
    assert_int_equal(sigaction(SIGALRM, &old, NULL), 0);
}

/* --- creation, and a kernel or sandbox without epoll_pwait2 */

static void creation_survives_lack_of_memory(void **state) {
    (void)state;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        struct loop *other = NULL;
        (void)mem_fault_set(nth, 1);
        enum err error = loop_create(8, &other);
        (void)mem_fault_set(0, 0);
        assert_int_equal(error, ERR_NO_MEMORY);
        assert_null(other);
    }
    struct loop *none = NULL;
    loop_destroy(&none);
}

/* Refuses epoll_pwait2 as an old kernel (ENOSYS) or container runtime (EPERM) does. */
static int refuse_pwait2(int error) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_pwait2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                   prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0
               ? 0
               : -1;
}

static int run_without_pwait2(int error) {
    struct loop *own;
    if (loop_create(8, &own) != ERR_OK || refuse_pwait2(error) != 0) {
        return 1;
    }
    loop = own;
    struct loop_timer timer = {0};
    uint64_t begin_us = loop_now_us(own);
    loop_timer_start(own, &timer, 2500, on_stop_loop);
    if (loop_run(own) != ERR_OK) {
        return 2;
    }
    uint64_t took_us = clock_mono_us() - begin_us;
    loop_destroy(&own);
    return took_us >= 2500 ? 0 : 3;
}

static void waiting_falls_back_to_epoll_wait(void **state) {
    (void)state;
    static const int errors[] = {ENOSYS, EPERM};
    for (int i = 0; i < 2; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            _exit(run_without_pwait2(errors[i]));
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

/* --- rest */

static struct {
    uint64_t rest_us, last_us;
    unsigned turns, early;
    struct loop_timer timer;
    bool timer_late;
} resting;

static void on_resting_turn(struct loop_hook *hook) {
    (void)hook;
    uint64_t now_us = loop_now_us(loop);
    resting.early +=
        resting.turns > 0 && now_us / resting.rest_us == resting.last_us / resting.rest_us;
    resting.last_us = now_us;
    if (++resting.turns == 20) {
        loop_stop(loop);
    }
}

/* How many of 20 turns began in the same period as the one before, with that many descriptors ready
 * all the time. */
static unsigned early_turns(size_t ready) {
    struct watched busy[4];
    struct loop_hook hook = {0};
    memset(&resting, 0, sizeof resting);
    resting.rest_us = 2000;
    for (size_t i = 0; i < ready; i++) {
        watch_pipe(&busy[i]);
        make_readable(&busy[i]); /* never read: ready again at once */
    }
    loop_hook_add(loop, &hook, on_resting_turn);
    loop_set_rest(loop, resting.rest_us);
    assert_int_equal(loop_run(loop), ERR_OK);
    loop_hook_remove(loop, &hook);
    for (size_t i = 0; i < ready; i++) {
        unwatch_pipe(&busy[i]);
    }
    return resting.early;
}

static void under_load_turns_keep_to_a_clock(void **state) {
    (void)state;
    assert_int_equal(early_turns(4), 0);
    assert_true(early_turns(1) > 0); /* one is no load */
}

static void on_stop(struct loop_timer *timer) {
    resting.timer_late = loop_now_us(loop) - timer->due_us >= 10000000;
    loop_stop(loop);
}

static void stop_from_a_call(void *arg) {
    (void)arg;
    loop_stop(loop);
}

static atomic_bool turned;

static void on_turned(struct loop_hook *hook) {
    (void)hook;
    atomic_store(&turned, true);
}

/* The main thread, which runs the loop. */
static bool is_asleep(void) {
    char state = '?';
    FILE *file = fopen("/proc/self/stat", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*d (%*[^)]) %c", &state), 1);
    (void)fclose(file);
    return state == 'S';
}

/* After the first turn there is nothing to sleep for but the rest. */
static void *post_into_the_rest(void *arg) {
    (void)arg;
    while (!atomic_load(&turned) || !is_asleep()) {
        (void)sched_yield();
    }
    assert_int_equal(loop_post(loop, stop_from_a_call, NULL), ERR_OK);
    return NULL;
}

/* Runs the loop with three descriptors that are ready all the time: load. */
static void run_loaded(uint64_t rest_us) {
    struct watched busy[3];
    for (size_t i = 0; i < 3; i++) {
        watch_pipe(&busy[i]);
        make_readable(&busy[i]); /* never read: ready again at once */
    }
    loop_set_rest(loop, rest_us);
    assert_int_equal(loop_run(loop), ERR_OK);
    for (size_t i = 0; i < 3; i++) {
        unwatch_pipe(&busy[i]);
    }
}

static void a_call_ends_the_rest(void **state) {
    (void)state;
    struct loop_hook hook = {0};
    pthread_t thread;
    atomic_store(&turned, false);
    loop_hook_add(loop, &hook, on_turned);
    assert_int_equal(pthread_create(&thread, NULL, post_into_the_rest, NULL), 0);
    run_loaded(3600u * 1000000ull); /* an hour: else the test's time-out ends it */
    assert_int_equal(pthread_join(thread, NULL), 0);
    loop_hook_remove(loop, &hook);
}

static void a_timer_ends_the_rest(void **state) {
    (void)state;
    loop_timer_start(loop, &resting.timer, 1000, on_stop);
    run_loaded(3600u * 1000000ull); /* the timer would be that late */
    assert_false(resting.timer_late);
}

#define LOOP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        LOOP_TEST(descriptors_are_level_triggered),
        LOOP_TEST(under_load_turns_keep_to_a_clock),
        LOOP_TEST(a_call_ends_the_rest),
        LOOP_TEST(a_timer_ends_the_rest),
        LOOP_TEST(a_removed_watch_is_not_called_in_its_turn),
        LOOP_TEST(a_watch_may_remove_itself),
        LOOP_TEST(a_bad_descriptor_is_refused),
        LOOP_TEST(timers_fire_in_order_once),
        LOOP_TEST(a_timer_that_restarts_at_once_does_not_hold_up_the_turn),
        LOOP_TEST(a_timer_may_stop_others_that_are_due),
        LOOP_TEST(the_largest_delay_is_never),
        LOOP_TEST(run_wakes_for_a_timer_and_not_before),
        LOOP_TEST(a_turn_has_its_order),
        LOOP_TEST(a_hook_may_remove_itself_and_the_next),
        LOOP_TEST(calls_run_once_and_in_each_threads_order),
        LOOP_TEST(posting_is_bounded),
        LOOP_TEST(a_call_posted_by_a_call_runs_in_the_next_turn),
        LOOP_TEST(a_posted_call_can_be_taken_back),
        LOOP_TEST(stop_works_from_another_thread_and_before_run),
        LOOP_TEST(stop_works_from_a_signal_handler),
        LOOP_TEST(creation_survives_lack_of_memory),
        LOOP_TEST(waiting_falls_back_to_epoll_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
