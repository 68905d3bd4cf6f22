/* server: the process around the shards.
 *
 * Addresses are claimed once, before any shard listens, so that a port in use is one clear line and
 * not a half-started process. The certificate is looked at every few seconds and read again when
 * its files change; a broken one is logged and the old one stays.
 *
 * Ready means that a client that connects now can log in and send: every port listens, every shard
 * knows the signing keys and at least one routing instance. Each part is a check of its own on
 * /readyz. */
#include "services/connection/server.h"

#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/connection/hub.h"
#include "services/connection/shard.h"

#include <unistd.h>

#define SERVER_SHARDS_DEFAULT_MAX 4
#define SERVER_SHARDS_MAX 64
#define SERVER_READY_US 200000u
#define SERVER_FILES_US 5000000u /* how often the certificate's files are looked at */

struct server {
    struct service *service;
    const struct connection_settings *settings;
    struct limits limits;
    struct shard_ports ports;
    struct shard *shards[SERVER_SHARDS_MAX];
    size_t shard_count;
    struct loop_timer ready_timer, files_timer;
    /* Drain: shards report from their own threads. */
    atomic_size_t drained;
    struct loop_call all_drained;
};

static struct ops_check listeners_check = {.name = "listeners"};
static struct ops_check keys_check = {.name = "keys"};
static struct ops_check routing_check = {.name = "routing"};

static const struct {
    const char *key;
    size_t offset;
    bool tls;
} port_rows[PORT_COUNT] = {
    [PORT_WS] = {"ws_listen", offsetof(struct connection_settings, ws_listen), false},
    [PORT_WSS] = {"wss_listen", offsetof(struct connection_settings, wss_listen), true},
    [PORT_MQTT] = {"mqtt_listen", offsetof(struct connection_settings, mqtt_listen), false},
    [PORT_MQTTS] = {"mqtts_listen", offsetof(struct connection_settings, mqtts_listen), true},
};

/* --- start */

static const char *port_text(const struct server *server, size_t port) {
    return *(const char *const *)(const void *)((const char *)server->settings +
                                                port_rows[port].offset);
}

static enum err say(struct buf *problem, enum err error, const char *key, const char *text,
                    const char *why) {
    enum err said =
        buf_append_format(problem, "[connection] %s: cannot listen on %.64s: %s", key, text, why);
    return said == ERR_OK ? error : said;
}

static enum err claim_port(struct server *server, size_t port, struct buf *problem) {
    const char *text = port_text(server, port);
    const char *key = port_rows[port].key;
    enum err error = listen_address_claim(text, &server->ports.addresses[port]);
    switch (error) {
    case ERR_OK:
        server->ports.open[port] = true;
        return ERR_OK;
    case ERR_EXISTS:
        return say(problem, error, key, text,
                   "the address is in use; stop what listens there or choose another port");
    case ERR_INVALID:
        return say(problem, error, key, text,
                   "this is not an address; write 0.0.0.0:port, [::]:port or leave it empty");
    case ERR_DENIED:
        return say(problem, error, key, text, "not allowed; choose a port above 1023");
    case ERR_NOT_FOUND:
        return say(problem, error, key, text, "no network interface has this address");
    default:
        return say(problem, error, key, text, err_text(error));
    }
}

static enum err claim_ports(struct server *server, struct buf *problem) {
    const struct connection_settings *settings = server->settings;
    bool wants_tls = false;
    size_t count = 0;
    for (size_t port = 0; port < PORT_COUNT; port++) {
        if (port_text(server, port)[0] == '\0') {
            continue;
        }
        count++;
        wants_tls = wants_tls || port_rows[port].tls;
        enum err error = claim_port(server, port, problem);
        if (error != ERR_OK) {
            return error;
        }
    }
    if (count == 0) {
        enum err said = buf_append_text(
            problem, "[connection] ws_listen, mqtt_listen: no port is open; set at least one");
        return said == ERR_OK ? ERR_INVALID : said;
    }
    if (!wants_tls) {
        return ERR_OK;
    }
    if (settings->tls_cert_file[0] == '\0' || settings->tls_key_file[0] == '\0') {
        enum err said =
            buf_append_text(problem, "[connection] tls_cert_file, tls_key_file: wss_listen "
                                     "and mqtts_listen need both");
        return said == ERR_OK ? ERR_INVALID : said;
    }
    return tls_context_create(settings->tls_cert_file, settings->tls_key_file, problem,
                              &server->ports.tls);
}

static size_t shard_count(const struct connection_settings *settings) {
    if (settings->threads > 0) {
        return settings->threads < SERVER_SHARDS_MAX ? (size_t)settings->threads
                                                     : SERVER_SHARDS_MAX;
    }
    long shards = sysconf(_SC_NPROCESSORS_ONLN) / 2;
    if (shards < 1) {
        return 1;
    }
    return shards < SERVER_SHARDS_DEFAULT_MAX ? (size_t)shards : SERVER_SHARDS_DEFAULT_MAX;
}

static enum err start_shards(struct server *server) {
    size_t count = shard_count(server->settings);
    for (size_t i = 0; i < count; i++) {
        enum err error =
            shard_create(i, server->settings, &server->limits, &server->ports, &server->shards[i]);
        if (error != ERR_OK) {
            return error;
        }
        server->shard_count++;
    }
    for (size_t i = 0; i < count; i++) {
        enum err error = shard_start(server->shards[i]);
        if (error != ERR_OK) {
            return error;
        }
    }
    return ERR_OK;
}

/* --- readiness and certificate */

static void on_ready_timer(struct loop_timer *timer) {
    struct server *server = CONTAINER_OF(timer, struct server, ready_timer);
    bool keys = true;
    bool routing = true;
    for (size_t i = 0; i < server->shard_count; i++) {
        keys = keys && hub_has_keys(shard_hub(server->shards[i]));
        routing = routing && hub_has_routing(shard_hub(server->shards[i]));
    }
    keys_check.ready = keys;
    keys_check.detail = keys ? NULL : "no signing keys from auth yet";
    routing_check.ready = routing;
    routing_check.detail = routing ? NULL : "no routing instance can be reached";
    loop_timer_start(server->service->loop, timer, SERVER_READY_US, on_ready_timer);
}

void server_reload(struct server *server) {
    if (server->ports.tls == NULL) {
        return;
    }
    struct buf problem;
    buf_init(&problem, 1024);
    enum err error = tls_context_reload(server->ports.tls, &problem);
    if (error == ERR_OK) {
        log_event(LOG_INFO, "certificate read again; new connections use it",
                  F_TEXT("file", server->settings->tls_cert_file));
    } else {
        log_event(LOG_ERROR, "cannot read the certificate again; the old one stays in use",
                  F_BYTES("problem", (const char *)buf_data(&problem), buf_len(&problem)),
                  F_ERR(error));
    }
    buf_finish(&problem);
}

static void on_files_timer(struct loop_timer *timer) {
    struct server *server = CONTAINER_OF(timer, struct server, files_timer);
    if (tls_context_files_changed(server->ports.tls)) {
        server_reload(server);
    }
    loop_timer_start(server->service->loop, timer, SERVER_FILES_US, on_files_timer);
}

static void announce(const struct server *server) {
    for (size_t port = 0; port < PORT_COUNT; port++) {
        if (server->ports.open[port]) {
            log_event(LOG_INFO, "listening", F_TEXT("port", port_rows[port].key),
                      F_TEXT("addr", port_text(server, port)),
                      F_UINT("threads", server->shard_count));
        }
    }
}

enum err server_create(struct service *service, const struct connection_settings *settings,
                       struct buf *problem, struct server **out) {
    struct server *server = mem_zalloc(1, sizeof *server);
    if (server == NULL) {
        return ERR_NO_MEMORY;
    }
    server->service = service;
    server->settings = settings;
    /* First of all: the operations port answers already, and no checks would mean ready. */
    ops_check_add(service->ops, &listeners_check);
    ops_check_add(service->ops, &keys_check);
    ops_check_add(service->ops, &routing_check);
    enum err error = limits_init(&server->limits, settings);
    if (error == ERR_OK) {
        error = claim_ports(server, problem);
    }
    if (error == ERR_OK) {
        error = start_shards(server);
    }
    if (error != ERR_OK) {
        server_destroy(&server);
        return error;
    }
    listeners_check.ready = true;
    announce(server);
    on_ready_timer(&server->ready_timer);
    if (server->ports.tls != NULL) {
        loop_timer_start(service->loop, &server->files_timer, SERVER_FILES_US, on_files_timer);
    }
    *out = server;
    return ERR_OK;
}

/* --- drain and end */

static void on_all_drained(struct loop_call *call) {
    struct server *server = CONTAINER_OF(call, struct server, all_drained);
    service_stopped(server->service);
}

static void on_shard_drained(void *user) {
    struct server *server = user;
    if (atomic_fetch_add(&server->drained, 1) + 1 == server->shard_count) {
        loop_post_call(server->service->loop, &server->all_drained, on_all_drained);
    }
}

void server_drain(struct server *server) {
    listeners_check.ready = false;
    for (size_t i = 0; i < server->shard_count; i++) {
        shard_drain(server->shards[i], server->settings->drain_per_second / server->shard_count,
                    server->settings->service.drain_us, on_shard_drained, server);
    }
}

void server_destroy(struct server **server) {
    struct server *gone = *server;
    if (gone == NULL) {
        return;
    }
    *server = NULL;
    loop_timer_stop(gone->service->loop, &gone->ready_timer);
    loop_timer_stop(gone->service->loop, &gone->files_timer);
    for (size_t i = 0; i < SERVER_SHARDS_MAX; i++) {
        shard_destroy(&gone->shards[i]);
    }
    tls_context_destroy(&gone->ports.tls);
    limits_finish(&gone->limits);
    mem_free(gone);
}
