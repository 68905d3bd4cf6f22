/* rate: a token bucket computed from the clock when it is asked.
 *
 * One bucket sits in every session and every address record, so it is two integers and no timer. At
 * `per_second` tokens a second a bucket gains exactly per_second micro-tokens each microsecond, so
 * below the burst nothing is rounded away however often it is asked. Elapsed time is compared with
 * the time to fill before it is multiplied, so a bucket that slept for years cannot overflow. */
#include "common/rate.h"

#define RATE_TOKEN 1000000u /* micro-tokens */

static uint64_t full(uint32_t burst) {
    return (uint64_t)(burst > 0 ? burst : 1u) * RATE_TOKEN;
}

void rate_init(struct rate_bucket *bucket, uint32_t burst, uint64_t now_us) {
    bucket->updated_us = now_us;
    bucket->micro_tokens = full(burst);
}

static void refill(struct rate_bucket *bucket, uint32_t per_second, uint32_t burst,
                   uint64_t now_us) {
    uint64_t elapsed_us = now_us > bucket->updated_us ? now_us - bucket->updated_us : 0;
    uint64_t limit = full(burst);
    uint64_t missing = limit > bucket->micro_tokens ? limit - bucket->micro_tokens : 0;
    if (elapsed_us >= missing / per_second + 1 || missing == 0) {
        bucket->micro_tokens = limit;
    } else {
        uint64_t filled = bucket->micro_tokens + elapsed_us * per_second;
        bucket->micro_tokens = filled < limit ? filled : limit;
    }
    if (now_us > bucket->updated_us) {
        bucket->updated_us = now_us;
    }
}

uint64_t rate_take(struct rate_bucket *bucket, uint32_t per_second, uint32_t burst,
                   uint64_t now_us) {
    if (per_second == 0) {
        return 0;
    }
    refill(bucket, per_second, burst, now_us);
    if (bucket->micro_tokens >= RATE_TOKEN) {
        bucket->micro_tokens -= RATE_TOKEN;
        return 0;
    }
    return (RATE_TOKEN - bucket->micro_tokens + per_second - 1) / per_second;
}
