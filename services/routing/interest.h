/* interest: what endpoints tell about their sessions (InterestUpdate): the lease that keeps them
 * known, interests, sessions, take-over. */
#ifndef PIPIT_ROUTING_INTEREST_H
#define PIPIT_ROUTING_INTEREST_H

#include "services/routing/state.h"

/* Answers an InterestUpdate request. */
void interest_receive(struct routing *routing, struct bus_request *request, const uint8_t *body,
                      size_t body_bytes);
/* Once a second: forgets endpoints whose lease ran out, and tells who is offline by that. */
void interest_tick(struct routing *routing);
/* This process did not run for so long: nobody's lease ran out meanwhile. */
void interest_prolong(struct routing *routing, uint64_t us);
/* Drain: asks all endpoints to send nothing more; true when they have said so. */
void interest_drain(struct routing *routing);
bool interest_released(const struct routing *routing);

#endif
