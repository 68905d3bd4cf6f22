/* ingress_private: what the files of hop 2 share: the batch that collects for each routing
 * instance, the batches on their way, and those that came back without an answer. */
#ifndef PIPIT_CONNECTION_INGRESS_PRIVATE_H
#define PIPIT_CONNECTION_INGRESS_PRIVATE_H

#include "common/batch.h"
#include "services/connection/ingress.h"
#include "services/connection/lanes.h"
#include "services/connection/pending.h"
#include "services/connection/sent.h"

/* A batch that was packed. */
struct hub_flight {
    struct list_node node; /* of its peer's `returned`, or idle */
    struct list_node all_node;
    struct hub *hub;
    struct hub_peer *peer;
    struct list pendings; /* not answered yet */
    struct list marks;
    struct buf bytes; /* the request, kept until the answer: it may have to be sent again */
    uint64_t number;  /* order of sending */
};
struct hub_ingress_peer {
    struct batch batch; /* collecting; its flights are on their way */
    struct arena arena;
    struct list pendings, marks;
    struct list returned; /* flights without an answer, in the order they were sent */
    uint64_t again_us;    /* not before: the others had no room */
    size_t submit_count, signal_count, mark_count;
    Pipit__Submit *submits[HUB_BATCH_SUBMITS_MAX];
    Pipit__Signal *signals[HUB_BATCH_SIGNALS_MAX];
    Pipit__Mark *mark_rows[HUB_BATCH_MARKS_MAX];
};
struct hub_ingress {
    struct hub_pendings pendings;
    struct hub_lanes lanes;
    struct hub_pool flights;
    struct list all;          /* flights */
    struct list idle;         /* of these, with their memory */
    struct list failed;       /* pendings that are answered from hub_soon */
    struct loop_timer window; /* the beat on which some batch leaves */
    struct hub_sent sent;
    struct arena again; /* a returned flight unpacked */
    uint64_t flight_number;
};

/* --- ingress.c */
/* Its batch may not be sent now: nobody is there, it drains, or older batches must go first. */
bool hub_ingress_blocked(const struct hub_peer *peer);
/* The end of a turn that is at most so far away looks at the batches. */
void hub_ingress_look_in(struct hub *hub, uint64_t us);
/* The instance that a conversation's submits belong to now; NULL: none is up. */
struct hub_peer *hub_ingress_owner(struct hub *hub, const char *conversation);
/* Copies a submit into the batch that collects for this instance. False: no room. */
bool hub_ingress_collect(struct hub_peer *peer, struct hub_pending *pending,
                         const Pipit__Submit *submit);

/* --- flights.c */
struct hub_flight *hub_flight_take(struct hub *hub); /* NULL: HUB_FLIGHTS_PER_PEER_MAX, or memory */
void hub_flight_give(struct hub_flight *flight);     /* nobody waits in it any more */
/* Packs what was collected and sends it. What cannot be sent stays, waits in `returned`, or is
 * refused. */
void hub_flight_send(struct hub_peer *peer);
/* Sends a flight of `returned` again, to the same instance. */
enum err hub_flight_resend(struct hub_flight *flight) MUST_CHECK;
/* Packs what was collected as the last flight of `returned`. */
enum err hub_flight_ground(struct hub_peer *peer) MUST_CHECK;
/* Answers the client, or nobody if it has gone. */
void hub_flight_answer(struct hub *hub, struct hub_pending *pending,
                       const struct session_result *result);

/* --- again.c */
/* Brings what an instance cannot answer any more to those that can; called at the end of each turn.
 * gone: the instance is removed, nothing may stay. */
void hub_again_settle(struct hub_peer *peer, bool gone);
/* From the tick: what waited for too long is answered with `timeout`. */
void hub_again_tick(struct hub *hub);

#endif
