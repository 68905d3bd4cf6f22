/* janitor: time limits of many connections without a timer each: a wheel of lists, one timer for
 * all. An entry is looked at when its slot comes by; its owner then says when to look again, so
 * activity costs nothing (a connection that was heard of is not moved, only found not due). */
#ifndef PIPIT_CONNECTION_JANITOR_H
#define PIPIT_CONNECTION_JANITOR_H

#include "common/list.h"
#include "common/loop.h"

#define JANITOR_TICK_US 250000u
#define JANITOR_SLOTS 256u /* 64 s; later times are looked at every 64 s */

struct janitor_entry {
    struct list_node node;
    uint64_t tick; /* of its slot */
};
struct janitor;
/* The entry is on no list; the callback watches it again if it wants. */
typedef void (*janitor_fn)(struct janitor_entry *entry, uint64_t now_us);
struct janitor {
    struct loop *loop;
    janitor_fn on_due;
    struct list slots[JANITOR_SLOTS];
    uint64_t tick; /* the last one done */
    struct loop_timer timer;
};

void janitor_start(struct janitor *janitor, struct loop *loop, janitor_fn on_due);
void janitor_stop(struct janitor *janitor); /* entries are forgotten */
/* Looks at the entry at due_us (absolute), at most one tick late and never early; an earlier look
 * that is planned already stays. */
void janitor_watch(struct janitor *janitor, struct janitor_entry *entry, uint64_t due_us);
void janitor_forget(struct janitor *janitor, struct janitor_entry *entry);

#endif
