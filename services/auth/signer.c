/* signer: keys are made by OpenSSL and tokens signed by libjwt, with the calls that its
 * versions 1.10 and 1.17 share. libjwt parses the PEM at each signature, 0.4 to 0.9 ms: dear for a
 * verifier, which is why common/token has its own, but little beside the password hash that a login
 * costs. The algorithm is always set together with the key, so the library never chooses one. */
#include "services/auth/signer.h"

#include "common/id.h"
#include <jwt.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define POINT_BYTES 65 /* 0x04, x, y. Source: SEC 1 section 2.3.3 */

static enum err export_key(EVP_PKEY *pair, struct signer_key *key) {
    uint8_t point[POINT_BYTES];
    size_t point_bytes = 0;
    if (EVP_PKEY_get_octet_string_param(pair, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point,
                                        &point_bytes) != 1 ||
        point_bytes != sizeof point || point[0] != 4) {
        return ERR_NO_MEMORY;
    }
    memcpy(key->x, point + 1, 32);
    memcpy(key->y, point + 33, 32);
    BIO *memory = BIO_new(BIO_s_secmem());
    if (memory == NULL ||
        PEM_write_bio_PKCS8PrivateKey(memory, pair, NULL, NULL, 0, NULL, NULL) != 1) {
        BIO_free(memory);
        return ERR_NO_MEMORY;
    }
    int length = BIO_read(memory, key->private_pem, sizeof key->private_pem - 1);
    bool whole = length > 0 && BIO_pending(memory) == 0;
    BIO_free(memory);
    if (!whole) {
        sodium_memzero(key->private_pem, sizeof key->private_pem);
        return ERR_TOO_LARGE;
    }
    key->private_pem[length] = '\0';
    return ERR_OK;
}

enum err signer_key_make(struct signer_key *key) {
    memset(key, 0, sizeof *key);
    id_random_text("k_", key->kid, sizeof key->kid);
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    if (pair == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = export_key(pair, key);
    EVP_PKEY_free(pair);
    return error;
}

static int fill(jwt_t *jwt, const struct signer_key *key, const struct signer_claims *claims) {
    int failed = jwt_set_alg(jwt, JWT_ALG_ES256, (const unsigned char *)key->private_pem,
                             (int)strlen(key->private_pem));
    failed = failed != 0 ? failed : jwt_add_header(jwt, "typ", "at+jwt"); /* RFC 9068 section 2.1 */
    failed = failed != 0 ? failed : jwt_add_header(jwt, "kid", key->kid);
    failed = failed != 0 ? failed : jwt_add_grant(jwt, "iss", claims->issuer);
    failed = failed != 0 ? failed : jwt_add_grant(jwt, "aud", claims->audience);
    failed = failed != 0 ? failed : jwt_add_grant(jwt, "sub", claims->user);
    failed = failed != 0 ? failed : jwt_add_grant(jwt, "did", claims->device);
    failed = failed != 0 ? failed : jwt_add_grant(jwt, "jti", claims->jti);
    failed = failed != 0 ? failed : jwt_add_grant_int(jwt, "iat", (long)claims->issued_s);
    failed = failed != 0 ? failed : jwt_add_grant_int(jwt, "exp", (long)claims->expires_s);
    return failed != 0 ? failed : jwt_add_grant(jwt, "scope", claims->admin ? "admin" : "user");
}

static enum err copy_out(const char *text, char token[TOKEN_BYTES_MAX]) {
    size_t length = strlen(text);
    if (length >= TOKEN_BYTES_MAX) {
        return ERR_TOO_LARGE;
    }
    memcpy(token, text, length + 1);
    return ERR_OK;
}

enum err signer_sign(const struct signer_key *key, const struct signer_claims *claims,
                     char token[TOKEN_BYTES_MAX]) {
    jwt_t *jwt = NULL;
    if (jwt_new(&jwt) != 0) {
        return ERR_NO_MEMORY;
    }
    if (fill(jwt, key, claims) != 0) {
        jwt_free(jwt);
        return ERR_NO_MEMORY;
    }
    char *text = jwt_encode_str(jwt);
    enum err error = text != NULL ? copy_out(text, token) : ERR_INVALID;
    free(text); /* malloc'ed by libjwt; 1.10 has no function of its own for it */
    jwt_free(jwt);
    return error;
}
