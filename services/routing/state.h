/* state: what the files of routing share: the loop, the bus, and one object per concept. All of it
 * belongs to the loop's thread. Included by services/routing/ alone. */
#ifndef PIPIT_ROUTING_STATE_H
#define PIPIT_ROUTING_STATE_H

#include "common/arena.h"
#include "common/rpc.h"
#include "common/stream.h"
#include "services/routing/metrics.h"
#include "services/routing/routing.h"

#define ROUTING_DEVICE_BYTES_MAX 96 /* session key: "m:" + MQTT client id, or a device id */

struct routing {
    struct loop *loop;
    const struct routing_settings *settings;
    struct bus *bus;
    struct rpc *storage;
    struct bus_server *server;
    struct stream_publisher *publisher;
    struct stream_publisher *pulse; /* heartbeats alone */
    struct arena turn;  /* replies unpacked and deliveries encoded in this turn; reset at its end */
    struct buf scratch; /* one bus message being packed; content is valid until the next packing */
    struct ops_check *storage_check; /* or NULL */

    struct submits *submits;
    struct conversations *conversations;
    struct doubts *doubts;
    struct recent_ids *recent;
    struct targets *targets;
    struct user_rates *rates;
    struct append *append;
    struct fanout *fanout;
    struct directory *directory;
    struct members *members;
    struct marks *marks;
    struct signals *signals;
    struct relay *relay;
    struct presence *presence;
    struct shed *shed;

    struct loop_hook turn_end;
    struct loop_timer second; /* leases, retries */
    size_t loads_out;         /* reload: conversations being loaded */
    uint64_t ran_us;          /* the last turn that was noticed */
    uint64_t drain_since_us;
    bool draining;
    bool drained; /* lets the last publications leave */
    bool closing; /* routing_destroy: nothing new begins */
    void (*on_drained)(void *user);
    void *drained_user;
};

#endif
