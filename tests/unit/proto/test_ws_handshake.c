/* test_ws_handshake: the upgrade of RFC 6455 section 1.3 to the byte, each rule that refuses one
 * with its status, heads that arrive in pieces, and origins. */
#include "proto/ws_handshake.h"

#include "tests/unit/proto/support.h"
#include <stdio.h>

#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define UPGRADE "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define LINE "GET /v1/ws HTTP/1.1\r\n"
#define HOST "Host: pi.local:8083\r\n"
#define GOOD LINE HOST UPGRADE KEY VERSION

static enum err parse(const char *text, size_t count, struct ws_handshake *handshake, int *status) {
    uint8_t *copy = support_copy(text, count);
    enum err error = ws_handshake_parse(copy, count, handshake, status);
    if (error == ERR_OK) { /* slices must survive the copy for the caller */
        size_t offset = (size_t)(handshake->path.bytes - copy);
        assert_true(offset < count);
    }
    free(copy);
    return error;
}

static void expect_status(const char *text, int status) {
    struct ws_handshake handshake;
    int given = 0;
    assert_int_equal(parse(text, strlen(text), &handshake, &given), ERR_INVALID);
    assert_int_equal(given, status);
}

static void expect_ok(const char *text) {
    struct ws_handshake handshake;
    int status = 0;
    assert_int_equal(parse(text, strlen(text), &handshake, &status), ERR_OK);
    assert_int_equal(status, 0);
    assert_int_equal(handshake.head_bytes, strlen(text));
}

static void example_of_the_rfc(void **state) {
    (void)state;
    static const char text[] =
        "GET /v1/ws?x=1 HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, pipit.v1\r\n"
        "User-Agent:  test/1 \r\nSec-WebSocket-Version: 13\r\n\r\n\x81\x00";
    struct ws_handshake handshake;
    int status;
    assert_int_equal(
        ws_handshake_parse((const uint8_t *)text, sizeof text - 1, &handshake, &status), ERR_OK);
    support_expect_slice(handshake.path, "/v1/ws");
    support_expect_slice(handshake.host, "server.example.com");
    support_expect_slice(handshake.origin, "http://example.com");
    support_expect_slice(handshake.user_agent, "test/1");
    assert_true(handshake.protocol_offered);
    assert_int_equal(handshake.head_bytes, sizeof text - 3);
    assert_string_equal(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");

    struct buf out;
    buf_init(&out, 1000);
    assert_int_equal(ws_handshake_accept(&out, &handshake), ERR_OK);
    support_expect_text(
        &out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
              "Sec-WebSocket-Protocol: pipit.v1\r\n\r\n");
    handshake.protocol_offered = false;
    assert_int_equal(ws_handshake_accept(&out, &handshake), ERR_OK);
    support_expect_text(
        &out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    buf_finish(&out);
}

static void variants_are_accepted(void **state) {
    (void)state;
    expect_ok(GOOD "\r\n");
    expect_ok("GET / HTTP/1.1\r\n" HOST UPGRADE KEY VERSION "\r\n");
    expect_ok("GET /v1/ws? HTTP/1.1\r\n" HOST UPGRADE KEY VERSION "\r\n");
    expect_ok(LINE "hOsT:pi\r\nUPGRADE:WebSocket\r\nconnection: keep-alive, UPGRADE\r\n" KEY VERSION
                   "\r\n");
    expect_ok(
        LINE HOST
        "Upgrade: h2c\r\nUpgrade: websocket\r\nConnection: a\r\nConnection: upgrade\r\n" KEY VERSION
        "\r\n");
    expect_ok(GOOD "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Protocol: pipit.v1\r\n\r\n");
    expect_ok(GOOD "Sec-WebSocket-Extensions: permessage-deflate\r\nX-Forwarded-For: "
                   "1.2.3.4\r\nEmpty:\r\n\r\n");
    expect_ok(GOOD "Content-Length: 0\r\nX-Utf8: \xE6\x97\xA5\r\n\r\n");
}

static void wrong_requests_get_their_status(void **state) {
    (void)state;
    expect_status("POST /v1/ws HTTP/1.1\r\n" HOST UPGRADE KEY VERSION "\r\n", 405);
    expect_status("GET /v1/chat HTTP/1.1\r\n" HOST UPGRADE KEY VERSION "\r\n", 404);
    expect_status("GET /v1/ws/ HTTP/1.1\r\n" HOST UPGRADE KEY VERSION "\r\n", 404);
    expect_status("GET http://pi/v1/ws HTTP/1.1\r\n" HOST UPGRADE KEY VERSION "\r\n", 404);
    expect_status("GET /v1/ws HTTP/1.0\r\n" HOST UPGRADE KEY VERSION "\r\n", 505);
    expect_status("GET /v1/ws HTTP/2\r\n" HOST UPGRADE KEY VERSION "\r\n", 505);
    expect_status(LINE HOST "\r\n", 426);
    expect_status(LINE HOST "Connection: Upgrade\r\n" KEY VERSION "\r\n", 426);
    expect_status(LINE HOST "Upgrade: websocket\r\n" KEY VERSION "\r\n", 426);
    expect_status(LINE HOST "Upgrade: websocket2\r\nConnection: Upgrade\r\n" KEY VERSION "\r\n",
                  426);
    expect_status(LINE HOST UPGRADE KEY "\r\n", 426);
    expect_status(LINE HOST UPGRADE KEY "Sec-WebSocket-Version: 8\r\n\r\n", 426);
    expect_status(LINE HOST UPGRADE KEY "Sec-WebSocket-Version: 013\r\n\r\n", 426);
}

static void malformed_requests_are_bad(void **state) {
    (void)state;
    static const char *const texts[] = {
        LINE UPGRADE KEY VERSION "\r\n",             /* no host */
        LINE "Host:\r\n" UPGRADE KEY VERSION "\r\n", /* empty host */
        LINE HOST HOST UPGRADE KEY VERSION "\r\n",   /* two hosts */
        GOOD KEY "\r\n",                             /* two keys */
        GOOD VERSION "\r\n",                         /* two versions */
        GOOD "Origin: http://a\r\nOrigin: http://b\r\n\r\n",
        LINE HOST UPGRADE VERSION "\r\n", /* no key */
        LINE HOST UPGRADE VERSION "Sec-WebSocket-Key: x\r\n\r\n",
        LINE HOST UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n\r\n",
        LINE HOST UPGRADE VERSION
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZZ==\r\n\r\n", /* 17 bytes' worth */
        LINE HOST UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBs*SBub25jZQ==\r\n\r\n",
        LINE HOST UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=!\r\n\r\n",
        GOOD "Sec-WebSocket-Protocol: mqtt\r\n\r\n",
        GOOD "Sec-WebSocket-Protocol: PIPIT.V1\r\n\r\n",
        GOOD "Content-Length: 5\r\n\r\nhello",
        GOOD "Transfer-Encoding: chunked\r\n\r\n",
        GOOD "Folded: a\r\n b\r\n\r\n",
        GOOD "No-Colon\r\n\r\n",
        GOOD "Space : a\r\n\r\n",
        GOOD ": a\r\n\r\n",
        GOOD "Ctl: a\x01\r\n\r\n",
        GOOD "Bare: a\nLf: b\r\n\r\n",
        GOOD "Cr: a\rb\r\n\r\n",
        "GET  /v1/ws HTTP/1.1\r\n" HOST "\r\n",
        "GET /v1/ws\r\n" HOST "\r\n",
        "GET /v1/ws HTTP/1.1 x\r\n" HOST "\r\n",
        "GET /v1/\x01 HTTP/1.1\r\n" HOST "\r\n",
        "GET /v1/\xC3\xA9 HTTP/1.1\r\n" HOST "\r\n",
        "G@T /v1/ws HTTP/1.1\r\n" HOST "\r\n",
        "GET /v1/ws ICY/1.1\r\n" HOST "\r\n",
        "A\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        expect_status(texts[i], 400);
    }
    expect_status("\x16\x03\x01", 400); /* a TLS hello, at once */
    expect_status(" GET", 400);
    expect_status("\r\n", 400);
}

static void pieces_want_more(void **state) {
    (void)state;
    static const char text[] = GOOD "\r\n";
    for (size_t count = 0; count < sizeof text - 1; count++) {
        struct ws_handshake handshake;
        int status = 4711;
        assert_int_equal(parse(text, count, &handshake, &status), ERR_MORE);
        assert_int_equal(status, 4711);
    }
}

static void head_is_limited_to_the_byte(void **state) {
    (void)state;
    char *text = malloc(LIMIT_HTTP_HEAD_BYTES + 2);
    struct ws_handshake handshake;
    int status = 0;
    char *at = stpcpy(text, GOOD "Filler: ");
    memset(at, 'x', LIMIT_HTTP_HEAD_BYTES + 1 - (size_t)(at - text));
    memcpy(text + LIMIT_HTTP_HEAD_BYTES - 4, "\r\n\r\n", 4);
    assert_int_equal(parse(text, LIMIT_HTTP_HEAD_BYTES, &handshake, &status), ERR_OK);
    memset(text + LIMIT_HTTP_HEAD_BYTES - 4, 'x', 4);
    assert_int_equal(parse(text, LIMIT_HTTP_HEAD_BYTES - 1, &handshake, &status), ERR_MORE);
    memcpy(text + LIMIT_HTTP_HEAD_BYTES - 3, "\r\n\r\n", 4);
    assert_int_equal(parse(text, LIMIT_HTTP_HEAD_BYTES + 1, &handshake, &status), ERR_INVALID);
    assert_int_equal(status, 413);
    free(text);
}

static void fields_are_limited(void **state) {
    (void)state;
    char *text = malloc(LIMIT_HTTP_HEAD_BYTES);
    for (int extra = LIMIT_HTTP_HEADERS - 5; extra <= LIMIT_HTTP_HEADERS - 4; extra++) {
        char *at = stpcpy(text, GOOD); /* five fields */
        for (int i = 0; i < extra; i++) {
            at = stpcpy(at, "A: b\r\n");
        }
        strcpy(at, "\r\n");
        if (extra == LIMIT_HTTP_HEADERS - 5) {
            expect_ok(text);
        } else {
            expect_status(text, 400);
        }
    }
    free(text);
}

static void mutations_stay_inside(void **state) {
    (void)state;
    static const char text[] = GOOD "Origin: https://a\r\nSec-WebSocket-Protocol: pipit.v1\r\n\r\n";
    uint64_t seed = 3;
    for (int round = 0; round < 20000; round++) {
        char copy[sizeof text];
        struct ws_handshake handshake;
        int status = 0;
        memcpy(copy, text, sizeof text);
        copy[support_random(&seed) % (sizeof text - 1)] = "\r\n:, ?\0x"[support_random(&seed) % 8];
        enum err error = parse(copy, sizeof text - 1, &handshake, &status);
        assert_true(error == ERR_INVALID ? status >= 400 : status == 0);
    }
}

static void refusals_are_whole_answers(void **state) {
    (void)state;
    static const int statuses[] = {400, 403, 404, 405, 408, 413, 426, 429, 500, 503, 505};
    struct buf out;
    buf_init(&out, 1000);
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        char text[1000], begin[32];
        assert_int_equal(ws_handshake_refuse(&out, statuses[i]), ERR_OK);
        memcpy(text, buf_data(&out), buf_len(&out));
        text[buf_len(&out)] = '\0';
        sprintf(begin, "HTTP/1.1 %d ", statuses[i]);
        assert_memory_equal(text, begin, strlen(begin));
        char *body = strstr(text, "\r\n\r\n");
        assert_non_null(body);
        assert_int_equal(strlen(body + 4), atoi(strstr(text, "Content-Length: ") + 16));
        assert_non_null(strstr(text, "Connection: close"));
        assert_int_equal(strstr(text, "Sec-WebSocket-Version: 13\r\n") != NULL, statuses[i] == 426);
        assert_int_equal(strstr(text, "Retry-After: ") != NULL,
                         statuses[i] == 503 || statuses[i] == 429);
        buf_clear(&out);
    }
    assert_int_equal(ws_handshake_refuse(&out, 200), ERR_OK); /* never a success by mistake */
    assert_memory_equal(buf_data(&out), "HTTP/1.1 500 ", 13);
    buf_finish(&out);
    buf_init(&out, 20);
    assert_int_equal(ws_handshake_refuse(&out, 400), ERR_TOO_LARGE);
    assert_int_equal(buf_len(&out), 0);
    buf_finish(&out);
}

static bool origin(const char *text, const char *host, const char *allowed) {
    return ws_origin_allowed(slice_text(text), slice_text(host), allowed);
}

static void origins_of_the_same_host(void **state) {
    (void)state;
    assert_true(ws_origin_allowed((struct slice){0}, slice_text("pi"), ""));
    assert_true(origin("http://pi.local:8083", "pi.local:8083", ""));
    assert_true(origin("HTTP://PI.local:8083", "pi.LOCAL:8083", ""));
    assert_true(origin("http://pi.local", "pi.local", ""));
    assert_true(origin("https://pi.local", "pi.local", ""));
    assert_true(origin("https://pi.local", "pi.local:443", ""));
    assert_true(origin("http://[fe80::1]:8083", "[fe80::1]:8083", ""));
    assert_false(origin("http://pi.local", "pi.local:8083", ""));
    assert_false(origin("http://pi.local:8083", "pi.local", ""));
    assert_false(origin("http://evil.example", "pi.local", ""));
    assert_false(origin("http://pi.local.evil.example", "pi.local", ""));
    assert_false(origin("http://evil.example:80", "pi.local", ""));
    assert_false(origin("null", "pi.local", ""));
    assert_false(origin("file://", "pi.local", ""));
    assert_false(origin("http://pi.local:0", "pi.local", ""));
    assert_false(origin("http://pi.local:99999", "pi.local", ""));
    assert_false(origin("http://pi.local:8x", "pi.local", ""));
    assert_false(origin("http://pi.local:1234567", "pi.local", ""));
    assert_false(origin("http://[fe80::1", "[fe80::1", ""));
    assert_false(origin("http://", "", ""));
}

static void origins_of_a_list(void **state) {
    (void)state;
    static const char list[] =
        "https://chat.home.arpa, http://pi.local:8080 ,https://a.example:8443";
    assert_true(origin("https://chat.home.arpa", "x", list));
    assert_true(origin("https://chat.home.arpa:443", "x", list));
    assert_true(origin("http://PI.local:8080", "x", list));
    assert_true(origin("https://a.example:8443", "x", list));
    assert_false(origin("http://chat.home.arpa", "x", list));
    assert_false(origin("https://chat.home.arp", "x", list));
    assert_false(origin("https://chat.home.arpa.evil", "x", list));
    assert_false(origin("https://a.example", "x", list));
    assert_false(origin("null", "x", list));
    assert_false(origin("https://x", "x", " , "));
    assert_true(origin("https://anything", "x", "*"));
    assert_true(origin("null", "x", "*"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(example_of_the_rfc),
        cmocka_unit_test(variants_are_accepted),
        cmocka_unit_test(wrong_requests_get_their_status),
        cmocka_unit_test(malformed_requests_are_bad),
        cmocka_unit_test(pieces_want_more),
        cmocka_unit_test(head_is_limited_to_the_byte),
        cmocka_unit_test(fields_are_limited),
        cmocka_unit_test(mutations_stay_inside),
        cmocka_unit_test(refusals_are_whole_answers),
        cmocka_unit_test(origins_of_the_same_host),
        cmocka_unit_test(origins_of_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
