/* test_token: tokens made here with OpenSSL: good ones, and every forgery the reader must refuse.
 */
#include "common/token.h"
#include "common/mem.h"
#include "common/token_json.h"
#include "tests/unit/common/support_process.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define NOW_MS 1700000000000u
#define HEADER "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}"
#define CLAIMS                                                                                     \
    "{\"iss\":\"https://pipit\",\"aud\":\"pipit\",\"sub\":\"u_alice\",\"did\":\"d_phone\","        \
    "\"jti\":\"j1\",\"iat\":1699999990,\"nbf\":1699999990,\"exp\":1700000890,"                     \
    "\"scope\":\"chat admin\"}"

static EVP_PKEY *ours;
static EVP_PKEY *theirs;
static struct token_keys *keys;
static char token[8192];

static void point_of(EVP_PKEY *key, uint8_t x[32], uint8_t y[32]) {
    BIGNUM *number = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &number), 1);
    assert_int_equal(BN_bn2binpad(number, x, 32), 32);
    assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &number), 1);
    assert_int_equal(BN_bn2binpad(number, y, 32), 32);
    BN_free(number);
}

static int set_up(void **state) {
    (void)state;
    uint8_t x[32];
    uint8_t y[32];
    ours = EVP_EC_gen("P-256");
    theirs = EVP_EC_gen("P-256");
    assert_non_null(ours);
    assert_non_null(theirs);
    assert_int_equal(token_keys_create("https://pipit", "pipit", &keys), ERR_OK);
    point_of(ours, x, y);
    assert_int_equal(token_keys_add(keys, "k1", x, y), ERR_OK);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    token_keys_destroy(&keys);
    token_keys_destroy(&keys);
    EVP_PKEY_free(ours);
    EVP_PKEY_free(theirs);
    return 0;
}

static void encode(const void *bytes, size_t count, char *text, size_t text_max) {
    assert_non_null(
        sodium_bin2base64(text, text_max, bytes, count, sodium_base64_VARIANT_URLSAFE_NO_PADDING));
}

static void sign(EVP_PKEY *key, const char *text, uint8_t raw[64]) {
    uint8_t der[80];
    size_t der_bytes = sizeof(der);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(context, der, &der_bytes, (const uint8_t *)text, strlen(text)),
                     1);
    EVP_MD_CTX_free(context);
    const uint8_t *at = der;
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)der_bytes);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, 32), 32);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + 32, 32), 32);
    ECDSA_SIG_free(signature);
}

/* header and claims as JSON of these lengths, signed by key, in `token`. */
static const char *make_bytes(const void *header, size_t header_bytes, const void *claims,
                              size_t claims_bytes, EVP_PKEY *key) {
    uint8_t raw[64];
    encode(header, header_bytes, token, sizeof(token));
    (void)strcat(token, ".");
    encode(claims, claims_bytes, token + strlen(token), sizeof(token) - strlen(token));
    sign(key, token, raw);
    (void)strcat(token, ".");
    encode(raw, sizeof(raw), token + strlen(token), sizeof(token) - strlen(token));
    return token;
}

static const char *make(const char *header, const char *claims) {
    return make_bytes(header, strlen(header), claims, strlen(claims), ours);
}

static enum err verify(const char *text) {
    struct token_claims claims;
    memset(&claims, 0xaa, sizeof(claims));
    enum err error = token_verify(keys, text, strlen(text), NOW_MS, &claims);
    assert_true(error == ERR_OK || (uint8_t)claims.user[0] == 0xaa); /* untouched on failure */
    return error;
}

static void a_good_token_is_read(void **state) {
    (void)state;
    struct token_claims claims;
    const char *good = make(HEADER, CLAIMS);
    assert_int_equal(token_verify(keys, good, strlen(good), NOW_MS, &claims), ERR_OK);
    assert_string_equal(claims.user, "u_alice");
    assert_string_equal(claims.device, "d_phone");
    assert_string_equal(claims.jti, "j1");
    assert_true(claims.issued_ms == 1699999990000);
    assert_true(claims.expires_ms == 1700000890000);
    assert_true(claims.admin);
}

/* Signatures whose r or s begins with a zero or a high bit need care in DER. */
static void many_signatures_verify(void **state) {
    (void)state;
    for (int i = 0; i < 600; i++) {
        assert_int_equal(verify(make(HEADER, CLAIMS)), ERR_OK);
    }
}

static void one_flipped_bit_is_enough(void **state) {
    (void)state;
    char changed[8192];
    (void)make(HEADER, CLAIMS);
    size_t length = strlen(token);
    for (size_t i = 0; i < length; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            struct token_claims claims;
            memcpy(changed, token, length + 1);
            changed[i] = (char)(changed[i] ^ (1 << bit));
            enum err error = token_verify(keys, changed, length, NOW_MS, &claims);
            assert_true(error == ERR_INVALID || error == ERR_NOT_FOUND);
        }
    }
}

static void truncated_and_misshapen_are_refused(void **state) {
    (void)state;
    struct token_claims claims;
    (void)make(HEADER, CLAIMS);
    size_t length = strlen(token);
    for (size_t i = 0; i < length; i++) {
        assert_int_equal(token_verify(keys, token, i, NOW_MS, &claims), ERR_INVALID);
    }
    static const char *const shapes[] = {"",    ".",       "..",   "...",  "a",
                                         "a.b", "a.b.c.d", "....", "=.=.="};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        assert_int_equal(verify(shapes[i]), ERR_INVALID);
    }
    (void)strcat(token, "A");
    assert_int_equal(verify(token), ERR_INVALID);
    (void)make(HEADER, CLAIMS);
    (void)strcat(token, ".AAAA");
    assert_int_equal(verify(token), ERR_INVALID);
    (void)make(HEADER, CLAIMS);
    (void)strcat(token, "\n");
    assert_int_equal(verify(token), ERR_INVALID);
}

static void another_key_or_kid_is_refused(void **state) {
    (void)state;
    assert_int_equal(verify(make_bytes(HEADER, strlen(HEADER), CLAIMS, strlen(CLAIMS), theirs)),
                     ERR_INVALID);
    assert_int_equal(verify(make("{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"k1\"}", CLAIMS)),
                     ERR_OK); /* as libjwt 1.10 writes it */
    assert_int_equal(verify(make("{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k2\"}", CLAIMS)),
                     ERR_NOT_FOUND);
    token_keys_clear(keys);
    assert_int_equal(verify(make(HEADER, CLAIMS)), ERR_NOT_FOUND);
}

static void headers_are_pinned(void **state) {
    (void)state;
    static const char *const headers[] = {
        "{\"alg\":\"none\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}",
        "{\"alg\":\"es256\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}",
        "{\"alg\":\"ES384\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}",
        "{\"alg\":[\"ES256\"],\"typ\":\"at+jwt\",\"kid\":\"k1\"}",
        "{\"typ\":\"at+jwt\",\"kid\":\"k1\"}",
        "{\"alg\":\"ES256\",\"kid\":\"k1\"}",
        "{\"alg\":\"ES256\",\"typ\":\"id+jwt\",\"kid\":\"k1\"}",
        "{\"alg\":\"ES256\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"\"}",
        "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":1}",
        "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\",\"kid\":\"k1\"}",
        "{\"alg\":\"none\",\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}",
        "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\",\"jku\":\"https://evil/jwks\"}",
        "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\",\"jwk\":{}}",
        "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\",\"x5u\":\"https://evil\"}",
        "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\",\"x5c\":[]}",
        "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\",\"crit\":[\"b64\"]}",
        "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\\u0000\"}",
        "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\"} x",
        "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\"",
        "[\"ES256\"]",
        "\"ES256\"",
        "",
        "\xff\xfe",
        "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\",\"x\":[[[[1]]]]}",
        ("{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":"
         "\"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\"}")};
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        assert_int_equal(verify(make(headers[i], CLAIMS)), ERR_INVALID);
    }
}

/* The classic: an HMAC made with the public key, which everybody has. */
static void the_public_key_is_no_secret(void **state) {
    (void)state;
    static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}";
    BIO *memory = BIO_new(BIO_s_mem());
    char *pem = NULL;
    uint8_t mac[64] = {0};
    unsigned mac_bytes = 0;
    assert_int_equal(PEM_write_bio_PUBKEY(memory, ours), 1);
    long pem_bytes = BIO_get_mem_data(memory, &pem);
    for (int es256 = 0; es256 <= 1; es256++) {
        const char *own = es256 == 1 ? HEADER : header;
        encode(own, strlen(own), token, sizeof(token));
        (void)strcat(token, ".");
        encode(CLAIMS, strlen(CLAIMS), token + strlen(token), sizeof(token) - strlen(token));
        assert_non_null(HMAC(EVP_sha256(), pem, (int)pem_bytes, (const uint8_t *)token,
                             strlen(token), mac, &mac_bytes));
        (void)strcat(token, ".");
        encode(mac, es256 == 1 ? 64 : mac_bytes, token + strlen(token),
               sizeof(token) - strlen(token));
        assert_int_equal(verify(token), ERR_INVALID);
    }
    BIO_free(memory);
}

static void empty_and_zero_signatures_are_refused(void **state) {
    (void)state;
    static const uint8_t zero[64];
    char *last = NULL;
    (void)make(HEADER, CLAIMS);
    last = strrchr(token, '.') + 1;
    *last = '\0';
    assert_int_equal(verify(token), ERR_INVALID);
    encode(zero, 64, last, 200);
    assert_int_equal(verify(token), ERR_INVALID);
    encode(zero, 32, last, 200);
    assert_int_equal(verify(token), ERR_INVALID);
}

static void claims_must_be_exact(void **state) {
    (void)state;
    static const char *const claims[] = {
        /* each differs from CLAIMS in one thing */
        "{\"iss\":\"https://"
        "evil\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990,"
        "\"exp\":1700000890}",
        "{\"iss\":\"https://pipit/"
        "\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990,\"exp\":"
        "1700000890}",
        "{\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990,\"exp\":"
        "1700000890}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"other\",\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990,"
        "\"exp\":1700000890}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":[\"pipit\"],\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990,"
        "\"exp\":1700000890}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990,"
        "\"exp\":1700000890}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990,\"exp\":"
        "1700000890}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":7,\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990,"
        "\"exp\":1700000890}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"u\\n\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990,"
        "\"exp\":1700000890}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu\",\"did\":"
        "\"d\",\"jti\":\"j\",\"iat\":1699999990,\"exp\":1700000890}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"jti\":\"j\",\"iat\":1699999990,\"exp\":"
        "1700000890}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\",\"iat\":1699999990,\"exp\":"
        "1700000890}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"exp\":1700000890}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"iat\":"
        "\"1699999990\",\"exp\":1700000890}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990,"
        "\"exp\":1700000890.5}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990,"
        "\"exp\":1.7e18}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"iat\":-1,\"exp\":"
        "1700000890}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990,"
        "\"exp\":9223372036854775807}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990,"
        "\"exp\":1699999990}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1700000006,"
        "\"exp\":1700000890}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990,"
        "\"exp\":1700000890,\"nbf\":1700000006}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990,"
        "\"exp\":1700000890,\"nbf\":null}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990,"
        "\"exp\":1700000890,\"scope\":[\"admin\"]}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"sub\":\"v\",\"did\":\"d\",\"jti\":\"j\",\"iat\":"
        "1699999990,\"exp\":1700000890}",
        "{\"iss\":\"https://"
        "pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\",\"jti\":\"j\",\"iat\":1699999990,"
        "\"exp\":1700000890,\"x\":[[[[]]]]}",
        "[]",
        "{}",
        ""};
    for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
        assert_int_equal(verify(make(HEADER, claims[i])), ERR_INVALID);
    }
}

static enum err verify_times(const char *times) {
    char claims[512];
    (void)snprintf(claims, sizeof(claims),
                   "{\"iss\":\"https://pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\","
                   "\"jti\":\"j\",%s}",
                   times);
    return verify(make(HEADER, claims));
}

static void clocks_may_differ_by_the_leeway(void **state) {
    (void)state;
    assert_int_equal(verify_times("\"iat\":1700000005,\"exp\":1700000890"), ERR_OK);
    assert_int_equal(verify_times("\"iat\":1699999990,\"exp\":1700000890,\"nbf\":1700000005"),
                     ERR_OK);
    assert_int_equal(verify_times("\"iat\":1699990000,\"exp\":1699999996"), ERR_OK);
    assert_int_equal(verify_times("\"iat\":1699990000,\"exp\":1699999995"), ERR_EXPIRED);
    assert_int_equal(verify_times("\"iat\":0,\"exp\":1"), ERR_EXPIRED);
}

static void admin_is_a_whole_word(void **state) {
    (void)state;
    static const struct {
        const char *scope;
        bool admin;
    } scopes[] = {{"", false},
                  {",\"scope\":\"\"", false},
                  {",\"scope\":\"administrator\"", false},
                  {",\"scope\":\"noadmin admins\"", false},
                  {",\"scope\":\"admin\"", true},
                  {",\"scope\":\" chat  admin \"", true},
                  {",\"scope\":\"ADMIN\"", false},
                  {",\"scope\":\"chat,admin\"", false}};
    for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
        char claims[512];
        struct token_claims read;
        (void)snprintf(claims, sizeof(claims),
                       "{\"iss\":\"https://pipit\",\"aud\":\"pipit\",\"sub\":\"u\",\"did\":\"d\","
                       "\"jti\":\"j\",\"iat\":1699999990,\"exp\":1700000890%s}",
                       scopes[i].scope);
        (void)make(HEADER, claims);
        assert_int_equal(token_verify(keys, token, strlen(token), NOW_MS, &read), ERR_OK);
        assert_int_equal(read.admin, scopes[i].admin);
    }
}

static void base64_must_be_canonical(void **state) {
    (void)state;
    char changed[8192];
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (void)make(HEADER, CLAIMS);
    size_t length = strlen(token); /* 64 bytes: the last character has two unused bits */
    const char *place = strchr(alphabet, token[length - 1]);
    assert_int_equal((place - alphabet) % 4, 0);
    for (ptrdiff_t unused = 1; unused < 4; unused++) {
        memcpy(changed, token, length + 1);
        changed[length - 1] = place[unused];
        assert_int_equal(verify(changed), ERR_INVALID);
    }
    memcpy(changed, token, length + 1);
    (void)strcat(changed, "=");
    assert_int_equal(verify(changed), ERR_INVALID);
    (void)strcat(changed, "=");
    assert_int_equal(verify(changed), ERR_INVALID);
}

/* libsodium 1.0.18 reads the byte 0xdf as '_' (0x5f), and with it a second spelling of a token. */
static void bytes_outside_the_alphabet_are_refused(void **state) {
    (void)state;
    char *place = NULL;
    do { /* every other signature or so has one */
        (void)make(HEADER, CLAIMS);
        place = strchr(strrchr(token, '.'), '_');
    } while (place == NULL);
    for (int byte = 1; byte < 256; byte++) {
        if (byte != '_') {
            *place = (char)byte;
            assert_int_equal(verify(token), ERR_INVALID);
        }
    }
}

static void size_is_capped(void **state) {
    (void)state;
    struct token_claims claims;
    static char large[TOKEN_BYTES_MAX + 1];
    memset(large, 'a', sizeof(large));
    assert_int_equal(token_verify(keys, large, TOKEN_BYTES_MAX + 1, NOW_MS, &claims),
                     ERR_TOO_LARGE);
    assert_int_equal(token_verify(keys, large, TOKEN_BYTES_MAX, NOW_MS, &claims), ERR_INVALID);
    assert_int_equal(token_verify(keys, large, 0, NOW_MS, &claims), ERR_INVALID);
    char padded[3000];
    (void)snprintf(padded, sizeof(padded), "%.*s%*s}", (int)strlen(CLAIMS) - 1, CLAIMS, 2700, "");
    (void)make(HEADER, padded);
    assert_true(strlen(token) > 3800 && strlen(token) <= TOKEN_BYTES_MAX);
    assert_int_equal(verify(token), ERR_OK);
}

static void the_key_table_is_bounded(void **state) {
    (void)state;
    uint8_t x[32];
    uint8_t y[32];
    char kid[TOKEN_KID_BYTES + 1];
    point_of(theirs, x, y);
    for (int i = 2; i <= TOKEN_KEYS_MAX; i++) {
        (void)snprintf(kid, sizeof(kid), "k%d", i);
        assert_int_equal(token_keys_add(keys, kid, x, y), ERR_OK);
    }
    assert_int_equal(token_keys_count(keys), TOKEN_KEYS_MAX);
    assert_int_equal(token_keys_add(keys, "one-more", x, y), ERR_FULL);
    assert_int_equal(token_keys_add(keys, "k1", x, y), ERR_OK); /* replaced */
    assert_int_equal(token_keys_count(keys), TOKEN_KEYS_MAX);
    assert_int_equal(verify(make(HEADER, CLAIMS)), ERR_INVALID);
    assert_int_equal(verify(make_bytes(HEADER, strlen(HEADER), CLAIMS, strlen(CLAIMS), theirs)),
                     ERR_OK);
    memset(kid, 'k', TOKEN_KID_BYTES);
    kid[TOKEN_KID_BYTES] = '\0';
    assert_int_equal(token_keys_add(keys, kid, x, y), ERR_INVALID);
    assert_int_equal(token_keys_add(keys, "", x, y), ERR_INVALID);
}

static void points_off_the_curve_are_refused(void **state) {
    (void)state;
    uint8_t x[32];
    uint8_t y[32];
    point_of(theirs, x, y);
    y[31] ^= 1;
    assert_int_equal(token_keys_add(keys, "bad", x, y), ERR_INVALID);
    memset(x, 0, sizeof(x));
    memset(y, 0, sizeof(y));
    assert_int_equal(token_keys_add(keys, "bad", x, y), ERR_INVALID);
    memset(x, 0xff, sizeof(x));
    assert_int_equal(token_keys_add(keys, "bad", x, y), ERR_INVALID);
    assert_int_equal(token_keys_count(keys), 1);
}

static void a_failing_heap_is_no_memory(void **state) {
    (void)state;
    for (uint64_t nth = 1; nth <= 3; nth++) {
        struct token_keys *none = NULL;
        (void)mem_fault_set(nth, 1);
        assert_int_equal(token_keys_create("i", "a", &none), ERR_NO_MEMORY);
        assert_null(none);
    }
    (void)mem_fault_set(0, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(a_good_token_is_read),
                                       TEST(many_signatures_verify),
                                       TEST(one_flipped_bit_is_enough),
                                       TEST(truncated_and_misshapen_are_refused),
                                       TEST(another_key_or_kid_is_refused),
                                       TEST(headers_are_pinned),
                                       TEST(the_public_key_is_no_secret),
                                       TEST(empty_and_zero_signatures_are_refused),
                                       TEST(claims_must_be_exact),
                                       TEST(clocks_may_differ_by_the_leeway),
                                       TEST(admin_is_a_whole_word),
                                       TEST(base64_must_be_canonical),
                                       TEST(bytes_outside_the_alphabet_are_refused),
                                       TEST(size_is_capped),
                                       TEST(the_key_table_is_bounded),
                                       TEST(points_off_the_curve_are_refused),
                                       TEST(a_failing_heap_is_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
