/* fanout: hops 5a and 5b: answers to submitters and deliveries to endpoints, collected during a
 * turn and sent at its end, deliveries first. */
#ifndef PIPIT_ROUTING_FANOUT_H
#define PIPIT_ROUTING_FANOUT_H

#include "proto/deliver.pb-c.h"
#include "proto/envelope.h"
#include "services/routing/directory.h"
#include "services/routing/submit.h"

struct fanout;
enum err fanout_create(struct routing *routing, struct fanout **out) MUST_CHECK;
void fanout_destroy(struct fanout **fanout); /* after the last fanout_flush */

/* Delivers a stored message to the endpoints interested in its conversation. skip_session 0 = none.
 * The message is encoded now; nothing is borrowed. */
void fanout_message(struct routing *routing, Pipit__StoredMessage *message,
                    uint64_t members_version, uint64_t skip_session);
/* Delivers any event to a set of endpoints. */
void fanout_event(struct routing *routing, const Pipit__Delivery *delivery,
                  const struct endpoint_set *to);
/* Answers a batch whose submits are all resolved, at the end of the turn, and releases it. */
void fanout_reply(struct routing *routing, struct submit_batch *batch);
/* Answers any other request at once. */
void fanout_answer(struct routing *routing, struct bus_request *request, enum message_type type,
                   const ProtobufCMessage *answer);
/* Drops what waits for an endpoint that is about to be closed. */
void fanout_forget(struct routing *routing, struct endpoint *endpoint);
/* End of the turn: publishes, then answers. */
void fanout_flush(struct routing *routing);

#endif
