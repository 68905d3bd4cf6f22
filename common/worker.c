/* worker: threads that may block, so that event loops never do.
 *
 * Jobs are intrusive and wait in one bounded queue; when it is full the answer is "busy", at once.
 * Threads take one job at a time, because a job blocks for milliseconds and a second one in hand
 * would wait while another thread idles. They run with every signal blocked: signals belong to the
 * main thread's signalfd. Destroying closes the queue, lets the threads finish what was queued and
 * joins them; a job that never returns therefore blocks the destroy, and the drain watchdog ends
 * the process. */
#include "common/worker.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/mem.h"
#include "common/queue.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#define WORKER_NAME_BYTES 16u /* Source: pthread_setname_np(3) */

struct worker_pool {
    struct queue *queue;
    atomic_uint_fast64_t busy_us;
    size_t thread_count; /* running */
    pthread_t threads[];
};

static void *run_thread(void *argument) {
    struct worker_pool *pool = argument;
    void *item = NULL;
    while (queue_pop_many(pool->queue, &item, 1, UINT64_MAX) == 1) {
        struct worker_job *job = item;
        uint64_t started_us = clock_mono_us();
        job->run(job); /* the job may be gone afterwards */
        atomic_fetch_add_explicit(&pool->busy_us, clock_mono_us() - started_us,
                                  memory_order_relaxed);
    }
    return NULL;
}

static enum err start_threads(struct worker_pool *pool, const char *thread_name, size_t threads) {
    sigset_t all;
    sigset_t before;
    CONTRACT(sigfillset(&all) == 0);
    CONTRACT(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    int failed = 0;
    while (pool->thread_count < threads && failed == 0) {
        pthread_t *thread = &pool->threads[pool->thread_count];
        failed = pthread_create(thread, NULL, run_thread, pool);
        if (failed == 0) {
            (void)pthread_setname_np(*thread, thread_name); /* only for the reader of top */
            pool->thread_count++;
        }
    }
    CONTRACT(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return failed == 0 ? ERR_OK : ERR_FULL;
}

enum err worker_pool_create(const char *thread_name, size_t threads, size_t queue_max,
                            struct worker_pool **out) {
    CONTRACT(strlen(thread_name) < WORKER_NAME_BYTES && threads > 0 && threads <= 1024);
    struct worker_pool *pool = mem_zalloc(1, sizeof(*pool) + threads * sizeof(pthread_t));
    if (pool == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = queue_create(queue_max, &pool->queue);
    if (error == ERR_OK) {
        error = start_threads(pool, thread_name, threads);
    }
    if (error != ERR_OK) {
        worker_pool_destroy(&pool);
        return error;
    }
    *out = pool;
    return ERR_OK;
}

void worker_pool_destroy(struct worker_pool **pool) {
    struct worker_pool *old = *pool;
    if (old == NULL) {
        return;
    }
    if (old->queue != NULL) {
        queue_close(old->queue);
    }
    for (size_t i = 0; i < old->thread_count; i++) {
        CONTRACT(pthread_join(old->threads[i], NULL) == 0);
    }
    queue_destroy(&old->queue);
    mem_free(old);
    *pool = NULL;
}

enum err worker_submit(struct worker_pool *pool, struct worker_job *job) {
    return queue_push(pool->queue, job);
}

size_t worker_queued(struct worker_pool *pool) {
    return queue_count(pool->queue);
}

uint64_t worker_busy_us(struct worker_pool *pool) {
    return atomic_load_explicit(&pool->busy_us, memory_order_relaxed);
}
