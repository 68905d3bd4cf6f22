/* support_http: a plain HTTP client for tests, byte by byte, so that malformed and slow requests
 * can be sent too. Every read is bounded by 20 s: a test that would hang fails instead. */
#ifndef PIPIT_TESTS_UNIT_COMMON_SUPPORT_HTTP_H
#define PIPIT_TESTS_UNIT_COMMON_SUPPORT_HTTP_H

#include <stddef.h>
#include <stdint.h>

struct support_reply {
    int status; /* 0 = the connection ended without an answer */
    char head[4096];
    char body[65536];
    size_t body_bytes;
};

/* A connection to 127.0.0.1; the caller closes it. -1 when it is refused. */
int support_http_connect(uint16_t port);
/* 0 when all was sent, -1 when the peer closed. */
int support_http_send(int fd, const void *bytes, size_t count);
/* One answer; has_body is false for HEAD. */
void support_http_read(int fd, struct support_reply *reply, int has_body);
/* Reads until the peer closes; 0 when it did, -1 when it still had something to say. */
int support_http_closed(int fd);
/* One request on a connection of its own. */
void support_http_get(uint16_t port, const char *path, struct support_reply *reply);

#endif
