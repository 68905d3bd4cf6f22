/* lanes: which routing instance has the submits of a conversation that are not answered yet.
 *
 * Requests to one instance keep their order, and so do the submits of a conversation as long as all
 * of them go to its owner. When the owner changes (an instance came, went, or is about to), a later
 * submit through the new owner could overtake an earlier one that is still on its way to the old
 * one, and a person's two messages would change places. So a conversation changes over only while
 * none of its submits are on their way; under steady load that moment comes with every answer.
 * A lane lives as long as it has submits: a map of what is in flight, not of all conversations. */
#include "services/connection/lanes.h"

#include "common/contract.h"
#include <string.h>

static bool match_lane(const struct map_node *node, const void *key, size_t key_bytes) {
    const struct hub_lane *lane = CONTAINER_OF(node, struct hub_lane, node);
    return strlen(lane->conversation) == key_bytes &&
           memcmp(lane->conversation, key, key_bytes) == 0;
}

enum err hub_lanes_init(struct hub_lanes *lanes, size_t count_max) {
    hub_pool_init(&lanes->pool, sizeof(struct hub_lane), count_max);
    return map_init(&lanes->map, 64, match_lane);
}

void hub_lanes_finish(struct hub_lanes *lanes) {
    map_finish(&lanes->map);
    hub_pool_finish(&lanes->pool);
}

struct hub_lane *hub_lane_enter(struct hub_lanes *lanes, const char *conversation) {
    size_t bytes = strlen(conversation);
    struct map_node *node = map_find(&lanes->map, conversation, bytes);
    struct hub_lane *lane = node != NULL ? CONTAINER_OF(node, struct hub_lane, node) : NULL;
    if (lane == NULL) {
        lane = hub_pool_take(&lanes->pool);
        if (lane == NULL) {
            return NULL;
        }
        CONTRACT(bytes <= LIMIT_CONVERSATION_ID_BYTES);
        memcpy(lane->conversation, conversation, bytes + 1);
        map_insert(&lanes->map, &lane->node, lane->conversation, bytes);
    }
    lane->count++;
    return lane;
}

void hub_lane_leave(struct hub_lanes *lanes, struct hub_lane *lane) {
    if (lane == NULL) {
        return;
    }
    CONTRACT(lane->count > 0);
    if (--lane->count == 0) {
        map_remove(&lanes->map, &lane->node);
        hub_pool_give(&lanes->pool, lane);
    }
}
