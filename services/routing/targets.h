/* targets: a small cache of stored messages that edits, recalls and reactions point at. A stored
 * message never changes, so entries never become wrong; they are only overwritten. */
#ifndef PIPIT_ROUTING_TARGETS_H
#define PIPIT_ROUTING_TARGETS_H

#include "common/err.h"
#include "proto/message.pb-c.h"

struct targets;
enum err targets_create(size_t count_max, struct targets **out) MUST_CHECK;
void targets_destroy(struct targets **targets);
void targets_add(struct targets *targets, const char *conversation, uint64_t seq,
                 const char *sender, Pipit__MessageKind kind);
/* False: unknown here, ask storage. */
bool targets_find(const struct targets *targets, const char *conversation, uint64_t seq,
                  const char *user, bool *is_own, Pipit__MessageKind *kind);

#endif
