/* conn_output: classes are left out in their order, units are dropped whole, the accounts balance.
 * The protocol here has units of one length byte and that many bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/connection/fake_net.h"

struct toy {
    struct conn conn;
    unsigned rooms, ends, closes;
    enum reason reason;
};
static struct toy *toy;
static unsigned total_rooms, total_closes;

static void on_start(struct conn *conn) {
    toy = CONTAINER_OF(conn, struct toy, conn);
}
static size_t on_input(struct conn *conn, uint8_t *bytes, size_t count) {
    (void)conn;
    (void)bytes;
    return count;
}
static void on_room(struct conn *conn) {
    CONTAINER_OF(conn, struct toy, conn)->rooms++;
    total_rooms++;
}
static void on_end(struct conn *conn, enum reason reason) {
    struct toy *ended = CONTAINER_OF(conn, struct toy, conn);
    ended->ends++;
    ended->reason = reason;
    conn_drop_queued(conn);
    uint8_t goodbye[2] = {1, (uint8_t)reason};
    conn_wrote(conn, buf_append(conn_out(conn), goodbye, 2));
}
static bool on_closed(struct conn *conn, bool graceful) {
    (void)conn;
    (void)graceful;
    total_closes++;
    return false;
}
static uint64_t on_check(struct conn *conn, uint64_t now_us) {
    (void)conn;
    return now_us + 60000000;
}
static size_t unit_bytes(const uint8_t *bytes, size_t count) {
    (void)count;
    return (size_t)bytes[0] + 1;
}
static bool is_busy(const struct conn *conn) {
    (void)conn;
    return false;
}
static const struct conn_protocol toy_protocol = {.kind = CONN_WS,
                                                  .name = "toy",
                                                  .object_bytes = sizeof(struct toy),
                                                  .on_start = on_start,
                                                  .on_input = on_input,
                                                  .on_room = on_room,
                                                  .on_end = on_end,
                                                  .on_closed = on_closed,
                                                  .on_check = on_check,
                                                  .unit_bytes = unit_bytes,
                                                  .is_busy = is_busy};
static int client;

static int set_up(void **state) {
    (void)state;
    net_start();
    total_rooms = total_closes = 0;
    client = net_connect(&toy_protocol, REASON_OK);
    conn_move(&toy->conn, CONN_LIVE);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    (void)close(client);
    net_turn();
    assert_int_equal(total_closes, 1);
    net_stop();
    return 0;
}

static void put_unit(uint8_t value, uint8_t length) {
    uint8_t unit[256];
    unit[0] = length;
    memset(unit + 1, value, length);
    conn_wrote(&toy->conn, buf_append(conn_out(&toy->conn), unit, (size_t)length + 1));
}

/* Until the socket takes no more. */
static size_t fill_socket(void) {
    size_t written = 0;
    while (toy->conn.accounted_bytes == 0) {
        for (int i = 0; i < 100; i++) {
            put_unit((uint8_t)'a', 200);
            written += 201;
        }
        CONTRACT(loop_turn(net.loop, 0) == ERR_OK);
        assert_true(written < (8u << 20));
    }
    return written;
}

static void fill_queue_to(size_t bytes) {
    while (buf_len(&toy->conn.out) < bytes) {
        put_unit('q', 200);
    }
    CONTRACT(loop_turn(net.loop, 0) == ERR_OK);
}

static void test_one_write_at_the_end_of_the_turn(void **state) {
    (void)state;
    put_unit('x', 3);
    put_unit('y', 2);
    uint8_t bytes[10];
    assert_int_equal(recv(client, bytes, sizeof bytes, 0), -1);
    net_turn();
    assert_int_equal(recv(client, bytes, sizeof bytes, 0), 7);
    assert_memory_equal(bytes, "\3xxx\2yy", 7);
    assert_null(toy->conn.out.bytes); /* memory went back */
}

static void test_classes_are_left_out_in_order(void **state) {
    (void)state;
    size_t max = net.settings.send_queue_bytes_max;
    fill_socket();
    static const struct {
        unsigned percent;
        bool presence, typing, receipt;
    } cases[] = {{45, true, true, true},
                 {52, false, true, true},
                 {65, false, false, true},
                 {80, false, false, false}};
    for (size_t i = 0; i < 4; i++) {
        fill_queue_to(max * cases[i].percent / 100);
        assert_int_equal(conn_may_queue(&toy->conn, CONN_PRESENCE, 100), cases[i].presence);
        assert_int_equal(conn_may_queue(&toy->conn, CONN_TYPING, 100), cases[i].typing);
        assert_int_equal(conn_may_queue(&toy->conn, CONN_RECEIPT, 100), cases[i].receipt);
        assert_true(conn_may_queue(&toy->conn, CONN_MUST, 100));
        assert_int_equal(conn_may_take(&toy->conn), cases[i].percent < 75);
    }
    assert_true(conn_is_open(&toy->conn));
}

static void test_answers_that_overflow_end_the_connection(void **state) {
    (void)state;
    fill_socket();
    while (conn_may_queue(&toy->conn, CONN_MUST, 200)) {
        put_unit('q', 200);
        assert_true(buf_len(&toy->conn.out) <= net.settings.send_queue_bytes_max + 201);
    }
    assert_int_equal(toy->reason, REASON_SLOW_READER);
    assert_false(conn_is_open(&toy->conn));
    assert_false(conn_may_queue(&toy->conn, CONN_MUST, 10));
    assert_int_equal(toy->ends, 1);
}

static void test_whole_units_are_dropped_and_the_goodbye_arrives(void **state) {
    (void)state;
    size_t sent = fill_socket();
    fill_queue_to(100000);
    conn_end(&toy->conn, REASON_SLOW_READER);
    assert_true(buf_len(&toy->conn.out) <= 203); /* the cut unit and the goodbye */
    net_receive(client);
    size_t at = 0;
    uint8_t last[2] = {0};
    while (at < net.read_bytes) {
        size_t unit = (size_t)net.read[at] + 1;
        assert_true(at + unit <= net.read_bytes); /* no unit was cut */
        memcpy(last, net.read + at, 2);
        at += unit;
    }
    assert_int_equal(last[0], 1);
    assert_int_equal(last[1], REASON_SLOW_READER);
    assert_true(net.read_bytes < sent + 203);
    assert_true(net.closed);
}

static void test_room_is_told_once_and_the_accounts_balance(void **state) {
    (void)state;
    fill_socket();
    fill_queue_to(net.settings.send_queue_bytes_max * 8 / 10);
    assert_false(conn_may_take(&toy->conn));
    assert_int_equal(atomic_load(&net.limits.unsent_bytes), toy->conn.accounted_bytes);
    assert_int_equal(buf_len(&toy->conn.out), toy->conn.accounted_bytes);
    assert_int_equal(total_rooms, 0);
    net_receive(client);
    assert_int_equal(total_rooms, 1);
    assert_true(conn_may_take(&toy->conn));
    assert_int_equal(toy->conn.behind_us, 0);
    assert_int_equal(atomic_load(&net.limits.unsent_bytes), 0);
    assert_null(toy->conn.out.bytes);
}

static void test_behind_for_two_seconds_is_too_slow(void **state) {
    (void)state;
    fill_socket();
    fill_queue_to(net.settings.send_queue_bytes_max * 8 / 10);
    assert_false(conn_may_take(&toy->conn));
    net_advance(1900000);
    assert_true(conn_is_open(&toy->conn));
    net_advance(1000000);
    assert_int_equal(toy->reason, REASON_SLOW_READER);
}

/* Takes more than half a queue every two seconds: slow, but alive. */
static void test_a_slow_but_steady_reader_is_kept(void **state) {
    (void)state;
    static uint8_t sink[200000];
    fill_socket();
    for (int i = 0; i < 8; i++) {
        fill_queue_to(net.settings.send_queue_bytes_max * 8 / 10);
        (void)conn_may_take(&toy->conn);
        net_advance(1000000);
        assert_true(recv(client, sink, sizeof sink, 0) > 0);
        net_turn();
        assert_true(conn_is_open(&toy->conn));
    }
}

static void test_the_process_budget_lowers_the_limit(void **state) {
    (void)state;
    fill_socket();
    fill_queue_to(30000);
    assert_true(conn_may_queue(&toy->conn, CONN_MUST, 100));
    net.limits.unsent_bytes_max = 1;
    assert_false(conn_may_queue(&toy->conn, CONN_MUST, 100));
    assert_int_equal(toy->reason, REASON_SLOW_READER);
    net.limits.unsent_bytes_max = 1u << 30;
}

static void test_a_burst_of_one_turn_is_no_slow_reader(void **state) {
    (void)state;
    size_t burst = 0;
    net.settings.send_queue_bytes_max = 16384;
    while (burst < 100000) { /* the socket takes it, the queue alone would not */
        assert_true(conn_may_queue(&toy->conn, CONN_MUST, 201));
        put_unit('b', 200);
        burst += 201;
    }
    net_receive(client);
    assert_int_equal(net.read_bytes, burst);
    assert_true(conn_is_open(&toy->conn));
}

static void test_dead_connections_take_no_output(void **state) {
    (void)state;
    struct conn *conn = &toy->conn;
    conn_drop(conn, REASON_OK, true);
    conn_wrote(conn, buf_append(conn_out(conn), "x", 1)); /* freed at the end of the turn */
    conn_end(conn, REASON_OK);
    conn_drop(conn, REASON_OK, false);
    net_turn();
    assert_int_equal(total_closes, 1);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_one_write_at_the_end_of_the_turn),
        T(test_classes_are_left_out_in_order),
        T(test_answers_that_overflow_end_the_connection),
        T(test_whole_units_are_dropped_and_the_goodbye_arrives),
        T(test_room_is_told_once_and_the_accounts_balance),
        T(test_behind_for_two_seconds_is_too_slow),
        T(test_a_slow_but_steady_reader_is_kept),
        T(test_the_process_budget_lowers_the_limit),
        T(test_a_burst_of_one_turn_is_no_slow_reader),
        T(test_dead_connections_take_no_output),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
