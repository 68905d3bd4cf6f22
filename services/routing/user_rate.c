/* user_rate: one account must not take the whole system, whichever protocol, device or connection
 * instance it uses; only routing sees all of a user's messages to a conversation's owner. Entries
 * come from one block sized by configuration; the least recently used one is recycled, so the table
 * never refuses and never grows. With several routing instances a user who writes to many
 * conversations has a bucket at each of them: the limit is per instance, by design. */
#include "services/routing/user_rate.h"

#include "common/contract.h"
#include "common/list.h"
#include "common/map.h"
#include "common/mem.h"
#include "common/rate.h"
#include "proto/limits.h"
#include <string.h>

struct user_rate {
    struct map_node node;
    struct list_node used; /* least recently used first */
    struct rate_bucket bucket;
    char user[LIMIT_USER_ID_BYTES + 1];
};
struct user_rates {
    struct map map;
    struct list used;
    uint32_t per_second, burst;
    size_t count_max, count;
    struct user_rate entries[];
};

static bool match_user(const struct map_node *node, const void *key, size_t key_bytes) {
    const struct user_rate *rate = CONTAINER_OF(node, struct user_rate, node);
    return strlen(rate->user) == key_bytes && memcmp(rate->user, key, key_bytes) == 0;
}

enum err user_rates_create(size_t users_max, uint32_t per_second, uint32_t burst,
                           struct user_rates **out) {
    CONTRACT(users_max > 0);
    struct user_rates *rates = mem_zalloc(1, sizeof *rates + users_max * sizeof(struct user_rate));
    if (rates == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = map_init(&rates->map, users_max / 4 + 1, match_user);
    if (error != ERR_OK) {
        mem_free(rates);
        return error;
    }
    list_init(&rates->used);
    rates->per_second = per_second;
    rates->burst = burst;
    rates->count_max = users_max;
    *out = rates;
    return ERR_OK;
}

void user_rates_destroy(struct user_rates **rates) {
    if (*rates != NULL) {
        map_finish(&(*rates)->map);
        mem_free(*rates);
        *rates = NULL;
    }
}

static struct user_rate *add_user(struct user_rates *rates, const char *user, size_t bytes,
                                  uint64_t now_us) {
    struct user_rate *rate = NULL;
    if (rates->count < rates->count_max) {
        rate = &rates->entries[rates->count++];
    } else {
        rate = CONTAINER_OF(list_pop_front(&rates->used), struct user_rate, used);
        map_remove(&rates->map, &rate->node);
    }
    memcpy(rate->user, user, bytes);
    rate->user[bytes] = '\0';
    rate_init(&rate->bucket, rates->burst, now_us);
    map_insert(&rates->map, &rate->node, user, bytes);
    return rate;
}

uint32_t user_rates_take(struct user_rates *rates, const char *user, uint64_t now_us) {
    if (rates->per_second == 0) {
        return 0;
    }
    size_t bytes = strlen(user);
    CONTRACT(bytes <= LIMIT_USER_ID_BYTES);
    struct map_node *node = map_find(&rates->map, user, bytes);
    struct user_rate *rate = NULL;
    if (node != NULL) {
        rate = CONTAINER_OF(node, struct user_rate, node);
        list_remove(&rates->used, &rate->used);
    } else {
        rate = add_user(rates, user, bytes, now_us);
    }
    list_push_back(&rates->used, &rate->used);
    uint64_t wait_us = rate_take(&rate->bucket, rates->per_second, rates->burst, now_us);
    uint64_t wait_ms = wait_us / 1000u + (wait_us % 1000u != 0 ? 1 : 0);
    return wait_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)wait_ms;
}
