/* worker: a pool of threads for work that blocks (argon2, SQLite reads, name resolution), with a
 * bounded queue so that overload is refused instead of piling up. */
#ifndef PIPIT_COMMON_WORKER_H
#define PIPIT_COMMON_WORKER_H

#include "common/err.h"
#include <stddef.h>
#include <stdint.h>

struct worker_pool;
struct worker_job;
typedef void (*worker_fn)(struct worker_job *job);
/* Embedded in the caller's object, which must live until run() has returned. run() is called on a
 * worker thread; it hands results back by loop_post_call or any thread-safe way. */
struct worker_job {
    worker_fn run;
};

/* thread_name is at most 15 bytes. ERR_NO_MEMORY, ERR_FULL (no thread could be made). */
enum err worker_pool_create(const char *thread_name, size_t threads, size_t queue_max,
                            struct worker_pool **out) MUST_CHECK;
/* Stops taking jobs, runs those already queued, joins the threads. Blocks. */
void worker_pool_destroy(struct worker_pool **pool);
/* ERR_FULL when queue_max jobs wait: answer "busy, try later". Any thread; does not block. */
enum err worker_submit(struct worker_pool *pool, struct worker_job *job) MUST_CHECK;
size_t worker_queued(struct worker_pool *pool);
/* Microseconds of work done by all threads since the start: the busy ratio's numerator. */
uint64_t worker_busy_us(struct worker_pool *pool);

#endif
