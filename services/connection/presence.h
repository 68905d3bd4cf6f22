/* presence: who is online, and who is typing: told to others and forgotten (Signal). */
#ifndef PIPIT_CONNECTION_PRESENCE_H
#define PIPIT_CONNECTION_PRESENCE_H

#include "services/connection/users.h"

/* Presence goes to this many of a user's conversations, the most recently active: a login must not
 * cost a signal for every group somebody ever joined. */
#define HUB_PRESENCE_CONVERSATIONS_MAX 64
/* Typing signals of one user; clients send one every few seconds. More are shed. */
#define HUB_TYPING_PER_SECOND 2
#define HUB_TYPING_BURST 10

/* A session became live. */
void hub_presence_online(struct hub *hub, struct hub_user *user);
/* The last session closed some seconds ago. */
void hub_presence_offline(struct hub *hub, struct hub_user *user);
/* status: online or away. ERR_INVALID otherwise. */
enum err hub_presence_set(struct hub *hub, struct session *session, const char *status) MUST_CHECK;
enum err hub_presence_typing(struct hub *hub, struct session *session, const char *conversation,
                             bool active) MUST_CHECK;
/* See session_presence_query. */
enum err hub_presence_query(struct hub *hub, struct session *session, uint64_t request,
                            const char *conversation) MUST_CHECK;

#endif
