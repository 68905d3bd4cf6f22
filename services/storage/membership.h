/* membership: who may change what in a conversation (proto/storage.proto, MembersChange). Pure:
 * works on rows in memory, so every back end decides alike and the rules are tested without a disk.
 *
 *   owner > admin > member. A group with members has exactly one owner.
 *   add            owner, admin; sees what comes after the head of that moment, again after a
 * return remove others  owner: anybody; admin: members. Already gone = no change leave anybody; the
 * last owner leaves the group to its longest-standing admin, else member set role       owner;
 * giving OWNER away makes the former owner an admin mute           oneself rename         owner,
 * admin delete         owner; everybody leaves In a direct conversation all but mute is denied. */
#ifndef PIPIT_STORAGE_MEMBERSHIP_H
#define PIPIT_STORAGE_MEMBERSHIP_H

#include "common/arena.h"
#include "proto/storage.pb-c.h"

struct membership_row {
    Pipit__Member *member;
    bool changed;
    bool joined; /* changed, and begins (again) to be a member now */
};
struct membership {
    Pipit__ConversationKind kind;
    uint64_t head;
    size_t members_max;
    /* All active members, longest-standing first, and former ones in any place. Room for one more
     * row per user of the change. */
    struct membership_row *rows;
    size_t count;
    const char *title;
    bool title_changed;
};

/* Applies the change to the rows. That users to add exist is the caller's to check, before or after
 * (rights first tells less to outsiders). New members' structs come from the arena, their names are
 * the request's. ERR_NOT_MEMBER, ERR_DENIED, ERR_NOT_FOUND (a user to remove or to give a role who
 * never was a member), ERR_FULL, ERR_INVALID, ERR_NO_MEMORY: the rows are then of no use. */
enum err membership_apply(struct membership *membership, const Pipit__MembersChange *change,
                          struct arena *arena) MUST_CHECK;
/* True when a row or the title changed. */
bool membership_changed(const struct membership *membership);

#endif
