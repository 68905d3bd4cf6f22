/* body: compression at rest and the checksum of a message.
 *
 * LZ4 because it unpacks at memory speed on a Pi; below 512 bytes it rarely shrinks JSON enough to
 * pay for itself. raw_bytes doubles as the flag and as the bound for unpacking, so a damaged length
 * cannot make us allocate more than a body may have.
 *
 * The hash covers fixed fields, texts with their lengths (so that bytes cannot move from one text
 * to the next unnoticed), and a hash of the body: two calls on contiguous memory, no copy of the
 * body. SQLite itself has no page checksums, and a database server's end before the network; one
 * flipped bit in a body would otherwise be a wrong message (reference/reliability.md R7). */
#include "services/storage/body.h"

#include "common/contract.h"
#include "common/mem.h"
#include "services/storage/store.h"
#include <lz4.h>
#include <sodium.h>
#include <string.h>

#define FIXED_FIELDS 9u
#define TEXTS_MAX 5u

static const uint8_t HASH_KEY[crypto_shorthash_KEYBYTES] = "pipit.row.hash.";

enum err body_pack(struct body_packer *packer, const ProtobufCBinaryData *body,
                   struct stored_body *out) {
    if (body->len > BODY_BYTES_MAX) {
        return ERR_TOO_LARGE;
    }
    *out = (struct stored_body){.bytes = body->data, .count = body->len};
    if (body->len < BODY_COMPRESS_BYTES_MIN) {
        return ERR_OK;
    }
    size_t bound = (size_t)LZ4_compressBound((int)body->len);
    if (packer->room_bytes < bound) {
        uint8_t *room = mem_realloc(packer->room, bound);
        if (room == NULL) {
            return ERR_NO_MEMORY;
        }
        packer->room = room;
        packer->room_bytes = bound;
    }
    int packed = LZ4_compress_default((const char *)body->data, (char *)packer->room,
                                      (int)body->len, (int)bound);
    if (packed > 0 && (size_t)packed < body->len) {
        *out = (struct stored_body){packer->room, (size_t)packed, (uint32_t)body->len};
    }
    return ERR_OK;
}

void body_packer_finish(struct body_packer *packer) {
    mem_free(packer->room);
    *packer = (struct body_packer){0};
}

enum err body_unpack(const struct stored_body *stored, struct arena *arena,
                     ProtobufCBinaryData *body) {
    if (stored->raw_bytes > BODY_BYTES_MAX || stored->count > BODY_BYTES_MAX) {
        return ERR_CORRUPT;
    }
    size_t bytes = stored->raw_bytes != 0 ? stored->raw_bytes : stored->count;
    uint8_t *room = arena_alloc(arena, bytes == 0 ? 1 : bytes);
    if (room == NULL) {
        return ERR_NO_MEMORY;
    }
    if (stored->raw_bytes == 0) {
        if (bytes > 0) {
            memcpy(room, stored->bytes, bytes);
        }
    } else if (LZ4_decompress_safe((const char *)stored->bytes, (char *)room, (int)stored->count,
                                   (int)bytes) != (int)bytes) {
        return ERR_CORRUPT;
    }
    body->data = room;
    body->len = bytes;
    return ERR_OK;
}

static size_t put_u64(uint8_t *at, uint64_t value) {
    for (unsigned i = 0; i < 8; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
    return 8;
}

static size_t put_bytes(uint8_t *at, const void *bytes, size_t count) {
    CONTRACT(count <= STORE_ID_BYTES_MAX);
    size_t used = put_u64(at, count);
    if (count > 0) {
        memcpy(at + used, bytes, count);
    }
    return used + count;
}

static uint64_t short_hash(const uint8_t *bytes, size_t count) {
    uint8_t hash[crypto_shorthash_BYTES];
    (void)crypto_shorthash(hash, bytes, count, HASH_KEY); /* always 0 */
    uint64_t value = 0;
    for (unsigned i = 0; i < sizeof(hash); i++) {
        value |= (uint64_t)hash[i] << (8 * i);
    }
    return value;
}

uint64_t body_conversation_key(const char *id) {
    return short_hash((const uint8_t *)id, strlen(id));
}

uint64_t body_hash(uint64_t conversation, const Pipit__StoredMessage *message,
                   const struct stored_body *stored) {
    uint8_t row[FIXED_FIELDS * 8 + TEXTS_MAX * (8 + STORE_ID_BYTES_MAX)];
    const Pipit__Origin *origin = message->origin;
    size_t used = put_u64(row, conversation);
    used += put_u64(row + used, message->seq);
    used += put_u64(row + used, (uint64_t)message->kind);
    used += put_u64(row + used, message->target_seq);
    used += put_u64(row + used, message->reply_seq);
    used += put_u64(row + used, message->ts_ms);
    used += put_u64(row + used, stored->raw_bytes);
    used += put_u64(row + used, short_hash(stored->bytes, stored->count));
    used += put_bytes(row + used, message->id.data, message->id.len);
    used += put_bytes(row + used, message->sender, strlen(message->sender));
    used += put_bytes(row + used, message->device, strlen(message->device));
    if (origin != NULL) {
        used += put_u64(row + used, origin->packet_id);
        used += put_bytes(row + used, origin->device, strlen(origin->device));
        used += put_bytes(row + used, origin->hash.data, origin->hash.len);
    }
    return short_hash(row, used);
}
