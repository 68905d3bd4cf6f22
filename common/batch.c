/* batch: when a hop sends what it has collected.
 *
 * The bus costs tens of microseconds a message whatever its size, so ours travel in batches; a
 * fixed timer would add its wait to every message. Instead the flight is the clock: with nothing in
 * flight an entry leaves at once, and while a flight is out the next batch collects behind it, so
 * batches grow exactly as fast as the peer is slow. The count, byte and time limits bound what one
 * entry can wait when the answer is late. The struct only decides; entries and the sending are the
 * caller's. */
#include "common/batch.h"

#include "common/contract.h"

void batch_add(struct batch *batch, size_t bytes, uint64_t now_us) {
    if (batch->count == 0) {
        batch->oldest_us = now_us;
    }
    batch->count++;
    batch->bytes += bytes;
}

uint64_t batch_due_in_us(const struct batch *batch, uint64_t now_us) {
    if (batch->count == 0) {
        return UINT64_MAX;
    }
    if (batch->flights == 0 || batch->count >= BATCH_COUNT_MAX || batch->bytes >= BATCH_BYTES_MAX) {
        return 0;
    }
    uint64_t waited_us = now_us > batch->oldest_us ? now_us - batch->oldest_us : 0;
    return waited_us < BATCH_WAIT_US ? BATCH_WAIT_US - waited_us : 0;
}

bool batch_due(const struct batch *batch, uint64_t now_us) {
    return batch_due_in_us(batch, now_us) == 0;
}

void batch_sent(struct batch *batch) {
    CONTRACT(batch->count > 0);
    batch->count = 0;
    batch->bytes = 0;
    batch->flights++;
}

void batch_returned(struct batch *batch) {
    CONTRACT(batch->flights > 0);
    batch->flights--;
}
