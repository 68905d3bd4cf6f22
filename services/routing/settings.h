/* settings: the configuration of the routing service; the table itself is settings.c. */
#ifndef PIPIT_ROUTING_SETTINGS_H
#define PIPIT_ROUTING_SETTINGS_H

#include "common/bus_settings.h"
#include "common/service.h"

struct routing_settings {
    struct service_settings service; /* first: see common/service.h */
    struct bus_settings bus;
    const char *bus_listen;                /* base address: requests here, stream derived */
    uint64_t messages_per_second;          /* per user; 0 = unlimited */
    uint64_t messages_burst;               /* per user, at once */
    uint64_t rate_users_max;               /* users whose rate is remembered */
    uint64_t conversations_max;            /* cached */
    uint64_t members_max;                  /* cached, over all conversations */
    uint64_t pending_max;                  /* submits not yet answered, over all */
    uint64_t pending_per_conversation_max; /* the same in one conversation */
    uint64_t pending_bytes_max;            /* bytes of unanswered submit batches */
    uint64_t recent_ids_max;               /* message ids remembered after their answer */
    uint64_t requests_max;                 /* bus requests unanswered at once */
    uint64_t storage_calls_max;            /* calls in flight to one storage instance */
    uint64_t relays_max;                   /* of these: reads passed on for connection */
    uint64_t interests_max;                /* conversations that endpoints care about */
    uint64_t interests_per_endpoint_max;
    uint64_t sessions_max;
    uint64_t endpoint_lease_us;    /* an endpoint silent for longer is forgotten */
    uint64_t receipts_members_max; /* larger groups get no read and delivered marks */
    uint64_t marks_max;            /* cursors waiting for storage */
    uint64_t marks_interval_us;    /* how long they are collected */
    uint64_t signals_max;          /* typing and presence waiting for fan-out */
    uint64_t signals_interval_us;
};
extern const struct conf_row routing_conf_rows[];
extern const size_t routing_conf_row_count;

#endif
