/* goodbye: the `bye` frame, which tells a client in the protocol's own words why its connection
 * ends and when to come back. */
#ifndef PIPIT_CONNECTION_GOODBYE_H
#define PIPIT_CONNECTION_GOODBYE_H

#include "services/connection/conn.h"

/* Encodes it into table->scratch, cleared first. ERR_NO_MEMORY. */
enum err goodbye_encode(struct conn_table *table, enum reason reason) MUST_CHECK;

#endif
