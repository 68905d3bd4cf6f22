/* transport_tcp: a plain socket. One read or write a call: the loop is level-triggered, so what is
 * left shows again in the next turn, and no client can keep a turn to itself. */
#include "services/connection/transport.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static enum err tcp_handshake(struct transport *transport) {
    (void)transport; /* nothing to agree on */
    return ERR_OK;
}

static enum err tcp_read(struct transport *transport, void *room, size_t room_bytes,
                         size_t *count) {
    ssize_t got = recv(transport->fd, room, room_bytes, 0);
    if (got > 0) {
        *count = (size_t)got;
        return ERR_OK;
    }
    return got < 0 && (errno == EAGAIN || errno == EINTR) ? ERR_MORE : ERR_CLOSED;
}

static enum err tcp_write(struct transport *transport, const void *bytes, size_t bytes_count,
                          size_t *count) {
    ssize_t put = send(transport->fd, bytes, bytes_count, MSG_NOSIGNAL);
    if (put < 0) {
        *count = 0;
        return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? ERR_MORE : ERR_CLOSED;
    }
    *count = (size_t)put;
    return *count == bytes_count ? ERR_OK : ERR_MORE;
}

static bool tcp_has_pending(const struct transport *transport) {
    (void)transport; /* the kernel holds everything */
    return false;
}

static void tcp_end(struct transport *transport) {
    (void)shutdown(transport->fd, SHUT_WR); /* fails only when the peer is gone already */
}

static void tcp_close(struct transport *transport) {
    (void)close(transport->fd); /* nothing to do about a failed close */
    transport->fd = -1;
}

static const struct transport_ops tcp_ops = {tcp_handshake,   tcp_read, tcp_write,
                                             tcp_has_pending, tcp_end,  tcp_close};

void transport_tcp_init(struct transport *transport, int fd) {
    *transport = (struct transport){.ops = &tcp_ops, .fd = fd};
}
