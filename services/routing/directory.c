/* directory: conversation -> set of endpoints.
 *
 * The set is a bit per endpoint slot, so an interest costs about 100 bytes whether one or all
 * endpoints share it, and fan-out of a message walks a few words. The price is paid where it is
 * rare: forgetting an endpoint (lease over, snapshot) walks all interests, a few milliseconds per
 * hundred thousand. Work per message does not depend on the number of members. */
#include "services/routing/directory.h"

#include "common/contract.h"
#include "common/mem.h"
#include <stdio.h>
#include <string.h>

struct interest {
    struct map_node node;
    struct endpoint_set endpoints;
    char conversation[];
};
struct directory {
    struct directory_limits limits;
    struct map endpoints, interests;
    struct sessions *sessions;
    struct endpoint *slots[ENDPOINTS_MAX];
    struct endpoint_set used;
};

static bool match_endpoint(const struct map_node *node, const void *key, size_t key_bytes) {
    return memcmp(&CONTAINER_OF(node, struct endpoint, node)->id, key, key_bytes) == 0;
}

static bool match_interest(const struct map_node *node, const void *key, size_t key_bytes) {
    const struct interest *interest = CONTAINER_OF(node, struct interest, node);
    return strlen(interest->conversation) == key_bytes &&
           memcmp(interest->conversation, key, key_bytes) == 0;
}

enum err directory_create(const struct directory_limits *limits, struct directory **out) {
    struct directory *directory = mem_zalloc(1, sizeof *directory);
    if (directory == NULL) {
        return ERR_NO_MEMORY;
    }
    directory->limits = *limits;
    enum err error = map_init(&directory->endpoints, 16, match_endpoint);
    if (error == ERR_OK) {
        error = map_init(&directory->interests, 1024, match_interest);
    }
    if (error == ERR_OK) {
        error = sessions_create(limits->sessions_max, &directory->sessions);
    }
    if (error != ERR_OK) {
        directory_destroy(&directory);
        return error;
    }
    *out = directory;
    return ERR_OK;
}

void directory_destroy(struct directory **directory) {
    struct directory *gone = *directory;
    if (gone == NULL) {
        return;
    }
    *directory = NULL;
    sessions_destroy(&gone->sessions);
    struct map_iter iter;
    for (struct map_node *node = map_iter_first(&gone->interests, &iter); node != NULL;
         node = map_iter_next(&gone->interests, &iter)) {
        mem_free(CONTAINER_OF(node, struct interest, node));
    }
    for (size_t i = 0; i < ENDPOINTS_MAX; i++) {
        mem_free(gone->slots[i]);
    }
    map_finish(&gone->endpoints);
    map_finish(&gone->interests);
    mem_free(gone);
}

/* --- endpoints */

struct endpoint *directory_find(const struct directory *directory, uint64_t id) {
    struct map_node *node = map_find(&directory->endpoints, &id, sizeof id);
    return node != NULL ? CONTAINER_OF(node, struct endpoint, node) : NULL;
}

struct endpoint *directory_at(const struct directory *directory, size_t slot) {
    CONTRACT(slot < ENDPOINTS_MAX);
    return directory->slots[slot];
}

enum err directory_open(struct directory *directory, uint64_t id, const char *address,
                        struct endpoint **out) {
    size_t slot = 0;
    while (slot < ENDPOINTS_MAX && directory->slots[slot] != NULL) {
        slot++;
    }
    if (slot == ENDPOINTS_MAX) {
        return ERR_FULL;
    }
    struct endpoint *endpoint = mem_zalloc(1, sizeof *endpoint);
    if (endpoint == NULL) {
        return ERR_NO_MEMORY;
    }
    endpoint->id = id;
    endpoint->slot = slot;
    list_init(&endpoint->sessions);
    (void)snprintf(endpoint->address, sizeof endpoint->address, "%s", address); /* may be cut */
    directory->slots[slot] = endpoint;
    endpoint_set_add(&directory->used, slot);
    map_insert(&directory->endpoints, &endpoint->node, &endpoint->id, sizeof endpoint->id);
    *out = endpoint;
    return ERR_OK;
}

static void drop_interest(struct directory *directory, struct endpoint *endpoint,
                          struct interest *interest) {
    if (!endpoint_set_has(&interest->endpoints, endpoint->slot)) {
        return;
    }
    endpoint_set_remove(&interest->endpoints, endpoint->slot);
    endpoint->interest_count--;
    if (endpoint_set_empty(&interest->endpoints)) {
        map_remove(&directory->interests, &interest->node);
        mem_free(interest);
    }
}

void directory_clear(struct directory *directory, struct endpoint *endpoint) {
    struct map_iter iter;
    struct map_node *node = map_iter_first(&directory->interests, &iter);
    while (node != NULL && endpoint->interest_count > 0) {
        drop_interest(directory, endpoint, CONTAINER_OF(node, struct interest, node));
        node = map_iter_next(&directory->interests, &iter);
    }
    CONTRACT(endpoint->interest_count == 0);
    struct list_node *session = NULL;
    while ((session = list_first(&endpoint->sessions)) != NULL) {
        sessions_remove(directory->sessions, &endpoint->sessions,
                        CONTAINER_OF(session, struct known_session, endpoint_node));
    }
}

void directory_close(struct directory *directory, struct endpoint *endpoint) {
    CONTRACT(!list_node_linked(&endpoint->dirty_node));
    directory_clear(directory, endpoint);
    map_remove(&directory->endpoints, &endpoint->node);
    endpoint_set_remove(&directory->used, endpoint->slot);
    directory->slots[endpoint->slot] = NULL;
    mem_free(endpoint);
}

size_t directory_endpoint_count(const struct directory *directory) {
    return directory->endpoints.count;
}

/* --- interest */

static struct interest *find_interest(const struct directory *directory, const char *conversation) {
    struct map_node *node = map_find(&directory->interests, conversation, strlen(conversation));
    return node != NULL ? CONTAINER_OF(node, struct interest, node) : NULL;
}

enum err directory_add_interest(struct directory *directory, struct endpoint *endpoint,
                                const char *conversation) {
    struct interest *interest = find_interest(directory, conversation);
    if (interest != NULL && endpoint_set_has(&interest->endpoints, endpoint->slot)) {
        return ERR_OK;
    }
    if (endpoint->interest_count >= directory->limits.interests_per_endpoint_max) {
        return ERR_FULL;
    }
    if (interest == NULL) {
        if (directory->interests.count >= directory->limits.interests_max) {
            return ERR_FULL;
        }
        size_t bytes = strlen(conversation);
        interest = mem_zalloc(1, sizeof *interest + bytes + 1);
        if (interest == NULL) {
            return ERR_NO_MEMORY;
        }
        memcpy(interest->conversation, conversation, bytes + 1);
        map_insert(&directory->interests, &interest->node, conversation, bytes);
    }
    endpoint_set_add(&interest->endpoints, endpoint->slot);
    endpoint->interest_count++;
    return ERR_OK;
}

void directory_remove_interest(struct directory *directory, struct endpoint *endpoint,
                               const char *conversation) {
    struct interest *interest = find_interest(directory, conversation);
    if (interest != NULL) {
        drop_interest(directory, endpoint, interest);
    }
}

void directory_interested(const struct directory *directory, const char *conversation,
                          struct endpoint_set *set) {
    const struct interest *interest = find_interest(directory, conversation);
    if (interest != NULL) {
        endpoint_set_join(set, &interest->endpoints);
    }
}

void directory_all(const struct directory *directory, struct endpoint_set *set) {
    endpoint_set_join(set, &directory->used);
}

size_t directory_interest_count(const struct directory *directory) {
    return directory->interests.count;
}

struct sessions *directory_sessions(struct directory *directory) {
    return directory->sessions;
}
