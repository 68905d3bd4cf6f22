/* marks: read and delivered cursors: coalesced, written in batches, shown to others. */
#ifndef PIPIT_ROUTING_MARKS_H
#define PIPIT_ROUTING_MARKS_H

#include "proto/submit.pb-c.h"
#include "services/routing/state.h"

struct marks;
enum err marks_create(struct routing *routing, struct marks **out) MUST_CHECK;
void marks_destroy(struct marks **marks); /* no call to storage is out */
/* Copies the mark; of one (user, device, conversation) the highest values reach storage. A cursor
 * that moved is delivered to the endpoints that care about the conversation, in large groups only
 * to the user's own. Malformed marks and those beyond the limit are dropped (clients mark again).
 */
void marks_receive(struct routing *routing, const Pipit__Mark *mark);
/* Shutdown: writes what is collected without waiting for the interval. */
void marks_hurry(struct routing *routing);
/* Marks not yet written. */
size_t marks_waiting(const struct marks *marks);

#endif
