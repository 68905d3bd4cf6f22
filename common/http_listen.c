/* http_listen: opens the socket that libmicrohttpd then accepts on.
 *
 * The library can bind by itself but reports every failure as one NULL; opened here, "in use" and
 * "not allowed" keep their names and the operator reads what to do. Addresses are numeric:
 * resolving a name at start would make the start depend on DNS. "[::]" serves both families,
 * whatever the system's default for IPV6_V6ONLY is. */
#include "common/http_listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LISTEN_BACKLOG 511

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static enum err read_port(const char *text, uint16_t *port) {
    uint32_t value = 0;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != '\0') {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < digits; i++) {
        value = value * 10u + (uint32_t)(text[i] - '0');
    }
    if (value > UINT16_MAX) {
        return ERR_INVALID;
    }
    *port = (uint16_t)value;
    return ERR_OK;
}

static enum err read_address(const char *listen, union address *address, socklen_t *bytes) {
    char host[64];
    uint16_t port = 0;
    const char *colon = strrchr(listen, ':');
    if (colon == NULL || (size_t)(colon - listen) >= sizeof(host) ||
        read_port(colon + 1, &port) != ERR_OK) {
        return ERR_INVALID;
    }
    size_t length = (size_t)(colon - listen);
    memcpy(host, listen, length);
    host[length] = '\0';
    memset(address, 0, sizeof(*address));
    if (length == 0) {
        (void)strcpy(host, "[::]"); /* fits */
        length = 4;
    }
    if (host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = '\0';
        address->v6.sin6_family = AF_INET6;
        address->v6.sin6_port = htons(port);
        *bytes = sizeof(address->v6);
        return inet_pton(AF_INET6, host + 1, &address->v6.sin6_addr) == 1 ? ERR_OK : ERR_INVALID;
    }
    address->v4.sin_family = AF_INET;
    address->v4.sin_port = htons(port);
    *bytes = sizeof(address->v4);
    return inet_pton(AF_INET, host, &address->v4.sin_addr) == 1 ? ERR_OK : ERR_INVALID;
}

static enum err translate(int errno_value) {
    switch (errno_value) {
    case EADDRINUSE:
        return ERR_EXISTS;
    case EADDRNOTAVAIL:
        return ERR_NOT_FOUND;
    default:
        return err_from_errno(errno_value);
    }
}

static enum err bind_socket(int fd, const union address *address, socklen_t bytes) {
    int on = 1;
    int off = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        (address->any.sa_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) != 0) ||
        bind(fd, &address->any, bytes) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        return translate(errno);
    }
    return ERR_OK;
}

enum err http_listen_open(const char *listen, int *fd, uint16_t *port) {
    union address address;
    socklen_t bytes = 0;
    enum err error = read_address(listen, &address, &bytes);
    if (error != ERR_OK) {
        return error;
    }
    int opened = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (opened < 0) {
        return err_from_errno(errno);
    }
    error = bind_socket(opened, &address, bytes);
    socklen_t bound_bytes = sizeof(address);
    if (error == ERR_OK && getsockname(opened, &address.any, &bound_bytes) != 0) {
        error = err_from_errno(errno);
    }
    if (error != ERR_OK) {
        (void)close(opened); /* never used */
        return error;
    }
    *port = ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
    *fd = opened;
    return ERR_OK;
}

void http_listen_format(const struct sockaddr *address, char text[HTTP_ADDRESS_BYTES]) {
    const void *bytes = NULL;
    int family = address->sa_family;
    text[0] = '\0';
    if (family == AF_INET) {
        bytes = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
    } else if (family == AF_INET6) {
        const struct in6_addr *v6 =
            &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        bytes = v6;
        if (IN6_IS_ADDR_V4MAPPED(v6)) {
            family = AF_INET;
            bytes = &v6->s6_addr[12];
        }
    }
    if (bytes == NULL || inet_ntop(family, bytes, text, HTTP_ADDRESS_BYTES) == NULL) {
        text[0] = '\0';
    }
}
