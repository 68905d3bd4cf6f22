/* recent: a ring of ids with a hash map over it.
 *
 * One ring for all conversations instead of one each: the bound is one number, a busy conversation
 * gets as much of it as it needs, and 65,536 cached conversations cost nothing here. Conversation
 * and sender are kept as one keyed 64-bit hash: peers cannot aim for a collision, and an accidental
 * one (2^-64) would answer a foreign seq only to someone who also guessed the 128-bit id. */
#include "services/routing/recent.h"

#include "common/contract.h"
#include "common/map.h"
#include "common/mem.h"
#include "proto/limits.h"
#include <string.h>

struct recent_id {
    struct map_node node;
    uint8_t id[ID_UUID_BYTES];
    uint64_t owner; /* hash of conversation and sender */
    uint64_t seq, ts_ms;
};
struct recent_ids {
    struct map map;
    size_t count_max, count, next; /* next = the oldest once the ring is full */
    struct recent_id ring[];
};

static bool match_id(const struct map_node *node, const void *key, size_t key_bytes) {
    return memcmp(CONTAINER_OF(node, struct recent_id, node)->id, key, key_bytes) == 0;
}

static uint64_t owner_of(const char *conversation, const char *sender) {
    char text[LIMIT_CONVERSATION_ID_BYTES + LIMIT_USER_ID_BYTES + 2];
    size_t first = strnlen(conversation, LIMIT_CONVERSATION_ID_BYTES);
    size_t second = strnlen(sender, LIMIT_USER_ID_BYTES);
    memcpy(text, conversation, first);
    text[first] = '\n';
    memcpy(text + first + 1, sender, second);
    return map_hash(text, first + 1 + second);
}

enum err recent_ids_create(size_t ids_max, struct recent_ids **out) {
    CONTRACT(ids_max > 0);
    struct recent_ids *ids = mem_zalloc(1, sizeof *ids + ids_max * sizeof(struct recent_id));
    if (ids == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = map_init(&ids->map, ids_max, match_id);
    if (error != ERR_OK) {
        mem_free(ids);
        return error;
    }
    ids->count_max = ids_max;
    *out = ids;
    return ERR_OK;
}

void recent_ids_destroy(struct recent_ids **ids) {
    if (*ids != NULL) {
        map_finish(&(*ids)->map);
        mem_free(*ids);
        *ids = NULL;
    }
}

void recent_ids_add(struct recent_ids *ids, const uint8_t id[ID_UUID_BYTES],
                    const char *conversation, const char *sender, uint64_t seq, uint64_t ts_ms) {
    if (map_find(&ids->map, id, ID_UUID_BYTES) != NULL) {
        return;
    }
    struct recent_id *slot = &ids->ring[ids->next];
    if (ids->count == ids->count_max) {
        map_remove(&ids->map, &slot->node);
    } else {
        ids->count++;
    }
    ids->next = (ids->next + 1) % ids->count_max;
    memcpy(slot->id, id, ID_UUID_BYTES);
    slot->owner = owner_of(conversation, sender);
    slot->seq = seq;
    slot->ts_ms = ts_ms;
    map_insert(&ids->map, &slot->node, id, ID_UUID_BYTES);
}

bool recent_ids_find(const struct recent_ids *ids, const uint8_t id[ID_UUID_BYTES],
                     const char *conversation, const char *sender, uint64_t *seq, uint64_t *ts_ms) {
    const struct map_node *node = map_find(&ids->map, id, ID_UUID_BYTES);
    if (node == NULL) {
        return false;
    }
    const struct recent_id *known = CONTAINER_OF(node, struct recent_id, node);
    if (known->owner != owner_of(conversation, sender)) {
        return false;
    }
    *seq = known->seq;
    *ts_ms = known->ts_ms;
    return true;
}
