/* bus over mutual TLS: good certificates connect; a wrong CA, a wrong name or no certificate at all
 * never does. The certificates are made here, by libcrypto, and live as long as the test. */
#include "common/bus.h"

#include "tests/unit/common/support_bus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#define NEGATIVE_WAIT_US 400000u /* a good handshake takes about 15 ms */

static char folder[] = "/tmp/pipit-tls-XXXXXX";

struct identity {
    EVP_PKEY *key;
    X509 *certificate;
    char key_file[64], certificate_file[64];
};
static struct identity ca, other_ca, service, stranger, foreign;

static struct loop *loop;
static char url[BUS_URL_BYTES];

static void add_extension(X509 *certificate, int nid, const char *value) {
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void write_files(struct identity *identity, const char *name) {
    (void)snprintf(identity->key_file, sizeof identity->key_file, "%s/%s.key", folder, name);
    (void)snprintf(identity->certificate_file, sizeof identity->certificate_file, "%s/%s.crt",
                   folder, name);
    FILE *file = fopen(identity->key_file, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, identity->key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
    file = fopen(identity->certificate_file, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, identity->certificate), 1);
    assert_int_equal(fclose(file), 0);
}

/* issuer NULL: a CA that signs itself. */
static void make_identity(struct identity *identity, const char *name, const char *dns_name,
                          const struct identity *issuer) {
    static long serial = 1;
    identity->key = EVP_EC_gen("P-256");
    identity->certificate = X509_new();
    assert_non_null(identity->key);
    assert_non_null(identity->certificate);
    X509 *made = identity->certificate;
    assert_int_equal(X509_set_version(made, X509_VERSION_3), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(made), serial++), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(made), -3600));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(made), 3600));
    assert_int_equal(X509_set_pubkey(made, identity->key), 1);
    X509_NAME *subject = X509_get_subject_name(made);
    assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                                (const unsigned char *)name, -1, -1, 0),
                     1);
    X509 *signer = issuer != NULL ? issuer->certificate : made;
    assert_int_equal(X509_set_issuer_name(made, X509_get_subject_name(signer)), 1);
    add_extension(made, NID_basic_constraints,
                  issuer == NULL ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (dns_name != NULL) {
        char value[64];
        (void)snprintf(value, sizeof value, "DNS:%s", dns_name);
        add_extension(made, NID_subject_alt_name, value);
    }
    EVP_PKEY *signing_key = issuer != NULL ? issuer->key : identity->key;
    assert_true(X509_sign(made, signing_key, EVP_sha256()) > 0);
    write_files(identity, name);
}

static void drop_identity(struct identity *identity) {
    EVP_PKEY_free(identity->key);
    X509_free(identity->certificate);
    (void)unlink(identity->key_file);
    (void)unlink(identity->certificate_file);
}

static int setup_all(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    make_identity(&ca, "ca", NULL, NULL);
    make_identity(&other_ca, "other-ca", NULL, NULL);
    make_identity(&service, "service", BUS_TLS_NAME, &ca);
    make_identity(&stranger, "stranger", "somebody-else", &ca);
    make_identity(&foreign, "foreign", BUS_TLS_NAME, &other_ca);
    return 0;
}

static int teardown_all(void **state) {
    (void)state;
    drop_identity(&ca);
    drop_identity(&other_ca);
    drop_identity(&service);
    drop_identity(&stranger);
    drop_identity(&foreign);
    return rmdir(folder);
}

static int setup(void **state) {
    (void)state;
    char base[BUS_URL_BYTES] = "tls+";
    char tcp_base[BUS_URL_BYTES];
    support_tcp_address(tcp_base);
    memcpy(base + strlen("tls+"), tcp_base, sizeof base - strlen("tls+"));
    return bus_url_derive(base, BUS_URL_REP, url) == ERR_OK && loop_create(8, &loop) == ERR_OK ? 0
                                                                                               : -1;
}

static int teardown(void **state) {
    (void)state;
    loop_destroy(&loop);
    return 0;
}

static struct bus *make_bus(const struct identity *trusted, const struct identity *own) {
    struct bus *bus;
    struct bus_config config = {
        .message_bytes_max = 4096,
        .tls_ca_file = trusted->certificate_file,
        .tls_cert_file = own->certificate_file,
        .tls_key_file = own->key_file,
    };
    assert_int_equal(bus_create(loop, &config, &bus), ERR_OK);
    return bus;
}

static void on_echo(struct bus_request *request, const uint8_t *body, size_t body_bytes,
                    void *user) {
    (void)user;
    bus_reply(request, body, body_bytes);
}

static void on_state(struct bus_peer *peer, bool up, void *user) {
    (void)peer;
    *(unsigned *)user += up;
}

static void on_reply(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    assert_int_equal(status, ERR_OK);
    assert_int_equal(body_bytes, 5);
    assert_memory_equal(body, "hello", 5);
    (*(unsigned *)user)++;
}

static void good_certificates_connect(void **state) {
    (void)state;
    struct bus *server_bus = make_bus(&ca, &service);
    struct bus *client_bus = make_bus(&ca, &stranger); /* a client's name does not matter */
    struct bus_server *server;
    struct bus_peer *peer;
    unsigned ups = 0, replies = 0;
    assert_int_equal(bus_server_create(server_bus, url, 4, on_echo, NULL, &server), ERR_OK);
    assert_int_equal(bus_peer_create(client_bus, url, 4, on_state, &ups, &peer), ERR_OK);
    assert_true(support_turn_until_count(loop, &ups, 1));
    for (unsigned i = 1; i <= 50; i++) {
        assert_int_equal(bus_call(peer, "hello", 5, 5000000, on_reply, &replies), ERR_OK);
        assert_true(support_turn_until_count(loop, &replies, i));
    }
    bus_destroy(&client_bus);
    bus_destroy(&server_bus);
}

static void never_connects(const struct identity *server_ca, const struct identity *server_own,
                           const struct identity *client_ca, const struct identity *client_own) {
    struct bus *server_bus = make_bus(server_ca, server_own);
    struct bus *client_bus = make_bus(client_ca, client_own);
    struct bus_server *server;
    struct bus_peer *peer;
    unsigned ups = 0;
    assert_int_equal(bus_server_create(server_bus, url, 4, on_echo, NULL, &server), ERR_OK);
    assert_int_equal(bus_peer_create(client_bus, url, 4, on_state, &ups, &peer), ERR_OK);
    support_turn_for(loop, NEGATIVE_WAIT_US);
    assert_int_equal(ups, 0);
    bus_destroy(&client_bus);
    bus_destroy(&server_bus);
}

static void a_client_of_another_ca_is_refused(void **state) {
    (void)state;
    never_connects(&ca, &service, &ca, &foreign);
}

static void a_server_of_another_ca_is_refused(void **state) {
    (void)state;
    never_connects(&other_ca, &foreign, &ca, &foreign);
}

static void a_server_of_another_name_is_refused(void **state) {
    (void)state;
    never_connects(&ca, &stranger, &ca, &service);
}

static void plain_tcp_is_refused(void **state) {
    (void)state;
    struct bus *server_bus = make_bus(&ca, &service);
    struct bus_server *server;
    struct bus_peer *peer;
    unsigned ups = 0;
    assert_int_equal(bus_server_create(server_bus, url, 4, on_echo, NULL, &server), ERR_OK);
    assert_int_equal(bus_peer_create(server_bus, url + strlen("tls+"), 4, on_state, &ups, &peer),
                     ERR_OK);
    support_turn_for(loop, NEGATIVE_WAIT_US);
    assert_int_equal(ups, 0);
    bus_destroy(&server_bus);
}

static void bad_files_are_refused(void **state) {
    (void)state;
    struct bus *bus = NULL;
    struct bus_config config = {.message_bytes_max = 4096,
                                .tls_ca_file = ca.certificate_file,
                                .tls_cert_file = service.certificate_file};
    assert_int_equal(bus_create(loop, &config, &bus), ERR_INVALID); /* two of three */
    config.tls_key_file = "/nonexistent";
    assert_int_equal(bus_create(loop, &config, &bus), ERR_NOT_FOUND);
    config.tls_key_file = folder;
    assert_int_equal(bus_create(loop, &config, &bus), ERR_INVALID);
    config.tls_key_file = service.certificate_file; /* not a key */
    assert_int_equal(bus_create(loop, &config, &bus), ERR_INVALID);
    config.tls_key_file = service.key_file;
    config.tls_ca_file = service.key_file; /* not a certificate */
    assert_int_equal(bus_create(loop, &config, &bus), ERR_INVALID);
    assert_null(bus);
    config.tls_ca_file = config.tls_cert_file = config.tls_key_file = ""; /* unset settings */
    assert_int_equal(bus_create(loop, &config, &bus), ERR_OK);
    bus_destroy(&bus);
}

#define TLS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TLS_TEST(good_certificates_connect),
        TLS_TEST(a_client_of_another_ca_is_refused),
        TLS_TEST(a_server_of_another_ca_is_refused),
        TLS_TEST(a_server_of_another_name_is_refused),
        TLS_TEST(plain_tcp_is_refused),
        TLS_TEST(bad_files_are_refused),
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
