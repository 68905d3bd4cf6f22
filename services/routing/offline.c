/* offline: presence after the death of a connection instance.
 *
 * Whoever disconnects is told offline by the connection instance they used. When that one dies, its
 * lease at routing runs out some seconds later; its users have connected elsewhere by then, or they
 * are offline and nobody has said so. Connection tells presence in the conversations that were
 * active last; the conversations that are cached here are just those, and each is cached by its
 * owner, so the instances do not repeat each other. One walk over the cached members finds them
 * (measured in tens of milliseconds for a million), whatever the number of users.
 *
 * As with all presence a lost signal is a wrong dot until the next change, so limits simply end it.
 */
#include "services/routing/offline.h"

#include "common/contract.h"
#include "common/map.h"
#include "services/routing/conversation.h"
#include "services/routing/fanout.h"
#include "services/routing/shed.h"
#include <string.h>

#define OFFLINE_SIGNALS_MAX 4096u

struct gone_user {
    struct map_node node;
    const char *id;
};
struct walk {
    struct routing *routing;
    struct map gone;
    size_t told;
};

void offline_begin(struct routing *routing, const struct endpoint *endpoint,
                   struct offline *offline) {
    *offline = (struct offline){0};
    size_t count = endpoint->sessions.count;
    char **users = arena_alloc(&routing->turn, (count + 1) * sizeof *users);
    struct list_node *node = users != NULL ? list_first(&endpoint->sessions) : NULL;
    for (; node != NULL; node = list_next(&endpoint->sessions, node)) {
        const char *id = sessions_user(CONTAINER_OF(node, struct known_session, endpoint_node));
        users[offline->count] = arena_copy(&routing->turn, id, strlen(id));
        if (users[offline->count] == NULL) {
            break;
        }
        offline->count++;
    }
    offline->users = users;
}

static bool match_gone(const struct map_node *node, const void *key, size_t key_bytes) {
    const char *id = CONTAINER_OF(node, struct gone_user, node)->id;
    return strlen(id) == key_bytes && memcmp(id, key, key_bytes) == 0;
}

static void publish(struct routing *routing, const struct conversation *conversation,
                    const char *user) {
    Pipit__Signal signal = PIPIT__SIGNAL__INIT;
    signal.conversation = (char *)conversation->id;
    signal.user = (char *)user;
    signal.kind = PIPIT__SIGNAL_KIND__SIGNAL_PRESENCE;
    signal.status = (char *)"offline";
    Pipit__Delivery delivery = PIPIT__DELIVERY__INIT;
    delivery.event_case = PIPIT__DELIVERY__EVENT_SIGNAL;
    delivery.signal = &signal;
    struct endpoint_set to = {{0}};
    directory_interested(routing->directory, conversation->id, &to);
    fanout_event(routing, &delivery, &to);
}

static bool tell_members(struct conversation *conversation, void *user) {
    struct walk *walk = user;
    const struct member_set *members = conversation->members;
    for (size_t i = 0; members != NULL && i < members->count; i++) {
        const struct member_entry *member = &members->entries[i];
        if (member->state == PIPIT__MEMBER_STATE__MEMBER_ACTIVE &&
            map_find(&walk->gone, member->user, strlen(member->user)) != NULL) {
            if (walk->told >= OFFLINE_SIGNALS_MAX || shed_drops(walk->routing, SHED_PRESENCE)) {
                routing_limit_hit(LIMIT_HIT_SIGNALS);
                return false;
            }
            publish(walk->routing, conversation, member->user);
            walk->told++;
        }
    }
    return true;
}

void offline_tell(struct routing *routing, const struct offline *offline) {
    struct walk walk = {.routing = routing};
    if (offline->count == 0 || map_init(&walk.gone, offline->count, match_gone) != ERR_OK) {
        return; /* no memory: nobody is told */
    }
    struct sessions *sessions = directory_sessions(routing->directory);
    for (size_t i = 0; i < offline->count; i++) {
        const char *id = offline->users[i];
        struct gone_user *gone = NULL;
        if (!sessions_online(sessions, id) && map_find(&walk.gone, id, strlen(id)) == NULL) {
            gone = arena_alloc(&routing->turn, sizeof *gone);
        }
        if (gone != NULL) {
            *gone = (struct gone_user){.id = id};
            map_insert(&walk.gone, &gone->node, id, strlen(id));
        }
    }
    if (walk.gone.count > 0) {
        conversations_each(routing, tell_members, &walk);
    }
    map_finish(&walk.gone);
}
