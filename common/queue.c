/* queue: a bounded ring of pointers under one mutex.
 *
 * All memory is taken at creation, so pushing fails for one reason only: the bound, which the
 * caller turns into a refusal with a reason. Consumers take many items per wake-up, so the lock and
 * the wake-up are paid once a batch. Waiting uses the monotonic clock: a step of the wall clock
 * neither shortens nor prolongs it. A closed queue still hands out what was pushed before. */
#include "common/queue.h"

#include "common/contract.h"
#include "common/mem.h"
#include <errno.h>
#include <pthread.h>
#include <time.h>

struct queue {
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t filled;
    void **items; /* ring of count_max */
    size_t count_max;
    size_t first;
    size_t count;
    bool closed;
};

static enum err init_locks(struct queue *queue) {
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0) {
        return ERR_NO_MEMORY;
    }
    enum err error = ERR_NO_MEMORY;
    if (pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
        pthread_cond_init(&queue->filled, &attributes) == 0) {
        if (pthread_mutex_init(&queue->lock, NULL) == 0) {
            error = ERR_OK;
        } else {
            (void)pthread_cond_destroy(&queue->filled); /* nobody waits */
        }
    }
    (void)pthread_condattr_destroy(&attributes);
    return error;
}

enum err queue_create(size_t count_max, struct queue **out) {
    CONTRACT(count_max > 0);
    struct queue *queue = mem_zalloc(1, sizeof(*queue));
    if (queue == NULL) {
        return ERR_NO_MEMORY;
    }
    queue->count_max = count_max;
    queue->items = mem_zalloc(count_max, sizeof(void *));
    if (queue->items == NULL || init_locks(queue) != ERR_OK) {
        mem_free(queue->items);
        mem_free(queue);
        return ERR_NO_MEMORY;
    }
    *out = queue;
    return ERR_OK;
}

void queue_destroy(struct queue **queue) {
    if (*queue == NULL) {
        return;
    }
    CONTRACT(pthread_cond_destroy(&(*queue)->filled) == 0);
    CONTRACT(pthread_mutex_destroy(&(*queue)->lock) == 0);
    mem_free((*queue)->items);
    mem_free(*queue);
    *queue = NULL;
}

static void lock(struct queue *queue) {
    CONTRACT(pthread_mutex_lock(&queue->lock) == 0);
}

static void unlock(struct queue *queue) {
    CONTRACT(pthread_mutex_unlock(&queue->lock) == 0);
}

enum err queue_push(struct queue *queue, void *item) {
    enum err error = ERR_OK;
    lock(queue);
    if (queue->closed) {
        error = ERR_CLOSED;
    } else if (queue->count == queue->count_max) {
        error = ERR_FULL;
    } else {
        queue->items[(queue->first + queue->count) % queue->count_max] = item;
        queue->count++;
        CONTRACT(pthread_cond_signal(&queue->filled) == 0);
    }
    unlock(queue);
    return error;
}

static struct timespec deadline_after(uint64_t timeout_us) {
    struct timespec at = {0};
    CONTRACT(clock_gettime(CLOCK_MONOTONIC, &at) == 0);
    const uint64_t longest_s = 100u * 366u * 86400u; /* keeps the sum within time_t */
    uint64_t seconds = timeout_us / 1000000u;
    at.tv_sec += (time_t)(seconds < longest_s ? seconds : longest_s);
    at.tv_nsec += (long)(timeout_us % 1000000u) * 1000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_nsec -= 1000000000;
        at.tv_sec++;
    }
    return at;
}

/* Called with the lock held; false when time is up. */
static bool wait_filled(struct queue *queue, uint64_t timeout_us, const struct timespec *deadline) {
    if (timeout_us == 0) {
        return false;
    }
    if (timeout_us == UINT64_MAX) {
        CONTRACT(pthread_cond_wait(&queue->filled, &queue->lock) == 0);
        return true;
    }
    int result = pthread_cond_timedwait(&queue->filled, &queue->lock, deadline);
    CONTRACT(result == 0 || result == ETIMEDOUT);
    return result == 0;
}

size_t queue_pop_many(struct queue *queue, void **items, size_t items_max, uint64_t timeout_us) {
    CONTRACT(items_max > 0);
    struct timespec deadline = {0};
    if (timeout_us != 0 && timeout_us != UINT64_MAX) {
        deadline = deadline_after(timeout_us);
    }
    lock(queue);
    while (queue->count == 0 && !queue->closed && wait_filled(queue, timeout_us, &deadline)) {
    }
    size_t taken = queue->count < items_max ? queue->count : items_max;
    for (size_t i = 0; i < taken; i++) {
        items[i] = queue->items[queue->first];
        queue->first = (queue->first + 1) % queue->count_max;
    }
    queue->count -= taken;
    if (queue->count > 0) {
        CONTRACT(pthread_cond_signal(&queue->filled) ==
                 0); /* one signal may stand for many items */
    }
    unlock(queue);
    return taken;
}

void queue_close(struct queue *queue) {
    lock(queue);
    queue->closed = true;
    CONTRACT(pthread_cond_broadcast(&queue->filled) == 0);
    unlock(queue);
}

size_t queue_count(struct queue *queue) {
    lock(queue);
    size_t count = queue->count;
    unlock(queue);
    return count;
}
