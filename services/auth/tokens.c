/* tokens: refresh with rotation, and logout.
 *
 * A refresh token may be presented again until the one that replaced it is used (an answer may get
 * lost); after that its reappearance means that two parties hold it, and nobody can tell which is
 * the thief: the whole family ends, with its access tokens, everywhere (RFC 9700 section 4.14.2).
 */
#include "common/clock.h"
#include "common/log.h"
#include "services/auth/handlers.h"
#include "services/auth/metrics.h"
#include "services/auth/refresh_token.h"
#include "services/auth/sessions.h"
#include <string.h>

static enum auth_refresh refuse(struct call *call, enum reason reason, const char *detail) {
    (void)call_fail(call, reason, reason == REASON_DISABLED ? 0 : 401, "%s", detail);
    return REFRESH_REFUSED;
}

static enum auth_refresh end_family(struct call *call, const Pipit__Device *device) {
    if (device == NULL) {
        (void)call_fail_err(call, ERR_CORRUPT); /* storage promised it */
        return REFRESH_FAILED;
    }
    struct session_end end = {.user = device->user, .device = device->id};
    enum err error = session_end(call, &end);
    log_event(LOG_WARN, "refresh token used again; its device is logged out",
              F_TEXT("user", device->user), F_TEXT("device", device->id),
              F_TEXT("address", call->address));
    call_audit(call, device->user, "refresh_reused", device->id, "sessions of the device ended");
    if (error != ERR_OK && error != ERR_NOT_FOUND) {
        (void)call_fail_err(call, error);
        return REFRESH_FAILED;
    }
    (void)refuse(call, REASON_TOKEN_REVOKED, "This refresh token was replaced; log in again.");
    return REFRESH_REUSED;
}

static enum auth_refresh rotate(struct call *call, const uint8_t hash[REFRESH_TOKEN_HASH_BYTES]) {
    char token[REFRESH_TOKEN_TEXT_BYTES];
    uint8_t next[REFRESH_TOKEN_HASH_BYTES];
    Pipit__SessionRotate request = PIPIT__SESSION_ROTATE__INIT;
    Pipit__SessionReply *reply = NULL;
    uint64_t now_ms = clock_wall_ms();
    refresh_token_make(token);
    if (!call_check(call, refresh_token_hash(token, next))) {
        return REFRESH_FAILED;
    }
    request.refresh_hash = ask_bytes(hash, REFRESH_TOKEN_HASH_BYTES);
    request.new_refresh_hash = ask_bytes(next, sizeof next);
    request.expires_ms = now_ms + call->auth->settings->refresh_lifetime_us / 1000;
    request.now_ms = now_ms;
    switch (ASK(&call->ask, SESSION_ROTATE, &request, SESSION_REPLY, &reply)) {
    case ERR_OK:
        return session_answer(call, 200, reply->user, reply->device, token, now_ms / 1000)
                   ? REFRESH_OK
                   : REFRESH_FAILED;
    case ERR_NOT_FOUND:
        return refuse(call, REASON_TOKEN_REVOKED, "The refresh token is not valid; log in again.");
    case ERR_EXPIRED:
        return refuse(call, REASON_TOKEN_REVOKED, "The refresh token expired; log in again.");
    case ERR_DISABLED:
        return refuse(call, REASON_DISABLED, "The account is disabled.");
    case ERR_REUSED:
        return end_family(call, reply->device);
    case ERR_TIMEOUT:
        (void)call_fail_err(call, ERR_TIMEOUT); /* the old token still works: send it again */
        return REFRESH_FAILED;
    default:
        (void)call_fail_err(call, ERR_UNAVAILABLE);
        return REFRESH_FAILED;
    }
}

void token_post(struct call *call) {
    static const char *const known[] = {"refresh_token", NULL};
    uint8_t hash[REFRESH_TOKEN_HASH_BYTES];
    const char *token = NULL;
    if (!call_body_known(call, known) ||
        !json_in_text(call->body, "refresh_token", JSON_IN_REQUIRED, 1024, &token,
                      &call->problem)) {
        return;
    }
    enum auth_refresh result = refresh_token_hash(token, hash) == ERR_OK
                                   ? rotate(call, hash)
                                   : refuse(call, REASON_BAD_TOKEN, "This is not a refresh token.");
    metric_add(&auth_metrics.refreshes[result], 1);
}

void logout_post(struct call *call) {
    struct session_end end = {.user = call->self.user, .device = call->self.device};
    if (!call_body_none(call)) {
        return;
    }
    enum err error = session_end(call, &end);
    if (error == ERR_OK || error == ERR_NOT_FOUND) { /* gone already is logged out as well */
        call_audit(call, call->self.user, "logout", call->self.device, "");
        call_answer_empty(call);
    } else {
        (void)call_fail_err(call, error);
    }
}
