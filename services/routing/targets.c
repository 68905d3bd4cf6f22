/* targets: a direct-mapped table. Reactions come in flocks on the newest messages, edits mostly hit
 * the sender's last one, so remembering what was just stored and just looked up answers nearly all
 * of them without a round trip. Conversation and sender are kept as keyed 64-bit hashes (nobody can
 * aim for a collision); a slot is simply overwritten by the next message that maps to it. What is
 * missing here costs one look-up (lookup.c), never a wrong answer. */
#include "services/routing/targets.h"

#include "common/contract.h"
#include "common/map.h"
#include "common/mem.h"
#include <string.h>

struct target {
    uint64_t conversation, sender; /* hashes */
    uint64_t seq;                  /* 0 = empty */
    Pipit__MessageKind kind;
};
struct targets {
    size_t count_max;
    struct target slots[];
};

enum err targets_create(size_t count_max, struct targets **out) {
    CONTRACT(count_max > 0);
    struct targets *targets = mem_zalloc(1, sizeof *targets + count_max * sizeof(struct target));
    if (targets == NULL) {
        return ERR_NO_MEMORY;
    }
    targets->count_max = count_max;
    *out = targets;
    return ERR_OK;
}

void targets_destroy(struct targets **targets) {
    mem_free(*targets);
    *targets = NULL;
}

static size_t slot_of(const struct targets *targets, uint64_t conversation, uint64_t seq) {
    return (size_t)((conversation + seq) % targets->count_max);
}

void targets_add(struct targets *targets, const char *conversation, uint64_t seq,
                 const char *sender, Pipit__MessageKind kind) {
    uint64_t hash = map_hash(conversation, strlen(conversation));
    targets->slots[slot_of(targets, hash, seq)] = (struct target){
        .conversation = hash, .sender = map_hash(sender, strlen(sender)), .seq = seq, .kind = kind};
}

bool targets_find(const struct targets *targets, const char *conversation, uint64_t seq,
                  const char *user, bool *is_own, Pipit__MessageKind *kind) {
    uint64_t hash = map_hash(conversation, strlen(conversation));
    const struct target *target = &targets->slots[slot_of(targets, hash, seq)];
    if (seq == 0 || target->seq != seq || target->conversation != hash) {
        return false;
    }
    *is_own = target->sender == map_hash(user, strlen(user));
    *kind = target->kind;
    return true;
}
