/* discovery: which instances of a service exist. The specification is a comma-separated list of base
 * addresses; the host of a tcp:// or tls+tcp:// address is resolved to all its A and AAAA records
 * again every 2 s (a Kubernetes headless service lists its ready pods so); ipc:// and literal
 * addresses are static. Two failed resolutions in a row keep the last known list. */
#ifndef PIPIT_COMMON_DISCOVERY_H
#define PIPIT_COMMON_DISCOVERY_H

#include "common/loop.h"

#define DISCOVERY_INTERVAL_US 2000000u
#define DISCOVERY_ADDRESSES_MAX 64

struct discovery;
/* Called on the loop with the whole sorted list, only when it changed; texts are borrowed. */
typedef void (*discovery_fn)(const char *const *addresses, size_t count, void *user);
/* ERR_INVALID: the specification is malformed. Resolution runs on its own thread. */
enum err discovery_create(struct loop *loop, const char *specification, discovery_fn on_change,
                          void *user, struct discovery **out) MUST_CHECK;
void discovery_destroy(struct discovery **discovery);

#endif
