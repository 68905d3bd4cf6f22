/* conversation: the cache of active conversations: members, head, and the messages on their way. */
#ifndef PIPIT_ROUTING_CONVERSATION_H
#define PIPIT_ROUTING_CONVERSATION_H

#include "common/map.h"
#include "proto/limits.h"
#include "services/routing/member_set.h"
#include "services/routing/state.h"
#include "services/routing/turns.h"

enum conversation_state {
    CONVERSATION_UNKNOWN, /* storage must be asked */
    CONVERSATION_KNOWN,
    CONVERSATION_ABSENT /* storage had none, a moment ago */
};
/* The one call to storage that a conversation may have in flight. */
enum conversation_busy {
    BUSY_NONE,
    BUSY_LOADING,  /* members and head */
    BUSY_CREATING, /* a direct conversation */
    BUSY_TAIL,     /* messages that others appended */
    BUSY_LOOKING,  /* target or origin of the first message of the inbox */
    BUSY_APPENDING /* messages of the flight list */
};

struct conversation {
    struct map_node node;
    struct list_node idle_node;    /* while nothing is on the way: least recently used first */
    struct list_node ready_node;   /* append: the queue may be sent */
    struct list_node trouble_node; /* an outcome is unknown: reloaded by itself */
    struct list_node starved_node; /* no call to storage was free: run again */
    struct list_node doubt_node;   /* doubt.c: an append may yet be carried out */
    struct routing *routing;
    char id[LIMIT_CONVERSATION_ID_BYTES + 1];

    enum conversation_state state;
    enum conversation_busy busy;
    Pipit__ConversationKind kind;
    bool head_known; /* was loaded once */
    bool stale;      /* load again before anything else: an outcome is unknown */
    uint8_t trouble_tries, reload_tries, conflicts;
    uint8_t lost_calls; /* in a row: the storage instance was lost */
    uint64_t doubt_since_us, doubt_next_us;
    struct member_set *members;
    uint64_t members_version, members_seen;        /* cached; newest heard of */
    uint64_t members_generation, asked_generation; /* of the cache, when storage was asked */
    uint64_t loaded_us;                            /* when state was last learnt */
    uint64_t head;                                 /* the next message gets head + 1 */
    uint64_t published;  /* up to here nothing is left to deliver; <= head */
    uint64_t store_head; /* highest seq heard of; > published: fetch the tail */
    uint64_t last_ts_ms;

    /* struct pending, in order: not yet admitted; admitted; in the append in flight (the first has
     * seq flight_first); on disk and not yet delivered */
    struct list inbox, queue, flight, stored;
    size_t queue_bytes; /* bodies in queue */
    uint64_t flight_first;
    size_t pending_count; /* over all four */
    struct turns turns;   /* of sessions that were refused something here */
    uint64_t copied_us;   /* when a copy of a publication (DUP=1) was last admitted; 0 = never */
    struct list waiters;
};

/* Somebody who needs the members. Embedded; called once, also at once. */
struct conversation_waiter {
    struct list_node node;
    /* NULL: there is no such conversation, or storage could not be asked. The conversation is
     * borrowed for the call. */
    void (*fn)(struct conversation_waiter *waiter, struct conversation *conversation);
};

struct pending;
struct conversations;
enum err conversations_create(struct routing *routing, struct conversations **out) MUST_CHECK;
/* Nothing may be on the way (conversations_abort). */
void conversations_destroy(struct conversations **conversations);
/* Shutdown: refuses whatever is not in a call to storage, and ends all waits. */
void conversations_abort(struct routing *routing);
/* Once a second: tries again where an outcome is unknown. */
void conversations_tick(struct routing *routing);

/* Only when cached; does not count as a use. */
struct conversation *conversation_find(struct routing *routing, const char *id);
/* Cached or new; NULL when the cache is full of conversations in use. Valid until the next
 * conversation_get unless something is on the way. id is valid (proto/names.h). */
struct conversation *conversation_get(struct routing *routing, const char *id);
/* Calls fn for each that is cached, in any order, until it returns false; fn changes none. */
void conversations_each(struct routing *routing,
                        bool (*fn)(struct conversation *conversation, void *user), void *user);
/* What conversation_get does for one that was found. */
void conversation_used(struct conversation *conversation);
/* Takes over the pending submit (submit_enter succeeded) and runs. */
void conversation_enqueue(struct conversation *conversation, struct pending *pending);
void conversation_wait(struct conversation *conversation, struct conversation_waiter *waiter);
/* Looks what can be done next and starts it: the one place that decides. Call it after busy was
 * cleared or anything else changed. The conversation may be evicted from then on. */
void conversation_run(struct conversation *conversation);
/* True while the members are as fresh as the membership streams can make them. */
bool conversation_members_fresh(const struct conversation *conversation);
/* Refuses everything in the inbox and the queue and ends the waiters: storage could not be asked.
 * Stored messages are acknowledged; their delivery is caught up later. busy must be clear. */
void conversation_fail(struct conversation *conversation, enum reason reason);
/* From now on this conversation reloads by itself until that succeeds. */
void conversation_trouble(struct conversation *conversation);
/* Its call found all calls to storage in use: it is run again when some are free. */
void conversation_starve(struct conversation *conversation);
/* End of the turn: runs those, as far as calls are free. */
void conversations_resume(struct routing *routing);
/* Delivers and acknowledges the stored messages, when nothing is missing before them. */
void conversation_publish_stored(struct conversation *conversation);
/* Replaces the members (NULL = none). Takes over `members`. */
void conversation_set_members(struct conversation *conversation, struct member_set *members);

/* A membership change was published by storage: updates the cache when the conversation is cached.
 */
void conversation_members_changed(struct routing *routing, const Pipit__MembersChanged *change);
/* The membership streams lost something: nothing cached is trusted any more. */
void conversations_distrust(struct routing *routing);
uint64_t conversations_generation(const struct routing *routing);

#endif
