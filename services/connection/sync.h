/* sync: history for clients, and the comparison of heads that finds what deliveries have missed. */
#ifndef PIPIT_CONNECTION_SYNC_H
#define PIPIT_CONNECTION_SYNC_H

#include "services/connection/conversations.h"

#define HUB_HEADS_FLIGHT_MAX 4 /* comparisons in flight */

struct hub_sync;
enum err hub_sync_create(struct hub *hub) MUST_CHECK;
void hub_sync_destroy(struct hub *hub);
/* The conversation became interesting: its head is compared once routing has acknowledged that. */
void hub_sync_fresh(struct hub *hub, struct hub_conversation *conversation);
/* The conversation leaves the list of all. */
void hub_sync_forget(struct hub *hub, struct hub_conversation *conversation);
/* Deliveries may have been lost: the heads of all conversations are compared, in batches. */
void hub_sync_all(struct hub *hub);
/* From hub_soon and the tick. */
void hub_sync_soon(struct hub *hub);
/* See session_history. */
enum err hub_sync_page(struct hub *hub, struct session *session, uint64_t request,
                       const char *conversation, uint64_t after_seq, uint32_t limit) MUST_CHECK;

#endif
