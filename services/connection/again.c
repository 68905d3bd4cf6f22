/* again: what an instance of routing cannot answer any more goes to those that can.
 *
 * An instance is lost, or drains; its flights have come back without an answer (flights.c), and
 * behind them waits what was collected for it meanwhile. As soon as none of its flights is out, all
 * of that moves, in order, to the conversations' new owners: unpacked and collected like new. Or
 * the instance itself is back first (a restart, one dropped connection): then the flights are sent
 * to it again as they are. In between its batch only collects: nothing may overtake (lanes.c).
 *
 * Without any instance to go to, submits wait for HUB_AGAIN_US, so the restart of a single routing
 * process is a short delay for those who had sent; then they are told `timeout`. */
#include "services/connection/ingress_private.h"

#include "services/connection/marks.h"

#define AGAIN_PAUSE_US 5000u /* the others are full */

static void fail(struct hub *hub, struct list *pendings, struct list_node *node) {
    struct hub_pending *pending = CONTAINER_OF(node, struct hub_pending, node);
    list_remove(pendings, node);
    pending->in_doubt = true;
    pending->owner = NULL; /* nor may its flight take it along: it is on another list */
    list_push_back(&hub->ingress->failed, node);
    hub_soon(hub);
}

/* --- back to the same instance */

static void resend(struct hub_peer *peer) {
    struct list *returned = &peer->ingress->returned;
    while (returned->count > 0 && peer->ingress->batch.flights < HUB_FLIGHTS_PER_PEER_MAX) {
        struct hub_flight *flight = CONTAINER_OF(list_first(returned), struct hub_flight, node);
        list_remove(returned, &flight->node);
        if (flight->pendings.count == 0) { /* answered meanwhile: they had waited too long */
            hub_flight_give(flight);
        } else if (hub_flight_resend(flight) != ERR_OK) {
            list_push_front(returned, &flight->node);
            return; /* down again, or no context free */
        }
    }
}

/* --- to others */

static bool place(struct hub_peer *from, struct hub_pending *pending, const Pipit__Submit *submit) {
    struct hub_lane *lane = pending->lane;
    if (lane->peer == from || lane->peer == NULL) {
        struct hub_peer *owner = hub_ingress_owner(from->hub, lane->conversation);
        if (owner == NULL) {
            return false;
        }
        lane->peer = owner;
    }
    struct hub_peer *to = lane->peer;
    if (hub_ingress_collect(to, pending, submit)) {
        return true;
    }
    /* An empty batch that takes nothing: no memory. */
    if (to->ingress->batch.count == 0 || hub_ingress_blocked(to) ||
        to->ingress->batch.flights >= HUB_FLIGHTS_PER_PEER_MAX) {
        return false;
    }
    hub_flight_send(to);
    return hub_ingress_collect(to, pending, submit);
}

/* True when nobody is left in it. */
static bool place_all(struct hub_flight *flight) {
    struct hub *hub = flight->hub;
    struct arena *arena = &hub->ingress->again;
    Pipit__SubmitBatch *batch = NULL;
    arena_reset(arena);
    if (ENVELOPE_UNPACK(SUBMIT_BATCH, buf_data(&flight->bytes), buf_len(&flight->bytes), arena,
                        &batch) != ERR_OK) {
        return false; /* no memory: later */
    }
    for (size_t i = 0; i < batch->n_submits; i++) {
        struct hub_pending *pending =
            hub_pending_find(&hub->ingress->pendings, batch->submits[i]->ref);
        if (pending == NULL || pending->owner != flight) {
            continue; /* answered */
        }
        list_remove(&flight->pendings, &pending->node);
        if (!place(flight->peer, pending, batch->submits[i])) {
            list_push_front(&flight->pendings, &pending->node);
            return false;
        }
    }
    CONTRACT(flight->pendings.count == 0);
    return true;
}

/* What is collected from now on must stay behind what could not be placed. */
static void keep_order(struct hub_peer *peer) {
    const struct list *returned = &peer->ingress->returned;
    struct list_node *flying = list_first(returned);
    for (; flying != NULL; flying = list_next(returned, flying)) {
        const struct list *pendings = &CONTAINER_OF(flying, struct hub_flight, node)->pendings;
        for (struct list_node *node = list_first(pendings); node != NULL;
             node = list_next(pendings, node)) {
            CONTAINER_OF(node, struct hub_pending, node)->lane->peer = peer;
        }
    }
}

static void move_on(struct hub_peer *peer) {
    struct hub_ingress_peer *state = peer->ingress;
    if (state->batch.count > 0 && hub_flight_ground(peer) != ERR_OK) {
        return; /* no memory: later */
    }
    while (state->returned.count > 0) {
        struct hub_flight *flight =
            CONTAINER_OF(list_first(&state->returned), struct hub_flight, node);
        if (!place_all(flight)) {
            state->again_us = hub_now_us(peer->hub) + AGAIN_PAUSE_US;
            keep_order(peer);
            hub_ingress_look_in(peer->hub, AGAIN_PAUSE_US);
            return;
        }
        list_remove(&state->returned, &flight->node);
        hub_flight_give(flight);
    }
}

static void abandon(struct hub_peer *peer) {
    struct hub_ingress_peer *state = peer->ingress;
    struct list_node *node = NULL;
    while ((node = list_first(&state->pendings)) != NULL) {
        CONTAINER_OF(node, struct hub_pending, node)->lane->peer = NULL;
        fail(peer->hub, &state->pendings, node);
    }
    hub_marks_returned(peer->hub, &state->marks, false);
    struct list_node *flying = NULL;
    while ((flying = list_pop_front(&state->returned)) != NULL) {
        struct hub_flight *flight = CONTAINER_OF(flying, struct hub_flight, node);
        while ((node = list_first(&flight->pendings)) != NULL) {
            CONTAINER_OF(node, struct hub_pending, node)->lane->peer = NULL;
            fail(peer->hub, &flight->pendings, node);
        }
        hub_flight_give(flight);
    }
}

void hub_again_settle(struct hub_peer *peer, bool gone) {
    struct hub_ingress_peer *state = peer->ingress;
    bool waits = state->returned.count > 0 || state->batch.count > 0;
    bool back = peer->peer->up && !peer->peer->leaving && !gone;
    if (waits && state->batch.flights == 0 && (gone || hub_now_us(peer->hub) >= state->again_us)) {
        if (back) {
            resend(peer);
        } else if (hub_ingress_owner(peer->hub, "") != NULL) {
            move_on(peer);
        }
    }
    if (gone) {
        abandon(peer);
    }
}

/* --- waiting for too long */

static void expire(struct hub *hub, struct list *pendings) {
    struct list_node *node = list_first(pendings);
    while (node != NULL) {
        struct list_node *next = list_next(pendings, node);
        if (hub_now_us(hub) - CONTAINER_OF(node, struct hub_pending, node)->began_us >=
            HUB_AGAIN_US) {
            fail(hub, pendings, node);
        }
        node = next;
    }
}

void hub_again_tick(struct hub *hub) {
    for (struct list_node *node = list_first(&hub->peers); node != NULL;
         node = list_next(&hub->peers, node)) {
        struct hub_peer *peer = CONTAINER_OF(node, struct hub_peer, node);
        struct hub_ingress_peer *state = peer->ingress;
        struct list_node *flying = list_first(&state->returned);
        for (; flying != NULL; flying = list_next(&state->returned, flying)) {
            expire(hub, &CONTAINER_OF(flying, struct hub_flight, node)->pendings);
        }
        if (hub_ingress_blocked(peer)) {
            expire(hub, &state->pendings);
        }
    }
}
