/* tls_context: the certificate and key of the TLS ports, replaceable while connections run: old
 * ones keep what they began with, new ones get the new certificate. */
#ifndef PIPIT_CONNECTION_TLS_CONTEXT_H
#define PIPIT_CONNECTION_TLS_CONTEXT_H

#include "common/buf.h"

struct tls_context;
/* Reads a chain and its key (PEM). On failure problem gets one line that says which file and why.
 * ERR_INVALID: unreadable or not matching; ERR_NO_MEMORY. */
enum err tls_context_create(const char *cert_file, const char *key_file, struct buf *problem,
                            struct tls_context **out) MUST_CHECK;
void tls_context_destroy(struct tls_context **context);
/* Reads the files again; on failure the old certificate stays and problem says why. Any thread. */
enum err tls_context_reload(struct tls_context *context, struct buf *problem) MUST_CHECK;
/* True once after the files changed on disk (a renewal, a swapped Kubernetes secret). */
bool tls_context_files_changed(struct tls_context *context);
/* SSL_CTX * of new connections, with a reference of its own. Any thread. */
void *tls_context_take(struct tls_context *context);
void tls_context_give(void *ssl_context);

#endif
