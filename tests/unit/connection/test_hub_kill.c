/* test_hub_kill: a routing instance is a process of its own and is killed or frozen while it owes
 * answers; another instance goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "services/connection/hub_private.h"
#include "tests/unit/connection/hub_world.h"
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* --- the other process: a routing instance that never answers reads of history and submits */

static int run_child(const char *address) {
    struct loop *loop = NULL;
    struct bus *bus = NULL;
    struct hub_store *store = calloc(1, sizeof *store);
    struct routing_script *routing = calloc(1, sizeof *routing);
    static const struct bus_config config = {.message_bytes_max = 8u << 20};
    if (store == NULL || routing == NULL || loop_create(64, &loop) != ERR_OK ||
        bus_create(loop, &config, &bus) != ERR_OK) {
        return 1;
    }
    (void)snprintf(store->epoch, sizeof store->epoch, "e1");
    store_append(store_add(store, "c_one", "u_ann", "u_bob"), "u_bob", "d_2", NULL);
    routing->hold_history = routing->hold_submits = true;
    routing_start(routing, loop, bus, store, address);
    while (loop_turn(loop, 1000000) == ERR_OK) {
    }
    return 1;
}

static char child_address[128], both_addresses[512];
static pid_t child;

static void start_child(void) {
    (void)snprintf(child_address, sizeof child_address, "ipc:///tmp/pipit-hub-child-%d",
                   (int)getpid());
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* not left behind when the test fails */
        (void)execl("/proc/self/exe", "test_hub_kill", "child", child_address, (char *)NULL);
        _exit(1);
    }
}
static void kill_child(void) {
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    static const char *const ends[] = {"rep", "pub"};
    for (int i = 0; i < 2; i++) {
        char path[160];
        (void)snprintf(path, sizeof path, "%s.%s", child_address + strlen("ipc://"), ends[i]);
        (void)unlink(path); /* left behind by a killed process */
    }
}
/* The child's address sorts first, so of two idle instances it is asked first. */
static void with_child(struct connection_settings *settings) {
    settings->bus.timeout_us = 10000000u; /* time-outs play no part here */
    (void)snprintf(both_addresses, sizeof both_addresses, "%s,%s", child_address,
                   settings->bus.routing);
    settings->bus.routing = both_addresses;
}
static struct world *start(struct client **ann) {
    start_child();
    uint64_t boots = hub_metrics.troubles[HUB_TROUBLE_BOOT].value;
    struct world *world = world_start(1, with_child);
    UNTIL(world, hub_metrics.troubles[HUB_TROUBLE_BOOT].value == boots + 2);
    struct stored_conversation *one = store_add(&world->store, "c_one", "u_ann", "u_bob");
    store_append(one, "u_bob", "d_2", NULL);
    *ann = client_open(world, "u_ann", "d_1");
    return world;
}

static void a_lost_read_is_asked_again(void **state) {
    (void)state;
    struct client *ann = NULL;
    struct world *world = start(&ann);
    world->routing[0].hold_history = true; /* whoever is asked does not answer */
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(session_history(&ann->session, i, "c_one", 0, 10), ERR_OK);
    }
    UNTIL(world, world->routing[0].held_count >= 1);
    size_t own = world->routing[0].held_count;
    assert_true(own < 8); /* the child has some of them */
    kill_child();
    UNTIL(world, world->routing[0].held_count == 8);
    routing_release(&world->routing[0]);
    UNTIL(world, ann->pages == 8);
    assert_int_equal(ann->page_reason, REASON_OK);
    client_close(ann);
    world_finish(world);
}

/* Conversations of both owners; those of the child get no answer from it. */
static size_t send_twelve(struct world *world, struct client *ann) {
    for (uint64_t i = 0; i < 12; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "c_m%u", (unsigned)i);
        store_add(&world->store, id, "u_ann", NULL);
        assert_int_equal(client_send(ann, id, i, NULL), ERR_OK);
    }
    UNTIL(world, world->routing[0].submit_count > 0);
    UNTIL(world, ann->result_count == world->routing[0].submit_count);
    assert_true(ann->result_count < 12);
    return 12;
}

static void submits_go_to_another_instance(void **state) {
    (void)state;
    struct client *ann = NULL;
    struct world *world = start(&ann);
    size_t sent = send_twelve(world, ann);
    kill_child();
    UNTIL(world, ann->result_count == sent);
    for (size_t i = 0; i < sent; i++) {
        assert_int_equal(ann->results[i].reason, REASON_OK);
        assert_int_equal(ann->results[i].seq, 1);
    }
    client_close(ann);
    world_finish(world);
}

/* Its connections stay, its heartbeats do not. */
static void a_frozen_instance_is_left(void **state) {
    (void)state;
    struct client *ann = NULL;
    struct world *world = start(&ann);
    size_t sent = send_twelve(world, ann);
    assert_int_equal(kill(child, SIGSTOP), 0);
    uint64_t begin_us = clock_mono_us();
    UNTIL(world, ann->result_count == sent);
    assert_true(clock_mono_us() - begin_us < world->settings.bus.timeout_us / 2);
    for (size_t i = 0; i < sent; i++) {
        assert_int_equal(ann->results[i].reason, REASON_OK);
    }
    assert_int_equal(kill(child, SIGCONT), 0);
    struct rpc_peer *const *peers = NULL;
    assert_int_equal(rpc_peers(world->hub->routing, &peers), 2);
    UNTIL(world, peers[0]->up && peers[1]->up); /* and is back */
    kill_child();
    client_close(ann);
    world_finish(world);
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "child") == 0) {
        return run_child(argv[2]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_read_is_asked_again),
        cmocka_unit_test(submits_go_to_another_instance),
        cmocka_unit_test(a_frozen_instance_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
