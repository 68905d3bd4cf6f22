/* mongo_heads: a map and a list, guarded by one lock that is held for a lookup at most. A miss
 * costs one read of the database, so losing an entry, to the bound or to a full heap, is only
 * slower. */
#include "services/storage/mongo_heads.h"

#include "common/contract.h"
#include "common/mem.h"
#include <string.h>

struct entry {
    uint64_t head;
    struct map_node by_id;
    struct list_node by_use;
    size_t id_bytes;
    char id[]; /* NUL-terminated */
};

static void lock(struct mongo_heads *heads) {
    int code = pthread_mutex_lock(&heads->lock);
    CONTRACT(code == 0);
}

static void unlock(struct mongo_heads *heads) {
    int code = pthread_mutex_unlock(&heads->lock);
    CONTRACT(code == 0);
}

static bool has_id(const struct map_node *node, const void *key, size_t key_bytes) {
    const struct entry *entry = CONTAINER_OF(node, struct entry, by_id);
    return entry->id_bytes == key_bytes && memcmp(entry->id, key, key_bytes) == 0;
}

enum err mongo_heads_init(struct mongo_heads *heads, size_t count_max) {
    CONTRACT(count_max > 0);
    list_init(&heads->by_use);
    heads->count_max = count_max;
    enum err error = map_init(&heads->by_id, 64, has_id);
    if (error == ERR_OK) {
        (void)pthread_mutex_init(&heads->lock, NULL); /* cannot fail on Linux */
    }
    return error;
}

static void drop(struct mongo_heads *heads, struct entry *entry) {
    map_remove(&heads->by_id, &entry->by_id);
    list_remove(&heads->by_use, &entry->by_use);
    mem_free(entry);
}

void mongo_heads_clear(struct mongo_heads *heads) {
    lock(heads);
    struct list_node *node = NULL;
    while ((node = list_first(&heads->by_use)) != NULL) {
        drop(heads, CONTAINER_OF(node, struct entry, by_use));
    }
    unlock(heads);
}

void mongo_heads_finish(struct mongo_heads *heads) {
    mongo_heads_clear(heads);
    map_finish(&heads->by_id);
    (void)pthread_mutex_destroy(&heads->lock);
}

/* With the lock. Moves what it finds to the front. */
static struct entry *find(struct mongo_heads *heads, const char *id) {
    struct map_node *node = map_find(&heads->by_id, id, strlen(id));
    if (node == NULL) {
        return NULL;
    }
    struct entry *entry = CONTAINER_OF(node, struct entry, by_id);
    list_remove(&heads->by_use, &entry->by_use);
    list_push_front(&heads->by_use, &entry->by_use);
    return entry;
}

bool mongo_heads_find(struct mongo_heads *heads, const char *id, uint64_t *head) {
    lock(heads);
    struct entry *entry = find(heads, id);
    if (entry != NULL) {
        *head = entry->head;
    }
    unlock(heads);
    return entry != NULL;
}

void mongo_heads_forget(struct mongo_heads *heads, const char *id) {
    lock(heads);
    struct entry *entry = find(heads, id);
    if (entry != NULL) {
        drop(heads, entry);
    }
    unlock(heads);
}

static struct entry *add(struct mongo_heads *heads, const char *id) {
    size_t id_bytes = strlen(id);
    struct entry *entry = mem_zalloc(1, sizeof(*entry) + id_bytes + 1);
    if (entry == NULL) {
        return NULL;
    }
    if (heads->by_use.count >= heads->count_max) {
        drop(heads, CONTAINER_OF(heads->by_use.head.prev, struct entry, by_use));
    }
    entry->id_bytes = id_bytes;
    memcpy(entry->id, id, id_bytes + 1);
    map_insert(&heads->by_id, &entry->by_id, id, id_bytes);
    list_push_front(&heads->by_use, &entry->by_use);
    return entry;
}

void mongo_heads_learn(struct mongo_heads *heads, const char *id, uint64_t head) {
    lock(heads);
    struct entry *entry = find(heads, id);
    if (entry == NULL) {
        entry = add(heads, id);
    }
    if (entry != NULL && entry->head < head) {
        entry->head = head;
    }
    unlock(heads);
}
