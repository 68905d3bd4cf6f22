/* test_http: requests over real sockets: whole, split, slow, too large, ambiguous; answers at once
 * and from another thread; the end of a server with work in flight. */
#include "common/http.h"
#include "common/clock.h"
#include "common/contract.h"
#include "common/mem.h"
#include "common/worker.h"
#include "tests/unit/common/support_http.h"
#include "tests/unit/common/support_process.h"

#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BODY_MAX 1000

struct fixture {
    struct http_server *server;
    struct worker_pool *pool;
    uint16_t port;
    atomic_uint handled;
    sem_t parked; /* posted when /park has been handed over */
    struct http_call *parked_call;
};

struct job {
    struct worker_job job;
    struct http_call *call;
};

static void answer_later(struct worker_job *worker_job) {
    struct job *job = CONTAINER_OF(worker_job, struct job, job);
    http_reply(job->call, 200, "text/plain", "later", 5, NULL);
    mem_free(job);
}

static void describe(struct http_call *call) {
    static const char *const known[] = {"a", "b", NULL};
    static const struct http_reply_header headers[] = {{"X-Test", "yes"}, {NULL, NULL}};
    char text[4096];
    size_t bytes = 0;
    const uint8_t *body = http_body(call, &bytes);
    const char *argument = http_query(call, "a");
    const char *header = http_header(call, "x-token");
    int length = snprintf(text, sizeof(text), "%s|%s|%s|%d|%s|%s|%.*s", http_method(call),
                          http_path(call), argument != NULL ? argument : "(none)",
                          http_query_known(call, known), header != NULL ? header : "(none)",
                          http_peer_address(call), (int)bytes, bytes > 0 ? (const char *)body : "");
    http_reply(call, 200, "text/plain", text, (size_t)length, headers);
}

static void on_call(struct http_call *call, void *user) {
    struct fixture *fixture = user;
    atomic_fetch_add(&fixture->handled, 1);
    if (strcmp(http_path(call), "/later") == 0) {
        struct job *job = mem_zalloc(1, sizeof(*job));
        assert_non_null(job);
        job->job.run = answer_later;
        job->call = call;
        assert_int_equal(worker_submit(fixture->pool, &job->job), ERR_OK);
    } else if (strcmp(http_path(call), "/park") == 0) {
        fixture->parked_call = call;
        (void)sem_post(&fixture->parked);
    } else {
        describe(call);
    }
}

static struct fixture fixture;

static void open_server(uint64_t idle_s, uint64_t request_s, uint32_t connections_max) {
    const struct http_config config = {.listen = "127.0.0.1:0",
                                       .connections_max = connections_max,
                                       .body_bytes_max = BODY_MAX,
                                       .idle_timeout_s = idle_s,
                                       .request_timeout_s = request_s};
    memset(&fixture, 0, sizeof(fixture));
    assert_int_equal(sem_init(&fixture.parked, 0, 0), 0);
    assert_int_equal(worker_pool_create("answers", 2, 100, &fixture.pool), ERR_OK);
    assert_int_equal(http_server_create(&config, on_call, &fixture, &fixture.server), ERR_OK);
    fixture.port = http_server_port(fixture.server);
    assert_true(fixture.port > 0);
}

static int set_up(void **state) {
    (void)state;
    open_server(30, 30, 100);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    worker_pool_destroy(&fixture.pool);
    http_server_destroy(&fixture.server);
    assert_null(fixture.server);
    http_server_destroy(&fixture.server);
    return 0;
}

static struct support_reply reply;

/* Sends a request on its own connection and reads the answer. */
static void ask(const char *request) {
    int fd = support_http_connect(fixture.port);
    assert_true(fd >= 0);
    (void)support_http_send(fd, request, strlen(request)); /* a refusal may close early */
    support_http_read(fd, &reply, 1);
    (void)close(fd);
}

static void a_request_reaches_the_handler(void **state) {
    (void)state;
    ask("POST /a%20b%2fc?a=1%262&b HTTP/1.1\r\nHost: x\r\nX-Token: t\r\nContent-Length: "
        "5\r\n\r\nhello");
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, "POST|/a b/c|1&2|1|t|127.0.0.1|hello");
    assert_non_null(strstr(reply.head, "X-Content-Type-Options: nosniff\r\n"));
    assert_non_null(strstr(reply.head, "Content-Type: text/plain\r\n"));
    assert_non_null(strstr(reply.head, "X-Test: yes\r\n"));
}

static void queries_are_exact(void **state) {
    (void)state;
    ask("GET /?A=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_string_equal(reply.body, "GET|/|(none)|0|(none)|127.0.0.1|");
    ask("GET /?a=1&a=2 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_string_equal(reply.body, "GET|/|1|1|(none)|127.0.0.1|");
    ask("GET /?a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_string_equal(reply.body, "GET|/||1|(none)|127.0.0.1|");
    ask("GET /?b=%zz%4 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_string_equal(reply.body, "GET|/|(none)|1|(none)|127.0.0.1|");
}

static void a_nul_does_not_cut_the_path(void **state) {
    (void)state;
    ask("GET /me%00/admin HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_string_equal(reply.body, "GET|/me%00/admin|(none)|1|(none)|127.0.0.1|");
}

static void a_connection_serves_many(void **state) {
    (void)state;
    int fd = support_http_connect(fixture.port);
    for (int i = 0; i < 50; i++) {
        const char *path = i % 2 == 0 ? "/later" : "/now";
        char request[128];
        int length = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
        assert_int_equal(support_http_send(fd, request, (size_t)length), 0);
        support_http_read(fd, &reply, 1);
        assert_int_equal(reply.status, 200);
        assert_int_equal(strcmp(reply.body, "later") == 0, i % 2 == 0);
    }
    (void)close(fd);
    assert_int_equal(atomic_load(&fixture.handled), 50);
}

static void head_has_no_body(void **state) {
    (void)state;
    int fd = support_http_connect(fixture.port);
    const char *head = "HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n";
    const char *get = "GET /y HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_int_equal(support_http_send(fd, head, strlen(head)), 0);
    support_http_read(fd, &reply, 0);
    assert_int_equal(reply.status, 200);
    assert_int_equal(support_http_send(fd, get, strlen(get)), 0);
    support_http_read(fd, &reply, 1); /* what follows is an answer, not the first one's body */
    assert_string_equal(reply.body, "GET|/y|(none)|1|(none)|127.0.0.1|");
    (void)close(fd);
}

static void a_split_request_is_whole(void **state) {
    (void)state;
    const char *request = "POST /s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                          "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    int fd = support_http_connect(fixture.port);
    for (size_t i = 0; request[i] != '\0'; i++) {
        assert_int_equal(support_http_send(fd, request + i, 1), 0);
    }
    support_http_read(fd, &reply, 1);
    assert_string_equal(reply.body, "POST|/s|(none)|1|(none)|127.0.0.1|abcdefg");
    (void)close(fd);
}

static void post(size_t body_bytes, bool chunked) {
    static char request[BODY_MAX * 4];
    int length = chunked ? snprintf(request, sizeof(request),
                                    "POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
                                    "chunked\r\n\r\n%zx\r\n",
                                    body_bytes)
                         : snprintf(request, sizeof(request),
                                    "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n",
                                    body_bytes);
    memset(request + length, 'b', body_bytes);
    (void)snprintf(request + (size_t)length + body_bytes,
                   sizeof(request) - (size_t)length - body_bytes, "%s",
                   chunked ? "\r\n0\r\n\r\n" : "");
    ask(request);
}

static void bodies_are_bounded(void **state) {
    (void)state;
    for (int chunked = 0; chunked <= 1; chunked++) {
        post(BODY_MAX, chunked == 1);
        assert_int_equal(reply.status, 200);
        assert_true(reply.body_bytes > BODY_MAX);
        post(BODY_MAX + 1, chunked == 1);
        assert_int_equal(reply.status, 413);
        assert_non_null(strstr(reply.head, "application/problem+json"));
        assert_non_null(strstr(reply.body, "\"code\":\"too_large\""));
    }
    assert_int_equal(atomic_load(&fixture.handled), 2);
}

static void an_endless_body_is_cut(void **state) {
    (void)state;
    static char chunk[65536 + 16];
    int fd = support_http_connect(fixture.port);
    const char *head = "POST /e HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_int_equal(support_http_send(fd, head, strlen(head)), 0);
    int length = snprintf(chunk, sizeof(chunk), "10000\r\n");
    memset(chunk + length, 'e', 65536);
    memcpy(chunk + length + 65536, "\r\n", 2);
    size_t sent = 0;
    while (support_http_send(fd, chunk, (size_t)length + 65536 + 2) == 0) {
        sent += 65536;
        assert_true(sent < 64u * 1024u * 1024u); /* 1 MiB and the socket buffers */
    }
    (void)close(fd);
    assert_int_equal(atomic_load(&fixture.handled), 0);
}

static void ambiguous_lengths_are_refused(void **state) {
    (void)state;
    static const char *const requests[] = {
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
         "3\r\nabc\r\n0\r\n\r\n"),
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
        "GET / HTTP/1.1\r\n\r\n", /* no Host */
    };
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        ask(requests[i]);
        assert_true(reply.status == 400 || reply.status == 413 || reply.status == 0);
    }
    ask(requests[0]);
    assert_int_equal(reply.status, 400);
    ask(requests[1]);
    assert_int_equal(reply.status, 400);
    assert_int_equal(atomic_load(&fixture.handled), 0);
}

static void headers_are_bounded_but_a_token_fits(void **state) {
    (void)state;
    static char request[32768];
    int length = snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: ");
    memset(request + length, 't', 4600);
    (void)snprintf(request + length + 4600, 64, "\r\n\r\n");
    ask(request);
    assert_int_equal(reply.status, 200);
    memset(request + length, 't', 20000);
    (void)snprintf(request + length + 20000, 64, "\r\n\r\n");
    ask(request);
    assert_true(reply.status == 431 || reply.status == 413 || reply.status == 0);
    assert_int_equal(atomic_load(&fixture.handled), 1);
}

static void expect_continue_is_answered(void **state) {
    (void)state;
    int fd = support_http_connect(fixture.port);
    const char *head =
        "POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    char line[64] = "";
    assert_int_equal(support_http_send(fd, head, strlen(head)), 0);
    assert_true(read(fd, line, 12) == 12);
    assert_string_equal(line, "HTTP/1.1 100");
    assert_int_equal(support_http_send(fd, "ok", 2), 0);
    while (strcmp(line + 8, "\r\n\r\n") != 0) {
        memmove(line, line + 1, 11);
        assert_true(read(fd, line + 11, 1) == 1);
    }
    support_http_read(fd, &reply, 1);
    assert_string_equal(reply.body, "POST|/c|(none)|1|(none)|127.0.0.1|ok");
    (void)close(fd);
}

static void slowloris_is_cut_in_time(void **state) {
    (void)state;
    static const char *const starts[] = {
        "GET /slow HTTP/1.1\r\nHost: x\r\nX-Slow: ",                     /* in the headers */
        "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n", /* in the body */
        "GET /slo"};                                                     /* in the first line */
    for (size_t i = 0; i < 3; i++) {
        open_server(30, 1, 100);
        int fd = support_http_connect(fixture.port);
        uint64_t started_us = clock_mono_us();
        assert_int_equal(support_http_send(fd, starts[i], strlen(starts[i])), 0);
        struct pollfd cut = {.fd = fd, .events = POLLRDHUP};
        while (poll(&cut, 1, 50) == 0) { /* a byte each 50 ms restarts the library's time-out */
            (void)support_http_send(fd, "x", 1);
            assert_true(clock_mono_us() - started_us < 10000000);
        }
        assert_true(clock_mono_us() - started_us >= 900000);
        (void)close(fd);
        assert_int_equal(atomic_load(&fixture.handled), 0);
        (void)tear_down(state);
    }
}

static void a_late_request_gets_408(void **state) {
    (void)state;
    open_server(30, 1, 100);
    int fd = support_http_connect(fixture.port);
    const char *first = "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n";
    const char *second = "POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf";
    assert_int_equal(support_http_send(fd, first, strlen(first)), 0);
    support_http_read(fd, &reply, 1);
    assert_int_equal(reply.status, 200);
    assert_int_equal(support_http_send(fd, second, strlen(second)), 0);
    support_http_read(fd, &reply, 1);
    assert_int_equal(reply.status, 408);
    assert_int_equal(support_http_closed(fd), 0);
    (void)close(fd);
    assert_int_equal(atomic_load(&fixture.handled), 1);
    (void)tear_down(state);
}

static void our_own_work_has_no_deadline(void **state) {
    (void)state;
    open_server(1, 1, 100);
    int fd = support_http_connect(fixture.port);
    int other = support_http_connect(fixture.port);
    const char *park = "GET /park HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_int_equal(support_http_send(fd, park, strlen(park)), 0);
    assert_int_equal(sem_wait(&fixture.parked), 0);
    while (support_http_closed(other) != 0) { /* a 408 first: a connection without request is cut */
    }
    assert_int_equal(http_server_in_flight(fixture.server), 1);
    http_reply(fixture.parked_call, 202, "text/plain", "done", 4, NULL);
    support_http_read(fd, &reply, 1);
    assert_int_equal(reply.status, 202);
    (void)close(fd);
    (void)close(other);
    (void)tear_down(state);
}

static void connections_are_bounded(void **state) {
    (void)state;
    open_server(30, 30, 2);
    int first = support_http_connect(fixture.port);
    int second = support_http_connect(fixture.port);
    const char *get = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_int_equal(support_http_send(first, get, strlen(get)), 0);
    support_http_read(first, &reply, 1);
    assert_int_equal(support_http_send(second, get, strlen(get)), 0);
    support_http_read(second, &reply, 1);
    assert_int_equal(reply.status, 200);
    int third =
        support_http_connect(fixture.port); /* the kernel takes it, the server does not yet */
    (void)support_http_send(third, get, strlen(get));
    (void)close(first);
    (void)close(second);
    support_http_read(third, &reply, 1); /* served or refused once there is room, never hung */
    assert_true(reply.status == 200 || reply.status == 0);
    (void)close(third);
    (void)tear_down(state);
}

static void quiesce_refuses_new_and_finishes_old(void **state) {
    (void)state;
    int fd = support_http_connect(fixture.port);
    const char *park = "GET /park HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_int_equal(support_http_send(fd, park, strlen(park)), 0);
    assert_int_equal(sem_wait(&fixture.parked), 0);
    http_server_quiesce(fixture.server);
    http_server_quiesce(fixture.server); /* again: no effect */
    assert_int_equal(support_http_connect(fixture.port), -1);
    http_reply(fixture.parked_call, 200, "text/plain", "late", 4, NULL);
    support_http_read(fd, &reply, 1);
    assert_string_equal(reply.body, "late");
    (void)close(fd);
}

static void a_peer_that_left_does_no_harm(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        int fd = support_http_connect(fixture.port);
        const char *park = "GET /park HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_int_equal(support_http_send(fd, park, strlen(park)), 0);
        assert_int_equal(sem_wait(&fixture.parked), 0);
        (void)close(fd);
        http_reply(fixture.parked_call, 200, "text/plain", "gone", 4, NULL);
    }
    ask("GET /still HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(reply.status, 200);
}

static void garbage_does_no_harm(void **state) {
    (void)state;
    uint32_t seed = 1;
    for (int i = 0; i < 200; i++) {
        uint8_t garbage[300];
        for (size_t j = 0; j < sizeof(garbage); j++) {
            seed = seed * 1664525u + 1013904223u;
            garbage[j] = (uint8_t)(seed >> 24);
        }
        memcpy(garbage, "GET /", i % 5 == 0 ? 5 : 0);
        memcpy(garbage + 290, "\r\n\r\n", 4);
        int fd = support_http_connect(fixture.port);
        (void)support_http_send(fd, garbage, sizeof(garbage));
        (void)close(fd);
    }
    ask("GET /still HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(reply.status, 200);
}

static void addresses_and_ports_are_named(void **state) {
    (void)state;
    struct http_server *second = NULL;
    char taken[32];
    struct http_config config = {.listen = taken,
                                 .connections_max = 10,
                                 .body_bytes_max = 10,
                                 .idle_timeout_s = 10,
                                 .request_timeout_s = 10};
    (void)snprintf(taken, sizeof(taken), "127.0.0.1:%u", fixture.port);
    assert_int_equal(http_server_create(&config, on_call, &fixture, &second), ERR_EXISTS);
    config.listen = "localhost:80";
    assert_int_equal(http_server_create(&config, on_call, &fixture, &second), ERR_INVALID);
    assert_null(second);
}

static void a_failing_heap_is_survived(void **state) {
    (void)state;
    struct http_server *second = NULL;
    const struct http_config config = {.listen = "127.0.0.1:0",
                                       .connections_max = 10,
                                       .body_bytes_max = 10,
                                       .idle_timeout_s = 10,
                                       .request_timeout_s = 10};
    for (uint64_t nth = 1; nth <= 2; nth++) {
        (void)mem_fault_set(nth, 1);
        assert_int_equal(http_server_create(&config, on_call, &fixture, &second), ERR_NO_MEMORY);
        assert_null(second);
    }
    for (uint64_t nth = 1; nth <= 4; nth++) { /* the connection, the call, the body */
        (void)mem_fault_set(nth, 1);
        ask("POST /m HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
        assert_true(reply.status == 0 || reply.status == 503 || reply.status == 200);
        assert_true(nth < 4 || reply.status == 200);
        assert_true(nth != 3 || reply.status == 503);
    }
    (void)mem_fault_set(0, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_request_reaches_the_handler, set_up, tear_down),
        cmocka_unit_test_setup_teardown(queries_are_exact, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_nul_does_not_cut_the_path, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_connection_serves_many, set_up, tear_down),
        cmocka_unit_test_setup_teardown(head_has_no_body, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_split_request_is_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bodies_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_endless_body_is_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ambiguous_lengths_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(headers_are_bounded_but_a_token_fits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(expect_continue_is_answered, set_up, tear_down),
        cmocka_unit_test(slowloris_is_cut_in_time),
        cmocka_unit_test(a_late_request_gets_408),
        cmocka_unit_test(our_own_work_has_no_deadline),
        cmocka_unit_test(connections_are_bounded),
        cmocka_unit_test_setup_teardown(quiesce_refuses_new_and_finishes_old, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_peer_that_left_does_no_harm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(garbage_does_no_harm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(addresses_and_ports_are_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failing_heap_is_survived, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
