/* rate_limits: failed logins per minute, counted per (address, user) and per address, never per
 * user alone: somebody who knows a name must not be able to lock its owner out. A success takes
 * nothing. Any thread. */
#ifndef PIPIT_AUTH_RATE_LIMITS_H
#define PIPIT_AUTH_RATE_LIMITS_H

#include "common/err.h"
#include <stddef.h>
#include <stdint.h>

#define RATE_LIMITS_WINDOW_S 60u

struct rate_limits;
struct rate_limits_config {
    uint32_t per_user;    /* failures per window of one address for one user */
    uint32_t per_address; /* failures per window of one address for all users */
    size_t entries_max;   /* buckets remembered; the longest silent one is forgotten first */
};
enum err rate_limits_create(const struct rate_limits_config *config,
                            struct rate_limits **out) MUST_CHECK;
void rate_limits_destroy(struct rate_limits **limits);

struct rate_refusal {
    const char *bucket; /* "login" or "login_address" */
    uint32_t quota;     /* per window */
    uint32_t retry_ms;  /* until one attempt is possible */
};
/* Before an attempt: takes one from both buckets and returns true, or takes nothing, fills *refusal
 * and returns false. Attempts under way count as failed until they are given back, so a burst of
 * parallel ones gains nothing. address: as address_bucket writes it; user: id, "" = the address's
 * bucket alone. Without memory for a new bucket it answers true: bounded, and the queue of the hash
 * pool is the second bound. */
bool rate_limits_take(struct rate_limits *limits, const char *address, const char *user,
                      uint64_t now_us, struct rate_refusal *refusal) MUST_CHECK;
/* After a success (or an outcome that says nothing about the password): gives it back. */
void rate_limits_give_back(struct rate_limits *limits, const char *address, const char *user,
                           uint64_t now_us);
size_t rate_limits_count(struct rate_limits *limits);

#endif
