/* interest: what endpoints tell about their sessions (InterestUpdate): the lease that keeps them
 * known, interests, sessions, take-over. */
#ifndef PIPIT_ROUTING_INTEREST_H
#define PIPIT_ROUTING_INTEREST_H

#include "services/routing/state.h"

/* Answers an InterestUpdate request. */
void interest_receive(struct routing *routing, struct bus_request *request, const uint8_t *body,
                      size_t body_bytes);
/* Once a second: forgets endpoints whose lease ran out. */
void interest_tick(struct routing *routing);

#endif
