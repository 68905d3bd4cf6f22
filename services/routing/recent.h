/* recent: message ids that were stored a moment ago, so that a repeated send (a client that missed
 * its ack) is answered without asking storage. Bounded; storage's unique index is the truth. */
#ifndef PIPIT_ROUTING_RECENT_H
#define PIPIT_ROUTING_RECENT_H

#include "common/id.h"
#include <stdbool.h>

struct recent_ids;
/* Remembers the last `ids_max` ids. ERR_NO_MEMORY. */
enum err recent_ids_create(size_t ids_max, struct recent_ids **out) MUST_CHECK;
void recent_ids_destroy(struct recent_ids **ids);
/* Forgets the oldest when full; an id already known keeps its first seq. */
void recent_ids_add(struct recent_ids *ids, const uint8_t id[ID_UUID_BYTES],
                    const char *conversation, const char *sender, uint64_t seq, uint64_t ts_ms);
/* True when this sender stored this id in this conversation. False also for an id that was used
 * elsewhere: storage decides then. */
bool recent_ids_find(const struct recent_ids *ids, const uint8_t id[ID_UUID_BYTES],
                     const char *conversation, const char *sender, uint64_t *seq, uint64_t *ts_ms);

#endif
