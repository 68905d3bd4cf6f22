/* request_pool: the requests being answered: as many as the bus may have open at once, reused, so
 * that a request in the steady state takes no memory from the heap. */
#ifndef PIPIT_STORAGE_REQUEST_POOL_H
#define PIPIT_STORAGE_REQUEST_POOL_H

#include "common/bus.h"
#include "common/worker.h"
#include "services/storage/handler.h"

struct storage;
struct request {
    struct call call;
    struct storage *storage;
    struct bus_request *bus;
    uint64_t started_us;
    struct worker_job job;   /* reads */
    struct loop_call posted; /* those that publish */
    struct buf reply, publication;
    struct request *next_free;
};

struct request_pool;
enum err request_pool_create(size_t count_max, struct storage *storage,
                             struct request_pool **out) MUST_CHECK;
void request_pool_destroy(struct request_pool **pool); /* nobody may use one any more */
/* NULL when all are in use. Any thread, as below. */
struct request *request_pool_take(struct request_pool *pool);
/* Resets the request for the next one. True: it was the last one in use after request_pool_close;
 * told exactly once. */
bool request_pool_return(struct request_pool *pool, struct request *request) MUST_CHECK;
/* None is taken any more. True when none is in use; then no return says so. */
bool request_pool_close(struct request_pool *pool) MUST_CHECK;

#endif
