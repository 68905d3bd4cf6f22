/* hub_private: what the files of the hub share: the loop, the bus and one object per concept. All
 * of it belongs to the loop's thread. Every external name of the hub begins with hub_ or session_.
 */
#ifndef PIPIT_CONNECTION_HUB_PRIVATE_H
#define PIPIT_CONNECTION_HUB_PRIVATE_H

#include "common/arena.h"
#include "common/buf.h"
#include "common/contract.h"
#include "common/rpc.h"
#include "common/stream.h"
#include "proto/envelope.h"
#include "services/connection/hub_metrics.h"
#include "services/connection/pool.h"
#include "services/connection/session.h"
#include <stdatomic.h>

#define HUB_TICK_US 250000u    /* leases, retries, deadlines: none needs to be more exact */
#define HUB_RETRY_US 250000u   /* a failed read or update is tried again after this */
#define HUB_ATTACH_US 1000000u /* a hanging routing instance delays a login by this at most */
/* Requests in flight to one instance of routing: reads, submit batches and interest together. */
#define HUB_ROUTING_CONTEXTS 64
#define HUB_AUTH_CONTEXTS 2
#define HUB_ADDRESS_BYTES 96

/* One routing instance. */
struct hub_peer {
    struct list_node node;
    struct hub *hub;
    struct rpc_peer *peer;
    struct stream_subscriber *stream;
    struct hub_interest_peer *interest;
    struct hub_ingress_peer *ingress;
};

/* Sessions of a user may be closed while they are walked; see session_walk_next. */
struct session_walk {
    struct session_walk *outer;
    struct hub *hub;
    struct list_node *next;
    const struct list *sessions;
};

struct hub {
    struct loop *loop;
    const struct connection_settings *settings;
    struct bus *bus;
    struct rpc *routing, *auth;
    struct list peers; /* struct hub_peer */
    uint64_t endpoint; /* random, not 0; also the topic of the delivery streams */
    char address[HUB_ADDRESS_BYTES];
    char epoch[LIMIT_EPOCH_BYTES + 1];

    struct arena turn;  /* one bus message unpacked; see hub_arena */
    struct buf scratch; /* one bus message being packed */
    struct buf frame;   /* one event encoded for all sessions */

    struct map sessions_by_id;
    struct list sessions; /* all_node, in order of opening */
    struct session_walk *walks;

    struct hub_users *users;
    struct hub_conversations *conversations;
    struct hub_reads *reads;
    struct hub_interest *interest;
    struct list opening_waits, opening_ready; /* opening.c; session.wait_node */
    struct hub_loads *loads;
    struct hub_sync *sync;
    struct hub_repairs *repairs;
    struct hub_backlogs *backlogs;
    struct hub_ingress *ingress;
    struct hub_marks *marks;
    struct hub_tokens *tokens;
    struct hub_expiry *expiry;

    struct loop_hook turn_end;
    struct loop_timer tick;
    struct loop_timer soon; /* callbacks that may not run inside the call that caused them */
    struct loop_timer leave_timer;
    bool closing; /* hub_destroy: nothing new begins */
    bool leaving; /* hub_leave */
    bool leave_sent;
    void (*on_left)(void *user);
    void *left_user;
};

static inline uint64_t hub_now_us(const struct hub *hub) {
    return loop_now_us(hub->loop);
}
/* The arena for one incoming bus message, emptied: what was unpacked before is gone. */
struct arena *hub_arena(struct hub *hub);
/* Runs the openings and failures that wait for a moment when no caller is on the stack: still in
 * this turn when possible, so that what sessions write leaves with it. */
void hub_soon(struct hub *hub);
/* The history epoch as storage told it. A new one ends all sessions, because the history they know
 * is gone, and returns true: no user or session found before is valid then. */
bool hub_set_epoch(struct hub *hub, const char *epoch);
/* False while no routing instance is up: what would only fail waits for the next tick instead. */
static inline bool hub_can_ask(const struct hub *hub) {
    return hub->routing != NULL && rpc_available(hub->routing);
}
/* Packs into hub->scratch, cleared before. */
enum err hub_pack(struct hub *hub, enum message_type type,
                  const ProtobufCMessage *message) MUST_CHECK;
void hub_routing_peer_added(struct rpc_peer *peer, void *user);
void hub_routing_peer_state(struct rpc_peer *peer, void *user);
void hub_routing_peer_removed(struct rpc_peer *peer, void *user);
/* It said that it is about to end: it gets nothing new, and what it refuses goes to others. */
void hub_peer_leaves(struct hub_peer *peer);

/* --- session.c, for the other files of the hub */
enum session_state {
    SESSION_CLOSED,
    SESSION_OPENING, /* known to routing, not yet attached */
    SESSION_LIVE,
    SESSION_ENDED /* the hub has let go of it; the protocol has yet to close */
};
struct session *session_find(struct hub *hub, uint64_t id); /* OPENING or LIVE; NULL */
/* Detaches, then tells the protocol. */
void session_end(struct session *session, enum reason reason);
/* End of the opening. REASON_OK: live; otherwise detached. Calls back. */
void session_opened(struct session *session, enum reason reason);
/* Walks a user's sessions; the callbacks in between may close any of them. */
struct session *session_walk_first(struct hub *hub, const struct list *sessions,
                                   struct session_walk *walk);
/* NULL at the end, which also ends the walk. A walk that is left early needs session_walk_end. */
struct session *session_walk_next(struct session_walk *walk);
void session_walk_end(struct session_walk *walk);
bool session_map_match(const struct map_node *node, const void *key, size_t key_bytes);

#endif
