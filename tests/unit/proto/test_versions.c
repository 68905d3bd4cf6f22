/* Versions side by side: every bus message, filled in all its fields, as a later version would pack
 * it (fields that nobody here knows) and as an earlier one would (fields missing, one at a time and
 * all together), means the same or less, and is never refused. What must be refused is refused with
 * an error. The rule is in docs/reference/bus.md; a new message or field is covered without a line
 * here, because all of it walks the descriptors. */
#include "proto/envelope.h"

#include "proto/accounts.pb-c.h"
#include "proto/deliver.pb-c.h"
#include "proto/directory.pb-c.h"
#include "proto/storage.pb-c.h"
#include "proto/submit.pb-c.h"
#include "tests/unit/proto/support_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ARENA_BYTES_MAX (4u << 20)
#define REPEATS 2
#define UNKNOWN_EACH 4 /* fields that support_wire adds to a message */

static const struct {
    enum message_type type;
    const ProtobufCMessageDescriptor *descriptor;
} messages[] = {
#define MESSAGE_ROW(name, number, prefix) {MESSAGE_##name, &prefix##__descriptor},
#include "proto/message.def"
#undef MESSAGE_ROW
};
#define MESSAGE_COUNT (sizeof messages / sizeof messages[0])

static struct arena arena;

static int setup(void **state) {
    (void)state;
    arena_init(&arena, 64u << 10, ARENA_BYTES_MAX);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    arena_finish(&arena);
    return 0;
}

/* --- a message with something in every field */

static ProtobufCMessage *fill(const ProtobufCMessageDescriptor *descriptor, unsigned variant);

static void fill_value(const ProtobufCFieldDescriptor *field, void *at, unsigned variant) {
    switch (field->type) {
    case PROTOBUF_C_TYPE_UINT64:
        *(uint64_t *)at = 1000000000000u + field->id;
        break;
    case PROTOBUF_C_TYPE_UINT32:
        *(uint32_t *)at = 7 + field->id;
        break;
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_BOOL:
        *(int *)at = 1;
        break;
    case PROTOBUF_C_TYPE_STRING:
        *(const char **)at = "text";
        break;
    case PROTOBUF_C_TYPE_BYTES:
        *(ProtobufCBinaryData *)at = (ProtobufCBinaryData){.len = 3, .data = (uint8_t *)"\0\1\2"};
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        *(ProtobufCMessage **)at = fill(field->descriptor, variant);
        break;
    default:
        fail_msg("%s: a type that is not known here", field->name);
    }
}

static size_t value_bytes(const ProtobufCFieldDescriptor *field) {
    switch (field->type) {
    case PROTOBUF_C_TYPE_UINT64:
        return 8;
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    default:
        return 4;
    }
}

/* Of a oneof, the variant-th member is set. */
static ProtobufCMessage *fill(const ProtobufCMessageDescriptor *descriptor, unsigned variant) {
    ProtobufCMessage *message = arena_alloc(&arena, descriptor->sizeof_message);
    unsigned choices = 0;
    assert_non_null(message);
    protobuf_c_message_init(descriptor, message);
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        uint8_t *at = (uint8_t *)message + field->offset;
        uint8_t *quantifier = (uint8_t *)message + field->quantifier_offset;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            uint8_t *items = arena_alloc(&arena, REPEATS * value_bytes(field));
            assert_non_null(items);
            for (unsigned j = 0; j < REPEATS; j++) {
                fill_value(field, items + j * value_bytes(field), variant);
            }
            *(size_t *)quantifier = REPEATS;
            *(uint8_t **)at = items;
        } else if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0) {
            fill_value(field, at, variant);
        } else if (choices++ == variant) {
            *(uint32_t *)quantifier = field->id;
            fill_value(field, at, variant);
        }
    }
    return message;
}

static unsigned variants(const ProtobufCMessageDescriptor *descriptor) {
    unsigned most = 1;
    unsigned choices = 0;
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        choices += (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
        unsigned inner = field->type == PROTOBUF_C_TYPE_MESSAGE ? variants(field->descriptor) : 1;
        most = inner > most ? inner : most;
    }
    return choices > most ? choices : most;
}

/* --- packed forms */

static struct wire_bytes pack(const ProtobufCMessage *message) {
    struct wire_bytes packed = {0};
    packed.count = protobuf_c_message_get_packed_size(message);
    packed.bytes = malloc(packed.count + 1);
    assert_non_null(packed.bytes);
    assert_int_equal(protobuf_c_message_pack(message, packed.bytes), packed.count);
    return packed;
}

static struct wire_bytes rewrite(const ProtobufCMessageDescriptor *descriptor,
                                 const struct wire_bytes *packed, const struct wire_rules *rules) {
    struct wire_bytes out = {0};
    assert_true(wire_rewrite(descriptor, packed->bytes, packed->count, rules, &out));
    return out;
}

static enum err unpack_as(unsigned type, const struct wire_bytes *packed, ProtobufCMessage **out) {
    uint8_t *bytes = malloc(ENVELOPE_BYTES + packed->count);
    uint8_t head[ENVELOPE_BYTES] = {1, 0, (uint8_t)type, (uint8_t)(type >> 8)};
    assert_non_null(bytes);
    for (unsigned i = 0; i < 4; i++) {
        head[4 + i] = (uint8_t)(packed->count >> (8 * i));
    }
    memcpy(bytes, head, sizeof head);
    if (packed->count > 0) {
        memcpy(bytes + ENVELOPE_BYTES, packed->bytes, packed->count);
    }
    enum err error = envelope_unpack((enum message_type)type, bytes, ENVELOPE_BYTES + packed->count,
                                     &arena, out);
    free(bytes);
    return error;
}

static void assert_same(const struct wire_bytes *a, const struct wire_bytes *b) {
    assert_int_equal(a->count, b->count);
    if (a->count > 0) {
        assert_memory_equal(a->bytes, b->bytes, a->count);
    }
}

typedef void (*visit_fn)(ProtobufCMessage *message);

/* Calls visit with the message and every message in it. */
static void walk(ProtobufCMessage *message, visit_fn visit) {
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        uint8_t *at = (uint8_t *)message + field->offset;
        uint8_t *quantifier = (uint8_t *)message + field->quantifier_offset;
        if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
            continue;
        }
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            for (size_t j = 0; j < *(size_t *)quantifier; j++) {
                walk((*(ProtobufCMessage ***)at)[j], visit);
            }
        } else if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0 ||
                   *(uint32_t *)quantifier == field->id) {
            if (*(ProtobufCMessage **)at != NULL) {
                walk(*(ProtobufCMessage **)at, visit);
            }
        }
    }
    visit(message);
}

static void expect_unknown(ProtobufCMessage *message) {
    assert_int_equal(message->n_unknown_fields, UNKNOWN_EACH);
}

static void strip_unknown(ProtobufCMessage *message) {
    message->n_unknown_fields = 0;
}

static void expect_texts(ProtobufCMessage *message) {
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        if (field->type == PROTOBUF_C_TYPE_STRING && field->label != PROTOBUF_C_LABEL_REPEATED) {
            assert_non_null(*(char **)((uint8_t *)message + field->offset));
        }
    }
}

typedef void (*check_fn)(enum message_type type, const ProtobufCMessageDescriptor *descriptor,
                         const struct wire_bytes *packed);

static void for_all(check_fn check) {
    for (size_t i = 0; i < MESSAGE_COUNT; i++) {
        for (unsigned v = 0; v < variants(messages[i].descriptor); v++) {
            arena_reset(&arena);
            struct wire_bytes packed = pack(fill(messages[i].descriptor, v));
            check(messages[i].type, messages[i].descriptor, &packed);
            wire_bytes_finish(&packed);
        }
    }
}

/* --- a later version */

static void check_later(enum message_type type, const ProtobufCMessageDescriptor *descriptor,
                        const struct wire_bytes *packed) {
    const struct wire_rules rules = {.adds_unknown = true};
    struct wire_bytes later = rewrite(descriptor, packed, &rules);
    ProtobufCMessage *message = NULL;
    assert_int_equal(unpack_as(type, &later, &message), ERR_OK);
    walk(message, expect_unknown);
    /* What is passed on keeps what its reader may know, compressed or not. */
    for (int compress = 0; compress < 2; compress++) {
        struct buf out;
        ProtobufCMessage *again = NULL;
        buf_init(&out, 1u << 20);
        assert_int_equal(envelope_pack(type, message, compress, &out), ERR_OK);
        assert_int_equal(envelope_unpack(type, buf_data(&out), buf_len(&out), &arena, &again),
                         ERR_OK);
        walk(again, expect_unknown);
        buf_finish(&out);
    }
    walk(message, strip_unknown);
    struct wire_bytes known = pack(message);
    assert_same(&known, packed);
    wire_bytes_finish(&known);
    wire_bytes_finish(&later);
}

static void test_unknown_fields_change_nothing(void **state) {
    (void)state;
    for_all(check_later);
}

static void check_groups(enum message_type type, const ProtobufCMessageDescriptor *descriptor,
                         const struct wire_bytes *packed) {
    (void)descriptor;
    static const uint8_t ends[][4] = {{0xa3, 0x06}, {0xa4, 0x06}, {0xa6, 0x06}, {0xa7, 0x06}};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) { /* wire types 3, 4, 6, 7 */
        ProtobufCMessage *message = NULL;
        struct wire_bytes longer = {.count = packed->count + 2};
        longer.bytes = malloc(longer.count);
        assert_non_null(longer.bytes);
        memcpy(longer.bytes, packed->bytes, packed->count);
        memcpy(longer.bytes + packed->count, ends[i], 2);
        assert_int_equal(unpack_as(type, &longer, &message), ERR_INVALID);
        assert_null(message);
        wire_bytes_finish(&longer);
    }
}

static void test_wire_types_that_nobody_may_use_are_refused(void **state) {
    (void)state;
    for_all(check_groups);
}

/* --- an earlier version */

static void check_one_missing(enum message_type type, const ProtobufCMessageDescriptor *whole,
                              const struct wire_bytes *packed,
                              const ProtobufCMessageDescriptor *descriptor) {
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        char name[128];
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        (void)snprintf(name, sizeof name, "%s.%s", descriptor->short_name, field->name);
        const struct wire_rules rules = {.leaves = name};
        struct wire_bytes earlier = rewrite(whole, packed, &rules);
        ProtobufCMessage *message = NULL;
        assert_int_equal(unpack_as(type, &earlier, &message), ERR_OK);
        walk(message, expect_texts);
        struct wire_bytes again = pack(message);
        assert_same(&again, &earlier); /* the others are untouched */
        bool chosen = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0;
        if (descriptor == whole && chosen) {
            assert_true(earlier.count < packed->count);
        }
        wire_bytes_finish(&again);
        wire_bytes_finish(&earlier);
        if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            check_one_missing(type, whole, packed, field->descriptor);
        }
    }
}

static void check_earlier(enum message_type type, const ProtobufCMessageDescriptor *descriptor,
                          const struct wire_bytes *packed) {
    check_one_missing(type, descriptor, packed, descriptor);
}

static void test_any_field_may_be_missing(void **state) {
    (void)state;
    for_all(check_earlier);
}

static void check_empty(enum message_type type, const ProtobufCMessageDescriptor *descriptor,
                        const struct wire_bytes *packed) {
    const struct wire_rules rules = {.leaves = "*"};
    struct wire_bytes empty = rewrite(descriptor, packed, &rules);
    ProtobufCMessage *message = NULL;
    assert_int_equal(empty.count, 0);
    assert_int_equal(unpack_as(type, &empty, &message), ERR_OK);
    walk(message, expect_texts);
    assert_int_equal(protobuf_c_message_get_packed_size(message), 0);
    wire_bytes_finish(&empty);
}

static void test_all_fields_may_be_missing(void **state) {
    (void)state;
    for_all(check_empty);
}

/* --- values and types of a later version */

static void check_enums(enum message_type type, const ProtobufCMessageDescriptor *descriptor,
                        const struct wire_bytes *packed) {
    const struct wire_rules rules = {.others = "*"};
    struct wire_bytes later = rewrite(descriptor, packed, &rules);
    ProtobufCMessage *message = NULL;
    assert_int_equal(unpack_as(type, &later, &message), ERR_OK);
    struct wire_bytes again = pack(message);
    assert_same(&again, &later); /* the number is kept: its reader decides */
    wire_bytes_finish(&again);
    wire_bytes_finish(&later);
}

static void test_unknown_enum_values_are_kept(void **state) {
    (void)state;
    for_all(check_enums);
    /* The rewriting does find enums: MembersChange has two. */
    Pipit__MembersChange change = PIPIT__MEMBERS_CHANGE__INIT;
    change.action = PIPIT__MEMBER_ACTION__MEMBERS_SET_ROLE;
    change.role = PIPIT__MEMBER_ROLE__ROLE_OWNER;
    struct wire_bytes packed = pack(&change.base);
    const struct wire_rules rules = {.others = "MembersChange.role"};
    struct wire_bytes later = rewrite(change.base.descriptor, &packed, &rules);
    Pipit__MembersChange *read = NULL;
    assert_int_equal(unpack_as(MESSAGE_MEMBERS_CHANGE, &later, (ProtobufCMessage **)&read), ERR_OK);
    assert_int_equal(read->action, PIPIT__MEMBER_ACTION__MEMBERS_SET_ROLE);
    assert_int_equal(read->role, WIRE_UNKNOWN_ENUM);
    wire_bytes_finish(&later);
    wire_bytes_finish(&packed);
}

static void test_unknown_types_are_refused(void **state) {
    (void)state;
    bool known[65536] = {false};
    size_t refused = 0;
    for (size_t i = 0; i < MESSAGE_COUNT; i++) {
        assert_false(known[messages[i].type]); /* no number twice */
        known[messages[i].type] = true;
    }
    for (unsigned type = 0; type < 65536; type++) {
        const uint8_t bytes[ENVELOPE_BYTES] = {1, 0, (uint8_t)type, (uint8_t)(type >> 8)};
        ProtobufCMessage *message = NULL;
        if (known[type]) {
            assert_int_equal(envelope_type(bytes, sizeof bytes), type);
            continue;
        }
        refused++;
        assert_int_equal(envelope_type(bytes, sizeof bytes), MESSAGE_NONE);
        assert_int_equal(
            envelope_unpack((enum message_type)type, bytes, sizeof bytes, &arena, &message),
            ERR_INVALID);
        assert_int_equal(
            envelope_unpack(MESSAGE_SUBMIT_BATCH, bytes, sizeof bytes, &arena, &message),
            ERR_INVALID);
        assert_null(message);
        assert_string_equal(message_type_name((enum message_type)type), "unknown");
    }
    assert_int_equal(refused, 65536 - MESSAGE_COUNT);
}

static void test_unknown_envelopes_are_refused(void **state) {
    (void)state;
    ProtobufCMessage *message = NULL;
    for (unsigned version = 0; version < 256; version++) {
        for (unsigned flags = 0; flags < 256; flags++) {
            const uint8_t bytes[ENVELOPE_BYTES] = {(uint8_t)version, (uint8_t)flags,
                                                   MESSAGE_HEADS_REQUEST};
            enum err error =
                envelope_unpack(MESSAGE_HEADS_REQUEST, bytes, sizeof bytes, &arena, &message);
            bool plain = version == 1 && flags == 0;
            assert_int_equal(error, plain ? ERR_OK : ERR_INVALID);
        }
    }
}

/* --- answers */

static void test_a_refusal_in_place_of_an_answer(void **state) {
    (void)state;
    static const enum err told[] = {ERR_UNSUPPORTED, ERR_UNAVAILABLE, ERR_FULL, ERR_NO_MEMORY,
                                    ERR_INVALID};
    for (uint32_t number = 0; number < 200; number++) {
        Pipit__StatusReply status = PIPIT__STATUS_REPLY__INIT;
        Pipit__HeadsReply *heads = NULL;
        Pipit__StatusReply *same = NULL;
        struct buf out;
        status.error = number;
        buf_init(&out, 1024);
        assert_int_equal(envelope_pack(MESSAGE_STATUS_REPLY, &status.base, false, &out), ERR_OK);
        enum err expected = ERR_CORRUPT;
        for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
            expected = number == (uint32_t)told[i] ? told[i] : expected;
        }
        assert_int_equal(
            ENVELOPE_UNPACK_REPLY(HEADS_REPLY, buf_data(&out), buf_len(&out), &arena, &heads),
            expected);
        assert_null(heads);
        /* Where it is the answer, it is one. */
        assert_int_equal(
            ENVELOPE_UNPACK_REPLY(STATUS_REPLY, buf_data(&out), buf_len(&out), &arena, &same),
            ERR_OK);
        assert_int_equal(same->error, number);
        buf_finish(&out);
    }
    Pipit__HeadsReply *heads = NULL;
    assert_int_equal(ENVELOPE_UNPACK_REPLY(HEADS_REPLY, (const uint8_t *)"", 0, &arena, &heads),
                     ERR_CORRUPT);
    const uint8_t damaged[] = {1, 0, MESSAGE_STATUS_REPLY, 0, 1, 0, 0, 0, 0xff};
    assert_int_equal(ENVELOPE_UNPACK_REPLY(HEADS_REPLY, damaged, sizeof damaged, &arena, &heads),
                     ERR_CORRUPT);
    assert_null(heads);
}

static void test_the_rewriter_refuses_what_is_no_message(void **state) {
    (void)state;
    const struct wire_rules rules = {.adds_unknown = true};
    static const uint8_t broken[][3] = {{0x0a, 0x05, 'x'}, {0x08}, {0x0b}, {0xff, 0xff, 0xff}};
    static const size_t counts[] = {3, 1, 1, 3};
    for (size_t i = 0; i < 4; i++) {
        struct wire_bytes out = {0};
        assert_false(
            wire_rewrite(&pipit__heads_request__descriptor, broken[i], counts[i], &rules, &out));
        wire_bytes_finish(&out);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_unknown_fields_change_nothing),
                                       TEST(test_wire_types_that_nobody_may_use_are_refused),
                                       TEST(test_any_field_may_be_missing),
                                       TEST(test_all_fields_may_be_missing),
                                       TEST(test_unknown_enum_values_are_kept),
                                       TEST(test_unknown_types_are_refused),
                                       TEST(test_unknown_envelopes_are_refused),
                                       TEST(test_a_refusal_in_place_of_an_answer),
                                       TEST(test_the_rewriter_refuses_what_is_no_message)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
