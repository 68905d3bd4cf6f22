/* access: who is asking, and may they. */
#ifndef PIPIT_AUTH_ACCESS_H
#define PIPIT_AUTH_ACCESS_H

#include "services/auth/call.h"

/* Fills call->self from the bearer token when the route wants one. False: problem set (401 with
 * WWW-Authenticate, 403, or 503 while keys or revocations are not loaded). */
bool access_check(struct call *call) MUST_CHECK;

#endif
