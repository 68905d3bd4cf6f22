/* login: user name and password become a session.
 *
 * Unknown user, wrong password and an account without one are the same answer after the same work:
 * one question to storage, one argon2id verification (against a stand-in when there is nothing to
 * compare with), one audit entry. Only the right password learns that an account is disabled.
 * Failures count per (address, user) and per address; an attempt under way counts as failed until
 * it succeeds, so parallel guesses gain nothing. */
#include "common/clock.h"
#include "common/log.h"
#include "services/auth/handlers.h"
#include "services/auth/metrics.h"
#include "services/auth/password.h"
#include "services/auth/sessions.h"
#include "services/auth/users.h"
#include <string.h>

struct login {
    char user[LIMIT_USER_ID_BYTES + 1];
    const char *password;
    struct session_device device;
};

static bool read_login(struct call *call, struct login *login) {
    static const char *const known[] = {"method", "user", "password", "device", NULL};
    const char *method = "password";
    const char *user = NULL;
    struct problem *problem = &call->problem;
    if (!call_body_known(call, known) ||
        !json_in_text(call->body, "method", JSON_IN_OPTIONAL, 16, &method, problem) ||
        !json_in_text(call->body, "user", JSON_IN_REQUIRED, LIMIT_USER_ID_BYTES, &user, problem) ||
        !json_in_text(call->body, "password", JSON_IN_REQUIRED, PASSWORD_BYTES_MAX,
                      &login->password, problem)) {
        return false;
    }
    if (strcmp(method, "password") != 0) {
        return call_fail(call, REASON_MALFORMED, 422, "\"method\" must be \"password\".");
    }
    if (names_user_id_accept(user, strlen(user), login->user) != ERR_OK) {
        return call_fail(call, REASON_MALFORMED, 422, "\"user\" is not a user name.");
    }
    return session_device_read(call, &login->device);
}

static enum auth_login refuse_wrong(struct call *call, const struct login *login) {
    call_audit(call, login->user, "login_failed", login->user, "wrong user name or password");
    (void)call_fail(call, REASON_NOT_AUTHENTICATED, 401, "The user name or the password is wrong.");
    return LOGIN_WRONG;
}

static enum auth_login log_in(struct call *call, const struct login *login) {
    Pipit__User *user = NULL;
    enum err error = users_load(call, login->user, true, &user);
    if (error != ERR_OK && error != ERR_NOT_FOUND) {
        call_attempt_succeeded(call); /* nothing was learned about the password */
        (void)call_fail_err(call, error);
        return LOGIN_FAILED;
    }
    if (!password_matches(user != NULL ? user->password_hash : NULL, login->password)) {
        return refuse_wrong(call, login);
    }
    call_attempt_succeeded(call);
    if (user->disabled) {
        call_audit(call, login->user, "login_failed", login->user, "account disabled");
        (void)call_fail(call, REASON_DISABLED, 0, "The account is disabled.");
        return LOGIN_DISABLED;
    }
    if (!session_begin(call, login->user, &login->device, 200)) {
        return call->problem.reason == REASON_DISABLED ? LOGIN_DISABLED : LOGIN_FAILED;
    }
    call_audit(call, login->user, "login", login->user, login->device.name);
    return LOGIN_OK;
}

void login_post(struct call *call) {
    static const char *const results[] = {"ok", "wrong", "limited", "disabled", "failed"};
    struct login login = {0};
    if (!read_login(call, &login)) {
        return;
    }
    enum auth_login result = call_attempt(call, login.user) ? log_in(call, &login) : LOGIN_LIMITED;
    metric_add(&auth_metrics.logins[result], 1);
    metric_observe(&auth_metrics.login_us, clock_mono_us() - call->started_us);
    log_event(LOG_INFO, "login", F_TEXT("req", call->request_id), F_TEXT("user", login.user),
              F_TEXT("result", results[result]), F_TEXT("address", call->address));
}
