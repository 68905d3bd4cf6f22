/* test_ops: the three pages of the operations port while the loop turns, is stuck, and drains. */
#include "common/ops.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "tests/unit/common/support_http.h"
#include "tests/unit/common/support_process.h"

#include <string.h>
#include <unistd.h>

static struct loop *loop;
static struct ops *ops;
static struct support_reply reply;

static int set_up(void **state) {
    (void)state;
    assert_int_equal(loop_create(16, &loop), ERR_OK);
    assert_int_equal(ops_create(loop, "127.0.0.1:0", &ops), ERR_OK);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    ops_destroy(&ops);
    assert_null(ops);
    ops_destroy(&ops);
    loop_destroy(&loop);
    clock_fake_off();
    return 0;
}

static void get(const char *path) {
    support_http_get(ops_port(ops), path, &reply);
}

static void readiness_is_all_checks(void **state) {
    (void)state;
    static struct ops_check store = {.name = "store"};
    static struct ops_check bus = {.name = "bus"};
    assert_false(ops_is_ready(ops)); /* nobody has said anything yet */
    ops_check_add(ops, &store);
    ops_check_add(ops, &bus);
    get("/readyz");
    assert_int_equal(reply.status, 503);
    assert_string_equal(reply.body, "not ready\n");
    store.ready = true;
    bus.detail = "no peer answers";
    get("/readyz?verbose");
    assert_int_equal(reply.status, 503);
    assert_string_equal(reply.body, "[+]store ok\n[-]bus failed: no peer answers\nnot ready\n");
    bus.ready = true;
    bus.detail = NULL;
    get("/readyz");
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, "ready\n");
    assert_true(ops_is_ready(ops));
    ops_drain(ops);
    assert_false(ops_is_ready(ops));
    get("/readyz?verbose=1");
    assert_int_equal(reply.status, 503);
    assert_string_equal(reply.body, "[+]store ok\n[+]bus ok\n[-]draining\ndraining\n");
}

static void liveness_is_the_loops(void **state) {
    (void)state;
    ops_destroy(&ops);
    loop_destroy(&loop);
    clock_fake_on(1000000000, 1700000000000);
    (void)set_up(state);
    get("/livez");
    assert_int_equal(reply.status, 200); /* not begun yet: a start may take long */
    clock_fake_advance_us(60000000);
    get("/livez");
    assert_int_equal(reply.status, 200);
    assert_int_equal(loop_turn(loop, 0), ERR_OK);
    clock_fake_advance_us(5000000);
    get("/livez");
    assert_int_equal(reply.status, 200);
    clock_fake_advance_us(1);
    get("/livez");
    assert_int_equal(reply.status, 503);
    assert_string_equal(reply.body, "the event loop is stuck\n");
    assert_int_equal(loop_turn(loop, 0), ERR_OK);
    get("/livez");
    assert_int_equal(reply.status, 200);
    clock_fake_advance_us(1000000);
    assert_int_equal(loop_turn(loop, 0), ERR_OK); /* the stamp repeats */
    clock_fake_advance_us(4900000);
    get("/livez");
    assert_int_equal(reply.status, 200);
}

static void metrics_are_served(void **state) {
    (void)state;
    static struct metric_counter counter = {.name = "t_ops_total", .help = "Test."};
    metric_counter_register(&counter);
    metric_add(&counter, 5);
    get("/metrics");
    assert_int_equal(reply.status, 200);
    assert_non_null(
        strstr(reply.head, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_non_null(strstr(reply.body, "# TYPE t_ops_total counter\nt_ops_total 5\n"));
}

static void the_rest_is_refused(void **state) {
    (void)state;
    static const char *const posts[] = {
        "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n"};
    get("/");
    assert_int_equal(reply.status, 404);
    get("/livez/");
    assert_int_equal(reply.status, 404);
    for (size_t i = 0; i < 2; i++) {
        int fd = support_http_connect(ops_port(ops));
        assert_int_equal(support_http_send(fd, posts[i], strlen(posts[i])), 0);
        support_http_read(fd, &reply, 1);
        assert_int_equal(reply.status, 405);
        assert_non_null(strstr(reply.head, "Allow: GET, HEAD\r\n"));
        (void)close(fd);
    }
}

static void failures_are_named(void **state) {
    (void)state;
    struct ops *second = NULL;
    assert_int_equal(ops_create(loop, "nowhere", &second), ERR_INVALID);
    for (uint64_t nth = 1; nth <= 3; nth++) {
        (void)mem_fault_set(nth, 1);
        assert_int_equal(ops_create(loop, "127.0.0.1:0", &second), ERR_NO_MEMORY);
        assert_null(second);
    }
    (void)mem_fault_set(0, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(readiness_is_all_checks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(liveness_is_the_loops, set_up, tear_down),
        cmocka_unit_test_setup_teardown(metrics_are_served, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_rest_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failures_are_named, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
