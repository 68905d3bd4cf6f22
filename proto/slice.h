/* slice: bytes that belong to somebody else: what the parsers hand out instead of copies. */
#ifndef PIPIT_PROTO_SLICE_H
#define PIPIT_PROTO_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed; valid as long as the input it points into. bytes may be NULL when count is 0. */
struct slice {
    const uint8_t *bytes;
    size_t count;
};

static inline struct slice slice_make(const void *bytes, size_t count) {
    return (struct slice){.bytes = bytes, .count = count};
}

/* text is NUL-terminated; the NUL is not part of the slice. */
static inline struct slice slice_text(const char *text) {
    return slice_make(text, strlen(text));
}

static inline bool slice_is(struct slice slice, const char *text) {
    size_t count = strlen(text);
    return slice.count == count && (count == 0 || memcmp(slice.bytes, text, count) == 0);
}

#endif
