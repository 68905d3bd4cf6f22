/* queries: the questions a hub asks through routing, typed: history, heads, conversations,
 * presence. The only writer of these requests and reader of their replies in connection. */
#ifndef PIPIT_CONNECTION_QUERIES_H
#define PIPIT_CONNECTION_QUERIES_H

#include "proto/directory.pb-c.h"
#include "proto/storage.pb-c.h"
#include "services/connection/reads.h"

#define HUB_HISTORY_LIMIT_MAX 256 /* storage.proto */
#define HUB_HEADS_MAX 1024
#define HUB_CONVERSATIONS_LIMIT_MAX 500

/* What the asker wants to know again when the answer comes. Copied. */
struct hub_query {
    void *object;
    uint64_t session; /* id: the session may be gone by then */
    uint64_t request;
    struct arena
        *arena; /* the reply is unpacked into it (and it is reset before); NULL: hub_arena */
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    union {
        void (*history)(struct hub *, const struct hub_query *, enum err,
                        const Pipit__HistoryReply *);
        void (*heads)(struct hub *, const struct hub_query *, enum err, const Pipit__HeadsReply *);
        void (*conversations)(struct hub *, const struct hub_query *, enum err,
                              const Pipit__ConversationsReply *);
        void (*remembered)(struct hub *, const struct hub_query *, enum err);
        void (*presence)(struct hub *, const struct hub_query *, enum err,
                         const Pipit__PresenceReply *);
    } answer; /* status ERR_OK: reply is set; an error told in the reply is a status, too */
};

/* Ascending after after_seq. viewer "" = the hub itself. query->conversation is asked about. */
struct hub_history_ask {
    const char *viewer;
    uint64_t after_seq;
    uint32_t limit, bytes_max;
    bool urgent;
};
enum err hub_query_history(struct hub *hub, const struct hub_history_ask *ask,
                           const struct hub_query *query) MUST_CHECK;
/* count <= HUB_HEADS_MAX; answered in this order. */
enum err hub_query_heads(struct hub *hub, const char *const *conversations, size_t count,
                         const struct hub_query *query) MUST_CHECK;
/* All of a user's conversations, a page of them; or one with its members (query->conversation). */
struct hub_conversations_ask {
    const char *user;
    const char *device; /* "" = no cursors */
    const char *after;  /* last id of the page before; "" = from the start */
};
enum err hub_query_conversations(struct hub *hub, const struct hub_conversations_ask *ask,
                                 const struct hub_query *query) MUST_CHECK;
/* Makes the device known to storage, so that its next visit is given what it missed. The answer
 * (query->answer.remembered) tells nothing but success. */
enum err hub_query_remember(struct hub *hub, const char *user, const char *device,
                            const struct hub_query *query) MUST_CHECK;
enum err hub_query_presence(struct hub *hub, const char *user,
                            const struct hub_query *query) MUST_CHECK;

/* A stored row as clients see it; borrows from message. False: it is not well-formed. */
bool hub_event_of(const Pipit__StoredMessage *message, struct frame_event *event);

#endif
