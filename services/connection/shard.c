/* shard: what one thread of the connection service runs.
 *
 * Built and freed on the main thread, run on its own: between the two, only the loop's thread
 * touches it. The order of the turn-end hooks is the order of creation: first the hub's (it sends
 * the batches that this turn's frames filled), then the connections' (they write what this turn
 * produced). */
#include "services/connection/shard.h"

#include "common/batch.h"
#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/connection/drain.h"
#include "services/connection/mqtt_session.h"
#include "services/connection/ws_session.h"

#include <pthread.h>
#include <stdio.h>

#define SHARD_POSTED_MAX 4096

struct shard {
    size_t index;
    struct loop *loop;
    struct hub *hub;
    struct conn_table *table;
    struct listener *listeners[PORT_COUNT];
    struct loop_hook lag_hook;
    pthread_t thread;
    bool running;
    /* Set before drain_call is posted. */
    struct loop_call drain_call;
    struct drain drain;
    uint64_t drain_per_second, drain_allowed_us;
    void (*on_drained)(void *user);
    void *drained_user;
};

static void on_turn_end(struct loop_hook *hook) {
    struct shard *shard = CONTAINER_OF(hook, struct shard, lag_hook);
    connection_metrics_turn(loop_last_busy_us(shard->loop)); /* of the turn before */
}

static enum err open_listeners(struct shard *shard, const struct shard_ports *ports) {
    enum err error = ERR_OK;
    for (size_t i = 0; i < PORT_COUNT && error == ERR_OK; i++) {
        bool is_ws = i == PORT_WS || i == PORT_WSS;
        bool is_tls = i == PORT_WSS || i == PORT_MQTTS;
        if (ports->open[i]) {
            error = listener_create(shard->table, is_ws ? &ws_protocol : &mqtt_protocol,
                                    is_tls ? ports->tls : NULL, &ports->addresses[i],
                                    &shard->listeners[i]);
        }
    }
    return error;
}

enum err shard_create(size_t index, const struct connection_settings *settings,
                      struct limits *limits, const struct shard_ports *ports, struct shard **out) {
    struct shard *shard = mem_zalloc(1, sizeof *shard);
    if (shard == NULL) {
        return ERR_NO_MEMORY;
    }
    shard->index = index;
    enum err error = loop_create(SHARD_POSTED_MAX, &shard->loop);
    if (error == ERR_OK) {
        loop_set_rest(shard->loop, BATCH_BEAT_US);
    }
    if (error == ERR_OK) {
        error = hub_create(shard->loop, settings, &shard->hub);
    }
    if (error == ERR_OK) {
        error = conn_table_create(shard->loop, shard->hub, settings, limits, &shard->table);
    }
    if (error == ERR_OK) {
        loop_hook_add(shard->loop, &shard->lag_hook, on_turn_end);
        error = open_listeners(shard, ports);
    }
    if (error != ERR_OK) {
        shard_destroy(&shard);
        return error;
    }
    *out = shard;
    return ERR_OK;
}

static void *run(void *argument) {
    struct shard *shard = argument;
    char name[16];
    (void)snprintf(name, sizeof name, "shard-%zu", shard->index); /* cut when absurdly many */
    (void)pthread_setname_np(pthread_self(), name);               /* for ps and perf alone */
    if (loop_run(shard->loop) != ERR_OK) {
        service_die("an event loop failed");
    }
    return NULL;
}

enum err shard_start(struct shard *shard) {
    if (pthread_create(&shard->thread, NULL, run, shard) != 0) {
        return ERR_FULL;
    }
    shard->running = true;
    return ERR_OK;
}

static void close_listeners(struct shard *shard) {
    for (size_t i = 0; i < PORT_COUNT; i++) {
        listener_destroy(&shard->listeners[i]);
    }
}

static void on_drained(void *user) {
    struct shard *shard = user;
    loop_stop(shard->loop);
    shard->on_drained(shard->drained_user);
}

static void run_drain(struct loop_call *call) {
    struct shard *shard = CONTAINER_OF(call, struct shard, drain_call);
    close_listeners(shard);
    drain_begin(&shard->drain, shard->table, shard->drain_per_second, shard->drain_allowed_us,
                on_drained, shard);
}

void shard_drain(struct shard *shard, uint64_t per_second, uint64_t allowed_us,
                 void (*on_done)(void *user), void *user) {
    shard->drain_per_second = per_second > 0 ? per_second : 1;
    shard->drain_allowed_us = allowed_us;
    shard->on_drained = on_done;
    shard->drained_user = user;
    loop_post_call(shard->loop, &shard->drain_call, run_drain);
}

struct hub *shard_hub(struct shard *shard) {
    return shard->hub;
}

void shard_destroy(struct shard **shard) {
    struct shard *gone = *shard;
    if (gone == NULL) {
        return;
    }
    *shard = NULL;
    if (gone->running) {
        loop_stop(gone->loop);
        CONTRACT(pthread_join(gone->thread, NULL) == 0);
    }
    if (gone->table != NULL) {
        close_listeners(gone);
        loop_hook_remove(gone->loop, &gone->lag_hook);
    }
    conn_table_destroy(&gone->table);
    hub_destroy(&gone->hub);
    loop_destroy(&gone->loop);
    mem_free(gone);
}
