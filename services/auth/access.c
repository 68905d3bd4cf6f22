/* access: tokens are read from the Authorization header alone: a query ends up in logs, a cookie is
 * sent by other people's pages. Verification is local; a token that was revoked is refused as soon
 * as this instance hears of it. Administration is rare and powerful, so it asks storage whether the
 * user still is an administrator: losing the role works at once, not when the token expires. */
#include "services/auth/access.h"

#include "common/clock.h"
#include <string.h>
#include <strings.h>

static bool refuse(struct call *call, enum reason reason, const char *error) {
    call_header(call, "WWW-Authenticate", error[0] != '\0' ? "Bearer error=\"%s\"" : "Bearer%s",
                error);
    (void)problem_set(&call->problem, reason, 0, "%s",
                      reason == REASON_NOT_AUTHENTICATED
                          ? "Send \"Authorization: Bearer\" and an access token."
                          : "");
    return false;
}

static bool check_revoked(struct call *call) {
    if (!revocation_feed_loaded(call->auth->feed)) {
        return call_fail_err(call, ERR_UNAVAILABLE);
    }
    switch (revocations_check(call->auth->revocations, &call->self)) {
    case REVOCATION_ALIVE:
        return true;
    case REVOCATION_DISABLED:
        return refuse(call, REASON_DISABLED, "invalid_token");
    case REVOCATION_DEAD:
        break;
    }
    return refuse(call, REASON_TOKEN_REVOKED, "invalid_token");
}

static bool check_token(struct call *call) {
    const char *header = http_header(call->http, "Authorization");
    if (header == NULL || strncasecmp(header, "Bearer ", 7) != 0) {
        return refuse(call, REASON_NOT_AUTHENTICATED, "");
    }
    const char *token = header + 7;
    switch (key_ring_verify(call->auth->keys, token, strlen(token), clock_wall_ms(), &call->self)) {
    case ERR_OK:
        return check_revoked(call);
    case ERR_EXPIRED:
        return refuse(call, REASON_TOKEN_EXPIRED, "invalid_token");
    case ERR_UNAVAILABLE:
        return call_fail_err(call, ERR_UNAVAILABLE);
    case ERR_NO_MEMORY:
        return call_fail_err(call, ERR_NO_MEMORY);
    default: /* a forger learns nothing more */
        return refuse(call, REASON_BAD_TOKEN, "invalid_token");
    }
}

static bool check_admin(struct call *call) {
    Pipit__UserGet request = PIPIT__USER_GET__INIT;
    Pipit__UserReply *reply = NULL;
    if (!call->self.admin) {
        return call_fail(call, REASON_FORBIDDEN, 0, "This needs an administrator's token.");
    }
    request.id = call->self.user;
    enum err error = ASK(&call->ask, USER_GET, &request, USER_REPLY, &reply);
    if (error != ERR_OK && error != ERR_NOT_FOUND) {
        return call_fail_err(call, error);
    }
    if (error == ERR_NOT_FOUND || reply->user == NULL || !reply->user->admin ||
        reply->user->disabled) {
        return call_fail(call, REASON_FORBIDDEN, 0, "The user is not an administrator any more.");
    }
    return true;
}

bool access_check(struct call *call) {
    if (call->route->access == ROUTE_PUBLIC) {
        return true;
    }
    return check_token(call) && (call->route->access != ROUTE_ADMIN || check_admin(call));
}
