/* presence: who of a conversation is online (PresenceQuery). */
#ifndef PIPIT_ROUTING_PRESENCE_H
#define PIPIT_ROUTING_PRESENCE_H

#include "services/routing/state.h"

struct presence;
enum err presence_create(struct routing *routing, struct presence **out) MUST_CHECK;
void presence_destroy(struct presence **presence); /* no query is open */
/* Answers a PresenceQuery: NOT_MEMBER unless the asker is an active member, NOT_FOUND (also when
 * storage cannot be asked), FULL when too many queries wait. */
void presence_receive(struct routing *routing, struct bus_request *request, const uint8_t *body,
                      size_t body_bytes);

#endif
