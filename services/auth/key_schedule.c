/* key_schedule: arithmetic on the times of the keys, nothing else: clocks, storage and keys are the
 * caller's, so a test walks through years in microseconds. */
#include "services/auth/key_schedule.h"

#include "common/contract.h"

size_t key_schedule_signer(const struct key_times *keys, size_t count, uint64_t now_ms) {
    size_t newest = KEY_SCHEDULE_NONE;
    size_t oldest = KEY_SCHEDULE_NONE;
    for (size_t i = 0; i < count; i++) {
        uint64_t from_ms = keys[i].signs_from_ms;
        if (oldest == KEY_SCHEDULE_NONE || from_ms < keys[oldest].signs_from_ms) {
            oldest = i;
        }
        if (from_ms <= now_ms &&
            (newest == KEY_SCHEDULE_NONE || from_ms > keys[newest].signs_from_ms)) {
            newest = i;
        }
    }
    return newest != KEY_SCHEDULE_NONE ? newest : oldest;
}

static uint64_t newest_from(const struct key_times *keys, size_t count) {
    uint64_t newest_ms = 0;
    for (size_t i = 0; i < count; i++) {
        newest_ms = keys[i].signs_from_ms > newest_ms ? keys[i].signs_from_ms : newest_ms;
    }
    return newest_ms;
}

bool key_schedule_wants_new(const struct key_times *keys, size_t count,
                            const struct key_policy *policy, uint64_t now_ms,
                            uint64_t *signs_from_ms) {
    uint64_t lead_ms = policy->lifetime_ms + policy->margin_ms;
    if (count == 0) {
        *signs_from_ms = now_ms; /* nobody has a token or a key set yet */
        return true;
    }
    if (now_ms + lead_ms < newest_from(keys, count) + policy->rotation_ms) {
        return false;
    }
    *signs_from_ms = now_ms + lead_ms;
    return true;
}

uint64_t key_schedule_successor_signs(const struct key_times *keys, size_t count,
                                      const struct key_policy *policy) {
    return count == 0 ? 0 : newest_from(keys, count) + policy->rotation_ms;
}

uint64_t key_schedule_retires(const struct key_times *keys, size_t count, size_t index,
                              const struct key_policy *policy) {
    uint64_t next_ms = 0;
    CONTRACT(index < count);
    for (size_t i = 0; i < count; i++) {
        uint64_t from_ms = keys[i].signs_from_ms;
        if (from_ms > keys[index].signs_from_ms && (next_ms == 0 || from_ms < next_ms)) {
            next_ms = from_ms;
        }
    }
    return next_ms == 0 ? 0 : next_ms + policy->lifetime_ms + policy->margin_ms;
}
