/* member_set: the members of one conversation as one immutable, sorted block: a look-up is a binary
 * search, a change makes a new set. Only active and blocked members are kept. */
#ifndef PIPIT_ROUTING_MEMBER_SET_H
#define PIPIT_ROUTING_MEMBER_SET_H

#include "common/arena.h"
#include "proto/message.pb-c.h"

struct member_entry {
    const char *user; /* inside the set's block */
    uint64_t joined_seq;
    Pipit__MemberRole role;
    Pipit__MemberState state; /* active or blocked */
};
struct member_set {
    size_t count;
    bool any_blocked;
    struct member_entry entries[]; /* ascending by user; their texts follow */
};

/* A new set: `old` (NULL = empty) with each changed member replaced; members that left are dropped.
 * Of one user's several entries the last counts. Both inputs are borrowed. ERR_NO_MEMORY. */
enum err member_set_change(const struct member_set *old, Pipit__Member *const *changed,
                           size_t changed_count, struct member_set **out) MUST_CHECK;
void member_set_destroy(struct member_set **set);
/* NULL when the user is no member. set may be NULL. */
const struct member_entry *member_set_find(const struct member_set *set, const char *user);
/* What turns `before` into `after`, as members of a MembersChanged in the arena (texts borrowed
 * from the sets): users only in `before` have left. ERR_NO_MEMORY. Both may be NULL. */
enum err member_set_diff(const struct member_set *before, const struct member_set *after,
                         struct arena *arena, Pipit__Member ***changed, size_t *count) MUST_CHECK;

#endif
