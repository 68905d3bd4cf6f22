/* transport_tls: a socket under TLS, by OpenSSL on the socket itself (a socket BIO: half the memory
 * of memory BIOs, and the only form that kernel TLS could take over later).
 *
 * OpenSSL keeps a per-thread queue of errors that must be empty before each call, or an old failure
 * of another connection is read as this one's. A refused write must be repeated with the same first
 * bytes; committed_bytes tells conn_output.c which ones it may not drop.
 *
 * A read may leave decrypted bytes inside OpenSSL while the socket is silent, so reads go on until
 * OpenSSL has nothing left or the room is full, and has_pending tells the rest. */
#include "services/connection/transport.h"

#include "common/contract.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TLS_RECORD_BYTES 16384u /* RFC 8446 section 5.1 */

/* Translates the outcome of an SSL call that returned <= 0. */
static enum err outcome(struct transport *transport, int result) {
    switch (SSL_get_error(transport->tls, result)) {
    case SSL_ERROR_WANT_READ:
        transport->wants_write = false;
        return ERR_MORE;
    case SSL_ERROR_WANT_WRITE:
        transport->wants_write = true;
        return ERR_MORE;
    default:
        return ERR_CLOSED;
    }
}

static enum err tls_handshake(struct transport *transport) {
    ERR_clear_error();
    int result = SSL_accept(transport->tls);
    if (result == 1) {
        transport->wants_write = false;
        return ERR_OK;
    }
    return outcome(transport, result);
}

static enum err tls_read(struct transport *transport, void *room, size_t room_bytes,
                         size_t *count) {
    size_t total = 0;
    while (total < room_bytes) {
        size_t got = 0;
        ERR_clear_error();
        int result = SSL_read_ex(transport->tls, (uint8_t *)room + total, room_bytes - total, &got);
        if (result != 1) {
            enum err error = outcome(transport, result);
            if (total == 0) {
                return error;
            }
            break; /* the same outcome comes again with the next read */
        }
        transport->wants_write = false;
        total += got;
    }
    *count = total;
    return ERR_OK;
}

static enum err tls_write(struct transport *transport, const void *bytes, size_t bytes_count,
                          size_t *count) {
    *count = 0;
    while (*count < bytes_count) {
        size_t put = 0;
        ERR_clear_error();
        int result = SSL_write_ex(transport->tls, (const uint8_t *)bytes + *count,
                                  bytes_count - *count, &put);
        if (result != 1) {
            bool wants_write = transport->wants_write;
            enum err error = outcome(transport, result);
            transport->wants_write = wants_write; /* what reads wait for */
            size_t rest = bytes_count - *count;
            transport->committed_bytes =
                (uint32_t)(rest < TLS_RECORD_BYTES ? rest : TLS_RECORD_BYTES);
            return error;
        }
        transport->committed_bytes = 0;
        *count += put;
    }
    return ERR_OK;
}

static bool tls_has_pending(const struct transport *transport) {
    return SSL_has_pending(transport->tls) == 1;
}

static void tls_end(struct transport *transport) {
    ERR_clear_error();
    (void)SSL_shutdown(transport->tls); /* close_notify, as far as the socket takes it */
    (void)shutdown(transport->fd, SHUT_WR);
}

static void tls_close(struct transport *transport) {
    SSL_free(transport->tls);
    transport->tls = NULL;
    (void)close(transport->fd); /* nothing to do about a failed close */
    transport->fd = -1;
}

static const struct transport_ops tls_ops = {tls_handshake,   tls_read, tls_write,
                                             tls_has_pending, tls_end,  tls_close};

enum err transport_tls_init(struct transport *transport, int fd, void *tls_context) {
    SSL *tls = SSL_new(tls_context);
    if (tls == NULL) {
        return ERR_NO_MEMORY;
    }
    if (SSL_set_fd(tls, fd) != 1) {
        SSL_free(tls);
        return ERR_NO_MEMORY;
    }
    SSL_set_accept_state(tls);
    *transport = (struct transport){.ops = &tls_ops, .fd = fd, .tls = tls};
    return ERR_OK;
}
