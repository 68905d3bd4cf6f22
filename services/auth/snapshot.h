/* snapshot: answers connection's AuthSnapshotRequest: the public keys and every revocation that
 * still matters. What connection asks for at its start, and whenever it may have missed an event.
 */
#ifndef PIPIT_AUTH_SNAPSHOT_H
#define PIPIT_AUTH_SNAPSHOT_H

#include "services/auth/auth.h"

struct snapshot_server;
/* Listens on url (as bus_url_derive makes it). ERR_EXISTS: in use, and errors of bus_server_create.
 * Loop's thread, as is destroy. */
enum err snapshot_server_create(struct auth *auth, const char *url,
                                struct snapshot_server **out) MUST_CHECK;
/* No request may be open: the calls to storage have ended. */
void snapshot_server_destroy(struct snapshot_server **server);

#endif
