/* fake_net: one event loop, one connection table and socket pairs into it, with frozen clocks.
 * Include in one file of a test program. */
#ifndef PIPIT_TESTS_FAKE_NET_H
#define PIPIT_TESTS_FAKE_NET_H

#include "common/clock.h"
#include "common/contract.h"
#include "common/mem.h"
#include "services/connection/conn.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NET_WALL_MS 1800000000000ull

static struct {
    struct loop *loop;
    struct connection_settings settings;
    struct limits limits;
    struct conn_table *table;
    uint8_t read[4u << 20]; /* what a client has received and the test not looked at */
    size_t read_bytes;
    bool closed;
    uint64_t fault_nth; /* this allocation behind the next net_connect fails; 0 = none */
} net;

static void net_start(void) {
    clock_fake_on(1000000000ull, NET_WALL_MS);
    net.settings = (struct connection_settings){.connections_max = 100,
                                                .connections_per_address_max = 100,
                                                .login_timeout_us = 10000000,
                                                .heartbeat_us = 25000000,
                                                .send_queue_bytes_max = 262144,
                                                .unsent_bytes_max = 134217728,
                                                .inflight_per_session_max = 4,
                                                .messages_per_second = 0,
                                                .messages_burst = 1000,
                                                .frame_bytes_max = 65536,
                                                .text_bytes_max = 16384,
                                                .mqtt_packet_bytes_max = 131072,
                                                .mqtt_session_expiry_max_us = 86400000000ull,
                                                .drain_per_second = 500,
                                                .allowed_origins = ""};
    CONTRACT(loop_create(16, &net.loop) == ERR_OK);
    CONTRACT(limits_init(&net.limits, &net.settings) == ERR_OK);
    CONTRACT(conn_table_create(net.loop, NULL, &net.settings, &net.limits, &net.table) == ERR_OK);
    net.read_bytes = 0;
    net.closed = false;
}

static void net_stop(void) {
    conn_table_destroy(&net.table);
    CONTRACT(atomic_load(&net.limits.connections) == 0);
    CONTRACT(atomic_load(&net.limits.unsent_bytes) == 0);
    limits_finish(&net.limits);
    loop_destroy(&net.loop);
    clock_fake_off();
}

/* Some turns without waiting: enough for a request, its answer and their consequences. */
static void net_turn(void) {
    for (int i = 0; i < 6; i++) {
        CONTRACT(loop_turn(net.loop, 0) == ERR_OK);
    }
}

/* In steps, so that what one deadline starts is seen by the next. */
static inline void net_advance(uint64_t us) {
    while (us > 0) {
        uint64_t step = us < 250000 ? us : 250000;
        clock_fake_advance_us(step);
        us -= step;
        net_turn();
    }
}

/* Returns the client's end. */
static int net_connect(const struct conn_protocol *protocol, enum reason refusal) {
    int ends[2];
    struct limits_share share;
    struct sockaddr peer = {.sa_family = AF_UNIX};
    CONTRACT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    CONTRACT(limits_enter(&net.limits, &peer, &share) == REASON_OK);
    CONTRACT(conn_open(net.table, protocol, ends[0], NULL, &share, refusal) == ERR_OK);
    if (net.fault_nth > 0) {
        (void)mem_fault_set(net.fault_nth, 1);
    }
    return ends[1];
}

static inline void net_send(int fd, const void *bytes, size_t count) {
    CONTRACT(send(fd, bytes, count, MSG_NOSIGNAL) == (ssize_t)count);
    net_turn();
}

/* Takes everything the server has written so far. */
static void net_receive(int fd) {
    net_turn();
    while (true) {
        ssize_t got = recv(fd, net.read + net.read_bytes, sizeof net.read - net.read_bytes, 0);
        if (got == 0) {
            net.closed = true;
            return;
        }
        if (got < 0) {
            net.closed = net.closed || errno != EAGAIN;
            return;
        }
        net.read_bytes += (size_t)got;
        CONTRACT(net.read_bytes < sizeof net.read);
        net_turn();
    }
}

static inline void net_drop_read(size_t bytes) {
    CONTRACT(bytes <= net.read_bytes);
    memmove(net.read, net.read + bytes, net.read_bytes - bytes);
    net.read_bytes -= bytes;
}

static inline void net_hang_up(int fd) {
    CONTRACT(close(fd) == 0);
    net_turn();
}

#endif
