/* relay: reads that connection sends to storage through routing: passed on byte for byte. */
#ifndef PIPIT_ROUTING_RELAY_H
#define PIPIT_ROUTING_RELAY_H

#include "proto/envelope.h"
#include "services/routing/state.h"

struct relay;
enum err relay_create(struct routing *routing, struct relay **out) MUST_CHECK;
void relay_destroy(struct relay **relay); /* all calls have ended */
/* True for the requests that are passed on. */
bool relay_takes(enum message_type type);
/* Passes the request on, or lets it wait for a free call; the answer is storage's, or a reply of
 * the matching type whose `error` says why there is none. */
void relay_receive(struct routing *routing, struct bus_request *request, enum message_type type,
                   const uint8_t *body, size_t body_bytes);
bool relay_idle(const struct relay *relay); /* no read is on its way */
/* Shutdown: answers what waits. */
void relay_abort(struct routing *routing);

#endif
