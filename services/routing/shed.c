/* shed: two signs of overload decide. Loop lag: how long turns take on average, because everything
 * waits for the turn. And the share of pending_max that is in use: messages waiting for storage.
 * Each kind has its own thresholds, so relief comes in steps. The average follows within about
 * eight turns; after a quiet second an old one says nothing and is dropped. What is shed is only
 * what the next signal or mark of the same kind makes up for. */
#include "services/routing/shed.h"

#include "common/mem.h"
#include "services/routing/submit.h"

struct shed {
    uint64_t lag_us;  /* moving average of a turn's work */
    uint64_t turn_us; /* when the last turn ended */
};

static const struct {
    uint64_t lag_us;
    unsigned pending_percent;
} thresholds[SHED_COUNT] = {
    [SHED_PRESENCE] = {20000, 50}, /* the p99 goal is 20 ms: beyond it we are late already */
    [SHED_TYPING] = {50000, 75},
    [SHED_RECEIPTS] = {100000, 90},
};
#define SHED_MEMORY_US 1000000u
#define SHED_WEIGHT 8u

enum err shed_create(struct routing *routing, struct shed **out) {
    (void)routing; /* alike for all modules */
    struct shed *shed = mem_zalloc(1, sizeof *shed);
    if (shed == NULL) {
        return ERR_NO_MEMORY;
    }
    *out = shed;
    return ERR_OK;
}

void shed_destroy(struct shed **shed) {
    mem_free(*shed);
    *shed = NULL;
}

void shed_turn(struct routing *routing) {
    struct shed *shed = routing->shed;
    uint64_t now_us = loop_now_us(routing->loop);
    if (now_us - shed->turn_us > SHED_MEMORY_US) {
        shed->lag_us = 0;
    }
    shed->turn_us = now_us;
    shed->lag_us =
        (shed->lag_us * (SHED_WEIGHT - 1) + loop_last_busy_us(routing->loop)) / SHED_WEIGHT;
}

bool shed_drops(struct routing *routing, enum routing_shed kind) {
    bool late = routing->shed->lag_us > thresholds[kind].lag_us;
    bool full = submits_pending(routing->submits) * 100 >
                routing->settings->pending_max * thresholds[kind].pending_percent;
    if (late || full) {
        metric_add(&routing_metrics.shed[kind], 1);
    }
    return late || full;
}
