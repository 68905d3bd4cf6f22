/* revocations: which logins were ended before their access tokens expire. */
#ifndef PIPIT_CONNECTION_REVOCATIONS_H
#define PIPIT_CONNECTION_REVOCATIONS_H

#include "common/token.h"
#include "proto/accounts.pb-c.h"
#include "proto/reason.h"
#include "services/connection/hub_private.h"

#define HUB_REVOCATIONS_MAX 65536 /* each is kept for one token lifetime (15 minutes) */

struct hub_revocations;
enum err hub_revocations_create(size_t count_max, struct hub_revocations **out) MUST_CHECK;
void hub_revocations_destroy(struct hub_revocations **revocations);
/* Idempotent. When full, or without memory, it is not lost: from then on every token issued before
 * it counts as revoked (its users refresh), which is counted. Ignores what is not well-formed. */
void hub_revocations_add(struct hub_revocations *revocations, const Pipit__Revocation *revocation,
                         uint64_t now_ms);
/* REASON_OK, REASON_TOKEN_REVOKED or REASON_DISABLED. */
enum reason hub_revocations_check(const struct hub_revocations *revocations, const char *user,
                                  const char *device, uint64_t issued_ms);
/* Forgets what no living token can match. */
void hub_revocations_prune(struct hub_revocations *revocations, uint64_t now_ms);
size_t hub_revocations_count(const struct hub_revocations *revocations);

#endif
