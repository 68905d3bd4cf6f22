/* listener: one listening socket of one event loop. Every loop has its own on the same port
 * (SO_REUSEPORT), and the kernel spreads new connections over them. */
#ifndef PIPIT_CONNECTION_LISTENER_H
#define PIPIT_CONNECTION_LISTENER_H

#include "services/connection/conn.h"
#include "services/connection/tls_context.h"
#include <sys/socket.h>

struct listen_address {
    struct sockaddr_storage address;
    socklen_t bytes;
};
/* Reads "0.0.0.0:8083", "[::]:8083" or ":8083" and proves that nobody listens there yet, another
 * Pipit included (which SO_REUSEPORT alone would let happen in silence). Port 0 becomes a free one.
 * ERR_INVALID, ERR_EXISTS (in use), ERR_DENIED, ERR_NOT_FOUND (no such interface), ERR_IO. */
enum err listen_address_claim(const char *text, struct listen_address *out) MUST_CHECK;
uint16_t listen_address_port(const struct listen_address *address);

struct listener;
/* tls NULL = plain. Accepts from now on. */
enum err listener_create(struct conn_table *table, const struct conn_protocol *protocol,
                         struct tls_context *tls, const struct listen_address *address,
                         struct listener **out) MUST_CHECK;
/* Closes the socket; connections stay. NULL inside is accepted. */
void listener_destroy(struct listener **listener);

#endif
