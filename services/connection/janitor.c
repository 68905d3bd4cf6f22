/* janitor: a timing wheel of intrusive lists.
 *
 * Login deadlines, heartbeats, keep-alives, stalled writes and closing handshakes of 20,000
 * connections need no precision better than a quarter of a second, but must not cost a heap
 * operation per message. Each slot is one tick wide; the wheel turns by one loop timer. A time
 * beyond the horizon goes into the farthest slot and is looked at again from there. */
#include "services/connection/janitor.h"

#include "common/contract.h"

static void on_timer(struct loop_timer *timer);

static void plan(struct janitor *janitor) {
    uint64_t next_us = (janitor->tick + 1) * JANITOR_TICK_US;
    uint64_t now_us = loop_now_us(janitor->loop);
    loop_timer_start(janitor->loop, &janitor->timer, next_us > now_us ? next_us - now_us : 0,
                     on_timer);
}

static struct list *slot_of(struct janitor *janitor, uint64_t tick) {
    return &janitor->slots[tick % JANITOR_SLOTS];
}

static void run_slot(struct janitor *janitor, uint64_t now_us) {
    struct list *slot = slot_of(janitor, janitor->tick);
    /* What the callbacks watch again goes into other slots: a later tick, at most a round ahead. */
    for (size_t left = slot->count; left > 0; left--) {
        struct list_node *node = list_pop_front(slot);
        if (node == NULL) {
            break; /* a callback made others forget theirs */
        }
        janitor->on_due(CONTAINER_OF(node, struct janitor_entry, node), now_us);
    }
}

static void on_timer(struct loop_timer *timer) {
    struct janitor *janitor = CONTAINER_OF(timer, struct janitor, timer);
    uint64_t now_us = loop_now_us(janitor->loop);
    uint64_t now_tick = now_us / JANITOR_TICK_US;
    if (now_tick > janitor->tick + JANITOR_SLOTS) {
        janitor->tick = now_tick - JANITOR_SLOTS; /* the machine slept: one round covers all */
    }
    while (janitor->tick < now_tick) {
        janitor->tick++;
        run_slot(janitor, now_us);
    }
    plan(janitor);
}

void janitor_start(struct janitor *janitor, struct loop *loop, janitor_fn on_due) {
    *janitor = (struct janitor){
        .loop = loop, .on_due = on_due, .tick = loop_now_us(loop) / JANITOR_TICK_US};
    for (size_t i = 0; i < JANITOR_SLOTS; i++) {
        list_init(&janitor->slots[i]);
    }
    plan(janitor);
}

void janitor_stop(struct janitor *janitor) {
    loop_timer_stop(janitor->loop, &janitor->timer);
}

void janitor_watch(struct janitor *janitor, struct janitor_entry *entry, uint64_t due_us) {
    uint64_t tick = due_us / JANITOR_TICK_US + 1; /* rounded up: never early */
    if (tick <= janitor->tick) {
        tick = janitor->tick + 1;
    }
    if (tick > janitor->tick + JANITOR_SLOTS - 1) {
        tick = janitor->tick + JANITOR_SLOTS - 1;
    }
    if (list_node_linked(&entry->node)) {
        if (entry->tick <= tick) {
            return;
        }
        list_remove(slot_of(janitor, entry->tick), &entry->node);
    }
    entry->tick = tick;
    list_push_back(slot_of(janitor, tick), &entry->node);
}

void janitor_forget(struct janitor *janitor, struct janitor_entry *entry) {
    if (list_node_linked(&entry->node)) {
        list_remove(slot_of(janitor, entry->tick), &entry->node);
    }
}
