/* copies: an MQTT publication that came twice: as it was sent first, and again with DUP=1 after its
 * connection was lost, under another id, as MQTT 3.1.1 has no place for one. Device, packet id and
 * content say that they are one (Origin). A copy is looked for in the log (lookup.c); what is here
 * is for the first one that was delayed and comes behind its copy. Of two with the same origin, the
 * one with the older id is the first; a newer one is a new message in a packet id that is used
 * again. Loop's thread. */
#ifndef PIPIT_ROUTING_COPIES_H
#define PIPIT_ROUTING_COPIES_H

#include "services/routing/submit.h"

#define ORIGIN_HASH_BYTES 16u

/* A copy was admitted: from now on first ones are looked at more closely, for a minute. */
void copies_admitted(struct conversation *conversation);
/* A message that may be a copy is on disk and delivered. origin may be NULL. */
void copies_stored(struct conversation *conversation, const Pipit__Origin *origin,
                   const ProtobufCBinaryData *id, const char *sender, uint64_t seq);
/* True while a copy of this one is on its way to the disk. */
bool copies_under_way(const struct conversation *conversation, const struct pending *first);
/* True when a copy of this one is on disk: *outcome says where. */
bool copies_find(const struct conversation *conversation, const struct pending *first,
                 struct submit_outcome *outcome);
/* The message on the list that the row stores under another id, or NULL. */
struct pending *copies_claim(struct list *list, const Pipit__StoredMessage *row);

#endif
