/* hub: puts the parts together and drives them.
 *
 * Time within a turn of the loop: answers and deliveries come first and call back into sessions;
 * then the `soon` timer goes on with what waited for them; at the end of the turn interest and
 * batches leave. So what one turn caused is sent in that turn, in as few bus messages as possible.
 *
 * Callbacks never run inside the call that caused them (session_open, session_submit ...): a part
 * that finds out at once that something failed notes it and asks for `soon`.
 *
 * One routing instance is one hub_peer: its stream of deliveries, its position in our interest, its
 * batch. It exists from discovery to removal, up or not. */
#include "services/connection/hub_private.h"

#include "common/id.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/connection/backlog.h"
#include "services/connection/egress.h"
#include "services/connection/expiry.h"
#include "services/connection/ingress.h"
#include "services/connection/interest.h"
#include "services/connection/loads.h"
#include "services/connection/marks.h"
#include "services/connection/opening.h"
#include "services/connection/reads.h"
#include "services/connection/repair.h"
#include "services/connection/sync.h"
#include "services/connection/tokens.h"
#include "services/connection/users.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HUB_ARENA_BLOCK (64u * 1024u)
#define HUB_FRAME_BYTES_MAX (256u * 1024u) /* a frame of a stored message is below 64 KiB */

/* --- what the parts use */

struct arena *hub_arena(struct hub *hub) {
    arena_reset(&hub->turn);
    return &hub->turn;
}

enum err hub_pack(struct hub *hub, enum message_type type, const ProtobufCMessage *message) {
    buf_clear(&hub->scratch);
    return envelope_pack(type, message, false, &hub->scratch);
}

static void leave_step(struct hub *hub);

static void on_soon(struct loop_timer *timer) {
    struct hub *hub = CONTAINER_OF(timer, struct hub, soon);
    hub_reads_soon(hub);
    hub_ingress_soon(hub);
    hub_opening_soon(hub);
    hub_sync_soon(hub);
    hub_repairs_tick(hub);
    hub_backlogs_soon(hub);
    leave_step(hub);
}

void hub_soon(struct hub *hub) {
    if (!hub->closing && !hub->soon.armed) {
        loop_timer_start(hub->loop, &hub->soon, 0, on_soon);
    }
}

static void on_tick(struct loop_timer *timer) {
    struct hub *hub = CONTAINER_OF(timer, struct hub, tick);
    loop_timer_start(hub->loop, &hub->tick, HUB_TICK_US, on_tick);
    hub_expiry_tick(hub);
    hub_users_tick(hub, false);
    hub_loads_tick(hub);
    hub_tokens_tick(hub);
    hub_ingress_tick(hub);
    hub_soon(hub);
}

static void on_turn_end(struct loop_hook *hook) {
    struct hub *hub = CONTAINER_OF(hook, struct hub, turn_end);
    hub_interest_flush(hub);
    hub_ingress_flush(hub);
}

bool hub_set_epoch(struct hub *hub, const char *epoch) {
    size_t bytes = strlen(epoch);
    if (bytes == 0 || bytes > LIMIT_EPOCH_BYTES || strcmp(hub->epoch, epoch) == 0) {
        return false;
    }
    bool is_first = hub->epoch[0] == '\0';
    memcpy(hub->epoch, epoch, bytes + 1);
    if (is_first) {
        return false;
    }
    log_event(LOG_WARN, "history was restored from a backup; ending all sessions",
              F_TEXT("epoch", hub->epoch), F_UINT("sessions", hub->sessions.count));
    for (size_t count = hub->sessions.count; count > 0 && hub->sessions.count > 0; count--) {
        session_end(CONTAINER_OF(list_first(&hub->sessions), struct session, all_node),
                    REASON_DRAIN);
    }
    hub_users_tick(hub, true);
    return true;
}

/* --- routing's instances */

static void on_delivery(const uint8_t *payload, size_t bytes, void *user) {
    hub_egress_receive(user, payload, bytes);
}

void hub_peer_leaves(struct hub_peer *peer) {
    if (peer->peer->up && !peer->peer->leaving) {
        peer->peer->leaving = true;
        log_event(LOG_INFO, "routing instance is about to end; its work goes to others",
                  F_TEXT("routing", peer->peer->address));
        hub_soon(peer->hub);
    }
}

static void on_trouble(enum stream_trouble trouble, uint64_t boot_id, void *user) {
    struct hub_peer *peer = user;
    log_event(LOG_INFO, "delivery stream interrupted; comparing heads",
              F_TEXT("routing", peer->peer->address), F_UINT("boot", boot_id),
              F_TEXT("why", trouble == STREAM_GAP      ? "gap"
                            : trouble == STREAM_SILENT ? "silent"
                                                       : "new_boot"));
    if (trouble == STREAM_SILENT && boot_id != 0) {
        rpc_peer_silent(peer->hub->routing, peer->peer);
    }
    hub_egress_trouble(peer->hub, trouble);
}

static void free_peer(struct hub_peer *peer) {
    hub_ingress_peer_destroy(peer);
    hub_interest_peer_destroy(peer);
    stream_subscriber_destroy(&peer->stream);
    mem_free(peer);
}

void hub_routing_peer_added(struct rpc_peer *rpc_peer, void *user) {
    struct hub *hub = user;
    struct hub_peer *peer = mem_zalloc(1, sizeof *peer);
    char url[BUS_URL_BYTES];
    enum err error = ERR_NO_MEMORY;
    if (peer != NULL) {
        peer->hub = hub;
        peer->peer = rpc_peer;
        error = hub_interest_peer_create(peer);
    }
    if (error == ERR_OK) {
        error = hub_ingress_peer_create(peer);
    }
    if (error == ERR_OK) {
        error = bus_url_derive(rpc_peer->address, BUS_URL_PUB, url);
    }
    if (error == ERR_OK) {
        error = stream_subscriber_create(hub->loop, hub->bus, url, hub->endpoint, on_delivery,
                                         on_trouble, peer, &peer->stream);
    }
    if (error != ERR_OK) {
        log_event(LOG_ERROR, "routing instance cannot be used",
                  F_TEXT("routing", rpc_peer->address), F_ERR(error));
        if (peer != NULL) {
            free_peer(peer);
        }
        return;
    }
    list_push_back(&hub->peers, &peer->node);
    rpc_peer->user = peer;
    rpc_peer->pulse = peer->stream;
    if (rpc_peer->up) {
        hub_interest_peer_state(peer);
    }
}

void hub_routing_peer_state(struct rpc_peer *rpc_peer, void *user) {
    struct hub *hub = user;
    struct hub_peer *peer = rpc_peer->user;
    if (peer == NULL || hub->closing) {
        return;
    }
    log_event(LOG_INFO, rpc_peer->up ? "routing instance up" : "routing instance down",
              F_TEXT("routing", rpc_peer->address));
    hub_interest_peer_state(peer);
    if (!rpc_peer->up) {
        hub_sync_all(hub); /* what it stored last it may not have published */
    }
}

void hub_routing_peer_removed(struct rpc_peer *rpc_peer, void *user) {
    struct hub *hub = user;
    struct hub_peer *peer = rpc_peer->user;
    if (peer == NULL) {
        return;
    }
    rpc_peer->user = NULL;
    rpc_peer->pulse = NULL;
    list_remove(&hub->peers, &peer->node);
    free_peer(peer);
    if (!hub->closing) {
        hub_sync_all(hub); /* what it stored last it may not have published */
    }
}

/* --- life */

static enum err create_parts(struct hub *hub) {
    static enum err (*const parts[])(struct hub *) = {
        hub_users_create,   hub_conversations_create, hub_reads_create,   hub_interest_create,
        hub_loads_create,   hub_sync_create,          hub_repairs_create, hub_backlogs_create,
        hub_ingress_create, hub_marks_create,         hub_tokens_create,  hub_expiry_create,
    };
    enum err error = map_init(&hub->sessions_by_id, 64, session_map_match);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && error == ERR_OK; i++) {
        error = parts[i](hub);
    }
    return error;
}

static enum err connect_bus(struct hub *hub) {
    const struct bus_settings *bus = &hub->settings->bus;
    struct bus_config config = {.message_bytes_max = bus->message_bytes_max,
                                .tls_ca_file = bus->tls_ca_file,
                                .tls_cert_file = bus->tls_cert_file,
                                .tls_key_file = bus->tls_key_file};
    enum err error = bus_create(hub->loop, &config, &hub->bus);
    if (error != ERR_OK) {
        return error;
    }
    struct rpc_config routing = {.specification = bus->routing,
                                 .contexts = HUB_ROUTING_CONTEXTS,
                                 .timeout_us = bus->timeout_us,
                                 .on_peer_added = hub_routing_peer_added,
                                 .on_peer_state = hub_routing_peer_state,
                                 .on_peer_removed = hub_routing_peer_removed,
                                 .user = hub};
    struct rpc_config auth = {.specification = bus->auth,
                              .contexts = HUB_AUTH_CONTEXTS,
                              .timeout_us = bus->timeout_us,
                              .on_peer_added = hub_tokens_peer_added,
                              .on_peer_state = hub_tokens_peer_state,
                              .on_peer_removed = hub_tokens_peer_removed,
                              .user = hub};
    error = rpc_create(hub->loop, hub->bus, &routing, &hub->routing);
    return error == ERR_OK ? rpc_create(hub->loop, hub->bus, &auth, &hub->auth) : error;
}

static void name_endpoint(struct hub *hub) {
    char host[64] = "";
    if (gethostname(host, sizeof host - 1) != 0) {
        host[0] = '\0'; /* only for logs */
    }
    do {
        hub->endpoint = id_random_u64();
    } while (hub->endpoint == STREAM_TOPIC_ALL);
    (void)snprintf(hub->address, sizeof hub->address, "%s/%d", host, (int)getpid()); /* fits */
}

enum err hub_create(struct loop *loop, const struct connection_settings *settings,
                    struct hub **out) {
    hub_metrics_register();
    struct hub *hub = mem_zalloc(1, sizeof *hub);
    if (hub == NULL) {
        return ERR_NO_MEMORY;
    }
    hub->loop = loop;
    hub->settings = settings;
    list_init(&hub->peers);
    list_init(&hub->sessions);
    list_init(&hub->opening_waits);
    list_init(&hub->opening_ready);
    arena_init(&hub->turn, HUB_ARENA_BLOCK, 4u * settings->bus.message_bytes_max);
    buf_init(&hub->scratch, settings->bus.message_bytes_max);
    buf_init(&hub->frame, HUB_FRAME_BYTES_MAX);
    name_endpoint(hub);
    enum err error = create_parts(hub);
    if (error == ERR_OK) {
        error = connect_bus(hub);
    }
    if (error != ERR_OK) {
        hub_destroy(&hub);
        return error;
    }
    loop_hook_add(loop, &hub->turn_end, on_turn_end);
    loop_timer_start(loop, &hub->tick, HUB_TICK_US, on_tick);
    *out = hub;
    return ERR_OK;
}

static void destroy_parts(struct hub *hub) {
    hub_users_destroy(hub); /* first: it takes memberships and interest with it */
    hub_tokens_destroy(hub);
    hub_reads_destroy(hub);
    hub_marks_destroy(hub);
    hub_ingress_destroy(hub);
    hub_backlogs_destroy(hub);
    hub_repairs_destroy(hub);
    hub_sync_destroy(hub);
    hub_loads_destroy(hub);
    hub_conversations_destroy(hub);
    hub_interest_destroy(hub);
    hub_expiry_destroy(hub);
    map_finish(&hub->sessions_by_id);
}

void hub_destroy(struct hub **out) {
    struct hub *hub = *out;
    if (hub == NULL) {
        return;
    }
    *out = NULL;
    CONTRACT(hub->sessions.count == 0);
    hub->closing = true;
    loop_hook_remove(hub->loop, &hub->turn_end);
    loop_timer_stop(hub->loop, &hub->tick);
    loop_timer_stop(hub->loop, &hub->soon);
    loop_timer_stop(hub->loop, &hub->leave_timer);
    rpc_destroy(&hub->routing);
    rpc_destroy(&hub->auth);
    struct list_node *node = NULL;
    while ((node = list_pop_front(&hub->peers)) != NULL) {
        free_peer(CONTAINER_OF(node, struct hub_peer, node));
    }
    destroy_parts(hub);
    bus_destroy(&hub->bus);
    arena_finish(&hub->turn);
    buf_finish(&hub->scratch);
    buf_finish(&hub->frame);
    mem_free(hub);
}

bool hub_has_routing(const struct hub *hub) {
    return rpc_available(hub->routing);
}

bool hub_ready(const struct hub *hub) {
    return hub_has_keys(hub) && hub_has_routing(hub);
}

struct loop *hub_loop(struct hub *hub) {
    return hub->loop;
}

const struct connection_settings *hub_settings(const struct hub *hub) {
    return hub->settings;
}

const char *hub_epoch(const struct hub *hub) {
    return hub->epoch;
}

/* --- drain */

static void finish_leave(struct hub *hub) {
    void (*on_left)(void *) = hub->on_left;
    hub->on_left = NULL;
    loop_timer_stop(hub->loop, &hub->leave_timer);
    if (on_left != NULL) {
        on_left(hub->left_user);
    }
}

static void on_leave_timer(struct loop_timer *timer) {
    struct hub *hub = CONTAINER_OF(timer, struct hub, leave_timer);
    log_event(LOG_WARN, "left without the acknowledgement of routing",
              F_UINT("cursors_lost", hub_marks_idle(hub) ? 0 : 1));
    finish_leave(hub);
}

static void leave_step(struct hub *hub) {
    if (hub->on_left == NULL) {
        return;
    }
    if (!hub->leave_sent && hub_marks_idle(hub) && hub_ingress_idle(hub)) {
        hub->leave_sent = true;
        hub_interest_leave(hub);
    }
    if (hub->leave_sent && hub_interest_left(hub)) {
        finish_leave(hub);
    }
}

void hub_leave(struct hub *hub, uint64_t timeout_us, void (*on_left)(void *user), void *user) {
    CONTRACT(on_left != NULL && !hub->leaving);
    hub->leaving = true;
    hub->on_left = on_left;
    hub->left_user = user;
    hub_marks_flush(hub);
    loop_timer_start(hub->loop, &hub->leave_timer, timeout_us, on_leave_timer);
    hub_soon(hub);
}
