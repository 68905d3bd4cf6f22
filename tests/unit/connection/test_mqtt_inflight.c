/* mqtt_inflight: a cursor never passes what was not acknowledged, whatever the order of answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/mem.h"
#include "services/connection/mqtt_inflight.h"
#include <stdlib.h>
#include <string.h>

static struct conn_pool pool;
static struct mqtt_inflight inflight;

static int set_up(void **state) {
    (void)state;
    conn_pool_init(&pool, sizeof(struct mqtt_flight), 10000);
    mqtt_inflight_init(&inflight, &pool, UINT16_MAX);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    mqtt_inflight_finish(&inflight);
    conn_pool_finish(&pool);
    return 0;
}

static uint16_t add(const char *conversation, uint64_t seq) {
    uint16_t packet_id = 0;
    assert_int_equal(mqtt_inflight_add(&inflight, conversation, seq, &packet_id), ERR_OK);
    assert_int_not_equal(packet_id, 0);
    return packet_id;
}

static uint64_t ack(uint16_t packet_id, const char *conversation) {
    struct mqtt_delivered cursor;
    assert_true(mqtt_inflight_ack(&inflight, packet_id, &cursor));
    if (cursor.seq != 0) {
        assert_string_equal(cursor.conversation, conversation);
    }
    return cursor.seq;
}

static void test_in_order(void **state) {
    (void)state;
    uint16_t one = add("c_a", 1), two = add("c_a", 2);
    assert_int_equal(ack(one, "c_a"), 1);
    assert_int_equal(ack(two, "c_a"), 2);
    assert_int_equal(pool.used, 0);
}

static void test_out_of_order_waits_for_the_first(void **state) {
    (void)state;
    uint16_t ids[4];
    for (uint64_t seq = 1; seq <= 4; seq++) {
        ids[seq - 1] = add("c_a", seq);
    }
    assert_int_equal(ack(ids[2], "c_a"), 0);
    assert_int_equal(ack(ids[1], "c_a"), 0);
    assert_int_equal(ack(ids[0], "c_a"), 3);
    assert_int_equal(ack(ids[3], "c_a"), 4);
}

static void test_conversations_do_not_wait_for_each_other(void **state) {
    (void)state;
    uint16_t a = add("c_a", 10), b = add("c_b", 5), event = add(NULL, 0);
    assert_int_equal(ack(event, NULL), 0);
    assert_int_equal(ack(b, "c_b"), 5);
    assert_int_equal(ack(a, "c_a"), 10);
}

static void test_skipped_counts_as_acknowledged(void **state) {
    (void)state;
    struct mqtt_delivered cursor;
    assert_int_equal(mqtt_inflight_skip(&inflight, "c_a", 1, &cursor), ERR_OK);
    assert_int_equal(cursor.seq, 1);
    uint16_t two = add("c_a", 2);
    assert_int_equal(mqtt_inflight_skip(&inflight, "c_a", 3, &cursor), ERR_OK);
    assert_int_equal(cursor.seq, 0);
    assert_int_equal(ack(two, "c_a"), 3);
}

static void test_unknown_and_repeated_acknowledgements(void **state) {
    (void)state;
    struct mqtt_delivered cursor;
    uint16_t one = add("c_a", 1), two = add("c_a", 2);
    assert_false(mqtt_inflight_ack(&inflight, 999, &cursor));
    assert_int_equal(ack(two, "c_a"), 0);
    assert_false(mqtt_inflight_ack(&inflight, two, &cursor));
    assert_int_equal(ack(one, "c_a"), 2);
}

static void test_window_is_the_clients(void **state) {
    (void)state;
    uint16_t packet_id = 0;
    mqtt_inflight_init(&inflight, &pool, 2);
    add("c_a", 1);
    assert_true(mqtt_inflight_has_room(&inflight));
    add("c_a", 2);
    assert_false(mqtt_inflight_has_room(&inflight));
    assert_int_equal(mqtt_inflight_add(&inflight, "c_a", 3, &packet_id), ERR_FULL);
}

static void test_the_first_unanswered_bounds_memory(void **state) {
    (void)state;
    uint16_t first = add("c_a", 1);
    uint64_t seq = 1;
    while (mqtt_inflight_has_room(&inflight)) {
        uint16_t id = add("c_a", ++seq);
        assert_int_equal(ack(id, "c_a"), 0);
    }
    assert_int_equal(pool.used, 2 * MQTT_INFLIGHT_WINDOW_MAX);
    assert_int_equal(ack(first, "c_a"), seq);
    assert_int_equal(pool.used, 0);
}

static void test_packet_ids_wrap_and_skip_open_ones(void **state) {
    (void)state;
    uint16_t first = add("c_a", 1);
    for (uint64_t seq = 2; seq < 70000; seq++) {
        uint16_t id = add("c_b", seq);
        assert_int_not_equal(id, first);
        assert_int_equal(ack(id, "c_b"), seq);
    }
    assert_int_equal(ack(first, "c_a"), 1);
}

/* Against a model: the cursor is the largest seq below which all are acknowledged. */
static void test_random_orders_against_a_model(void **state) {
    (void)state;
    srand(7);
    for (int round = 0; round < 200; round++) {
        uint16_t ids[40];
        bool acked[40] = {false};
        uint64_t cursor = 0;
        for (uint64_t seq = 1; seq <= 40; seq++) {
            ids[seq - 1] = add("c_a", seq);
        }
        for (int left = 40; left > 0; left--) {
            int pick = rand() % 40;
            while (acked[pick]) {
                pick = (pick + 1) % 40;
            }
            acked[pick] = true;
            uint64_t moved = ack(ids[pick], "c_a");
            uint64_t expected = cursor;
            while (expected < 40 && acked[expected]) {
                expected++;
            }
            assert_int_equal(moved, expected > cursor ? expected : 0);
            cursor = expected;
        }
        assert_int_equal(pool.used, 0);
    }
}

static void test_without_memory_nothing_changes(void **state) {
    (void)state;
    uint16_t packet_id = 77;
    struct mqtt_delivered cursor;
    (void)mem_fault_set(1, 1000);
    enum err added = mqtt_inflight_add(&inflight, "c_a", 1, &packet_id);
    enum err skipped = mqtt_inflight_skip(&inflight, "c_a", 1, &cursor);
    (void)mem_fault_set(0, 0);
    assert_int_equal(added, ERR_NO_MEMORY);
    assert_int_equal(skipped, ERR_NO_MEMORY);
    assert_int_equal(packet_id, 77);
    assert_int_equal(inflight.unacked, 0);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_in_order),
        T(test_out_of_order_waits_for_the_first),
        T(test_conversations_do_not_wait_for_each_other),
        T(test_skipped_counts_as_acknowledged),
        T(test_unknown_and_repeated_acknowledgements),
        T(test_window_is_the_clients),
        T(test_the_first_unanswered_bounds_memory),
        T(test_packet_ids_wrap_and_skip_open_ones),
        T(test_random_orders_against_a_model),
        T(test_without_memory_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
