/* signer: keys are made by OpenSSL; a token's claims are composed by libjwt, with calls that its
 * versions 1.10 and 1.17 share, and signed by OpenSSL.
 *
 * Why not jwt_encode_str: libjwt 1.10 overwrites the header's typ with "JWT" (measured), and an
 * access token must say "at+jwt" (RFC 9068 section 2.1) so that no other kind of token passes for
 * one; it also signs ten times slower. The header is ours and constant, so nothing that a client
 * sends can choose an algorithm. */
#include "services/auth/signer.h"

#include "common/id.h"
#include <jwt.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POINT_BYTES 65     /* 0x04, x, y. Source: SEC 1 section 2.3.3 */
#define SIGNATURE_BYTES 64 /* r || s. Source: RFC 7518 section 3.4 */
#define DER_BYTES_MAX 80   /* a P-256 signature takes at most 72 */

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

/* --- signing */

static int fill(jwt_t *jwt, const struct signer_claims *claims) {
    int failed = jwt_add_grant(jwt, "iss", claims->issuer);
    failed = failed != 0 ? failed : jwt_add_grant(jwt, "aud", claims->audience);
    failed = failed != 0 ? failed : jwt_add_grant(jwt, "sub", claims->user);
    failed = failed != 0 ? failed : jwt_add_grant(jwt, "did", claims->device);
    failed = failed != 0 ? failed : jwt_add_grant(jwt, "jti", claims->jti);
    failed = failed != 0 ? failed : jwt_add_grant_int(jwt, "iat", (long)claims->issued_s);
    failed = failed != 0 ? failed : jwt_add_grant_int(jwt, "exp", (long)claims->expires_s);
    return failed != 0 ? failed : jwt_add_grant(jwt, "scope", claims->admin ? "admin" : "user");
}

/* The claims as JSON; NULL without memory. free() it. */
static char *claims_json(const struct signer_claims *claims) {
    jwt_t *jwt = NULL;
    if (jwt_new(&jwt) != 0) {
        return NULL;
    }
    char *json = fill(jwt, claims) == 0 ? jwt_get_grants_json(jwt, NULL) : NULL;
    jwt_free(jwt);
    return json;
}

/* Appends bytes as base64url at token[*used]. */
static enum err append(char token[TOKEN_BYTES_MAX], size_t *used, const void *bytes, size_t count) {
    size_t room = TOKEN_BYTES_MAX - *used;
    if (sodium_base64_encoded_len(count, sodium_base64_VARIANT_URLSAFE_NO_PADDING) > room) {
        return ERR_TOO_LARGE;
    }
    (void)sodium_bin2base64(token + *used, room, bytes, count,
                            sodium_base64_VARIANT_URLSAFE_NO_PADDING); /* returns its argument */
    *used += strlen(token + *used);
    return ERR_OK;
}

static enum err append_dot(char token[TOKEN_BYTES_MAX], size_t *used) {
    if (*used + 2 > TOKEN_BYTES_MAX) {
        return ERR_TOO_LARGE;
    }
    token[(*used)++] = '.';
    token[*used] = '\0';
    return ERR_OK;
}

/* ERR_INVALID: not a P-256 key. */
static enum err parse_key(const char *pem, EVP_PKEY **pair) {
    BIO *memory = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *read = memory != NULL ? PEM_read_bio_PrivateKey(memory, NULL, NULL, NULL) : NULL;
    BIO_free(memory);
    char group[32] = "";
    if (read == NULL || EVP_PKEY_get_group_name(read, group, sizeof group, NULL) != 1 ||
        strcmp(group, "prime256v1") != 0) {
        EVP_PKEY_free(read);
        return memory == NULL ? ERR_NO_MEMORY : ERR_INVALID;
    }
    *pair = read;
    return ERR_OK;
}

/* ASN.1 from OpenSSL to the fixed r || s that JWS wants. */
static enum err to_raw(const uint8_t *der, size_t der_bytes, uint8_t raw[SIGNATURE_BYTES]) {
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &der, (long)der_bytes);
    if (signature == NULL) {
        return ERR_NO_MEMORY;
    }
    bool whole = BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, SIGNATURE_BYTES / 2) > 0 &&
                 BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + SIGNATURE_BYTES / 2,
                              SIGNATURE_BYTES / 2) > 0;
    ECDSA_SIG_free(signature);
    return whole ? ERR_OK : ERR_INTERNAL;
}

static enum err sign(const char *pem, const char *text, size_t text_bytes,
                     uint8_t raw[SIGNATURE_BYTES]) {
    uint8_t der[DER_BYTES_MAX];
    size_t der_bytes = sizeof der;
    EVP_PKEY *pair = NULL;
    enum err error = parse_key(pem, &pair);
    if (error != ERR_OK) {
        return error;
    }
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool signed_it =
        context != NULL && EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, pair) == 1 &&
        EVP_DigestSign(context, der, &der_bytes, (const uint8_t *)text, text_bytes) == 1;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(pair);
    return signed_it ? to_raw(der, der_bytes, raw) : ERR_NO_MEMORY;
}

static enum err write_token(const struct signer_key *key, const char *claims,
                            char token[TOKEN_BYTES_MAX]) {
    char header[128];
    uint8_t signature[SIGNATURE_BYTES];
    size_t used = 0;
    int length =
        snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"at+jwt\"}",
                 key->kid); /* a kid is ours: no character that JSON escapes */
    enum err error = length > 0 && (size_t)length < sizeof header
                         ? append(token, &used, header, (size_t)length)
                         : ERR_TOO_LARGE;
    if (error == ERR_OK) {
        error = append_dot(token, &used);
    }
    if (error == ERR_OK) {
        error = append(token, &used, claims, strlen(claims));
    }
    if (error == ERR_OK) {
        error = sign(key->private_pem, token, used, signature);
    }
    if (error == ERR_OK) {
        error = append_dot(token, &used);
    }
    return error == ERR_OK ? append(token, &used, signature, sizeof signature) : error;
}

enum err signer_sign(const struct signer_key *key, const struct signer_claims *claims,
                     char token[TOKEN_BYTES_MAX]) {
    char *json = claims_json(claims);
    enum err error = json != NULL ? write_token(key, json, token) : ERR_NO_MEMORY;
    free(json); /* malloc'ed by libjwt; 1.10 has no function of its own for it */
    return error;
}
