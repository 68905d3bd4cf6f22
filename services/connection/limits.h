/* limits: what the whole process may hold of clients, shared by all event loops: connections,
 * connections per address, unsent bytes. Each bound has a counter (pipit_limit_hits_total). */
#ifndef PIPIT_CONNECTION_LIMITS_H
#define PIPIT_CONNECTION_LIMITS_H

#include "proto/reason.h"
#include "services/connection/address_table.h"
#include "services/connection/settings.h"
#include <stdatomic.h>

/* Sockets above connections_max or the address's share that are kept for a moment, so that the
 * refusal can be said in the client's own protocol. Beyond it a socket is just closed. */
#define LIMITS_REFUSALS_MAX 256

struct limits {
    uint64_t connections_max;
    uint64_t connections_per_address_max;
    uint64_t unsent_bytes_max;
    struct address_table *addresses;
    atomic_uint_fast64_t connections;
    atomic_uint_fast64_t refusals; /* beside `connections` */
    atomic_uint_fast64_t unsent_bytes;
};

/* Raises the soft limit of open files to the hard one and lowers connections_max, with a warning,
 * to what that allows. Once, before threads start. */
enum err limits_init(struct limits *limits, const struct connection_settings *settings) MUST_CHECK;
void limits_finish(struct limits *limits);

/* What one accepted socket holds. */
struct limits_share {
    struct address_entry *address; /* NULL: a refusal */
    bool counted, refused;
};
/* REASON_OK: go on. REASON_OVERLOAD or REASON_TOO_MANY_SESSIONS with share->counted: tell the
 * client, then close; without: close at once. In every case limits_leave must follow. Any thread.
 */
enum reason limits_enter(struct limits *limits, const struct sockaddr *peer,
                         struct limits_share *share) MUST_CHECK;
void limits_leave(struct limits *limits, struct limits_share *share);
/* The bytes waiting for one connection changed. Any thread. */
void limits_unsent(struct limits *limits, int64_t difference);
/* True when all connections together hold more than they may. */
bool limits_unsent_exceeded(const struct limits *limits);

#endif
