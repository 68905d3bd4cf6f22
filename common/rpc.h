/* rpc: calls to a service of any number of instances: discovery + one bus peer per instance +
 * least-outstanding choice. Instances are named by their base address, which every caller sees
 * alike, so it is also the key for rendezvous hashing. */
#ifndef PIPIT_COMMON_RPC_H
#define PIPIT_COMMON_RPC_H

#include "common/bus.h"
#include "common/discovery.h"

struct rpc;
struct stream_subscriber;
struct rpc_peer {
    const char *address; /* base address; the instance's name */
    struct bus_peer *peer;
    bool up;
    /* Set by the owner when the instance said that it is about to go: it owns nothing any more and
     * is called only when no other is up. Cleared when its connection is lost. */
    bool leaving;
    /* Set by the owner: a stream that this instance publishes; it lives as long as this is set.
     * While it is heard the instance counts as slow, not as lost, when its calls time out. */
    const struct stream_subscriber *pulse;
    void *user; /* the owner's per-instance state; NULL at first */
};
struct rpc_config {
    const char *specification; /* see discovery.h; borrowed for rpc_create */
    uint32_t contexts;         /* calls in flight per instance */
    uint64_t timeout_us;       /* per call */
    /* Listens to the heartbeats that every service publishes, and gives up the connection to an
     * instance that falls silent (rpc_peer_silent). For owners without a stream of their own. */
    bool watch;
    enum bus_url_kind watch_at; /* BUS_URL_PUB, BUS_URL_PULSE: where they are */
    /* Any may be NULL. On the loop's thread. `removed` comes after all its calls ended; the peer is
     * no longer listed then and freed afterwards. None may call rpc_destroy. */
    void (*on_peer_added)(struct rpc_peer *peer, void *user);
    void (*on_peer_state)(struct rpc_peer *peer, void *user);
    void (*on_peer_removed)(struct rpc_peer *peer, void *user);
    void *user;
};
/* Errors as discovery_create. Instances come up later. */
enum err rpc_create(struct loop *loop, struct bus *bus, const struct rpc_config *config,
                    struct rpc **out) MUST_CHECK;
/* Before the bus and the loop. Open calls end with ERR_CLOSED, waiting threads as well; none may
 * begin a call from here on. Not from a callback of its own. */
void rpc_destroy(struct rpc **rpc);
/* The owner's stream from this instance fell silent after it had been heard: the process is frozen
 * or cut off, though its connections look alive. Its calls end with ERR_CLOSED, and it is down
 * until a new connection shows that somebody is there. Told within STREAM_SILENCE_US of the last
 * heartbeat instead of two time-outs of calls. */
void rpc_peer_silent(struct rpc *rpc, struct rpc_peer *peer);
/* Current instances, sorted by address; valid until the loop turns. */
size_t rpc_peers(struct rpc *rpc, struct rpc_peer *const **peers);
/* True when at least one instance is up. Any thread. */
bool rpc_available(struct rpc *rpc);
/* Calls the instance with the fewest calls outstanding (the first by address among equals; one that
 * is leaving last). Errors and on_reply as bus_call. */
enum err rpc_call(struct rpc *rpc, const void *bytes, size_t count, bus_reply_fn on_reply,
                  void *user) MUST_CHECK;
enum err rpc_call_peer(struct rpc *rpc, struct rpc_peer *peer, const void *bytes, size_t count,
                       bus_reply_fn on_reply, void *user) MUST_CHECK;
/* The blocking form for worker threads (never on a loop's thread): appends the reply to `reply`,
 * which nobody else may touch meanwhile. Waits up to the time-out for an instance to come up and
 * for a free context, then up to the time-out for the reply. ERR_UNAVAILABLE, ERR_FULL: nothing was
 * sent. ERR_TIMEOUT, ERR_CLOSED: the outcome is unknown; the call is not repeated here.
 * ERR_TOO_LARGE, ERR_NO_MEMORY: also when `reply` cannot hold the answer. */
enum err rpc_call_wait(struct rpc *rpc, const void *bytes, size_t count,
                       struct buf *reply) MUST_CHECK;
/* Rendezvous (highest random weight) choice among the instances that are up and not leaving; NULL
 * when none is. Every process that sees the same instances makes the same choice. */
struct rpc_peer *rpc_owner(struct rpc *rpc, const void *key, size_t key_bytes);

#endif
