/* bus: addresses, many requests over real sockets, replies from threads, several loops. What
 * happens when somebody dies or closes is in test_bus_failure.c, publications are in
 * test_bus_pubsub.c, TLS in test_bus_tls.c. */
#include "common/bus.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/mem.h"
#include "common/queue.h"
#include "tests/unit/common/support_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <nng/nng.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* --- addresses */

static void urls_derive(void **state) {
    (void)state;
    static const struct {
        const char *base, *rep, *pub, *pulse;
    } good[] = {
        {"tcp://127.0.0.1:7101", "tcp://127.0.0.1:7101", "tcp://127.0.0.1:7102",
         "tcp://127.0.0.1:7103"},
        {"tcp://[::1]:7101", "tcp://[::1]:7101", "tcp://[::1]:7102", "tcp://[::1]:7103"},
        {"tcp://0.0.0.0:1", "tcp://0.0.0.0:1", "tcp://0.0.0.0:2", "tcp://0.0.0.0:3"},
        {"tls+tcp://storage-0.s:65533", "tls+tcp://storage-0.s:65533",
         "tls+tcp://storage-0.s:65534", "tls+tcp://storage-0.s:65535"},
        {"ipc:///run/pipit/storage", "ipc:///run/pipit/storage.rep", "ipc:///run/pipit/storage.pub",
         "ipc:///run/pipit/storage.pulse"},
    };
    static const char *const bad[] = {
        "",
        "tcp://",
        "tcp://host",
        "tcp://host:",
        "tcp://:7101",
        "tcp://h:0",
        "tcp://h:65534",
        "tcp://h:99999",
        "tcp://h:123456",
        "tcp://h:71x",
        "tcp://::1:7101",
        "tcp://[::1:7101",
        "tcp://h]:7101",
        "tcp://a b:7101",
        "tcp://a,b:7101",
        "ipc://",
        "udp://h:7101",
        "h:7101",
        "inproc://x",
        "tcp://h/p:7101",
    };
    char url[BUS_URL_BYTES];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        derive(good[i].base, BUS_URL_REP, url);
        assert_string_equal(url, good[i].rep);
        derive(good[i].base, BUS_URL_PUB, url);
        assert_string_equal(url, good[i].pub);
        derive(good[i].base, BUS_URL_PULSE, url);
        assert_string_equal(url, good[i].pulse);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (bus_url_derive(bad[i], BUS_URL_REP, url) != ERR_INVALID) {
            fail_msg("accepted %s", bad[i]);
        }
    }
    char text[400];
    memset(text, 'a', sizeof text);
    memcpy(text, "ipc:///", 7);
    text[120] = '\0';
    assert_int_equal(bus_url_derive(text, BUS_URL_REP, url), ERR_TOO_LARGE);
    memcpy(text, "tcp://h", 7);
    text[120] = 'a';
    memcpy(text + 300, ":7101", 6);
    assert_int_equal(bus_url_derive(text, BUS_URL_REP, url), ERR_TOO_LARGE);
}

static void servers_refuse_bad_addresses(void **state) {
    (void)state;
    struct bus_server *server = NULL;
    static const char *const bad[] = {"inproc://x", "ws://127.0.0.1:7000",
                                      "tls+tcp://127.0.0.1:7000", "tcp://nothing"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_not_equal(bus_server_create(bus, bad[i], 4, on_echo, NULL, &server), ERR_OK);
        assert_null(server);
    }
    assert_int_equal(
        bus_server_create(bus, "ipc:///nonexistent-folder/s", 4, on_echo, NULL, &server),
        ERR_NOT_FOUND);
    struct bus_peer *peer = NULL;
    assert_int_equal(bus_peer_create(bus, "tls+tcp://127.0.0.1:7000", 4, NULL, NULL, &peer),
                     ERR_INVALID);
    assert_null(peer);
}

static void a_used_address_is_an_error(void **state) {
    (void)state;
    char urls[2][BUS_URL_BYTES];
    tcp_url(urls[0]);
    ipc_url(urls[1]);
    for (int i = 0; i < 2; i++) {
        struct bus_server *first, *second = NULL;
        assert_int_equal(bus_server_create(bus, urls[i], 4, on_echo, NULL, &first), ERR_OK);
        assert_int_equal(bus_server_create(bus, urls[i], 4, on_echo, NULL, &second), ERR_EXISTS);
        assert_null(second);
        struct client client; /* the first one still answers */
        connect_client(&client, bus, urls[i], 1);
        call_once(&client);
        bus_peer_close(&client.peer);
        bus_server_close(&first);
        assert_null(first);
    }
}

static void a_stale_ipc_path_is_taken_over(void **state) {
    (void)state;
    char url[BUS_URL_BYTES];
    ipc_url(url);
    const char *path = url + strlen("ipc://");
    support_kill(spawn_server(url, "echo"), SIGKILL);
    assert_int_equal(access(path, F_OK), 0); /* the dead process left it */
    struct bus_server *server;
    assert_int_equal(bus_server_create(bus, url, 4, on_echo, NULL, &server), ERR_OK);
    struct client client;
    connect_client(&client, bus, url, 1);
    call_once(&client);
    bus_peer_close(&client.peer);
    bus_server_close(&server);
    (void)unlink(path);
    int fd = open(path, O_CREAT | O_WRONLY, 0600); /* a file is not ours to remove */
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(bus_server_create(bus, url, 4, on_echo, NULL, &server), ERR_EXISTS);
    assert_int_equal(access(path, F_OK), 0);
}

/* --- many calls */

struct numbered {
    struct client *client;
    uint32_t number;
};

static void on_numbered(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct numbered *numbered = user;
    struct client *client = numbered->client;
    uint32_t echoed = 0;
    if (status == ERR_OK && body_bytes == sizeof echoed) {
        memcpy(&echoed, body, sizeof echoed);
        client->ok++;
        client->wrong += echoed != numbered->number;
    }
    client->ended++;
    numbered->number = UINT32_MAX; /* free */
}

static void ten_thousand_calls(const char *url) {
    struct bus_server *server;
    assert_int_equal(bus_server_create(bus, url, CONTEXTS, on_echo, NULL, &server), ERR_OK);
    struct client client;
    connect_client(&client, bus, url, CONTEXTS);
    struct numbered calls[CONTEXTS];
    for (uint32_t i = 0; i < CONTEXTS; i++) {
        calls[i] = (struct numbered){&client, UINT32_MAX};
    }
    uint32_t sent = 0;
    while (client.ended < 10000) {
        for (uint32_t i = 0; i < CONTEXTS && sent < 10000; i++) {
            if (calls[i].number == UINT32_MAX) {
                calls[i].number = sent++;
                assert_int_equal(bus_call(client.peer, &calls[i].number, sizeof(uint32_t),
                                          TIMEOUT_US, on_numbered, &calls[i]),
                                 ERR_OK);
            }
        }
        if (bus_peer_outstanding(client.peer) == CONTEXTS) {
            assert_int_equal(bus_call(client.peer, "x", 1, TIMEOUT_US, on_reply, &client),
                             ERR_FULL);
        }
        assert_int_equal(loop_turn(loop, TIMEOUT_US), ERR_OK);
    }
    assert_int_equal(client.ok, 10000);
    assert_int_equal(client.wrong, 0);
    assert_int_equal(bus_peer_outstanding(client.peer), 0);
    assert_int_equal(client.downs, 0);
    bus_peer_close(&client.peer);
    bus_server_close(&server);
}

static void ten_thousand_calls_over_tcp(void **state) {
    (void)state;
    char url[BUS_URL_BYTES];
    tcp_url(url);
    ten_thousand_calls(url);
}

static void ten_thousand_calls_over_ipc(void **state) {
    (void)state;
    char url[BUS_URL_BYTES];
    ipc_url(url);
    ten_thousand_calls(url);
}

static void bodies_of_all_sizes_come_back(void **state) {
    (void)state;
    char url[BUS_URL_BYTES];
    ipc_url(url);
    struct bus_server *server;
    assert_int_equal(bus_server_create(bus, url, 4, on_echo, NULL, &server), ERR_OK);
    struct client client;
    connect_client(&client, bus, url, 1);
    static uint8_t bytes[MESSAGE_BYTES_MAX + 1];
    static const size_t sizes[] = {0, 1, 4, 1000, MESSAGE_BYTES_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        call(&client, bytes, sizes[i], TIMEOUT_US);
        assert_true(support_turn_until_count(loop, &client.ok, (unsigned)i + 1));
    }
    assert_int_equal(bus_call(client.peer, bytes, sizeof bytes, TIMEOUT_US, on_reply, &client),
                     ERR_TOO_LARGE);
    bus_peer_close(&client.peer);
    bus_server_close(&server);
}

static void tcp_listens_on_all_interfaces(void **state) {
    (void)state;
    char url[BUS_URL_BYTES], any[BUS_URL_BYTES];
    static const char *const hosts[] = {"0.0.0.0", "[::]"};
    for (size_t i = 0; i < 2; i++) {
        tcp_url(url);
        (void)snprintf(any, sizeof any, "tcp://%s%s", hosts[i], strrchr(url, ':'));
        struct bus_server *server;
        enum err error = bus_server_create(bus, any, 4, on_echo, NULL, &server);
        if (i == 1 && error != ERR_OK) {
            return; /* a kernel without IPv6 */
        }
        assert_int_equal(error, ERR_OK);
        struct client client;
        connect_client(&client, bus, url, 1);
        call_once(&client);
        bus_peer_close(&client.peer);
        bus_server_close(&server);
    }
}

/* --- replies from other threads */

static struct queue *handed;

static void on_hand_over(struct bus_request *request, const uint8_t *body, size_t body_bytes,
                         void *user) {
    (void)body, (void)body_bytes, (void)user;
    assert_int_equal(queue_push(handed, request), ERR_OK);
}

static void *answer_from_thread(void *arg) {
    (void)arg;
    void *items[8];
    for (size_t count; (count = queue_pop_many(handed, items, 8, UINT64_MAX)) > 0;) {
        for (size_t i = 0; i < count; i++) {
            bus_reply(items[i], "thread", 6);
        }
    }
    return NULL;
}

static void on_again(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct client *client = user;
    on_reply(status, body, body_bytes, user);
    if (client->ended + bus_peer_outstanding(client->peer) < client->expected) {
        assert_int_equal(bus_call(client->peer, "x", 1, TIMEOUT_US, on_again, client), ERR_OK);
    }
}

static void replies_may_come_from_any_thread(void **state) {
    (void)state;
    char url[BUS_URL_BYTES];
    tcp_url(url);
    assert_int_equal(queue_create(CONTEXTS, &handed), ERR_OK);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, answer_from_thread, NULL), 0);
    }
    struct bus_server *server;
    assert_int_equal(bus_server_create(bus, url, CONTEXTS, on_hand_over, NULL, &server), ERR_OK);
    struct client client;
    connect_client(&client, bus, url, 32);
    client.expected = 3000;
    for (int i = 0; i < 32; i++) {
        assert_int_equal(bus_call(client.peer, "x", 1, TIMEOUT_US, on_again, &client), ERR_OK);
    }
    assert_true(support_turn_until_count(loop, &client.ended, 3000));
    assert_int_equal(client.ok, 3000);
    bus_peer_close(&client.peer);
    bus_server_close(&server);
    queue_close(handed);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    queue_destroy(&handed);
}

/* Each thread has a loop and a bus of its own: what they share (the registry of sockets) is locked.
 */
static void *call_from_own_loop(void *arg) {
    const char *url = arg;
    struct loop *own_loop;
    struct bus *own_bus;
    struct bus_config config = {.message_bytes_max = MESSAGE_BYTES_MAX};
    CONTRACT(loop_create(8, &own_loop) == ERR_OK);
    CONTRACT(bus_create(own_loop, &config, &own_bus) == ERR_OK);
    for (int round = 0; round < 10; round++) {
        struct client client = {.expected = 50};
        CONTRACT(bus_peer_create(own_bus, url, 4, on_state, &client, &client.peer) == ERR_OK);
        CONTRACT(support_turn_until_count(own_loop, &client.ups, 1));
        CONTRACT(bus_call(client.peer, "x", 1, TIMEOUT_US, on_again, &client) == ERR_OK);
        CONTRACT(support_turn_until_count(own_loop, &client.ok, 50));
        bus_peer_close(&client.peer);
    }
    bus_destroy(&own_bus);
    loop_destroy(&own_loop);
    return NULL;
}

static void *join_all(void *arg) {
    pthread_t *threads = arg;
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    loop_stop(loop);
    return NULL;
}

static void buses_of_several_loops_work_side_by_side(void **state) {
    (void)state;
    char url[BUS_URL_BYTES];
    tcp_url(url);
    struct bus_server *server;
    assert_int_equal(bus_server_create(bus, url, CONTEXTS, on_echo, NULL, &server), ERR_OK);
    pthread_t threads[3], joiner;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, call_from_own_loop, url), 0);
    }
    assert_int_equal(pthread_create(&joiner, NULL, join_all, threads), 0);
    assert_int_equal(loop_run(loop), ERR_OK);
    pthread_join(joiner, NULL);
    bus_server_close(&server);
}

#define CALLBACKS 64

static _Atomic unsigned called;
static pid_t callers[CALLBACKS];

static void on_callback(void *unused) {
    (void)unused;
    static const struct timespec pause = {.tv_nsec = 200000};
    callers[atomic_load(&called)] = gettid();
    (void)nanosleep(&pause, NULL); /* long enough for another thread to take the next */
    atomic_fetch_add(&called, 1);
}

/* Each hand-over between workers is a wake-up (bus_workers.c). */
static void one_worker_runs_all_callbacks(void **state) {
    (void)state;
    char url[BUS_URL_BYTES];
    ipc_url(url);
    struct bus_server *server;
    assert_int_equal(bus_server_create(bus, url, CONTEXTS, on_echo, NULL, &server), ERR_OK);
    nng_aio *aios[CALLBACKS];
    for (size_t i = 0; i < CALLBACKS; i++) {
        assert_int_equal(nng_aio_alloc(&aios[i], on_callback, NULL), 0);
        nng_sleep_aio(0, aios[i]);
    }
    for (size_t i = 0; i < CALLBACKS; i++) {
        nng_aio_wait(aios[i]);
        nng_aio_free(aios[i]);
        assert_int_equal(callers[i], callers[0]);
    }
    bus_server_close(&server);
}

#define BUS_TEST(name) cmocka_unit_test_setup_teardown(name, client_setup, client_teardown)

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "serve") == 0) {
        return serve(argv[2], argv[3]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_derive),
        BUS_TEST(servers_refuse_bad_addresses),
        BUS_TEST(a_used_address_is_an_error),
        BUS_TEST(one_worker_runs_all_callbacks),
        BUS_TEST(a_stale_ipc_path_is_taken_over),
        BUS_TEST(ten_thousand_calls_over_tcp),
        BUS_TEST(ten_thousand_calls_over_ipc),
        BUS_TEST(bodies_of_all_sizes_come_back),
        BUS_TEST(tcp_listens_on_all_interfaces),
        BUS_TEST(replies_may_come_from_any_thread),
        BUS_TEST(buses_of_several_loops_work_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
