/* routing: puts the parts together and gives each request to the file that knows it.
 *
 * A turn of the loop: requests and answers arrive and change conversations; at its end appends that
 * are due leave, then deliveries, then answers (so that an ack and the deliveries of its message go
 * out together), and the turn's arena is forgotten.
 *
 * Frozen (SIGSTOP, a machine that slept): the first thing that happens afterwards finds out. What
 * is cached of members may have changed meanwhile without a word having reached us, so nothing of
 * it is trusted; heads need no such care, because the next append is refused when they are old.
 *
 * Shutdown: drain refuses new messages, tells the endpoints, and waits until all accepted ones are
 * answered, all cursors written, and all endpoints have said that they send no more: they take what
 * was refused to another instance, so clients notice nothing. destroy ends what is left: calls to
 * storage end as "outcome unknown", everything that waits is refused with a retryable reason, and
 * every open request gets its answer before the server goes. */
#include "services/routing/routing.h"

#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/storage.pb-c.h"
#include "services/routing/append.h"
#include "services/routing/conversation.h"
#include "services/routing/directory.h"
#include "services/routing/doubt.h"
#include "services/routing/fanout.h"
#include "services/routing/interest.h"
#include "services/routing/marks.h"
#include "services/routing/members.h"
#include "services/routing/presence.h"
#include "services/routing/recent.h"
#include "services/routing/relay.h"
#include "services/routing/shed.h"
#include "services/routing/signals.h"
#include "services/routing/targets.h"
#include "services/routing/user_rate.h"

#define TURN_ARENA_BLOCK_BYTES (256u * 1024u)
#define TURN_ARENA_BYTES_MAX (64u * 1024u * 1024u)
#define SCRATCH_BYTES_MAX (16u * 1024u * 1024u) /* twice the largest bus message */
#define TARGETS_MAX 4096u
#define SECOND_US 1000000u
#define PAUSE_US 2000000u       /* a turn each second is certain otherwise */
#define RELEASE_US 2000000u     /* endpoints that do not answer are not waited for */
#define DRAIN_LINGER_US 100000u /* the bus sends what was published last */

/* --- requests */

/* Before anything that trusts a cache. */
static void notice_pause(struct routing *routing) {
    uint64_t now_us = loop_now_us(routing->loop), gap_us = now_us - routing->ran_us;
    routing->ran_us = now_us;
    if (gap_us < PAUSE_US) {
        return;
    }
    metric_add(&routing_metrics.pauses, 1);
    log_event(LOG_WARN, "this process did not run for a while; caches are not trusted",
              F_UINT("us", gap_us));
    conversations_distrust(routing);
    interest_prolong(routing, gap_us);
}

static void on_request(struct bus_request *request, const uint8_t *body, size_t body_bytes,
                       void *user) {
    static struct log_limit limit;
    struct routing *routing = user;
    notice_pause(routing);
    enum message_type type = envelope_type(body, body_bytes);
    if (relay_takes(type)) {
        relay_receive(routing, request, type, body, body_bytes);
        return;
    }
    switch (type) {
    case MESSAGE_SUBMIT_BATCH:
        submit_receive(routing, request, body, body_bytes);
        break;
    case MESSAGE_INTEREST_UPDATE:
        interest_receive(routing, request, body, body_bytes);
        break;
    case MESSAGE_PRESENCE_QUERY:
        presence_receive(routing, request, body, body_bytes);
        break;
    default: {
        Pipit__StatusReply reply = PIPIT__STATUS_REPLY__INIT;
        reply.error = (uint32_t)(type == MESSAGE_NONE ? ERR_INVALID : ERR_UNSUPPORTED);
        if (log_allowed(&limit, 1)) {
            log_event(LOG_WARN, "request refused", F_TEXT("type", message_type_name(type)),
                      F_UINT("bytes", body_bytes));
        }
        fanout_answer(routing, request, MESSAGE_STATUS_REPLY, &reply.base);
    }
    }
}

/* --- storage instances */

bool routing_storage_up(const struct routing *routing) {
    return rpc_available(routing->storage);
}

static void show_readiness(struct routing *routing) {
    struct ops_check *check = routing->storage_check;
    if (check != NULL && routing->storage != NULL) {
        bool up = rpc_available(routing->storage);
        check->ready = up;
        check->detail = up ? "a storage instance is connected" : "no storage instance is connected";
    }
}

static void on_storage_added(struct rpc_peer *peer, void *user) {
    struct routing *routing = user;
    enum err error = members_follow(routing, peer);
    if (error != ERR_OK) {
        log_event(LOG_ERROR, "membership stream cannot be followed; members are loaded each second",
                  F_TEXT("storage", peer->address), F_ERR(error));
    }
}

static void on_storage_state(struct rpc_peer *peer, void *user) {
    struct routing *routing = user;
    log_event(peer->up ? LOG_INFO : LOG_WARN,
              peer->up ? "storage is connected" : "storage is not connected",
              F_TEXT("storage", peer->address));
    if (peer->up) {
        doubts_hurry(routing);
    } else {
        members_lost(routing, peer);
    }
    show_readiness(routing);
}

static void on_storage_removed(struct rpc_peer *peer, void *user) {
    struct routing *routing = user;
    members_unfollow(routing, peer);
    show_readiness(routing);
}

/* --- turns */

static bool is_drained(const struct routing *routing) {
    bool alone = interest_released(routing) ||
                 loop_now_us(routing->loop) - routing->drain_since_us >= RELEASE_US;
    return alone && submits_open(routing->submits) == 0 && marks_waiting(routing->marks) == 0 &&
           relay_idle(routing->relay);
}

static void on_lingered(struct loop_timer *timer) {
    struct routing *routing = CONTAINER_OF(timer, struct routing, second);
    routing->on_drained(routing->drained_user);
}

static void on_turn_end(struct loop_hook *hook) {
    struct routing *routing = CONTAINER_OF(hook, struct routing, turn_end);
    conversations_resume(routing);
    append_flush(routing);
    fanout_flush(routing);
    shed_turn(routing);
    arena_reset(&routing->turn);
    routing->ran_us = loop_now_us(routing->loop);
    if (routing->draining && !routing->drained && is_drained(routing)) {
        routing->drained = true;
        loop_timer_start(routing->loop, &routing->second, DRAIN_LINGER_US, on_lingered);
    }
}

static void on_second(struct loop_timer *timer) {
    struct routing *routing = CONTAINER_OF(timer, struct routing, second);
    notice_pause(routing);
    interest_tick(routing);
    members_tick(routing);
    conversations_tick(routing);
    doubts_tick(routing);
    show_readiness(routing);
    loop_timer_start(routing->loop, timer, SECOND_US, on_second);
}

void routing_drain(struct routing *routing, void (*on_drained)(void *user), void *user) {
    routing->draining = true;
    routing->drain_since_us = loop_now_us(routing->loop);
    routing->on_drained = on_drained;
    routing->drained_user = user;
    marks_hurry(routing);
    interest_drain(routing);
    loop_timer_start(routing->loop, &routing->second, 0, on_second); /* a turn even when idle */
}

/* --- making */

static enum err create_parts(struct routing *routing) {
    const struct routing_settings *settings = routing->settings;
    struct directory_limits limits = {
        .interests_max = settings->interests_max,
        .interests_per_endpoint_max = settings->interests_per_endpoint_max,
        .sessions_max = settings->sessions_max,
    };
    enum err error = submits_create(routing, &routing->submits);
    if (error == ERR_OK) {
        error = conversations_create(routing, &routing->conversations);
    }
    if (error == ERR_OK) {
        error = doubts_create(routing, &routing->doubts);
    }
    if (error == ERR_OK) {
        error = recent_ids_create(settings->recent_ids_max, &routing->recent);
    }
    if (error == ERR_OK) {
        error = targets_create(TARGETS_MAX, &routing->targets);
    }
    if (error == ERR_OK) {
        error = user_rates_create(settings->rate_users_max, (uint32_t)settings->messages_per_second,
                                  (uint32_t)settings->messages_burst, &routing->rates);
    }
    if (error == ERR_OK) {
        error = append_create(routing, &routing->append);
    }
    if (error == ERR_OK) {
        error = fanout_create(routing, &routing->fanout);
    }
    if (error == ERR_OK) {
        error = directory_create(&limits, &routing->directory);
    }
    return error;
}

static enum err create_more_parts(struct routing *routing) {
    enum err error = members_create(routing, &routing->members);
    if (error == ERR_OK) {
        error = marks_create(routing, &routing->marks);
    }
    if (error == ERR_OK) {
        error = signals_create(routing, &routing->signals);
    }
    if (error == ERR_OK) {
        error = relay_create(routing, &routing->relay);
    }
    if (error == ERR_OK) {
        error = presence_create(routing, &routing->presence);
    }
    if (error == ERR_OK) {
        error = shed_create(routing, &routing->shed);
    }
    return error;
}

static enum err create_bus(struct routing *routing) {
    const struct bus_settings *settings = &routing->settings->bus;
    struct bus_config config = {
        .message_bytes_max = settings->message_bytes_max,
        .tls_ca_file = settings->tls_ca_file[0] != '\0' ? settings->tls_ca_file : NULL,
        .tls_cert_file = settings->tls_cert_file[0] != '\0' ? settings->tls_cert_file : NULL,
        .tls_key_file = settings->tls_key_file[0] != '\0' ? settings->tls_key_file : NULL,
    };
    char url[BUS_URL_BYTES];
    enum err error = bus_create(routing->loop, &config, &routing->bus);
    if (error == ERR_OK) {
        error = bus_url_derive(routing->settings->bus_listen, BUS_URL_PUB, url);
    }
    if (error == ERR_OK) {
        error = stream_publisher_create(routing->loop, routing->bus, url, ENDPOINTS_MAX,
                                        &routing->publisher);
    }
    /* auth is not to be waked for every delivery. */
    if (error == ERR_OK) {
        error = bus_url_derive(routing->settings->bus_listen, BUS_URL_PULSE, url);
    }
    if (error == ERR_OK) {
        error = stream_publisher_create(routing->loop, routing->bus, url, 1, &routing->pulse);
    }
    return error;
}

static enum err create_calls(struct routing *routing) {
    const struct routing_settings *settings = routing->settings;
    struct rpc_config config = {
        .specification = settings->bus.storage,
        .contexts = (uint32_t)settings->storage_calls_max,
        .timeout_us = settings->bus.timeout_us,
        .on_peer_added = on_storage_added,
        .on_peer_state = on_storage_state,
        .on_peer_removed = on_storage_removed,
        .user = routing,
    };
    char url[BUS_URL_BYTES];
    enum err error = rpc_create(routing->loop, routing->bus, &config, &routing->storage);
    if (error == ERR_OK) {
        error = bus_url_derive(settings->bus_listen, BUS_URL_REP, url);
    }
    if (error == ERR_OK) {
        error = bus_server_create(routing->bus, url, (uint32_t)settings->requests_max, on_request,
                                  routing, &routing->server);
    }
    return error;
}

enum err routing_create(struct loop *loop, const struct routing_settings *settings,
                        struct ops_check *storage_check, struct routing **out) {
    struct routing *routing = mem_zalloc(1, sizeof *routing);
    if (routing == NULL) {
        return ERR_NO_MEMORY;
    }
    routing_metrics_register();
    routing->loop = loop;
    routing->settings = settings;
    routing->storage_check = storage_check;
    routing->ran_us = loop_now_us(loop);
    arena_init(&routing->turn, TURN_ARENA_BLOCK_BYTES, TURN_ARENA_BYTES_MAX);
    buf_init(&routing->scratch, SCRATCH_BYTES_MAX);
    loop_hook_add(loop, &routing->turn_end, on_turn_end);
    enum err error = create_parts(routing);
    if (error == ERR_OK) {
        error = create_more_parts(routing);
    }
    if (error == ERR_OK) {
        error = create_bus(routing);
    }
    if (error == ERR_OK) {
        error = create_calls(routing);
    }
    if (error != ERR_OK) {
        routing_destroy(&routing);
        return error;
    }
    loop_timer_start(loop, &routing->second, SECOND_US, on_second);
    *out = routing;
    return ERR_OK;
}

/* --- ending */

/* Ends every call to storage and answers every request, while all parts still exist. */
static void end_everything(struct routing *routing) {
    rpc_destroy(&routing->storage);
    if (routing->server != NULL) {
        conversations_abort(routing);
        relay_abort(routing);
        fanout_flush(routing);
    }
    bus_server_close(&routing->server);
}

static void destroy_parts(struct routing *routing) {
    members_destroy(&routing->members);
    presence_destroy(&routing->presence);
    relay_destroy(&routing->relay);
    signals_destroy(&routing->signals);
    marks_destroy(&routing->marks);
    shed_destroy(&routing->shed);
    directory_destroy(&routing->directory);
    fanout_destroy(&routing->fanout);
    append_destroy(&routing->append);
    user_rates_destroy(&routing->rates);
    targets_destroy(&routing->targets);
    recent_ids_destroy(&routing->recent);
    conversations_destroy(&routing->conversations);
    doubts_destroy(&routing->doubts);
    submits_destroy(&routing->submits);
}

void routing_destroy(struct routing **out) {
    struct routing *routing = *out;
    if (routing == NULL) {
        return;
    }
    *out = NULL;
    routing->closing = true;
    end_everything(routing);
    loop_timer_stop(routing->loop, &routing->second);
    loop_hook_remove(routing->loop, &routing->turn_end);
    destroy_parts(routing);
    stream_publisher_destroy(&routing->pulse);
    stream_publisher_destroy(&routing->publisher);
    bus_destroy(&routing->bus);
    arena_finish(&routing->turn);
    buf_finish(&routing->scratch);
    mem_free(routing);
}
