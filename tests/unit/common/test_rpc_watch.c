/* rpc: instances that are frozen, silent or about to go. The instances are processes of their own
 * (they can be stopped) or servers on this loop. The rest of rpc is tested in test_rpc.c. */
#include "common/clock.h"
#include "common/contract.h"
#include "common/rpc.h"
#include "common/stream.h"
#include "tests/unit/common/support_bus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <signal.h>
#include <unistd.h>

#define CONTEXTS 8u
#define TIMEOUT_US 10000000u
static const struct bus_config bus_settings = {.message_bytes_max = 65536u};

static struct loop *loop;
static struct bus *bus;
static char bases[2][BUS_URL_BYTES];
static unsigned ups, downs;

static int setup(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        support_ipc_address(bases[i]);
    }
    ups = downs = 0;
    return loop_create(64, &loop) == ERR_OK && bus_create(loop, &bus_settings, &bus) == ERR_OK ? 0
                                                                                               : -1;
}

static int teardown(void **state) {
    (void)state;
    bus_destroy(&bus);
    loop_destroy(&loop);
    support_remove_folders();
    return 0;
}

/* --- instances */

static unsigned requests[2];

static void on_request(struct bus_request *request, const uint8_t *body, size_t body_bytes,
                       void *user) {
    (*(unsigned *)user)++;
    bus_reply(request, body, body_bytes);
}

static struct bus_server *serve(int i) {
    char url[BUS_URL_BYTES];
    struct bus_server *server = NULL;
    requests[i] = 0;
    CONTRACT(bus_url_derive(bases[i], BUS_URL_REP, url) == ERR_OK &&
             bus_server_create(bus, url, CONTEXTS, on_request, &requests[i], &server) == ERR_OK);
    return server;
}

/* Quiet first: see common/bus.c about what nng 1.5 loses else. */
static void stop_serving(struct bus_server *server) {
    support_turn_for(loop, 10000);
    bus_server_close(&server);
    support_turn_for(loop, 10000);
}

static void on_ignored(struct bus_request *request, const uint8_t *body, size_t body_bytes,
                       void *user) {
    (void)request, (void)body, (void)body_bytes, (void)user; /* busy for ever */
}

static void serve_never(int i) {
    char url[BUS_URL_BYTES];
    struct bus_server *server = NULL;
    CONTRACT(bus_url_derive(bases[i], BUS_URL_REP, url) == ERR_OK &&
             bus_server_create(bus, url, CONTEXTS, on_ignored, NULL, &server) == ERR_OK);
}

/* In a process of its own: has a pulse, and answers, or is too busy to. */
static int pulsate(const char *base, bool busy) {
    struct stream_publisher *publisher = NULL;
    char url[BUS_URL_BYTES];
    (void)snprintf(bases[0], sizeof bases[0], "%s", base);
    CONTRACT(loop_create(8, &loop) == ERR_OK && bus_create(loop, &bus_settings, &bus) == ERR_OK &&
             bus_url_derive(base, BUS_URL_PUB, url) == ERR_OK &&
             stream_publisher_create(loop, bus, url, 1, &publisher) == ERR_OK);
    if (busy) {
        serve_never(0);
    } else {
        (void)serve(0); /* to the end of the process */
    }
    support_child_ready();
    return loop_run(loop) == ERR_OK ? 0 : 1;
}

/* --- the asking side */

static void on_state(struct rpc_peer *peer, void *user) {
    (void)user;
    ups += peer->up;
    downs += !peer->up;
}

static uint64_t timeout_us = TIMEOUT_US;

static struct rpc *ask(const char *specification, bool watch) {
    struct rpc *rpc = NULL;
    struct rpc_config config = {.specification = specification,
                                .contexts = CONTEXTS,
                                .timeout_us = timeout_us,
                                .watch = watch,
                                .watch_at = BUS_URL_PUB,
                                .on_peer_state = on_state};
    assert_int_equal(rpc_create(loop, bus, &config, &rpc), ERR_OK);
    return rpc;
}

struct outcome {
    unsigned ok, closed, timeout;
};

static void on_reply(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    (void)body, (void)body_bytes;
    struct outcome *outcome = user;
    outcome->ok += status == ERR_OK;
    outcome->closed += status == ERR_CLOSED;
    outcome->timeout += status == ERR_TIMEOUT;
}

static void call(struct rpc *rpc, struct outcome *outcome) {
    assert_int_equal(rpc_call(rpc, "x", 1, on_reply, outcome), ERR_OK);
}

/* --- tests */

static void a_frozen_instance_is_noticed(void **state) {
    (void)state;
    pid_t server = support_spawn((const char *const[]){"pulsate", bases[0], NULL});
    struct rpc *rpc = ask(bases[0], true);
    struct outcome outcome = {0};
    assert_true(support_turn_until_count(loop, &ups, 1));
    support_turn_for(loop, 2 * STREAM_HEARTBEAT_US); /* its pulse was felt */
    support_freeze(server);
    uint64_t begin_us = clock_mono_us();
    call(rpc, &outcome);
    assert_true(support_turn_until_count(loop, &outcome.closed, 1));
    assert_true(clock_mono_us() - begin_us < TIMEOUT_US / 2); /* long before a time-out */
    assert_int_equal(downs, 1);
    assert_false(rpc_available(rpc));
    support_thaw(server);
    assert_true(support_turn_until_count(loop, &ups, 2));
    call(rpc, &outcome);
    assert_true(support_turn_until_count(loop, &outcome.ok, 1));
    rpc_destroy(&rpc);
    support_kill(server, SIGKILL);
}

/* Publishes nothing, or nothing that arrives: only time-outs may end its calls. */
static void an_instance_without_a_pulse_is_left_alone(void **state) {
    (void)state;
    struct bus_server *server = serve(0);
    struct rpc *rpc = ask(bases[0], true);
    assert_true(support_turn_until_count(loop, &ups, 1));
    support_turn_for(loop, STREAM_SILENCE_US + 300000u);
    assert_int_equal(downs, 0);
    struct rpc_peer *const *peers = NULL;
    assert_int_equal(rpc_peers(rpc, &peers), 1);
    rpc_peer_silent(rpc, peers[0]); /* its owner knows better */
    assert_true(support_turn_until_count(loop, &ups, 2));
    assert_int_equal(downs, 1);
    rpc_destroy(&rpc);
    stop_serving(server);
}

/* Slow is not dead: its time-outs do not end the calls that it may yet answer. */
static void a_busy_instance_keeps_its_connection(void **state) {
    (void)state;
    pid_t server = support_spawn((const char *const[]){"busy", bases[0], NULL});
    timeout_us = 50000;
    struct rpc *watching = ask(bases[0], true);
    assert_true(support_turn_until_count(loop, &ups, 1));
    support_turn_for(loop, 2 * STREAM_HEARTBEAT_US);
    struct outcome outcome = {0};
    for (unsigned i = 0; i < 6; i++) {
        call(watching, &outcome);
        assert_true(support_turn_until_count(loop, &outcome.timeout, i + 1));
    }
    assert_int_equal(downs, 0);
    rpc_destroy(&watching);
    downs = ups = 0;
    struct rpc *other = ask(bases[0], false); /* that hears no pulse */
    assert_true(support_turn_until_count(loop, &ups, 1));
    for (unsigned i = 0; i < 2; i++) {
        call(other, &outcome);
        assert_true(support_turn_until_count(loop, &outcome.timeout, 7 + i));
    }
    assert_true(support_turn_until_count(loop, &downs, 1));
    rpc_destroy(&other);
    timeout_us = TIMEOUT_US;
    support_kill(server, SIGKILL);
}

static void who_leaves_is_the_last_choice(void **state) {
    (void)state;
    struct bus_server *servers[2] = {serve(0), serve(1)};
    char both[2 * BUS_URL_BYTES + 1];
    (void)snprintf(both, sizeof both, "%s,%s", bases[0], bases[1]);
    struct rpc *rpc = ask(both, false);
    assert_true(support_turn_until_count(loop, &ups, 2));
    struct rpc_peer *const *peers = NULL;
    assert_int_equal(rpc_peers(rpc, &peers), 2);
    int first = strcmp(peers[0]->address, bases[0]) == 0 ? 0 : 1;
    struct outcome outcome = {0};
    peers[0]->leaving = true;
    for (unsigned i = 0; i < 3; i++) { /* the other one gets all, however busy it is */
        assert_ptr_equal(rpc_owner(rpc, &i, sizeof i), peers[1]);
        call(rpc, &outcome);
    }
    assert_true(support_turn_until_count(loop, &outcome.ok, 3));
    assert_int_equal(requests[1 - first], 3);
    peers[1]->leaving = true; /* better one that goes than none, but to own nothing */
    assert_null(rpc_owner(rpc, "k", 1));
    call(rpc, &outcome);
    assert_true(support_turn_until_count(loop, &outcome.ok, 4));
    stop_serving(servers[first]);
    assert_true(support_turn_until_count(loop, &downs, 1));
    servers[first] = serve(first);
    assert_true(support_turn_until_count(loop, &ups, 3));
    assert_ptr_equal(rpc_owner(rpc, "k", 1), peers[0]); /* a new life */
    rpc_destroy(&rpc);
    stop_serving(servers[0]);
    stop_serving(servers[1]);
}

#define WATCH_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "pulsate") == 0) {
        _exit(pulsate(argv[2], false));
    }
    if (argc == 3 && strcmp(argv[1], "busy") == 0) {
        _exit(pulsate(argv[2], true));
    }
    const struct CMUnitTest tests[] = {
        WATCH_TEST(a_frozen_instance_is_noticed),
        WATCH_TEST(an_instance_without_a_pulse_is_left_alone),
        WATCH_TEST(a_busy_instance_keeps_its_connection),
        WATCH_TEST(who_leaves_is_the_last_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
