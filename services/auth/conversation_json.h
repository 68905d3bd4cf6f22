/* conversation_json: conversations, members and messages as REST shows them. The words are those of
 * pipit.v1 (docs/reference/websocket.md). */
#ifndef PIPIT_AUTH_CONVERSATION_JSON_H
#define PIPIT_AUTH_CONVERSATION_JSON_H

#include "proto/json_writer.h"
#include "proto/storage.pb-c.h"

const char *conversation_kind_name(Pipit__ConversationKind kind);
const char *member_role_name(Pipit__MemberRole role);
/* False: no such role. */
bool member_role_parse(const char *name, Pipit__MemberRole *role);

/* {"user","role","state","joined","delivered","read"} */
void member_write(struct json_writer *json, const Pipit__Member *member);
/* The members of a conversation object without braces: id, kind, title, created_at, head,
 * members_version, and "members" when there are any. */
void conversation_write_fields(struct json_writer *json, const Pipit__Conversation *conversation);
/* One entry of a user's list: the conversation and what is the user's own (state, role, unread,
 * cursors, mute, last message). Of a conversation that was left: id, kind, state, changed_at. */
void conversation_write_item(struct json_writer *json, const Pipit__ConversationItem *item);
/* {"kind":"msg","conversation","seq","message","from",...}: as the frame of that kind. */
void message_write(struct json_writer *json, const Pipit__StoredMessage *message);

#endif
