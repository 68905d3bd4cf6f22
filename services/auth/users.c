/* users: who others are, and what one says about oneself. The directory is open to every user of
 * the server: it is how people find each other on a private cloud. It shows no e-mail, role or time
 * of last use. */
#include "services/auth/users.h"

#include "common/clock.h"
#include "services/auth/handlers.h"
#include <string.h>

#define LIST_LIMIT_MAX 100
#define LIST_LIMIT_DEFAULT 50
#define QUERY_BYTES_MAX 64

enum err users_load(struct call *call, const char *id, bool with_secret, Pipit__User **user) {
    Pipit__UserGet request = PIPIT__USER_GET__INIT;
    Pipit__UserReply *reply = NULL;
    request.id = ask_text(id);
    request.with_secret = with_secret;
    enum err error = ASK(&call->ask, USER_GET, &request, USER_REPLY, &reply);
    if (error == ERR_OK && reply->user == NULL) {
        return ERR_CORRUPT;
    }
    if (error == ERR_OK) {
        *user = reply->user;
    }
    return error;
}

bool users_read_display_name(struct call *call, const char **name) {
    const char *text = NULL;
    if (!json_in_text(call->body, "display_name", JSON_IN_OPTIONAL, USERS_DISPLAY_NAME_BYTES, &text,
                      &call->problem)) {
        return false;
    }
    if (text != NULL && !names_label_valid(text, strlen(text), USERS_DISPLAY_NAME_BYTES)) {
        return call_fail(call, REASON_MALFORMED, 422,
                         "\"display_name\" must be text without control characters.");
    }
    if (text != NULL) {
        *name = text;
    }
    return true;
}

static void write_names(struct json_writer *json, const Pipit__User *user) {
    json_write_key_text(json, "id", user->id);
    json_write_key_text(json, "name", user->name);
    json_write_key_text(json, "display_name", user->display_name);
}

void users_write_self(struct json_writer *json, const Pipit__User *user) {
    json_write_open(json);
    write_names(json, user);
    json_write_key_bool(json, "admin", user->admin);
    json_write_close(json);
}

void users_write_public(struct json_writer *json, const Pipit__User *user) {
    json_write_open(json);
    write_names(json, user);
    json_write_close(json);
}

bool users_list(struct call *call, bool with_disabled, Pipit__UsersReply **reply) {
    Pipit__UsersRequest request = PIPIT__USERS_REQUEST__INIT;
    const char *query = NULL;
    const char *after = NULL;
    uint64_t limit = LIST_LIMIT_DEFAULT;
    if (!call_query_text(call, "query", QUERY_BYTES_MAX, &query) ||
        !call_query_text(call, "after", LIMIT_USER_ID_BYTES, &after) ||
        !call_query_u64(call, "limit", 1, LIST_LIMIT_MAX, &limit, NULL)) {
        return false;
    }
    request.query = ask_text(query);
    request.after = ask_text(after);
    request.limit = (uint32_t)limit;
    request.with_disabled = with_disabled;
    return call_check(call, ASK(&call->ask, USERS_REQUEST, &request, USERS_REPLY, reply));
}

void users_get_all(struct call *call) {
    Pipit__UsersReply *reply = NULL;
    if (!users_list(call, false, &reply)) {
        return;
    }
    struct json_writer *json = call_answer(call, 200);
    json_write_open(json);
    json_write_key(json, "items");
    json_write_open_array(json);
    for (size_t i = 0; i < reply->n_users; i++) {
        users_write_public(json, reply->users[i]);
    }
    json_write_close_array(json);
    if (reply->next[0] != '\0') {
        json_write_key_text(json, "next", reply->next);
    }
    json_write_close(json);
}

void users_get(struct call *call) {
    char id[LIMIT_USER_ID_BYTES + 1];
    Pipit__User *user = NULL;
    if (call_param_user(call, 0, id) && call_check(call, users_load(call, id, false, &user))) {
        users_write_public(call_answer(call, 200), user);
    }
}

static void answer_me(struct call *call, const Pipit__User *user) {
    struct json_writer *json = call_answer(call, 200);
    json_write_open(json);
    write_names(json, user);
    json_write_key_bool(json, "admin", user->admin);
    json_write_key_time(json, "created_at", user->created_ms);
    json_write_key_text(json, "device", call->self.device);
    json_write_close(json);
}

void me_get(struct call *call) {
    Pipit__User *user = NULL;
    if (call_check(call, users_load(call, call->self.user, false, &user))) {
        answer_me(call, user);
    }
}

void me_patch(struct call *call) {
    static const char *const known[] = {"display_name", NULL};
    const char *display_name = NULL;
    Pipit__UserUpdate request = PIPIT__USER_UPDATE__INIT;
    Pipit__UserReply *reply = NULL;
    if (!call_body_known(call, known) || !users_read_display_name(call, &display_name)) {
        return;
    }
    if (display_name == NULL) {
        me_get(call); /* nothing to change */
        return;
    }
    request.id = call->self.user;
    request.set_display_name = true;
    request.display_name = ask_text(display_name);
    request.now_ms = clock_wall_ms();
    enum err error = ASK(&call->ask, USER_UPDATE, &request, USER_REPLY, &reply);
    if (call_check(call, error == ERR_OK && reply->user == NULL ? ERR_CORRUPT : error)) {
        answer_me(call, reply->user);
    }
}
