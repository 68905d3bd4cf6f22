/* users: one object per user with sessions here, found by id.
 *
 * A user whose last session closed lingers for HUB_LINGER_US before others are told "offline" and
 * the memberships are dropped: phones change networks, pages are reloaded, and all that would
 * otherwise be removed and registered again at every routing instance stays in place. While a user
 * lingers, routing has no session of theirs, so it does not tell of conversations they are added
 * to: the next session loads the memberships afresh (`loaded` is false), it only finds most of them
 * known. */
#include "services/connection/users.h"

#include "common/mem.h"
#include "services/connection/conversations.h"
#include "services/connection/presence.h"
#include <string.h>

struct hub_users {
    struct map map;
    struct hub_pool pool;
    struct list all, lingering; /* lingering: the longest first */
    struct list_node *cursor;
};

static bool match_user(const struct map_node *node, const void *key, size_t key_bytes) {
    const struct hub_user *user = CONTAINER_OF(node, struct hub_user, node);
    return strlen(user->id) == key_bytes && memcmp(user->id, key, key_bytes) == 0;
}

enum err hub_users_create(struct hub *hub) {
    struct hub_users *users = mem_zalloc(1, sizeof *users);
    if (users == NULL) {
        return ERR_NO_MEMORY;
    }
    hub_pool_init(&users->pool, sizeof(struct hub_user), HUB_USERS_MAX);
    list_init(&users->all);
    list_init(&users->lingering);
    hub->users = users;
    return map_init(&users->map, 64, match_user);
}

static void forget(struct hub *hub, struct hub_user *user) {
    struct hub_users *users = hub->users;
    struct list_node *node = NULL;
    while ((node = list_first(&user->memberships)) != NULL) {
        hub_membership_drop(hub, CONTAINER_OF(node, struct hub_membership, user_node));
    }
    if (users->cursor == &user->all_node) {
        users->cursor = list_next(&users->all, users->cursor);
    }
    list_remove(&users->all, &user->all_node);
    if (list_node_linked(&user->linger_node)) {
        list_remove(&users->lingering, &user->linger_node);
    }
    map_remove(&users->map, &user->node);
    hub_pool_give(&users->pool, user);
    metric_shift(&hub_metrics.users, -1);
}

void hub_users_destroy(struct hub *hub) {
    struct hub_users *users = hub->users;
    if (users == NULL) {
        return;
    }
    struct list_node *node = NULL;
    while ((node = list_first(&users->all)) != NULL) {
        forget(hub, CONTAINER_OF(node, struct hub_user, all_node));
    }
    map_finish(&users->map);
    hub_pool_finish(&users->pool);
    mem_free(users);
    hub->users = NULL;
}

struct hub_user *hub_user_find(const struct hub *hub, const char *id) {
    struct map_node *node = map_find(&hub->users->map, id, strlen(id));
    return node != NULL ? CONTAINER_OF(node, struct hub_user, node) : NULL;
}

struct hub_user *hub_user_get(struct hub *hub, const char *id) {
    struct hub_users *users = hub->users;
    size_t bytes = strlen(id);
    CONTRACT(bytes > 0 && bytes <= LIMIT_USER_ID_BYTES);
    struct hub_user *user = hub_user_find(hub, id);
    if (user != NULL) {
        return user;
    }
    user = hub_pool_take(&users->pool);
    if (user == NULL) {
        hub_metrics_limit(HUB_LIMIT_USERS);
        return NULL;
    }
    memcpy(user->id, id, bytes + 1);
    list_init(&user->sessions);
    list_init(&user->memberships);
    rate_init(&user->submit_rate, (uint32_t)hub->settings->messages_burst, hub_now_us(hub));
    rate_init(&user->typing_rate, HUB_TYPING_BURST, hub_now_us(hub));
    list_push_back(&users->all, &user->all_node);
    map_insert(&users->map, &user->node, user->id, bytes);
    /* Until a session is attached; a failed login must not leave the object behind. */
    user->empty_since_us = hub_now_us(hub);
    list_push_back(&users->lingering, &user->linger_node);
    metric_shift(&hub_metrics.users, 1);
    return user;
}

void hub_user_attach(struct hub *hub, struct hub_user *user, struct session *session) {
    if (list_node_linked(&user->linger_node)) {
        list_remove(&hub->users->lingering, &user->linger_node);
    }
    list_push_back(&user->sessions, &session->user_node);
    session->user = user;
}

void hub_user_detach(struct hub *hub, struct hub_user *user, struct session *session) {
    for (struct session_walk *walk = hub->walks; walk != NULL; walk = walk->outer) {
        if (walk->next == &session->user_node) {
            walk->next = list_next(walk->sessions, walk->next);
        }
    }
    list_remove(&user->sessions, &session->user_node);
    if (user->sessions.count == 0) {
        user->loaded = false;
        user->empty_since_us = hub_now_us(hub);
        list_push_back(&hub->users->lingering, &user->linger_node);
    }
}

void hub_users_tick(struct hub *hub, bool all) {
    struct list *lingering = &hub->users->lingering;
    struct list_node *node = NULL;
    while ((node = list_first(lingering)) != NULL) {
        struct hub_user *user = CONTAINER_OF(node, struct hub_user, linger_node);
        if (!all && hub_now_us(hub) - user->empty_since_us < HUB_LINGER_US) {
            break;
        }
        hub_presence_offline(hub, user);
        forget(hub, user);
    }
}

struct hub_user *hub_users_cursor(struct hub *hub) {
    struct list_node *node = hub->users->cursor;
    return node != NULL ? CONTAINER_OF(node, struct hub_user, all_node) : NULL;
}

void hub_users_cursor_rewind(struct hub *hub) {
    hub->users->cursor = list_first(&hub->users->all);
}

void hub_users_cursor_advance(struct hub *hub) {
    if (hub->users->cursor != NULL) {
        hub->users->cursor = list_next(&hub->users->all, hub->users->cursor);
    }
}
