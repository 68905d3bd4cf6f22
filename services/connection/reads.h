/* reads: requests that change nothing, to any routing instance: queued, so that a storm of logins
 * or syncs becomes a line and not a refusal, and asked again when an instance goes away. */
#ifndef PIPIT_CONNECTION_READS_H
#define PIPIT_CONNECTION_READS_H

#include "services/connection/hub_private.h"

#define HUB_READS_FLIGHT_MAX 40    /* of HUB_ROUTING_CONTEXTS; submits and interest have the rest */
#define HUB_READS_QUEUED_MAX 32768 /* a bound of last resort: sessions ask one after another */

struct hub_query; /* queries.h */
typedef void (*hub_read_fn)(struct hub *hub, const struct hub_query *query, enum err status,
                            const uint8_t *body, size_t body_bytes);

enum err hub_reads_create(struct hub *hub) MUST_CHECK;
void hub_reads_destroy(struct hub *hub);
/* Queues the request that lies packed in hub->scratch. fn is called exactly once, later, never from
 * inside this call; not at all after hub_destroy. urgent: before the others (repair of live
 * conversations). ERR_FULL, ERR_NO_MEMORY. */
enum err hub_reads_ask(struct hub *hub, const struct hub_query *query, bool urgent,
                       hub_read_fn fn) MUST_CHECK;
/* From hub_soon: reads that could not be sent. */
void hub_reads_soon(struct hub *hub);

#endif
