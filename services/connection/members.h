/* members: changes of membership, as they happen (MembersChanged) and as storage tells them when we
 * know too little, and the frames that tell clients. */
#ifndef PIPIT_CONNECTION_MEMBERS_H
#define PIPIT_CONNECTION_MEMBERS_H

#include "proto/message.pb-c.h"
#include "services/connection/conversations.h"

/* From a delivery. Calls back. */
void hub_members_changed(struct hub *hub, const Pipit__MembersChanged *event);
/* Asks storage who is a member now; ends in hub_repair_refreshed, later. The conversation is pinned
 * by the caller and has members here. */
enum err hub_members_refresh(struct hub *hub, struct hub_conversation *conversation) MUST_CHECK;
/* Frames to one user's sessions: `conv`, and `member` with the user as left. Call back. */
void hub_members_tell_added(struct hub *hub, struct hub_user *user,
                            const Pipit__Conversation *conversation);
void hub_members_tell_left(struct hub *hub, struct hub_user *user,
                           const struct hub_conversation *conversation);

#endif
