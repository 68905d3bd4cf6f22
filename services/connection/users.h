/* users: the users with sessions on this hub, and for a few seconds after their last one closed. */
#ifndef PIPIT_CONNECTION_USERS_H
#define PIPIT_CONNECTION_USERS_H

#include "common/rate.h"
#include "services/connection/hub_private.h"

#define HUB_USERS_MAX 131072 /* more than the sockets one event loop can hold */
/* Presence turns offline, and memberships are forgotten, this long after the last session closed: a
 * phone that changes networks must not flicker. */
#define HUB_LINGER_US 5000000u

enum user_presence { USER_OFFLINE, USER_ONLINE, USER_AWAY };
struct hub_user {
    struct map_node node;
    struct list_node all_node, linger_node;
    struct list sessions;    /* session.user_node */
    struct list memberships; /* membership.user_node */
    struct rate_bucket submit_rate, typing_rate;
    uint64_t empty_since_us;
    bool loaded;      /* memberships are complete and kept true by events */
    uint8_t presence; /* as last told to others */
    char id[LIMIT_USER_ID_BYTES + 1];
};

struct hub_users;
enum err hub_users_create(struct hub *hub) MUST_CHECK;
void hub_users_destroy(struct hub *hub);
struct hub_user *hub_user_find(const struct hub *hub, const char *id);
/* Finds or makes. NULL: HUB_USERS_MAX or no memory. */
struct hub_user *hub_user_get(struct hub *hub, const char *id);
void hub_user_attach(struct hub *hub, struct hub_user *user, struct session *session);
/* After the last session the user lingers. */
void hub_user_detach(struct hub *hub, struct hub_user *user, struct session *session);
/* Forgets who lingered long enough; all = everybody without sessions, at once. */
void hub_users_tick(struct hub *hub, bool all);
/* Walks all users in order of arrival, slowly: the cursor stays right when users go. */
struct hub_user *hub_users_cursor(struct hub *hub);
void hub_users_cursor_rewind(struct hub *hub);
void hub_users_cursor_advance(struct hub *hub);

#endif
