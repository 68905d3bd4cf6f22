/* support_wire: a packed message is a row of (field number, wire type, value); a message inside is
 * a value with a length. So a rewriting is a walk over the rows: each is copied, left out, or, when
 * it holds a message, rewritten in turn and written with its new length. */
#include "tests/unit/proto/support_wire.h"

#include <stdlib.h>
#include <string.h>

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

struct reader {
    const uint8_t *at, *end;
};
struct row {
    uint32_t number, type;
    const uint8_t *start; /* of the row */
    const uint8_t *value;
    size_t value_bytes; /* of BYTES, without the length */
};

void wire_bytes_finish(struct wire_bytes *out) {
    free(out->bytes);
    *out = (struct wire_bytes){0};
}

static bool put(struct wire_bytes *out, const void *bytes, size_t count) {
    if (out->count + count > out->held) {
        size_t held = (out->held + count) * 2 + 64;
        uint8_t *grown = realloc(out->bytes, held);
        if (grown == NULL) {
            return false;
        }
        out->bytes = grown;
        out->held = held;
    }
    if (count > 0) {
        memcpy(out->bytes + out->count, bytes, count);
    }
    out->count += count;
    return true;
}

static bool put_varint(struct wire_bytes *out, uint64_t value) {
    uint8_t bytes[10];
    size_t count = 0;
    do {
        bytes[count] = (uint8_t)((value & 0x7fu) | (value > 0x7fu ? 0x80u : 0u));
        value >>= 7;
        count++;
    } while (value > 0);
    return put(out, bytes, count);
}

static bool put_tag(struct wire_bytes *out, uint32_t number, uint32_t type) {
    return put_varint(out, (uint64_t)number << 3 | type);
}

static bool get_varint(struct reader *in, uint64_t *value) {
    *value = 0;
    for (unsigned shift = 0; shift < 64 && in->at < in->end; shift += 7) {
        uint8_t byte = *in->at++;
        *value |= (uint64_t)(byte & 0x7fu) << shift;
        if ((byte & 0x80u) == 0) {
            return true;
        }
    }
    return false;
}

static bool skip(struct reader *in, size_t count) {
    bool there = (size_t)(in->end - in->at) >= count;
    in->at += there ? count : 0;
    return there;
}

static bool get_row(struct reader *in, struct row *row) {
    uint64_t tag = 0;
    uint64_t number = 0;
    row->start = in->at;
    if (!get_varint(in, &tag)) {
        return false;
    }
    row->number = (uint32_t)(tag >> 3);
    row->type = (uint32_t)(tag & 7u);
    row->value = in->at;
    switch (row->type) {
    case VARINT:
        return get_varint(in, &number);
    case FIXED64:
        return skip(in, 8);
    case FIXED32:
        return skip(in, 4);
    case BYTES:
        if (!get_varint(in, &number)) {
            return false;
        }
        row->value = in->at;
        row->value_bytes = (size_t)number;
        return skip(in, (size_t)number);
    default:
        return false;
    }
}

/* --- what happens to a field */

/* True when "Message.field" is one of the words of the list. */
static bool listed(const char *list, const ProtobufCMessageDescriptor *descriptor,
                   const ProtobufCFieldDescriptor *field) {
    size_t message_bytes = strlen(descriptor->short_name);
    size_t field_bytes = strlen(field->name);
    if (list == NULL || strcmp(list, "*") == 0) {
        return list != NULL;
    }
    while (*list != '\0') {
        size_t bytes = strcspn(list, " ");
        if (bytes == message_bytes + 1 + field_bytes &&
            memcmp(list, descriptor->short_name, message_bytes) == 0 &&
            list[message_bytes] == '.' &&
            memcmp(list + message_bytes + 1, field->name, field_bytes) == 0) {
            return true;
        }
        list += bytes + strspn(list + bytes, " ");
    }
    return false;
}

static bool by_chance(const struct wire_rules *rules, uint32_t per_1000) {
    if (per_1000 == 0) {
        return false;
    }
    /* xorshift64; Source: Marsaglia, Xorshift RNGs, 2003 */
    *rules->random ^= *rules->random << 13;
    *rules->random ^= *rules->random >> 7;
    *rules->random ^= *rules->random << 17;
    return *rules->random % 1000 < per_1000;
}

static bool rewrite_field(const ProtobufCMessageDescriptor *descriptor,
                          const ProtobufCFieldDescriptor *field, const struct row *row,
                          size_t row_bytes, const struct wire_rules *rules,
                          struct wire_bytes *out) {
    struct wire_bytes inner = {0};
    if (listed(rules->leaves, descriptor, field) || by_chance(rules, rules->missing_per_1000)) {
        return true;
    }
    bool is_enum = field->type == PROTOBUF_C_TYPE_ENUM && row->type == VARINT;
    if (is_enum &&
        (listed(rules->others, descriptor, field) || by_chance(rules, rules->enums_per_1000))) {
        return put_tag(out, row->number, VARINT) && put_varint(out, WIRE_UNKNOWN_ENUM);
    }
    if (field->type != PROTOBUF_C_TYPE_MESSAGE || row->type != BYTES) {
        return put(out, row->start, row_bytes);
    }
    bool whole = wire_rewrite(field->descriptor, row->value, row->value_bytes, rules, &inner) &&
                 put_tag(out, row->number, BYTES) && put_varint(out, inner.count) &&
                 put(out, inner.bytes, inner.count);
    wire_bytes_finish(&inner);
    return whole;
}

/* --- messages */

static bool put_unknown_numbers(struct wire_bytes *out) {
    const uint8_t eight[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    return put_tag(out, WIRE_UNKNOWN_VARINT, VARINT) && put_varint(out, 300) &&
           put_tag(out, WIRE_UNKNOWN_FIXED64, FIXED64) && put(out, eight, 8);
}

static bool put_unknown_bytes(struct wire_bytes *out) {
    const char text[] = "later";
    const uint8_t four[4] = {0xff, 0xff, 0xff, 0xff};
    return put_tag(out, WIRE_UNKNOWN_BYTES, BYTES) && put_varint(out, sizeof text - 1) &&
           put(out, text, sizeof text - 1) && put_tag(out, WIRE_UNKNOWN_FIXED32, FIXED32) &&
           put(out, four, 4);
}

bool wire_rewrite(const ProtobufCMessageDescriptor *descriptor, const uint8_t *packed, size_t bytes,
                  const struct wire_rules *rules, struct wire_bytes *out) {
    struct reader in = {packed, packed + bytes};
    bool whole = !rules->adds_unknown || put_unknown_numbers(out);
    while (whole && in.at < in.end) {
        struct row row = {0};
        if (!get_row(&in, &row)) {
            return false;
        }
        size_t row_bytes = (size_t)(in.at - row.start);
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(descriptor, row.number);
        whole = field == NULL ? put(out, row.start, row_bytes)
                              : rewrite_field(descriptor, field, &row, row_bytes, rules, out);
    }
    return whole && (!rules->adds_unknown || put_unknown_bytes(out));
}
