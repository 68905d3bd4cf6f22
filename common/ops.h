/* ops: the operations port of a service: /livez (the loop turns), /readyz[?verbose] (dependencies),
 * /metrics. Not for the public network. */
#ifndef PIPIT_COMMON_OPS_H
#define PIPIT_COMMON_OPS_H

#include "common/err.h"
#include "common/loop.h"

struct ops;
/* One readiness check: set from the loop (or any thread), read by the port. Static storage. */
struct ops_check {
    const char *name;           /* "store", "bus", "keys" */
    _Atomic bool ready;         /* starts false */
    const char *_Atomic detail; /* static text, or NULL */
    struct ops_check *next;
};

/* Serves on `listen`. `loop` proves liveness: once it has begun to turn, /livez fails when it has
 * not turned for 5 s. Call and destroy on the loop's thread. Errors as http_server_create. */
enum err ops_create(struct loop *loop, const char *listen, struct ops **out) MUST_CHECK;
void ops_destroy(struct ops **ops);
void ops_check_add(struct ops *ops, struct ops_check *check); /* before the first request matters */
void ops_drain(struct ops *ops);          /* /readyz fails from now on: "draining" */
bool ops_is_ready(struct ops *ops);       /* all checks ready and not draining; any thread */
uint16_t ops_port(const struct ops *ops); /* the port in use, for listen ":0" in tests */

#endif
