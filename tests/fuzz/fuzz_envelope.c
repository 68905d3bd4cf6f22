/* fuzz_envelope: bus messages of every type, compressed or not, into an arena; what unpacks is
 * packed again and must unpack again. Messages with fields of no known number are exempt from the
 * second half: protobuf-c accepts a field number 0 in padded form and writes it back in a form that
 * it refuses. */
#include "proto/envelope.h"
#include "tests/fuzz/fuzz_support.h"

#define ARENA_BYTES_MAX (16u << 20)

static bool has_unknown(const ProtobufCMessage *message);

/* Looks into one field that holds messages. */
static bool field_has_unknown(const ProtobufCMessage *message,
                              const ProtobufCFieldDescriptor *field) {
    const char *base = (const char *)message;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t count = *(const size_t *)(base + field->quantifier_offset);
        ProtobufCMessage *const *items = *(ProtobufCMessage *const *const *)(base + field->offset);
        for (size_t i = 0; i < count; i++) {
            if (has_unknown(items[i])) {
                return true;
            }
        }
        return false;
    }
    bool is_chosen = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0 ||
                     *(const uint32_t *)(base + field->quantifier_offset) == field->id;
    const ProtobufCMessage *inner =
        is_chosen ? *(ProtobufCMessage *const *)(base + field->offset) : NULL;
    return inner != NULL && has_unknown(inner);
}

static bool has_unknown(const ProtobufCMessage *message) {
    bool is_found = message->n_unknown_fields > 0;
    for (unsigned i = 0; i < message->descriptor->n_fields && !is_found; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        is_found = field->type == PROTOBUF_C_TYPE_MESSAGE && field_has_unknown(message, field);
    }
    return is_found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *bytes = fuzz_copy(data, size);
    enum message_type type = envelope_type(bytes, size);
    struct arena arena;
    ProtobufCMessage *message = NULL, *again = NULL;
    struct buf out;
    arena_init(&arena, 64u << 10, ARENA_BYTES_MAX);
    buf_init(&out, ARENA_BYTES_MAX);
    if (type != MESSAGE_NONE) {
        CONTRACT(size >= ENVELOPE_BYTES);
        if (envelope_unpack(type, bytes, size, &arena, &message) == ERR_OK) {
            CONTRACT(message != NULL);
            enum err error = envelope_pack(type, message, size % 2 == 0, &out);
            CONTRACT(error == ERR_OK || error == ERR_TOO_LARGE);
            if (error == ERR_OK && !has_unknown(message)) {
                error = envelope_unpack(type, buf_data(&out), buf_len(&out), &arena, &again);
                CONTRACT(error == ERR_OK || error == ERR_NO_MEMORY);
            }
        }
    } else {
        CONTRACT(envelope_unpack((enum message_type)1, bytes, size, &arena, &message) != ERR_OK);
    }
    buf_finish(&out);
    arena_finish(&arena);
    free(bytes);
    return 0;
}
