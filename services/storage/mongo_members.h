/* mongo_members: what the files about conversations of the MongoDB back end share: writing a
 * conversation back, answering with it, announcing it, and what blocks do to it. */
#ifndef PIPIT_STORAGE_MONGO_MEMBERS_H
#define PIPIT_STORAGE_MONGO_MEMBERS_H

#include "services/storage/mongo_filter.h"

/* --- mongo_conversation_doc.c */
/* The document of a conversation, for an insert. */
void mongo_conversation_encode(const struct mongo_conversation *conversation, bson_t *doc);
/* Title, version, changed_ms and members as they now are in `conversation`, provided nobody else
 * changed it since it was read. *lost as mongo_swap.h. */
enum err mongo_conversation_write(struct mongo_session *session,
                                  const struct mongo_conversation *conversation,
                                  bool *lost) MUST_CHECK;
/* Members in the order of `order` from now on, each with its time; at most former_max who left are
 * kept (those who changed last), so that a document stays bounded. */
struct mongo_member {
    Pipit__Member *member;
    uint64_t changed_ms;
};
enum err mongo_conversation_set_members(struct mongo_conversation *conversation,
                                        const struct mongo_member *order, size_t count,
                                        size_t former_max, struct arena *arena) MUST_CHECK;

/* --- mongo_conversations.c */
/* Makes of a conversation what clients may be told: head and cursors are filled, members who left
 * are dropped. */
enum err mongo_conversation_finish(struct mongo_session *session,
                                   struct mongo_conversation *conversation,
                                   struct arena *arena) MUST_CHECK;
/* What to publish about a changed conversation. `changed` is borrowed. */
enum err mongo_members_announce(const Pipit__Conversation *conversation,
                                Pipit__Member **changed_members, size_t count, const char *actor,
                                bool title_changed, struct arena *arena,
                                Pipit__MembersChanged **changed) MUST_CHECK;

/* --- mongo_blocks.c */
/* True when one of them blocks the other. */
enum err mongo_blocked_between(struct mongo_session *session, const char *user, const char *other,
                               bool *blocked) MUST_CHECK;
/* Gives the members of a direct conversation the state that the blocks between its two users ask
 * for, and returns the conversation as it then is. `stamp`: write even when the states are right
 * already, so that a concurrent change that has not seen a new block loses its comparison.
 * ERR_NOT_FOUND: there is no such conversation. */
struct mongo_settle {
    const char *conversation, *user, *other;
    uint64_t now_ms;
    bool stamp;
    bool block; /* to BLOCKED whatever the blocks say */
};
struct mongo_settled {
    struct mongo_conversation conversation;
    Pipit__Member **changed; /* whose state became another, in any round */
    size_t changed_count;
    bool blocked;
};
enum err mongo_direct_settle(struct mongo_session *session, const struct mongo_settle *settle,
                             struct arena *arena, struct mongo_settled *out) MUST_CHECK;

#endif
