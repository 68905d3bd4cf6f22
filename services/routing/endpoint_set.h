/* endpoint_set: a set of endpoints as one bit per slot: 32 bytes, whatever is in it. */
#ifndef PIPIT_ROUTING_ENDPOINT_SET_H
#define PIPIT_ROUTING_ENDPOINT_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Event loops of all connection instances together: 64 instances of 4 threads. */
#define ENDPOINTS_MAX 256u
#define ENDPOINT_SET_WORDS (ENDPOINTS_MAX / 64u)

struct endpoint_set {
    uint64_t words[ENDPOINT_SET_WORDS];
};
static inline void endpoint_set_add(struct endpoint_set *set, size_t slot) {
    set->words[slot / 64] |= UINT64_C(1) << (slot % 64);
}
static inline void endpoint_set_remove(struct endpoint_set *set, size_t slot) {
    set->words[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
}
static inline bool endpoint_set_has(const struct endpoint_set *set, size_t slot) {
    return (set->words[slot / 64] >> (slot % 64) & 1u) != 0;
}
static inline bool endpoint_set_empty(const struct endpoint_set *set) {
    uint64_t any = 0;
    for (size_t i = 0; i < ENDPOINT_SET_WORDS; i++) {
        any |= set->words[i];
    }
    return any == 0;
}
static inline void endpoint_set_join(struct endpoint_set *set, const struct endpoint_set *other) {
    for (size_t i = 0; i < ENDPOINT_SET_WORDS; i++) {
        set->words[i] |= other->words[i];
    }
}
/* The first slot at or after `from`; ENDPOINTS_MAX when there is none. */
static inline size_t endpoint_set_next(const struct endpoint_set *set, size_t from) {
    while (from < ENDPOINTS_MAX) {
        uint64_t rest = set->words[from / 64] >> (from % 64);
        if (rest != 0) {
            return from + (size_t)__builtin_ctzll(rest);
        }
        from = (from / 64 + 1) * 64;
    }
    return ENDPOINTS_MAX;
}

#endif
