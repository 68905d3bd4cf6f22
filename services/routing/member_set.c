/* member_set: who may write to and read from a conversation, kept for each cached conversation.
 *
 * Tens of thousands of small sets are in memory at once and are read for every message, but change
 * rarely. So a set is one heap block (entries, then their texts), sorted, never changed: a change
 * merges the old entries with the new ones into another block. The merge sorts both together and
 * keeps the newest entry of a user, which is also how a set is made from storage's list. A failed
 * allocation leaves the old set in force; the caller then marks the conversation stale. */
#include "services/routing/member_set.h"

#include "common/mem.h"
#include <stdlib.h>
#include <string.h>

struct source {
    struct member_entry entry;
    size_t order; /* later sources win */
    bool left;
};

static int compare_sources(const void *left, const void *right) {
    const struct source *a = left;
    const struct source *b = right;
    int by_user = strcmp(a->entry.user, b->entry.user);
    if (by_user != 0) {
        return by_user;
    }
    return a->order < b->order ? -1 : a->order > b->order;
}

/* Sorts, keeps the last of each user that has not left; returns how many remain in front. */
static size_t reduce(struct source *sources, size_t count) {
    qsort(sources, count, sizeof *sources, compare_sources);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        bool last = i + 1 == count || strcmp(sources[i].entry.user, sources[i + 1].entry.user) != 0;
        if (last && !sources[i].left) {
            sources[kept++] = sources[i];
        }
    }
    return kept;
}

static struct member_set *build(const struct source *sources, size_t count) {
    size_t text_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        text_bytes += strlen(sources[i].entry.user) + 1;
    }
    struct member_set *set =
        mem_alloc(sizeof *set + count * sizeof(struct member_entry) + text_bytes);
    if (set == NULL) {
        return NULL;
    }
    set->count = count;
    set->any_blocked = false;
    char *text = (char *)(set->entries + count);
    for (size_t i = 0; i < count; i++) {
        size_t bytes = strlen(sources[i].entry.user) + 1;
        memcpy(text, sources[i].entry.user, bytes);
        set->entries[i] = sources[i].entry;
        set->entries[i].user = text;
        set->any_blocked |= sources[i].entry.state == PIPIT__MEMBER_STATE__MEMBER_BLOCKED;
        text += bytes;
    }
    return set;
}

enum err member_set_change(const struct member_set *old, Pipit__Member *const *changed,
                           size_t changed_count, struct member_set **out) {
    size_t old_count = old != NULL ? old->count : 0;
    struct source *sources = mem_zalloc(old_count + changed_count + 1, sizeof *sources);
    if (sources == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < old_count; i++) {
        sources[i] = (struct source){.entry = old->entries[i], .order = i};
    }
    for (size_t i = 0; i < changed_count; i++) {
        const Pipit__Member *member = changed[i];
        sources[old_count + i] = (struct source){
            .entry = {.user = member->user,
                      .joined_seq = member->joined_seq,
                      .role = member->role,
                      .state = member->state},
            .order = old_count + i,
            .left = member->state != PIPIT__MEMBER_STATE__MEMBER_ACTIVE &&
                    member->state != PIPIT__MEMBER_STATE__MEMBER_BLOCKED,
        };
    }
    size_t kept = reduce(sources, old_count + changed_count);
    struct member_set *set = build(sources, kept);
    mem_free(sources);
    if (set == NULL) {
        return ERR_NO_MEMORY;
    }
    *out = set;
    return ERR_OK;
}

void member_set_destroy(struct member_set **set) {
    mem_free(*set);
    *set = NULL;
}

const struct member_entry *member_set_find(const struct member_set *set, const char *user) {
    size_t low = 0;
    size_t high = set != NULL ? set->count : 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(user, set->entries[middle].user);
        if (order == 0) {
            return &set->entries[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

static enum err put_changed(struct arena *arena, const struct member_entry *entry, bool left,
                            Pipit__Member **changed, size_t *count) {
    Pipit__Member *member = arena_alloc(arena, sizeof *member);
    if (member == NULL) {
        return ERR_NO_MEMORY;
    }
    pipit__member__init(member);
    member->user = (char *)entry->user;
    member->role = entry->role;
    member->state = left ? PIPIT__MEMBER_STATE__MEMBER_LEFT : entry->state;
    member->joined_seq = entry->joined_seq;
    changed[(*count)++] = member;
    return ERR_OK;
}

static bool same_entry(const struct member_entry *a, const struct member_entry *b) {
    return a->role == b->role && a->state == b->state && a->joined_seq == b->joined_seq;
}

enum err member_set_diff(const struct member_set *before, const struct member_set *after,
                         struct arena *arena, Pipit__Member ***changed, size_t *count) {
    size_t before_count = before != NULL ? before->count : 0;
    size_t after_count = after != NULL ? after->count : 0;
    Pipit__Member **members =
        arena_alloc(arena, (before_count + after_count + 1) * sizeof *members);
    if (members == NULL) {
        return ERR_NO_MEMORY;
    }
    size_t found = 0;
    enum err error = ERR_OK;
    for (size_t i = 0; i < before_count && error == ERR_OK; i++) {
        if (member_set_find(after, before->entries[i].user) == NULL) {
            error = put_changed(arena, &before->entries[i], true, members, &found);
        }
    }
    for (size_t i = 0; i < after_count && error == ERR_OK; i++) {
        const struct member_entry *old = member_set_find(before, after->entries[i].user);
        if (old == NULL || !same_entry(old, &after->entries[i])) {
            error = put_changed(arena, &after->entries[i], false, members, &found);
        }
    }
    if (error == ERR_OK) {
        *changed = members;
        *count = found;
    }
    return error;
}
