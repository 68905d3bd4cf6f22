/* conversations: what the files about one conversation share. */
#ifndef PIPIT_AUTH_CONVERSATIONS_H
#define PIPIT_AUTH_CONVERSATIONS_H

#include "services/auth/call.h"

/* Loads one conversation as its member call->self sees it, with members. False: 403 for everybody
 * who is no member, whether the conversation exists or not. */
bool conversation_load_own(struct call *call, const char *id, bool with_last_message,
                           Pipit__ConversationItem **item) MUST_CHECK;
/* Asks storage for the change; fills in actor and time. NOT_FOUND of a change that names no users
 * can only be the conversation and becomes NOT_MEMBER. */
enum err conversation_change(struct call *call, Pipit__MembersChange *request,
                             Pipit__ConversationReply **reply) MUST_CHECK;

#endif
