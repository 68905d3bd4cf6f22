/* signals: typing and presence: never stored, coalesced, first to go under load. */
#ifndef PIPIT_ROUTING_SIGNALS_H
#define PIPIT_ROUTING_SIGNALS_H

#include "proto/submit.pb-c.h"
#include "services/routing/state.h"

struct signals;
enum err signals_create(struct routing *routing, struct signals **out) MUST_CHECK;
void signals_destroy(struct signals **signals); /* no conversation has waiters any more */
/* Copies the signal; the latest of one (conversation, user, kind) is passed on to the endpoints
 * that care about the conversation, if the user is an active member. A presence signal without a
 * conversation goes to every endpoint. Malformed ones and those beyond the limit are dropped. */
void signals_receive(struct routing *routing, const Pipit__Signal *signal);

#endif
