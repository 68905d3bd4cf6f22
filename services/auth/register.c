/* register: an invite and a name become an account and its first session.
 *
 * Everything that can be wrong with the input is said before the password is hashed; the invite is
 * consumed by storage in the transaction that makes the account, and checked before the name, so
 * names cannot be probed without an invite. Attempts count like failed logins of the address until
 * they succeed. */
#include "common/clock.h"
#include "common/log.h"
#include "services/auth/handlers.h"
#include "services/auth/invites.h"
#include "services/auth/metrics.h"
#include "services/auth/password.h"
#include "services/auth/sessions.h"
#include "services/auth/users.h"
#include <string.h>

struct registration {
    char id[LIMIT_USER_ID_BYTES + 1];
    const char *name, *display_name, *password;
    bool invited;
    uint8_t invite_hash[INVITE_HASH_BYTES];
    struct session_device device;
};

static bool read_invite(struct call *call, struct registration *registration) {
    const char *code = NULL;
    enum json_in_need need =
        call->auth->settings->open_registration ? JSON_IN_OPTIONAL : JSON_IN_REQUIRED;
    if (!json_in_text(call->body, "invite", need, INVITE_CODE_BYTES_MAX, &code, &call->problem)) {
        return false;
    }
    registration->invited = code != NULL;
    if (code != NULL) {
        invite_hash(code, registration->invite_hash);
    }
    return true;
}

static bool read_registration(struct call *call, struct registration *registration) {
    static const char *const known[] = {"invite",       "user",   "password",
                                        "display_name", "device", NULL};
    const char *name = NULL;
    struct problem *problem = &call->problem;
    if (!call_body_known(call, known) ||
        !json_in_text(call->body, "user", JSON_IN_REQUIRED, LIMIT_USER_NAME_BYTES, &name,
                      problem) ||
        !json_in_text(call->body, "password", JSON_IN_REQUIRED, PASSWORD_BYTES_MAX,
                      &registration->password, problem) ||
        !read_invite(call, registration)) {
        return false;
    }
    if (names_user_id(name, strlen(name), registration->id) != ERR_OK) {
        return call_fail(call, REASON_MALFORMED, 422,
                         "\"user\" must be 1 to 32 characters of a-z, 0-9, \".\", \"_\" and \"-\", "
                         "begin with a letter or digit, and not with \"u_\".");
    }
    if (strcmp(name, "me") == 0) {
        return call_fail(call, REASON_MALFORMED, 422, "\"user\": this name is reserved.");
    }
    registration->name = name;
    registration->display_name = name;
    const char *refusal =
        password_refusal(call->auth->common_passwords, registration->password, name);
    if (refusal != NULL) {
        return call_fail(call, REASON_MALFORMED, 422, "%s", refusal);
    }
    return users_read_display_name(call, &registration->display_name) &&
           session_device_read(call, &registration->device);
}

static bool create(struct call *call, const struct registration *registration) {
    char hash[PASSWORD_HASH_BYTES];
    Pipit__User user = PIPIT__USER__INIT;
    Pipit__UserCreate request = PIPIT__USER_CREATE__INIT;
    Pipit__UserReply *reply = NULL;
    if (!call_check(call, password_hash(registration->password, hash))) {
        return false;
    }
    request.now_ms = clock_wall_ms();
    user.id = ask_text(registration->id);
    user.name = ask_text(registration->name);
    user.display_name = ask_text(registration->display_name);
    user.password_hash = hash;
    user.created_ms = request.now_ms;
    user.changed_ms = request.now_ms;
    request.user = &user;
    if (registration->invited) {
        request.invite_hash = ask_bytes(registration->invite_hash, INVITE_HASH_BYTES);
    }
    enum err error = ASK(&call->ask, USER_CREATE, &request, USER_REPLY, &reply);
    if (error == ERR_DENIED) {
        return call_fail(call, REASON_FORBIDDEN, 0, "The invite is not valid any more.");
    }
    if (error == ERR_EXISTS) {
        return call_fail(call, REASON_CONFLICT, 0, "This user name is taken; choose another.");
    }
    return call_check(call, error);
}

void register_post(struct call *call) {
    struct registration registration = {0};
    if (!read_registration(call, &registration) || !call_attempt(call, "") ||
        !create(call, &registration)) {
        return;
    }
    call_attempt_succeeded(call);
    metric_add(&auth_metrics.registrations, 1);
    log_event(LOG_INFO, "registered", F_TEXT("req", call->request_id),
              F_TEXT("user", registration.id), F_TEXT("address", call->address));
    call_audit(call, registration.id, "registered", registration.id, "");
    /* Should this fail, the account exists and its owner can log in. */
    if (!session_begin(call, registration.id, &registration.device, 201)) {
        log_event(LOG_WARN, "registered without a session", F_TEXT("req", call->request_id),
                  F_TEXT("user", registration.id));
    }
}
