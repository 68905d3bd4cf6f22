/* hub_auth: a scripted auth instance: hands out one public key, publishes revocations, and signs
 * the tokens of the tests. Include behind cmocka. */
#ifndef PIPIT_TESTS_HUB_AUTH_H
#define PIPIT_TESTS_HUB_AUTH_H

#include "common/arena.h"
#include "common/bus.h"
#include "common/stream.h"
#include "proto/accounts.pb-c.h"
#include "proto/envelope.h"
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define AUTH_REVOCATIONS 16

struct auth_script {
    struct bus_server *server;
    struct stream_publisher *publisher;
    EVP_PKEY *key;
    char kid[16];
    struct buf out;
    unsigned snapshots;
    bool no_keys;
    Pipit__Revocation revocations[AUTH_REVOCATIONS]; /* in snapshots */
    size_t revocation_count;
};

static inline void auth_point(EVP_PKEY *key, const char *name, uint8_t out[32]) {
    BIGNUM *number = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(key, name, &number), 1);
    assert_int_equal(BN_bn2binpad(number, out, 32), 32);
    BN_free(number);
}

static inline void auth_on_request(struct bus_request *request, const uint8_t *body, size_t bytes,
                                   void *user) {
    struct auth_script *auth = user;
    assert_int_equal(envelope_type(body, bytes), MESSAGE_AUTH_SNAPSHOT_REQUEST);
    auth->snapshots++;
    uint8_t x[32], y[32];
    auth_point(auth->key, OSSL_PKEY_PARAM_EC_PUB_X, x);
    auth_point(auth->key, OSSL_PKEY_PARAM_EC_PUB_Y, y);
    Pipit__SigningKey key = PIPIT__SIGNING_KEY__INIT;
    Pipit__SigningKey *keys[1] = {&key};
    Pipit__Revocation *revocations[AUTH_REVOCATIONS];
    Pipit__AuthSnapshotReply reply = PIPIT__AUTH_SNAPSHOT_REPLY__INIT;
    key.kid = auth->kid;
    key.x = (ProtobufCBinaryData){32, x};
    key.y = (ProtobufCBinaryData){32, y};
    reply.n_keys = auth->no_keys ? 0 : 1;
    reply.keys = keys;
    reply.issuer = (char *)"pipit";
    reply.audience = (char *)"chat";
    for (size_t i = 0; i < auth->revocation_count; i++) {
        revocations[i] = &auth->revocations[i];
    }
    reply.n_revocations = auth->revocation_count;
    reply.revocations = revocations;
    buf_clear(&auth->out);
    assert_int_equal(envelope_pack(MESSAGE_AUTH_SNAPSHOT_REPLY, &reply.base, false, &auth->out),
                     ERR_OK);
    bus_reply(request, buf_data(&auth->out), buf_len(&auth->out));
}

/* revocation may be NULL. */
static inline void auth_publish(struct auth_script *auth, Pipit__Revocation *revocation,
                                bool keys_changed) {
    Pipit__AuthEvent event = PIPIT__AUTH_EVENT__INIT;
    Pipit__Revocation *revocations[1] = {revocation};
    event.n_revocations = revocation != NULL ? 1 : 0;
    event.revocations = revocations;
    event.keys_changed = keys_changed;
    buf_clear(&auth->out);
    assert_int_equal(envelope_pack(MESSAGE_AUTH_EVENT, &event.base, false, &auth->out), ERR_OK);
    assert_int_equal(stream_publish(auth->publisher, STREAM_TOPIC_ALL, buf_data(&auth->out),
                                    buf_len(&auth->out)),
                     ERR_OK);
}

static inline void auth_new_key(struct auth_script *auth, const char *kid) {
    EVP_PKEY_free(auth->key);
    auth->key = EVP_EC_gen("P-256");
    assert_non_null(auth->key);
    (void)snprintf(auth->kid, sizeof auth->kid, "%s", kid);
}

static inline void auth_encode(const void *bytes, size_t count, char *text, size_t text_max) {
    assert_non_null(
        sodium_bin2base64(text, text_max, bytes, count, sodium_base64_VARIANT_URLSAFE_NO_PADDING));
}

static inline void auth_token(const struct auth_script *auth, const char *user, const char *device,
                              uint64_t issued_ms, uint64_t expires_ms, char token[1024]) {
    char header[96], claims[320];
    (void)snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}",
                   auth->kid);
    (void)snprintf(
        claims, sizeof claims,
        "{\"iss\":\"pipit\",\"aud\":\"chat\",\"sub\":\"%s\",\"did\":\"%s\",\"jti\":\"j1\","
        "\"iat\":%llu,\"nbf\":%llu,\"exp\":%llu,\"scope\":\"chat\"}",
        user, device, (unsigned long long)(issued_ms / 1000),
        (unsigned long long)(issued_ms / 1000), (unsigned long long)(expires_ms / 1000));
    auth_encode(header, strlen(header), token, 1024);
    (void)strcat(token, ".");
    auth_encode(claims, strlen(claims), token + strlen(token), 1024 - strlen(token));
    uint8_t der[80], raw[64];
    size_t der_bytes = sizeof der;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, auth->key), 1);
    assert_int_equal(
        EVP_DigestSign(context, der, &der_bytes, (const uint8_t *)token, strlen(token)), 1);
    EVP_MD_CTX_free(context);
    const uint8_t *at = der;
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)der_bytes);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, 32), 32);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + 32, 32), 32);
    ECDSA_SIG_free(signature);
    (void)strcat(token, ".");
    auth_encode(raw, sizeof raw, token + strlen(token), 1024 - strlen(token));
}

static inline void auth_start(struct auth_script *auth, struct loop *loop, struct bus *bus,
                              const char *address) {
    char rep[BUS_URL_BYTES], pub[BUS_URL_BYTES];
    buf_init(&auth->out, 1u << 20);
    auth_new_key(auth, "k1");
    assert_int_equal(bus_url_derive(address, BUS_URL_REP, rep), ERR_OK);
    assert_int_equal(bus_url_derive(address, BUS_URL_PUB, pub), ERR_OK);
    assert_int_equal(stream_publisher_create(loop, bus, pub, 4, &auth->publisher), ERR_OK);
    assert_int_equal(bus_server_create(bus, rep, 4, auth_on_request, auth, &auth->server), ERR_OK);
}

static inline void auth_finish(struct auth_script *auth) {
    bus_server_close(&auth->server);
    stream_publisher_destroy(&auth->publisher);
    EVP_PKEY_free(auth->key);
    buf_finish(&auth->out);
}

#endif
