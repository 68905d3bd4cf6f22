/* revocations: a map from user to its few entries. The question comes with every request, so it
 * takes a read lock and one look-up; entries die with the tokens they concern, an access lifetime
 * later.
 *
 * Whole seconds: `iat` is one (RFC 7519 NumericDate, integers alone in common/token). A revocation
 * at 10.4 s must kill a token issued at 10.2 s, whose iat says 10, so it says "before 11"; a login
 * at 10.6 s must live, so its token gets the iat 11 (see revocations_floor; verifiers tolerate 5
 * s). Should that second one be revoked at 10.8 s, before_ms goes on to 12. */
#include "services/auth/revocations.h"

#include "common/contract.h"
#include "common/list.h"
#include "common/map.h"
#include "common/mem.h"
#include <pthread.h>
#include <string.h>

#define AHEAD_MS_MAX (TOKEN_LEEWAY_MS - 1000) /* tokens from further ahead would be refused */

struct entry {
    struct list_node node;
    struct revocation what;
};
struct revoked_user {
    struct map_node node;
    struct list entries;
    char id[TOKEN_USER_BYTES];
};
struct revocations {
    pthread_rwlock_t lock; /* guards all below */
    struct map users;
    size_t count, entries_max;
    uint64_t all_before_ms, all_until_ms; /* set when full */
};

static bool match(const struct map_node *node, const void *key, size_t key_bytes) {
    const struct revoked_user *user = CONTAINER_OF(node, struct revoked_user, node);
    return strlen(user->id) == key_bytes && memcmp(user->id, key, key_bytes) == 0;
}

static struct revoked_user *find_user(const struct revocations *set, const char *id) {
    struct map_node *node = map_find(&set->users, id, strlen(id));
    return node != NULL ? CONTAINER_OF(node, struct revoked_user, node) : NULL;
}

enum err revocations_create(size_t entries_max, struct revocations **out) {
    CONTRACT(entries_max > 0);
    struct revocations *set = mem_zalloc(1, sizeof *set);
    if (set == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = map_init(&set->users, 64, match);
    if (error != ERR_OK) {
        mem_free(set);
        return error;
    }
    set->entries_max = entries_max;
    CONTRACT(pthread_rwlock_init(&set->lock, NULL) == 0);
    *out = set;
    return ERR_OK;
}

/* Entries for which keep_until_ms < until_ms stay; the user goes with its last one. */
static void sweep(struct revocations *set, uint64_t now_ms) {
    struct map_iter iter;
    for (struct map_node *node = map_iter_first(&set->users, &iter); node != NULL;) {
        struct revoked_user *user = CONTAINER_OF(node, struct revoked_user, node);
        struct list_node *at = list_first(&user->entries);
        while (at != NULL) {
            struct entry *entry = CONTAINER_OF(at, struct entry, node);
            at = list_next(&user->entries, at);
            if (entry->what.until_ms <= now_ms) {
                list_remove(&user->entries, &entry->node);
                mem_free(entry);
                set->count--;
            }
        }
        if (user->entries.count == 0) {
            map_remove(&set->users, &user->node);
            mem_free(user);
        }
        node = map_iter_next(&set->users, &iter);
    }
}

void revocations_destroy(struct revocations **set) {
    if (*set == NULL) {
        return;
    }
    sweep(*set, UINT64_MAX);
    map_finish(&(*set)->users);
    CONTRACT(pthread_rwlock_destroy(&(*set)->lock) == 0);
    mem_free(*set);
    *set = NULL;
}

static struct entry *find_entry(const struct revoked_user *user, const struct revocation *what) {
    for (struct list_node *at = list_first(&user->entries); at != NULL;
         at = list_next(&user->entries, at)) {
        struct entry *entry = CONTAINER_OF(at, struct entry, node);
        if (strcmp(entry->what.device, what->device) == 0 &&
            strcmp(entry->what.except, what->except) == 0) {
            return entry;
        }
    }
    return NULL;
}

/* NULL: full or without memory. */
static struct entry *make_entry(struct revocations *set, const struct revocation *what) {
    struct revoked_user *user = find_user(set, what->user);
    struct entry *entry = set->count < set->entries_max ? mem_zalloc(1, sizeof *entry) : NULL;
    if (entry == NULL) {
        return NULL;
    }
    if (user == NULL) {
        user = mem_zalloc(1, sizeof *user);
        if (user == NULL) {
            mem_free(entry);
            return NULL;
        }
        list_init(&user->entries);
        memcpy(user->id, what->user, sizeof user->id);
        map_insert(&set->users, &user->node, user->id, strlen(user->id));
    }
    entry->what = *what;
    list_push_back(&user->entries, &entry->node);
    set->count++;
    return entry;
}

static uint64_t later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

void revocations_add(struct revocations *set, const struct revocation *what, uint64_t now_ms) {
    if (what->until_ms <= now_ms) {
        return;
    }
    CONTRACT(pthread_rwlock_wrlock(&set->lock) == 0);
    struct revoked_user *user = find_user(set, what->user);
    struct entry *entry = user != NULL ? find_entry(user, what) : NULL;
    if (entry != NULL) {
        if (what->before_ms >= entry->what.before_ms) {
            entry->what.disabled = what->disabled;
        }
        entry->what.before_ms = later(entry->what.before_ms, what->before_ms);
        entry->what.until_ms = later(entry->what.until_ms, what->until_ms);
    } else if (make_entry(set, what) == NULL) {
        set->all_before_ms = later(set->all_before_ms, what->before_ms);
        set->all_until_ms = later(set->all_until_ms, what->until_ms);
    }
    CONTRACT(pthread_rwlock_unlock(&set->lock) == 0);
}

static bool concerns(const struct revocation *what, const char *device) {
    return what->device[0] != '\0' ? strcmp(what->device, device) == 0
                                   : strcmp(what->except, device) != 0;
}

enum revocation_verdict revocations_check(struct revocations *set,
                                          const struct token_claims *claims) {
    CONTRACT(pthread_rwlock_rdlock(&set->lock) == 0);
    enum revocation_verdict verdict =
        claims->issued_ms < set->all_before_ms ? REVOCATION_DEAD : REVOCATION_ALIVE;
    const struct revoked_user *user = find_user(set, claims->user);
    struct list_node *at = user != NULL ? list_first(&user->entries) : NULL;
    for (; at != NULL; at = list_next(&user->entries, at)) {
        const struct revocation *what = &CONTAINER_OF(at, struct entry, node)->what;
        if (concerns(what, claims->device) && claims->issued_ms < what->before_ms &&
            verdict != REVOCATION_DISABLED) {
            verdict = what->disabled ? REVOCATION_DISABLED : REVOCATION_DEAD;
        }
    }
    CONTRACT(pthread_rwlock_unlock(&set->lock) == 0);
    return verdict;
}

uint64_t revocations_floor(struct revocations *set, const char *user_id, const char *device) {
    CONTRACT(pthread_rwlock_rdlock(&set->lock) == 0);
    uint64_t floor_ms = set->all_before_ms;
    const struct revoked_user *user = find_user(set, user_id);
    struct list_node *at = user != NULL ? list_first(&user->entries) : NULL;
    for (; at != NULL; at = list_next(&user->entries, at)) {
        const struct revocation *what = &CONTAINER_OF(at, struct entry, node)->what;
        if (device == NULL || concerns(what, device)) {
            floor_ms = later(floor_ms, what->before_ms);
        }
    }
    CONTRACT(pthread_rwlock_unlock(&set->lock) == 0);
    return floor_ms;
}

void revocations_expire(struct revocations *set, uint64_t now_ms) {
    CONTRACT(pthread_rwlock_wrlock(&set->lock) == 0);
    sweep(set, now_ms);
    if (set->all_until_ms <= now_ms) {
        set->all_before_ms = 0;
        set->all_until_ms = 0;
    }
    CONTRACT(pthread_rwlock_unlock(&set->lock) == 0);
}

size_t revocations_count(struct revocations *set) {
    CONTRACT(pthread_rwlock_rdlock(&set->lock) == 0);
    size_t count = set->count;
    CONTRACT(pthread_rwlock_unlock(&set->lock) == 0);
    return count;
}

uint64_t revocation_before_ms(uint64_t now_ms, uint64_t floor_ms) {
    uint64_t next_ms = (now_ms / 1000 + 1) * 1000;
    uint64_t after_floor_ms = floor_ms / 1000 * 1000 + 1000;
    if (floor_ms > now_ms && floor_ms <= now_ms + AHEAD_MS_MAX && after_floor_ms > next_ms) {
        return after_floor_ms;
    }
    return next_ms;
}
