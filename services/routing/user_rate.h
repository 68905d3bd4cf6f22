/* user_rate: how fast each user may send: a token bucket per user in a bounded table. */
#ifndef PIPIT_ROUTING_USER_RATE_H
#define PIPIT_ROUTING_USER_RATE_H

#include "common/err.h"
#include <stddef.h>
#include <stdint.h>

struct user_rates;
/* Remembers up to users_max users; the one silent for longest is forgotten first (its bucket would
 * be full again anyway unless users_max is far too small). per_second 0 = unlimited. */
enum err user_rates_create(size_t users_max, uint32_t per_second, uint32_t burst,
                           struct user_rates **out) MUST_CHECK;
void user_rates_destroy(struct user_rates **rates);
/* Takes one token: 0, or the milliseconds (>= 1) after which one is there. user is a valid user id.
 */
uint32_t user_rates_take(struct user_rates *rates, const char *user, uint64_t now_us);

#endif
