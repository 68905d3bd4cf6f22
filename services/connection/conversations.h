/* conversations: the conversations that this hub's users are members of, and who of them is: the
 * objects between a delivery and the sessions it goes to. */
#ifndef PIPIT_CONNECTION_CONVERSATIONS_H
#define PIPIT_CONNECTION_CONVERSATIONS_H

#include "services/connection/users.h"

#define HUB_CONVERSATIONS_MAX 524288     /* about 150 MiB; routing keeps one million interests */
#define HUB_MEMBERSHIPS_MAX 2097152      /* about 200 MiB */
#define HUB_USER_CONVERSATIONS_MAX 10000 /* of one user: 20 pages at each login */

/* repair.c */
enum repair_state { REPAIR_NONE, REPAIR_QUEUED, REPAIR_RUNNING, REPAIR_WAITING };

struct hub_conversation {
    struct map_node node;
    struct list_node all_node;  /* while it has members here, in order of becoming interesting */
    struct list memberships;    /* membership.conversation_node */
    uint64_t last;              /* handed out up to here, dense */
    uint64_t members_version;   /* memberships are as of this */
    uint64_t announced_version; /* clients were told of changes up to this */
    uint64_t active_us;         /* last message: the order for presence */
    uint32_t pins;              /* calls in flight that refer to it */
    /* sync.c: heads are to be compared once the interest of this version is confirmed */
    struct list_node fresh_node;
    uint64_t fresh_version, fresh_since_us;
    /* repair.c */
    struct list_node repair_node;
    uint64_t target;         /* a seq known to exist */
    uint64_t needed_version; /* members that old are too old to hand anything out */
    uint64_t retry_us;
    uint8_t repair; /* enum repair_state */
    char id[LIMIT_CONVERSATION_ID_BYTES + 1];
};
struct hub_membership {
    struct list_node user_node, conversation_node;
    struct hub_user *user;
    struct hub_conversation *conversation;
    uint64_t joined_seq; /* sees seq > joined_seq */
    uint64_t generation; /* see loads.c */
    bool seen;           /* members.c, while it compares */
};

struct hub_conversations;
enum err hub_conversations_create(struct hub *hub) MUST_CHECK;
void hub_conversations_destroy(struct hub *hub);
struct hub_conversation *hub_conversation_find(const struct hub *hub, const char *id);
/* List of all with members here (all_node). */
const struct list *hub_conversations_all(const struct hub *hub);
/* Keeps the object (not its members) until unpinned. */
void hub_conversation_pin(struct hub_conversation *conversation);
void hub_conversation_unpin(struct hub *hub, struct hub_conversation *conversation);

struct hub_membership *hub_membership_find(const struct hub_user *user,
                                           const struct hub_conversation *conversation);
struct hub_join {
    const char *conversation;
    uint64_t last;            /* for a conversation new to the hub: handed out up to here */
    uint64_t members_version; /* likewise */
    uint64_t joined_seq;
};
/* Makes the user a member here, or updates joined_seq. A conversation without members here before
 * becomes interesting: interest is registered and its head compared afterwards. ERR_FULL,
 * ERR_NO_MEMORY. */
enum err hub_membership_join(struct hub *hub, struct hub_user *user, const struct hub_join *join,
                             struct hub_membership **out, bool *is_new) MUST_CHECK;
/* Ends it; backlogs of the user's sessions in it end as well. */
void hub_membership_drop(struct hub *hub, struct hub_membership *membership);

#endif
