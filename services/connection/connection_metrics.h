/* connection_metrics: the counters and gauges of sockets and protocols (the hub has its own). Any
 * thread; updates are relaxed atomics. */
#ifndef PIPIT_CONNECTION_CONNECTION_METRICS_H
#define PIPIT_CONNECTION_CONNECTION_METRICS_H

#include "proto/mqtt_packet.h"
#include "proto/reason.h"
#include <stdint.h>

enum conn_kind { CONN_WS, CONN_MQTT, CONN_KIND_COUNT };
/* Bounds that have no other counter. */
enum limit_hit {
    LIMIT_HIT_CONNECTIONS, /* connections_max */
    LIMIT_HIT_ADDRESS,     /* connections_per_address_max */
    LIMIT_HIT_REFUSALS,    /* closed in silence */
    LIMIT_HIT_FILES,       /* accept: no descriptor */
    LIMIT_HIT_SEND_QUEUE,  /* slow reader */
    LIMIT_HIT_UNSENT,      /* all send queues together */
    LIMIT_HIT_INFLIGHT,    /* reading paused until answers come */
    LIMIT_HIT_RATE,        /* reading paused or refused: too many messages or frames */
    LIMIT_HIT_SYNCS,       /* syncs waiting on one connection */
    LIMIT_HIT_SUBSCRIPTIONS,
    LIMIT_HIT_MEMORY, /* an allocation failed */
    LIMIT_HIT_COUNT
};
/* What was left out for a slow reader. */
enum shed_class { SHED_RECEIPT, SHED_TYPING, SHED_PRESENCE, SHED_CLASS_COUNT };

void connection_metrics_register(void);
void connection_metrics_opened(enum conn_kind kind);
/* lost: the peer went without a word. */
void connection_metrics_closed(enum conn_kind kind, enum reason reason, bool lost);
void connection_metrics_limit(enum limit_hit limit);
void connection_metrics_unsent(int64_t difference); /* bytes waiting for slow clients */
void connection_metrics_shed(enum shed_class class);
void connection_metrics_mqtt(enum mqtt_type type);     /* a packet from a client */
void connection_metrics_rejected(enum conn_kind kind); /* a message was refused */
void connection_metrics_turn(uint64_t busy_us);
void connection_metrics_tls_failed(void);
void connection_metrics_tls_expiry(int64_t unix_s);

#endif
