/* ws_session: the WebSocket protocol pipit.v1 on a connection: handshake, login, frames, heartbeat,
 * goodbye. Reference: docs/reference/asyncapi.yaml. */
#ifndef PIPIT_CONNECTION_WS_SESSION_H
#define PIPIT_CONNECTION_WS_SESSION_H

#include "services/connection/conn.h"

extern const struct conn_protocol ws_protocol;

#endif
