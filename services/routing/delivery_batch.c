/* delivery_batch: fan-out without encoding a message once per endpoint.
 *
 * On the wire, DeliverBatch{repeated Delivery deliveries = 1} is nothing but, for each delivery,
 * the byte 0x0A (field 1, wire type 2 "length-delimited"), the length as a base-128 varint, and the
 * delivery's own bytes. So an encoded delivery can be copied into any number of batches. protobuf-c
 * offers the place for it: a message's "unknown fields" are written out verbatim behind the known
 * ones, tag first. A batch therefore is an empty DeliverBatch whose unknown fields all carry tag 1
 * and point at shared bytes; only the length prefix is written by hand. Readers cannot tell the
 * difference; the unit test compares both encodings byte by byte.
 * Source: Protocol Buffers encoding guide, "Length-delimited records"; protobuf-c 1.4
 * unknown_fields. */
#include "services/routing/delivery_batch.h"

#include "common/contract.h"
#include "proto/envelope.h"

#define DELIVERIES_TAG 1u /* DeliverBatch.deliveries */
#define VARINT_BYTES_MAX 10u

static size_t put_varint(uint64_t value, uint8_t *out) {
    size_t count = 0;
    while (value >= 0x80u) {
        out[count++] = (uint8_t)(value | 0x80u);
        value >>= 7;
    }
    out[count++] = (uint8_t)value;
    return count;
}

enum err delivery_encode(const Pipit__Delivery *delivery, struct arena *arena,
                         struct delivery_bytes *out) {
    size_t bytes = protobuf_c_message_get_packed_size(&delivery->base);
    uint8_t *encoded = arena_alloc(arena, VARINT_BYTES_MAX + bytes);
    if (encoded == NULL) {
        return ERR_NO_MEMORY;
    }
    size_t prefix = put_varint(bytes, encoded);
    CONTRACT(protobuf_c_message_pack(&delivery->base, encoded + prefix) == bytes);
    *out = (struct delivery_bytes){encoded, prefix + bytes};
    return ERR_OK;
}

bool delivery_batch_fits(const struct delivery_batch *batch,
                         const struct delivery_bytes *delivery) {
    return batch->count == 0 || (batch->count < DELIVERY_BATCH_COUNT_MAX &&
                                 batch->bytes + delivery->count <= DELIVERY_BATCH_BYTES_MAX);
}

void delivery_batch_add(struct delivery_batch *batch, const struct delivery_bytes *delivery) {
    CONTRACT(delivery_batch_fits(batch, delivery));
    batch->fields[batch->count++] = (ProtobufCMessageUnknownField){
        .tag = DELIVERIES_TAG,
        .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
        .len = delivery->count,
        .data = delivery->bytes,
    };
    batch->bytes += delivery->count;
}

enum err delivery_batch_pack(struct delivery_batch *batch, struct buf *out) {
    Pipit__DeliverBatch message = PIPIT__DELIVER_BATCH__INIT;
    message.base.n_unknown_fields = (unsigned)batch->count;
    message.base.unknown_fields = batch->fields;
    return envelope_pack(MESSAGE_DELIVER_BATCH, &message.base, false, out);
}

void delivery_batch_clear(struct delivery_batch *batch) {
    batch->count = 0;
    batch->bytes = 0;
}
