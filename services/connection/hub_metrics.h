/* hub_metrics: the counters of the hub side of connection, shared by all hubs of the process. */
#ifndef PIPIT_CONNECTION_HUB_METRICS_H
#define PIPIT_CONNECTION_HUB_METRICS_H

#include "common/metrics.h"
#include "proto/reason.h"

/* Why a conversation had to be caught up from history. */
enum hub_gap {
    HUB_GAP_SEQ,     /* a delivery was ahead of what was handed out */
    HUB_GAP_HEAD,    /* a comparison of heads found more */
    HUB_GAP_MEMBERS, /* a delivery knew newer members than we did */
    HUB_GAP_FAILED,  /* handing out failed for lack of memory */
    HUB_GAP_COUNT
};
/* Trouble of a stream, by its kind. */
enum hub_trouble { HUB_TROUBLE_GAP, HUB_TROUBLE_BOOT, HUB_TROUBLE_SILENT, HUB_TROUBLE_COUNT };
/* Every bound that refuses or drops something, by its label in pipit_limit_hits_total{limit}. */
enum hub_limit {
    HUB_LIMIT_SESSIONS_PER_USER,
    HUB_LIMIT_INFLIGHT,
    HUB_LIMIT_RATE,
    HUB_LIMIT_SUBMITS,
    HUB_LIMIT_BATCH,
    HUB_LIMIT_USERS,
    HUB_LIMIT_CONVERSATIONS,
    HUB_LIMIT_MEMBERSHIPS,
    HUB_LIMIT_BACKLOGS,
    HUB_LIMIT_READS,
    HUB_LIMIT_MARKS,
    HUB_LIMIT_INTEREST_LOG,
    HUB_LIMIT_REVOCATIONS,
    HUB_LIMIT_COUNT
};
/* What overload sheds, in this order (I8). */
enum hub_shed { HUB_SHED_PRESENCE, HUB_SHED_TYPING, HUB_SHED_RECEIPT, HUB_SHED_COUNT };
enum hub_protocol { HUB_PROTOCOL_WS, HUB_PROTOCOL_MQTT, HUB_PROTOCOL_COUNT };

struct hub_metrics {
    struct metric_gauge sessions[HUB_PROTOCOL_COUNT];
    struct metric_gauge users, conversations;
    struct metric_counter submits, deliveries, handed_out, duplicates;
    struct metric_counter gaps[HUB_GAP_COUNT], troubles[HUB_TROUBLE_COUNT];
    struct metric_counter syncs, backlog_messages, retries;
    struct metric_counter logins_checked, logins_cached, ended;
    struct metric_counter limit_hits[HUB_LIMIT_COUNT];
    struct metric_counter shed[HUB_SHED_COUNT];
    struct metric_histogram open_us, submit_us, delivery_us;
};
extern struct hub_metrics hub_metrics;

/* Registers all of the above; idempotent, any thread. */
void hub_metrics_register(void);
static inline void hub_metrics_limit(enum hub_limit limit) {
    metric_add(&hub_metrics.limit_hits[limit], 1);
}

#endif
