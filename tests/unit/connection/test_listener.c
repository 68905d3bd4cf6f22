/* listener, limits, TLS and drain over real sockets: addresses in use, refusals in the client's own
 * words, a certificate that is replaced, and goodbyes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/connection/fake_net.h"
#include "tests/unit/connection/fake_session.h"
#include "services/connection/drain.h"
#include "services/connection/listener.h"
#include "services/connection/mqtt_session.h"
#include "services/connection/ws_session.h"
#include "tests/unit/connection/fake_net.h"
#include "tests/unit/connection/fake_session.h"

#include <netinet/in.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static struct listener *listener;
static struct listen_address address;

static int set_up(void **state) {
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    fake_reset();
    net_start();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    listener_destroy(&listener);
    net_stop();
    return 0;
}

static void listen_on(const struct conn_protocol *protocol, struct tls_context *tls) {
    assert_int_equal(listen_address_claim("127.0.0.1:0", &address), ERR_OK);
    assert_int_equal(listener_create(net.table, protocol, tls, &address, &listener), ERR_OK);
}

static int dial(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CONTRACT(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address.address, address.bytes), 0);
    CONTRACT(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    net_turn();
    return fd;
}

/* The loopback interface needs a moment that socket pairs do not. */
static void receive_until(int fd, size_t bytes) {
    net.read_bytes = 0;
    net.closed = false;
    for (int i = 0; i < 2000 && net.read_bytes < bytes && !net.closed; i++) {
        net_receive(fd);
        CONTRACT(loop_turn(net.loop, 1000) == ERR_OK);
    }
    assert_true(net.read_bytes >= bytes);
}

static const char upgrade[] =
    "GET / HTTP/1.1\r\nHost: pi\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

static void test_addresses(void **state) {
    (void)state;
    struct listen_address other;
    assert_int_equal(listen_address_claim("127.0.0.1", &other), ERR_INVALID);
    assert_int_equal(listen_address_claim("pi.local:1883", &other), ERR_INVALID);
    assert_int_equal(listen_address_claim("127.0.0.1:99999", &other), ERR_INVALID);
    assert_int_equal(listen_address_claim("192.0.2.1:1883", &other), ERR_NOT_FOUND);
    listen_on(&ws_protocol, NULL);
    char text[40];
    (void)snprintf(text, sizeof text, "127.0.0.1:%u", listen_address_port(&address));
    assert_int_equal(listen_address_claim(text, &other), ERR_EXISTS); /* although SO_REUSEPORT */
    struct listener *second = NULL;
    assert_int_equal(listener_create(net.table, &ws_protocol, NULL, &address, &second), ERR_OK);
    listener_destroy(&second);
    listener_destroy(&second);
}

static void test_both_families_on_one_port(void **state) {
    (void)state;
    enum err error = listen_address_claim("[::]:0", &address);
    if (error == ERR_IO || error == ERR_NOT_FOUND) {
        skip(); /* a machine without IPv6 */
    }
    assert_int_equal(error, ERR_OK);
    assert_int_equal(listener_create(net.table, &ws_protocol, NULL, &address, &listener), ERR_OK);
    uint16_t port = listen_address_port(&address);
    address = (struct listen_address){.bytes = sizeof(struct sockaddr_in)};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address.address;
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = dial();
    assert_int_equal(send(fd, upgrade, sizeof upgrade - 1, 0), sizeof upgrade - 1);
    receive_until(fd, 200);
    assert_memory_equal(net.read, "HTTP/1.1 101", 12);
    (void)close(fd);
}

static void test_limits_are_told_by_http(void **state) {
    (void)state;
    net.limits.connections_per_address_max = 2;
    listen_on(&ws_protocol, NULL);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = dial();
        assert_int_equal(send(fds[i], upgrade, sizeof upgrade - 1, 0), sizeof upgrade - 1);
        receive_until(fds[i], 12);
        assert_memory_equal(net.read, i < 2 ? "HTTP/1.1 101" : "HTTP/1.1 503", 12);
    }
    (void)close(fds[0]);
    (void)close(fds[2]);
    for (int i = 0; i < 1000 && conn_table_count(net.table) > 1; i++) {
        CONTRACT(loop_turn(net.loop, 1000) == ERR_OK);
    }
    fds[0] = dial();
    assert_int_equal(send(fds[0], upgrade, sizeof upgrade - 1, 0), sizeof upgrade - 1);
    receive_until(fds[0], 12);
    assert_memory_equal(net.read, "HTTP/1.1 101", 12);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void test_limits_are_told_by_connack(void **state) {
    (void)state;
    static const uint8_t connect_v4[] = {0x10, 19, 0, 4,   'M', 'Q', 'T', 'T', 4, 0xC2, 0,
                                         60,   0,  1, 'x', 0,   1,   'a', 0,   1, 'b'};
    net.limits.connections_max = 0;
    listen_on(&mqtt_protocol, NULL);
    int fd = dial();
    assert_int_equal(send(fd, connect_v4, sizeof connect_v4, 0), sizeof connect_v4);
    receive_until(fd, 4);
    assert_memory_equal(net.read, "\x20\x02\x00\x03", 4);
    assert_int_equal(atomic_load(&net.limits.refusals), 1);
    (void)close(fd);
}

static void test_refusals_are_bounded(void **state) {
    (void)state;
    struct limits_share share[LIMITS_REFUSALS_MAX + 1];
    struct sockaddr peer = {.sa_family = AF_UNIX};
    net.limits.connections_max = 0;
    for (size_t i = 0; i <= LIMITS_REFUSALS_MAX; i++) {
        assert_int_equal(limits_enter(&net.limits, &peer, &share[i]), REASON_OVERLOAD);
        assert_int_equal(share[i].counted, i < LIMITS_REFUSALS_MAX);
    }
    for (size_t i = 0; i <= LIMITS_REFUSALS_MAX; i++) {
        limits_leave(&net.limits, &share[i]);
    }
    assert_int_equal(atomic_load(&net.limits.refusals), 0);
}

static void test_running_out_of_descriptors_pauses_and_recovers(void **state) {
    (void)state;
    struct rlimit before, few;
    listen_on(&ws_protocol, NULL);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = (rlim_t)fd + 1; /* nothing above what is open now */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address.address, address.bytes), 0);
    net_turn();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    uint8_t byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0); /* closed, not left hanging */
    assert_int_equal(conn_table_count(net.table), 0);
    (void)close(fd);
    net_advance(250000);
    fd = dial();
    assert_int_equal(send(fd, upgrade, sizeof upgrade - 1, 0), sizeof upgrade - 1);
    receive_until(fd, 12);
    (void)close(fd);
}

/* --- TLS */

static void write_certificate(const char *cert_file, const char *key_file, const char *name) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_NAME *subject = X509_get_subject_name(cert);
    assert_int_equal(X509_set_version(cert, 2), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(cert), 1), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert), 0));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert), 86400));
    assert_int_equal(X509_set_pubkey(cert, key), 1);
    assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                                (const unsigned char *)name, -1, -1, 0),
                     1);
    assert_int_equal(X509_set_issuer_name(cert, subject), 1);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    FILE *file = fopen(cert_file, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, cert), 1);
    assert_int_equal(fclose(file), 0);
    file = fopen(key_file, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
    X509_free(cert);
    EVP_PKEY_free(key);
}

struct tls_client {
    SSL_CTX *context;
    SSL *ssl;
    int fd;
    char name[64]; /* of the server's certificate */
};

static bool tls_step(int result, SSL *ssl) {
    int error = SSL_get_error(ssl, result);
    if (result <= 0 && error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
        return false;
    }
    CONTRACT(loop_turn(net.loop, 1000) == ERR_OK);
    return true;
}

static bool tls_dial(struct tls_client *client, int version) {
    *client = (struct tls_client){.context = SSL_CTX_new(TLS_client_method()), .fd = dial()};
    assert_int_equal(SSL_CTX_set_max_proto_version(client->context, version), 1);
    client->ssl = SSL_new(client->context);
    assert_int_equal(SSL_set_fd(client->ssl, client->fd), 1);
    int result = 0;
    for (int i = 0; i < 2000 && result != 1; i++) {
        result = SSL_connect(client->ssl);
        if (result != 1 && !tls_step(result, client->ssl)) {
            return false;
        }
    }
    X509 *cert = SSL_get1_peer_certificate(client->ssl);
    assert_non_null(cert);
    assert_true(X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, client->name,
                                          sizeof client->name) > 0);
    X509_free(cert);
    return true;
}

static void tls_hang_up(struct tls_client *client) {
    SSL_free(client->ssl);
    SSL_CTX_free(client->context);
    (void)close(client->fd);
    net_turn();
}

static void tls_exchange(struct tls_client *client, const char *request, const char *answer) {
    char text[4096];
    size_t have = 0;
    assert_int_equal(SSL_write(client->ssl, request, (int)strlen(request)), strlen(request));
    for (int i = 0; i < 2000 && have < strlen(answer); i++) {
        int got = SSL_read(client->ssl, text + have, (int)(sizeof text - have));
        if (got > 0) {
            have += (size_t)got;
        } else if (!tls_step(got, client->ssl)) {
            break;
        }
    }
    assert_true(have >= strlen(answer));
    assert_memory_equal(text, answer, strlen(answer));
}

static char folder[] = "/tmp/pipit-listener-XXXXXX";
static char cert_file[64], key_file[64];

static struct tls_context *make_context(const char *name) {
    struct buf problem;
    struct tls_context *context = NULL;
    if (cert_file[0] == '\0') {
        assert_non_null(mkdtemp(folder));
        (void)snprintf(cert_file, sizeof cert_file, "%s/cert.pem", folder);
        (void)snprintf(key_file, sizeof key_file, "%s/key.pem", folder);
    }
    write_certificate(cert_file, key_file, name);
    buf_init(&problem, 1000);
    assert_int_equal(tls_context_create(cert_file, key_file, &problem, &context), ERR_OK);
    buf_finish(&problem);
    return context;
}

static void test_tls_and_a_new_certificate(void **state) {
    (void)state;
    struct tls_context *context = make_context("old");
    struct tls_client one, two;
    struct buf problem;
    buf_init(&problem, 1000);
    listen_on(&ws_protocol, context);
    assert_true(tls_dial(&one, TLS1_3_VERSION));
    assert_string_equal(one.name, "old");
    tls_exchange(&one, upgrade, "HTTP/1.1 101");
    assert_false(tls_context_files_changed(context));
    write_certificate(cert_file, key_file, "new");
    assert_true(tls_context_files_changed(context));
    assert_false(tls_context_files_changed(context));
    assert_int_equal(tls_context_reload(context, &problem), ERR_OK);
    assert_true(tls_dial(&two, TLS1_2_VERSION));
    assert_string_equal(two.name, "new");
    tls_exchange(&two, upgrade, "HTTP/1.1 101");
    /* The old one goes on with what it began with. */
    static const char ping[] = "\x89\x80\x01\x02\x03\x04";
    assert_int_equal(SSL_write(one.ssl, ping, 6), 6);
    char pong[600];
    bool seen = false;
    for (int i = 0; i < 2000 && !seen; i++) {
        int got = SSL_read(one.ssl, pong, sizeof pong);
        if (got > 0) {
            seen = memmem(pong, (size_t)got, "\x8A\x00", 2) != NULL;
        } else {
            assert_true(tls_step(got, one.ssl));
        }
    }
    assert_true(seen);
    /* A broken pair changes nothing. */
    FILE *file = fopen(key_file, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(tls_context_reload(context, &problem), ERR_INVALID);
    assert_true(buf_len(&problem) > 0);
    tls_hang_up(&two);
    assert_true(tls_dial(&two, TLS1_3_VERSION));
    assert_string_equal(two.name, "new");
    tls_hang_up(&one);
    tls_hang_up(&two);
    listener_destroy(&listener);
    conn_table_destroy(&net.table);
    CONTRACT(conn_table_create(net.loop, NULL, &net.settings, &net.limits, &net.table) == ERR_OK);
    tls_context_destroy(&context);
    buf_finish(&problem);
}

static void test_tls_refuses_old_versions_and_plain_bytes(void **state) {
    (void)state;
    struct tls_context *context = make_context("x");
    struct tls_client old;
    listen_on(&mqtt_protocol, context);
    assert_false(tls_dial(&old, TLS1_1_VERSION));
    tls_hang_up(&old);
    int fd = dial();
    assert_int_equal(send(fd, upgrade, sizeof upgrade - 1, 0), sizeof upgrade - 1);
    for (int i = 0; i < 2000 && conn_table_count(net.table) > 0; i++) {
        CONTRACT(loop_turn(net.loop, 1000) == ERR_OK);
    }
    assert_int_equal(conn_table_count(net.table), 0);
    (void)close(fd);
    /* Silent in the middle of a handshake. */
    fd = dial();
    assert_int_equal(send(fd, "\x16\x03\x01", 3, 0), 3);
    net_turn();
    assert_int_equal(net.table->states[CONN_TLS].count, 1);
    net_advance(10500000);
    assert_int_equal(conn_table_count(net.table), 0);
    (void)close(fd);
    listener_destroy(&listener);
    tls_context_destroy(&context);
}

static void test_bad_certificates_are_one_clear_line(void **state) {
    (void)state;
    struct tls_context *context = NULL;
    struct buf problem;
    buf_init(&problem, 1000);
    assert_int_equal(
        tls_context_create("/nowhere/cert.pem", "/nowhere/key.pem", &problem, &context),
        ERR_INVALID);
    assert_null(context);
    assert_non_null(memmem(buf_data(&problem), buf_len(&problem), "tls_cert_file", 13));
    assert_non_null(memmem(buf_data(&problem), buf_len(&problem), "/nowhere/cert.pem", 17));
    assert_null(memchr(buf_data(&problem), '\n', buf_len(&problem)));
    buf_finish(&problem);
}

/* Much over TLS to a client that reads late: partial writes and records must fit together. */
static void test_tls_with_a_full_socket(void **state) {
    (void)state;
    static char frame[50000], text[65536];
    struct tls_context *context = make_context("x");
    struct tls_client client;
    memset(frame, 'y', sizeof frame - 1);
    net.settings.send_queue_bytes_max = 16u << 20;
    listen_on(&ws_protocol, context);
    assert_true(tls_dial(&client, TLS1_3_VERSION));
    tls_exchange(&client, upgrade, "HTTP/1.1 101");
    struct list_node *node = list_first(&net.table->states[CONN_LOGIN]);
    struct conn *conn = CONTAINER_OF(node, struct conn, state_node);
    size_t sent = 0;
    while (conn->accounted_bytes < 500000) {
        uint8_t head[4] = {0x81, 126, (uint8_t)((sizeof frame - 1) >> 8),
                           (uint8_t)((sizeof frame - 1) & 0xFF)};
        conn_wrote(conn, buf_append(conn_out(conn), head, 4));
        conn_wrote(conn, buf_append(conn_out(conn), frame, sizeof frame - 1));
        sent += sizeof frame - 1;
        CONTRACT(loop_turn(net.loop, 0) == ERR_OK);
    }
    size_t received = 0;
    for (int i = 0; i < 100000 && received < sent; i++) {
        int got = SSL_read(client.ssl, text, sizeof text);
        for (int k = 0; k < got; k++) {
            received += text[k] == 'y';
        }
        if (got <= 0) {
            assert_true(tls_step(got, client.ssl));
        }
    }
    assert_int_equal(received, sent);
    tls_hang_up(&client);
    listener_destroy(&listener);
    conn_table_destroy(&net.table);
    CONTRACT(conn_table_create(net.loop, NULL, &net.settings, &net.limits, &net.table) == ERR_OK);
    tls_context_destroy(&context);
}

/* --- drain */

static unsigned done;

static void on_done(void *user) {
    (void)user;
    done++;
}

static void log_in(int fd) {
    static const char frame[] = "{\"t\":\"auth\",\"id\":1,\"d\":{\"token\":\"good\"}}";
    uint8_t bytes[64] = {0x81, 0x80 | (sizeof frame - 1), 0, 0, 0, 0};
    memcpy(bytes + 6, frame, sizeof frame - 1);
    net_send(fd, upgrade, sizeof upgrade - 1);
    net_send(fd, bytes, 6 + sizeof frame - 1);
    fake.session->ops->on_opened(fake.session, REASON_OK);
    net_turn();
}

static void test_drain_answers_first_and_is_paced(void **state) {
    (void)state;
    struct drain drain;
    int fds[10];
    struct session *sessions[10];
    done = 0;
    for (int i = 0; i < 10; i++) {
        fds[i] = net_connect(&ws_protocol, REASON_OK);
        log_in(fds[i]);
        sessions[i] = fake.session;
        net.read_bytes = 0;
        net_receive(fds[i]);
    }
    sessions[9]->unanswered = 1;
    int silent = net_connect(&ws_protocol, REASON_OK);
    drain_begin(&drain, net.table, 4, 10000000, on_done, NULL);
    net_advance(1000000);
    size_t live = net.table->states[CONN_LIVE].count;
    assert_in_range(live, 4, 6); /* four or five in the first second */
    assert_int_equal(net.table->states[CONN_OPENING].count, 0);
    net_advance(1500000);
    assert_int_equal(net.table->states[CONN_LIVE].count, 1); /* its answer is due */
    sessions[9]->unanswered = 0;
    net_advance(500000);
    assert_int_equal(net.table->states[CONN_LIVE].count, 0);
    net.read_bytes = 0;
    net_receive(fds[0]);
    assert_non_null(
        memmem(net.read, net.read_bytes, "{\"t\":\"bye\",\"d\":{\"code\":\"drain\"", 28));
    assert_non_null(memmem(net.read, net.read_bytes, "\x03\xf4", 2)); /* 1012 */
    for (int i = 0; i < 10; i++) {
        (void)close(fds[i]);
    }
    (void)close(silent);
    net_advance(1000000);
    assert_int_equal(done, 1);
    assert_int_equal(fake.left, 1);
}

static void test_drain_ends_in_time_whatever_clients_do(void **state) {
    (void)state;
    struct drain drain;
    int fds[3];
    done = 0;
    for (int i = 0; i < 3; i++) {
        fds[i] = net_connect(&ws_protocol, REASON_OK);
        log_in(fds[i]);
        fake.session->unanswered = 1; /* never answered */
    }
    drain_begin(&drain, net.table, 1000, 4000000, on_done, NULL);
    net_advance(3500000);
    assert_int_equal(done, 1);
    assert_int_equal(conn_table_count(net.table), 0);
    for (int i = 0; i < 3; i++) {
        (void)close(fds[i]);
    }
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_addresses),
        T(test_both_families_on_one_port),
        T(test_limits_are_told_by_http),
        T(test_limits_are_told_by_connack),
        T(test_refusals_are_bounded),
        T(test_running_out_of_descriptors_pauses_and_recovers),
        T(test_tls_and_a_new_certificate),
        T(test_tls_refuses_old_versions_and_plain_bytes),
        T(test_bad_certificates_are_one_clear_line),
        T(test_tls_with_a_full_socket),
        T(test_drain_answers_first_and_is_paced),
        T(test_drain_ends_in_time_whatever_clients_do),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (cert_file[0] != '\0') {
        (void)unlink(cert_file);
        (void)unlink(key_file);
        (void)rmdir(folder);
    }
    return failed;
}
