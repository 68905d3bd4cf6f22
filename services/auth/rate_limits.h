/* rate_limits: failed logins per minute, counted per (address, user) and per address, never per
 * user alone: somebody who knows a name must not be able to lock its owner out. A success takes
 * nothing. Several auth instances count together: each tells the others what failed at it
 * (rate_limits_untold, attempt_feed.h) and adds what they tell (rate_limits_add). Any thread. */
#ifndef PIPIT_AUTH_RATE_LIMITS_H
#define PIPIT_AUTH_RATE_LIMITS_H

#include "common/err.h"
#include <stddef.h>
#include <stdint.h>

#define RATE_LIMITS_WINDOW_S 60u
/* How far failures at other instances may take a bucket below empty, in windows: what instances
 * allowed at the same moment, before they knew of each other, is paid back with waiting; and nobody
 * waits longer than this for one quota. Reason: five instances' bursts. */
#define RATE_LIMITS_DEBT_WINDOWS 4u

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
/* After a failure, instead of giving back: the other instances are to be told. */
void rate_limits_failed(struct rate_limits *limits, const char *address, const char *user);
size_t rate_limits_count(struct rate_limits *limits);

/* --- what instances tell each other */
#define RATE_KEY_BYTES 16 /* a hash: neither names nor addresses are sent or held */
enum rate_scope { RATE_ADDRESS, RATE_LOGIN };
struct rate_count {
    enum rate_scope scope;
    uint8_t key[RATE_KEY_BYTES];
    uint32_t count; /* failures */
};
/* Moves up to max counts of failures that nobody was told of yet into counts[max]; returns how
 * many. The oldest come first. */
size_t rate_limits_untold(struct rate_limits *limits, struct rate_count *counts, size_t max);
/* Another instance counted this: takes that much here, into debt if need be. Without memory for a
 * new bucket it is not counted. */
void rate_limits_add(struct rate_limits *limits, const struct rate_count *count, uint64_t now_us);

#endif
