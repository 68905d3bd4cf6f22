/* tls_context: OpenSSL's server context, swapped under a lock.
 *
 * TLS 1.2 and 1.3 with forward secrecy and AEAD ciphers alone; no renegotiation, no compression;
 * buffers are released while a connection is idle (measured: 29 KiB become 14 KiB each). Sessions
 * are resumed by tickets, whose keys are the context's, so all event loops share them and nothing
 * is cached here.
 *
 * A renewal tool replaces two files one after the other. A reload in between finds a certificate
 * and a key that do not belong together: it fails, the old pair stays in use, and the change of the
 * second file triggers the next try. */
#include "services/connection/tls_context.h"

#include "common/contract.h"
#include "common/mem.h"
#include "services/connection/connection_metrics.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct file_stamp {
    dev_t device;
    ino_t inode;
    off_t bytes;
    struct timespec changed;
};
struct tls_context {
    pthread_mutex_t lock; /* current */
    SSL_CTX *current;
    char *cert_file, *key_file;
    struct file_stamp stamps[2]; /* of the last look; one thread */
};

/* Appends what went wrong in OpenSSL's words and empties its queue. */
static enum err fail(struct buf *problem, const char *what, const char *file) {
    char text[160] = "unknown error";
    unsigned long code = ERR_peek_error();
    if (code != 0) {
        ERR_error_string_n(code, text, sizeof text);
    }
    ERR_clear_error();
    enum err error = buf_append_format(problem, "%s %s: %s", what, file, text);
    return error == ERR_OK ? ERR_INVALID : error;
}

static int64_t expiry_of(SSL_CTX *context) {
    const X509 *certificate = SSL_CTX_get0_certificate(context);
    struct tm when;
    if (certificate == NULL || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &when) != 1) {
        return 0;
    }
    return (int64_t)timegm(&when);
}

static enum err load(const struct tls_context *context, struct buf *problem, SSL_CTX **out) {
    SSL_CTX *made = SSL_CTX_new(TLS_server_method());
    if (made == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = ERR_OK;
    (void)SSL_CTX_set_options(made, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                        SSL_OP_CIPHER_SERVER_PREFERENCE |
                                        SSL_OP_IGNORE_UNEXPECTED_EOF); /* returns the new set */
    (void)SSL_CTX_set_mode(made, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                     SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER); /* as above */
    (void)SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);        /* the old mode */
    if (SSL_CTX_set_min_proto_version(made, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(made, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1 ||
        SSL_CTX_set_session_id_context(made, (const unsigned char *)"pipit", 5) != 1) {
        error = fail(problem, "cannot set up", "TLS");
    } else if (SSL_CTX_use_certificate_chain_file(made, context->cert_file) != 1) {
        error = fail(problem, "[connection] tls_cert_file: cannot use", context->cert_file);
    } else if (SSL_CTX_use_PrivateKey_file(made, context->key_file, SSL_FILETYPE_PEM) != 1 ||
               SSL_CTX_check_private_key(made) != 1) {
        error = fail(problem, "[connection] tls_key_file: cannot use", context->key_file);
    }
    if (error != ERR_OK) {
        SSL_CTX_free(made);
        return error;
    }
    *out = made;
    return ERR_OK;
}

static void look_at(const char *file, struct file_stamp *stamp) {
    struct stat status;
    *stamp = (struct file_stamp){0};
    if (stat(file, &status) == 0) {
        stamp->device = status.st_dev;
        stamp->inode = status.st_ino;
        stamp->bytes = status.st_size;
        stamp->changed = status.st_mtim;
    }
}

static bool same_stamp(const struct file_stamp *one, const struct file_stamp *two) {
    return one->device == two->device && one->inode == two->inode && one->bytes == two->bytes &&
           one->changed.tv_sec == two->changed.tv_sec &&
           one->changed.tv_nsec == two->changed.tv_nsec;
}

bool tls_context_files_changed(struct tls_context *context) {
    struct file_stamp now[2];
    look_at(context->cert_file, &now[0]);
    look_at(context->key_file, &now[1]);
    bool changed =
        !same_stamp(&now[0], &context->stamps[0]) || !same_stamp(&now[1], &context->stamps[1]);
    memcpy(context->stamps, now, sizeof now);
    return changed;
}

enum err tls_context_create(const char *cert_file, const char *key_file, struct buf *problem,
                            struct tls_context **out) {
    struct tls_context *context = mem_zalloc(1, sizeof *context);
    if (context == NULL) {
        return ERR_NO_MEMORY;
    }
    pthread_mutex_init(&context->lock, NULL);
    context->cert_file = mem_strdup(cert_file);
    context->key_file = mem_strdup(key_file);
    enum err error = ERR_NO_MEMORY;
    if (context->cert_file != NULL && context->key_file != NULL) {
        (void)tls_context_files_changed(context); /* takes the first stamps */
        error = load(context, problem, &context->current);
    }
    if (error != ERR_OK) {
        tls_context_destroy(&context);
        return error;
    }
    connection_metrics_tls_expiry(expiry_of(context->current));
    *out = context;
    return ERR_OK;
}

void tls_context_destroy(struct tls_context **context) {
    struct tls_context *gone = *context;
    if (gone == NULL) {
        return;
    }
    *context = NULL;
    SSL_CTX_free(gone->current);
    pthread_mutex_destroy(&gone->lock);
    mem_free(gone->cert_file);
    mem_free(gone->key_file);
    mem_free(gone);
}

enum err tls_context_reload(struct tls_context *context, struct buf *problem) {
    SSL_CTX *fresh = NULL;
    enum err error = load(context, problem, &fresh);
    if (error != ERR_OK) {
        return error;
    }
    pthread_mutex_lock(&context->lock);
    SSL_CTX *old = context->current;
    context->current = fresh;
    pthread_mutex_unlock(&context->lock);
    SSL_CTX_free(old); /* connections have their own references */
    connection_metrics_tls_expiry(expiry_of(fresh));
    return ERR_OK;
}

void *tls_context_take(struct tls_context *context) {
    pthread_mutex_lock(&context->lock);
    SSL_CTX *current = context->current;
    CONTRACT(SSL_CTX_up_ref(current) == 1);
    pthread_mutex_unlock(&context->lock);
    return current;
}

void tls_context_give(void *ssl_context) {
    SSL_CTX_free(ssl_context);
}
