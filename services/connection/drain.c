/* drain: the order of leaving.
 *
 * Of the time allowed, half is for goodbyes at the configured pace (faster when that would not
 * suffice), a quarter for clients to close their side, the rest for telling routing. A client whose
 * messages are not answered yet is not read from any more and gets its goodbye when the answers are
 * out, at the latest after two seconds: what was read is acknowledged, what was not will be sent
 * again elsewhere. Clients are told over how long to spread their return. */
#include "services/connection/drain.h"

#include "common/contract.h"
#include "common/log.h"

#define DRAIN_TICK_US 20000u
#define DRAIN_ANSWERS_US 2000000u
#define DRAIN_RETRY_MAX_MS 30000u

static void on_tick(struct loop_timer *timer);

static struct conn *conn_of(struct list_node *node) {
    return node != NULL ? CONTAINER_OF(node, struct conn, state_node) : NULL;
}

/* Connections that are not logged in have nothing to lose. */
static void end_all(struct conn_table *table, enum conn_state from, enum conn_state to) {
    for (enum conn_state state = from; state <= to; state++) {
        struct conn *conn = conn_of(list_first(&table->states[state]));
        while (conn != NULL) {
            conn_end(conn, REASON_DRAIN);
            conn = conn_of(list_first(&table->states[state]));
        }
    }
}

static void say_goodbyes(struct drain *drain, uint64_t now_us) {
    struct list *live = &drain->table->states[CONN_LIVE];
    drain->credit += drain->per_second * (now_us - drain->last_us);
    drain->last_us = now_us;
    struct conn *conn = conn_of(list_first(live));
    while (conn != NULL && drain->credit >= 1000000u) {
        struct conn *next = conn_of(list_next(live, &conn->state_node));
        if (!conn->leaving) {
            conn->leaving = true;
            conn->leaving_us = now_us;
        }
        if (!conn->protocol->is_busy(conn) || now_us >= conn->leaving_us + DRAIN_ANSWERS_US) {
            drain->credit -= 1000000u;
            conn_end(conn, REASON_DRAIN); /* moves this one alone */
        }
        conn = next;
    }
}

static void drop_all(struct conn_table *table) {
    for (enum conn_state state = CONN_TLS; state <= CONN_CLOSING; state++) {
        struct conn *conn = conn_of(list_first(&table->states[state]));
        while (conn != NULL) {
            conn_drop(conn, REASON_DRAIN, false);
            conn = conn_of(list_first(&table->states[state]));
        }
    }
}

static void on_left(void *user) {
    struct drain *drain = user;
    loop_timer_stop(drain->table->loop, &drain->timer);
    drain->on_done(drain->user);
}

static void leave(struct drain *drain, uint64_t now_us) {
    struct conn_table *table = drain->table;
    struct conn *ghost = conn_of(list_first(&table->states[CONN_GHOST]));
    drain->left = true;
    while (ghost != NULL) { /* a will that could not be delivered in all this time */
        conn_abandon(ghost);
        ghost = conn_of(list_first(&table->states[CONN_GHOST]));
    }
    hub_leave(table->hub, drain->end_us > now_us ? drain->end_us - now_us : 1, on_left, drain);
}

static void on_tick(struct loop_timer *timer) {
    struct drain *drain = CONTAINER_OF(timer, struct drain, timer);
    struct conn_table *table = drain->table;
    uint64_t now_us = loop_now_us(table->loop);
    end_all(table, CONN_TLS, CONN_LOGIN);
    say_goodbyes(drain, now_us);
    if (now_us >= drain->goodbye_until_us) {
        end_all(table, CONN_LIVE, CONN_LIVE);
    }
    if (now_us >= drain->drop_at_us) {
        drop_all(table);
    }
    bool empty = conn_table_count(table) == 0 &&
                 (table->states[CONN_GHOST].count == 0 || now_us >= drain->drop_at_us);
    if (empty) {
        leave(drain, now_us);
        return;
    }
    loop_timer_start(table->loop, timer, DRAIN_TICK_US, on_tick);
}

void drain_begin(struct drain *drain, struct conn_table *table, uint64_t per_second,
                 uint64_t allowed_us, void (*on_done)(void *user), void *user) {
    uint64_t now_us = loop_now_us(table->loop);
    uint64_t live = table->states[CONN_LIVE].count;
    uint64_t needed = live * 1000000u / (allowed_us / 2 + 1) + 1;
    uint64_t pace = per_second > needed ? per_second : needed;
    uint64_t spread_ms = live * 1000u / pace;
    *drain = (struct drain){.table = table,
                            .per_second = pace,
                            .begun_us = now_us,
                            .last_us = now_us,
                            .goodbye_until_us = now_us + allowed_us / 2,
                            .drop_at_us = now_us + allowed_us * 3 / 4,
                            .end_us = now_us + allowed_us * 9 / 10,
                            .credit = 1000000u,
                            .on_done = on_done,
                            .user = user};
    table->retry_max_ms =
        (uint32_t)(spread_ms < DRAIN_RETRY_MAX_MS ? spread_ms : DRAIN_RETRY_MAX_MS);
    log_event(LOG_INFO, "telling clients to reconnect", F_UINT("connections", live),
              F_UINT("per_second", pace));
    loop_timer_start(table->loop, &drain->timer, 0, on_tick);
}
