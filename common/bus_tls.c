/* bus_tls: mutual TLS between services: nng's TLS (mbedTLS in Debian) with one CA, one certificate
 * and one key, for listening and for dialing alike.
 *
 * Both sides must present a certificate of the CA; the dialing side also wants the agreed name in
 * it (BUS_TLS_NAME), so that some other certificate of the same CA is not enough to be a service.
 * The files are read into memory and handed over as PEM: nng's file functions want certificate and
 * key in one file, which is not how Kubernetes mounts a TLS secret. Everything wrong with a file's
 * content is ERR_INVALID; the key's copy is wiped. */
#include "common/bus_private.h"

#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUS_PEM_BYTES_MAX (1024u * 1024u)

static enum err read_pem(const char *path, char **out) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    struct stat status;
    enum err error = ERR_INVALID;
    char *text = NULL;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0 &&
        status.st_size <= (off_t)BUS_PEM_BYTES_MAX) {
        size_t bytes = (size_t)status.st_size;
        text = mem_zalloc(bytes + 1, 1);
        error = text == NULL                              ? ERR_NO_MEMORY
                : read(fd, text, bytes) == (ssize_t)bytes ? ERR_OK
                                                          : ERR_IO;
    }
    (void)close(fd);
    if (error != ERR_OK) {
        mem_free(text);
        return error;
    }
    *out = text;
    return ERR_OK;
}

static int make_tls(nng_tls_mode mode, const char *ca, const char *cert, const char *key,
                    nng_tls_config **out) {
    nng_tls_config *config;
    int code = nng_tls_config_alloc(&config, mode);
    if (code != 0) {
        return code;
    }
    code = nng_tls_config_ca_chain(config, ca, NULL);
    if (code == 0) {
        code = nng_tls_config_own_cert(config, cert, key, NULL);
    }
    if (code == 0) {
        code = nng_tls_config_auth_mode(config, NNG_TLS_AUTH_MODE_REQUIRED);
    }
    if (code == 0 && mode == NNG_TLS_MODE_CLIENT) {
        code = nng_tls_config_server_name(config, BUS_TLS_NAME);
    }
    if (code != 0) {
        nng_tls_config_free(config);
        return code;
    }
    *out = config;
    return 0;
}

static bool given(const char *text) {
    return text != NULL && *text != '\0';
}

enum err bus_tls_load(const struct bus_config *config, nng_tls_config **server,
                      nng_tls_config **client) {
    bool ca_given = given(config->tls_ca_file);
    if (ca_given != given(config->tls_cert_file) || ca_given != given(config->tls_key_file)) {
        return ERR_INVALID;
    }
    if (!ca_given) {
        return ERR_OK;
    }
    char *ca = NULL, *cert = NULL, *key = NULL;
    enum err error = read_pem(config->tls_ca_file, &ca);
    if (error == ERR_OK) {
        error = read_pem(config->tls_cert_file, &cert);
    }
    if (error == ERR_OK) {
        error = read_pem(config->tls_key_file, &key);
    }
    if (error == ERR_OK) {
        int code = make_tls(NNG_TLS_MODE_SERVER, ca, cert, key, server);
        if (code == 0) {
            code = make_tls(NNG_TLS_MODE_CLIENT, ca, cert, key, client);
        }
        /* What the TLS library does not take as certificate or key is invalid input. */
        error = code == 0 ? ERR_OK : code == NNG_ENOMEM ? ERR_NO_MEMORY : ERR_INVALID;
    }
    if (key != NULL) {
        explicit_bzero(key, strlen(key));
    }
    mem_free(ca);
    mem_free(cert);
    mem_free(key);
    return error;
}
