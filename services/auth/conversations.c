/* conversations: a user's list, making, showing, renaming and deleting. Who may do what is decided
 * by storage in the transaction that does it; here the shape of the request is checked and the
 * answer rendered. A conversation that the user is not in and one that does not exist are the same
 * answer. */
#include "services/auth/conversations.h"

#include "common/clock.h"
#include "services/auth/conversation_json.h"
#include "services/auth/handlers.h"
#include "services/auth/time_in.h"
#include <jansson.h>
#include <string.h>

#define LIST_LIMIT_MAX 100
#define LIST_LIMIT_DEFAULT 100
#define MEMBERS_MAX 1000 /* named in one request; storage has its own limit */

static bool whole(const Pipit__ConversationItem *item) {
    return item->conversation != NULL && item->self != NULL;
}

void conversations_get_all(struct call *call) {
    const char *since = NULL;
    const char *after = NULL;
    uint64_t limit = LIST_LIMIT_DEFAULT;
    Pipit__ConversationsRequest request = PIPIT__CONVERSATIONS_REQUEST__INIT;
    Pipit__ConversationsReply *reply = NULL;
    if (!call_query_text(call, "since", 40, &since) ||
        !call_query_text(call, "after", LIMIT_CONVERSATION_ID_BYTES, &after) ||
        !call_query_u64(call, "limit", 1, LIST_LIMIT_MAX, &limit, NULL)) {
        return;
    }
    if (since[0] != '\0' && time_in_parse(since, &request.since_ms) != ERR_OK) {
        (void)call_fail(call, REASON_MALFORMED, 422,
                        "\"since\" must be a time like 2026-11-21T12:00:00.000Z.");
        return;
    }
    request.user = call->self.user;
    request.device = call->self.device;
    request.after = ask_text(after);
    request.limit = (uint32_t)limit;
    request.with_last_message = true;
    if (!call_check(
            call, ASK(&call->ask, CONVERSATIONS_REQUEST, &request, CONVERSATIONS_REPLY, &reply))) {
        return;
    }
    struct json_writer *json = call_answer(call, 200);
    json_write_open(json);
    json_write_key(json, "items");
    json_write_open_array(json);
    for (size_t i = 0; i < reply->n_items; i++) {
        if (whole(reply->items[i])) {
            conversation_write_item(json, reply->items[i]);
        }
    }
    json_write_close_array(json);
    if (reply->next[0] != '\0') {
        json_write_key_text(json, "next", reply->next);
    }
    json_write_key_text(json, "epoch", reply->epoch);
    json_write_close(json);
}

bool conversation_load_own(struct call *call, const char *id, bool with_last_message,
                           Pipit__ConversationItem **item) {
    Pipit__ConversationsRequest request = PIPIT__CONVERSATIONS_REQUEST__INIT;
    Pipit__ConversationsReply *reply = NULL;
    request.user = call->self.user;
    request.device = call->self.device;
    request.conversation = ask_text(id);
    request.limit = 1;
    request.with_members = true;
    request.with_last_message = with_last_message;
    enum err error = ASK(&call->ask, CONVERSATIONS_REQUEST, &request, CONVERSATIONS_REPLY, &reply);
    if (error == ERR_OK && reply->n_items == 0) {
        error = ERR_NOT_MEMBER;
    } else if (error == ERR_OK && !whole(reply->items[0])) {
        error = ERR_CORRUPT; /* storage promised both parts */
    }
    if (!call_check(call, error)) {
        return false;
    }
    *item = reply->items[0];
    return true;
}

void conversations_get(struct call *call) {
    char id[LIMIT_CONVERSATION_ID_BYTES + 1];
    Pipit__ConversationItem *item = NULL;
    if (call_param_conversation(call, 0, id) && conversation_load_own(call, id, true, &item)) {
        conversation_write_item(call_answer(call, 200), item);
    }
}

/* --- making one */

static bool read_user(struct call *call, const json_t *value, char **id) {
    char *copy = arena_alloc(&call->ask.arena, LIMIT_USER_ID_BYTES + 1);
    if (copy == NULL) {
        return call_fail_err(call, ERR_NO_MEMORY);
    }
    if (!json_is_string(value) ||
        names_user_id_accept(json_string_value(value), json_string_length(value), copy) != ERR_OK) {
        return call_fail(call, REASON_MALFORMED, 422, "A user is a name or an id.");
    }
    *id = copy;
    return true;
}

static bool read_direct(struct call *call, Pipit__ConversationCreate *request, char *id) {
    static const char *const known[] = {"kind", "user", NULL};
    const char *user = NULL;
    char **members = arena_alloc(&call->ask.arena, sizeof *members);
    if (members == NULL) {
        return call_fail_err(call, ERR_NO_MEMORY);
    }
    if (!call_body_known(call, known) ||
        !json_in_text(call->body, "user", JSON_IN_REQUIRED, LIMIT_USER_ID_BYTES, &user,
                      &call->problem) ||
        !read_user(call, json_object_get(call->body, "user"), &members[0])) {
        return false;
    }
    request->kind = PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT;
    request->members = members;
    request->n_members = 1;
    return call_check(call, names_direct_conversation(call->self.user, members[0], id));
}

static bool read_members(struct call *call, Pipit__ConversationCreate *request) {
    const json_t *list = json_object_get(call->body, "members");
    size_t count = json_array_size(list);
    if (list != NULL && (!json_is_array(list) || count > MEMBERS_MAX)) {
        return call_fail(call, REASON_MALFORMED, 422,
                         "\"members\" must be an array of at most %d users.", MEMBERS_MAX);
    }
    char **members = arena_alloc(&call->ask.arena, (count + 1) * sizeof(char *));
    if (members == NULL) {
        return call_fail_err(call, ERR_NO_MEMORY);
    }
    for (size_t i = 0; i < count; i++) {
        if (!read_user(call, json_array_get(list, i), &members[i])) {
            return false;
        }
    }
    request->members = members;
    request->n_members = count;
    return true;
}

static bool read_title(struct call *call, const char **title) {
    if (!json_in_text(call->body, "title", JSON_IN_REQUIRED, LIMIT_TITLE_BYTES, title,
                      &call->problem)) {
        return false;
    }
    if (!names_label_valid(*title, strlen(*title), LIMIT_TITLE_BYTES)) {
        return call_fail(call, REASON_MALFORMED, 422,
                         "\"title\" must be text without control characters.");
    }
    return true;
}

static bool read_group(struct call *call, Pipit__ConversationCreate *request, char *id) {
    static const char *const known[] = {"kind", "title", "members", "id", NULL};
    const char *title = NULL;
    const char *wanted = NULL;
    if (!call_body_known(call, known) || !read_title(call, &title) ||
        !json_in_text(call->body, "id", JSON_IN_OPTIONAL, LIMIT_CONVERSATION_ID_BYTES, &wanted,
                      &call->problem) ||
        !read_members(call, request)) {
        return false;
    }
    if (wanted == NULL) {
        id_random_text("c_", id, LIMIT_CONVERSATION_ID_BYTES + 1);
    } else if (names_conversation_id_accept(wanted, strlen(wanted), id) != ERR_OK ||
               !names_group_id_valid(id, strlen(id))) {
        return call_fail(call, REASON_MALFORMED, 422,
                         "\"id\" must be c_ and 1 to 40 of a-z, 0-9, \"_\" and \"-\", and must not "
                         "begin with c_dm-.");
    }
    request->kind = PIPIT__CONVERSATION_KIND__CONVERSATION_GROUP;
    request->title = ask_text(title);
    return true;
}

static void answer(struct call *call, int status, const Pipit__ConversationReply *reply) {
    if (reply->conversation == NULL) {
        (void)call_fail_err(call, ERR_CORRUPT); /* storage promised it */
        return;
    }
    struct json_writer *json = call_answer(call, status);
    json_write_open(json);
    conversation_write_fields(json, reply->conversation);
    json_write_close(json);
}

void conversations_post(struct call *call) {
    char id[LIMIT_CONVERSATION_ID_BYTES + 1];
    const char *kind = NULL;
    Pipit__ConversationCreate request = PIPIT__CONVERSATION_CREATE__INIT;
    Pipit__ConversationReply *reply = NULL;
    if (!json_in_text(call->body, "kind", JSON_IN_REQUIRED, 16, &kind, &call->problem)) {
        return;
    }
    bool direct = strcmp(kind, "direct") == 0;
    if (!direct && strcmp(kind, "group") != 0) {
        (void)call_fail(call, REASON_MALFORMED, 422, "\"kind\" must be \"direct\" or \"group\".");
        return;
    }
    if (direct ? !read_direct(call, &request, id) : !read_group(call, &request, id)) {
        return;
    }
    request.id = id;
    request.creator = call->self.user;
    request.now_ms = clock_wall_ms();
    enum err error = ASK(&call->ask, CONVERSATION_CREATE, &request, CONVERSATION_REPLY, &reply);
    if (error == ERR_EXISTS) {
        (void)call_fail(call, REASON_CONFLICT, 0, "Somebody else uses this id; choose another.");
    } else if (error == ERR_FULL && reply != NULL) {
        (void)call_fail(call, REASON_MALFORMED, 422, "The group would have too many members.");
    } else if (error == ERR_NOT_FOUND) {
        (void)call_fail(call, REASON_NOT_FOUND, 0, "One of the users does not exist.");
    } else if (call_check(call, error)) {
        answer(call, reply->created ? 201 : 200, reply);
    }
}

/* --- changing it */

enum err conversation_change(struct call *call, Pipit__MembersChange *request,
                             Pipit__ConversationReply **reply) {
    request->actor = call->self.user;
    request->now_ms = clock_wall_ms();
    enum err error = ASK(&call->ask, MEMBERS_CHANGE, request, CONVERSATION_REPLY, reply);
    return error == ERR_NOT_FOUND && request->n_users == 0 ? ERR_NOT_MEMBER : error;
}

void conversations_patch(struct call *call) {
    static const char *const known[] = {"title", NULL};
    char id[LIMIT_CONVERSATION_ID_BYTES + 1];
    const char *title = NULL;
    Pipit__MembersChange request = PIPIT__MEMBERS_CHANGE__INIT;
    Pipit__ConversationReply *reply = NULL;
    if (!call_param_conversation(call, 0, id) || !call_body_known(call, known) ||
        !read_title(call, &title)) {
        return;
    }
    request.conversation = id;
    request.action = PIPIT__MEMBER_ACTION__CONVERSATION_RENAME;
    request.title = ask_text(title);
    if (call_check(call, conversation_change(call, &request, &reply))) {
        answer(call, 200, reply);
    }
}

void conversations_delete(struct call *call) {
    char id[LIMIT_CONVERSATION_ID_BYTES + 1];
    Pipit__MembersChange request = PIPIT__MEMBERS_CHANGE__INIT;
    Pipit__ConversationReply *reply = NULL;
    if (!call_body_none(call) || !call_param_conversation(call, 0, id)) {
        return;
    }
    request.conversation = id;
    request.action = PIPIT__MEMBER_ACTION__CONVERSATION_DELETE;
    if (call_check(call, conversation_change(call, &request, &reply))) {
        call_answer_empty(call);
    }
}
