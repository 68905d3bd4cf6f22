/* membership: the rules, one function per action.
 *
 * Each action first checks the actor's right, then changes rows and marks them; an error half-way
 * leaves marked rows behind, which the caller throws away with the whole change. Repeating a change
 * finds nothing to do, marks nothing and succeeds, so an unknown outcome may be repeated; the one
 * exception is giving ownership away, since the former owner has no longer the right to. */
#include "services/storage/membership.h"

#include <string.h>

#define ACTIVE PIPIT__MEMBER_STATE__MEMBER_ACTIVE
#define LEFT PIPIT__MEMBER_STATE__MEMBER_LEFT
#define OWNER PIPIT__MEMBER_ROLE__ROLE_OWNER
#define ADMIN PIPIT__MEMBER_ROLE__ROLE_ADMIN
#define MEMBER PIPIT__MEMBER_ROLE__ROLE_MEMBER

static struct membership_row *find(struct membership *membership, const char *user) {
    for (size_t i = 0; i < membership->count; i++) {
        if (strcmp(membership->rows[i].member->user, user) == 0) {
            return &membership->rows[i];
        }
    }
    return NULL;
}

static size_t active_count(const struct membership *membership) {
    size_t count = 0;
    for (size_t i = 0; i < membership->count; i++) {
        count += membership->rows[i].member->state == ACTIVE;
    }
    return count;
}

static void leave(struct membership_row *row) {
    row->member->state = LEFT;
    row->member->role = MEMBER;
    row->changed = true;
}

static void set_role(struct membership_row *row, Pipit__MemberRole role) {
    if (row->member->role != role) {
        row->member->role = role;
        row->changed = true;
    }
}

static enum err add_user(struct membership *membership, char *user, struct arena *arena) {
    struct membership_row *row = find(membership, user);
    if (row != NULL && row->member->state == ACTIVE) {
        return ERR_OK;
    }
    if (row == NULL) {
        Pipit__Member *member = arena_alloc(arena, sizeof(*member));
        if (member == NULL) {
            return ERR_NO_MEMORY;
        }
        pipit__member__init(member);
        member->user = user;
        row = &membership->rows[membership->count++];
        *row = (struct membership_row){.member = member};
    }
    row->member->state = ACTIVE;
    row->member->role = MEMBER;
    row->member->joined_seq = membership->head;
    row->changed = true;
    row->joined = true;
    return ERR_OK;
}

static enum err add(struct membership *membership, const Pipit__MembersChange *change,
                    const struct membership_row *actor, struct arena *arena) {
    if (actor->member->role == MEMBER) {
        return ERR_DENIED;
    }
    for (size_t i = 0; i < change->n_users; i++) {
        enum err error = add_user(membership, change->users[i], arena);
        if (error != ERR_OK) {
            return error;
        }
    }
    return active_count(membership) > membership->members_max ? ERR_FULL : ERR_OK;
}

/* The owner is gone: the longest-standing admin follows, else the longest-standing member. */
static void pass_ownership(struct membership *membership) {
    struct membership_row *heir = NULL;
    for (size_t i = 0; i < membership->count; i++) {
        struct membership_row *row = &membership->rows[i];
        if (row->member->state != ACTIVE) {
            continue;
        }
        if (heir == NULL || (row->member->role == ADMIN && heir->member->role != ADMIN)) {
            heir = row;
        }
    }
    if (heir != NULL) {
        set_role(heir, OWNER);
    }
}

static enum err remove_other(struct membership *membership, const char *user,
                             const struct membership_row *actor) {
    struct membership_row *row = find(membership, user);
    if (row == NULL) {
        return ERR_NOT_FOUND;
    }
    if (row->member->state != ACTIVE) {
        return actor->member->role == MEMBER ? ERR_DENIED : ERR_OK;
    }
    bool allowed = actor->member->role == OWNER ||
                   (actor->member->role == ADMIN && row->member->role == MEMBER);
    if (!allowed) {
        return ERR_DENIED;
    }
    leave(row);
    return ERR_OK;
}

static enum err remove_users(struct membership *membership, const Pipit__MembersChange *change,
                             struct membership_row *actor) {
    bool leaves = false;
    for (size_t i = 0; i < change->n_users; i++) {
        if (strcmp(change->users[i], change->actor) == 0) {
            leaves = true; /* last, so that the actor still has the rights for the others */
            continue;
        }
        enum err error = remove_other(membership, change->users[i], actor);
        if (error != ERR_OK) {
            return error;
        }
    }
    if (leaves) {
        bool owner = actor->member->role == OWNER;
        leave(actor);
        if (owner) {
            pass_ownership(membership);
        }
    }
    return ERR_OK;
}

static enum err set_roles(struct membership *membership, const Pipit__MembersChange *change,
                          struct membership_row *actor) {
    if (actor->member->role != OWNER) {
        return ERR_DENIED;
    }
    if (change->role > OWNER || change->role < MEMBER || change->n_users == 0 ||
        (change->role == OWNER && change->n_users != 1)) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < change->n_users; i++) {
        struct membership_row *row = find(membership, change->users[i]);
        if (row == NULL || row->member->state != ACTIVE) {
            return ERR_NOT_FOUND;
        }
        if (row == actor && change->role != OWNER) {
            return ERR_DENIED; /* the group would have no owner: give it away instead */
        }
        set_role(row, change->role);
        if (change->role == OWNER && row != actor) {
            set_role(actor, ADMIN);
        }
    }
    return ERR_OK;
}

static enum err set_muted(const Pipit__MembersChange *change, struct membership_row *actor) {
    for (size_t i = 0; i < change->n_users; i++) {
        if (strcmp(change->users[i], change->actor) != 0) {
            return ERR_DENIED;
        }
    }
    bool muted = change->muted != 0;
    if ((actor->member->muted != 0) != muted) {
        actor->member->muted = muted;
        actor->changed = true;
    }
    return ERR_OK;
}

static enum err delete_all(struct membership *membership, const struct membership_row *actor) {
    if (actor->member->role != OWNER) {
        return ERR_DENIED;
    }
    for (size_t i = 0; i < membership->count; i++) {
        if (membership->rows[i].member->state == ACTIVE) {
            leave(&membership->rows[i]);
        }
    }
    return ERR_OK;
}

/* Leaving twice is success: the answer to the first may have been lost. */
static bool left_before(const struct membership_row *actor, const Pipit__MembersChange *change) {
    return actor != NULL && actor->member->state == LEFT &&
           change->action == PIPIT__MEMBER_ACTION__MEMBERS_REMOVE && change->n_users == 1 &&
           strcmp(change->users[0], change->actor) == 0;
}

enum err membership_apply(struct membership *membership, const Pipit__MembersChange *change,
                          struct arena *arena) {
    struct membership_row *actor = find(membership, change->actor);
    bool direct = membership->kind == PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT;
    bool mutes = change->action == PIPIT__MEMBER_ACTION__MEMBERS_SET_MUTED;
    if (!direct && left_before(actor, change)) {
        return ERR_OK;
    }
    if (actor == NULL || actor->member->state == LEFT ||
        (actor->member->state != ACTIVE && !mutes)) {
        return ERR_NOT_MEMBER;
    }
    if (direct && !mutes) {
        return ERR_DENIED;
    }
    switch (change->action) {
    case PIPIT__MEMBER_ACTION__MEMBERS_ADD:
        return add(membership, change, actor, arena);
    case PIPIT__MEMBER_ACTION__MEMBERS_REMOVE:
        return remove_users(membership, change, actor);
    case PIPIT__MEMBER_ACTION__MEMBERS_SET_ROLE:
        return set_roles(membership, change, actor);
    case PIPIT__MEMBER_ACTION__MEMBERS_SET_MUTED:
        return set_muted(change, actor);
    case PIPIT__MEMBER_ACTION__CONVERSATION_RENAME:
        if (actor->member->role == MEMBER) {
            return ERR_DENIED;
        }
        if (strcmp(membership->title, change->title) != 0) {
            membership->title = change->title;
            membership->title_changed = true;
        }
        return ERR_OK;
    case PIPIT__MEMBER_ACTION__CONVERSATION_DELETE:
        return delete_all(membership, actor);
    default:
        return ERR_UNSUPPORTED; /* an action of a newer version */
    }
}

bool membership_changed(const struct membership *membership) {
    for (size_t i = 0; i < membership->count; i++) {
        if (membership->rows[i].changed) {
            return true;
        }
    }
    return membership->title_changed;
}
