/* bus: death and silence on either side, limits, closing at any time, lack of memory. */
#include "common/bus.h"

#include "common/bus_private.h"
#include "common/clock.h"
#include "common/contract.h"
#include "common/mem.h"
#include "tests/unit/common/support_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* --- death and silence */

static void a_silent_server_times_out_and_is_disconnected(void **state) {
    (void)state;
    char url[BUS_URL_BYTES];
    tcp_url(url);
    struct bus_server *server;
    assert_int_equal(bus_server_create(bus, url, CONTEXTS, on_keep, NULL, &server), ERR_OK);
    struct client client;
    connect_client(&client, bus, url, 4);
    uint64_t begin_us = clock_mono_us();
    call(&client, "x", 1, 20500); /* rounded up to 21 ms */
    assert_true(support_turn_until_count(loop, &client.timeout, 1));
    assert_true(clock_mono_us() - begin_us >= 20500);
    assert_true(bus_peer_up(client.peer)); /* once is not enough */
    assert_int_equal(client.downs, 0);
    call(&client, "x", 1, 20000);
    assert_true(support_turn_until_count(loop, &client.timeout, 2));
    assert_true(support_turn_until_count(loop, &client.downs, 1));
    assert_true(support_turn_until_count(loop, &client.ups, 2)); /* and dialled again */
    assert_int_equal(client.ended, 2);
    reply_to_kept(); /* to nobody */
    support_turn_for(loop, 20000);
    assert_int_equal(client.ended, 2);
    bus_peer_close(&client.peer);
    bus_server_close(&server);
}

static void a_reply_between_time_outs_keeps_the_connection(void **state) {
    (void)state;
    char url[BUS_URL_BYTES];
    ipc_url(url);
    struct bus_server *server;
    assert_int_equal(bus_server_create(bus, url, CONTEXTS, on_keep, NULL, &server), ERR_OK);
    struct client client;
    connect_client(&client, bus, url, 4);
    for (unsigned i = 1; i <= 3; i++) {
        call(&client, "x", 1, 10000);
        assert_true(support_turn_until_count(loop, &client.timeout, i));
        reply_to_kept();
        call(&client, "x", 1, TIMEOUT_US);
        assert_true(support_turn_until_count(loop, &kept_count, 1));
        reply_to_kept();
        assert_true(support_turn_until_count(loop, &client.ok, i));
    }
    assert_int_equal(client.downs, 0);
    bus_peer_close(&client.peer);
    bus_server_close(&server);
}

static void a_killed_server_ends_its_calls_once(void **state) {
    (void)state;
    char urls[2][BUS_URL_BYTES];
    tcp_url(urls[0]);
    ipc_url(urls[1]);
    for (int i = 0; i < 2; i++) {
        pid_t server = spawn_server(urls[i], "keep");
        struct client client;
        connect_client(&client, bus, urls[i], CONTEXTS);
        for (unsigned j = 0; j < CONTEXTS; j++) {
            call(&client, "x", 1, TIMEOUT_US);
        }
        support_kill(server, SIGKILL);
        assert_true(support_turn_until_count(loop, &client.ended, CONTEXTS));
        assert_true(support_turn_until_count(loop, &client.downs, 1));
        assert_int_equal(client.closed, CONTEXTS); /* sent or not, at once */
        assert_int_equal(bus_call(client.peer, "x", 1, TIMEOUT_US, on_reply, &client),
                         ERR_UNAVAILABLE);
        server = spawn_server(urls[i], "echo"); /* the same address lives again */
        assert_true(support_turn_until_count(loop, &client.ups, 2));
        call(&client, "x", 1, TIMEOUT_US);
        assert_true(support_turn_until_count(loop, &client.ok, 1));
        assert_int_equal(client.ended, CONTEXTS + 1); /* no call ended twice */
        bus_peer_close(&client.peer);
        support_kill(server, SIGKILL);
    }
}

/* A connection that the kernel accepts for the server. */
static int dial_raw(const char *url) {
    bool tcp = strncmp(url, "tcp://", 6) == 0;
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in remote = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    if (tcp) {
        remote.sin_port = htons((uint16_t)strtoul(strrchr(url, ':') + 1, NULL, 10));
        assert_int_equal(connect(fd, (struct sockaddr *)&remote, sizeof remote), 0);
    } else {
        assert_true(strlen(url + 6) < sizeof local.sun_path);
        memcpy(local.sun_path, url + 6, strlen(url + 6));
        assert_int_equal(connect(fd, (struct sockaddr *)&local, sizeof local), 0);
    }
    return fd;
}

/* nng#1518, see bus_hangup.c. */
static void clients_may_give_up_on_a_frozen_server(void **state) {
    (void)state;
    for (int tcp = 0; tcp < 2; tcp++) {
        char url[BUS_URL_BYTES];
        (tcp ? tcp_url : ipc_url)(url);
        pid_t server = spawn_server(url, "echo");
        struct client client;
        connect_client(&client, bus, url, 4);
        support_freeze(server);
        for (int i = 0; i < 4; i++) {
            int fd = dial_raw(url);
            if (i % 2 != 0) { /* killed: a reset, not an end */
                struct linger now = {.l_onoff = 1};
                assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
            }
            close(fd);
        }
        support_thaw(server);
        call_once(&client); /* it was accepted before */
        struct client late;
        connect_client(&late, bus, url, 4);
        call(&late, "x", 1, 2000000);
        assert_true(support_turn_until_count(loop, &late.ended, 1));
        assert_int_equal(late.ok, 1);
        bus_peer_close(&client.peer);
        bus_peer_close(&late.peer);
        support_kill(server, SIGKILL);
    }
}

static void a_frozen_server_may_be_given_up(void **state) {
    (void)state;
    for (int tcp = 0; tcp < 2; tcp++) {
        char url[BUS_URL_BYTES];
        (tcp ? tcp_url : ipc_url)(url);
        pid_t server = spawn_server(url, "echo");
        struct client client;
        connect_client(&client, bus, url, 4);
        bus_peer_redial(client.peer); /* of a healthy one: down, and up again */
        assert_true(support_turn_until_count(loop, &client.ups, 2));
        assert_int_equal(client.downs, 1);
        support_freeze(server);
        for (unsigned i = 0; i < 4; i++) {
            call(&client, "x", 1, TIMEOUT_US);
        }
        bus_peer_redial(client.peer);
        bus_peer_redial(client.peer); /* is gone already */
        uint64_t begin_us = clock_mono_us();
        assert_true(support_turn_until_count(loop, &client.closed, 4));
        assert_true(clock_mono_us() - begin_us < TIMEOUT_US / 2);
        assert_int_equal(client.downs, 2);
        assert_int_equal(bus_peer_outstanding(client.peer), 0);
        support_turn_for(loop, 200000);
        assert_int_equal(client.ups, 2); /* the kernel accepts, but nobody is there */
        support_thaw(server);
        assert_true(support_turn_until_count(loop, &client.ups, 3));
        call_once(&client);
        assert_int_equal(client.ended, 5);
        bus_peer_close(&client.peer);
        support_kill(server, SIGKILL);
    }
}

static void a_server_may_be_closed_and_created_again(void **state) {
    (void)state;
    char url[BUS_URL_BYTES];
    tcp_url(url);
    struct client client = {0};
    struct bus_server *server;
    for (unsigned round = 1; round <= 5; round++) {
        assert_int_equal(
            bus_server_create(bus, url, 8, round % 2 != 0 ? on_keep : on_echo, NULL, &server),
            ERR_OK);
        if (round == 1) {
            connect_client(&client, bus, url, 8);
        }
        assert_true(support_turn_until_count(loop, &client.ups, round));
        call(&client, "x", 1, TIMEOUT_US);
        if (round % 2 != 0) {
            assert_true(support_turn_until_count(loop, &kept_count, 1));
            bus_server_close(&server); /* with a request unanswered */
            assert_true(support_turn_until_count(loop, &client.closed, (round + 1) / 2));
            reply_to_kept();
        } else {
            assert_true(support_turn_until_count(loop, &client.ok, round / 2));
            bus_server_close(&server);
        }
        assert_true(support_turn_until_count(loop, &client.downs, round));
    }
    bus_peer_close(&client.peer);
}

static void an_oversize_message_closes_the_connection(void **state) {
    (void)state;
    char url[BUS_URL_BYTES];
    tcp_url(url);
    struct bus *small;
    struct bus_config config = {.message_bytes_max = 1000};
    assert_int_equal(bus_create(loop, &config, &small), ERR_OK);
    struct bus_server *server;
    assert_int_equal(bus_server_create(small, url, 8, on_echo, NULL, &server), ERR_OK);
    struct client client;
    connect_client(&client, bus, url, 8);
    static const uint8_t bytes[2000];
    call(&client, bytes, 1000, TIMEOUT_US);
    assert_true(support_turn_until_count(loop, &client.ok, 1));
    call(&client, bytes, 2000, TIMEOUT_US);
    assert_true(support_turn_until_count(loop, &client.closed, 1));
    assert_true(support_turn_until_count(loop, &client.downs, 1));
    assert_true(support_turn_until_count(loop, &client.ups, 2));
    call(&client, bytes, 10, TIMEOUT_US);
    assert_true(support_turn_until_count(loop, &client.ok, 2));
    bus_peer_close(&client.peer);
    bus_server_close(&server);
    bus_destroy(&small);
}

/* --- closing at any time */

static size_t open_descriptors(void) {
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    size_t count = 0;
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

static bool all_kept(void *arg) {
    (void)arg;
    return kept_count >= CONTEXTS / 2;
}

static void close_busy_peer(const char *url, bool wait_for_requests) {
    struct client client;
    connect_client(&client, bus, url, CONTEXTS / 2);
    for (unsigned i = 0; i < CONTEXTS / 2; i++) {
        call(&client, "x", 1, wait_for_requests ? TIMEOUT_US : 50000);
    }
    if (wait_for_requests) { /* else most of them are not even sent */
        assert_true(support_turn_until(loop, all_kept, NULL));
    }
    bus_peer_close(&client.peer);
    assert_null(client.peer);
    assert_int_equal(client.closed, CONTEXTS / 2);
    reply_to_kept();
    support_turn_for(loop, 5000);
    reply_to_kept();
    assert_int_equal(client.ended, CONTEXTS / 2);
}

static void closing_a_peer_ends_its_calls_first(void **state) {
    (void)state;
    char url[BUS_URL_BYTES];
    ipc_url(url);
    struct bus_server *server;
    assert_int_equal(bus_server_create(bus, url, CONTEXTS, on_keep, NULL, &server), ERR_OK);
    size_t descriptors = 0;
    for (int round = 0; round < 40; round++) { /* sockets are used again, not piled up */
        close_busy_peer(url, true);
        if (round == 20) {
            descriptors = open_descriptors();
        }
    }
    assert_true(open_descriptors() <= descriptors + 8);
    bus_server_close(&server);
}

static void on_ask_again(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct client *client = user;
    on_reply(status, body, body_bytes, user);
    if (status == ERR_OK) {
        enum err error = bus_call(client->peer, body, body_bytes, TIMEOUT_US, on_ask_again, user);
        assert_true(error == ERR_OK || error == ERR_UNAVAILABLE);
    }
}

/* However a connection is ended, in the middle of a message, too, the loss of another one is still
 * noticed (bus_hangup.c). */
static void connections_end_while_messages_come(void **state) {
    (void)state;
    static const uint8_t bytes[300];
    char urls[3][BUS_URL_BYTES];
    tcp_url(urls[0]);
    ipc_url(urls[1]);
    ipc_url(urls[2]);
    pid_t other = spawn_server(urls[2], "echo");
    struct client watcher;
    connect_client(&watcher, bus, urls[2], 1);
    for (unsigned round = 0; round < 120; round++) {
        struct bus_server *server;
        struct client client;
        const char *url = urls[round % 2];
        assert_int_equal(bus_server_create(bus, url, 32, on_echo, NULL, &server), ERR_OK);
        connect_client(&client, bus, url, 32);
        for (unsigned i = 0; i < 32; i++) {
            assert_int_equal(
                bus_call(client.peer, bytes, sizeof bytes, TIMEOUT_US, on_ask_again, &client),
                ERR_OK);
        }
        assert_true(support_turn_until_count(loop, &client.ok, 100 + round));
        switch (round / 2 % 3) {
        case 0:
            bus_peer_close(&client.peer);
            break;
        case 1:
            bus_server_close(&server);
            assert_true(support_turn_until_count(loop, &client.downs, 1));
            break;
        default:
            bus_peer_redial(client.peer);
            assert_true(support_turn_until_count(loop, &client.ups, 2));
        }
        bus_peer_close(&client.peer);
        bus_server_close(&server);
        assert_true(client.closed <= 32);
    }
    support_kill(other, SIGKILL);
    assert_true(support_turn_until_count(loop, &watcher.downs, 1));
    bus_peer_close(&watcher.peer);
}

/* Not even one that nng dials at once when the old one goes: closing takes no time then. */
static void a_closed_peer_gets_no_new_connection(void **state) {
    (void)state;
    char url[BUS_URL_BYTES];
    ipc_url(url);
    pid_t other = spawn_server(url, "echo");
    uint64_t late = atomic_load(&bus_late_hang_ups);
    for (unsigned round = 0; round < 60; round++) {
        struct client client;
        connect_client(&client, bus, url, 1);
        if (round % 2 == 0) {
            bus_peer_redial(client.peer);
            assert_true(support_turn_until_count(loop, &client.ups, 2));
        }
        bus_peer_close(&client.peer);
    }
    support_kill(other, SIGKILL);
    assert_int_equal(atomic_load(&bus_late_hang_ups), late);
}

static void on_close_self(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct client *client = user;
    on_reply(status, body, body_bytes, user);
    bus_peer_close(&client->peer);
}

static void on_state_close(struct bus_peer *peer, bool up, void *user) {
    struct client *client = user;
    assert_true(up && peer == client->peer);
    client->ups++;
    bus_peer_close(&client->peer);
}

static void a_peer_may_be_closed_in_its_callbacks(void **state) {
    (void)state;
    char url[BUS_URL_BYTES];
    ipc_url(url);
    struct bus_server *server;
    assert_int_equal(bus_server_create(bus, url, 8, on_echo, NULL, &server), ERR_OK);
    struct client client;
    connect_client(&client, bus, url, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(bus_call(client.peer, "x", 1, TIMEOUT_US, on_close_self, &client), ERR_OK);
    }
    assert_true(support_turn_until_count(loop, &client.ended, 4));
    assert_null(client.peer);
    assert_int_equal(client.ok, 1);
    assert_int_equal(client.closed, 3);
    memset(&client, 0, sizeof client);
    assert_int_equal(bus_peer_create(bus, url, 4, on_state_close, &client, &client.peer), ERR_OK);
    assert_true(support_turn_until_count(loop, &client.ups, 1));
    support_turn_for(loop, 20000);
    assert_int_equal(client.ups, 1);
    bus_server_close(&server);
}

static void drop_busy_bus(bool wait_for_requests) {
    char url[BUS_URL_BYTES];
    struct bus *other;
    struct bus_config config = {.message_bytes_max = MESSAGE_BYTES_MAX};
    assert_int_equal(bus_create(loop, &config, &other), ERR_OK);
    tcp_url(url);
    struct bus_server *server;
    assert_int_equal(bus_server_create(other, url, CONTEXTS, on_keep, NULL, &server), ERR_OK);
    struct client client;
    connect_client(&client, other, url, 32);
    for (int i = 0; i < 32; i++) {
        call(&client, "x", 1, TIMEOUT_US);
    }
    if (wait_for_requests) {
        assert_true(support_turn_until_count(loop, &kept_count, 32));
    }
    bus_destroy(&other); /* server and peer are still open, requests unanswered */
    assert_null(other);
    assert_int_equal(client.closed, 32);
    support_turn_for(loop, 2000);
    reply_to_kept(); /* requests outlive the bus */
}

static void the_bus_may_go_while_everything_is_open(void **state) {
    (void)state;
    for (int round = 0; round < 10; round++) {
        drop_busy_bus(true);
    }
}

/* With messages on the wire nng 1.5 may lose one (bus.c), which the leak checker would report here:
 * a process of its own, which ends as services do. */
static int churn(void) {
    if (client_setup(NULL) != 0) {
        return 1;
    }
    support_child_ready();
    char url[BUS_URL_BYTES];
    ipc_url(url);
    struct bus_server *server;
    assert_int_equal(bus_server_create(bus, url, CONTEXTS, on_keep, NULL, &server), ERR_OK);
    for (int round = 0; round < 20; round++) {
        drop_busy_bus(round % 2 == 0);
        close_busy_peer(url, false);
    }
    support_remove_folders();
    return 0;
}

static void closing_works_in_the_middle_of_messages(void **state) {
    (void)state;
    assert_true(support_ended_well(support_spawn((const char *const[]){"churn", NULL})));
}

static void creation_survives_lack_of_memory(void **state) {
    (void)state;
    char url[BUS_URL_BYTES];
    tcp_url(url);
    struct bus_config config = {.message_bytes_max = MESSAGE_BYTES_MAX};
    /* An unusual number of contexts, so that no idle socket is taken and all allocate. */
    for (uint64_t nth = 1; nth <= 2; nth++) {
        struct bus *other = NULL;
        struct bus_server *server = NULL;
        struct bus_peer *peer = NULL;
        (void)mem_fault_set(nth, 1);
        enum err error = bus_server_create(bus, url, 13, on_echo, NULL, &server);
        (void)mem_fault_set(nth, 1);
        enum err peer_error = bus_peer_create(bus, url, 13, NULL, NULL, &peer);
        (void)mem_fault_set(1, 1);
        enum err bus_error = bus_create(loop, &config, &other);
        (void)mem_fault_set(0, 0);
        assert_int_equal(error, ERR_NO_MEMORY);
        assert_int_equal(peer_error, ERR_NO_MEMORY);
        assert_int_equal(bus_error, ERR_NO_MEMORY);
        assert_null(server);
        assert_null(peer);
        assert_null(other);
    }
    bus_destroy(&(struct bus *){NULL});
    bus_server_close(&(struct bus_server *){NULL});
    bus_peer_close(&(struct bus_peer *){NULL});
}

#define BUS_TEST(name) cmocka_unit_test_setup_teardown(name, client_setup, client_teardown)

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "serve") == 0) {
        return serve(argv[2], argv[3]);
    }
    if (argc == 2 && strcmp(argv[1], "churn") == 0) {
        _exit(churn());
    }
    const struct CMUnitTest tests[] = {
        BUS_TEST(a_silent_server_times_out_and_is_disconnected),
        BUS_TEST(a_reply_between_time_outs_keeps_the_connection),
        BUS_TEST(a_killed_server_ends_its_calls_once),
        BUS_TEST(clients_may_give_up_on_a_frozen_server),
        BUS_TEST(a_frozen_server_may_be_given_up),
        BUS_TEST(a_server_may_be_closed_and_created_again),
        BUS_TEST(an_oversize_message_closes_the_connection),
        BUS_TEST(closing_a_peer_ends_its_calls_first),
        BUS_TEST(connections_end_while_messages_come),
        BUS_TEST(a_closed_peer_gets_no_new_connection),
        BUS_TEST(a_peer_may_be_closed_in_its_callbacks),
        BUS_TEST(the_bus_may_go_while_everything_is_open),
        BUS_TEST(closing_works_in_the_middle_of_messages),
        BUS_TEST(creation_survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
