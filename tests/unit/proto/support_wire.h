/* support_wire: changes packed messages as another version of Pipit would have packed them: with
 * fields that nobody here knows, without fields that were added later, and, for tests that ask for
 * it, with fields missing and enum values changed at random. Works on bytes and descriptors alone,
 * so it knows nothing of any message. Also the heart of tests/wire/shim.c; hence plain malloc. */
#ifndef PIPIT_TESTS_SUPPORT_WIRE_H
#define PIPIT_TESTS_SUPPORT_WIRE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire_bytes { /* zeroed = empty */
    uint8_t *bytes;
    size_t count, held;
};
void wire_bytes_finish(struct wire_bytes *out);

/* Field numbers that no message here has; one for each wire type that protobuf-c reads. */
#define WIRE_UNKNOWN_VARINT 20001u
#define WIRE_UNKNOWN_FIXED64 20002u
#define WIRE_UNKNOWN_BYTES 20003u
#define WIRE_UNKNOWN_FIXED32 20004u
#define WIRE_UNKNOWN_ENUM 77u /* a value that no enum here has */

struct wire_rules {
    bool adds_unknown;  /* to every message and every message in it, before and behind its fields */
    const char *leaves; /* fields left out: "Submit.device Mark.device"; "*" = all; NULL = none */
    const char *others; /* enum fields that get WIRE_UNKNOWN_ENUM, likewise */
    uint32_t missing_per_1000, enums_per_1000; /* chosen at random by *random, not NULL then */
    uint64_t *random;
};
/* Appends the message, rewritten, to out. False: no memory or not a packed message of that kind;
 * out is then of no use. */
bool wire_rewrite(const ProtobufCMessageDescriptor *descriptor, const uint8_t *packed, size_t bytes,
                  const struct wire_rules *rules, struct wire_bytes *out);

#endif
