/* members: who is in a group, and a member's own mute. PUT says how it shall be ("ann is an admin
 * here"), so it first looks whether the user is a member already: adding and changing a role are
 * two rights. The look and the change are two steps; whoever comes between them makes the second
 * one fail or do nothing, since storage decides again. */
#include "services/auth/conversation_json.h"
#include "services/auth/conversations.h"
#include "services/auth/handlers.h"
#include <string.h>

void members_get_all(struct call *call) {
    char id[LIMIT_CONVERSATION_ID_BYTES + 1];
    Pipit__ConversationItem *item = NULL;
    if (!call_param_conversation(call, 0, id) || !conversation_load_own(call, id, false, &item)) {
        return;
    }
    struct json_writer *json = call_answer(call, 200);
    json_write_open(json);
    json_write_key(json, "items");
    json_write_open_array(json);
    for (size_t i = 0; i < item->conversation->n_members; i++) {
        member_write(json, item->conversation->members[i]);
    }
    json_write_close_array(json);
    json_write_key_u64(json, "members_version", item->conversation->members_version);
    json_write_close(json);
}

static const Pipit__Member *find(const Pipit__Conversation *conversation, const char *user) {
    for (size_t i = 0; conversation != NULL && i < conversation->n_members; i++) {
        const Pipit__Member *member = conversation->members[i];
        if (strcmp(member->user, user) == 0 &&
            member->state == PIPIT__MEMBER_STATE__MEMBER_ACTIVE) {
            return member;
        }
    }
    return NULL;
}

static bool refuse(struct call *call, enum err error) {
    if (error == ERR_NOT_FOUND) {
        return call_fail(call, REASON_NOT_FOUND, 0, "There is no such user to have here.");
    }
    if (error == ERR_DENIED) {
        return call_fail(call, REASON_FORBIDDEN, 0, "Your role here does not allow this.");
    }
    return call_fail_err(call, error);
}

static bool change(struct call *call, const char *conversation, char *user,
                   Pipit__MemberAction action, Pipit__MemberRole role,
                   Pipit__ConversationReply **reply) {
    char *users[] = {user};
    Pipit__MembersChange request = PIPIT__MEMBERS_CHANGE__INIT;
    request.conversation = ask_text(conversation);
    request.action = action;
    request.users = users;
    request.n_users = 1;
    request.role = role;
    enum err error = conversation_change(call, &request, reply);
    if (error == ERR_FULL && *reply != NULL) {
        return call_fail(call, REASON_CONFLICT, 0, "The group has the most members allowed.");
    }
    return error == ERR_OK ? true : refuse(call, error);
}

static bool read_role(struct call *call, Pipit__MemberRole *role, bool *given) {
    static const char *const known[] = {"role", NULL};
    const char *name = NULL;
    if (!call_body_known(call, known) ||
        !json_in_text(call->body, "role", JSON_IN_OPTIONAL, 16, &name, &call->problem)) {
        return false;
    }
    *given = name != NULL;
    if (name != NULL && !member_role_parse(name, role)) {
        return call_fail(call, REASON_MALFORMED, 422,
                         "\"role\" must be \"member\", \"admin\" or \"owner\".");
    }
    return true;
}

void members_put(struct call *call) {
    char id[LIMIT_CONVERSATION_ID_BYTES + 1];
    char user[LIMIT_USER_ID_BYTES + 1];
    Pipit__MemberRole role = PIPIT__MEMBER_ROLE__ROLE_MEMBER;
    bool given = false;
    Pipit__ConversationItem *item = NULL;
    Pipit__ConversationReply *reply = NULL;
    if (!call_param_conversation(call, 0, id) || !call_param_user(call, 1, user) ||
        !read_role(call, &role, &given) || !conversation_load_own(call, id, false, &item)) {
        return;
    }
    bool member = find(item->conversation, user) != NULL;
    bool set_role = given && (member || role != PIPIT__MEMBER_ROLE__ROLE_MEMBER);
    if (!(member && set_role) &&
        !change(call, id, user, PIPIT__MEMBER_ACTION__MEMBERS_ADD, role, &reply)) {
        return;
    }
    if (set_role && !change(call, id, user, PIPIT__MEMBER_ACTION__MEMBERS_SET_ROLE, role, &reply)) {
        return;
    }
    const Pipit__Member *now = find(reply->conversation, user);
    if (now == NULL) {
        (void)call_fail(call, REASON_CONFLICT, 0, "Somebody removed the user meanwhile.");
        return;
    }
    member_write(call_answer(call, member ? 200 : 201), now);
}

void members_delete(struct call *call) {
    char id[LIMIT_CONVERSATION_ID_BYTES + 1];
    char user[LIMIT_USER_ID_BYTES + 1];
    Pipit__ConversationItem *item = NULL;
    Pipit__ConversationReply *reply = NULL;
    if (!call_body_none(call) || !call_param_conversation(call, 0, id) ||
        !call_param_user(call, 1, user)) {
        return;
    }
    /* Leaving twice succeeds, as the answer to the first may be lost; removing others needs
     * membership, and outsiders learn nothing from it. */
    bool leave = strcmp(user, call->self.user) == 0;
    if (!leave && !conversation_load_own(call, id, false, &item)) {
        return;
    }
    char *users[] = {user};
    Pipit__MembersChange request = PIPIT__MEMBERS_CHANGE__INIT;
    request.conversation = id;
    request.action = PIPIT__MEMBER_ACTION__MEMBERS_REMOVE;
    request.users = users;
    request.n_users = 1;
    enum err error = conversation_change(call, &request, &reply);
    if (leave && error == ERR_NOT_FOUND) {
        error = ERR_NOT_MEMBER;
    }
    if (error == ERR_OK || refuse(call, error)) {
        call_answer_empty(call);
    }
}

void mute_put(struct call *call) {
    static const char *const known[] = {"muted", NULL};
    char id[LIMIT_CONVERSATION_ID_BYTES + 1];
    bool muted = false;
    char *users[] = {call->self.user};
    Pipit__MembersChange request = PIPIT__MEMBERS_CHANGE__INIT;
    Pipit__ConversationReply *reply = NULL;
    if (!call_param_conversation(call, 0, id) || !call_body_known(call, known) ||
        !json_in_bool(call->body, "muted", JSON_IN_REQUIRED, &muted, NULL, &call->problem)) {
        return;
    }
    request.conversation = id;
    request.action = PIPIT__MEMBER_ACTION__MEMBERS_SET_MUTED;
    request.users = users;
    request.n_users = 1;
    request.muted = muted;
    enum err error = conversation_change(call, &request, &reply);
    if (call_check(call, error == ERR_NOT_FOUND ? ERR_NOT_MEMBER : error)) {
        struct json_writer *json = call_answer(call, 200);
        json_write_open(json);
        json_write_key_bool(json, "muted", muted);
        json_write_close(json);
    }
}
