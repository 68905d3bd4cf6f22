/* ingress: one batch collects for each routing instance, adaptively (common/batch.h).
 *
 * A submit is copied into the batch's arena when the client sends it, packed once when the batch
 * leaves, and remembered by its ref alone until the result comes: session, request number, time. So
 * a message in flight costs 64 bytes, and a session that closes meanwhile simply is not found any
 * more.
 *
 * A batch that cannot be sent (instance not connected, no context free) goes to another live
 * instance, once: any instance may append, the owner is only the fastest. When a batch was sent and
 * no answer came, nobody knows what happened: every submit in it is answered with `timeout`, and
 * the client sends the same id again. It is never sent twice from here: the id makes that safe, but
 * the client's own retry is the one it knows about.
 *
 * Overload sheds from the least important: presence when a batch is a quarter full, typing at half;
 * cursors stay with their owner (marks.c) and come again. */
#include "services/connection/ingress.h"

#include "common/batch.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/names.h"
#include "services/connection/marks.h"
#include "services/connection/pending.h"
#include "services/connection/sent.h"
#include <string.h>

#define SUBMIT_FIXED_BYTES 160u /* strings and numbers of a submit, for the batch's size */

struct hub_ingress_peer {
    struct batch batch;
    struct arena arena;
    struct list pendings, marks;
    uint64_t broken_us; /* the turn in which its connection broke last */
    size_t submit_count, signal_count, mark_count;
    Pipit__Submit *submits[HUB_BATCH_SUBMITS_MAX];
    Pipit__Signal *signals[HUB_BATCH_SIGNALS_MAX];
    Pipit__Mark *mark_rows[HUB_BATCH_MARKS_MAX];
};
struct flight {
    struct hub *hub;
    struct hub_peer *peer;
    struct list pendings, marks;
};
struct hub_ingress {
    struct hub_pendings pendings;
    struct hub_pool flights;
    struct list failed;       /* pendings of batches that could not be sent */
    struct loop_timer window; /* the oldest entry of some batch has waited enough */
    struct hub_sent sent;
};

enum err hub_ingress_create(struct hub *hub) {
    struct hub_ingress *ingress = mem_zalloc(1, sizeof *ingress);
    if (ingress == NULL) {
        return ERR_NO_MEMORY;
    }
    hub_pendings_init(&ingress->pendings, HUB_SUBMITS_MAX);
    hub_pool_init(&ingress->flights, sizeof(struct flight),
                  HUB_FLIGHTS_PER_PEER_MAX * DISCOVERY_ADDRESSES_MAX);
    list_init(&ingress->failed);
    hub->ingress = ingress;
    return ERR_OK;
}

void hub_ingress_destroy(struct hub *hub) {
    if (hub->ingress != NULL) {
        loop_timer_stop(hub->loop, &hub->ingress->window);
        hub_pendings_finish(&hub->ingress->pendings);
        hub_pool_finish(&hub->ingress->flights);
        mem_free(hub->ingress);
        hub->ingress = NULL;
    }
}

enum err hub_ingress_peer_create(struct hub_peer *peer) {
    struct hub_ingress_peer *state = mem_zalloc(1, sizeof *state);
    if (state == NULL) {
        return ERR_NO_MEMORY;
    }
    arena_init(&state->arena, 64u * 1024u, HUB_BATCH_BYTES_MAX);
    list_init(&state->pendings);
    list_init(&state->marks);
    peer->ingress = state;
    return ERR_OK;
}

/* --- results */

static void answer(struct hub *hub, struct hub_pending *pending,
                   const struct session_result *result) {
    struct session *session = session_find(hub, pending->session);
    uint64_t request = pending->request, began_us = pending->began_us;
    hub_pending_free(&hub->ingress->pendings, pending);
    if (session == NULL) {
        return; /* closed meanwhile */
    }
    metric_observe(&hub_metrics.submit_us, loop_now_us(hub->loop) - began_us);
    session->unanswered--;
    session->ops->on_result(session, request, result);
}

static void answer_all(struct hub *hub, struct list *pendings, enum reason reason) {
    struct session_result result = {.reason = reason, .conversation = ""};
    struct list_node *node = NULL;
    while ((node = list_pop_front(pendings)) != NULL) {
        answer(hub, CONTAINER_OF(node, struct hub_pending, node), &result);
    }
}

static void answer_results(struct flight *flight, const Pipit__SubmitReply *reply) {
    struct hub *hub = flight->hub;
    for (size_t i = 0; i < reply->n_results; i++) {
        const Pipit__SubmitResult *told = reply->results[i];
        struct hub_pending *pending = hub_pending_find(&hub->ingress->pendings, told->ref);
        if (pending == NULL || pending->owner != flight) {
            continue; /* not of this batch: a peer's mistake */
        }
        enum reason reason = reason_from_number(told->reason);
        if (reason == REASON_OK && told->seq == 0) {
            reason = REASON_TIMEOUT; /* stored at no place: whatever it means, it is no ack (I1) */
        }
        struct session_result result = {.reason = reason,
                                        .seq = told->seq,
                                        .ts_ms = told->ts_ms,
                                        .conversation = told->conversation,
                                        .retry_ms = told->retry_ms,
                                        .replay = told->replay};
        list_remove(&flight->pendings, &pending->node);
        answer(hub, pending, &result);
    }
}

static void on_reply(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct flight *flight = user;
    struct hub *hub = flight->hub;
    batch_returned(&flight->peer->ingress->batch);
    if (status == ERR_CLOSED) {
        flight->peer->ingress->broken_us = hub_now_us(hub);
    }
    if (hub->closing) {
        hub_pool_give(&hub->ingress->flights, flight);
        return;
    }
    Pipit__SubmitReply *reply = NULL;
    if (status == ERR_OK) {
        status = ENVELOPE_UNPACK_REPLY(SUBMIT_REPLY, body, body_bytes, hub_arena(hub), &reply);
    }
    hub_marks_returned(hub, &flight->marks, status == ERR_OK);
    if (status == ERR_OK) {
        answer_results(flight, reply);
    }
    answer_all(hub, &flight->pendings, REASON_TIMEOUT); /* not answered: unknown */
    hub_pool_give(&hub->ingress->flights, flight);
    if (hub->leaving) {
        hub_soon(hub); /* hub_leave waits for the last one */
    }
}

/* --- sending */

static struct hub_peer *other_peer(struct hub *hub, const struct hub_peer *not_this) {
    struct hub_peer *best = NULL;
    for (struct list_node *node = list_first(&hub->peers); node != NULL;
         node = list_next(&hub->peers, node)) {
        struct hub_peer *peer = CONTAINER_OF(node, struct hub_peer, node);
        if (peer != not_this && peer->peer->up &&
            (best == NULL ||
             bus_peer_outstanding(peer->peer->peer) < bus_peer_outstanding(best->peer->peer))) {
            best = peer;
        }
    }
    return best;
}

static enum err pack(struct hub *hub, struct hub_ingress_peer *state) {
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    batch.endpoint = hub->endpoint;
    batch.n_submits = state->submit_count;
    batch.submits = state->submits;
    batch.n_signals = state->signal_count;
    batch.signals = state->signals;
    batch.n_marks = state->mark_count;
    batch.marks = state->mark_rows;
    return hub_pack(hub, MESSAGE_SUBMIT_BATCH, &batch.base);
}

static void move_all(struct list *from, struct list *to) {
    struct list_node *node = NULL;
    while ((node = list_pop_front(from)) != NULL) {
        list_push_back(to, node);
    }
}

/* The batch could not be sent anywhere. */
static void give_up(struct hub *hub, struct hub_ingress_peer *state, enum err error) {
    static struct log_limit limit;
    if (log_allowed(&limit, 1)) {
        log_event(LOG_WARN, "messages refused: no routing instance takes them",
                  F_UINT("messages", state->submit_count), F_ERR(error));
    }
    hub_marks_returned(hub, &state->marks, false);
    move_all(&state->pendings, &hub->ingress->failed);
    hub_soon(hub);
}

static enum err send_to(struct hub_peer *peer, struct flight *flight) {
    struct hub *hub = peer->hub;
    flight->peer = peer;
    return rpc_call_peer(hub->routing, peer->peer, buf_data(&hub->scratch), buf_len(&hub->scratch),
                         on_reply, flight);
}

/* To the instance it was collected for, or else to another one, once. An instance whose connection
 * broke in this turn may still look connected: it is the last choice. gone: it is no choice. */
static enum err send_somewhere(struct hub_peer *peer, struct flight *flight, bool gone) {
    struct hub *hub = peer->hub;
    bool doubtful = gone || peer->ingress->broken_us == hub_now_us(hub);
    struct hub_peer *other = doubtful ? other_peer(hub, peer) : NULL;
    struct hub_peer *first = other != NULL ? other : peer;
    enum err error = first == peer && gone ? ERR_UNAVAILABLE : send_to(first, flight);
    if ((error == ERR_UNAVAILABLE || error == ERR_FULL) && first == peer && !gone) {
        other = other_peer(hub, peer);
        error = other != NULL ? send_to(other, flight) : error;
    }
    if (error == ERR_OK && flight->peer != peer) {
        metric_add(&hub_metrics.retries, 1);
    }
    return error;
}

static void send_batch(struct hub_peer *peer, bool gone) {
    struct hub *hub = peer->hub;
    struct hub_ingress_peer *state = peer->ingress;
    struct flight *flight = hub_pool_take(&hub->ingress->flights);
    enum err error = flight != NULL ? pack(hub, state) : ERR_FULL;
    if (error == ERR_OK) {
        flight->hub = hub;
        error = send_somewhere(peer, flight, gone);
    }
    if (error == ERR_OK) {
        list_init(&flight->pendings);
        list_init(&flight->marks);
        for (struct list_node *node = list_first(&state->pendings); node != NULL;
             node = list_next(&state->pendings, node)) {
            CONTAINER_OF(node, struct hub_pending, node)->owner = flight;
        }
        move_all(&state->pendings, &flight->pendings);
        move_all(&state->marks, &flight->marks);
        flight->peer->ingress->batch.flights++;
    } else {
        hub_pool_give(&hub->ingress->flights, flight);
        give_up(hub, state, error);
    }
    state->batch.count = state->batch.bytes = 0;
    state->submit_count = state->signal_count = state->mark_count = 0;
    arena_reset(&state->arena);
}

void hub_ingress_peer_destroy(struct hub_peer *peer) {
    struct hub_ingress_peer *state = peer->ingress;
    if (state == NULL) {
        return;
    }
    if (!peer->hub->closing && state->batch.count > 0) {
        send_batch(peer, true);
    }
    arena_finish(&state->arena);
    mem_free(state);
    peer->ingress = NULL;
}

static void on_window(struct loop_timer *timer) {
    (void)timer; /* the end of this turn looks */
}

void hub_ingress_flush(struct hub *hub) {
    uint64_t now_us = hub_now_us(hub), wait_us = UINT64_MAX;
    for (struct list_node *node = list_first(&hub->peers); node != NULL;
         node = list_next(&hub->peers, node)) {
        struct hub_peer *peer = CONTAINER_OF(node, struct hub_peer, node);
        struct batch *batch = &peer->ingress->batch;
        if (batch->count == 0 || batch->flights >= HUB_FLIGHTS_PER_PEER_MAX) {
            continue; /* the next answer goes on */
        }
        if (batch_due(batch, now_us)) {
            send_batch(peer, false);
            continue;
        }
        uint64_t due_us = batch_due_in_us(batch, now_us);
        wait_us = due_us < wait_us ? due_us : wait_us;
    }
    if (wait_us != UINT64_MAX) {
        loop_timer_start(hub->loop, &hub->ingress->window, wait_us, on_window);
    }
}

void hub_ingress_soon(struct hub *hub) {
    struct list failed;
    list_init(&failed);
    move_all(&hub->ingress->failed, &failed); /* callbacks may submit again */
    answer_all(hub, &failed, REASON_UNAVAILABLE);
}

bool hub_ingress_idle(const struct hub *hub) {
    for (struct list_node *node = list_first(&hub->peers); node != NULL;
         node = list_next(&hub->peers, node)) {
        if (CONTAINER_OF(node, struct hub_peer, node)->ingress->batch.count > 0) {
            return false;
        }
    }
    return hub->ingress->flights.used == 0;
}

uint64_t hub_ingress_sender(const struct hub *hub, const uint8_t *id, size_t id_bytes) {
    return id_bytes == ID_UUID_BYTES ? hub_sent_session(&hub->ingress->sent, id) : 0;
}

/* --- collecting */

static struct hub_peer *owner_of(struct hub *hub, const char *conversation) {
    struct rpc_peer *owner = rpc_owner(hub->routing, conversation, strlen(conversation));
    return owner != NULL ? owner->user : NULL;
}

/* NULL text is empty; NULL: the arena is full. */
static char *copy_text(struct arena *arena, const char *text) {
    return text == NULL ? (char *)protobuf_c_empty_string : arena_copy(arena, text, strlen(text));
}

static bool copy_bytes(struct arena *arena, const uint8_t *bytes, size_t count,
                       ProtobufCBinaryData *out) {
    out->len = count;
    out->data = (uint8_t *)arena_copy(arena, bytes, count);
    return out->data != NULL;
}

static Pipit__Submit *copy_submit(struct arena *arena, const struct session *session,
                                  const struct session_submit *submit) {
    Pipit__Submit *copy = arena_alloc(arena, sizeof *copy);
    if (copy == NULL) {
        return NULL;
    }
    pipit__submit__init(copy);
    copy->user = copy_text(arena, session_user_id(session));
    copy->device = copy_text(arena, session->device);
    copy->session = session->id;
    copy->conversation = copy_text(arena, submit->conversation);
    copy->to_user = copy_text(arena, submit->to_user);
    copy->kind = (Pipit__MessageKind)submit->kind;
    copy->target_seq = submit->target_seq;
    copy->reply_seq = submit->reply_seq;
    copy->maybe_copy = submit->maybe_copy;
    if (copy->user == NULL || copy->device == NULL || copy->conversation == NULL ||
        copy->to_user == NULL || !copy_bytes(arena, submit->id, ID_UUID_BYTES, &copy->id) ||
        !copy_bytes(arena, submit->body, submit->body_bytes, &copy->body)) {
        return NULL;
    }
    if (submit->from_mqtt) {
        Pipit__Origin *origin = arena_alloc(arena, sizeof *origin);
        if (origin == NULL) {
            return NULL;
        }
        pipit__origin__init(origin);
        origin->device = copy->device;
        origin->packet_id = submit->packet_id;
        if (!copy_bytes(arena, submit->origin_hash, sizeof submit->origin_hash, &origin->hash)) {
            return NULL;
        }
        copy->origin = origin;
    }
    return copy;
}

static enum err target_of(const struct session *session, const struct session_submit *submit,
                          char id[LIMIT_CONVERSATION_ID_BYTES + 1]) {
    if (submit->conversation == NULL || submit->conversation[0] == '\0') {
        return submit->to_user == NULL
                   ? ERR_INVALID
                   : names_direct_conversation(session_user_id(session), submit->to_user, id);
    }
    size_t bytes = strlen(submit->conversation);
    if (bytes > LIMIT_CONVERSATION_ID_BYTES) {
        return ERR_INVALID;
    }
    memcpy(id, submit->conversation, bytes + 1);
    return ERR_OK;
}

enum err hub_ingress_submit(struct hub *hub, struct session *session,
                            const struct session_submit *submit) {
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    enum err error = target_of(session, submit, conversation);
    if (error != ERR_OK) {
        return error;
    }
    struct hub_peer *peer = owner_of(hub, conversation);
    if (peer == NULL) {
        return ERR_UNAVAILABLE;
    }
    struct hub_ingress_peer *state = peer->ingress;
    struct hub_pending *pending = state->submit_count < HUB_BATCH_SUBMITS_MAX
                                      ? hub_pending_take(&hub->ingress->pendings)
                                      : NULL;
    if (pending == NULL) {
        bool batch_full = state->submit_count >= HUB_BATCH_SUBMITS_MAX;
        hub_metrics_limit(batch_full ? HUB_LIMIT_BATCH : HUB_LIMIT_SUBMITS);
        return ERR_UNAVAILABLE;
    }
    Pipit__Submit *copy = copy_submit(&state->arena, session, submit);
    if (copy == NULL) {
        hub_pending_free(&hub->ingress->pendings, pending);
        hub_metrics_limit(HUB_LIMIT_BATCH);
        return ERR_UNAVAILABLE;
    }
    pending->session = session->id;
    pending->request = submit->request;
    pending->began_us = hub_now_us(hub);
    copy->ref = pending->ref;
    list_push_back(&state->pendings, &pending->node);
    state->submits[state->submit_count++] = copy;
    batch_add(&state->batch, submit->body_bytes + SUBMIT_FIXED_BYTES, pending->began_us);
    hub_sent_add(&hub->ingress->sent, submit->id, session->id);
    metric_add(&hub_metrics.submits, 1);
    /* One turn may read more than a batch holds. */
    if ((state->batch.count >= BATCH_COUNT_MAX || state->batch.bytes >= BATCH_BYTES_MAX) &&
        state->batch.flights < HUB_FLIGHTS_PER_PEER_MAX) {
        send_batch(peer, false);
    }
    return ERR_OK;
}

bool hub_ingress_signal(struct hub *hub, const Pipit__Signal *signal) {
    bool typing = signal->kind == PIPIT__SIGNAL_KIND__SIGNAL_TYPING;
    struct hub_peer *peer = owner_of(hub, signal->conversation);
    struct hub_ingress_peer *state = peer != NULL ? peer->ingress : NULL;
    Pipit__Signal *copy = NULL;
    if (state != NULL && state->signal_count < HUB_BATCH_SIGNALS_MAX / (typing ? 1 : 2) &&
        state->submit_count < HUB_BATCH_SUBMITS_MAX / (typing ? 2 : 4)) {
        copy = arena_alloc(&state->arena, sizeof *copy);
    }
    if (copy != NULL) {
        *copy = *signal;
        copy->conversation = copy_text(&state->arena, signal->conversation);
        copy->user = copy_text(&state->arena, signal->user);
        copy->status = copy_text(&state->arena, signal->status);
    }
    if (copy == NULL || copy->conversation == NULL || copy->user == NULL || copy->status == NULL) {
        metric_add(&hub_metrics.shed[typing ? HUB_SHED_TYPING : HUB_SHED_PRESENCE], 1);
        return false;
    }
    state->signals[state->signal_count++] = copy;
    batch_add(&state->batch, sizeof *copy, hub_now_us(hub));
    return true;
}

enum err hub_ingress_mark(struct hub *hub, struct hub_mark *mark) {
    struct hub_peer *peer = owner_of(hub, mark->conversation);
    struct hub_ingress_peer *state = peer != NULL ? peer->ingress : NULL;
    if (state == NULL || state->mark_count >= HUB_BATCH_MARKS_MAX) {
        return ERR_UNAVAILABLE;
    }
    Pipit__Mark *row = arena_alloc(&state->arena, sizeof *row);
    if (row == NULL) {
        return ERR_UNAVAILABLE;
    }
    pipit__mark__init(row);
    row->conversation = mark->conversation; /* the mark stays until hub_marks_returned */
    row->user = mark->user;
    row->device = mark->device;
    row->delivered_seq = mark->delivered_seq;
    row->read_seq = mark->read_seq;
    row->session = mark->session;
    state->mark_rows[state->mark_count++] = row;
    list_push_back(&state->marks, &mark->node);
    batch_add(&state->batch, sizeof *row, hub_now_us(hub));
    return ERR_OK;
}
