/* support_http: see the header. The answer's end is found by Content-Length alone, because that is
 * what our server promises to send. */
#include "tests/unit/common/support_http.h"
#include "tests/unit/common/support_process.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

int support_http_connect(uint16_t port) {
    const struct timeval patience = {.tv_sec = 20};
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

int support_http_send(int fd, const void *bytes, size_t count) {
    const uint8_t *at = bytes;
    while (count > 0) {
        ssize_t sent = send(fd, at, count, MSG_NOSIGNAL);
        if (sent <= 0) {
            return -1;
        }
        at += sent;
        count -= (size_t)sent;
    }
    return 0;
}

static size_t read_head(int fd, struct support_reply *reply) {
    size_t count = 0;
    while (count + 1 < sizeof(reply->head)) {
        ssize_t got = recv(fd, reply->head + count, 1, 0);
        if (got <= 0) {
            return 0;
        }
        count++;
        reply->head[count] = '\0';
        if (count >= 4 && memcmp(reply->head + count - 4, "\r\n\r\n", 4) == 0) {
            return count;
        }
    }
    return 0;
}

void support_http_read(int fd, struct support_reply *reply, int has_body) {
    memset(reply, 0, sizeof(*reply));
    do { /* "100 Continue" comes before the answer */
        if (read_head(fd, reply) == 0) {
            reply->status = 0;
            return;
        }
        assert_int_equal(sscanf(reply->head, "HTTP/1.1 %d", &reply->status), 1);
    } while (reply->status == 100);
    const char *length = strcasestr(reply->head, "\r\nContent-Length:");
    assert_non_null(length);
    size_t expected = has_body ? strtoul(length + 17, NULL, 10) : 0;
    assert_true(expected < sizeof(reply->body));
    while (reply->body_bytes < expected) {
        ssize_t got = recv(fd, reply->body + reply->body_bytes, expected - reply->body_bytes, 0);
        assert_true(got > 0);
        reply->body_bytes += (size_t)got;
    }
    reply->body[reply->body_bytes] = '\0';
}

int support_http_closed(int fd) {
    char byte = 0;
    ssize_t got = recv(fd, &byte, 1, 0);
    assert_true(got >= 0 || errno == ECONNRESET);
    return got > 0 ? -1 : 0;
}

void support_http_get(uint16_t port, const char *path, struct support_reply *reply) {
    char request[1024];
    int fd = support_http_connect(port);
    assert_true(fd >= 0);
    int length = snprintf(request, sizeof(request),
                          "GET %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", path);
    assert_int_equal(support_http_send(fd, request, (size_t)length), 0);
    support_http_read(fd, reply, 1);
    (void)close(fd);
}
