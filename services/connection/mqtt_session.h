/* mqtt_session: MQTT 3.1.1 and 5 on a connection, for the chat topics: CONNECT, keep-alive, PUBLISH
 * in both directions, SUBSCRIBE, wills. Reference: docs/reference/mqtt.md. */
#ifndef PIPIT_CONNECTION_MQTT_SESSION_H
#define PIPIT_CONNECTION_MQTT_SESSION_H

#include "services/connection/conn.h"

extern const struct conn_protocol mqtt_protocol;

#endif
