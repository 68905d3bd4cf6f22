/* keeper: what has to be done now and then beside the requests, on a thread of its own: the shared
 * signing keys are loaded and rolled over, and the first start's invite is made. */
#ifndef PIPIT_AUTH_KEEPER_H
#define PIPIT_AUTH_KEEPER_H

#include "services/auth/auth.h"

struct keeper;
/* Begins at once; tries again every half second until it worked, then looks six times in each
 * key_margin, at least every ten seconds. Sets the
 * readiness checks "keys" and "first_start". Loop's thread, as are the others. */
enum err keeper_create(struct auth *auth, struct keeper **out) MUST_CHECK;
/* Look again soon: another instance changed the keys. */
void keeper_kick(struct keeper *keeper);
/* No new run from now on. True when none is under way: keeper_destroy will not wait. */
bool keeper_quiesce(struct keeper *keeper);
void keeper_destroy(struct keeper **keeper);

#endif
