/* rate_limits: token buckets in a bounded table with the least recently used one on the way out.
 *
 * Quotas are per minute, so a bucket holds micro-tokens and gains quota / 60 of them per
 * microsecond of a second; common/rate counts whole tokens a second and cannot say "five a minute".
 * The table is behind one lock: an attempt costs 33 ms of hashing, its two look-ups a microsecond.
 * An attacker with more addresses than entries_max can push buckets out and gain fresh ones; then
 * the hash pool's queue is the limit. */
#include "services/auth/rate_limits.h"

#include "common/contract.h"
#include "common/list.h"
#include "common/map.h"
#include "common/mem.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define MICRO 1000000u
#define RATE_KEY_BYTES 96 /* address, newline, user id */

struct bucket {
    struct map_node node;
    struct list_node used; /* longest silent first */
    uint64_t micro_tokens;
    uint64_t updated_us;
    char key[RATE_KEY_BYTES];
};
struct rate_limits {
    pthread_mutex_t lock; /* guards all below */
    struct rate_limits_config config;
    struct map buckets;
    struct list by_use;
};

static bool match(const struct map_node *node, const void *key, size_t key_bytes) {
    const struct bucket *bucket = CONTAINER_OF(node, struct bucket, node);
    return strlen(bucket->key) == key_bytes && memcmp(bucket->key, key, key_bytes) == 0;
}

enum err rate_limits_create(const struct rate_limits_config *config, struct rate_limits **out) {
    CONTRACT(config->per_user > 0 && config->per_address > 0 && config->entries_max >= 2);
    struct rate_limits *limits = mem_zalloc(1, sizeof *limits);
    if (limits == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = map_init(&limits->buckets, 64, match);
    if (error != ERR_OK) {
        mem_free(limits);
        return error;
    }
    limits->config = *config;
    list_init(&limits->by_use);
    CONTRACT(pthread_mutex_init(&limits->lock, NULL) == 0);
    *out = limits;
    return ERR_OK;
}

static void forget_oldest(struct rate_limits *limits) {
    struct bucket *oldest = CONTAINER_OF(list_pop_front(&limits->by_use), struct bucket, used);
    map_remove(&limits->buckets, &oldest->node);
    mem_free(oldest);
}

void rate_limits_destroy(struct rate_limits **limits) {
    if (*limits == NULL) {
        return;
    }
    while (list_first(&(*limits)->by_use) != NULL) {
        forget_oldest(*limits);
    }
    map_finish(&(*limits)->buckets);
    CONTRACT(pthread_mutex_destroy(&(*limits)->lock) == 0);
    mem_free(*limits);
    *limits = NULL;
}

static void refill(struct bucket *bucket, uint32_t quota, uint64_t now_us) {
    uint64_t full = (uint64_t)quota * MICRO;
    uint64_t elapsed_us = now_us > bucket->updated_us ? now_us - bucket->updated_us : 0;
    uint64_t window_us = (uint64_t)RATE_LIMITS_WINDOW_S * MICRO;
    uint64_t gained = elapsed_us >= window_us ? full : elapsed_us * quota / RATE_LIMITS_WINDOW_S;
    if (gained >= full - bucket->micro_tokens) {
        bucket->micro_tokens = full;
        bucket->updated_us = now_us > bucket->updated_us ? now_us : bucket->updated_us;
    } else {
        /* Only the time that became tokens is used up, or frequent calls would gain nothing. */
        bucket->micro_tokens += gained;
        bucket->updated_us += (gained * RATE_LIMITS_WINDOW_S + quota - 1) / quota;
    }
}

static void make_key(char key[RATE_KEY_BYTES], const char *address, const char *user) {
    (void)snprintf(key, RATE_KEY_BYTES, "%.45s\n%.48s", address, user); /* both are shorter */
}

/* The bucket, refilled and marked as used; a new one when `make`; NULL. */
static struct bucket *find(struct rate_limits *limits, const char *key, uint32_t quota,
                           uint64_t now_us, bool make) {
    struct map_node *node = map_find(&limits->buckets, key, strlen(key));
    struct bucket *bucket = NULL;
    if (node != NULL) {
        bucket = CONTAINER_OF(node, struct bucket, node);
        list_remove(&limits->by_use, &bucket->used);
    } else if (make) {
        bucket = mem_zalloc(1, sizeof *bucket);
        if (bucket == NULL) {
            return NULL;
        }
        if (limits->buckets.count >= limits->config.entries_max) {
            forget_oldest(limits);
        }
        memcpy(bucket->key, key, strlen(key) + 1);
        bucket->micro_tokens = (uint64_t)quota * MICRO;
        bucket->updated_us = now_us;
        map_insert(&limits->buckets, &bucket->node, key, strlen(key));
    } else {
        return NULL;
    }
    list_push_back(&limits->by_use, &bucket->used);
    refill(bucket, quota, now_us);
    return bucket;
}

static bool has_one(const struct bucket *bucket, const char *name, uint32_t quota,
                    struct rate_refusal *refusal) {
    if (bucket == NULL || bucket->micro_tokens >= MICRO) {
        return true;
    }
    uint64_t wait_us = ((MICRO - bucket->micro_tokens) * RATE_LIMITS_WINDOW_S + quota - 1) / quota;
    *refusal = (struct rate_refusal){
        .bucket = name, .quota = quota, .retry_ms = (uint32_t)(wait_us / 1000 + 1)};
    return false;
}

static void take(struct bucket *bucket) {
    if (bucket != NULL) {
        bucket->micro_tokens -= MICRO;
    }
}

bool rate_limits_take(struct rate_limits *limits, const char *address, const char *user,
                      uint64_t now_us, struct rate_refusal *refusal) {
    char key[RATE_KEY_BYTES];
    const struct rate_limits_config *config = &limits->config;
    CONTRACT(pthread_mutex_lock(&limits->lock) == 0);
    make_key(key, address, "");
    struct bucket *all = find(limits, key, config->per_address, now_us, true);
    struct bucket *own = NULL;
    if (user[0] != '\0') {
        make_key(key, address, user);
        own = find(limits, key, config->per_user, now_us, true);
    }
    bool allowed = has_one(all, "login_address", config->per_address, refusal) &&
                   has_one(own, "login", config->per_user, refusal);
    if (allowed) {
        take(all);
        take(own);
    }
    CONTRACT(pthread_mutex_unlock(&limits->lock) == 0);
    return allowed;
}

static void give(struct bucket *bucket, uint32_t quota) {
    if (bucket != NULL) {
        uint64_t full = (uint64_t)quota * MICRO;
        bucket->micro_tokens =
            full - bucket->micro_tokens > MICRO ? bucket->micro_tokens + MICRO : full;
    }
}

void rate_limits_give_back(struct rate_limits *limits, const char *address, const char *user,
                           uint64_t now_us) {
    char key[RATE_KEY_BYTES];
    const struct rate_limits_config *config = &limits->config;
    CONTRACT(pthread_mutex_lock(&limits->lock) == 0);
    make_key(key, address, "");
    give(find(limits, key, config->per_address, now_us, false), config->per_address);
    if (user[0] != '\0') {
        make_key(key, address, user);
        give(find(limits, key, config->per_user, now_us, false), config->per_user);
    }
    CONTRACT(pthread_mutex_unlock(&limits->lock) == 0);
}

size_t rate_limits_count(struct rate_limits *limits) {
    CONTRACT(pthread_mutex_lock(&limits->lock) == 0);
    size_t count = limits->buckets.count;
    CONTRACT(pthread_mutex_unlock(&limits->lock) == 0);
    return count;
}
