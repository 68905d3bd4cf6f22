/* ws_handshake: the opening handshake of a WebSocket server (RFC 6455 section 4.2), over bytes: the
 * caller reads, calls, and writes the answer. It is no HTTP server: whatever is not a correct
 * upgrade to pipit.v1 gets one error answer and the connection ends. */
#ifndef PIPIT_PROTO_WS_HANDSHAKE_H
#define PIPIT_PROTO_WS_HANDSHAKE_H

#include "common/buf.h"
#include "proto/limits.h"
#include "proto/slice.h"

#define WS_ACCEPT_BYTES 28 /* base64 of SHA-1 */

struct ws_handshake {
    struct slice path; /* without query */
    struct slice host;
    struct slice origin; /* count 0 = none: not a browser */
    struct slice user_agent;
    char accept[WS_ACCEPT_BYTES + 1]; /* Sec-WebSocket-Accept */
    bool protocol_offered;            /* "pipit.v1" was in Sec-WebSocket-Protocol */
    size_t head_bytes;                /* consumed; frames may follow behind */
};

/* Parses the request head at the start of bytes[count]. ERR_MORE: not complete yet. ERR_INVALID:
 * answer *status (400, 404 not /v1/ws or /, 405 not GET, 413 head above 8 KiB, 426 not an upgrade
 * or another version, 505 not HTTP/1.1) with ws_handshake_refuse and close. Slices borrow the
 * bytes. *handshake is untouched on failure, *status on success and ERR_MORE. A client that offers
 * subprotocols must offer pipit.v1; one that offers none is taken to speak it. */
enum err ws_handshake_parse(const uint8_t *bytes, size_t count, struct ws_handshake *handshake,
                            int *status) MUST_CHECK;
/* Appends the 101 answer. ERR_NO_MEMORY, ERR_TOO_LARGE. */
enum err ws_handshake_accept(struct buf *out, const struct ws_handshake *handshake) MUST_CHECK;
/* Appends a complete error answer (text/plain, Connection: close; 426 names version 13; 503 has
 * Retry-After). Any other status is sent as 500. */
enum err ws_handshake_refuse(struct buf *out, int status) MUST_CHECK;

/* May a page of this origin connect (defence against cross-site WebSocket hijacking, ASVS 4.4.2)?
 * No origin: yes. allowed "*": yes; "": host and port of the origin must equal the Host header;
 * otherwise a comma-separated list of origins ("https://chat.home.arpa, http://pi.local:8080").
 * Hosts compare without case; default ports may be left out. */
bool ws_origin_allowed(struct slice origin, struct slice host, const char *allowed);

#endif
