/* test_queue: order, the bound, closing, and producers against consumers. */
#include "common/queue.h"
#include "common/clock.h"
#include "common/mem.h"
#include "tests/unit/common/support_process.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static int values[10000];

static void items_come_out_in_order(void **state) {
    (void)state;
    struct queue *queue = NULL;
    void *items[4];
    assert_int_equal(queue_create(3, &queue), ERR_OK);
    for (int round = 0; round < 5; round++) { /* the ring wraps */
        assert_int_equal(queue_push(queue, &values[0]), ERR_OK);
        assert_int_equal(queue_push(queue, &values[1]), ERR_OK);
        assert_int_equal(queue_count(queue), 2);
        assert_int_equal(queue_pop_many(queue, items, 1, 0), 1);
        assert_ptr_equal(items[0], &values[0]);
        assert_int_equal(queue_push(queue, &values[2]), ERR_OK);
        assert_int_equal(queue_push(queue, &values[3]), ERR_OK);
        assert_int_equal(queue_push(queue, &values[4]), ERR_FULL);
        assert_int_equal(queue_pop_many(queue, items, 4, UINT64_MAX), 3);
        assert_ptr_equal(items[0], &values[1]);
        assert_ptr_equal(items[2], &values[3]);
    }
    queue_destroy(&queue);
    assert_null(queue);
    queue_destroy(&queue);
}

static void waiting_ends_by_time(void **state) {
    (void)state;
    struct queue *queue = NULL;
    void *item = NULL;
    assert_int_equal(queue_create(1, &queue), ERR_OK);
    uint64_t started_us = clock_mono_us();
    assert_int_equal(queue_pop_many(queue, &item, 1, 0), 0);
    assert_int_equal(queue_pop_many(queue, &item, 1, 20000), 0);
    assert_true(clock_mono_us() - started_us >= 20000);
    queue_destroy(&queue);
}

static void closed_means_no_more_but_what_is_in(void **state) {
    (void)state;
    struct queue *queue = NULL;
    void *item = NULL;
    assert_int_equal(queue_create(2, &queue), ERR_OK);
    assert_int_equal(queue_push(queue, &values[0]), ERR_OK);
    queue_close(queue);
    assert_int_equal(queue_push(queue, &values[1]), ERR_CLOSED);
    assert_int_equal(queue_pop_many(queue, &item, 1, UINT64_MAX), 1);
    assert_int_equal(queue_pop_many(queue, &item, 1, UINT64_MAX), 0);
    queue_destroy(&queue);
}

static void *pop_for_ever(void *argument) {
    void *item = NULL;
    size_t *taken = argument;
    struct queue *queue = (void *)taken[0];
    taken[1] = queue_pop_many(queue, &item, 1, UINT64_MAX);
    return NULL;
}

static void closing_wakes_waiters(void **state) {
    (void)state;
    struct queue *queue = NULL;
    pthread_t threads[3];
    size_t arguments[3][2];
    assert_int_equal(queue_create(2, &queue), ERR_OK);
    for (size_t i = 0; i < 3; i++) {
        arguments[i][0] = (size_t)queue;
        arguments[i][1] = 99;
        assert_int_equal(pthread_create(&threads[i], NULL, pop_for_ever, arguments[i]), 0);
    }
    queue_close(queue);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(arguments[i][1], 0);
    }
    queue_destroy(&queue);
}

struct crowd {
    struct queue *queue;
    atomic_uint seen[10000];
    atomic_uint taken;
};

static void *consume(void *argument) {
    struct crowd *crowd = argument;
    void *items[16];
    size_t count = 0;
    while ((count = queue_pop_many(crowd->queue, items, 16, UINT64_MAX)) > 0) {
        for (size_t i = 0; i < count; i++) {
            atomic_fetch_add(&crowd->seen[(int *)items[i] - values], 1);
        }
        atomic_fetch_add(&crowd->taken, (unsigned)count);
    }
    return NULL;
}

static void *produce(void *argument) {
    static atomic_uint next;
    struct crowd *crowd = argument;
    unsigned number = 0;
    while ((number = atomic_fetch_add(&next, 1)) < 10000) {
        while (queue_push(crowd->queue, &values[number]) == ERR_FULL) {
            (void)sched_yield();
        }
    }
    return NULL;
}

static void nothing_is_lost_or_doubled_between_threads(void **state) {
    (void)state;
    static struct crowd crowd;
    pthread_t producers[3];
    pthread_t consumers[3];
    assert_int_equal(queue_create(50, &crowd.queue), ERR_OK);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&consumers[i], NULL, consume, &crowd), 0);
        assert_int_equal(pthread_create(&producers[i], NULL, produce, &crowd), 0);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(producers[i], NULL), 0);
    }
    queue_close(crowd.queue);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(consumers[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&crowd.taken), 10000);
    for (size_t i = 0; i < 10000; i++) {
        assert_int_equal(atomic_load(&crowd.seen[i]), 1);
    }
    queue_destroy(&crowd.queue);
}

static void without_memory_there_is_no_queue(void **state) {
    (void)state;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        struct queue *queue = NULL;
        (void)mem_fault_set(nth, 1);
        assert_int_equal(queue_create(5, &queue), ERR_NO_MEMORY);
        assert_null(queue);
    }
    assert_int_equal(mem_fault_set(0, 0), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(items_come_out_in_order),
                                       cmocka_unit_test(waiting_ends_by_time),
                                       cmocka_unit_test(closed_means_no_more_but_what_is_in),
                                       cmocka_unit_test(closing_wakes_waiters),
                                       cmocka_unit_test(nothing_is_lost_or_doubled_between_threads),
                                       cmocka_unit_test(without_memory_there_is_no_queue)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
