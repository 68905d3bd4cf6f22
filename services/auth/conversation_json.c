/* conversation_json: one place that knows the field names. A stored body is JSON that was checked
 * when it came in, so it is copied; a reaction's body is our own making and is taken apart, and one
 * that cannot be is shown without emoji rather than failing the page. */
#include "services/auth/conversation_json.h"

#include "common/id.h"
#include "proto/frame.h"
#include "proto/json_reader.h"
#include <string.h>

static const char *const roles[] = {"member", "admin", "owner"};
#define ROLE_COUNT (sizeof roles / sizeof roles[0])

const char *conversation_kind_name(Pipit__ConversationKind kind) {
    return kind == PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT ? "direct" : "group";
}

const char *member_role_name(Pipit__MemberRole role) {
    return (size_t)role < ROLE_COUNT ? roles[role] : roles[0];
}

bool member_role_parse(const char *name, Pipit__MemberRole *role) {
    for (size_t i = 0; i < ROLE_COUNT; i++) {
        if (strcmp(roles[i], name) == 0) {
            *role = (Pipit__MemberRole)i;
            return true;
        }
    }
    return false;
}

static const char *state_name(Pipit__MemberState state) {
    switch (state) {
    case PIPIT__MEMBER_STATE__MEMBER_LEFT:
        return "left";
    case PIPIT__MEMBER_STATE__MEMBER_BLOCKED:
        return "blocked";
    default:
        return "active";
    }
}

void member_write(struct json_writer *json, const Pipit__Member *member) {
    json_write_open(json);
    json_write_key_text(json, "user", member->user);
    json_write_key_text(json, "role", member_role_name(member->role));
    json_write_key_text(json, "state", state_name(member->state));
    json_write_key_u64(json, "joined", member->joined_seq);
    json_write_key_u64(json, "delivered", member->delivered_seq);
    json_write_key_u64(json, "read", member->read_seq);
    json_write_close(json);
}

void conversation_write_fields(struct json_writer *json, const Pipit__Conversation *conversation) {
    json_write_key_text(json, "id", conversation->id);
    json_write_key_text(json, "kind", conversation_kind_name(conversation->kind));
    json_write_key_text(json, "title", conversation->title);
    json_write_key_time(json, "created_at", conversation->created_ms);
    json_write_key_u64(json, "head", conversation->head);
    json_write_key_u64(json, "members_version", conversation->members_version);
    if (conversation->n_members > 0) {
        json_write_key(json, "members");
        json_write_open_array(json);
        for (size_t i = 0; i < conversation->n_members; i++) {
            member_write(json, conversation->members[i]);
        }
        json_write_close_array(json);
    }
}

static void write_own(struct json_writer *json, const Pipit__ConversationItem *item) {
    const Pipit__Member *self = item->self;
    json_write_key_text(json, "role", member_role_name(self->role));
    json_write_key_bool(json, "muted", self->muted);
    json_write_key_u64(json, "unread", item->unread);
    json_write_key_u64(json, "joined", self->joined_seq);
    json_write_key_u64(json, "delivered", self->delivered_seq);
    json_write_key_u64(json, "read", self->read_seq);
    if (item->peer[0] != '\0') {
        json_write_key_text(json, "peer", item->peer);
    }
    if (item->last_message != NULL) {
        json_write_key(json, "last_message");
        message_write(json, item->last_message);
    }
}

void conversation_write_item(struct json_writer *json, const Pipit__ConversationItem *item) {
    bool active = item->self->state == PIPIT__MEMBER_STATE__MEMBER_ACTIVE;
    json_write_open(json);
    if (active) {
        conversation_write_fields(json, item->conversation);
        write_own(json, item);
    } else {
        json_write_key_text(json, "id", item->conversation->id);
        json_write_key_text(json, "kind", conversation_kind_name(item->conversation->kind));
    }
    json_write_key_text(json, "state", state_name(item->self->state));
    json_write_key_time(json, "changed_at", item->changed_ms);
    json_write_close(json);
}

static void write_reaction(struct json_writer *json, const ProtobufCBinaryData *body) {
    struct json_value root, emoji, removed;
    char text[LIMIT_EMOJI_BYTES + 1];
    bool is_removed = false;
    if (json_parse(body->data, body->len, &root, NULL) == ERR_OK && root.kind == JSON_OBJECT &&
        json_find(&root, "emoji", &emoji) && json_find(&root, "removed", &removed) &&
        json_string_copy(&emoji, text, sizeof text) == ERR_OK &&
        json_bool(&removed, &is_removed) == ERR_OK) {
        json_write_key_text(json, "emoji", text);
        json_write_key_bool(json, "removed", is_removed);
    }
}

void message_write(struct json_writer *json, const Pipit__StoredMessage *message) {
    char id[ID_UUID_TEXT_BYTES] = "";
    if (message->id.len == ID_UUID_BYTES) {
        id_uuid_format(message->id.data, id);
    }
    json_write_open(json);
    json_write_key_text(json, "kind", frame_event_kind_name((enum frame_event_kind)message->kind));
    json_write_key_text(json, "conversation", message->conversation);
    json_write_key_u64(json, "seq", message->seq);
    json_write_key_text(json, "message", id);
    json_write_key_text(json, "from", message->sender);
    if (message->device[0] != '\0') {
        json_write_key_text(json, "device", message->device);
    }
    json_write_key_time(json, "ts", message->ts_ms);
    if (message->kind != PIPIT__MESSAGE_KIND__MESSAGE_TEXT) {
        json_write_key_u64(json, "target", message->target_seq);
    }
    if (message->kind == PIPIT__MESSAGE_KIND__MESSAGE_REACT) {
        write_reaction(json, &message->body);
    } else if (message->kind != PIPIT__MESSAGE_KIND__MESSAGE_RECALL) {
        json_write_key(json, "body");
        if (message->body.len > 0) {
            json_write_raw(json, message->body.data, message->body.len);
        } else {
            json_write_raw(json, "{}", 2); /* a row without one is shown, too */
        }
    }
    if (message->reply_seq != 0) {
        json_write_key_u64(json, "reply", message->reply_seq);
    }
    json_write_close(json);
}
