/* discovery: which instances of a service exist. The specification is a comma-separated list of
 * base addresses; the host of a tcp:// or tls+tcp:// address is resolved to all its A and AAAA
 * records again every 2 s (a Kubernetes headless service lists its ready pods so); ipc:// and
 * literal addresses are static. A name that fails to resolve keeps the addresses it had last: a
 * name server that restarts must not take the service away. */
#ifndef PIPIT_COMMON_DISCOVERY_H
#define PIPIT_COMMON_DISCOVERY_H

#include "common/loop.h"

#define DISCOVERY_INTERVAL_US 2000000u
#define DISCOVERY_ADDRESSES_MAX 64 /* more are left out, the last in order first */
#define DISCOVERY_SOURCES_MAX 16   /* entries in a specification */

struct discovery;
/* Called on the loop with the whole list, sorted and without duplicates, only when it changed; the
 * first time soon after creation (never inside discovery_create), not at all while it is empty.
 * Texts are borrowed, IPv6 hosts in brackets. May not destroy the discovery. */
typedef void (*discovery_fn)(const char *const *addresses, size_t count, void *user);
/* ERR_INVALID: the specification is malformed (each entry as bus_url_derive takes it; blanks around
 * commas are allowed); ERR_TOO_LARGE: too many or too long entries; ERR_NO_MEMORY; ERR_FULL: no
 * thread. Names are resolved on a thread of their own, which may block. "localhost" can be two
 * addresses, hence two instances: write 127.0.0.1. */
enum err discovery_create(struct loop *loop, const char *specification, discovery_fn on_change,
                          void *user, struct discovery **out) MUST_CHECK;
/* Does not wait for a resolution under way; no callback afterwards. */
void discovery_destroy(struct discovery **discovery);

/* --- tests only: replaces getaddrinfo for all discoveries created from now on; NULL restores it.
 * Called on the resolving thread: writes up to max numeric addresses (no brackets) and their count;
 * any error keeps what was known. */
#define DISCOVERY_HOST_BYTES 46 /* INET6_ADDRSTRLEN */
typedef enum err (*discovery_resolve_fn)(const char *host, char (*addresses)[DISCOVERY_HOST_BYTES],
                                         size_t max, size_t *count);
void discovery_set_resolver(discovery_resolve_fn resolver);

#endif
