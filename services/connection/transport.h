/* transport: bytes of one accepted socket, plain or TLS, without blocking. conn.c knows no other
 * way to a socket. */
#ifndef PIPIT_CONNECTION_TRANSPORT_H
#define PIPIT_CONNECTION_TRANSPORT_H

#include "common/err.h"
#include <stddef.h>
#include <stdint.h>

struct transport;
struct transport_ops {
    /* ERR_OK: done. ERR_MORE: call again when the socket is ready. ERR_CLOSED: failed. */
    enum err (*handshake)(struct transport *transport);
    /* ERR_OK: *count > 0 bytes; there may be more. ERR_MORE: nothing now. ERR_CLOSED: the peer
     * ended or the connection failed. */
    enum err (*read)(struct transport *transport, void *room, size_t room_bytes, size_t *count);
    /* ERR_OK: all of them; ERR_MORE: *count of them (perhaps 0) were taken, the socket is full;
     * ERR_CLOSED. */
    enum err (*write)(struct transport *transport, const void *bytes, size_t bytes_count,
                      size_t *count);
    /* Bytes that read would give although the socket itself has none. */
    bool (*has_pending)(const struct transport *transport);
    /* Nothing more will be written: tells the peer. */
    void (*end)(struct transport *transport);
    /* Closes the descriptor and frees what belongs to it. */
    void (*close)(struct transport *transport);
};
struct transport {
    const struct transport_ops *ops;
    void *tls; /* SSL * */
    int fd;
    /* TLS: the first bytes of a refused write, which the next write must begin with. */
    uint32_t committed_bytes;
    bool wants_write; /* the last read or handshake waits for the socket to take bytes */
};

/* fd is moved in. */
void transport_tcp_init(struct transport *transport, int fd);
/* tls_context: SSL_CTX * to make the connection from, its reference stays the caller's. fd is moved
 * in on success alone. ERR_NO_MEMORY. */
enum err transport_tls_init(struct transport *transport, int fd, void *tls_context) MUST_CHECK;

#endif
