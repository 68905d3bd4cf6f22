/* batch: when a hop sends what it has collected.
 *
 * A message between services costs the same whatever its size, so ours travel in batches. A timer
 * alone would add its wait to every message of a quiet evening; a flight as the only clock lets
 * batches leave as fast as the peer answers, which with a fast disk is a thousand times a second
 * and costs more than all the rest. So: somebody who writes alone is never kept waiting (nothing is
 * in flight, and the last batch held nothing but the one before), and as soon as several write at
 * once, batches leave with a beat. The beat is the monotonic clock's, so all event loops of a
 * machine send in the same moment, and a hop that comes later in a message's way, with a later
 * phase, finds them all: the wait is one beat, not one for each hop. Full batches leave at any
 * time. The struct only decides; entries and the sending are the caller's. */
#include "common/batch.h"

#include "common/contract.h"

void batch_add(struct batch *batch, size_t bytes) {
    batch->count++;
    batch->bytes += bytes;
}

uint64_t batch_due_in_us(const struct batch *batch, uint64_t now_us) {
    if (batch->count == 0) {
        return UINT64_MAX;
    }
    if (batch->count >= BATCH_COUNT_MAX || batch->bytes >= BATCH_BYTES_MAX ||
        (batch->flights == 0 && batch->last_count <= 1)) {
        return 0;
    }
    uint64_t beat = batch->last_us + BATCH_BEAT_US - batch->phase_us;
    uint64_t due_us = beat - beat % BATCH_BEAT_US + batch->phase_us;
    return due_us > now_us ? due_us - now_us : 0;
}

bool batch_due(const struct batch *batch, uint64_t now_us) {
    return batch_due_in_us(batch, now_us) == 0;
}

void batch_sent(struct batch *batch, uint64_t now_us) {
    CONTRACT(batch->count > 0);
    batch->last_count = batch->count;
    batch->last_us = now_us;
    batch->count = 0;
    batch->bytes = 0;
    batch->flights++;
}

void batch_returned(struct batch *batch) {
    CONTRACT(batch->flights > 0);
    batch->flights--;
}
