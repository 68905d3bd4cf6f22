/* interest: one log of changes, and for each routing instance a position in it.
 *
 * A change (a conversation or a session appeared or vanished) only names its object; whether it is
 * added or removed is looked up when an update is packed. So an update tells the state at that
 * moment, an id that came and went in between is told once, and nothing depends on an order between
 * lists. One update is in flight per instance; what changes meanwhile goes with the next (adaptive
 * batching). The answer moves the instance's position; the lowest position of all instances is what
 * is confirmed: from that version on every message for these conversations is published to us.
 *
 * A snapshot (new instance, restarted instance, update lost, log overrun) is a walk over the lists
 * of conversations and sessions, in as many parts as the message limit asks for. Changes during the
 * walk are in the log behind the position where the walk began, so they are told again, which is
 * harmless. After a snapshot heads are compared: until it was complete messages may have passed us
 * by.
 *
 * A failed update has an unknown outcome. It is not repeated but replaced by a snapshot, after a
 * pause; rare, and one mechanism less. */
#include "services/connection/interest.h"

#include "common/id.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/directory.pb-c.h"
#include "services/connection/ingress.h"
#include "services/connection/sync.h"
#include <string.h>

#define INTEREST_LOG_FIRST 256
/* Room in an update for everything that is not a list. */
#define INTEREST_FIXED_BYTES 512u
#define INTEREST_SESSION_BYTES (LIMIT_USER_ID_BYTES + TOKEN_DEVICE_BYTES + 32u + 40u)

struct change {
    uint64_t session; /* 0: a conversation */
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
};
struct hub_interest {
    struct change *log;
    size_t log_held, log_count;
    uint64_t log_first; /* version of log[0] */
    struct arena arena; /* one update being packed */
};
struct hub_interest_peer {
    uint64_t position;   /* changes up to here are acknowledged */
    uint64_t sending;    /* position once the flight is acknowledged */
    uint64_t era;        /* of the last snapshot */
    uint64_t update_seq; /* of the last update sent */
    uint64_t boot_id;    /* 0 = unknown */
    uint64_t sent_us, not_before_us;
    bool in_flight, snapshot_due, in_snapshot, more_parts;
    bool leaving, leave_sent, left;
    bool released; /* it drains, and was told that we are done with it */
    struct list_node *conversation_next, *session_next; /* of the snapshot's walk */
};
struct update {
    Pipit__InterestUpdate message;
    size_t bytes, bytes_max;
    size_t add_held, remove_held, session_held, gone_held;
};

enum err hub_interest_create(struct hub *hub) {
    struct hub_interest *interest = mem_zalloc(1, sizeof *interest);
    if (interest == NULL) {
        return ERR_NO_MEMORY;
    }
    interest->log_first = 1;
    arena_init(&interest->arena, 32u * 1024u, 4u * hub->settings->bus.message_bytes_max);
    hub->interest = interest;
    return ERR_OK;
}

void hub_interest_destroy(struct hub *hub) {
    if (hub->interest != NULL) {
        arena_finish(&hub->interest->arena);
        mem_free(hub->interest->log);
        mem_free(hub->interest);
        hub->interest = NULL;
    }
}

enum err hub_interest_peer_create(struct hub_peer *peer) {
    peer->interest = mem_zalloc(1, sizeof *peer->interest);
    return peer->interest != NULL ? ERR_OK : ERR_NO_MEMORY;
}

void hub_interest_peer_destroy(struct hub_peer *peer) {
    mem_free(peer->interest);
    peer->interest = NULL;
}

void hub_interest_peer_state(struct hub_peer *peer) {
    struct hub_interest_peer *state = peer->interest;
    state->snapshot_due = peer->peer->up;
    state->in_snapshot = false;
    state->position = 0;
    state->not_before_us = 0;
    state->released = false;
    if (!peer->peer->up) {
        hub_interest_stream_changed(peer->hub);
    }
}

void hub_interest_stream_changed(struct hub *hub) {
    hub_soon(hub); /* somebody may have waited for this */
}

/* --- the log */

uint64_t hub_interest_version(const struct hub *hub) {
    return hub->interest->log_first + hub->interest->log_count - 1;
}

/* Changes that every instance knows are dropped. Instances that are down or due for a snapshot need
 * none of them. */
static void trim(struct hub *hub) {
    struct hub_interest *interest = hub->interest;
    uint64_t lowest = hub_interest_version(hub);
    for (struct list_node *node = list_first(&hub->peers); node != NULL;
         node = list_next(&hub->peers, node)) {
        const struct hub_peer *peer = CONTAINER_OF(node, struct hub_peer, node);
        const struct hub_interest_peer *state = peer->interest;
        uint64_t position = state->in_snapshot ? state->sending : state->position;
        if (peer->peer->up && !state->snapshot_due && position < lowest) {
            lowest = position;
        }
    }
    lowest = lowest >= interest->log_first ? lowest : interest->log_first - 1;
    size_t known = (size_t)(lowest + 1 - interest->log_first);
    if (known > 0) {
        memmove(interest->log, interest->log + known,
                (interest->log_count - known) * sizeof *interest->log);
        interest->log_count -= known;
        interest->log_first += known;
    }
}

static bool grow(struct hub_interest *interest) {
    size_t held = interest->log_held > 0 ? interest->log_held * 2 : INTEREST_LOG_FIRST;
    if (held > HUB_INTEREST_LOG_MAX) {
        return false;
    }
    struct change *log = mem_realloc(interest->log, held * sizeof *log);
    if (log == NULL) {
        return false;
    }
    interest->log = log;
    interest->log_held = held;
    return true;
}

static void add_change(struct hub *hub, const struct change *change) {
    struct hub_interest *interest = hub->interest;
    if (interest->log_count == interest->log_held) {
        trim(hub);
    }
    if (interest->log_count == interest->log_held && !grow(interest)) {
        /* Everything up to and with this change is told by snapshots. */
        hub_metrics_limit(HUB_LIMIT_INTEREST_LOG);
        interest->log_first += interest->log_count + 1;
        interest->log_count = 0;
        return;
    }
    interest->log[interest->log_count++] = *change;
}

void hub_interest_conversation(struct hub *hub, const char *conversation) {
    struct change change = {0};
    memcpy(change.conversation, conversation, strlen(conversation) + 1);
    add_change(hub, &change);
}

void hub_interest_session(struct hub *hub, uint64_t session) {
    add_change(hub, &(struct change){.session = session});
}

static void forget_node(struct hub *hub, const struct list_node *gone) {
    for (struct list_node *node = list_first(&hub->peers); node != NULL;
         node = list_next(&hub->peers, node)) {
        struct hub_interest_peer *state = CONTAINER_OF(node, struct hub_peer, node)->interest;
        if (state->conversation_next == gone) {
            state->conversation_next =
                list_next(hub_conversations_all(hub), state->conversation_next);
        }
        if (state->session_next == gone) {
            state->session_next = list_next(&hub->sessions, state->session_next);
        }
    }
}

void hub_interest_forget_conversation(struct hub *hub, struct hub_conversation *conversation) {
    forget_node(hub, &conversation->all_node);
    hub_interest_conversation(hub, conversation->id);
}

void hub_interest_forget_session(struct hub *hub, struct session *session) {
    forget_node(hub, &session->all_node);
    hub_interest_session(hub, session->id);
}

uint64_t hub_interest_confirmed(const struct hub *hub) {
    uint64_t lowest = hub_interest_version(hub);
    for (struct list_node *node = list_first(&hub->peers); node != NULL;
         node = list_next(&hub->peers, node)) {
        const struct hub_peer *peer = CONTAINER_OF(node, struct hub_peer, node);
        if (!peer->peer->up) {
            continue;
        }
        bool flows = peer->stream != NULL && stream_subscriber_live(peer->stream);
        uint64_t position = flows && !peer->interest->snapshot_due ? peer->interest->position : 0;
        lowest = position < lowest ? position : lowest;
    }
    return lowest;
}

/* --- one update */

/* Makes room for one more pointer in an arena array. */
static enum err push(struct arena *arena, void *array_pointer, size_t *count, size_t *held,
                     void *item) {
    void **array = NULL;
    memcpy(&array, array_pointer, sizeof array);
    if (*count == *held) {
        size_t larger = *held > 0 ? *held * 2 : 64;
        void **moved = arena_alloc(arena, larger * sizeof *moved);
        if (moved == NULL) {
            return ERR_NO_MEMORY;
        }
        if (*count > 0) {
            memcpy(moved, array, *count * sizeof *moved);
        }
        array = moved;
        *held = larger;
        memcpy(array_pointer, &array, sizeof array);
    }
    array[(*count)++] = item;
    return ERR_OK;
}

static enum err put_conversation(struct hub *hub, struct update *update, const char *id) {
    const struct hub_conversation *known = hub_conversation_find(hub, id);
    bool wanted = known != NULL && known->memberships.count > 0;
    Pipit__InterestUpdate *message = &update->message;
    struct arena *arena = &hub->interest->arena;
    update->bytes += strlen(id) + 2;
    return wanted ? push(arena, &message->add_conversations, &message->n_add_conversations,
                         &update->add_held, (void *)id)
                  : push(arena, &message->remove_conversations, &message->n_remove_conversations,
                         &update->remove_held, (void *)id);
}

static enum err put_session(struct hub *hub, struct update *update, const struct session *session) {
    struct arena *arena = &hub->interest->arena;
    Pipit__EndpointSession *told = arena_alloc(arena, sizeof *told);
    if (told == NULL) {
        return ERR_NO_MEMORY;
    }
    pipit__endpoint_session__init(told);
    told->session = session->id;
    told->user = session->user->id;
    told->device = (char *)session->device;
    told->exclusive = session->exclusive;
    told->opened_ms = session->opened_ms;
    update->bytes += INTEREST_SESSION_BYTES;
    return push(arena, &update->message.add_sessions, &update->message.n_add_sessions,
                &update->session_held, told);
}

static enum err put_gone_session(struct hub *hub, struct update *update, uint64_t id) {
    Pipit__InterestUpdate *message = &update->message;
    if (message->n_remove_sessions == update->gone_held) {
        size_t larger = update->gone_held > 0 ? update->gone_held * 2 : 64;
        uint64_t *moved = arena_alloc(&hub->interest->arena, larger * sizeof *moved);
        if (moved == NULL) {
            return ERR_NO_MEMORY;
        }
        if (message->n_remove_sessions > 0) {
            memcpy(moved, message->remove_sessions, message->n_remove_sessions * sizeof *moved);
        }
        message->remove_sessions = moved;
        update->gone_held = larger;
    }
    message->remove_sessions[message->n_remove_sessions++] = id;
    update->bytes += 11;
    return ERR_OK;
}

/* The changes behind the position, as many as fit. */
static enum err fill_changes(struct hub *hub, struct hub_interest_peer *state,
                             struct update *update) {
    struct hub_interest *interest = hub->interest;
    size_t index = (size_t)(state->position + 1 - interest->log_first);
    for (; index < interest->log_count && update->bytes < update->bytes_max; index++) {
        const struct change *change = &interest->log[index];
        enum err error = ERR_OK;
        if (change->session == 0) {
            error = put_conversation(hub, update, change->conversation);
        } else {
            const struct session *session = session_find(hub, change->session);
            error = session != NULL ? put_session(hub, update, session)
                                    : put_gone_session(hub, update, change->session);
        }
        if (error != ERR_OK) {
            return error;
        }
    }
    state->sending = interest->log_first + index - 1;
    return ERR_OK;
}

/* The next part of the walk. */
static enum err fill_snapshot(struct hub *hub, struct hub_interest_peer *state,
                              struct update *update) {
    struct list_node *node = state->conversation_next;
    enum err error = ERR_OK;
    for (; node != NULL && update->bytes < update->bytes_max && error == ERR_OK;
         node = list_next(hub_conversations_all(hub), node)) {
        error = put_conversation(hub, update,
                                 CONTAINER_OF(node, struct hub_conversation, all_node)->id);
    }
    state->conversation_next = node;
    node = state->session_next;
    for (; node != NULL && update->bytes < update->bytes_max && error == ERR_OK;
         node = list_next(&hub->sessions, node)) {
        error = put_session(hub, update, CONTAINER_OF(node, struct session, all_node));
    }
    state->session_next = node;
    state->more_parts = state->conversation_next != NULL || state->session_next != NULL;
    return error;
}

/* --- flights */

static void on_update(enum err status, const uint8_t *body, size_t body_bytes, void *user);

static void fail(struct hub_peer *peer, enum err error) {
    static struct log_limit limit;
    struct hub_interest_peer *state = peer->interest;
    state->snapshot_due = true;
    state->in_snapshot = false;
    state->not_before_us = hub_now_us(peer->hub) + HUB_RETRY_US;
    if (peer->peer->up && log_allowed(&limit, 1)) {
        log_event(LOG_WARN, "interest not acknowledged; sending a snapshot",
                  F_TEXT("routing", peer->peer->address), F_ERR(error));
    }
}

static void begin_snapshot(struct hub_peer *peer) {
    struct hub_interest_peer *state = peer->interest;
    state->snapshot_due = false;
    state->in_snapshot = true;
    state->era = id_random_u64();
    state->update_seq = 0;
    state->position = 0;
    state->sending = hub_interest_version(peer->hub);
    state->conversation_next = list_first(hub_conversations_all(peer->hub));
    state->session_next = list_first(&peer->hub->sessions);
}

static void send_update(struct hub_peer *peer) {
    struct hub *hub = peer->hub;
    struct hub_interest_peer *state = peer->interest;
    struct update update = {.bytes = INTEREST_FIXED_BYTES,
                            .bytes_max = hub->settings->bus.message_bytes_max / 2};
    pipit__interest_update__init(&update.message);
    arena_reset(&hub->interest->arena);
    enum err error = ERR_OK;
    if (state->leaving) {
        update.message.leaving = true;
    } else if (state->in_snapshot) {
        update.message.snapshot = state->update_seq == 0;
        error = fill_snapshot(hub, state, &update);
    } else {
        error = fill_changes(hub, state, &update);
    }
    update.message.endpoint = hub->endpoint;
    update.message.update_seq = ++state->update_seq;
    update.message.address = hub->address;
    update.message.era = state->era;
    update.message.released = hub_ingress_released(peer);
    if (error == ERR_OK) {
        error = hub_pack(hub, MESSAGE_INTEREST_UPDATE, &update.message.base);
    }
    if (error == ERR_OK) {
        error = rpc_call_peer(hub->routing, peer->peer, buf_data(&hub->scratch),
                              buf_len(&hub->scratch), on_update, peer);
    }
    if (error != ERR_OK) {
        fail(peer, error);
        return;
    }
    state->in_flight = true;
    state->released = update.message.released;
    state->leave_sent = state->leaving;
    state->sent_us = hub_now_us(hub);
}

static void acknowledged(struct hub_peer *peer) {
    struct hub_interest_peer *state = peer->interest;
    if (state->in_snapshot && state->more_parts) {
        return;
    }
    bool was_snapshot = state->in_snapshot;
    state->in_snapshot = false;
    state->position = state->sending;
    hub_soon(peer->hub);
    if (was_snapshot) {
        hub_sync_all(peer->hub);
    }
}

static void on_update(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct hub_peer *peer = user;
    struct hub_interest_peer *state = peer->interest;
    state->in_flight = false;
    if (peer->hub->closing) {
        return;
    }
    Pipit__InterestReply *reply = NULL;
    if (status == ERR_OK) {
        status =
            ENVELOPE_UNPACK_REPLY(INTEREST_REPLY, body, body_bytes, hub_arena(peer->hub), &reply);
    }
    if (state->leave_sent) { /* acknowledged or not: it is not said twice */
        state->left = true;
        hub_soon(peer->hub);
        return;
    }
    if (status == ERR_OK && reply->error != ERR_OK) {
        status = reply->error <= ERR_INTERNAL ? (enum err)reply->error : ERR_INTERNAL;
    }
    if (status != ERR_OK) {
        fail(peer, status);
        return;
    }
    bool restarted = state->boot_id != 0 && state->boot_id != reply->boot_id;
    bool is_first_part = state->in_snapshot && state->update_seq == 1;
    state->boot_id = reply->boot_id;
    if (reply->draining) {
        hub_peer_leaves(peer);
    } else {
        peer->peer->leaving = false; /* that was said in a former life, and heard late */
    }
    if (reply->need_snapshot || (restarted && !is_first_part)) {
        state->snapshot_due = true;
        state->in_snapshot = false;
    } else if (!state->snapshot_due) { /* else it went down and up meanwhile */
        acknowledged(peer);
    }
}

static bool due(const struct hub_peer *peer, uint64_t now_us) {
    const struct hub_interest_peer *state = peer->interest;
    if (!peer->peer->up || state->in_flight || now_us < state->not_before_us || state->left) {
        return false;
    }
    return state->leaving || state->snapshot_due || state->in_snapshot ||
           state->position < hub_interest_version(peer->hub) ||
           (!state->released && hub_ingress_released(peer)) ||
           now_us - state->sent_us >= HUB_INTEREST_LEASE_US;
}

void hub_interest_flush(struct hub *hub) {
    if (hub->routing == NULL) {
        return;
    }
    for (struct list_node *node = list_first(&hub->peers); node != NULL;
         node = list_next(&hub->peers, node)) {
        struct hub_peer *peer = CONTAINER_OF(node, struct hub_peer, node);
        struct hub_interest_peer *state = peer->interest;
        if (!due(peer, hub_now_us(hub))) {
            continue;
        }
        bool overrun = !state->in_snapshot && state->position + 1 < hub->interest->log_first;
        if (!state->leaving && (state->snapshot_due || overrun)) {
            begin_snapshot(peer);
        }
        send_update(peer);
    }
}

void hub_interest_leave(struct hub *hub) {
    for (struct list_node *node = list_first(&hub->peers); node != NULL;
         node = list_next(&hub->peers, node)) {
        CONTAINER_OF(node, struct hub_peer, node)->interest->leaving = true;
    }
    hub_interest_flush(hub);
}

bool hub_interest_left(const struct hub *hub) {
    for (struct list_node *node = list_first(&hub->peers); node != NULL;
         node = list_next(&hub->peers, node)) {
        const struct hub_peer *peer = CONTAINER_OF(node, struct hub_peer, node);
        if (peer->peer->up && !peer->interest->left) {
            return false;
        }
    }
    return true;
}
