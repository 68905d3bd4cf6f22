/* bus_hangup: ends connections in the one way that nng 1.5 survives: from the reading side.
 *
 * nng reads a message as a header, then a body, and between the two the read belongs to nobody:
 * when the connection is closed just then, by this process or because a write has failed, the rest
 * of the read is never begun nor ended, and nng's one thread that buries connections waits for it
 * for ever. From then on the process notices no lost connection and reconnects to nobody (seen in
 * one of ten closes under load). A connection whose reading ends (end of file, reset) is never
 * caught like that. Therefore:
 *
 * - A write to a peer that is gone succeeds: what was written is lost, as it would be in the
 *   network, and the reading side tells of the end right away.
 * - This process ends a connection by shutting its socket down, waits until nng has buried it, and
 *   closes the dialer or listener then (bus.c).
 *
 * And a handshake written to a peer that has hung up says ECONNRESET where the kernel says EPIPE:
 * nng 1.5 takes the latter for the end of the listener (nng#1518, mended in 1.6), which then serves
 * nobody until the process is restarted. One SIGSTOP of a few seconds was enough: clients that give
 * up meanwhile sit in the kernel's queue.
 *
 * nng calls sendmsg and getsockopt through the dynamic linker, so the definitions here are the ones
 * it gets; for other callers they change nothing. */
#include "common/bus_private.h"

#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

const bool bus_hangup_linked = true;

/* --- writes to a peer that is gone */

static bool is_nng(void *caller) {
    Dl_info info;
    return dladdr(caller, &info) != 0 && info.dli_fname != NULL &&
           strstr(info.dli_fname, "libnng") != NULL;
}

static bool is_handshake(const struct msghdr *message) {
    return message->msg_iovlen == 1 && message->msg_iov[0].iov_len == 8 &&
           memcmp(message->msg_iov[0].iov_base, "\0SP\0", 4) == 0;
}

static ssize_t all_bytes(const struct msghdr *message) {
    size_t bytes = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++) {
        bytes += message->msg_iov[i].iov_len;
    }
    return (ssize_t)bytes;
}

__attribute__((visibility("default"))) ssize_t sendmsg(int fd, const struct msghdr *message,
                                                       int flags) {
    ssize_t sent = (ssize_t)syscall(SYS_sendmsg, fd, message, flags);
    if (sent >= 0 || (errno != EPIPE && errno != ECONNRESET)) {
        return sent;
    }
    int error = errno;
    if (is_nng(__builtin_return_address(0))) {
        if (!is_handshake(message)) {
            return all_bytes(message);
        }
        error = ECONNRESET;
    }
    errno = error;
    return -1;
}

/* --- the socket of a pipe
 *
 * nng tells nobody which it is, but it asks the kernel about it on behalf of an option, while it
 * holds on to the pipe. */

static _Thread_local bool hanging_up, hung_up;

__attribute__((visibility("default"))) int getsockopt(int fd, int level, int name, void *value,
                                                      socklen_t *bytes) {
    if (hanging_up) {
        hung_up = shutdown(fd, SHUT_RDWR) == 0;
    }
    return (int)syscall(SYS_getsockopt, fd, level, name, value, bytes);
}

static bool hang_up_pipe(uint32_t id) {
    nng_pipe pipe = {id};
    uint64_t user = 0;
    bool no_delay = false;
    hung_up = false;
    hanging_up = true;
    (void)nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_UID, &user);
    if (!hung_up) {
        (void)nng_pipe_get_bool(pipe, NNG_OPT_TCP_NODELAY, &no_delay);
    }
    hanging_up = false;
    return hung_up;
}

/* --- the sockets of a listener, those it has accepted and its own: those with its address */

union address {
    struct sockaddr any;
    struct sockaddr_un local;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool has_address(int fd, const char *path, in_port_t port) {
    union address ours;
    socklen_t bytes = sizeof ours;
    memset(&ours, 0, sizeof ours);
    if (getsockname(fd, &ours.any, &bytes) != 0) {
        return false;
    }
    switch (ours.any.sa_family) {
    case AF_UNIX:
        return path != NULL && strncmp(ours.local.sun_path, path, sizeof ours.local.sun_path) == 0;
    case AF_INET:
        return path == NULL && ours.v4.sin_port == port;
    case AF_INET6:
        return path == NULL && ours.v6.sin6_port == port;
    default:
        return false;
    }
}

static bool hang_up_listener(const char *url) {
    static const char ipc[] = "ipc://";
    bool local = strncmp(url, ipc, sizeof ipc - 1) == 0;
    const char *path = local ? url + sizeof ipc - 1 : NULL;
    const char *port = strrchr(url, ':') + 1; /* of a TCP address */
    in_port_t number = local ? 0 : htons((uint16_t)strtoul(port, NULL, 10));
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) {
        return false;
    }
    bool found = false;
    const struct dirent *entry = NULL;
    while ((entry = readdir(directory)) != NULL) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        if (isdigit((unsigned char)entry->d_name[0]) && has_address(fd, path, number)) {
            found = shutdown(fd, SHUT_RDWR) == 0 || found;
        }
    }
    (void)closedir(directory);
    return found;
}

bool bus_hang_up(const struct bus_endpoint *endpoint) {
    return endpoint->listening ? hang_up_listener(endpoint->url)
                               : hang_up_pipe(atomic_load(&endpoint->last_pipe));
}
