/* tokens: what is needed to check access tokens without asking: keys and revocations, from auth. */
#ifndef PIPIT_CONNECTION_TOKENS_H
#define PIPIT_CONNECTION_TOKENS_H

#include "services/connection/hub_private.h"

#define HUB_TOKEN_CACHE_MAX 4096
#define HUB_KEYS_RETRY_US 1000000u     /* between two requests for the keys */
#define HUB_KEYS_REFRESH_US 300000000u /* asked again even if nothing was heard */

struct hub_tokens;
enum err hub_tokens_create(struct hub *hub) MUST_CHECK;
void hub_tokens_destroy(struct hub *hub);
/* rpc to auth: one stream of revocations per instance. */
void hub_tokens_peer_added(struct rpc_peer *peer, void *user);
void hub_tokens_peer_state(struct rpc_peer *peer, void *user);
void hub_tokens_peer_removed(struct rpc_peer *peer, void *user);
/* Asks for the keys when that is due; prunes. */
void hub_tokens_tick(struct hub *hub);
/* Of an open session: REASON_OK, or why it must end. */
enum reason hub_tokens_check_session(const struct hub *hub, const struct session *session);

#endif
