/* store_sqlite: the embedded back end: one directory, one process, one writing connection, some
 * reading ones. This header is for its own files (sqlite_*.c, schema.c); everybody else uses
 * store.h. */
#ifndef PIPIT_STORAGE_STORE_SQLITE_H
#define PIPIT_STORAGE_STORE_SQLITE_H

#include "services/storage/body.h"
#include "services/storage/sqlite_cache.h"
#include "services/storage/sqlite_checkpoint.h"
#include "services/storage/sqlite_db.h"
#include "services/storage/store.h"
#include <pthread.h>

#define SQLITE_WRITER_CACHE_BYTES (4u * 1024u * 1024u) /* holds a commit of 4096 messages */
#define SQLITE_READER_CACHE_BYTES (1u * 1024u * 1024u)
#define SQLITE_CACHED_CONVERSATIONS 16384 /* about 2.5 MiB when full */
#define SQLITE_EPOCH_BYTES 24

struct sqlite_store {
    struct store store; /* first: ops */
    char *path;         /* DIR/pipit.db */
    int lock_fd;
    uint32_t members_max;
    char epoch[SQLITE_EPOCH_BYTES]; /* constant while open */

    pthread_mutex_t write_lock; /* recursive; held from group_begin to group_end */
    struct sqlite_db writer;
    int committed_changes; /* sqlite3_total_changes at the last commit that wrote */
    bool in_group;
    enum err group_error; /* the group's transaction is gone: all of it failed */
    struct body_packer packer;
    struct sqlite_cache cache; /* as the writer sees the store, its open transaction included */

    pthread_mutex_t reader_lock;
    pthread_cond_t reader_returned;
    struct sqlite_db *readers;
    bool *reader_taken;
    size_t reader_count;

    struct sqlite_checkpoint checkpoint;
};

enum err store_sqlite_open(const char *dir, const struct store_config *config, struct store **out,
                           struct buf *problem) MUST_CHECK;

/* --- transactions. A write member runs between sqlite_write_begin and sqlite_write_end on
 * self->writer: a transaction of its own, or a savepoint of the group. begin failed: do not call
 * end. end gets the member's error, keeps (ERR_OK) or undoes the member's writes, and returns the
 * member's final error. */
enum err sqlite_write_begin(struct sqlite_store *self) MUST_CHECK;
enum err sqlite_write_end(struct sqlite_store *self, enum err outcome) MUST_CHECK;
/* As above without a savepoint, for members that need no undo of their own in a group (append,
 * cursors: each statement stands alone). An error handed to end fails the whole group. */
enum err sqlite_bulk_begin(struct sqlite_store *self) MUST_CHECK;
enum err sqlite_bulk_end(struct sqlite_store *self, enum err outcome) MUST_CHECK;
/* A read member runs on one snapshot. Waits for a free reader. */
enum err sqlite_read_begin(struct sqlite_store *self, struct sqlite_db **db) MUST_CHECK;
enum err sqlite_read_end(struct sqlite_store *self, struct sqlite_db *db,
                         enum err outcome) MUST_CHECK;

static inline struct sqlite_store *sqlite_store_of(struct store *store) {
    return (struct sqlite_store *)store; /* store is the first member */
}
/* 1..STORE_ID_BYTES_MAX bytes. */
static inline bool sqlite_id_valid(const char *id) {
    return id[0] != '\0' && strnlen(id, STORE_ID_BYTES_MAX + 1) <= STORE_ID_BYTES_MAX;
}
static inline bool sqlite_text_valid(const char *text) {
    return strnlen(text, STORE_TEXT_BYTES_MAX + 1) <= STORE_TEXT_BYTES_MAX;
}
/* 0 means max. */
static inline uint32_t sqlite_limit(uint32_t asked, uint32_t max) {
    return asked == 0 || asked > max ? max : asked;
}

/* The writer's view of a conversation, from the cache or the tables. ERR_NOT_FOUND. The entry is
 * borrowed until the next call. (sqlite_conversations.c) */
enum err sqlite_conversation_find(struct sqlite_store *self, const char *id,
                                  struct sqlite_conversation **out) MUST_CHECK;
/* Adds 1 to members_version in the table and the cache entry. (sqlite_conversations.c) */
enum err sqlite_conversation_touch(struct sqlite_store *self, struct sqlite_conversation *entry,
                                   uint64_t now_ms) MUST_CHECK;
/* Highest seq; 0 = empty. (sqlite_messages.c) */
enum err sqlite_head(struct sqlite_db *db, uint64_t conversation, uint64_t *head) MUST_CHECK;
/* Message at seq into *message; ERR_NOT_FOUND. (sqlite_history.c) */
enum err sqlite_message_at(struct sqlite_db *db, const char *id, uint64_t conversation,
                           uint64_t seq, struct arena *arena,
                           Pipit__StoredMessage **message) MUST_CHECK;
/* key and head of a conversation for readers; ERR_NOT_FOUND. (sqlite_history.c) */
enum err sqlite_conversation_key(struct sqlite_db *db, const char *id, uint64_t *key) MUST_CHECK;
/* ERR_NOT_FOUND: unknown; ERR_DISABLED. (sqlite_users.c) */
enum err sqlite_user_usable(struct sqlite_db *db, const char *user) MUST_CHECK;
/* The account without its password hash, or with. ERR_NOT_FOUND. (sqlite_users.c) */
enum err sqlite_user_load(struct sqlite_db *db, const char *id, bool with_secret,
                          struct arena *arena, Pipit__User **user) MUST_CHECK;
/* DENIED, or one use less; *admin when the invite makes administrators. (sqlite_invites.c) */
enum err sqlite_invite_consume(struct sqlite_db *db, const ProtobufCBinaryData *hash,
                               uint64_t now_ms, bool *admin) MUST_CHECK;

/* --- members of the vtable, contracts in store.h. */
/* sqlite_messages.c */
enum err sqlite_append(struct store *store, const struct store_append *items, size_t count);
/* sqlite_history.c */
enum err sqlite_history(struct store *store, const Pipit__HistoryRequest *request,
                        struct arena *arena, Pipit__HistoryReply *reply);
enum err sqlite_heads(struct store *store, const Pipit__HeadsRequest *request, struct arena *arena,
                      Pipit__HeadsReply *reply);
enum err sqlite_origin(struct store *store, const Pipit__OriginRequest *request,
                       struct arena *arena, Pipit__OriginReply *reply);
/* sqlite_cursors.c */
enum err sqlite_cursors(struct store *store, const struct store_cursors *items, size_t count);
/* sqlite_list.c */
enum err sqlite_conversations(struct store *store, const Pipit__ConversationsRequest *request,
                              struct arena *arena, Pipit__ConversationsReply *reply);
/* sqlite_conversations.c */
enum err sqlite_conversation_load(struct store *store, const Pipit__ConversationLoad *request,
                                  struct arena *arena, Pipit__ConversationReply *reply);
enum err sqlite_conversation_create(struct store *store, const Pipit__ConversationCreate *request,
                                    struct arena *arena, Pipit__ConversationReply *reply,
                                    Pipit__MembersChanged **changed);
/* sqlite_members.c */
enum err sqlite_members_change(struct store *store, const Pipit__MembersChange *request,
                               struct arena *arena, Pipit__ConversationReply *reply,
                               Pipit__MembersChanged **changed);
/* sqlite_blocks.c */
enum err sqlite_block_change(struct store *store, const Pipit__BlockChange *request,
                             struct arena *arena, Pipit__StatusReply *reply,
                             Pipit__MembersChanged **changed);
enum err sqlite_blocks(struct store *store, const Pipit__BlocksRequest *request,
                       struct arena *arena, Pipit__BlocksReply *reply);
/* sqlite_users.c */
enum err sqlite_user_create(struct store *store, const Pipit__UserCreate *request,
                            struct arena *arena, Pipit__UserReply *reply);
enum err sqlite_user_get(struct store *store, const Pipit__UserGet *request, struct arena *arena,
                         Pipit__UserReply *reply);
enum err sqlite_user_update(struct store *store, const Pipit__UserUpdate *request,
                            struct arena *arena, Pipit__UserReply *reply);
enum err sqlite_users(struct store *store, const Pipit__UsersRequest *request, struct arena *arena,
                      Pipit__UsersReply *reply);
/* sqlite_sessions.c */
enum err sqlite_devices(struct store *store, const Pipit__DevicesRequest *request,
                        struct arena *arena, Pipit__DevicesReply *reply);
enum err sqlite_session_create(struct store *store, const Pipit__SessionCreate *request,
                               struct arena *arena, Pipit__SessionReply *reply);
enum err sqlite_session_rotate(struct store *store, const Pipit__SessionRotate *request,
                               struct arena *arena, Pipit__SessionReply *reply);
/* sqlite_revocations.c */
enum err sqlite_revoke(struct store *store, const Pipit__Revoke *request, struct arena *arena,
                       Pipit__StatusReply *reply);
enum err sqlite_revocations(struct store *store, const Pipit__RevocationsRequest *request,
                            struct arena *arena, Pipit__RevocationsReply *reply);
/* sqlite_invites.c */
enum err sqlite_invite_create(struct store *store, const Pipit__InviteCreate *request,
                              struct arena *arena, Pipit__StatusReply *reply);
enum err sqlite_invites(struct store *store, const Pipit__InvitesRequest *request,
                        struct arena *arena, Pipit__InvitesReply *reply);
enum err sqlite_invite_delete(struct store *store, const Pipit__InviteDelete *request,
                              struct arena *arena, Pipit__StatusReply *reply);
/* sqlite_keys.c */
enum err sqlite_key_put(struct store *store, const Pipit__KeyPut *request, struct arena *arena,
                        Pipit__StatusReply *reply);
enum err sqlite_key_retire(struct store *store, const Pipit__KeyRetire *request,
                           struct arena *arena, Pipit__StatusReply *reply);
enum err sqlite_keys(struct store *store, const Pipit__KeysRequest *request, struct arena *arena,
                     Pipit__KeysReply *reply);
/* sqlite_audit.c */
enum err sqlite_audit_append(struct store *store, const Pipit__AuditAppend *request,
                             struct arena *arena, Pipit__StatusReply *reply);
enum err sqlite_audit(struct store *store, const Pipit__AuditRequest *request, struct arena *arena,
                      Pipit__AuditReply *reply);
enum err sqlite_stats(struct store *store, const Pipit__StatsRequest *request, struct arena *arena,
                      Pipit__StatsReply *reply);

#endif
