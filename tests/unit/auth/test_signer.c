/* signer: what it signs, common/token accepts, with every claim as given; and nobody else's key
 * does. */
#include "services/auth/signer.h"

#include <sodium.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW_S 1795262400u

static struct signer_key key;
static struct token_keys *keys;

static int setup(void **state) {
    (void)state;
    if (sodium_init() < 0 || signer_key_make(&key) != ERR_OK ||
        token_keys_create("pipit", "chat", &keys) != ERR_OK) {
        return -1;
    }
    return token_keys_add(keys, key.kid, key.x, key.y) == ERR_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    token_keys_destroy(&keys);
    return 0;
}

static struct signer_claims claims_of(bool admin) {
    return (struct signer_claims){.issuer = "pipit",
                                  .audience = "chat",
                                  .user = "u_ann",
                                  .device = "d_1",
                                  .jti = "t_abc",
                                  .issued_s = NOW_S,
                                  .expires_s = NOW_S + 900,
                                  .admin = admin};
}

static enum err verify(const char *token, struct token_claims *claims) {
    return token_verify(keys, token, strlen(token), NOW_S * 1000ull, claims);
}

static void test_round_trip(void **state) {
    (void)state;
    for (int admin = 0; admin < 2; admin++) {
        struct signer_claims claims = claims_of(admin == 1);
        struct token_claims read = {0};
        char token[TOKEN_BYTES_MAX];
        assert_int_equal(signer_sign(&key, &claims, token), ERR_OK);
        assert_int_equal(verify(token, &read), ERR_OK);
        assert_string_equal(read.user, "u_ann");
        assert_string_equal(read.device, "d_1");
        assert_string_equal(read.jti, "t_abc");
        assert_int_equal(read.issued_ms, NOW_S * 1000ull);
        assert_int_equal(read.expires_ms, (NOW_S + 900) * 1000ull);
        assert_int_equal(read.admin, admin == 1);
    }
}

static void test_header(void **state) {
    (void)state;
    struct signer_claims claims = claims_of(false);
    char token[TOKEN_BYTES_MAX];
    char header[256] = "";
    size_t bytes = 0;
    assert_int_equal(signer_sign(&key, &claims, token), ERR_OK);
    assert_int_equal(sodium_base642bin((uint8_t *)header, sizeof header - 1, token,
                                       strcspn(token, "."), NULL, &bytes, NULL,
                                       sodium_base64_VARIANT_URLSAFE_NO_PADDING),
                     0);
    assert_non_null(strstr(header, "\"alg\":\"ES256\""));
    assert_non_null(strstr(header, "\"typ\":\"at+jwt\""));
    assert_non_null(strstr(header, key.kid));
}

static void test_another_key(void **state) {
    (void)state;
    struct signer_key other;
    struct signer_claims claims = claims_of(false);
    struct token_claims read = {0};
    char token[TOKEN_BYTES_MAX];
    assert_int_equal(signer_key_make(&other), ERR_OK);
    assert_string_not_equal(other.kid, key.kid);
    assert_memory_not_equal(other.x, key.x, sizeof key.x);
    assert_int_equal(signer_sign(&other, &claims, token), ERR_OK);
    assert_int_equal(verify(token, &read), ERR_NOT_FOUND);
    memcpy(other.kid, key.kid, sizeof other.kid);
    assert_int_equal(signer_sign(&other, &claims, token), ERR_OK);
    assert_int_equal(verify(token, &read), ERR_INVALID);
}

static void test_every_signature_verifies(void **state) {
    (void)state;
    /* r and s with leading zero bytes come once in 128: their padding must be right. */
    struct signer_claims claims = claims_of(false);
    struct token_claims read = {0};
    char token[TOKEN_BYTES_MAX];
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(signer_sign(&key, &claims, token), ERR_OK);
        assert_int_equal(verify(token, &read), ERR_OK);
    }
}

static void test_broken_key(void **state) {
    (void)state;
    struct signer_key broken = key;
    struct signer_claims claims = claims_of(false);
    char token[TOKEN_BYTES_MAX];
    (void)snprintf(broken.private_pem, sizeof broken.private_pem, "not a key");
    assert_int_not_equal(signer_sign(&broken, &claims, token), ERR_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_header),
        cmocka_unit_test(test_another_key), cmocka_unit_test(test_every_signature_verifies),
        cmocka_unit_test(test_broken_key)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
