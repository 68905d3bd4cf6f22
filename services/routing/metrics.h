/* metrics: the counters of routing (pipit_*), static as common/metrics.h asks, so that instances in
 * one process share them. */
#ifndef PIPIT_ROUTING_METRICS_H
#define PIPIT_ROUTING_METRICS_H

#include "common/metrics.h"
#include "proto/reason.h"

/* Every bound that refuses or drops something, by its label in pipit_limit_hits_total{limit}. */
enum routing_limit {
    LIMIT_HIT_RATE,
    LIMIT_HIT_CONVERSATIONS,
    LIMIT_HIT_MEMBERS,
    LIMIT_HIT_PENDING,
    LIMIT_HIT_PENDING_CONVERSATION,
    LIMIT_HIT_PENDING_BYTES,
    LIMIT_HIT_TURN_MEMORY,
    LIMIT_HIT_STORAGE_CALLS,
    LIMIT_HIT_ENDPOINTS,
    LIMIT_HIT_INTERESTS,
    LIMIT_HIT_SESSIONS,
    LIMIT_HIT_MARKS,
    LIMIT_HIT_SIGNALS,
    LIMIT_HIT_REFUSED_TURNS,
    LIMIT_HIT_COUNT
};
/* What overload sheds, in this order (I8). */
enum routing_shed { SHED_PRESENCE, SHED_TYPING, SHED_RECEIPTS, SHED_COUNT };

struct routing_metrics {
    struct metric_counter accepted, replays, conflicts, owner_changes, unknown_outcomes;
    struct metric_counter deliveries, publish_failures, kicks, members_reloads, members_uncertain;
    struct metric_counter marks, relays, appends_again, pauses;
    struct metric_counter limit_hits[LIMIT_HIT_COUNT];
    struct metric_counter shed[SHED_COUNT];
    struct metric_histogram accept_us, append_us, append_messages, fanout_recipients;
    struct metric_gauge pending, conversations, members, endpoints, interests, sessions;
};
extern struct routing_metrics routing_metrics;

/* Registers all of the above; idempotent. */
void routing_metrics_register(void);
/* pipit_messages_rejected_total{reason}. */
void routing_metrics_rejected(enum reason reason);
static inline void routing_limit_hit(enum routing_limit limit) {
    metric_add(&routing_metrics.limit_hits[limit], 1);
}

#endif
