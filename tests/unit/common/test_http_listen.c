/* test_http_listen: addresses that are and are not, both families, and names of failures. */
#include "common/http_listen.h"
#include "tests/unit/common/support_http.h"
#include "tests/unit/common/support_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void good_addresses_listen(void **state) {
    (void)state;
    static const char *const addresses[] = {"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0", ":0"};
    for (size_t i = 0; i < 5; i++) {
        int fd = -1;
        uint16_t port = 0;
        enum err error = http_listen_open(addresses[i], &fd, &port);
        if (strchr(addresses[i], '[') != NULL && error != ERR_OK) {
            continue; /* a machine without IPv6 */
        }
        assert_int_equal(error, ERR_OK);
        assert_true(port > 0);
        assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
        assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        if (i != 2) { /* the others serve IPv4, "[::]" too */
            int client = support_http_connect(port);
            assert_true(client >= 0);
            (void)close(client);
        }
        (void)close(fd);
    }
}

static void bad_addresses_are_refused(void **state) {
    (void)state;
    static const char *const addresses[] = {
        "",
        "8080",
        "localhost:80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "1.2.3:80",
        "::1:80",
        "[::1:80",
        "[::1]",
        "[]:80",
        "127.0.0.1:+80",
        "[1.2.3.4]:80",
        "127.0.0.1:8o",
        "127.0.0.1: 80",
        " 127.0.0.1:80",
        "127.0.0.1:100000000000",
        "[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]:80"};
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        int fd = -7;
        uint16_t port = 7;
        assert_int_equal(http_listen_open(addresses[i], &fd, &port), ERR_INVALID);
        assert_int_equal(fd, -7);
        assert_int_equal(port, 7);
    }
}

static void failures_keep_their_names(void **state) {
    (void)state;
    char taken[32];
    int fd = -1;
    int second = -1;
    uint16_t port = 0;
    uint16_t unused = 0;
    assert_int_equal(http_listen_open("127.0.0.1:0", &fd, &port), ERR_OK);
    (void)snprintf(taken, sizeof(taken), "127.0.0.1:%u", port);
    assert_int_equal(http_listen_open(taken, &second, &unused), ERR_EXISTS);
    assert_int_equal(http_listen_open("192.0.2.1:0", &second, &unused), ERR_NOT_FOUND);
    assert_int_equal(second, -1);
    (void)close(fd);
}

static void addresses_are_formatted(void **state) {
    (void)state;
    char text[HTTP_ADDRESS_BYTES];
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000201)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    struct sockaddr local = {.sa_family = AF_UNIX};
    http_listen_format((struct sockaddr *)&v4, text);
    assert_string_equal(text, "192.0.2.1");
    assert_int_equal(inet_pton(AF_INET6, "2001:db8::1", &v6.sin6_addr), 1);
    http_listen_format((struct sockaddr *)&v6, text);
    assert_string_equal(text, "2001:db8::1");
    assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.7", &v6.sin6_addr), 1);
    http_listen_format((struct sockaddr *)&v6, text);
    assert_string_equal(text, "192.0.2.7");
    http_listen_format(&local, text);
    assert_string_equal(text, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_addresses_listen), cmocka_unit_test(bad_addresses_are_refused),
        cmocka_unit_test(failures_keep_their_names), cmocka_unit_test(addresses_are_formatted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
