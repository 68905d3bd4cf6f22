/* hub: everything one event-loop thread of connection knows about sessions, users, conversations
 * and the other services. Sockets and protocols (ws_session.c, mqtt_session.c) sit on top of
 * session.h; the bus sits below. A hub is one endpoint for routing (proto/directory.proto), shares
 * nothing with the hubs of other threads and takes no lock. */
#ifndef PIPIT_CONNECTION_HUB_H
#define PIPIT_CONNECTION_HUB_H

#include "common/bus.h"
#include "common/loop.h"
#include "common/token.h"
#include "proto/reason.h"
#include "services/connection/settings.h"

struct hub;
/* Makes its own bus on the loop; dials routing and auth in the background. */
enum err hub_create(struct loop *loop, const struct connection_settings *settings,
                    struct hub **out) MUST_CHECK;
/* All sessions must be closed. */
void hub_destroy(struct hub **hub);
/* Ready: signing keys known and at least one routing instance up. Any thread. */
bool hub_ready(const struct hub *hub);
bool hub_has_keys(const struct hub *hub);
bool hub_has_routing(const struct hub *hub);
/* Drain: flushes coalesced cursors, tells routing that this endpoint leaves; on_left is called once
 * when all that is answered or given up (at most timeout_us). */
void hub_leave(struct hub *hub, uint64_t timeout_us, void (*on_left)(void *user), void *user);
struct loop *hub_loop(struct hub *hub);
const struct connection_settings *hub_settings(const struct hub *hub);
const char *
hub_epoch(const struct hub *hub); /* history epoch as last told by storage; "" unknown */

/* Token check without asking anybody: signature, times, revocations. REASON_OK fills claims;
 * otherwise REASON_BAD_TOKEN, REASON_TOKEN_EXPIRED, REASON_TOKEN_REVOKED, REASON_DISABLED or
 * REASON_UNAVAILABLE (no keys yet: retry). An unknown kid also triggers a fetch of the keys. */
enum reason hub_check_token(struct hub *hub, const char *token, size_t token_bytes,
                            struct token_claims *claims);

#endif
