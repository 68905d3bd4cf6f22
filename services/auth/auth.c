/* auth: start, drain and stop of the process.
 *
 * Nothing at start waits for another service: ports are opened, and the keeper and the feed try
 * until storage answers; until then requests are answered 503 and readiness says what is missing.
 * Draining stops accepting, refuses what still comes on open connections, and waits for the calls
 * under way. Stopping goes backwards; the calls to other services end first, so that nobody is left
 * waiting. */
#include "services/auth/auth.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/auth/attempt_feed.h"
#include "services/auth/instance_streams.h"
#include "services/auth/keeper.h"
#include "services/auth/metrics.h"
#include "services/auth/openapi.h"
#include "services/auth/password.h"
#include "services/auth/rest.h"
#include "services/auth/snapshot.h"
#include <unistd.h>

#define CALLS_PER_INSTANCE_MAX 128u
#define REVOCATIONS_MAX 1000000u
#define DRAIN_POLL_US 10000u
#define STREAM_TOPICS_MAX 1 /* beside the broadcast topic: failed attempts */

static struct ops_check storage_check = {.name = "storage"};
static struct ops_check revocations_check_ready = {.name = "revocations"};
static struct ops_check http_check = {.name = "http"};

/* --- what the parts tell */

static void on_storage_state(struct rpc_peer *peer, void *user) {
    struct auth *auth = user;
    (void)peer; /* any will do */
    /* NULL while it is being made and unmade. */
    atomic_store(&storage_check.ready, auth->storage != NULL && rpc_available(auth->storage));
}

static void on_revocations_loaded(void *user) {
    (void)user;
    atomic_store(&revocations_check_ready.ready, true);
}

static void on_keys_changed(void *user) {
    struct auth *auth = user;
    if (auth->keeper != NULL) { /* the feed is made before it */
        keeper_kick(auth->keeper);
    }
}

static int64_t read_api_queue(void *user) {
    return (int64_t)worker_queued(((struct auth *)user)->api);
}

static int64_t read_hash_queue(void *user) {
    return (int64_t)worker_queued(((struct auth *)user)->hash);
}

static int64_t read_in_flight(void *user) {
    return (int64_t)atomic_load(&((struct auth *)user)->calls_open);
}

static int64_t read_revocations(void *user) {
    return (int64_t)revocations_count(((struct auth *)user)->revocations);
}

static int64_t read_rate_entries(void *user) {
    return (int64_t)rate_limits_count(((struct auth *)user)->limits);
}

/* auth NULL: nothing to read any more. */
static void connect_gauges(struct auth *auth) {
    struct {
        struct metric_gauge *gauge;
        int64_t (*read)(void *user);
    } gauges[] = {{&auth_metrics.api_queue, read_api_queue},
                  {&auth_metrics.hash_queue, read_hash_queue},
                  {&auth_metrics.in_flight, read_in_flight},
                  {&auth_metrics.revocations_held, read_revocations},
                  {&auth_metrics.rate_entries, read_rate_entries}};
    for (size_t i = 0; i < sizeof gauges / sizeof gauges[0]; i++) {
        gauges[i].gauge->user = auth;
        gauges[i].gauge->read = auth != NULL ? gauges[i].read : NULL;
    }
}

/* --- start */

static enum err say(struct buf *problem, enum err error, const char *setting, const char *value) {
    enum err said =
        buf_append_format(problem, "[auth] %s: \"%.200s\": %s", setting, value, err_text(error));
    return said == ERR_OK ? error : said;
}

static enum err start_tables(struct auth *auth, struct buf *problem) {
    const struct auth_settings *settings = auth->settings;
    struct rate_limits_config limits = {
        .per_user = (uint32_t)settings->login_failures_per_minute,
        .per_address = (uint32_t)settings->login_failures_per_address_per_minute,
        .entries_max = settings->rate_entries_max};
    struct key_policy policy = {.lifetime_ms = settings->access_lifetime_us / 1000,
                                .rotation_ms = settings->key_rotation_us / 1000,
                                .margin_ms = settings->key_margin_us / 1000};
    enum err error =
        common_passwords_load(settings->common_passwords_file, &auth->common_passwords);
    if (error != ERR_OK) {
        enum err said = buf_append_format(
            problem,
            "[auth] common_passwords_file: cannot read \"%.200s\": %s; install the Debian package "
            "john-data, name another list, or set it empty to do without",
            settings->common_passwords_file, err_text(error));
        return said == ERR_OK ? error : said;
    }
    error = address_proxies_create(settings->trusted_proxies, &auth->proxies, problem);
    if (error == ERR_OK) {
        error = rate_limits_create(&limits, &auth->limits);
    }
    if (error == ERR_OK) {
        error = key_ring_create(&policy, settings->issuer, settings->audience, &auth->keys);
    }
    if (error == ERR_OK) {
        error = revocations_create(REVOCATIONS_MAX, &auth->revocations);
    }
    if (error == ERR_OK) {
        error = openapi_load(settings->openapi_file, &auth->openapi);
    }
    return error == ERR_OK ? password_prepare() : error;
}

static enum err start_bus(struct auth *auth, struct buf *problem) {
    const struct bus_settings *settings = &auth->settings->bus;
    struct bus_config config = {.message_bytes_max = settings->message_bytes_max,
                                .tls_ca_file = settings->tls_ca_file,
                                .tls_cert_file = settings->tls_cert_file,
                                .tls_key_file = settings->tls_key_file};
    struct rpc_config storage = {.specification = settings->storage,
                                 .contexts = CALLS_PER_INSTANCE_MAX,
                                 .timeout_us = settings->timeout_us,
                                 .watch = true,
                                 .watch_at = BUS_URL_PUB,
                                 .on_peer_state = on_storage_state,
                                 .on_peer_removed = on_storage_state,
                                 .user = auth};
    struct rpc_config routing = {.specification = settings->routing,
                                 .contexts = CALLS_PER_INSTANCE_MAX,
                                 .timeout_us = settings->timeout_us,
                                 .watch = true,
                                 .watch_at = BUS_URL_PULSE};
    struct loop *loop = auth->service->loop;
    enum err error = bus_create(loop, &config, &auth->bus);
    if (error != ERR_OK) {
        return say(problem, error, "[bus] tls_*_file", settings->tls_ca_file);
    }
    error = rpc_create(loop, auth->bus, &storage, &auth->storage);
    if (error != ERR_OK) {
        return say(problem, error, "[bus] storage", settings->storage);
    }
    error = rpc_create(loop, auth->bus, &routing, &auth->routing);
    if (error != ERR_OK) {
        return say(problem, error, "[bus] routing", settings->routing);
    }
    auth->peers = (struct ask_peers){loop, auth->storage, auth->routing};
    return ERR_OK;
}

static enum err start_feeds(struct auth *auth) {
    struct loop *loop = auth->service->loop;
    struct revocation_feed_config feed = {.loop = loop,
                                          .storage = auth->storage,
                                          .revocations = auth->revocations,
                                          .publisher = auth->publisher,
                                          .on_loaded = on_revocations_loaded,
                                          .on_keys_changed = on_keys_changed,
                                          .user = auth};
    enum err error = revocation_feed_create(&feed, &auth->feed);
    if (error == ERR_OK) {
        error = attempt_feed_create(loop, auth->publisher, auth->limits, &auth->attempts);
    }
    return error;
}

static enum err start_streams(struct auth *auth, struct buf *problem) {
    char rep[BUS_URL_BYTES];
    char pub[BUS_URL_BYTES];
    struct loop *loop = auth->service->loop;
    const char *base = auth->settings->bus_listen;
    const char *instances = auth->settings->bus.auth;
    enum err error = bus_url_derive(base, BUS_URL_REP, rep);
    if (error == ERR_OK) {
        error = bus_url_derive(base, BUS_URL_PUB, pub);
    }
    if (error == ERR_OK) {
        error = stream_publisher_create(loop, auth->bus, pub, STREAM_TOPICS_MAX, &auth->publisher);
    }
    if (error == ERR_OK) {
        error = start_feeds(auth);
    }
    if (error == ERR_OK) {
        error = snapshot_server_create(auth, rep, &auth->snapshots);
    }
    if (error != ERR_OK) {
        return say(problem, error, "bus_listen", base);
    }
    const struct instance_topic topics[] = {revocation_feed_topic(auth->feed),
                                            attempt_feed_topic(auth->attempts)};
    error = instance_streams_create(loop, auth->bus, instances, topics, 2, &auth->instances);
    return error == ERR_OK ? ERR_OK : say(problem, error, "[bus] auth", instances);
}

static size_t hash_threads(const struct auth_settings *settings) {
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    return settings->hash_threads != 0 ? (size_t)settings->hash_threads : cpus < 2 ? 1 : 2;
}

static enum err start_workers(struct auth *auth) {
    const struct auth_settings *settings = auth->settings;
    enum err error =
        worker_pool_create("auth-api", settings->api_threads, settings->api_queue_max, &auth->api);
    if (error == ERR_OK) {
        error = worker_pool_create("auth-hash", hash_threads(settings), settings->hash_queue_max,
                                   &auth->hash);
    }
    return error == ERR_OK ? keeper_create(auth, &auth->keeper) : error;
}

static enum err start_http(struct auth *auth, struct buf *problem) {
    const struct auth_settings *settings = auth->settings;
    struct http_config config = {.listen = settings->listen,
                                 .connections_max = (uint32_t)settings->connections_max,
                                 .connections_per_address_max =
                                     (uint32_t)settings->connections_per_address_max,
                                 .body_bytes_max = settings->body_bytes_max,
                                 .idle_timeout_s = settings->idle_timeout_us / 1000000u,
                                 .request_timeout_s = settings->request_timeout_us / 1000000u};
    enum err error = http_server_create(&config, rest_handle, auth, &auth->http);
    if (error == ERR_EXISTS) {
        enum err said = buf_append_format(
            problem,
            "[auth] listen: %.100s is in use; stop the other program or choose another "
            "port",
            settings->listen);
        return said == ERR_OK ? error : said;
    }
    return error == ERR_OK ? ERR_OK : say(problem, error, "listen", settings->listen);
}

enum err auth_start(struct service *service, struct buf *problem) {
    /* First of all: the operations port answers already, and without checks it says "ready". */
    ops_check_add(service->ops, &storage_check);
    ops_check_add(service->ops, &revocations_check_ready);
    ops_check_add(service->ops, &http_check);
    struct auth *auth = mem_zalloc(1, sizeof *auth);
    if (auth == NULL || sodium_init() < 0) {
        mem_free(auth);
        return ERR_NO_MEMORY;
    }
    auth->service = service;
    auth->settings = service->settings;
    service->state = auth;
    enum err error = auth_settings_check(auth->settings, problem);
    if (error == ERR_OK) {
        error = start_tables(auth, problem);
    }
    if (error == ERR_OK) {
        error = start_bus(auth, problem);
    }
    if (error == ERR_OK) {
        error = start_streams(auth, problem);
    }
    if (error == ERR_OK) {
        error = start_workers(auth);
    }
    if (error == ERR_OK) {
        error = start_http(auth, problem);
    }
    if (error != ERR_OK) {
        return error; /* the process ends: common/service.h */
    }
    connect_gauges(auth);
    atomic_store(&http_check.ready, true);
    log_event(LOG_INFO, "serving", F_TEXT("listen", auth->settings->listen),
              F_INT("port", http_server_port(auth->http)),
              F_UINT("common_passwords", common_passwords_count(auth->common_passwords)));
    return ERR_OK;
}

/* --- the end */

static void on_drain_poll(struct loop_timer *timer) {
    struct auth *auth = CONTAINER_OF(timer, struct auth, drain_poll);
    bool idle = keeper_quiesce(auth->keeper);
    if (idle && atomic_load(&auth->calls_open) == 0) {
        service_stopped(auth->service);
        return;
    }
    loop_timer_start(auth->service->loop, &auth->drain_poll, DRAIN_POLL_US, on_drain_poll);
}

void auth_drain(struct service *service) {
    struct auth *auth = service->state;
    atomic_store(&auth->draining, true);
    http_server_quiesce(auth->http);
    on_drain_poll(&auth->drain_poll);
}

void auth_stop(struct service *service) {
    struct auth *auth = service->state;
    connect_gauges(NULL);
    worker_pool_destroy(&auth->hash); /* idle: no call is open */
    worker_pool_destroy(&auth->api);
    http_server_destroy(&auth->http);
    keeper_destroy(&auth->keeper);
    rpc_destroy(&auth->storage); /* ends what the feed and snapshots still ask */
    rpc_destroy(&auth->routing);
    snapshot_server_destroy(&auth->snapshots);
    instance_streams_destroy(&auth->instances);
    attempt_feed_destroy(&auth->attempts);
    revocation_feed_destroy(&auth->feed);
    stream_publisher_destroy(&auth->publisher);
    bus_destroy(&auth->bus);
    openapi_destroy(&auth->openapi);
    revocations_destroy(&auth->revocations);
    key_ring_destroy(&auth->keys);
    rate_limits_destroy(&auth->limits);
    address_proxies_destroy(&auth->proxies);
    common_passwords_destroy(&auth->common_passwords);
    mem_free(auth);
    service->state = NULL;
}
