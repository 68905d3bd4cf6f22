/* ingress: one batch collects for each routing instance, adaptively (common/batch.h).
 *
 * A submit is copied into the batch's arena when the client sends it, and packed once when the
 * batch leaves (flights.c). Which batch: that of the conversation's owner, unless submits of the
 * conversation are still on their way to another instance (lanes.c); so one that lost its instance,
 * and those behind it, stay together and move together (again.c).
 *
 * Clients see nothing of an instance that dies, freezes or drains but a delay, unless it lasts
 * longer than HUB_AGAIN_US or no instance is left.
 *
 * Overload sheds from the least important: presence when a batch is a quarter full, typing at half;
 * cursors stay with their owner (marks.c) and come again. */
#include "services/connection/ingress.h"

#include "common/mem.h"
#include "proto/names.h"
#include "services/connection/ingress_private.h"
#include "services/connection/marks.h"
#include <string.h>

#define SUBMIT_FIXED_BYTES 160u /* strings and numbers of a submit, for the batch's size */

enum err hub_ingress_create(struct hub *hub) {
    struct hub_ingress *ingress = mem_zalloc(1, sizeof *ingress);
    if (ingress == NULL) {
        return ERR_NO_MEMORY;
    }
    hub_pendings_init(&ingress->pendings, HUB_SUBMITS_MAX);
    hub_pool_init(&ingress->flights, sizeof(struct hub_flight),
                  2 * HUB_FLIGHTS_PER_PEER_MAX * DISCOVERY_ADDRESSES_MAX);
    list_init(&ingress->all);
    list_init(&ingress->idle);
    list_init(&ingress->failed);
    arena_init(&ingress->again, 64u * 1024u, 4u * hub->settings->bus.message_bytes_max);
    hub->ingress = ingress;
    return hub_lanes_init(&ingress->lanes, HUB_SUBMITS_MAX);
}

void hub_ingress_destroy(struct hub *hub) {
    struct hub_ingress *ingress = hub->ingress;
    if (ingress == NULL) {
        return;
    }
    loop_timer_stop(hub->loop, &ingress->window);
    for (struct list_node *node = list_first(&ingress->all); node != NULL;
         node = list_next(&ingress->all, node)) {
        buf_finish(&CONTAINER_OF(node, struct hub_flight, all_node)->bytes);
    }
    hub_lanes_finish(&ingress->lanes);
    hub_pendings_finish(&ingress->pendings);
    hub_pool_finish(&ingress->flights);
    arena_finish(&ingress->again);
    mem_free(ingress);
    hub->ingress = NULL;
}

enum err hub_ingress_peer_create(struct hub_peer *peer) {
    struct hub_ingress_peer *state = mem_zalloc(1, sizeof *state);
    if (state == NULL) {
        return ERR_NO_MEMORY;
    }
    arena_init(&state->arena, 64u * 1024u, HUB_BATCH_BYTES_MAX);
    list_init(&state->pendings);
    list_init(&state->marks);
    list_init(&state->returned);
    peer->ingress = state;
    return ERR_OK;
}

void hub_ingress_peer_destroy(struct hub_peer *peer) {
    struct hub_ingress_peer *state = peer->ingress;
    if (state == NULL) {
        return;
    }
    if (!peer->hub->closing) {
        hub_again_settle(peer, true);
    }
    arena_finish(&state->arena);
    mem_free(state);
    peer->ingress = NULL;
}

/* --- turns */

bool hub_ingress_blocked(const struct hub_peer *peer) {
    return !peer->peer->up || peer->peer->leaving || peer->ingress->returned.count > 0;
}

static void on_window(struct loop_timer *timer) {
    (void)timer; /* the end of this turn looks */
}

void hub_ingress_look_in(struct hub *hub, uint64_t us) {
    struct loop_timer *window = &hub->ingress->window;
    uint64_t due_us = hub_now_us(hub) + us;
    if (!window->armed || window->due_us > due_us) {
        loop_timer_start(hub->loop, window, us, on_window);
    }
}

static void send_due(struct hub *hub) {
    uint64_t now_us = hub_now_us(hub), wait_us = UINT64_MAX;
    for (struct list_node *node = list_first(&hub->peers); node != NULL;
         node = list_next(&hub->peers, node)) {
        struct hub_peer *peer = CONTAINER_OF(node, struct hub_peer, node);
        struct batch *batch = &peer->ingress->batch;
        if (batch->count == 0 || batch->flights >= HUB_FLIGHTS_PER_PEER_MAX ||
            hub_ingress_blocked(peer)) {
            continue; /* the next answer goes on, or again.c */
        }
        if (batch_due(batch, now_us)) {
            hub_flight_send(peer);
            continue;
        }
        uint64_t due_us = batch_due_in_us(batch, now_us);
        wait_us = due_us < wait_us ? due_us : wait_us;
    }
    if (wait_us != UINT64_MAX) {
        hub_ingress_look_in(hub, wait_us);
    }
}

void hub_ingress_flush(struct hub *hub) {
    for (struct list_node *node = list_first(&hub->peers); node != NULL;
         node = list_next(&hub->peers, node)) {
        struct hub_peer *peer = CONTAINER_OF(node, struct hub_peer, node);
        if (hub_ingress_blocked(peer)) {
            hub_again_settle(peer, false);
        }
    }
    send_due(hub);
}

void hub_ingress_soon(struct hub *hub) {
    static const struct session_result refused = {.reason = REASON_UNAVAILABLE, .conversation = ""};
    struct list_node *node = NULL;
    /* Callbacks may submit again; what fails then is answered the next time. */
    for (size_t count = hub->ingress->failed.count; count > 0; count--) {
        node = list_pop_front(&hub->ingress->failed);
        hub_flight_answer(hub, CONTAINER_OF(node, struct hub_pending, node), &refused);
    }
}

void hub_ingress_tick(struct hub *hub) {
    hub_again_tick(hub);
}

static bool is_idle(const struct hub_peer *peer) {
    const struct hub_ingress_peer *state = peer->ingress;
    return state->batch.count == 0 && state->batch.flights == 0 && state->returned.count == 0;
}

bool hub_ingress_released(const struct hub_peer *peer) {
    return peer->peer->leaving && is_idle(peer);
}

bool hub_ingress_idle(const struct hub *hub) {
    for (struct list_node *node = list_first(&hub->peers); node != NULL;
         node = list_next(&hub->peers, node)) {
        if (!is_idle(CONTAINER_OF(node, struct hub_peer, node))) {
            return false;
        }
    }
    return hub->ingress->failed.count == 0;
}

uint64_t hub_ingress_sender(const struct hub *hub, const uint8_t *id, size_t id_bytes) {
    return id_bytes == ID_UUID_BYTES ? hub_sent_session(&hub->ingress->sent, id) : 0;
}

/* --- collecting */

struct hub_peer *hub_ingress_owner(struct hub *hub, const char *conversation) {
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

static Pipit__Origin *copy_origin(struct arena *arena, const Pipit__Origin *from) {
    Pipit__Origin *copy = arena_alloc(arena, sizeof *copy);
    if (copy == NULL) {
        return NULL;
    }
    *copy = *from;
    copy->device = copy_text(arena, from->device);
    bool complete = copy_bytes(arena, from->hash.data, from->hash.len, &copy->hash);
    return complete && copy->device != NULL ? copy : NULL;
}

/* All of it, texts and bytes, too. */
static Pipit__Submit *copy_submit(struct arena *arena, const Pipit__Submit *from) {
    Pipit__Submit *copy = arena_alloc(arena, sizeof *copy);
    if (copy == NULL) {
        return NULL;
    }
    *copy = *from;
    copy->user = copy_text(arena, from->user);
    copy->device = copy_text(arena, from->device);
    copy->conversation = copy_text(arena, from->conversation);
    copy->to_user = copy_text(arena, from->to_user);
    copy->origin = from->origin != NULL ? copy_origin(arena, from->origin) : NULL;
    bool complete = copy_bytes(arena, from->id.data, from->id.len, &copy->id) &&
                    copy_bytes(arena, from->body.data, from->body.len, &copy->body);
    return complete && copy->user != NULL && copy->device != NULL && copy->conversation != NULL &&
                   copy->to_user != NULL && (copy->origin != NULL) == (from->origin != NULL)
               ? copy
               : NULL;
}

bool hub_ingress_collect(struct hub_peer *peer, struct hub_pending *pending,
                         const Pipit__Submit *submit) {
    struct hub_ingress_peer *state = peer->ingress;
    Pipit__Submit *copy =
        state->submit_count < HUB_BATCH_SUBMITS_MAX ? copy_submit(&state->arena, submit) : NULL;
    if (copy == NULL) {
        return false;
    }
    copy->ref = pending->ref;
    pending->owner = NULL;
    list_push_back(&state->pendings, &pending->node);
    state->submits[state->submit_count++] = copy;
    batch_add(&state->batch, submit->body.len + SUBMIT_FIXED_BYTES);
    return true;
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

/* Borrows from both. */
static void describe(const struct session *session, const struct session_submit *submit,
                     Pipit__Submit *message, Pipit__Origin *origin) {
    pipit__submit__init(message);
    message->user = (char *)session_user_id(session);
    message->device = (char *)session->device;
    message->session = session->id;
    message->conversation = (char *)submit->conversation;
    message->to_user = (char *)submit->to_user;
    message->kind = (Pipit__MessageKind)submit->kind;
    message->target_seq = submit->target_seq;
    message->reply_seq = submit->reply_seq;
    message->maybe_copy = submit->maybe_copy;
    message->turn = submit->turn;
    message->oldest_turn = submit->oldest_turn;
    message->id = (ProtobufCBinaryData){ID_UUID_BYTES, (uint8_t *)submit->id};
    message->body = (ProtobufCBinaryData){submit->body_bytes, (uint8_t *)submit->body};
    if (submit->from_mqtt) {
        pipit__origin__init(origin);
        origin->device = message->device;
        origin->packet_id = submit->packet_id;
        origin->hash =
            (ProtobufCBinaryData){sizeof submit->origin_hash, (uint8_t *)submit->origin_hash};
        message->origin = origin;
    }
}

static struct hub_pending *enter(struct hub *hub, const char *conversation) {
    struct hub_pending *pending = hub_pending_take(&hub->ingress->pendings);
    if (pending == NULL) {
        hub_metrics_limit(HUB_LIMIT_SUBMITS);
        return NULL;
    }
    pending->lane = hub_lane_enter(&hub->ingress->lanes, conversation);
    if (pending->lane == NULL) {
        hub_pending_free(&hub->ingress->pendings, pending);
        return NULL;
    }
    if (pending->lane->peer == NULL) {
        pending->lane->peer = hub_ingress_owner(hub, conversation);
    }
    return pending;
}

static void leave(struct hub *hub, struct hub_pending *pending) {
    hub_lane_leave(&hub->ingress->lanes, pending->lane);
    hub_pending_free(&hub->ingress->pendings, pending);
}

enum err hub_ingress_submit(struct hub *hub, struct session *session,
                            const struct session_submit *submit) {
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    enum err error = target_of(session, submit, conversation);
    if (error != ERR_OK) {
        return error;
    }
    struct hub_pending *pending = enter(hub, conversation);
    if (pending == NULL) {
        return ERR_UNAVAILABLE;
    }
    struct hub_peer *peer = pending->lane->peer;
    Pipit__Submit message;
    Pipit__Origin origin;
    describe(session, submit, &message, &origin);
    if (peer == NULL || !hub_ingress_collect(peer, pending, &message)) {
        if (peer != NULL) {
            hub_metrics_limit(HUB_LIMIT_BATCH);
        }
        leave(hub, pending);
        return ERR_UNAVAILABLE;
    }
    pending->session = session->id;
    pending->request = submit->request;
    pending->began_us = hub_now_us(hub);
    hub_sent_add(&hub->ingress->sent, submit->id, session->id);
    metric_add(&hub_metrics.submits, 1);
    /* One turn may read more than a batch holds. */
    const struct batch *batch = &peer->ingress->batch;
    if ((batch->count >= BATCH_COUNT_MAX || batch->bytes >= BATCH_BYTES_MAX) &&
        batch->flights < HUB_FLIGHTS_PER_PEER_MAX && !hub_ingress_blocked(peer)) {
        hub_flight_send(peer);
    }
    return ERR_OK;
}

bool hub_ingress_signal(struct hub *hub, const Pipit__Signal *signal) {
    bool typing = signal->kind == PIPIT__SIGNAL_KIND__SIGNAL_TYPING;
    struct hub_peer *peer = hub_ingress_owner(hub, signal->conversation);
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
    batch_add(&state->batch, sizeof *copy);
    return true;
}

enum err hub_ingress_mark(struct hub *hub, struct hub_mark *mark) {
    struct hub_peer *peer = hub_ingress_owner(hub, mark->conversation);
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
    batch_add(&state->batch, sizeof *row);
    return ERR_OK;
}
