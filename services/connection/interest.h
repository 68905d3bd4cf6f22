/* interest: tells every routing instance which conversations and sessions this endpoint has
 * (InterestUpdate), and knows from when on messages reach it. */
#ifndef PIPIT_CONNECTION_INTEREST_H
#define PIPIT_CONNECTION_INTEREST_H

#include "services/connection/conversations.h"

#define HUB_INTEREST_LEASE_US                                                                      \
    2000000u /* an update at least this often; routing forgets after more */
/* Changes remembered for instances that have not acknowledged them; beyond it they get a snapshot.
 */
#define HUB_INTEREST_LOG_MAX 32768

struct hub_interest;
struct hub_interest_peer;
enum err hub_interest_create(struct hub *hub) MUST_CHECK;
void hub_interest_destroy(struct hub *hub);
enum err hub_interest_peer_create(struct hub_peer *peer) MUST_CHECK;
void hub_interest_peer_destroy(struct hub_peer *peer);
/* The instance came up: it gets a snapshot. Or it went down: nobody waits for it. */
void hub_interest_peer_state(struct hub_peer *peer);
/* Its stream began to flow, or stopped. */
void hub_interest_stream_changed(struct hub *hub);

/* Each change has a version; they are sent at the end of the turn. */
void hub_interest_conversation(struct hub *hub, const char *conversation); /* added or removed */
void hub_interest_session(struct hub *hub, uint64_t session);              /* added or removed */
/* The object leaves its list: conversations with members here, open sessions. */
void hub_interest_forget_conversation(struct hub *hub, struct hub_conversation *conversation);
void hub_interest_forget_session(struct hub *hub, struct session *session);
/* The version of the last change. */
uint64_t hub_interest_version(const struct hub *hub);
/* Changes up to this version are known to every routing instance that is up and whose stream flows.
 */
uint64_t hub_interest_confirmed(const struct hub *hub);

/* Sends what is due; called at the end of each turn. */
void hub_interest_flush(struct hub *hub);
/* Drain: says to all instances that the endpoint goes. */
void hub_interest_leave(struct hub *hub);
bool hub_interest_left(const struct hub *hub); /* all have answered or are down */

#endif
