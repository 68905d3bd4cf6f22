/* opening: from session_open to on_opened: registered with routing, memberships loaded, interest
 * acknowledged. */
#ifndef PIPIT_CONNECTION_OPENING_H
#define PIPIT_CONNECTION_OPENING_H

#include "services/connection/hub_private.h"

/* The session is OPENING and its interest registered; ends in session_opened, later. */
void hub_opening_start(struct hub *hub, struct session *session);
/* Its memberships were loaded, or that failed. The session may be gone. */
void hub_opening_loaded(struct hub *hub, uint64_t session, enum err status);
void hub_opening_forget(struct hub *hub, struct session *session);
/* From hub_soon and the tick: goes on with whoever waited long enough. */
void hub_opening_soon(struct hub *hub);

#endif
