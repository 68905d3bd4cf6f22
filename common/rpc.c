/* rpc: calls to a service of many instances. Discovery says which exist; each gets a bus peer; a
 * call goes to the one with the fewest calls outstanding, which is what keeps one slow instance
 * from collecting the calls that the fast ones could answer (nng's own round robin does that).
 *
 * Ownership of a key is rendezvous hashing: every process computes the same weight for (instance,
 * key) and takes the largest, so an instance that comes or goes moves only its own keys, and nobody
 * has to agree on a table. The hash has a constant key for that reason (SipHash-2-4 of libsodium on
 * the address, then on seed and key's hash); map_hash is random per process and of no use here.
 *
 * A frozen process keeps its connections, so what tells it from a slow one is the heartbeat that
 * every service publishes: when a stream that was heard since the connection came up falls silent,
 * the connection is given up. One that was never heard has no voice in this, so a publication that
 * cannot be received does not cost the calls.
 *
 * A worker thread's call travels to the loop and waits for it. The loop answers every one: calls
 * have a time-out, waiting has a deadline, and rpc_destroy ends the rest; so the waiting thread
 * needs no time-out of its own and its stack may hold everything. */
#include "common/rpc.h"

#include "common/contract.h"
#include "common/mem.h"
#include "common/stream.h"

#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define RPC_FULL_RETRY_US 1000u    /* waiting threads: all contexts were in use */
#define RPC_PEER_RETRY_US 1000000u /* a peer could not be made for lack of memory */

_Static_assert(crypto_shorthash_BYTES == 8, "weights are 8 bytes");

struct instance {
    struct rpc_peer peer; /* first: rpc_peers() hands these out */
    struct rpc *rpc;
    struct stream_subscriber *watch; /* NULL without config.watch */
    uint8_t seed[crypto_shorthash_BYTES];
    char address[BUS_URL_BYTES];
};

struct rpc {
    struct loop *loop;
    struct bus *bus;
    struct rpc_config config;
    struct discovery *discovery;
    struct rpc_peer *peers[DISCOVERY_ADDRESSES_MAX]; /* sorted by address */
    size_t peer_count;
    atomic_uint up_count;
    struct loop_timer peer_timer;
    /* Threads in rpc_call_wait. */
    struct list waiting; /* for an instance or a context */
    struct loop_timer wait_timer;
    pthread_mutex_t lock;
    struct list waiters; /* all; under lock */
};

struct waiter {
    struct list_node all_node, waiting_node;
    struct loop_call call;
    struct rpc *rpc;
    const void *bytes;
    size_t count;
    struct buf *reply;
    uint64_t deadline_us;
    bool full; /* waits for a context, not for an instance */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool done; /* under lock, as is status */
    enum err status;
};

static void hash_fixed(const void *bytes, size_t count, uint8_t hash[crypto_shorthash_BYTES]) {
    static const uint8_t key[crypto_shorthash_KEYBYTES] = "pipit-rendezvous";
    (void)crypto_shorthash(hash, bytes, count, key); /* cannot fail */
}

/* --- calls */

static struct instance *instance_of(struct rpc_peer *peer) {
    return CONTAINER_OF(peer, struct instance, peer);
}

enum err rpc_call_peer(struct rpc *rpc, struct rpc_peer *peer, const void *bytes, size_t count,
                       bus_reply_fn on_reply, void *user) {
    if (peer->peer == NULL) {
        return ERR_UNAVAILABLE;
    }
    return bus_call(peer->peer, bytes, count, rpc->config.timeout_us, on_reply, user);
}

_Static_assert(DISCOVERY_ADDRESSES_MAX <= 64, "rpc_call keeps a bit for each instance");

/* Whoever has the least of it is called. */
static uint64_t burden(const struct rpc_peer *peer) {
    return bus_peer_outstanding(peer->peer) + (peer->leaving ? UINT64_C(1) << 32 : 0);
}

enum err rpc_call(struct rpc *rpc, const void *bytes, size_t count, bus_reply_fn on_reply,
                  void *user) {
    uint64_t tried = 0;
    for (;;) {
        size_t best = SIZE_MAX;
        uint64_t fewest = UINT64_MAX;
        for (size_t i = 0; i < rpc->peer_count; i++) {
            const struct rpc_peer *peer = rpc->peers[i];
            if (peer->up && (tried >> i & 1u) == 0 && burden(peer) < fewest) {
                best = i;
                fewest = burden(peer);
            }
        }
        if (best == SIZE_MAX) {
            return ERR_UNAVAILABLE;
        }
        enum err error = rpc_call_peer(rpc, rpc->peers[best], bytes, count, on_reply, user);
        if (error != ERR_UNAVAILABLE) {
            return error;
        }
        tried |= UINT64_C(1) << best; /* its connection went this very moment */
    }
}

size_t rpc_peers(struct rpc *rpc, struct rpc_peer *const **peers) {
    *peers = rpc->peers;
    return rpc->peer_count;
}

bool rpc_available(struct rpc *rpc) {
    return atomic_load(&rpc->up_count) > 0;
}

struct rpc_peer *rpc_owner(struct rpc *rpc, const void *key, size_t key_bytes) {
    uint8_t input[2 * crypto_shorthash_BYTES];
    uint8_t weight[crypto_shorthash_BYTES], largest[crypto_shorthash_BYTES];
    struct rpc_peer *owner = NULL;
    hash_fixed(key, key_bytes, input + crypto_shorthash_BYTES);
    for (size_t i = 0; i < rpc->peer_count; i++) {
        struct rpc_peer *peer = rpc->peers[i];
        if (!peer->up || peer->leaving) {
            continue;
        }
        memcpy(input, instance_of(peer)->seed, crypto_shorthash_BYTES);
        hash_fixed(input, sizeof input, weight);
        if (owner == NULL || memcmp(weight, largest, sizeof weight) > 0) {
            owner = peer;
            memcpy(largest, weight, sizeof weight);
        }
    }
    return owner;
}

/* --- threads that wait */

/* The waiter's memory may be gone when this returns. */
static void end_wait(struct waiter *waiter, enum err status) {
    struct rpc *rpc = waiter->rpc;
    if (list_node_linked(&waiter->waiting_node)) {
        list_remove(&rpc->waiting, &waiter->waiting_node);
    }
    pthread_mutex_lock(&rpc->lock);
    list_remove(&rpc->waiters, &waiter->all_node);
    pthread_mutex_unlock(&rpc->lock);
    pthread_mutex_lock(&waiter->lock);
    waiter->status = status;
    waiter->done = true;
    pthread_cond_signal(&waiter->ended);
    pthread_mutex_unlock(&waiter->lock);
}

static void on_wait_reply(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct waiter *waiter = user;
    if (status == ERR_OK) {
        status = buf_append(waiter->reply, body, body_bytes);
    }
    end_wait(waiter, status);
}

static void try_waiter(struct waiter *waiter) {
    struct rpc *rpc = waiter->rpc;
    enum err error = rpc_call(rpc, waiter->bytes, waiter->count, on_wait_reply, waiter);
    if (error == ERR_OK) {
        if (list_node_linked(&waiter->waiting_node)) {
            list_remove(&rpc->waiting, &waiter->waiting_node);
        }
        return;
    }
    waiter->full = error == ERR_FULL;
    if ((error != ERR_UNAVAILABLE && error != ERR_FULL) ||
        loop_now_us(rpc->loop) >= waiter->deadline_us) {
        end_wait(waiter, error);
    } else if (!list_node_linked(&waiter->waiting_node)) {
        list_push_back(&rpc->waiting, &waiter->waiting_node);
    }
}

static void try_waiting(struct rpc *rpc);

static void on_wait_timer(struct loop_timer *timer) {
    try_waiting(CONTAINER_OF(timer, struct rpc, wait_timer));
}

static void start_wait_timer(struct rpc *rpc) {
    uint64_t now_us = loop_now_us(rpc->loop);
    uint64_t delay_us = UINT64_MAX;
    for (struct list_node *node = list_first(&rpc->waiting); node != NULL;
         node = list_next(&rpc->waiting, node)) {
        struct waiter *waiter = CONTAINER_OF(node, struct waiter, waiting_node);
        uint64_t left_us = waiter->deadline_us > now_us ? waiter->deadline_us - now_us : 0;
        if (waiter->full && left_us > RPC_FULL_RETRY_US) {
            left_us = RPC_FULL_RETRY_US;
        }
        delay_us = left_us < delay_us ? left_us : delay_us;
    }
    if (delay_us == UINT64_MAX) {
        loop_timer_stop(rpc->loop, &rpc->wait_timer);
    } else {
        loop_timer_start(rpc->loop, &rpc->wait_timer, delay_us, on_wait_timer);
    }
}

static void try_waiting(struct rpc *rpc) {
    struct list_node *node = list_first(&rpc->waiting);
    while (node != NULL) {
        struct list_node *next = list_next(&rpc->waiting, node);
        try_waiter(CONTAINER_OF(node, struct waiter, waiting_node));
        node = next;
    }
    start_wait_timer(rpc);
}

static void on_waiter(struct loop_call *call) {
    struct waiter *waiter = CONTAINER_OF(call, struct waiter, call);
    struct rpc *rpc = waiter->rpc;
    waiter->deadline_us = loop_now_us(rpc->loop) + rpc->config.timeout_us;
    try_waiter(waiter);
    start_wait_timer(rpc);
}

enum err rpc_call_wait(struct rpc *rpc, const void *bytes, size_t count, struct buf *reply) {
    struct waiter waiter = {.rpc = rpc, .bytes = bytes, .count = count, .reply = reply};
    pthread_mutex_init(&waiter.lock, NULL);
    pthread_cond_init(&waiter.ended, NULL);
    pthread_mutex_lock(&rpc->lock);
    list_push_back(&rpc->waiters, &waiter.all_node);
    loop_post_call(rpc->loop, &waiter.call, on_waiter);
    pthread_mutex_unlock(&rpc->lock);
    pthread_mutex_lock(&waiter.lock);
    while (!waiter.done) {
        pthread_cond_wait(&waiter.ended, &waiter.lock);
    }
    pthread_mutex_unlock(&waiter.lock);
    pthread_cond_destroy(&waiter.ended);
    pthread_mutex_destroy(&waiter.lock);
    return waiter.status;
}

/* --- instances */

static void on_peer_state(struct bus_peer *bus_peer, bool up, void *user) {
    (void)bus_peer;
    struct instance *instance = user;
    struct rpc *rpc = instance->rpc;
    instance->peer.up = up;
    if (up) {
        atomic_fetch_add(&rpc->up_count, 1);
    } else {
        instance->peer.leaving = false;
        atomic_fetch_sub(&rpc->up_count, 1);
    }
    if (rpc->config.on_peer_state != NULL) {
        rpc->config.on_peer_state(&instance->peer, rpc->config.user);
    }
    if (up) {
        try_waiting(rpc);
    }
}

void rpc_peer_silent(struct rpc *rpc, struct rpc_peer *peer) {
    (void)rpc; /* alike for all that concerns an instance */
    if (peer->up) {
        bus_peer_redial(peer->peer);
    }
}

static void on_beat(const uint8_t *payload, size_t bytes, void *user) {
    (void)payload, (void)bytes, (void)user; /* whatever it says, it is a sign of life */
}

static void on_watch(enum stream_trouble trouble, uint64_t boot_id, void *user) {
    struct instance *instance = user;
    if (trouble == STREAM_SILENT && boot_id != 0) {
        rpc_peer_silent(instance->rpc, &instance->peer);
    }
}

/* Without it (no memory) time-outs tell, later. */
static void watch_instance(struct instance *instance) {
    char url[BUS_URL_BYTES];
    if (instance->rpc->config.watch &&
        bus_url_derive(instance->address, instance->rpc->config.watch_at, url) == ERR_OK) {
        err_ignore(stream_subscriber_create(instance->rpc->loop, instance->rpc->bus, url,
                                            STREAM_TOPIC_ALL, on_beat, on_watch, instance,
                                            &instance->watch));
        instance->peer.pulse = instance->watch;
    }
}

static bool is_alive(void *user) {
    const struct instance *instance = user;
    const struct stream_subscriber *pulse = instance->peer.pulse;
    return pulse != NULL && stream_subscriber_live(pulse);
}

static void on_peer_timer(struct loop_timer *timer);

/* Lack of memory is tried again later: the instance is listed, but down. */
static void connect_instance(struct instance *instance) {
    struct rpc *rpc = instance->rpc;
    char url[BUS_URL_BYTES];
    enum err error = bus_url_derive(instance->address, BUS_URL_REP, url);
    if (error == ERR_OK) {
        error = bus_peer_create(rpc->bus, url, rpc->config.contexts, on_peer_state, instance,
                                &instance->peer.peer);
    }
    if (error != ERR_OK) {
        loop_timer_start(rpc->loop, &rpc->peer_timer, RPC_PEER_RETRY_US, on_peer_timer);
        return;
    }
    bus_peer_set_pulse(instance->peer.peer, is_alive, instance);
}

static void on_peer_timer(struct loop_timer *timer) {
    struct rpc *rpc = CONTAINER_OF(timer, struct rpc, peer_timer);
    for (size_t i = 0; i < rpc->peer_count; i++) {
        if (rpc->peers[i]->peer == NULL) {
            connect_instance(instance_of(rpc->peers[i]));
        }
    }
}

static struct instance *make_instance(struct rpc *rpc, const char *address) {
    struct instance *instance = mem_zalloc(1, sizeof *instance);
    if (instance == NULL) {
        return NULL;
    }
    instance->rpc = rpc;
    (void)snprintf(instance->address, sizeof instance->address, "%s", address);
    instance->peer.address = instance->address;
    hash_fixed(address, strlen(address), instance->seed);
    return instance;
}

static void remove_instance(struct instance *instance) {
    struct rpc *rpc = instance->rpc;
    bool was_up = instance->peer.up;
    instance->peer.up = false; /* no callback below may choose it */
    if (was_up) {
        atomic_fetch_sub(&rpc->up_count, 1);
    }
    bus_peer_close(&instance->peer.peer);
    stream_subscriber_destroy(&instance->watch);
    if (rpc->config.on_peer_removed != NULL) {
        rpc->config.on_peer_removed(&instance->peer, rpc->config.user);
    }
    mem_free(instance);
}

/* Both lists are sorted: one walk finds who left and who came. */
static void on_addresses(const char *const *addresses, size_t count, void *user) {
    struct rpc *rpc = user;
    struct rpc_peer *before[DISCOVERY_ADDRESSES_MAX];
    struct instance *gone[DISCOVERY_ADDRESSES_MAX], *fresh[DISCOVERY_ADDRESSES_MAX];
    size_t before_count = rpc->peer_count, gone_count = 0, fresh_count = 0, at = 0;
    memcpy(before, rpc->peers, sizeof before);
    rpc->peer_count = 0;
    for (size_t i = 0; i < count; i++) {
        while (at < before_count && strcmp(before[at]->address, addresses[i]) < 0) {
            gone[gone_count++] = instance_of(before[at++]);
        }
        if (at < before_count && strcmp(before[at]->address, addresses[i]) == 0) {
            rpc->peers[rpc->peer_count++] = before[at++];
            continue;
        }
        struct instance *instance = make_instance(rpc, addresses[i]);
        if (instance != NULL) { /* else missing until the list changes again */
            rpc->peers[rpc->peer_count++] = &instance->peer;
            fresh[fresh_count++] = instance;
        }
    }
    while (at < before_count) {
        gone[gone_count++] = instance_of(before[at++]);
    }
    for (size_t i = 0; i < fresh_count; i++) {
        connect_instance(fresh[i]);
        watch_instance(fresh[i]);
        if (rpc->config.on_peer_added != NULL) {
            rpc->config.on_peer_added(&fresh[i]->peer, rpc->config.user);
        }
    }
    for (size_t i = 0; i < gone_count; i++) {
        remove_instance(gone[i]);
    }
}

/* --- life */

enum err rpc_create(struct loop *loop, struct bus *bus, const struct rpc_config *config,
                    struct rpc **out) {
    CONTRACT(config->contexts > 0 && config->timeout_us > 0);
    CONTRACT(!config->watch || config->watch_at != BUS_URL_REP);
    struct rpc *rpc = mem_zalloc(1, sizeof *rpc);
    if (rpc == NULL) {
        return ERR_NO_MEMORY;
    }
    rpc->loop = loop;
    rpc->bus = bus;
    rpc->config = *config;
    rpc->config.specification = NULL; /* borrowed for this call only */
    list_init(&rpc->waiting);
    list_init(&rpc->waiters);
    pthread_mutex_init(&rpc->lock, NULL);
    enum err error =
        discovery_create(loop, config->specification, on_addresses, rpc, &rpc->discovery);
    if (error != ERR_OK) {
        rpc_destroy(&rpc);
        return error;
    }
    *out = rpc;
    return ERR_OK;
}

static struct waiter *first_waiter(struct rpc *rpc) {
    pthread_mutex_lock(&rpc->lock);
    struct list_node *node = list_first(&rpc->waiters);
    pthread_mutex_unlock(&rpc->lock);
    return node != NULL ? CONTAINER_OF(node, struct waiter, all_node) : NULL;
}

void rpc_destroy(struct rpc **rpc) {
    struct rpc *gone = *rpc;
    if (gone == NULL) {
        return;
    }
    *rpc = NULL;
    discovery_destroy(&gone->discovery);
    size_t count = gone->peer_count;
    gone->peer_count = 0; /* nobody may be called from here on */
    for (size_t i = 0; i < count; i++) {
        remove_instance(instance_of(gone->peers[i]));
    }
    struct waiter *waiter;
    while ((waiter = first_waiter(gone)) != NULL) { /* those that had not been sent */
        loop_call_cancel(gone->loop, &waiter->call);
        end_wait(waiter, ERR_CLOSED);
    }
    loop_timer_stop(gone->loop, &gone->wait_timer);
    loop_timer_stop(gone->loop, &gone->peer_timer);
    pthread_mutex_destroy(&gone->lock);
    mem_free(gone);
}
