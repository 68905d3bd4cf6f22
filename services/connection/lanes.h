/* lanes: the submits of one conversation go one way at a time, so that they keep their order when
 * the conversation's owner changes. */
#ifndef PIPIT_CONNECTION_LANES_H
#define PIPIT_CONNECTION_LANES_H

#include "common/map.h"
#include "proto/limits.h"
#include "services/connection/pool.h"

struct hub_peer;
struct hub_lane {
    struct map_node node;
    struct hub_peer *peer; /* where its submits are; NULL: nowhere yet, or that instance is gone */
    size_t count;          /* submits on their way */
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
};
struct hub_lanes {
    struct map map;
    struct hub_pool pool;
};

enum err hub_lanes_init(struct hub_lanes *lanes, size_t count_max) MUST_CHECK;
void hub_lanes_finish(struct hub_lanes *lanes);
/* The conversation's lane, counted once more; a new one has no peer. NULL: no memory. */
struct hub_lane *hub_lane_enter(struct hub_lanes *lanes, const char *conversation);
/* One submit less; the last one ends the lane. NULL is accepted. */
void hub_lane_leave(struct hub_lanes *lanes, struct hub_lane *lane);

#endif
