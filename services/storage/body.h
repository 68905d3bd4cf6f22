/* body: how a message rests in either back end: its body compressed when that pays, and under a
 * checksum over the whole row or document, so that damage is noticed instead of served. */
#ifndef PIPIT_STORAGE_BODY_H
#define PIPIT_STORAGE_BODY_H

#include "common/arena.h"
#include "proto/message.pb-c.h"

#define BODY_COMPRESS_BYTES_MIN 512u        /* design section 6 */
#define BODY_BYTES_MAX (8u * 1024u * 1024u) /* what the bus can carry */

/* What is stored: bytes (borrowed from the message or from the packer) and the unpacked length,
 * which is 0 when the bytes are the body itself. */
struct stored_body {
    const uint8_t *bytes;
    size_t count;
    uint32_t raw_bytes;
};
/* LZ4's output; kept from message to message. */
struct body_packer {
    uint8_t *room;
    size_t room_bytes;
};

/* ERR_TOO_LARGE, ERR_NO_MEMORY. *out is valid until the next call with this packer. */
enum err body_pack(struct body_packer *packer, const ProtobufCBinaryData *body,
                   struct stored_body *out) MUST_CHECK;
void body_packer_finish(struct body_packer *packer);
/* Copies or expands into the arena. ERR_CORRUPT, ERR_NO_MEMORY. */
enum err body_unpack(const struct stored_body *stored, struct arena *arena,
                     ProtobufCBinaryData *body) MUST_CHECK;
/* The key of a conversation where it has no number. */
uint64_t body_conversation_key(const char *id);
/* SipHash-2-4 over every column of the row. message->seq counts; its body and conversation id do
 * not: `stored` and the key stand for them. Id and texts are at most STORE_ID_BYTES_MAX long. The
 * key is fixed: this finds damage, not forgery. */
uint64_t body_hash(uint64_t conversation, const Pipit__StoredMessage *message,
                   const struct stored_body *stored);

#endif
