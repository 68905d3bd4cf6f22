/* May a page of this origin open a socket? A browser sends cookies and reaches private addresses on
 * behalf of any page, so the server has to look (cross-site WebSocket hijacking; ASVS 5.0 V4.4.2).
 * Programs send no Origin and pass: they hold a token or nothing.
 *
 * Origins compare by scheme, host and port with the scheme's default port filled in; "null" and
 * anything unreadable match nothing but "*". With the empty setting the page must come from the
 * host it talks to, which is what the bundled web client does behind one proxy; the scheme then
 * cannot be known here (TLS may end in front of us), so a Host header without a port stands for
 * both default ports. */
#include "proto/ws_handshake.h"

#include <strings.h>

struct origin {
    struct slice scheme, host;
    unsigned port; /* 0 = none given and no default */
};

static bool same_nocase(struct slice one, struct slice two) {
    return one.count == two.count &&
           (one.count == 0 ||
            strncasecmp((const char *)one.bytes, (const char *)two.bytes, one.count) == 0);
}

/* host[:port], host may be an IPv6 address in brackets. */
static bool read_authority(struct slice text, struct slice *host, unsigned *port) {
    size_t host_bytes = 0;
    if (text.count > 0 && text.bytes[0] == '[') {
        while (host_bytes < text.count && text.bytes[host_bytes] != ']') {
            host_bytes++;
        }
        host_bytes++;
    } else {
        while (host_bytes < text.count && text.bytes[host_bytes] != ':') {
            host_bytes++;
        }
    }
    if (host_bytes == 0 || host_bytes > text.count) {
        return false;
    }
    *host = slice_make(text.bytes, host_bytes);
    *port = 0;
    if (host_bytes == text.count) {
        return true;
    }
    if (text.bytes[host_bytes] != ':' || text.count - host_bytes > 6) {
        return false;
    }
    for (size_t i = host_bytes + 1; i < text.count; i++) {
        if (text.bytes[i] < '0' || text.bytes[i] > '9') {
            return false;
        }
        *port = *port * 10 + text.bytes[i] - '0';
    }
    return *port > 0 && *port <= 65535;
}

static bool read_origin(struct slice text, struct origin *origin) {
    const uint8_t *mark = text.count > 0 ? memmem(text.bytes, text.count, "://", 3) : NULL;
    if (mark == NULL) {
        return false;
    }
    origin->scheme = slice_make(text.bytes, (size_t)(mark - text.bytes));
    struct slice authority = slice_make(mark + 3, text.count - origin->scheme.count - 3);
    if (!read_authority(authority, &origin->host, &origin->port)) {
        return false;
    }
    if (origin->port == 0) {
        origin->port = same_nocase(origin->scheme, slice_text("https"))  ? 443
                       : same_nocase(origin->scheme, slice_text("http")) ? 80
                                                                         : 0;
    }
    return true;
}

static bool same_host(struct slice origin_text, struct slice host_text) {
    struct origin origin;
    struct slice host;
    unsigned port;
    if (!read_origin(origin_text, &origin) || !read_authority(host_text, &host, &port)) {
        return false;
    }
    bool is_port_same = port == 0 ? origin.port == 80 || origin.port == 443 : origin.port == port;
    return is_port_same && same_nocase(origin.host, host);
}

static bool in_list(struct slice origin_text, const char *list) {
    struct origin origin, allowed;
    if (!read_origin(origin_text, &origin)) {
        return false;
    }
    for (const char *at = list; *at != '\0';) {
        size_t space = strspn(at, ", \t");
        size_t bytes = strcspn(at + space, ", \t");
        struct slice item = slice_make(at + space, bytes);
        at += space + bytes;
        if (read_origin(item, &allowed) && allowed.port == origin.port &&
            same_nocase(allowed.scheme, origin.scheme) && same_nocase(allowed.host, origin.host)) {
            return true;
        }
    }
    return false;
}

bool ws_origin_allowed(struct slice origin, struct slice host, const char *allowed) {
    if (origin.count == 0 || strcmp(allowed, "*") == 0) {
        return true;
    }
    return allowed[0] == '\0' ? same_host(origin, host) : in_list(origin, allowed);
}
