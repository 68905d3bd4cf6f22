/* backlog: what a session's device missed (MQTT), and what a session could not take when it was
 * live: handed over from history, in order, as fast as the client takes it, before the
 * conversation's live messages. */
#ifndef PIPIT_CONNECTION_BACKLOG_H
#define PIPIT_CONNECTION_BACKLOG_H

#include "services/connection/conversations.h"

#define HUB_BACKLOGS_MAX                                                                           \
    1048576                     /* (session, conversation) pairs being caught up; 100 bytes each   \
                                 */
#define HUB_BACKLOG_RUNS_MAX 64 /* pages held at once, 64 KiB of bodies each */
#define HUB_BACKLOG_PAGE_MESSAGES 64
#define HUB_BACKLOG_PAGE_BYTES (64u * 1024u)

struct hub_backlogs;
enum err hub_backlogs_create(struct hub *hub) MUST_CHECK;
void hub_backlogs_destroy(struct hub *hub);
/* Opening: the device's cursor in one conversation, or that it has none. ERR_FULL. */
enum err hub_backlog_seed(struct hub *hub, struct session *session,
                          struct hub_conversation *conversation, bool known,
                          uint64_t delivered_seq) MUST_CHECK;
/* The session is live from now on: decides where each conversation begins. */
void hub_backlog_begin(struct hub *hub, struct session *session);
/* True when this message comes to the session from its backlog (or came). */
bool hub_backlog_covers(struct hub *hub, struct session *session,
                        struct hub_conversation *conversation, uint64_t seq);
/* The session cannot take a live message: it gets what is after after_seq from history. Ends the
 * session when there is no room to remember that. */
void hub_backlog_fall_behind(struct hub *hub, struct session *session,
                             struct hub_conversation *conversation, uint64_t after_seq);
/* The session can take more. */
void hub_backlog_writable(struct hub *hub, struct session *session);
/* The session closes; the user leaves the conversation. */
void hub_backlog_close(struct hub *hub, struct session *session);
void hub_backlog_drop(struct hub *hub, struct hub_user *user,
                      struct hub_conversation *conversation);
/* From hub_soon and the tick: starts who waits. */
void hub_backlogs_soon(struct hub *hub);

#endif
