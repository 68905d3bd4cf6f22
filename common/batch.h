/* batch: when to send a batch to a peer. Self-clocking: at once when nothing is in flight,
 * otherwise when the flight returns, the batch is full, or the oldest entry has waited long enough.
 */
#ifndef PIPIT_COMMON_BATCH_H
#define PIPIT_COMMON_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BATCH_COUNT_MAX 64
#define BATCH_BYTES_MAX (32u * 1024u)
#define BATCH_WAIT_US 500u
/* Source: reference measurements of the bus: 32 to 64 of ours per bus message cut its cost 20-fold;
 * a 0.5 ms window lowers p99 at high rates. */

struct batch {
    size_t count, bytes; /* collected and not yet sent */
    uint64_t oldest_us;  /* when the first of them came */
    uint32_t flights;    /* sent and not yet answered */
};
void batch_add(struct batch *batch, size_t bytes, uint64_t now_us);
/* True when the collected entries should be sent now. */
bool batch_due(const struct batch *batch, uint64_t now_us);
/* Microseconds until batch_due turns true by time alone; UINT64_MAX when empty. */
uint64_t batch_due_in_us(const struct batch *batch, uint64_t now_us);
void batch_sent(struct batch *batch);     /* all collected left: count = 0, one more flight */
void batch_returned(struct batch *batch); /* one flight was answered or failed */

#endif
