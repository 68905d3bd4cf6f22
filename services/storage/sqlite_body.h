/* sqlite_body: how a message's body rests in its row: compressed when that pays, and under a
 * checksum over the whole row, so that a damaged page is noticed instead of served. */
#ifndef PIPIT_STORAGE_SQLITE_BODY_H
#define PIPIT_STORAGE_SQLITE_BODY_H

#include "common/arena.h"
#include "proto/message.pb-c.h"

#define SQLITE_BODY_COMPRESS_BYTES_MIN 512u        /* design section 6 */
#define SQLITE_BODY_BYTES_MAX (8u * 1024u * 1024u) /* what the bus can carry */

/* What is stored: bytes (borrowed from the message or from the packer) and the unpacked length,
 * which is 0 when the bytes are the body itself. */
struct sqlite_body {
    const uint8_t *bytes;
    size_t count;
    uint32_t raw_bytes;
};
/* LZ4's output; kept from message to message. */
struct sqlite_packer {
    uint8_t *room;
    size_t room_bytes;
};

/* ERR_TOO_LARGE, ERR_NO_MEMORY. *out is valid until the next call with this packer. */
enum err sqlite_body_pack(struct sqlite_packer *packer, const ProtobufCBinaryData *body,
                          struct sqlite_body *out) MUST_CHECK;
void sqlite_packer_finish(struct sqlite_packer *packer);
/* Copies or expands into the arena. ERR_CORRUPT, ERR_NO_MEMORY. */
enum err sqlite_body_unpack(const struct sqlite_body *stored, struct arena *arena,
                            ProtobufCBinaryData *body) MUST_CHECK;
/* SipHash-2-4 over every column of the row. message->seq counts; its body and conversation id do
 * not: `stored` and the key stand for them. Id and texts are at most STORE_ID_BYTES_MAX long. The
 * key is fixed: this finds damage, not forgery. */
uint64_t sqlite_body_hash(uint64_t conversation, const Pipit__StoredMessage *message,
                          const struct sqlite_body *stored);

#endif
