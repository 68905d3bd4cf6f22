/* rate: a token bucket: `per_second` on average, `burst` at once. No timer, no allocation. */
#ifndef PIPIT_COMMON_RATE_H
#define PIPIT_COMMON_RATE_H

#include <stdint.h>

struct rate_bucket {
    uint64_t updated_us;
    uint64_t micro_tokens; /* tokens x 1e6 */
};
/* A bucket starts full. now_us is clock_mono_us. */
void rate_init(struct rate_bucket *bucket, uint32_t burst, uint64_t now_us);
/* Takes one token and returns 0, or takes none and returns the microseconds until there is one.
 * per_second 0 means unlimited; burst 0 counts as 1. A smaller burst than before (a reload) takes
 * effect at once. */
uint64_t rate_take(struct rate_bucket *bucket, uint32_t per_second, uint32_t burst,
                   uint64_t now_us);

#endif
