/* sessions: who is connected where, as the endpoints tell it: (endpoint, session) and user. */
#ifndef PIPIT_ROUTING_SESSIONS_H
#define PIPIT_ROUTING_SESSIONS_H

#include "common/list.h"
#include "common/map.h"
#include "services/routing/endpoint_set.h"
#include <stdbool.h>

struct known_session {
    struct map_node node;
    struct list_node user_node, endpoint_node;
    struct online_user *user;
    uint64_t endpoint, session;
    uint64_t opened_ms;
    uint16_t slot; /* of the endpoint */
    bool exclusive;
    bool kicked; /* told to go; not told twice */
    char device[];
};
struct sessions;

enum err sessions_create(size_t count_max, struct sessions **out) MUST_CHECK;
void sessions_destroy(struct sessions **sessions);
/* Adds and links into `of_endpoint`; a session already known is left alone and *out is NULL.
 * ERR_FULL: count_max; ERR_NO_MEMORY. Texts are copied. */
struct session_facts {
    uint64_t endpoint, session, opened_ms;
    uint16_t slot;
    bool exclusive;
    const char *user, *device;
};
enum err sessions_add(struct sessions *sessions, const struct session_facts *facts,
                      struct list *of_endpoint, struct known_session **out) MUST_CHECK;
struct known_session *sessions_find(struct sessions *sessions, uint64_t endpoint, uint64_t session);
/* Unlinks from everything and frees. */
void sessions_remove(struct sessions *sessions, struct list *of_endpoint,
                     struct known_session *session);
/* The user's next session after `after` (NULL = the first); NULL at the end. */
struct known_session *sessions_of_user(struct sessions *sessions, const char *user,
                                       struct known_session *after);
bool sessions_online(struct sessions *sessions, const char *user);
/* Adds the endpoints that have sessions of the user. */
void sessions_endpoints(struct sessions *sessions, const char *user, struct endpoint_set *set);
size_t sessions_count(const struct sessions *sessions);
const char *sessions_user(const struct known_session *session);

#endif
