/* loop_timer: the timers of a loop, a pairing heap threaded through the callers' own structs, so
 * starting, moving and stopping never allocate and never fail.
 *
 * A pairing heap makes start and move O(1), which is what per-connection time-outs do all day, and
 * pays O(log n) amortised only when a timer fires or stops. A hierarchical wheel is faster still
 * but rounds due times, and the beat of batches needs the microseconds.
 *
 * heap_prev points at the left sibling, or at the parent for a first child; the root has none.
 * Source: Fredman, Sedgewick, Sleator, Tarjan, "The pairing heap" (1986), two-pass variant. */
#include "common/loop_private.h"

#include "common/contract.h"

static struct loop_timer *meld(struct loop_timer *a, struct loop_timer *b) {
    if (a == NULL) {
        return b;
    }
    if (b == NULL) {
        return a;
    }
    if (b->due_us < a->due_us) {
        struct loop_timer *swap = a;
        a = b;
        b = swap;
    }
    b->heap_prev = a;
    b->heap_next = a->heap_child;
    if (b->heap_next != NULL) {
        b->heap_next->heap_prev = b;
    }
    a->heap_child = b;
    return a;
}

/* Melds a list of siblings into one heap: pairs from the left, then all pairs from the right. */
static struct loop_timer *meld_siblings(struct loop_timer *first) {
    struct loop_timer *pairs = NULL; /* stack linked by heap_next */
    while (first != NULL) {
        struct loop_timer *a = first;
        struct loop_timer *b = a->heap_next;
        first = b != NULL ? b->heap_next : NULL;
        a->heap_next = NULL;
        if (b != NULL) {
            b->heap_next = NULL;
        }
        a = meld(a, b);
        a->heap_next = pairs;
        pairs = a;
    }
    struct loop_timer *root = NULL;
    while (pairs != NULL) {
        struct loop_timer *next = pairs->heap_next;
        pairs->heap_next = NULL;
        root = meld(root, pairs);
        pairs = next;
    }
    if (root != NULL) {
        root->heap_prev = NULL;
        root->heap_next = NULL;
    }
    return root;
}

static void unlink_timer(struct loop_timers *timers, struct loop_timer *timer) {
    struct loop_timer *below = meld_siblings(timer->heap_child);
    if (timer == timers->root) {
        timers->root = below;
    } else {
        if (timer->heap_prev->heap_child == timer) {
            timer->heap_prev->heap_child = timer->heap_next;
        } else {
            timer->heap_prev->heap_next = timer->heap_next;
        }
        if (timer->heap_next != NULL) {
            timer->heap_next->heap_prev = timer->heap_prev;
        }
        timers->root = meld(timers->root, below);
    }
    timer->heap_child = timer->heap_next = timer->heap_prev = NULL;
    timer->armed = false;
}

void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_us,
                      loop_timer_fn on_due) {
    struct loop_timers *timers = loop_timers_of(loop);
    uint64_t now_us = loop_now_us(loop);
    CONTRACT(on_due != NULL);
    if (timer->armed) {
        unlink_timer(timers, timer);
    }
    if (delay_us == 0 && timers->firing) {
        delay_us = 1; /* a timer that restarts itself at once must not hold up the turn for ever */
    }
    timer->due_us = delay_us > UINT64_MAX - now_us ? UINT64_MAX : now_us + delay_us;
    timer->on_due = on_due;
    timer->heap_child = timer->heap_next = timer->heap_prev = NULL;
    timer->armed = true;
    timers->root = meld(timers->root, timer);
}

void loop_timer_stop(struct loop *loop, struct loop_timer *timer) {
    if (timer->armed) {
        unlink_timer(loop_timers_of(loop), timer);
    }
}

uint64_t loop_timers_wait_us(const struct loop_timers *timers, uint64_t now_us) {
    if (timers->root == NULL) {
        return UINT64_MAX;
    }
    return timers->root->due_us > now_us ? timers->root->due_us - now_us : 0;
}

void loop_timers_fire(struct loop_timers *timers, uint64_t now_us) {
    timers->firing = true;
    while (timers->root != NULL && timers->root->due_us <= now_us) {
        struct loop_timer *timer = timers->root;
        unlink_timer(timers, timer);
        timer->on_due(timer);
    }
    timers->firing = false;
}
