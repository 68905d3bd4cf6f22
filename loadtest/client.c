/* The socket side of a simulated client: non-blocking connect, one read and one write a turn,
 * growable buffers. The generator must cost much less than the server it measures, so nothing here
 * parses more than it needs: a received message is searched for the mark that the sender put into
 * its text. */
#include "loadtest/client.h"

#include "common/contract.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES 65536

static void give_up(const char *what) {
    perror(what);
    exit(1);
}

void client_close(struct client *client) {
    if (client->watch.fd >= 0) {
        int fd = client->watch.fd;
        loop_fd_remove(client->loop, &client->watch);
        (void)close(fd); /* nothing is owed to it */
    }
    client->connected = client->ready = client->upgraded = false;
}

static void lost(struct client *client) {
    client_close(client);
    client->events->on_closed(client);
}

void client_flush(struct client *client) {
    while (client->watch.fd >= 0 && client->connected && buf_len(&client->out) > 0) {
        ssize_t written =
            send(client->watch.fd, buf_data(&client->out), buf_len(&client->out), MSG_NOSIGNAL);
        if (written < 0) {
            if (errno == EAGAIN) {
                break;
            }
            lost(client);
            return;
        }
        buf_consume(&client->out, (size_t)written);
    }
    if (client->watch.fd >= 0) {
        uint32_t events = EPOLLIN | (buf_len(&client->out) > 0 ? (uint32_t)EPOLLOUT : 0u);
        if (loop_fd_set_events(client->loop, &client->watch, events) != ERR_OK) {
            give_up("epoll_ctl");
        }
    }
}

static void read_ready(struct client *client) {
    uint8_t *room = NULL;
    if (buf_reserve(&client->in, READ_BYTES, &room) != ERR_OK) {
        give_up("memory");
    }
    ssize_t got = recv(client->watch.fd, room, READ_BYTES, 0);
    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0) {
        lost(client);
        return;
    }
    buf_commit(&client->in, (size_t)got);
    if (!client->protocol->parse(client)) {
        lost(client);
        return;
    }
    buf_shrink(&client->in);
    client_flush(client);
}

static void on_ready(struct loop_fd *watch, uint32_t events) {
    struct client *client = CONTAINER_OF(watch, struct client, watch);
    if (!client->connected) {
        int problem = 0;
        socklen_t length = sizeof problem;
        (void)getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &problem, &length);
        if (problem != 0) {
            lost(client);
            return;
        }
        client->connected = true;
        client->protocol->greet(client);
        client_flush(client);
        return;
    }
    if ((events & EPOLLOUT) != 0) {
        client_flush(client);
    }
    if (client->watch.fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        read_ready(client);
    }
}

void client_open(struct client *client) {
    CONTRACT(client->watch.fd < 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(client->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        give_up("socket");
    }
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS) {
        give_up("connect");
    }
    buf_clear(&client->in);
    buf_clear(&client->out);
    if (loop_fd_add(client->loop, &client->watch, fd, EPOLLIN | EPOLLOUT, on_ready) != ERR_OK) {
        give_up("epoll_ctl");
    }
}

void client_report_mark(struct client *client, const uint8_t *payload, size_t bytes) {
    const uint8_t *mark = memchr(payload, '~', bytes);
    if (mark == NULL) {
        return;
    }
    char text[64];
    size_t left = bytes - (size_t)(mark - payload) - 1;
    size_t length = left < sizeof text - 1 ? left : sizeof text - 1;
    memcpy(text, mark + 1, length);
    text[length] = '\0';
    char *end = NULL;
    unsigned long sender = strtoul(text, &end, 10);
    unsigned long number = *end == '.' ? strtoul(end + 1, &end, 10) : 0;
    uint64_t sent_us = *end == '.' ? strtoull(end + 1, &end, 10) : 0;
    if (*end == '~') {
        client->events->on_message(client, (uint32_t)sender, (uint32_t)number, sent_us);
    }
}
