/* key_schedule: when signing keys are made, sign, and are taken out of the published set. Pure:
 * every auth instance computes the same from the keys in storage and a clock.
 *
 *   published ──(lifetime + margin)──► signs ──(rotation)──► next one signs ──(lifetime +
 * margin)──► retired
 *
 * Published before it signs: whoever caches the set (connection, other instances, /jwks.json) has
 * the key before the first token that needs it. Published until its last token died. */
#ifndef PIPIT_AUTH_KEY_SCHEDULE_H
#define PIPIT_AUTH_KEY_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct key_policy {
    uint64_t lifetime_ms; /* of an access token */
    uint64_t rotation_ms; /* how long one key signs; >= 2 * (lifetime + margin) */
    uint64_t margin_ms;   /* how long a cached key set may be out of date */
};
struct key_times {
    uint64_t signs_from_ms;
    uint64_t retires_ms; /* 0 = open */
};
#define KEY_SCHEDULE_NONE SIZE_MAX

/* The key that signs at now_ms: the newest whose time has come; before all of them (a clock that
 * went back) the oldest. KEY_SCHEDULE_NONE without keys. Any order of keys. */
size_t key_schedule_signer(const struct key_times *keys, size_t count, uint64_t now_ms);
/* True when a new key is due now; *signs_from_ms is when it signs: at once when it is the first. */
bool key_schedule_wants_new(const struct key_times *keys, size_t count,
                            const struct key_policy *policy, uint64_t now_ms,
                            uint64_t *signs_from_ms);
/* When the newest of these keys stops signing, because instances that look in time have its
 * successor by then; 0 without keys. */
uint64_t key_schedule_successor_signs(const struct key_times *keys, size_t count,
                                      const struct key_policy *policy);
/* When keys[index] may leave the published set; 0 while no newer key follows it. */
uint64_t key_schedule_retires(const struct key_times *keys, size_t count, size_t index,
                              const struct key_policy *policy);

#endif
