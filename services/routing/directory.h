/* directory: which endpoint (one event loop of a connection instance) cares about which
 * conversation, and which sessions it has. What interest.c is told ends here; fan-out only reads.
 */
#ifndef PIPIT_ROUTING_DIRECTORY_H
#define PIPIT_ROUTING_DIRECTORY_H

#include "services/routing/delivery_batch.h"
#include "services/routing/endpoint_set.h"
#include "services/routing/sessions.h"

#define ENDPOINT_ADDRESS_BYTES 96

struct endpoint {
    struct map_node node;
    struct list_node dirty_node; /* fanout: deliveries wait for the end of the turn */
    uint64_t id;                 /* also its stream topic */
    size_t slot;
    uint64_t era;        /* of its last snapshot */
    uint64_t update_seq; /* last one applied */
    uint64_t heard_us;   /* when its lease was last renewed */
    bool in_step;        /* false: an update was applied by half; needs a snapshot */
    bool released;       /* while we drain: it sends us nothing more */
    size_t interest_count;
    struct list sessions; /* of struct known_session */
    struct delivery_batch outbox;
    char address[ENDPOINT_ADDRESS_BYTES]; /* for logs */
};
struct directory;
struct directory_limits {
    size_t interests_max, interests_per_endpoint_max, sessions_max;
};

enum err directory_create(const struct directory_limits *limits, struct directory **out) MUST_CHECK;
void directory_destroy(struct directory **directory);

/* --- endpoints */
struct endpoint *directory_find(const struct directory *directory, uint64_t id);
/* By slot; NULL when the slot is free. */
struct endpoint *directory_at(const struct directory *directory, size_t slot);
/* id must be new. ERR_FULL: ENDPOINTS_MAX; ERR_NO_MEMORY. address is copied, cut when too long. */
enum err directory_open(struct directory *directory, uint64_t id, const char *address,
                        struct endpoint **out) MUST_CHECK;
/* Forgets the endpoint's interests and sessions, for a snapshot. */
void directory_clear(struct directory *directory, struct endpoint *endpoint);
/* The same, and the endpoint itself; fan-out must have dropped its outbox. */
void directory_close(struct directory *directory, struct endpoint *endpoint);
size_t directory_endpoint_count(const struct directory *directory);

/* --- interest. Both are idempotent. ERR_FULL: a limit, ERR_NO_MEMORY. */
enum err directory_add_interest(struct directory *directory, struct endpoint *endpoint,
                                const char *conversation) MUST_CHECK;
void directory_remove_interest(struct directory *directory, struct endpoint *endpoint,
                               const char *conversation);
/* Adds the endpoints that care about the conversation. */
void directory_interested(const struct directory *directory, const char *conversation,
                          struct endpoint_set *set);
void directory_all(const struct directory *directory, struct endpoint_set *set);
size_t directory_interest_count(const struct directory *directory);

struct sessions *directory_sessions(struct directory *directory);

#endif
