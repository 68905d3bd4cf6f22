/* routing: admission, order, idempotency, membership cache, directory of endpoints and fan-out: one
 * event loop between the connection instances (which ask) and storage (which it asks). Many
 * instances run side by side and share nothing; see docs/explanation for the way of one message. */
#ifndef PIPIT_ROUTING_ROUTING_H
#define PIPIT_ROUTING_ROUTING_H

#include "common/loop.h"
#include "common/ops.h"
#include "services/routing/settings.h"

struct routing;
/* Listens, dials storage in the background. settings are borrowed and outlive routing.
 * storage_check (may be NULL, static storage) follows whether a storage instance is up. Loop's
 * thread. ERR_EXISTS: the address is in use; ERR_INVALID: an address is malformed; ERR_NO_MEMORY.
 */
enum err routing_create(struct loop *loop, const struct routing_settings *settings,
                        struct ops_check *storage_check, struct routing **out) MUST_CHECK;
/* Answers what is still open (retryable) and frees everything. Not inside a callback of the loop.
 */
void routing_destroy(struct routing **routing);
/* Refuses new messages (REASON_DRAIN) and tells the endpoints; on_drained is called once, from the
 * loop, when all accepted ones are answered, all cursors are written and the endpoints have gone to
 * other instances (those that do not say so within two seconds are not waited for). */
void routing_drain(struct routing *routing, void (*on_drained)(void *user), void *user);
/* True while at least one storage instance is up. */
bool routing_storage_up(const struct routing *routing);

#endif
