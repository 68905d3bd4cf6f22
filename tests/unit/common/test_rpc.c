/* rpc: choice among instances, rendezvous ownership (the same in another process), instances that
 * come and go, and calls that worker threads wait for. */
#include "common/rpc.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/mem.h"
#include "tests/unit/common/support_bus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#define MESSAGE_BYTES_MAX 65536u
#define INSTANCES 4u
#define CONTEXTS 8u
#define TIMEOUT_US 10000000u
#define WAIT_US                                                                                    \
    400000 /* a time-out that is waited for, and that an answer keeps on two busy cores */

static struct loop *loop;
static struct bus *bus;
static char bases[INSTANCES][BUS_URL_BYTES];
static char specification[INSTANCES * (BUS_URL_BYTES + 1)];

static void join_bases(unsigned count) {
    specification[0] = '\0';
    for (unsigned i = 0; i < count; i++) {
        size_t used = strlen(specification);
        (void)snprintf(specification + used, sizeof specification - used, "%s%s", i > 0 ? "," : "",
                       bases[i]);
    }
}

static int setup(void **state) {
    (void)state;
    struct bus_config config = {.message_bytes_max = MESSAGE_BYTES_MAX};
    for (unsigned i = 0; i < INSTANCES; i++) {
        support_ipc_address(bases[i]);
    }
    join_bases(INSTANCES);
    return loop_create(64, &loop) == ERR_OK && bus_create(loop, &config, &bus) == ERR_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    clock_fake_off();
    discovery_set_resolver(NULL);
    bus_destroy(&bus);
    loop_destroy(&loop);
    support_remove_folders();
    return 0;
}

/* --- instances: each counts, and echoes or keeps */

struct instance {
    struct bus_server *server;
    unsigned requests;
    bool keeps;
    struct bus_request *kept[64];
    unsigned kept_count;
};
static struct instance instances[INSTANCES];

static void on_request(struct bus_request *request, const uint8_t *body, size_t body_bytes,
                       void *user) {
    struct instance *instance = user;
    instance->requests++;
    if (instance->keeps) {
        instance->kept[instance->kept_count++] = request;
    } else {
        bus_reply(request, body, body_bytes);
    }
}

static void open_instance(unsigned i, bool keeps) {
    char url[BUS_URL_BYTES];
    memset(&instances[i], 0, sizeof instances[i]);
    instances[i].keeps = keeps;
    assert_int_equal(bus_url_derive(bases[i], BUS_URL_REP, url), ERR_OK);
    assert_int_equal(
        bus_server_create(bus, url, 64, on_request, &instances[i], &instances[i].server), ERR_OK);
}

static void answer_kept(struct instance *instance) {
    while (instance->kept_count > 0) {
        bus_reply(instance->kept[--instance->kept_count], "k", 1);
    }
}

/* Quiet first: closing in the middle of a reply may stop nng 1.5 from telling of lost connections
 * (common/bus.c), here even the client's, which is in the same process. */
static void close_instance(struct instance *instance) {
    answer_kept(instance);
    support_turn_for(loop, 10000);
    bus_server_close(&instance->server);
}

static void close_instances(void) {
    for (unsigned i = 0; i < INSTANCES; i++) {
        close_instance(&instances[i]);
    }
    support_turn_for(loop, 10000);
}

/* --- what the owner is told */

struct told {
    unsigned added, removed, ups, downs;
    unsigned up_now;
};
static struct told told;

static void on_added(struct rpc_peer *peer, void *user) {
    assert_ptr_equal(user, &told);
    assert_false(peer->up);
    assert_null(peer->user);
    peer->user = &told.added;
    told.added++;
}

static void on_state(struct rpc_peer *peer, void *user) {
    assert_ptr_equal(user, &told);
    assert_ptr_equal(peer->user, &told.added);
    told.ups += peer->up;
    told.downs += !peer->up;
    told.up_now = told.ups - told.downs;
}

static void on_removed(struct rpc_peer *peer, void *user) {
    assert_ptr_equal(user, &told);
    assert_ptr_equal(peer->user, &told.added);
    told.removed++;
}

static struct rpc *create_rpc(const char *spec, uint32_t contexts, uint64_t timeout_us) {
    struct rpc *rpc;
    struct rpc_config config = {
        .specification = spec,
        .contexts = contexts,
        .timeout_us = timeout_us,
        .on_peer_added = on_added,
        .on_peer_state = on_state,
        .on_peer_removed = on_removed,
        .user = &told,
    };
    memset(&told, 0, sizeof told);
    assert_int_equal(rpc_create(loop, bus, &config, &rpc), ERR_OK);
    return rpc;
}

struct outcome {
    unsigned ended, ok, closed, timeout;
};

static void on_reply(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    (void)body, (void)body_bytes;
    struct outcome *outcome = user;
    outcome->ended++;
    outcome->ok += status == ERR_OK;
    outcome->closed += status == ERR_CLOSED;
    outcome->timeout += status == ERR_TIMEOUT;
}

/* --- choice */

static struct rpc_peer *find_peer(struct rpc *rpc, const char *address) {
    struct rpc_peer *const *peers;
    size_t count = rpc_peers(rpc, &peers);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(peers[i]->address, address) == 0) {
            return peers[i];
        }
    }
    return NULL;
}

static void calls_go_to_the_least_busy(void **state) {
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        open_instance(i, i == 0); /* the first never answers */
    }
    struct rpc *rpc = create_rpc(specification, CONTEXTS, TIMEOUT_US);
    assert_false(rpc_available(rpc));
    struct outcome outcome = {0};
    assert_int_equal(rpc_call(rpc, "x", 1, on_reply, &outcome), ERR_UNAVAILABLE);
    assert_true(support_turn_until_count(loop, &told.up_now, 3)); /* the fourth is not there */
    assert_true(rpc_available(rpc));
    assert_int_equal(told.added, INSTANCES);
    struct rpc_peer *const *peers;
    assert_int_equal(rpc_peers(rpc, &peers), INSTANCES);
    for (unsigned i = 1; i < INSTANCES; i++) {
        assert_true(strcmp(peers[i - 1]->address, peers[i]->address) < 0);
    }
    /* One after the other: the silent one gets the first (all are equal then), no other. */
    assert_int_equal(rpc_call(rpc, "x", 1, on_reply, &outcome), ERR_OK);
    struct rpc_peer *const silent = find_peer(rpc, bases[0]);
    while (bus_peer_outstanding(silent->peer) == 0) {
        assert_true(support_turn_until_count(loop, &outcome.ok, outcome.ok + 1));
        assert_int_equal(rpc_call_peer(rpc, silent, "x", 1, on_reply, &outcome), ERR_OK);
    }
    assert_true(support_turn_until_count(loop, &instances[0].kept_count, 1));
    for (unsigned i = 0; i < 300; i++) {
        unsigned ok = outcome.ok;
        assert_int_equal(rpc_call(rpc, "x", 1, on_reply, &outcome), ERR_OK);
        assert_true(support_turn_until_count(loop, &outcome.ok, ok + 1));
    }
    assert_int_equal(instances[0].requests, 1);
    assert_true(instances[1].requests + instances[2].requests >= 300);
    for (unsigned i = 0; i < 3 * CONTEXTS - 1; i++) { /* all contexts */
        assert_int_equal(rpc_call(rpc, "x", 1, on_reply, &outcome), ERR_OK);
    }
    assert_int_equal(rpc_call(rpc, "x", 1, on_reply, &outcome), ERR_FULL);
    unsigned ended = outcome.ended;
    rpc_destroy(&rpc);
    assert_null(rpc);
    assert_int_equal(outcome.ended, ended + 3 * CONTEXTS);
    assert_int_equal(told.removed, INSTANCES);
    close_instances();
}

static void one_instance_can_be_chosen(void **state) {
    (void)state;
    open_instance(0, false);
    open_instance(1, false);
    struct rpc *rpc = create_rpc(specification, CONTEXTS, TIMEOUT_US);
    assert_true(support_turn_until_count(loop, &told.up_now, 2));
    struct rpc_peer *const *peers;
    size_t count = rpc_peers(rpc, &peers);
    struct outcome outcome = {0};
    for (size_t i = 0; i < count; i++) {
        enum err error = rpc_call_peer(rpc, peers[i], "x", 1, on_reply, &outcome);
        assert_int_equal(error, peers[i]->up ? ERR_OK : ERR_UNAVAILABLE);
    }
    assert_true(support_turn_until_count(loop, &outcome.ok, 2));
    assert_int_equal(instances[0].requests, 1);
    assert_int_equal(instances[1].requests, 1);
    rpc_destroy(&rpc);
    close_instances();
}

static void a_dead_instance_is_left_out(void **state) {
    (void)state;
    open_instance(0, false);
    open_instance(1, false);
    struct rpc *rpc = create_rpc(specification, CONTEXTS, TIMEOUT_US);
    assert_true(support_turn_until_count(loop, &told.up_now, 2));
    struct outcome outcome = {0};
    assert_int_equal(rpc_call(rpc, "x", 1, on_reply, &outcome), ERR_OK);
    assert_true(support_turn_until_count(loop, &outcome.ok, 1));
    close_instance(&instances[0]);
    assert_true(support_turn_until_count(loop, &told.downs, 1));
    assert_true(rpc_available(rpc));
    for (unsigned i = 2; i <= 20; i++) {
        assert_int_equal(rpc_call(rpc, "x", 1, on_reply, &outcome), ERR_OK);
        assert_true(support_turn_until_count(loop, &outcome.ok, i));
    }
    close_instance(&instances[1]);
    assert_true(support_turn_until_count(loop, &told.downs, 2));
    assert_false(rpc_available(rpc));
    assert_null(rpc_owner(rpc, "k", 1));
    open_instance(0, false); /* and comes back */
    assert_true(support_turn_until_count(loop, &told.ups, 3));
    assert_int_equal(rpc_call(rpc, "x", 1, on_reply, &outcome), ERR_OK);
    assert_true(support_turn_until_count(loop, &outcome.ok, 21));
    rpc_destroy(&rpc);
    close_instances();
}

/* --- discovery tells of changes */

static char records[2][DISCOVERY_HOST_BYTES];
static atomic_size_t record_count;

static enum err resolve(const char *host, char (*addresses)[DISCOVERY_HOST_BYTES], size_t max,
                        size_t *count) {
    (void)host, (void)max;
    *count = atomic_load(&record_count);
    memcpy(addresses, records, *count * sizeof records[0]);
    return ERR_OK;
}

static void instances_come_and_go(void **state) {
    (void)state;
    char base[BUS_URL_BYTES], url[BUS_URL_BYTES], spec[BUS_URL_BYTES];
    support_tcp_address(base);
    const char *port = strrchr(base, ':');
    (void)snprintf(spec, sizeof spec, "tcp://storage%s", port);
    (void)snprintf(url, sizeof url, "tcp://0.0.0.0%s", port);
    (void)snprintf(records[0], sizeof records[0], "127.0.0.2");
    (void)snprintf(records[1], sizeof records[1], "127.0.0.1");
    atomic_store(&record_count, 1);
    clock_fake_on(clock_mono_us(), 0);
    discovery_set_resolver(resolve);
    memset(instances, 0, sizeof instances);
    instances[0].keeps = true;
    assert_int_equal(
        bus_server_create(bus, url, 64, on_request, &instances[0], &instances[0].server), ERR_OK);
    struct rpc *rpc = create_rpc(spec, CONTEXTS, TIMEOUT_US);
    assert_true(support_turn_until_count(loop, &told.up_now, 1));
    struct outcome outcome = {0};
    assert_int_equal(rpc_call(rpc, "x", 1, on_reply, &outcome), ERR_OK);
    assert_true(support_turn_until_count(loop, &instances[0].kept_count, 1));
    atomic_store(&record_count, 2); /* one more */
    clock_fake_advance_us(DISCOVERY_INTERVAL_US);
    assert_true(support_turn_until_count(loop, &told.up_now, 2));
    struct rpc_peer *const *peers;
    assert_int_equal(rpc_peers(rpc, &peers), 2);
    assert_non_null(strstr(peers[0]->address, "127.0.0.1"));
    (void)snprintf(records[0], sizeof records[0], "127.0.0.1"); /* the first one leaves */
    atomic_store(&record_count, 1);
    clock_fake_advance_us(DISCOVERY_INTERVAL_US);
    assert_true(support_turn_until_count(loop, &told.removed, 1));
    assert_int_equal(outcome.closed, 1); /* its call ended before */
    assert_int_equal(told.added, 2);
    assert_int_equal(rpc_peers(rpc, &peers), 1);
    assert_true(rpc_available(rpc));
    rpc_destroy(&rpc);
    assert_int_equal(told.removed, 2);
    close_instances();
}

/* --- ownership */

#define KEYS 4000u

static void own_keys(struct rpc *rpc, char owners[KEYS + 1]) {
    for (uint32_t key = 0; key < KEYS; key++) {
        char text[16];
        int length = snprintf(text, sizeof text, "c_%u", key);
        struct rpc_peer *owner = rpc_owner(rpc, text, (size_t)length);
        owners[key] = '?';
        for (unsigned i = 0; owner != NULL && i < INSTANCES; i++) {
            if (strcmp(owner->address, bases[i]) == 0) {
                owners[key] = (char)('a' + i);
            }
        }
    }
    owners[KEYS] = '\0';
}

/* In a process of its own: writes the owners that it sees to a file. */
static int own_elsewhere(const char *spec, const char *path) {
    struct bus_config config = {.message_bytes_max = MESSAGE_BYTES_MAX};
    CONTRACT(loop_create(8, &loop) == ERR_OK && bus_create(loop, &config, &bus) == ERR_OK);
    const char *at = spec;
    for (unsigned i = 0; i < INSTANCES; i++) {
        size_t bytes = strcspn(at, ",");
        (void)snprintf(bases[i], sizeof bases[i], "%.*s", (int)bytes, at);
        at += bytes + 1;
    }
    support_child_ready();
    struct rpc *rpc = create_rpc(spec, 1, TIMEOUT_US);
    CONTRACT(support_turn_until_count(loop, &told.up_now, INSTANCES));
    char owners[KEYS + 1];
    own_keys(rpc, owners);
    FILE *file = fopen(path, "w");
    CONTRACT(file != NULL && fputs(owners, file) >= 0 && fclose(file) == 0);
    rpc_destroy(&rpc);
    return 0;
}

static pid_t child;

static void *wait_for_child(void *arg) {
    *(bool *)arg = support_ended_well(child);
    loop_stop(loop);
    return NULL;
}

static void every_process_sees_the_same_owner(void **state) {
    (void)state;
    for (unsigned i = 0; i < INSTANCES; i++) {
        open_instance(i, false);
    }
    struct rpc *rpc = create_rpc(specification, 1, TIMEOUT_US);
    assert_true(support_turn_until_count(loop, &told.up_now, INSTANCES));
    static char here[KEYS + 1], there[KEYS + 1], after[KEYS + 1];
    own_keys(rpc, here);
    char path[] = "/tmp/pipit-owners-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    child = support_spawn((const char *const[]){"own", specification, path, NULL});
    pthread_t thread;
    bool well = false;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_child, &well), 0);
    assert_int_equal(loop_run(loop), ERR_OK); /* the instances live here */
    pthread_join(thread, NULL);
    assert_true(well);
    assert_int_equal(read(fd, there, KEYS), KEYS);
    close(fd);
    unlink(path);
    assert_string_equal(here, there);
    unsigned counts[INSTANCES] = {0};
    for (unsigned key = 0; key < KEYS; key++) {
        assert_true(here[key] >= 'a' && here[key] < (char)('a' + INSTANCES));
        counts[here[key] - 'a']++;
    }
    for (unsigned i = 0; i < INSTANCES; i++) { /* fair: 1,000 each, six sigma is 165 */
        assert_in_range(counts[i], KEYS / INSTANCES - 165, KEYS / INSTANCES + 165);
    }
    close_instance(&instances[1]); /* only its own keys move */
    assert_true(support_turn_until_count(loop, &told.downs, 1));
    own_keys(rpc, after);
    for (unsigned key = 0; key < KEYS; key++) {
        assert_true(here[key] == 'b' ? after[key] != 'b' : after[key] == here[key]);
    }
    rpc_destroy(&rpc);
    close_instances();
}

/* --- threads that wait */

struct caller {
    struct rpc *rpc;
    unsigned calls;
    size_t cap_bytes;
    unsigned ok;
    enum err last;
    pthread_t thread;
    struct loop_call done;
};
static unsigned callers_done;

static void on_caller_done(struct loop_call *call) {
    (void)call;
    callers_done++;
}

static void *call_and_wait(void *arg) {
    struct caller *caller = arg;
    for (unsigned i = 0; i < caller->calls; i++) {
        uint32_t sent = i, got = UINT32_MAX;
        struct buf reply;
        buf_init(&reply, caller->cap_bytes);
        caller->last = rpc_call_wait(caller->rpc, &sent, sizeof sent, &reply);
        if (caller->last == ERR_OK && buf_len(&reply) == sizeof got) {
            memcpy(&got, buf_data(&reply), sizeof got);
        }
        caller->ok += got == sent;
        buf_finish(&reply);
    }
    loop_post_call(loop, &caller->done, on_caller_done);
    return NULL;
}

static void start_caller(struct caller *caller, struct rpc *rpc, unsigned calls, size_t cap_bytes) {
    memset(caller, 0, sizeof *caller);
    caller->rpc = rpc;
    caller->calls = calls;
    caller->cap_bytes = cap_bytes;
    assert_int_equal(pthread_create(&caller->thread, NULL, call_and_wait, caller), 0);
}

static void threads_wait_for_their_replies(void **state) {
    (void)state;
    open_instance(0, false);
    open_instance(1, false);
    struct rpc *rpc = create_rpc(specification, 2, TIMEOUT_US); /* fewer contexts than threads */
    struct caller callers[12];
    callers_done = 0;
    for (unsigned i = 0; i < 12; i++) { /* they begin before anything is up */
        start_caller(&callers[i], rpc, 100, 100);
    }
    assert_true(support_turn_until_count(loop, &callers_done, 12));
    for (unsigned i = 0; i < 12; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].ok, 100);
    }
    assert_true(instances[0].requests > 0 && instances[1].requests > 0);
    rpc_destroy(&rpc);
    close_instances();
}

static enum err one_wait(struct rpc *rpc, size_t cap_bytes) {
    struct caller caller;
    callers_done = 0;
    start_caller(&caller, rpc, 1, cap_bytes);
    assert_true(support_turn_until_count(loop, &callers_done, 1));
    pthread_join(caller.thread, NULL);
    return caller.last;
}

static void waiting_ends_with_the_right_error(void **state) {
    (void)state;
    struct rpc *rpc = create_rpc(specification, 1, WAIT_US);
    uint64_t begin_us = clock_mono_us();
    assert_int_equal(one_wait(rpc, 100), ERR_UNAVAILABLE); /* nobody came up in time */
    assert_true(clock_mono_us() - begin_us >= WAIT_US);
    open_instance(0, false);
    assert_true(support_turn_until_count(loop, &told.up_now, 1));
    assert_int_equal(one_wait(rpc, 100), ERR_OK);
    assert_int_equal(one_wait(rpc, 3), ERR_TOO_LARGE); /* the buffer is */
    instances[0].keeps = true;
    assert_int_equal(one_wait(rpc, 100), ERR_TIMEOUT);
    answer_kept(&instances[0]); /* too late, to nobody */
    instances[0].keeps = false;
    assert_int_equal(one_wait(rpc, 100), ERR_OK);
    struct outcome outcome = {0};
    instances[0].keeps = true;
    assert_int_equal(rpc_call(rpc, "x", 1, on_reply, &outcome), ERR_OK); /* the only context */
    rpc_destroy(&rpc);
    assert_int_equal(outcome.closed, 1);
    close_instances();
}

static void destroying_ends_all_waits(void **state) {
    (void)state;
    open_instance(0, true);
    struct rpc *rpc = create_rpc(specification, 3, TIMEOUT_US);
    assert_true(support_turn_until_count(loop, &told.up_now, 1));
    struct caller callers[8];
    callers_done = 0;
    for (unsigned i = 0; i < 8; i++) {
        start_caller(&callers[i], rpc, 1, 100);
    }
    assert_true(support_turn_until_count(loop, &instances[0].kept_count, 3));
    support_turn_for(loop, 5000); /* three are sent, the others wait for a context */
    rpc_destroy(&rpc);
    assert_true(support_turn_until_count(loop, &callers_done, 8));
    for (unsigned i = 0; i < 8; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].last, ERR_CLOSED);
    }
    close_instances();
}

static void a_killed_instance_ends_waits(void **state) {
    (void)state;
    pid_t server = support_spawn((const char *const[]){"keep", bases[0], NULL});
    struct rpc *rpc = create_rpc(bases[0], 4, 2000000);
    assert_true(support_turn_until_count(loop, &told.up_now, 1));
    struct caller callers[4];
    struct outcome outcome = {0};
    callers_done = 0;
    for (unsigned i = 0; i < 4; i++) {
        start_caller(&callers[i], rpc, 1, 100);
    }
    struct rpc_peer *const *peers;
    assert_int_equal(rpc_peers(rpc, &peers), 1);
    while (bus_peer_outstanding(peers[0]->peer) < 4) {
        support_turn_for(loop, 1000);
    }
    assert_int_equal(rpc_call(rpc, "x", 1, on_reply, &outcome), ERR_FULL);
    support_kill(server, SIGKILL);
    assert_true(support_turn_until_count(loop, &callers_done, 4));
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_true(callers[i].last == ERR_CLOSED || callers[i].last == ERR_TIMEOUT);
    }
    rpc_destroy(&rpc);
}

static int keep_requests(const char *base) {
    char url[BUS_URL_BYTES];
    struct bus_config config = {.message_bytes_max = MESSAGE_BYTES_MAX};
    instances[0].keeps = true;
    if (loop_create(8, &loop) != ERR_OK || bus_create(loop, &config, &bus) != ERR_OK ||
        bus_url_derive(base, BUS_URL_REP, url) != ERR_OK ||
        bus_server_create(bus, url, 64, on_request, &instances[0], &instances[0].server) !=
            ERR_OK) {
        return 1;
    }
    support_child_ready();
    return loop_run(loop) == ERR_OK ? 0 : 1;
}

/* --- lack of memory */

static void creation_survives_lack_of_memory(void **state) {
    (void)state;
    struct rpc_config config = {.specification = specification, .contexts = 1, .timeout_us = 1000};
    struct rpc *rpc = NULL;
    for (uint64_t nth = 1; nth <= 3; nth++) {
        (void)mem_fault_set(nth, 1);
        enum err error = rpc_create(loop, bus, &config, &rpc);
        (void)mem_fault_set(0, 0);
        assert_int_equal(error, ERR_NO_MEMORY);
        assert_null(rpc);
    }
    config.specification = "nonsense";
    assert_int_equal(rpc_create(loop, bus, &config, &rpc), ERR_INVALID);
    assert_null(rpc);
    rpc_destroy(&rpc);
}

static void an_instance_without_memory_is_tried_again(void **state) {
    (void)state;
    clock_fake_on(clock_mono_us(), 0);
    open_instance(0, false);
    struct rpc *rpc = create_rpc(bases[0], 1, TIMEOUT_US);
    (void)mem_fault_set(2, 1); /* the first is the instance, the second its peer */
    assert_true(support_turn_until_count(loop, &told.added, 1));
    (void)mem_fault_set(0, 0);
    struct rpc_peer *const *peers;
    assert_int_equal(rpc_peers(rpc, &peers), 1);
    assert_null(peers[0]->peer);
    struct outcome outcome = {0};
    assert_int_equal(rpc_call_peer(rpc, peers[0], "x", 1, on_reply, &outcome), ERR_UNAVAILABLE);
    clock_fake_advance_us(1000000);
    assert_true(support_turn_until_count(loop, &told.up_now, 1));
    assert_int_equal(rpc_call(rpc, "x", 1, on_reply, &outcome), ERR_OK);
    assert_true(support_turn_until_count(loop, &outcome.ok, 1));
    rpc_destroy(&rpc);
    close_instances();
}

#define RPC_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "keep") == 0) {
        return keep_requests(argv[2]);
    }
    if (argc == 4 && strcmp(argv[1], "own") == 0) {
        _exit(own_elsewhere(argv[2], argv[3]));
    }
    const struct CMUnitTest tests[] = {
        RPC_TEST(calls_go_to_the_least_busy),
        RPC_TEST(one_instance_can_be_chosen),
        RPC_TEST(a_dead_instance_is_left_out),
        RPC_TEST(instances_come_and_go),
        RPC_TEST(every_process_sees_the_same_owner),
        RPC_TEST(threads_wait_for_their_replies),
        RPC_TEST(waiting_ends_with_the_right_error),
        RPC_TEST(destroying_ends_all_waits),
        RPC_TEST(a_killed_instance_ends_waits),
        RPC_TEST(creation_survives_lack_of_memory),
        RPC_TEST(an_instance_without_memory_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
