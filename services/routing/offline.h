/* offline: telling who is gone when a connection instance dies, because it cannot do so itself. */
#ifndef PIPIT_ROUTING_OFFLINE_H
#define PIPIT_ROUTING_OFFLINE_H

#include "services/routing/directory.h"
#include "services/routing/state.h"

struct offline {
    char **users; /* in the turn's arena */
    size_t count;
};
/* Notes whose sessions the endpoint has, before it is forgotten. */
void offline_begin(struct routing *routing, const struct endpoint *endpoint,
                   struct offline *offline);
/* Afterwards: publishes `offline` for those who have no session left, in the cached conversations
 * they are members of. */
void offline_tell(struct routing *routing, const struct offline *offline);

#endif
