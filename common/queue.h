/* queue: a bounded first-in first-out queue of pointers between threads. */
#ifndef PIPIT_COMMON_QUEUE_H
#define PIPIT_COMMON_QUEUE_H

#include "common/err.h"
#include <stddef.h>
#include <stdint.h>

struct queue;
enum err queue_create(size_t count_max, struct queue **out) MUST_CHECK;
void queue_destroy(struct queue **queue); /* must be empty or its items owned elsewhere */
/* ERR_FULL at count_max, ERR_CLOSED after queue_close. Any thread; does not block. */
enum err queue_push(struct queue *queue, void *item) MUST_CHECK;
/* Waits up to timeout_us (UINT64_MAX = for ever) and takes up to items_max at once, in order.
 * Returns how many; 0 on time-out or when closed and empty. Any thread. */
size_t queue_pop_many(struct queue *queue, void **items, size_t items_max, uint64_t timeout_us);
void queue_close(struct queue *queue); /* wakes all waiters; pushed items can still be popped */
size_t queue_count(struct queue *queue);

#endif
