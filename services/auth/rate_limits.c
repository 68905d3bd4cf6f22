/* rate_limits: token buckets in a bounded table with the least recently used one on the way out.
 *
 * Quotas are per minute, so a bucket holds micro-tokens and gains quota / 60 of them per
 * microsecond of a second; common/rate counts whole tokens a second and cannot say "five a minute".
 * The table is behind one lock: an attempt costs 33 ms of hashing, its two look-ups a microsecond.
 * An attacker with more addresses than entries_max can push buckets out and gain fresh ones; then
 * the hash pool's queue is the limit.
 *
 * Buckets are named by a hash, because other instances' counts come that way: they are the same
 * buckets. The hash keeps names and addresses out of messages and memory dumps; it is no secret
 * (whoever reads the bus sees password hashes pass), so it has no key that instances would have to
 * share. Only an attempt that failed for good is told to others, so what gets lost on the way (a
 * dropped event, a bucket that was pushed out, an instance that dies) makes the limit a little
 * looser, never tighter. Attempts that run at several instances at the same moment do not see each
 * other; their failures make debt at all of them, so the average holds. */
#include "services/auth/rate_limits.h"

#include "common/contract.h"
#include "common/list.h"
#include "common/map.h"
#include "common/mem.h"
#include <pthread.h>
#include <sodium.h>
#include <string.h>

#define MICRO 1000000
#define WINDOW_US ((uint64_t)RATE_LIMITS_WINDOW_S * MICRO)

struct bucket {
    struct map_node node;
    struct list_node used;   /* longest silent first */
    struct list_node untold; /* linked while `failures` is not 0 */
    int64_t micro_tokens;    /* below 0: debt */
    uint64_t updated_us;
    uint32_t failures; /* not yet told to others */
    enum rate_scope scope;
    uint8_t key[RATE_KEY_BYTES];
};
struct rate_limits {
    pthread_mutex_t lock; /* guards all below */
    struct rate_limits_config config;
    struct map buckets;
    struct list by_use, untold;
};

static bool match(const struct map_node *node, const void *key, size_t key_bytes) {
    const struct bucket *bucket = CONTAINER_OF(node, struct bucket, node);
    return memcmp(bucket->key, key, key_bytes) == 0; /* all keys are as long */
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
    list_init(&limits->untold);
    CONTRACT(pthread_mutex_init(&limits->lock, NULL) == 0);
    *out = limits;
    return ERR_OK;
}

static void forget_oldest(struct rate_limits *limits) {
    struct bucket *oldest = CONTAINER_OF(list_pop_front(&limits->by_use), struct bucket, used);
    map_remove(&limits->buckets, &oldest->node);
    if (list_node_linked(&oldest->untold)) {
        list_remove(&limits->untold, &oldest->untold);
    }
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

static uint32_t quota_of(const struct rate_limits *limits, enum rate_scope scope) {
    return scope == RATE_ADDRESS ? limits->config.per_address : limits->config.per_user;
}

static void refill(struct bucket *bucket, uint32_t quota, uint64_t now_us) {
    int64_t full = (int64_t)quota * MICRO;
    uint64_t elapsed_us = now_us > bucket->updated_us ? now_us - bucket->updated_us : 0;
    bool long_ago = elapsed_us >= (RATE_LIMITS_DEBT_WINDOWS + 1) * WINDOW_US; /* debt and quota */
    uint64_t gained = long_ago ? 0 : elapsed_us * quota / RATE_LIMITS_WINDOW_S;
    if (long_ago || (int64_t)gained >= full - bucket->micro_tokens) {
        bucket->micro_tokens = full;
        bucket->updated_us = now_us > bucket->updated_us ? now_us : bucket->updated_us;
    } else {
        /* Only the time that became tokens is used up, or frequent calls would gain nothing. */
        bucket->micro_tokens += (int64_t)gained;
        bucket->updated_us += (gained * RATE_LIMITS_WINDOW_S + quota - 1) / quota;
    }
}

/* user "": the address's own bucket. Length first, so that no two pairs read alike. */
static void make_key(uint8_t key[RATE_KEY_BYTES], const char *address, const char *user) {
    crypto_generichash_state state;
    uint64_t address_bytes = strlen(address);
    (void)crypto_generichash_init(&state, NULL, 0, RATE_KEY_BYTES); /* 0 with these sizes */
    (void)crypto_generichash_update(&state, (const uint8_t *)&address_bytes, sizeof address_bytes);
    (void)crypto_generichash_update(&state, (const uint8_t *)address, address_bytes);
    (void)crypto_generichash_update(&state, (const uint8_t *)user, strlen(user));
    (void)crypto_generichash_final(&state, key, RATE_KEY_BYTES);
}

static struct bucket *make_bucket(struct rate_limits *limits, enum rate_scope scope,
                                  const uint8_t key[RATE_KEY_BYTES], uint64_t now_us) {
    struct bucket *bucket = mem_zalloc(1, sizeof *bucket);
    if (bucket == NULL) {
        return NULL;
    }
    if (limits->buckets.count >= limits->config.entries_max) {
        forget_oldest(limits);
    }
    memcpy(bucket->key, key, RATE_KEY_BYTES);
    bucket->scope = scope;
    bucket->micro_tokens = (int64_t)quota_of(limits, scope) * MICRO;
    bucket->updated_us = now_us;
    map_insert(&limits->buckets, &bucket->node, key, RATE_KEY_BYTES);
    return bucket;
}

static struct bucket *find(const struct rate_limits *limits, const uint8_t key[RATE_KEY_BYTES]) {
    struct map_node *node = map_find(&limits->buckets, key, RATE_KEY_BYTES);
    return node != NULL ? CONTAINER_OF(node, struct bucket, node) : NULL;
}

/* The bucket, refilled and marked as used; a new one when `make`; NULL. */
static struct bucket *use(struct rate_limits *limits, enum rate_scope scope,
                          const uint8_t key[RATE_KEY_BYTES], uint64_t now_us, bool make) {
    struct bucket *bucket = find(limits, key);
    if (bucket != NULL) {
        list_remove(&limits->by_use, &bucket->used);
    } else if (make) {
        bucket = make_bucket(limits, scope, key, now_us);
    }
    if (bucket != NULL) {
        list_push_back(&limits->by_use, &bucket->used);
        refill(bucket, quota_of(limits, bucket->scope), now_us);
    }
    return bucket;
}

static bool has_one(const struct rate_limits *limits, const struct bucket *bucket,
                    struct rate_refusal *refusal) {
    if (bucket == NULL || bucket->micro_tokens >= MICRO) {
        return true;
    }
    uint32_t quota = quota_of(limits, bucket->scope);
    uint64_t missing = (uint64_t)(MICRO - bucket->micro_tokens);
    uint64_t wait_us = (missing * RATE_LIMITS_WINDOW_S + quota - 1) / quota;
    *refusal =
        (struct rate_refusal){.bucket = bucket->scope == RATE_ADDRESS ? "login_address" : "login",
                              .quota = quota,
                              .retry_ms = (uint32_t)(wait_us / 1000 + 1)};
    return false;
}

/* --- attempts here */

/* Both buckets of an attempt; own is NULL without a user. */
struct pair {
    struct bucket *all, *own;
};

static struct pair use_pair(struct rate_limits *limits, const char *address, const char *user,
                            uint64_t now_us, bool make) {
    uint8_t key[RATE_KEY_BYTES];
    struct pair pair = {NULL, NULL};
    make_key(key, address, "");
    pair.all = use(limits, RATE_ADDRESS, key, now_us, make);
    if (user[0] != '\0') {
        make_key(key, address, user); /* entries_max >= 2: this pushes another one out */
        pair.own = use(limits, RATE_LOGIN, key, now_us, make);
    }
    return pair;
}

static void take(struct bucket *bucket) {
    if (bucket != NULL) {
        bucket->micro_tokens -= MICRO;
    }
}

bool rate_limits_take(struct rate_limits *limits, const char *address, const char *user,
                      uint64_t now_us, struct rate_refusal *refusal) {
    CONTRACT(pthread_mutex_lock(&limits->lock) == 0);
    struct pair pair = use_pair(limits, address, user, now_us, true);
    bool allowed = has_one(limits, pair.all, refusal) && has_one(limits, pair.own, refusal);
    if (allowed) {
        take(pair.all);
        take(pair.own);
    }
    CONTRACT(pthread_mutex_unlock(&limits->lock) == 0);
    return allowed;
}

static void give(const struct rate_limits *limits, struct bucket *bucket) {
    if (bucket != NULL) {
        int64_t full = (int64_t)quota_of(limits, bucket->scope) * MICRO;
        bucket->micro_tokens =
            full - bucket->micro_tokens > MICRO ? bucket->micro_tokens + MICRO : full;
    }
}

void rate_limits_give_back(struct rate_limits *limits, const char *address, const char *user,
                           uint64_t now_us) {
    CONTRACT(pthread_mutex_lock(&limits->lock) == 0);
    struct pair pair = use_pair(limits, address, user, now_us, false);
    give(limits, pair.all);
    give(limits, pair.own);
    CONTRACT(pthread_mutex_unlock(&limits->lock) == 0);
}

/* A bucket that was pushed out meanwhile has nothing to tell. */
static void count_failure(struct rate_limits *limits, const char *address, const char *user) {
    uint8_t key[RATE_KEY_BYTES];
    make_key(key, address, user);
    struct bucket *bucket = find(limits, key);
    if (bucket == NULL || bucket->failures == UINT32_MAX) {
        return;
    }
    bucket->failures++;
    if (!list_node_linked(&bucket->untold)) {
        list_push_back(&limits->untold, &bucket->untold);
    }
}

void rate_limits_failed(struct rate_limits *limits, const char *address, const char *user) {
    CONTRACT(pthread_mutex_lock(&limits->lock) == 0);
    count_failure(limits, address, "");
    if (user[0] != '\0') {
        count_failure(limits, address, user);
    }
    CONTRACT(pthread_mutex_unlock(&limits->lock) == 0);
}

size_t rate_limits_count(struct rate_limits *limits) {
    CONTRACT(pthread_mutex_lock(&limits->lock) == 0);
    size_t count = limits->buckets.count;
    CONTRACT(pthread_mutex_unlock(&limits->lock) == 0);
    return count;
}

/* --- other instances */

size_t rate_limits_untold(struct rate_limits *limits, struct rate_count *counts, size_t max) {
    size_t used = 0;
    CONTRACT(pthread_mutex_lock(&limits->lock) == 0);
    while (used < max && list_first(&limits->untold) != NULL) {
        struct list_node *node = list_pop_front(&limits->untold);
        struct bucket *bucket = CONTAINER_OF(node, struct bucket, untold);
        counts[used].scope = bucket->scope;
        counts[used].count = bucket->failures;
        memcpy(counts[used].key, bucket->key, RATE_KEY_BYTES);
        bucket->failures = 0;
        used++;
    }
    CONTRACT(pthread_mutex_unlock(&limits->lock) == 0);
    return used;
}

void rate_limits_add(struct rate_limits *limits, const struct rate_count *count, uint64_t now_us) {
    CONTRACT(pthread_mutex_lock(&limits->lock) == 0);
    struct bucket *bucket = use(limits, count->scope, count->key, now_us, true);
    if (bucket != NULL) {
        int64_t full = (int64_t)quota_of(limits, bucket->scope) * MICRO;
        int64_t lowest = -(int64_t)RATE_LIMITS_DEBT_WINDOWS * full;
        int64_t left = bucket->micro_tokens - (int64_t)count->count * MICRO;
        bucket->micro_tokens = left < lowest ? lowest : left;
    }
    CONTRACT(pthread_mutex_unlock(&limits->lock) == 0);
}
