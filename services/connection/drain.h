/* drain: says goodbye to all clients of one event loop before the process ends: answers first, then
 * "come back in a moment", paced so that the other instances are not run over. */
#ifndef PIPIT_CONNECTION_DRAIN_H
#define PIPIT_CONNECTION_DRAIN_H

#include "services/connection/conn.h"

struct drain {
    struct conn_table *table;
    struct loop_timer timer;
    uint64_t per_second;
    uint64_t begun_us, last_us, goodbye_until_us, drop_at_us, end_us;
    uint64_t credit; /* goodbyes allowed now, x 1e6 */
    bool left;
    void (*on_done)(void *user);
    void *user;
};
/* The listeners are closed already. per_second: of this loop. Takes at most allowed_us; on_done is
 * called once, when no connection is left and routing knows that the endpoint is gone. */
void drain_begin(struct drain *drain, struct conn_table *table, uint64_t per_second,
                 uint64_t allowed_us, void (*on_done)(void *user), void *user);

#endif
