/* listener: accepts in bounded bursts and survives running out of descriptors.
 *
 * When accept fails for lack of descriptors the pending connection stays in the queue, epoll
 * reports it again at once, and a naive loop spins at full speed. Here a spare descriptor is given
 * up for a moment to accept and close that connection, so the client is not left hanging, and
 * accepting pauses for a tenth of a second. */
#include "services/connection/listener.h"

#include "common/contract.h"
#include "common/http_listen.h"
#include "common/log.h"
#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <unistd.h>

#define LISTENER_BACKLOG 1024 /* bounded by net.core.somaxconn */
#define LISTENER_BURST 64     /* accepted per turn, so that open sockets get theirs */
#define LISTENER_PAUSE_US 100000u

struct listener {
    struct loop_fd watch;
    struct loop_timer pause;
    struct conn_table *table;
    const struct conn_protocol *protocol;
    struct tls_context *tls;
    int spare_fd; /* -1 = could not be had again */
};

enum err listen_address_claim(const char *text, struct listen_address *out) {
    struct listen_address found = {.bytes = sizeof found.address};
    uint16_t port = 0;
    int fd = -1;
    enum err error = http_listen_open(text, &fd, &port);
    if (error != ERR_OK) {
        return error;
    }
    if (getsockname(fd, (struct sockaddr *)&found.address, &found.bytes) != 0) {
        error = err_from_errno(errno);
    }
    (void)close(fd); /* it only held the place */
    if (error == ERR_OK) {
        *out = found;
    }
    return error;
}

uint16_t listen_address_port(const struct listen_address *address) {
    const struct sockaddr *any = (const struct sockaddr *)&address->address;
    return ntohs(any->sa_family == AF_INET6
                     ? ((const struct sockaddr_in6 *)(const void *)any)->sin6_port
                     : ((const struct sockaddr_in *)(const void *)any)->sin_port);
}

/* --- accepting */

static void on_pause_over(struct loop_timer *timer) {
    struct listener *listener = CONTAINER_OF(timer, struct listener, pause);
    if (listener->spare_fd < 0) {
        listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    if (loop_fd_set_events(listener->table->loop, &listener->watch, EPOLLIN) != ERR_OK) {
        loop_timer_start(listener->table->loop, timer, LISTENER_PAUSE_US, on_pause_over);
    }
}

static void out_of_files(struct listener *listener) {
    static struct log_limit limit;
    connection_metrics_limit(LIMIT_HIT_FILES);
    if (log_allowed(&limit, 1)) {
        log_event(LOG_ERROR,
                  "no file descriptor for a new connection: it is refused; raise the limit "
                  "of open files (ulimit -n, LimitNOFILE=)");
    }
    if (listener->spare_fd >= 0) {
        (void)close(listener->spare_fd);
        int fd = accept4(listener->watch.fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            (void)close(fd);
        }
        listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    if (loop_fd_set_events(listener->table->loop, &listener->watch, 0) == ERR_OK) {
        loop_timer_start(listener->table->loop, &listener->pause, LISTENER_PAUSE_US, on_pause_over);
    }
}

static void welcome(struct listener *listener, int fd, const struct sockaddr *peer) {
    struct conn_table *table = listener->table;
    static struct log_limit limit;
    struct limits_share share;
    enum reason refusal = limits_enter(table->limits, peer, &share);
    if (refusal != REASON_OK && log_allowed(&limit, 1)) {
        char address[HTTP_ADDRESS_BYTES];
        http_listen_format(peer, address);
        log_event(LOG_WARN, "connection refused", F_TEXT("proto", listener->protocol->name),
                  F_TEXT("address", address),
                  F_TEXT("limit", refusal == REASON_OVERLOAD ? "connections_max"
                                                             : "connections_per_address_max"));
    }
    if (!share.counted) {
        (void)close(fd);
        return;
    }
    void *tls = listener->tls != NULL ? tls_context_take(listener->tls) : NULL;
    enum err error = conn_open(table, listener->protocol, fd, tls, &share, refusal);
    if (tls != NULL) {
        tls_context_give(tls);
    }
    if (error != ERR_OK) {
        limits_leave(table->limits, &share);
        (void)close(fd);
    }
}

static void on_ready(struct loop_fd *watch, uint32_t events) {
    struct listener *listener = CONTAINER_OF(watch, struct listener, watch);
    (void)events; /* accept tells */
    for (int i = 0; i < LISTENER_BURST; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t bytes = sizeof peer;
        int fd = accept4(watch->fd, (struct sockaddr *)&peer, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            welcome(listener, fd, (struct sockaddr *)&peer);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            out_of_files(listener);
            return;
        } else if (errno == EAGAIN) {
            return;
        } /* else that one is gone already: ECONNABORTED and network errors, see accept(2) */
    }
}

/* --- life */

static enum err open_socket(const struct listen_address *address, int *out) {
    int on = 1;
    int off = 0;
    int family = address->address.ss_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0 ||
        (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0) ||
        bind(fd, (const struct sockaddr *)&address->address, address->bytes) != 0 ||
        listen(fd, LISTENER_BACKLOG) != 0) {
        enum err error = errno == EADDRINUSE ? ERR_EXISTS : err_from_errno(errno);
        (void)close(fd);
        return error;
    }
    *out = fd;
    return ERR_OK;
}

enum err listener_create(struct conn_table *table, const struct conn_protocol *protocol,
                         struct tls_context *tls, const struct listen_address *address,
                         struct listener **out) {
    struct listener *listener = mem_zalloc(1, sizeof *listener);
    if (listener == NULL) {
        return ERR_NO_MEMORY;
    }
    listener->table = table;
    listener->protocol = protocol;
    listener->tls = tls;
    listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int fd = -1;
    enum err error = open_socket(address, &fd);
    if (error == ERR_OK) {
        error = loop_fd_add(table->loop, &listener->watch, fd, EPOLLIN, on_ready);
        if (error != ERR_OK) {
            (void)close(fd);
        }
    }
    if (error != ERR_OK) {
        if (listener->spare_fd >= 0) {
            (void)close(listener->spare_fd);
        }
        mem_free(listener);
        return error;
    }
    *out = listener;
    return ERR_OK;
}

void listener_destroy(struct listener **listener) {
    struct listener *gone = *listener;
    if (gone == NULL) {
        return;
    }
    *listener = NULL;
    loop_timer_stop(gone->table->loop, &gone->pause);
    loop_fd_remove(gone->table->loop, &gone->watch);
    (void)close(gone->watch.fd);
    if (gone->spare_fd >= 0) {
        (void)close(gone->spare_fd);
    }
    mem_free(gone);
}
