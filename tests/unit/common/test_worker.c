/* test_worker: jobs run, overload is refused, signals stay with the main thread. */
#include "common/worker.h"
#include "common/contract.h"
#include "common/mem.h"
#include "tests/unit/common/support_process.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

struct counted {
    struct worker_job job;
    atomic_uint *ran;
};

static void count(struct worker_job *job) {
    struct counted *counted = CONTAINER_OF(job, struct counted, job);
    atomic_fetch_add(counted->ran, 1);
}

static void queued_jobs_run_before_the_end(void **state) {
    (void)state;
    struct worker_pool *pool = NULL;
    atomic_uint ran = 0;
    struct counted jobs[100];
    assert_int_equal(worker_pool_create("test", 4, 100, &pool), ERR_OK);
    for (size_t i = 0; i < 100; i++) {
        jobs[i] = (struct counted){.job = {.run = count}, .ran = &ran};
        assert_int_equal(worker_submit(pool, &jobs[i].job), ERR_OK);
    }
    worker_pool_destroy(&pool);
    assert_null(pool);
    assert_int_equal(atomic_load(&ran), 100);
    worker_pool_destroy(&pool);
}

struct gate {
    struct worker_job job;
    sem_t entered, leave;
    char name[16];
    bool signals_blocked;
};

static void wait_at_gate(struct worker_job *job) {
    struct gate *gate = CONTAINER_OF(job, struct gate, job);
    sigset_t mask;
    (void)pthread_getname_np(pthread_self(), gate->name, sizeof(gate->name));
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    gate->signals_blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGINT) == 1 &&
                            sigismember(&mask, SIGALRM) == 1;
    (void)sem_post(&gate->entered);
    (void)sem_wait(&gate->leave);
}

static void overload_is_refused(void **state) {
    (void)state;
    struct worker_pool *pool = NULL;
    atomic_uint ran = 0;
    struct gate gate = {.job = {.run = wait_at_gate}};
    struct counted jobs[3];
    assert_int_equal(sem_init(&gate.entered, 0, 0), 0);
    assert_int_equal(sem_init(&gate.leave, 0, 0), 0);
    assert_int_equal(worker_pool_create("gate-keeper-15b", 1, 2, &pool), ERR_OK);
    assert_int_equal(worker_submit(pool, &gate.job), ERR_OK);
    assert_int_equal(sem_wait(&gate.entered), 0); /* the only thread is busy now */
    for (size_t i = 0; i < 3; i++) {
        jobs[i] = (struct counted){.job = {.run = count}, .ran = &ran};
        assert_int_equal(worker_submit(pool, &jobs[i].job), i < 2 ? ERR_OK : ERR_FULL);
    }
    assert_int_equal(worker_queued(pool), 2);
    assert_int_equal(sem_post(&gate.leave), 0);
    worker_pool_destroy(&pool);
    assert_int_equal(atomic_load(&ran), 2);
    assert_string_equal(gate.name, "gate-keeper-15b");
    assert_true(gate.signals_blocked);
    sigset_t mask;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    assert_int_equal(sigismember(&mask, SIGTERM), 0); /* ours is as it was */
}

struct busy {
    struct worker_job job;
    struct worker_pool *pool;
    sem_t done;
};

static void spin(struct worker_job *job) {
    struct busy *busy = CONTAINER_OF(job, struct busy, job);
    volatile uint64_t sum = 0;
    for (uint64_t i = 0; i < 3000000; i++) {
        sum += i;
    }
    (void)sem_post(&busy->done);
}

static void work_is_measured(void **state) {
    (void)state;
    struct busy busy = {.job = {.run = spin}};
    assert_int_equal(sem_init(&busy.done, 0, 0), 0);
    assert_int_equal(worker_pool_create("busy", 1, 2, &busy.pool), ERR_OK);
    assert_int_equal(worker_busy_us(busy.pool), 0);
    assert_int_equal(worker_submit(busy.pool, &busy.job), ERR_OK);
    assert_int_equal(sem_wait(&busy.done), 0);
    /* The second job starts after the first one's time was added. */
    assert_int_equal(worker_submit(busy.pool, &busy.job), ERR_OK);
    assert_int_equal(sem_wait(&busy.done), 0);
    assert_true(worker_busy_us(busy.pool) > 0);
    worker_pool_destroy(&busy.pool);
}

static void without_memory_there_is_no_pool(void **state) {
    (void)state;
    for (uint64_t nth = 1; nth <= 3; nth++) {
        struct worker_pool *pool = NULL;
        (void)mem_fault_set(nth, 1);
        assert_int_equal(worker_pool_create("none", 2, 2, &pool), ERR_NO_MEMORY);
        assert_null(pool);
    }
    (void)mem_fault_set(0, 0);
}

static void name_too_long(void) {
    struct worker_pool *pool = NULL;
    enum err error = worker_pool_create("sixteen-bytes-xx", 1, 1, &pool);
    (void)error; /* not reached */
}

static void long_names_are_a_contract(void **state) {
    (void)state;
    assert_true(support_aborts(name_too_long));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queued_jobs_run_before_the_end), cmocka_unit_test(overload_is_refused),
        cmocka_unit_test(work_is_measured), cmocka_unit_test(without_memory_there_is_no_pool),
        cmocka_unit_test(long_names_are_a_contract)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
