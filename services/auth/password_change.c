/* password_change: a new password for the old one. Whoever else holds the old one loses access: the
 * sessions of all other devices end, the one that asked stays (ASVS 5.0 V7.4.3). A wrong current
 * password counts like a failed login, because a stolen access token must not become a way to guess
 * it. */
#include "common/clock.h"
#include "services/auth/handlers.h"
#include "services/auth/password.h"
#include "services/auth/sessions.h"
#include "services/auth/users.h"
#include <string.h>

static bool check_current(struct call *call, const char *current, Pipit__User **user) {
    const char *id = call->self.user;
    if (!call_attempt(call, id)) {
        return false;
    }
    enum err error = users_load(call, id, true, user);
    if (error != ERR_OK) {
        call_attempt_succeeded(call);
        return call_fail_err(call, error);
    }
    if (!password_matches((*user)->password_hash, current)) {
        call_audit(call, id, "password_change_failed", id, "wrong current password");
        return call_fail(call, REASON_FORBIDDEN, 0, "The current password is wrong.");
    }
    call_attempt_succeeded(call);
    return true;
}

static bool store(struct call *call, const char *password) {
    char hash[PASSWORD_HASH_BYTES];
    Pipit__UserUpdate request = PIPIT__USER_UPDATE__INIT;
    Pipit__UserReply *reply = NULL;
    if (!call_check(call, password_hash(password, hash))) {
        return false;
    }
    request.id = call->self.user;
    request.set_password_hash = true;
    request.password_hash = hash;
    request.now_ms = clock_wall_ms();
    return call_check(call, ASK(&call->ask, USER_UPDATE, &request, USER_REPLY, &reply));
}

void password_put(struct call *call) {
    static const char *const known[] = {"current", "new", NULL};
    const char *current = NULL;
    const char *fresh = NULL;
    Pipit__User *user = NULL;
    struct session_end end = {.user = call->self.user, .except = call->self.device};
    if (!call_body_known(call, known) ||
        !json_in_text(call->body, "current", JSON_IN_REQUIRED, PASSWORD_BYTES_MAX, &current,
                      &call->problem) ||
        !json_in_text(call->body, "new", JSON_IN_REQUIRED, PASSWORD_BYTES_MAX, &fresh,
                      &call->problem)) {
        return;
    }
    const char *refusal =
        password_refusal(call->auth->common_passwords, fresh, call->self.user + strlen("u_"));
    if (refusal != NULL) {
        (void)call_fail(call, REASON_MALFORMED, 422, "%s", refusal);
        return;
    }
    if (check_current(call, current, &user) && store(call, fresh) &&
        call_check(call, session_end(call, &end))) {
        call_audit(call, call->self.user, "password_changed", call->self.user,
                   "other devices logged out");
        call_answer_empty(call);
    }
}
