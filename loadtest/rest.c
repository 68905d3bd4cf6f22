/* rest: answers are read to their Content-Length, which Pipit always sends. */
#include "loadtest/rest.h"

#include "common/contract.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define REST_BYTES_MAX (1u << 20)
#define REST_READ_BYTES 16384u

static void disconnect(struct rest_link *link) {
    if (link->watch.fd >= 0) {
        int fd = link->watch.fd;
        loop_fd_remove(link->loop, &link->watch);
        (void)close(fd); /* nothing is owed to it */
    }
    link->connected = false;
    buf_clear(&link->in);
}

static void answer(struct rest_link *link, const struct rest_answer *told) {
    link->busy = false;
    link->on_answer(link, told);
}

static void fail(struct rest_link *link) {
    disconnect(link);
    buf_clear(&link->out);
    if (link->busy) {
        answer(link, &(struct rest_answer){.body = ""});
    }
}

static void watch_for(struct rest_link *link, uint32_t events) {
    if (loop_fd_set_events(link->loop, &link->watch, events) != ERR_OK) {
        fail(link);
    }
}

static void flush(struct rest_link *link) {
    while (buf_len(&link->out) > 0) {
        ssize_t written =
            send(link->watch.fd, buf_data(&link->out), buf_len(&link->out), MSG_NOSIGNAL);
        if (written < 0) {
            if (errno != EAGAIN) {
                fail(link);
                return;
            }
            break;
        }
        buf_consume(&link->out, (size_t)written);
    }
    watch_for(link, EPOLLIN | (buf_len(&link->out) > 0 ? (uint32_t)EPOLLOUT : 0u));
}

/* The number of a header, 0 when it is not there. */
static uint32_t header_number(const char *head, const char *name) {
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, strlen(name)) == 0) {
            return (uint32_t)strtoul(line + 2 + strlen(name), NULL, 10);
        }
    }
    return 0;
}

static void parse(struct rest_link *link) {
    const char *text = (const char *)buf_data(&link->in);
    const char *end = memmem(text, buf_len(&link->in), "\r\n\r\n", 4);
    if (end == NULL) {
        return;
    }
    size_t head_bytes = (size_t)(end - text) + 4;
    char *head = strndup(text, head_bytes - 2);
    CONTRACT(head != NULL);
    size_t body_bytes = header_number(head, "Content-Length:");
    struct rest_answer told = {.retry_after_s = header_number(head, "Retry-After:")};
    bool closes = strcasestr(head, "\r\nConnection: close\r\n") != NULL;
    if (sscanf(head, "HTTP/1.1 %d", &told.status) != 1) {
        told.status = 0;
    }
    free(head);
    if (buf_len(&link->in) < head_bytes + body_bytes) {
        return;
    }
    char *body = strndup(text + head_bytes, body_bytes);
    CONTRACT(body != NULL);
    told.body = body;
    buf_consume(&link->in, head_bytes + body_bytes);
    if (closes) {
        disconnect(link);
    }
    answer(link, &told);
    free(body);
}

static void on_ready(struct loop_fd *watch, uint32_t events) {
    struct rest_link *link = CONTAINER_OF(watch, struct rest_link, watch);
    if (!link->connected) {
        int problem = 0;
        socklen_t length = sizeof problem;
        if (getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &problem, &length) != 0 || problem != 0) {
            fail(link);
            return;
        }
        link->connected = true;
        flush(link);
        return;
    }
    if ((events & EPOLLOUT) != 0) {
        flush(link);
    }
    uint8_t *room = NULL;
    if (link->watch.fd < 0 || (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) {
        return;
    }
    CONTRACT(buf_reserve(&link->in, REST_READ_BYTES, &room) == ERR_OK);
    ssize_t got = recv(link->watch.fd, room, REST_READ_BYTES, 0);
    if (got > 0) {
        buf_commit(&link->in, (size_t)got);
        parse(link);
    } else if (got == 0 || errno != EAGAIN) {
        fail(link);
    }
}

static void dial(struct rest_link *link) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(link->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 ||
        (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS) ||
        loop_fd_add(link->loop, &link->watch, fd, EPOLLIN | EPOLLOUT, on_ready) != ERR_OK) {
        perror("pipit-load: a REST connection");
        exit(1);
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* slower without it */
}

void rest_create(struct rest_link *link, struct loop *loop, uint16_t port, rest_fn on_answer) {
    *link = (struct rest_link){.loop = loop, .port = port, .on_answer = on_answer};
    link->watch.fd = -1;
    buf_init(&link->in, REST_BYTES_MAX);
    buf_init(&link->out, REST_BYTES_MAX);
}

void rest_destroy(struct rest_link *link) {
    disconnect(link);
    buf_finish(&link->in);
    buf_finish(&link->out);
}

void rest_ask(struct rest_link *link, const char *method, const char *path, const char *token,
              const char *body) {
    CONTRACT(!link->busy);
    link->busy = true;
    CONTRACT(buf_append_format(&link->out,
                               "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s%s%s"
                               "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                               method, path, token != NULL ? "Authorization: Bearer " : "",
                               token != NULL ? token : "", token != NULL ? "\r\n" : "",
                               strlen(body), body) == ERR_OK);
    if (link->watch.fd < 0) {
        dial(link);
    } else if (link->connected) {
        flush(link);
    }
}

bool rest_text_member(const char *body, const char *name, char *out, size_t bytes) {
    char key[64];
    (void)snprintf(key, sizeof key, "\"%s\":\"", name);
    const char *begin = strstr(body, key);
    const char *end = begin != NULL ? strchr(begin + strlen(key), '"') : NULL;
    if (end == NULL) {
        return false;
    }
    begin += strlen(key);
    size_t length = (size_t)(end - begin);
    if (length >= bytes) {
        return false;
    }
    memcpy(out, begin, length);
    out[length] = '\0';
    return true;
}
