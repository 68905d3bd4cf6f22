/* Packing of bus messages. Contracts are Protocol Buffers so that versions N-1 and N understand
 * each other; the envelope adds what protobuf lacks: a type, a version and optional compression.
 *
 * protobuf-c unpacks into many small objects. With the arena as its allocator that costs a pointer
 * bump each, and the batch is forgotten by one arena_reset. A hostile or damaged message can at
 * most use up the arena's cap: the unpacker then sees an allocation failure and gives up; that is
 * told apart from malformed input by a flag in the allocator. */
#include "proto/envelope.h"

#include "common/contract.h"
#include <lz4.h>
#include <string.h>

#include "proto/accounts.pb-c.h"
#include "proto/deliver.pb-c.h"
#include "proto/directory.pb-c.h"
#include "proto/message.pb-c.h"
#include "proto/storage.pb-c.h"
#include "proto/submit.pb-c.h"

#define ENVELOPE_VERSION 1u
#define FLAG_LZ4 1u

struct arena_allocator {
    struct arena *arena;
    bool exhausted;
};

const char *message_type_name(enum message_type type) {
    switch (type) {
#define MESSAGE_ROW(name, number, descriptor)                                                      \
    case MESSAGE_##name:                                                                           \
        return &#descriptor[sizeof "pipit__" - 1];
#include "proto/message.def"
#undef MESSAGE_ROW
    case MESSAGE_NONE:
        break;
    }
    return "unknown";
}

static const ProtobufCMessageDescriptor *descriptor_of(enum message_type type) {
    switch (type) {
#define MESSAGE_ROW(name, number, prefix)                                                          \
    case MESSAGE_##name:                                                                           \
        return &prefix##__descriptor;
#include "proto/message.def"
#undef MESSAGE_ROW
    case MESSAGE_NONE:
        break;
    }
    return NULL;
}

static void put_header(uint8_t *header, enum message_type type, uint8_t flags, size_t raw_bytes) {
    header[0] = ENVELOPE_VERSION;
    header[1] = flags;
    header[2] = (uint8_t)((unsigned)type & 0xffu);
    header[3] = (uint8_t)(((unsigned)type >> 8) & 0xffu);
    for (unsigned i = 0; i < 4; i++) {
        header[4 + i] = (uint8_t)((raw_bytes >> (8 * i)) & 0xffu);
    }
}

static size_t raw_bytes_of(const uint8_t *header) {
    size_t raw_bytes = 0;
    for (unsigned i = 0; i < 4; i++) {
        raw_bytes |= (size_t)header[4 + i] << (8 * i);
    }
    return raw_bytes;
}

/* Replaces the payload just packed at `start` by its LZ4 form when that is smaller. */
static enum err compress_payload(struct buf *out, size_t start, size_t raw_bytes, bool *smaller) {
    uint8_t *room = NULL;
    int bound = LZ4_compressBound((int)raw_bytes);
    *smaller = false;
    enum err error = buf_reserve(out, (size_t)bound, &room);
    if (error != ERR_OK) {
        return error == ERR_TOO_LARGE ? ERR_OK : error; /* no room to try: send it as it is */
    }
    uint8_t *raw = out->bytes + out->start + start;
    int packed = LZ4_compress_default((const char *)raw, (char *)room, (int)raw_bytes, bound);
    if (packed > 0 && (size_t)packed < raw_bytes) {
        memmove(raw, room, (size_t)packed);
        out->end = out->start + start + (size_t)packed;
        *smaller = true;
    }
    return ERR_OK;
}

enum err envelope_pack(enum message_type type, const ProtobufCMessage *message, bool compress,
                       struct buf *out) {
    CONTRACT(message->descriptor == descriptor_of(type));
    size_t raw_bytes = protobuf_c_message_get_packed_size(message);
    if (raw_bytes > ENVELOPE_RAW_BYTES_MAX) {
        return ERR_TOO_LARGE;
    }
    size_t start = buf_len(out);
    uint8_t *room = NULL;
    enum err error = buf_reserve(out, ENVELOPE_BYTES + raw_bytes, &room);
    if (error != ERR_OK) {
        return error;
    }
    put_header(room, type, 0, raw_bytes);
    size_t packed = protobuf_c_message_pack(message, room + ENVELOPE_BYTES);
    CONTRACT(packed == raw_bytes);
    buf_commit(out, ENVELOPE_BYTES + raw_bytes);
    if (compress && raw_bytes >= ENVELOPE_COMPRESS_BYTES_MIN) {
        bool smaller = false;
        error = compress_payload(out, start + ENVELOPE_BYTES, raw_bytes, &smaller);
        if (error != ERR_OK) {
            out->end = out->start + start;
            return error;
        }
        if (smaller) {
            put_header(out->bytes + out->start + start, type, FLAG_LZ4, raw_bytes);
        }
    }
    return ERR_OK;
}

enum message_type envelope_type(const uint8_t *bytes, size_t count) {
    if (count < ENVELOPE_BYTES || bytes[0] != ENVELOPE_VERSION) {
        return MESSAGE_NONE;
    }
    enum message_type type = (enum message_type)(bytes[2] | (unsigned)bytes[3] << 8);
    return descriptor_of(type) == NULL ? MESSAGE_NONE : type;
}

static void *allocator_alloc(void *data, size_t bytes) {
    struct arena_allocator *allocator = data;
    void *pointer = arena_alloc(allocator->arena, bytes == 0 ? 1 : bytes);
    if (pointer == NULL) {
        allocator->exhausted = true;
    }
    return pointer;
}

static void allocator_free(void *data, void *pointer) {
    (void)data;
    (void)pointer; /* the arena is reset as a whole */
}

static enum err expand(const uint8_t *payload, size_t bytes, size_t raw_bytes, struct arena *arena,
                       const uint8_t **raw) {
    uint8_t *room = arena_alloc(arena, raw_bytes == 0 ? 1 : raw_bytes);
    if (room == NULL) {
        return ERR_NO_MEMORY;
    }
    int expanded =
        LZ4_decompress_safe((const char *)payload, (char *)room, (int)bytes, (int)raw_bytes);
    if (expanded < 0 || (size_t)expanded != raw_bytes) {
        return ERR_INVALID;
    }
    *raw = room;
    return ERR_OK;
}

enum err envelope_unpack(enum message_type type, const uint8_t *bytes, size_t count,
                         struct arena *arena, ProtobufCMessage **message) {
    if (type == MESSAGE_NONE || envelope_type(bytes, count) != type) {
        return ERR_INVALID;
    }
    size_t raw_bytes = raw_bytes_of(bytes);
    if (raw_bytes > ENVELOPE_RAW_BYTES_MAX || count > ENVELOPE_RAW_BYTES_MAX + ENVELOPE_BYTES) {
        return ERR_TOO_LARGE;
    }
    const uint8_t *payload = bytes + ENVELOPE_BYTES;
    if ((bytes[1] & ~FLAG_LZ4) != 0) {
        return ERR_INVALID; /* a flag of a later version that changes the payload */
    }
    if ((bytes[1] & FLAG_LZ4) != 0) {
        enum err error = expand(payload, count - ENVELOPE_BYTES, raw_bytes, arena, &payload);
        if (error != ERR_OK) {
            return error;
        }
    } else if (raw_bytes != count - ENVELOPE_BYTES) {
        return ERR_INVALID;
    }
    struct arena_allocator state = {arena, false};
    ProtobufCAllocator allocator = {allocator_alloc, allocator_free, &state};
    ProtobufCMessage *unpacked =
        protobuf_c_message_unpack(descriptor_of(type), &allocator, raw_bytes, payload);
    if (unpacked == NULL) {
        return state.exhausted ? ERR_NO_MEMORY : ERR_INVALID;
    }
    *message = unpacked;
    return ERR_OK;
}

/* What a StatusReply in the place of another answer says. */
static enum err refusal(const uint8_t *bytes, size_t count, struct arena *arena) {
    Pipit__StatusReply *status = NULL;
    enum err error = ENVELOPE_UNPACK(STATUS_REPLY, bytes, count, arena, &status);
    if (error != ERR_OK) {
        return error == ERR_NO_MEMORY ? error : ERR_CORRUPT;
    }
    switch (status->error) {
    case ERR_UNSUPPORTED:
    case ERR_UNAVAILABLE:
    case ERR_FULL:
    case ERR_NO_MEMORY:
    case ERR_INVALID:
        return (enum err)status->error;
    default:
        return ERR_CORRUPT; /* no reason to refuse a request as a whole */
    }
}

enum err envelope_unpack_reply(enum message_type type, const uint8_t *bytes, size_t count,
                               struct arena *arena, ProtobufCMessage **message) {
    if (type != MESSAGE_STATUS_REPLY && envelope_type(bytes, count) == MESSAGE_STATUS_REPLY) {
        return refusal(bytes, count, arena);
    }
    enum err error = envelope_unpack(type, bytes, count, arena, message);
    return error == ERR_OK || error == ERR_NO_MEMORY ? error : ERR_CORRUPT;
}
