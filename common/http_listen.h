/* http_listen: numeric addresses as text, and the listening socket of an HTTP server. */
#ifndef PIPIT_COMMON_HTTP_LISTEN_H
#define PIPIT_COMMON_HTTP_LISTEN_H

#include "common/err.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define HTTP_ADDRESS_BYTES 46 /* INET6_ADDRSTRLEN */

/* Opens a non-blocking listening socket on "0.0.0.0:8080", "[::]:8080" (both families) or ":8080"
 * (the same); port 0 lets the kernel choose. The caller closes *fd. ERR_INVALID: not such an
 * address; ERR_EXISTS: in use; ERR_DENIED: not allowed (a port below 1024); ERR_NOT_FOUND: no
 * interface has the address; ERR_IO. */
enum err http_listen_open(const char *listen, int *fd, uint16_t *port) MUST_CHECK;
/* Writes the address without port; an IPv4 peer of a dual-stack socket reads as IPv4. */
void http_listen_format(const struct sockaddr *address, char text[HTTP_ADDRESS_BYTES]);

#endif
