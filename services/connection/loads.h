/* loads: a user's memberships read from storage, page by page, and compared with what is known. */
#ifndef PIPIT_CONNECTION_LOADS_H
#define PIPIT_CONNECTION_LOADS_H

#include "services/connection/conversations.h"

#define HUB_LOADS_MAX 131072     /* one per session being opened, and the reloads */
#define HUB_RELOADS_FLIGHT_MAX 8 /* pace of reloading everybody */
/* A conversation found by a reload, which nobody told us about: this many of its newest messages
 * are handed out as if live; what is older the clients fetch. */
#define HUB_RELOAD_MESSAGES_MAX 256

struct hub_loads;
enum err hub_loads_create(struct hub *hub) MUST_CHECK;
void hub_loads_destroy(struct hub *hub);
/* For a session being opened: with its device's cursors when it wants its backlog. Ends in
 * hub_opening_loaded, never from inside this call. ERR_FULL, ERR_NO_MEMORY. */
enum err hub_load_session(struct hub *hub, struct session *session) MUST_CHECK;
/* Deliveries or membership changes may have been lost: all users are loaded again, in turn. */
void hub_loads_reload_all(struct hub *hub);
/* Number of the newest load begun: memberships made by an event carry it. */
uint64_t hub_load_generation(const struct hub *hub);
/* Tries again what failed. */
void hub_loads_tick(struct hub *hub);

#endif
