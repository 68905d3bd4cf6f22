/* egress: hops 5b and 6: deliveries from routing, and events to sessions. */
#ifndef PIPIT_CONNECTION_EGRESS_H
#define PIPIT_CONNECTION_EGRESS_H

#include "proto/deliver.pb-c.h"
#include "services/connection/conversations.h"

/* One message of a routing instance's delivery stream. Calls back. */
void hub_egress_receive(struct hub_peer *peer, const uint8_t *payload, size_t bytes);
/* Deliveries were or may have been lost. */
void hub_egress_trouble(struct hub *hub, enum stream_trouble trouble);

/* Hands the next message (seq == last + 1) to all who may have it, and counts it as handed out. A
 * row that is not well-formed counts, too: it will never be better. ERR_NO_MEMORY: nothing
 * happened. */
enum err hub_egress_hand_out(struct hub *hub, struct hub_conversation *conversation,
                             const Pipit__StoredMessage *message, uint64_t skip_session) MUST_CHECK;
/* Any other event to the live sessions of all members here, or of one user. `except` may be NULL.
 */
void hub_egress_to_members(struct hub *hub, struct hub_conversation *conversation,
                           const struct event *event, uint64_t skip_session,
                           const struct hub_user *except);
void hub_egress_to_user(struct hub *hub, struct hub_user *user, const struct event *event,
                        uint64_t skip_session);

#endif
