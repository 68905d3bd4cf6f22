/* address: who is asking. The peer of the TCP connection, or, behind a proxy that is trusted, what
 * that proxy says in X-Forwarded-For. */
#ifndef PIPIT_AUTH_ADDRESS_H
#define PIPIT_AUTH_ADDRESS_H

#include "common/buf.h"
#include "common/err.h"
#include <stddef.h>

#define ADDRESS_BYTES 46         /* INET6_ADDRSTRLEN */
#define ADDRESS_PROXIES_MAX 64   /* entries of the setting */
#define ADDRESS_FORWARDED_MAX 16 /* entries of the header that are looked at, from the right */

struct address_proxies;
/* Reads "10.0.0.0/8, 192.0.2.7, fd00::/8"; "" trusts nobody. ERR_INVALID: `problem` names the
 * entry; ERR_FULL, ERR_NO_MEMORY. */
enum err address_proxies_create(const char *list, struct address_proxies **out,
                                struct buf *problem) MUST_CHECK;
void address_proxies_destroy(struct address_proxies **proxies);
/* Writes the client's address, NUL-terminated. peer: numeric address of the connection. forwarded:
 * value of X-Forwarded-For or NULL; believed only when the peer is trusted, and then from the right
 * up to the first address that is not: what stands before it the client may have written. */
void address_client(const struct address_proxies *proxies, const char *peer, const char *forwarded,
                    char client[ADDRESS_BYTES]);
/* Writes what limits are counted by: the address itself, or the /64 network of an IPv6 address (one
 * household has 2^64 of them). */
void address_bucket(const char *client, char bucket[ADDRESS_BYTES]);

#endif
