/* admin_users: accounts as administrators see and change them. Disabling ends every session at
 * once, and so does a reset password; losing the administrator's role needs no such thing because
 * it is looked up at each administrative request (access.c). Nobody can lock the last administrator
 * out by accident: the own account cannot be disabled or demoted. */
#include "common/clock.h"
#include "services/auth/handlers.h"
#include "services/auth/password.h"
#include "services/auth/sessions.h"
#include "services/auth/users.h"
#include <sodium.h>
#include <string.h>

static void write_user(struct json_writer *json, const Pipit__User *user) {
    json_write_open(json);
    json_write_key_text(json, "id", user->id);
    json_write_key_text(json, "name", user->name);
    json_write_key_text(json, "display_name", user->display_name);
    json_write_key_bool(json, "admin", user->admin);
    json_write_key_bool(json, "disabled", user->disabled);
    json_write_key_time(json, "created_at", user->created_ms);
    json_write_key_time(json, "changed_at", user->changed_ms);
    json_write_close(json);
}

void admin_users_get_all(struct call *call) {
    Pipit__UsersReply *reply = NULL;
    if (!users_list(call, true, &reply)) {
        return;
    }
    struct json_writer *json = call_answer(call, 200);
    json_write_open(json);
    json_write_key(json, "items");
    json_write_open_array(json);
    for (size_t i = 0; i < reply->n_users; i++) {
        write_user(json, reply->users[i]);
    }
    json_write_close_array(json);
    if (reply->next[0] != '\0') {
        json_write_key_text(json, "next", reply->next);
    }
    json_write_close(json);
}

void admin_users_get(struct call *call) {
    char id[LIMIT_USER_ID_BYTES + 1];
    Pipit__User *user = NULL;
    if (call_param_user(call, 0, id) && call_check(call, users_load(call, id, false, &user))) {
        write_user(call_answer(call, 200), user);
    }
}

static bool read_changes(struct call *call, Pipit__UserUpdate *request) {
    static const char *const known[] = {"disabled", "admin", NULL};
    bool disabled = false;
    bool admin = false;
    bool set_disabled = false;
    bool set_admin = false;
    if (!call_body_known(call, known) ||
        !json_in_bool(call->body, "disabled", JSON_IN_OPTIONAL, &disabled, &set_disabled,
                      &call->problem) ||
        !json_in_bool(call->body, "admin", JSON_IN_OPTIONAL, &admin, &set_admin, &call->problem)) {
        return false;
    }
    request->set_disabled = set_disabled;
    request->disabled = disabled;
    request->set_admin = set_admin;
    request->admin = admin;
    return true;
}

static void audit_changes(struct call *call, const Pipit__UserUpdate *request) {
    if (request->set_disabled) {
        call_audit(call, call->self.user, request->disabled ? "user_disabled" : "user_enabled",
                   request->id, "");
    }
    if (request->set_admin) {
        call_audit(call, call->self.user, request->admin ? "admin_granted" : "admin_withdrawn",
                   request->id, "");
    }
}

void admin_users_patch(struct call *call) {
    char id[LIMIT_USER_ID_BYTES + 1];
    Pipit__UserUpdate request = PIPIT__USER_UPDATE__INIT;
    Pipit__UserReply *reply = NULL;
    if (!call_param_user(call, 0, id) || !read_changes(call, &request)) {
        return;
    }
    bool own = strcmp(id, call->self.user) == 0;
    if (own &&
        ((request.set_disabled && request.disabled) || (request.set_admin && !request.admin))) {
        (void)call_fail(call, REASON_CONFLICT, 0,
                        "Another administrator must do this to your account.");
        return;
    }
    request.id = id;
    request.now_ms = clock_wall_ms();
    enum err error = ASK(&call->ask, USER_UPDATE, &request, USER_REPLY, &reply);
    if (!call_check(call, error == ERR_OK && reply->user == NULL ? ERR_CORRUPT : error)) {
        return;
    }
    const Pipit__User *user = reply->user;
    if (request.set_disabled && request.disabled) {
        struct session_end end = {.user = id, .disabled = true};
        if (!call_check(call, session_end(call, &end))) {
            return;
        }
    }
    audit_changes(call, &request);
    write_user(call_answer(call, 200), user);
}

/* A password that can be read out on the phone: 80 random bits. */
void admin_users_password_post(struct call *call) {
    char id[LIMIT_USER_ID_BYTES + 1];
    char password[32];
    char hash[PASSWORD_HASH_BYTES];
    Pipit__UserUpdate request = PIPIT__USER_UPDATE__INIT;
    Pipit__UserReply *reply = NULL;
    struct session_end end = {.user = id};
    if (!call_body_none(call) || !call_param_user(call, 0, id)) {
        return;
    }
    id_random_text("", password, sizeof password);
    if (!call_check(call, password_hash(password, hash))) {
        return;
    }
    request.id = id;
    request.set_password_hash = true;
    request.password_hash = hash;
    request.now_ms = clock_wall_ms();
    if (!call_check(call, ASK(&call->ask, USER_UPDATE, &request, USER_REPLY, &reply)) ||
        !call_check(call, session_end(call, &end))) {
        return;
    }
    call_audit(call, call->self.user, "password_reset", id, "all devices logged out");
    struct json_writer *json = call_answer(call, 200);
    json_write_open(json);
    json_write_key_text(json, "password", password);
    json_write_close(json);
    sodium_memzero(password, sizeof password);
}
