/* batch: when to send a batch to a peer. At once when the peer has nothing of ours and nothing else
 * came beside the last one; under load, when it is full or at the next beat of the clock. */
#ifndef PIPIT_COMMON_BATCH_H
#define PIPIT_COMMON_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BATCH_COUNT_MAX 256
#define BATCH_BYTES_MAX (64u * 1024u)
#define BATCH_BEAT_US 5000u
/* Source: docs/explanation/performance.md. A message between services costs 50 to 100 us of CPU on
 * either side, whatever is in it, most of it for waking threads; a beat is what nobody notices. */

struct batch {
    size_t count, bytes; /* collected and not yet sent */
    uint32_t flights;    /* sent and not yet answered */
    size_t last_count;   /* how many left together the last time */
    uint64_t last_us;    /* and when */
    uint64_t phase_us;   /* of the beat: below BATCH_BEAT_US */
};
void batch_add(struct batch *batch, size_t bytes);
/* True when the collected entries should be sent now. */
bool batch_due(const struct batch *batch, uint64_t now_us);
/* Microseconds until batch_due turns true by time alone; UINT64_MAX when empty. */
uint64_t batch_due_in_us(const struct batch *batch, uint64_t now_us);
/* All collected left: count = 0, one more flight. */
void batch_sent(struct batch *batch, uint64_t now_us);
void batch_returned(struct batch *batch); /* one flight was answered or failed */

#endif
