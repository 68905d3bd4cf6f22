/* bus_hangup: keeps nng's listeners alive when a client goes in the middle of the handshake.
 *
 * A client that dials a frozen process sits in the kernel's queue of that listener. When it gives
 * up or is killed before the process wakes up, nng accepts a dead connection, and its first write
 * fails with EPIPE. nng 1.5.2 takes that error for the closing of the listener itself (nng#1518,
 * mended in 1.6): connections are accepted from then on but never served, until the process is
 * restarted. One SIGSTOP of a few seconds was enough (measured over ipc; over tcp the kernel says
 * ECONNRESET, which nng understands).
 *
 * nng calls sendmsg through the dynamic linker, so the definition here is the one it gets. It says
 * ECONNRESET where the kernel says EPIPE: true as well, and harmless to everybody else. */
#include "common/bus_private.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

const bool bus_hangup_linked = true;

__attribute__((visibility("default"))) ssize_t sendmsg(int fd, const struct msghdr *message,
                                                       int flags) {
    ssize_t sent = (ssize_t)syscall(SYS_sendmsg, fd, message, flags);
    if (sent < 0 && errno == EPIPE) {
        errno = ECONNRESET;
    }
    return sent;
}
