/* expiry: closes sessions when their access token ends. */
#ifndef PIPIT_CONNECTION_EXPIRY_H
#define PIPIT_CONNECTION_EXPIRY_H

#include "services/connection/hub_private.h"

struct hub_expiry;
enum err hub_expiry_create(struct hub *hub) MUST_CHECK;
void hub_expiry_destroy(struct hub *hub);
/* By session->token_expires_ms; moves it when it was there. */
void hub_expiry_add(struct hub *hub, struct session *session);
void hub_expiry_remove(struct hub *hub, struct session *session);
/* Ends the sessions whose time has come (on_end). Called several times a second. */
void hub_expiry_tick(struct hub *hub);

#endif
