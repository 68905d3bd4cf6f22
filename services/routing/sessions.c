/* sessions: the presence directory. A session is found by (endpoint, session id), because ids are
 * chosen by connection instances, and through its user: take-over, presence and the delivery of
 * "you were added" all start from a user. A user entry lives as long as it has a session. Sessions
 * come and go with logins, not with messages, so they are plain heap objects, bounded by count_max.
 */
#include "services/routing/sessions.h"

#include "common/contract.h"
#include "common/mem.h"
#include "proto/limits.h"
#include <string.h>

struct online_user {
    struct map_node node;
    struct list sessions;
    char user[LIMIT_USER_ID_BYTES + 1];
};
struct sessions {
    struct map sessions, users;
    size_t count_max;
};
struct session_key {
    uint64_t endpoint, session;
};

static bool match_session(const struct map_node *node, const void *key, size_t key_bytes) {
    const struct known_session *session = CONTAINER_OF(node, struct known_session, node);
    const struct session_key *wanted = key;
    (void)key_bytes; /* always sizeof(struct session_key) */
    return session->endpoint == wanted->endpoint && session->session == wanted->session;
}

static bool match_user(const struct map_node *node, const void *key, size_t key_bytes) {
    const struct online_user *user = CONTAINER_OF(node, struct online_user, node);
    return strlen(user->user) == key_bytes && memcmp(user->user, key, key_bytes) == 0;
}

enum err sessions_create(size_t count_max, struct sessions **out) {
    struct sessions *sessions = mem_zalloc(1, sizeof *sessions);
    if (sessions == NULL) {
        return ERR_NO_MEMORY;
    }
    sessions->count_max = count_max;
    enum err error = map_init(&sessions->sessions, 64, match_session);
    if (error == ERR_OK) {
        error = map_init(&sessions->users, 64, match_user);
    }
    if (error != ERR_OK) {
        sessions_destroy(&sessions);
        return error;
    }
    *out = sessions;
    return ERR_OK;
}

static struct online_user *find_user(struct sessions *sessions, const char *user) {
    struct map_node *node = map_find(&sessions->users, user, strlen(user));
    return node != NULL ? CONTAINER_OF(node, struct online_user, node) : NULL;
}

static struct online_user *get_user(struct sessions *sessions, const char *name) {
    struct online_user *user = find_user(sessions, name);
    if (user != NULL) {
        return user;
    }
    size_t bytes = strlen(name);
    CONTRACT(bytes <= LIMIT_USER_ID_BYTES);
    user = mem_zalloc(1, sizeof *user);
    if (user == NULL) {
        return NULL;
    }
    memcpy(user->user, name, bytes + 1);
    list_init(&user->sessions);
    map_insert(&sessions->users, &user->node, name, bytes);
    return user;
}

static void forget_if_offline(struct sessions *sessions, struct online_user *user) {
    if (user->sessions.count == 0) {
        map_remove(&sessions->users, &user->node);
        mem_free(user);
    }
}

struct known_session *sessions_find(struct sessions *sessions, uint64_t endpoint,
                                    uint64_t session) {
    struct session_key key = {endpoint, session};
    struct map_node *node = map_find(&sessions->sessions, &key, sizeof key);
    return node != NULL ? CONTAINER_OF(node, struct known_session, node) : NULL;
}

enum err sessions_add(struct sessions *sessions, const struct session_facts *facts,
                      struct list *of_endpoint, struct known_session **out) {
    if (sessions_find(sessions, facts->endpoint, facts->session) != NULL) {
        *out = NULL;
        return ERR_OK;
    }
    if (sessions->sessions.count >= sessions->count_max) {
        return ERR_FULL;
    }
    size_t device_bytes = strlen(facts->device) + 1;
    struct known_session *session = mem_zalloc(1, sizeof *session + device_bytes);
    struct online_user *user = session != NULL ? get_user(sessions, facts->user) : NULL;
    if (user == NULL) {
        mem_free(session);
        return ERR_NO_MEMORY;
    }
    session->user = user;
    session->endpoint = facts->endpoint;
    session->session = facts->session;
    session->opened_ms = facts->opened_ms;
    session->slot = facts->slot;
    session->exclusive = facts->exclusive;
    memcpy(session->device, facts->device, device_bytes);
    struct session_key key = {facts->endpoint, facts->session};
    map_insert(&sessions->sessions, &session->node, &key, sizeof key);
    list_push_back(&user->sessions, &session->user_node);
    list_push_back(of_endpoint, &session->endpoint_node);
    *out = session;
    return ERR_OK;
}

void sessions_remove(struct sessions *sessions, struct list *of_endpoint,
                     struct known_session *session) {
    list_remove(of_endpoint, &session->endpoint_node);
    list_remove(&session->user->sessions, &session->user_node);
    map_remove(&sessions->sessions, &session->node);
    forget_if_offline(sessions, session->user);
    mem_free(session);
}

void sessions_destroy(struct sessions **sessions) {
    struct sessions *gone = *sessions;
    if (gone == NULL) {
        return;
    }
    *sessions = NULL;
    struct map_iter iter;
    for (struct map_node *node = map_iter_first(&gone->sessions, &iter); node != NULL;
         node = map_iter_next(&gone->sessions, &iter)) {
        mem_free(CONTAINER_OF(node, struct known_session, node));
    }
    for (struct map_node *node = map_iter_first(&gone->users, &iter); node != NULL;
         node = map_iter_next(&gone->users, &iter)) {
        mem_free(CONTAINER_OF(node, struct online_user, node));
    }
    map_finish(&gone->sessions);
    map_finish(&gone->users);
    mem_free(gone);
}

struct known_session *sessions_of_user(struct sessions *sessions, const char *user,
                                       struct known_session *after) {
    struct list_node *node = NULL;
    if (after != NULL) {
        node = list_next(&after->user->sessions, &after->user_node);
    } else {
        struct online_user *online = find_user(sessions, user);
        node = online != NULL ? list_first(&online->sessions) : NULL;
    }
    return node != NULL ? CONTAINER_OF(node, struct known_session, user_node) : NULL;
}

bool sessions_online(struct sessions *sessions, const char *user) {
    return find_user(sessions, user) != NULL;
}

void sessions_endpoints(struct sessions *sessions, const char *user, struct endpoint_set *set) {
    struct known_session *session = sessions_of_user(sessions, user, NULL);
    for (; session != NULL; session = sessions_of_user(sessions, user, session)) {
        endpoint_set_add(set, session->slot);
    }
}

size_t sessions_count(const struct sessions *sessions) {
    return sessions->sessions.count;
}

const char *sessions_user(const struct known_session *session) {
    return session->user->user;
}
