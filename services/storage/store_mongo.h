/* store_mongo: the cluster's back end: any number of storage processes over one MongoDB (replica
 * set) or another server of its wire protocol. This header is for its own files (mongo_*.c);
 * everybody else uses store.h, whose contracts hold here.
 *
 * Without transactions, what must change together lives in one document, and what is derived is
 * written so that a crash between two writes leaves something a repetition completes:
 *   message, seq, id    one document in `messages`; its two unique indexes are the whole order
 *   head                `heads`, raised after the insert and before the answer: never behind an
 *                       acknowledged message; a stale one is found by the next append and mended
 *   members, roles      inside the conversation's document, which is replaced by comparing its
 *                       version: the rules of membership.h see all members at once
 *   cursors             one document each, $max: never back in whatever order updates arrive */
#ifndef PIPIT_STORAGE_STORE_MONGO_H
#define PIPIT_STORAGE_STORE_MONGO_H

#include "services/storage/mongo_db.h"
#include "services/storage/mongo_heads.h"
#include "services/storage/store.h"
#include <string.h>

#define MONGO_EPOCH_BYTES 24
/* Clients of the pool beside the readers': the writer's and the health thread's. */
#define MONGO_CLIENTS_BESIDE 2u
/* A start in a cluster: as long as an election takes and a little more. Source: MongoDB's
 * electionTimeoutMillis 10 s. */
#define MONGO_OPEN_WAIT_MS 30000u
#define MONGO_RETRIES_MAX 16 /* of a change that lost a comparison; then ERR_UNAVAILABLE */

struct mongo_store {
    struct store store; /* first: ops */
    struct mongo_db *db;
    uint32_t members_max;
    pthread_mutex_t epoch_lock;
    char epoch[MONGO_EPOCH_BYTES]; /* read again when the server comes back: mongo_store_epoch */
    struct mongo_heads heads;      /* what this process knows to be stored (mongo_heads.c) */
    _Atomic enum err prepared;     /* what mongo_schema_prepare said last */
};

/* Waits for the server up to MONGO_OPEN_WAIT_MS, then ERR_UNAVAILABLE. */
enum err store_mongo_open(const char *uri, const struct store_config *config, struct store **out,
                          struct buf *problem) MUST_CHECK;
/* The history epoch, copied; NULL: no memory. */
char *mongo_store_epoch(struct mongo_store *self, struct arena *arena);

static inline struct mongo_store *mongo_store_of(struct store *store) {
    return (struct mongo_store *)store; /* store is the first member */
}
/* Within the limits, UTF-8 (a server may close the connection over anything else), and, for an id,
 * without the byte that joins ids (mongo_filter.h). */
static inline bool mongo_id_valid(const char *id) {
    size_t bytes = strnlen(id, STORE_ID_BYTES_MAX + 1);
    return bytes > 0 && bytes <= STORE_ID_BYTES_MAX && memchr(id, '\x1f', bytes) == NULL &&
           bson_utf8_validate(id, bytes, false);
}
static inline bool mongo_text_valid(const char *text) {
    size_t bytes = strnlen(text, STORE_TEXT_BYTES_MAX + 1);
    return bytes <= STORE_TEXT_BYTES_MAX && bson_utf8_validate(text, bytes, false);
}
static inline uint32_t mongo_limit(uint32_t asked, uint32_t max) {
    return asked == 0 || asked > max ? max : asked;
}

/* --- conversations, for every file that needs one (mongo_conversations.c). */
struct mongo_conversation {
    Pipit__Conversation *proto; /* with all members, former ones too, longest-standing first; head
                                   and cursors are not filled */
    char *creator;
    uint64_t *member_changed_ms; /* beside proto->members */
    uint64_t changed_ms;         /* title or any membership */
    uint64_t rev;                /* as read: what mongo_swap.h compares */
};
/* ERR_NOT_FOUND. Everything in the arena. */
enum err mongo_conversation_read(struct mongo_session *session, const char *id, struct arena *arena,
                                 struct mongo_conversation *out) MUST_CHECK;
/* Several at once, one command; `out` beside ids, proto NULL where there is none. */
enum err mongo_conversations_read(struct mongo_session *session, const char *const *ids,
                                  size_t count, struct arena *arena,
                                  struct mongo_conversation *out) MUST_CHECK;
/* The member or NULL; any state. */
Pipit__Member *mongo_member_of(const struct mongo_conversation *conversation, const char *user);
/* Versions alone (0 = no such conversation), one command. */
enum err mongo_versions(struct mongo_session *session, const char *const *ids, size_t count,
                        uint64_t *versions) MUST_CHECK;

/* --- messages, for lists (mongo_history.c). */
/* The message at seq; ERR_NOT_FOUND. */
enum err mongo_message_at(struct mongo_session *session, const char *conversation, uint64_t seq,
                          struct arena *arena, Pipit__StoredMessage **message) MUST_CHECK;
/* Stored heads and times of the last message; 0 = none. One command (mongo_head_docs.c). */
enum err mongo_heads_read(struct mongo_session *session, const char *const *ids, size_t count,
                          uint64_t *heads, uint64_t *ts_ms) MUST_CHECK;
/* Raises them, never lowers; durable when it returns. One command. */
struct mongo_head {
    const char *id;
    uint64_t head, ts_ms;
};
enum err mongo_heads_raise(struct mongo_session *session, const struct mongo_head *heads,
                           size_t count) MUST_CHECK;

/* --- cursors, for lists (mongo_cursor_docs.c). */
struct mongo_cursor {
    uint64_t read_seq, delivered_seq, changed_ms;
};
/* Of one conversation and user beside each other; zeros where there is none. One command. */
enum err mongo_cursors_read(struct mongo_session *session, const char *const *conversations,
                            const char *const *users, size_t count,
                            struct mongo_cursor *out) MUST_CHECK;
/* The device's delivered cursors of several conversations; *known: the device was here before,
 * even without one. One command; a second when there is no cursor. */
enum err mongo_device_cursors_read(struct mongo_session *session, const char *user,
                                   const char *device, const char *const *conversations,
                                   size_t count, uint64_t *delivered, bool *known) MUST_CHECK;

/* --- accounts (mongo_users.c). ERR_NOT_FOUND: unknown; ERR_DISABLED. */
enum err mongo_user_usable(struct mongo_session *session, const char *user) MUST_CHECK;

/* --- members of the vtable, contracts in store.h: mongo_<member>, each declared below by its file.
 */
/* mongo_messages.c */
enum err mongo_append(struct store *store, const struct store_append *items, size_t count);
/* mongo_history.c */
enum err mongo_history(struct store *store, const Pipit__HistoryRequest *request,
                       struct arena *arena, Pipit__HistoryReply *reply);
enum err mongo_heads(struct store *store, const Pipit__HeadsRequest *request, struct arena *arena,
                     Pipit__HeadsReply *reply);
enum err mongo_origin(struct store *store, const Pipit__OriginRequest *request, struct arena *arena,
                      Pipit__OriginReply *reply);
/* mongo_cursors.c */
enum err mongo_cursors(struct store *store, const struct store_cursors *items, size_t count);
/* mongo_list.c */
enum err mongo_conversations(struct store *store, const Pipit__ConversationsRequest *request,
                             struct arena *arena, Pipit__ConversationsReply *reply);
/* mongo_conversations.c */
enum err mongo_conversation_load(struct store *store, const Pipit__ConversationLoad *request,
                                 struct arena *arena, Pipit__ConversationReply *reply);
enum err mongo_conversation_create(struct store *store, const Pipit__ConversationCreate *request,
                                   struct arena *arena, Pipit__ConversationReply *reply,
                                   Pipit__MembersChanged **changed);
/* mongo_members.c */
enum err mongo_members_change(struct store *store, const Pipit__MembersChange *request,
                              struct arena *arena, Pipit__ConversationReply *reply,
                              Pipit__MembersChanged **changed);
/* mongo_blocks.c */
enum err mongo_block_change(struct store *store, const Pipit__BlockChange *request,
                            struct arena *arena, Pipit__StatusReply *reply,
                            Pipit__MembersChanged **changed);
enum err mongo_blocks(struct store *store, const Pipit__BlocksRequest *request, struct arena *arena,
                      Pipit__BlocksReply *reply);
/* mongo_users.c */
enum err mongo_user_create(struct store *store, const Pipit__UserCreate *request,
                           struct arena *arena, Pipit__UserReply *reply);
enum err mongo_user_get(struct store *store, const Pipit__UserGet *request, struct arena *arena,
                        Pipit__UserReply *reply);
enum err mongo_user_update(struct store *store, const Pipit__UserUpdate *request,
                           struct arena *arena, Pipit__UserReply *reply);
enum err mongo_users(struct store *store, const Pipit__UsersRequest *request, struct arena *arena,
                     Pipit__UsersReply *reply);
/* mongo_sessions.c */
enum err mongo_devices(struct store *store, const Pipit__DevicesRequest *request,
                       struct arena *arena, Pipit__DevicesReply *reply);
enum err mongo_session_create(struct store *store, const Pipit__SessionCreate *request,
                              struct arena *arena, Pipit__SessionReply *reply);
enum err mongo_session_rotate(struct store *store, const Pipit__SessionRotate *request,
                              struct arena *arena, Pipit__SessionReply *reply);
/* mongo_revocations.c */
enum err mongo_revoke(struct store *store, const Pipit__Revoke *request, struct arena *arena,
                      Pipit__StatusReply *reply);
enum err mongo_revocations(struct store *store, const Pipit__RevocationsRequest *request,
                           struct arena *arena, Pipit__RevocationsReply *reply);
/* mongo_invites.c */
enum err mongo_invite_create(struct store *store, const Pipit__InviteCreate *request,
                             struct arena *arena, Pipit__StatusReply *reply);
enum err mongo_invites(struct store *store, const Pipit__InvitesRequest *request,
                       struct arena *arena, Pipit__InvitesReply *reply);
enum err mongo_invite_delete(struct store *store, const Pipit__InviteDelete *request,
                             struct arena *arena, Pipit__StatusReply *reply);
/* mongo_keys.c */
enum err mongo_key_put(struct store *store, const Pipit__KeyPut *request, struct arena *arena,
                       Pipit__StatusReply *reply);
enum err mongo_key_retire(struct store *store, const Pipit__KeyRetire *request, struct arena *arena,
                          Pipit__StatusReply *reply);
enum err mongo_keys(struct store *store, const Pipit__KeysRequest *request, struct arena *arena,
                    Pipit__KeysReply *reply);
/* mongo_audit.c */
enum err mongo_audit_append(struct store *store, const Pipit__AuditAppend *request,
                            struct arena *arena, Pipit__StatusReply *reply);
enum err mongo_audit(struct store *store, const Pipit__AuditRequest *request, struct arena *arena,
                     Pipit__AuditReply *reply);
enum err mongo_stats(struct store *store, const Pipit__StatsRequest *request, struct arena *arena,
                     Pipit__StatsReply *reply);

#endif
