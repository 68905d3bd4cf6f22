/* revocations: user -> the few rules that hold for them.
 *
 * A rule says: tokens of this device (or of all, or of all but one) issued before a moment are
 * dead. The same rule told again (by each auth instance, by snapshots) only moves its times
 * forward. All rules are kept in one list in order of arrival, which is nearly the order in which
 * they end, so pruning looks at the front.
 *
 * A revocation must not be forgotten because a table is full. The floor takes its place: a time
 * before which no token of anybody is good. Users of living tokens refresh and go on; that is the
 * price of the last resort, and it is counted. */
#include "services/connection/revocations.h"

#include "common/mem.h"
#include <string.h>

struct rule {
    struct list_node age_node, user_node;
    struct revoked_user *user;
    uint64_t before_ms, until_ms;
    bool disabled;
    char device[TOKEN_DEVICE_BYTES], except_device[TOKEN_DEVICE_BYTES];
};
struct revoked_user {
    struct map_node node;
    struct list rules;
    char id[TOKEN_USER_BYTES];
};
struct hub_revocations {
    struct map users;
    struct hub_pool rule_pool, user_pool;
    struct list rules;
    uint64_t floor_ms;
};

static bool match_user(const struct map_node *node, const void *key, size_t key_bytes) {
    const struct revoked_user *user = CONTAINER_OF(node, struct revoked_user, node);
    return strlen(user->id) == key_bytes && memcmp(user->id, key, key_bytes) == 0;
}

enum err hub_revocations_create(size_t count_max, struct hub_revocations **out) {
    struct hub_revocations *revocations = mem_zalloc(1, sizeof *revocations);
    if (revocations == NULL) {
        return ERR_NO_MEMORY;
    }
    hub_pool_init(&revocations->rule_pool, sizeof(struct rule), count_max);
    hub_pool_init(&revocations->user_pool, sizeof(struct revoked_user), count_max);
    list_init(&revocations->rules);
    enum err error = map_init(&revocations->users, 16, match_user);
    if (error != ERR_OK) {
        mem_free(revocations);
        return error;
    }
    *out = revocations;
    return ERR_OK;
}

void hub_revocations_destroy(struct hub_revocations **revocations) {
    if (*revocations != NULL) {
        map_finish(&(*revocations)->users);
        hub_pool_finish(&(*revocations)->rule_pool);
        hub_pool_finish(&(*revocations)->user_pool);
        mem_free(*revocations);
        *revocations = NULL;
    }
}

static struct revoked_user *find_user(const struct hub_revocations *revocations, const char *id) {
    struct map_node *node = map_find(&revocations->users, id, strlen(id));
    return node != NULL ? CONTAINER_OF(node, struct revoked_user, node) : NULL;
}

static void drop(struct hub_revocations *revocations, struct rule *rule) {
    struct revoked_user *user = rule->user;
    list_remove(&revocations->rules, &rule->age_node);
    list_remove(&user->rules, &rule->user_node);
    hub_pool_give(&revocations->rule_pool, rule);
    if (user->rules.count == 0) {
        map_remove(&revocations->users, &user->node);
        hub_pool_give(&revocations->user_pool, user);
    }
}

static struct rule *find_rule(const struct revoked_user *user,
                              const Pipit__Revocation *revocation) {
    for (struct list_node *node = list_first(&user->rules); node != NULL;
         node = list_next(&user->rules, node)) {
        struct rule *rule = CONTAINER_OF(node, struct rule, user_node);
        if (strcmp(rule->device, revocation->device) == 0 &&
            strcmp(rule->except_device, revocation->except_device) == 0) {
            return rule;
        }
    }
    return NULL;
}

static struct revoked_user *make_user(struct hub_revocations *revocations, const char *id) {
    struct revoked_user *user = hub_pool_take(&revocations->user_pool);
    if (user != NULL) {
        memcpy(user->id, id, strlen(id) + 1);
        list_init(&user->rules);
        map_insert(&revocations->users, &user->node, user->id, strlen(user->id));
    }
    return user;
}

static struct rule *make_rule(struct hub_revocations *revocations,
                              const Pipit__Revocation *revocation) {
    struct rule *rule = hub_pool_take(&revocations->rule_pool);
    if (rule == NULL) {
        return NULL;
    }
    struct revoked_user *user = find_user(revocations, revocation->user);
    if (user == NULL && (user = make_user(revocations, revocation->user)) == NULL) {
        hub_pool_give(&revocations->rule_pool, rule);
        return NULL;
    }
    rule->user = user;
    memcpy(rule->device, revocation->device, strlen(revocation->device) + 1);
    memcpy(rule->except_device, revocation->except_device, strlen(revocation->except_device) + 1);
    list_push_back(&revocations->rules, &rule->age_node);
    list_push_back(&user->rules, &rule->user_node);
    return rule;
}

void hub_revocations_add(struct hub_revocations *revocations, const Pipit__Revocation *revocation,
                         uint64_t now_ms) {
    if (revocation->until_ms <= now_ms || revocation->user[0] == '\0' ||
        strlen(revocation->user) >= TOKEN_USER_BYTES ||
        strlen(revocation->device) >= TOKEN_DEVICE_BYTES ||
        strlen(revocation->except_device) >= TOKEN_DEVICE_BYTES) {
        return;
    }
    struct revoked_user *user = find_user(revocations, revocation->user);
    struct rule *rule = user != NULL ? find_rule(user, revocation) : NULL;
    if (rule == NULL) {
        hub_revocations_prune(revocations, now_ms);
        rule = make_rule(revocations, revocation);
    }
    if (rule == NULL) {
        hub_metrics_limit(HUB_LIMIT_REVOCATIONS);
        if (revocation->before_ms > revocations->floor_ms) {
            revocations->floor_ms = revocation->before_ms;
        }
        return;
    }
    if (revocation->before_ms >= rule->before_ms) {
        rule->before_ms = revocation->before_ms;
        rule->disabled = revocation->disabled;
    }
    if (revocation->until_ms > rule->until_ms) {
        rule->until_ms = revocation->until_ms;
    }
}

enum reason hub_revocations_check(const struct hub_revocations *revocations, const char *user_id,
                                  const char *device, uint64_t issued_ms) {
    enum reason reason = issued_ms < revocations->floor_ms ? REASON_TOKEN_REVOKED : REASON_OK;
    const struct revoked_user *user = find_user(revocations, user_id);
    if (user == NULL) {
        return reason;
    }
    for (struct list_node *node = list_first(&user->rules); node != NULL;
         node = list_next(&user->rules, node)) {
        const struct rule *rule = CONTAINER_OF(node, struct rule, user_node);
        bool device_meant = rule->device[0] != '\0' ? strcmp(rule->device, device) == 0
                                                    : rule->except_device[0] == '\0' ||
                                                          strcmp(rule->except_device, device) != 0;
        if (!device_meant || issued_ms >= rule->before_ms) {
            continue;
        }
        if (rule->disabled) {
            return REASON_DISABLED;
        }
        reason = REASON_TOKEN_REVOKED;
    }
    return reason;
}

void hub_revocations_prune(struct hub_revocations *revocations, uint64_t now_ms) {
    struct list_node *node = list_first(&revocations->rules);
    while (node != NULL) {
        struct list_node *next = list_next(&revocations->rules, node);
        struct rule *rule = CONTAINER_OF(node, struct rule, age_node);
        if (rule->until_ms > now_ms) {
            break; /* later ones end later, by seconds more or less */
        }
        drop(revocations, rule);
        node = next;
    }
}

size_t hub_revocations_count(const struct hub_revocations *revocations) {
    return revocations->rules.count;
}
