/* doubt: appends that nobody answered may still be carried out, long after the conversation was
 * loaded anew: by a storage instance that was frozen and wakes up. Somebody has to look. */
#ifndef PIPIT_ROUTING_DOUBT_H
#define PIPIT_ROUTING_DOUBT_H

#include "services/routing/conversation.h"

struct doubts;
enum err doubts_create(struct routing *routing, struct doubts **out) MUST_CHECK;
void doubts_destroy(struct doubts **doubts); /* after all conversations */
/* An append of the conversation ended without an answer: it is loaded again several times. */
void doubt_add(struct conversation *conversation);
/* The conversation is evicted. */
void doubt_forget(struct conversation *conversation);
/* A storage instance is connected (again): what it did last may be visible now. */
void doubts_hurry(struct routing *routing);
/* Once a second. */
void doubts_tick(struct routing *routing);

#endif
