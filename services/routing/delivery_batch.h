/* delivery_batch: a Delivery encoded once and spliced into the DeliverBatch of many endpoints. */
#ifndef PIPIT_ROUTING_DELIVERY_BATCH_H
#define PIPIT_ROUTING_DELIVERY_BATCH_H

#include "common/arena.h"
#include "common/buf.h"
#include "proto/deliver.pb-c.h"

#define DELIVERY_BATCH_COUNT_MAX 64
#define DELIVERY_BATCH_BYTES_MAX (32u * 1024u) /* one larger delivery travels alone */

/* One encoded Delivery: its length as a varint, then its bytes; lives in the arena it was made in.
 */
struct delivery_bytes {
    uint8_t *bytes;
    size_t count;
};
struct delivery_batch {
    ProtobufCMessageUnknownField fields[DELIVERY_BATCH_COUNT_MAX];
    size_t count, bytes;
};

/* ERR_NO_MEMORY: the arena is full. */
enum err delivery_encode(const Pipit__Delivery *delivery, struct arena *arena,
                         struct delivery_bytes *out) MUST_CHECK;
/* False: the batch must be sent first. An empty batch takes any delivery. */
bool delivery_batch_fits(const struct delivery_batch *batch, const struct delivery_bytes *delivery);
/* Borrows the bytes until the batch is packed and cleared. Must fit. */
void delivery_batch_add(struct delivery_batch *batch, const struct delivery_bytes *delivery);
/* Appends the enveloped DeliverBatch to out. Errors as envelope_pack. */
enum err delivery_batch_pack(struct delivery_batch *batch, struct buf *out) MUST_CHECK;
void delivery_batch_clear(struct delivery_batch *batch);

#endif
