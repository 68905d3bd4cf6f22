/* server: all event loops of the process together: addresses and certificate, start, readiness,
 * reload, drain. Belongs to the main thread. */
#ifndef PIPIT_CONNECTION_SERVER_H
#define PIPIT_CONNECTION_SERVER_H

#include "common/service.h"
#include "services/connection/settings.h"

struct server;
/* Listens and runs when it returns. On failure problem has one line that says which setting to
 * change. ERR_INVALID, ERR_EXISTS, ERR_DENIED, ERR_NOT_FOUND, ERR_NO_MEMORY, ERR_FULL, ERR_IO. */
enum err server_create(struct service *service, const struct connection_settings *settings,
                       struct buf *problem, struct server **out) MUST_CHECK;
/* Says goodbye to the clients; service_stopped when done. */
void server_drain(struct server *server);
/* Reads the certificate again. */
void server_reload(struct server *server);
void server_destroy(struct server **server);

#endif
