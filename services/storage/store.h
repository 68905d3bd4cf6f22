/* store: the one contract over the back ends (SQLite, MongoDB) that keep everything
 * Pipit must not lose. Handlers call members through store->ops; tests/conformance proves each
 * promise below against a back end named by its URL.
 *
 * For every member unless its comment says otherwise:
 * - it blocks on the disk or the network: worker threads only, never a loop;
 * - any number of threads may call members at once. Writes may wait for each other; reads wait for
 *   writes never longer than a page read;
 * - request is borrowed; strings and bytes put into reply live in arena (or point into request);
 *   reply arrives initialised (pipit__x__init) and its `error` field stays untouched: the returned
 *   enum is the answer, and on an error reply holds only what the comment names;
 * - a write that returned ERR_OK outside a group is durable (I1); one that returned an error left
 *   nothing behind;
 * - errors that any member may return: ERR_NO_MEMORY, ERR_NO_SPACE (nothing stored; works again
 * when there is room), ERR_IO (refused; try again), ERR_UNAVAILABLE (back end down or busy: for a
 * write of a remote back end the outcome is unknown, so the caller repeats it), ERR_CORRUPT,
 *   ERR_INVALID (an id longer than STORE_ID_BYTES_MAX or empty where one is needed). After a failed
 *   fsync no member returns: the process ends through service_die. */
#ifndef PIPIT_STORAGE_STORE_H
#define PIPIT_STORAGE_STORE_H

#include "common/arena.h"
#include "common/buf.h"
#include "proto/accounts.pb-c.h"
#include "proto/storage.pb-c.h"

#define STORE_ID_BYTES_MAX 128      /* any id: user, device, session key, conversation, kid */
#define STORE_TEXT_BYTES_MAX 4096   /* any other text: names, titles, password hashes, notes */
#define STORE_HISTORY_LIMIT_MAX 256 /* HistoryRequest.limit; 0 means this */
#define STORE_HISTORY_BYTES_DEFAULT (256u * 1024u)
#define STORE_HISTORY_BYTES_MAX (4u * 1024u * 1024u) /* half a bus message */
#define STORE_HEADS_MAX 1024
#define STORE_CONVERSATIONS_LIMIT_MAX 500 /* ConversationsRequest.limit; 0 means 100 */
#define STORE_USERS_LIMIT_MAX 100  /* UsersRequest.limit and AuditRequest.limit; 0 means this */
#define STORE_ORIGIN_TAIL_MAX 4096 /* OriginRequest.tail_max; 0 means this */
#define STORE_MEMBERS_MAX_DEFAULT 1000
#define STORE_AUDIT_ROWS_MAX 100000 /* older entries are dropped */
#define STORE_GENERATIONS_KEPT 128  /* rotated refresh tokens of a family that are told REUSED */

struct store;

/* One AppendBatch and where its answer goes. */
struct store_append {
    const Pipit__AppendBatch *request;
    struct arena *arena;
    Pipit__AppendReply *reply;
};
struct store_cursors {
    const Pipit__CursorsRequest *request;
    struct arena *arena;
    Pipit__CursorsReply *reply;
};

struct store_ops {
    /* --- groups: several writes made durable together. Between group_begin and group_end the
     * calling thread's writes belong to the group, other threads' writes wait. A write that fails
     * in a group leaves the others alone. Nobody may be told a result before group_end returned
     * ERR_OK; otherwise every write of the group failed with that error. A back end that cannot do
     * several writes at once (MongoDB) makes each durable as it comes, and group_end has nothing
     * left to do. group_begin failed: there is no group, do not call group_end. */
    enum err (*group_begin)(struct store *store);
    enum err (*group_end)(struct store *store);
    /* Housekeeping of the writer between groups (SQLite: a WAL that outgrew the background
     * checkpoint). Cheap when there is nothing to do. Errors are dealt with inside. */
    void (*maintain)(struct store *store);
    /* Does the back end store now? ERR_OK, ERR_UNAVAILABLE or ERR_NO_SPACE. Never blocks, any
     * thread: what is known from requests and from asking by itself. NULL: always ERR_OK, since a
     * failed write is the only way to know. */
    enum err (*health)(struct store *store);

    /* --- messages. */

    /* Ordered inserts of all runs of all batches in one durable unit. Returns an error only when
     * nothing of any batch was stored. reply->error ERR_NO_MEMORY: this batch alone was refused,
     * its answer did not fit the arena. Otherwise reply->results has one entry per run, in order:
     *   ERR_OK            the whole run is stored;
     *   ERR_NOT_FOUND     no such conversation;
     *   ERR_DUPLICATE_SEQ first_seq is not head + 1: taken, or it would leave a hole. head tells;
     *                     look for the ids in the tail and number again;
     *   ERR_DUPLICATE_ID  the id of message [stored_count] is stored: existing_* say where. It may
     * be in this very run; ERR_INVALID       message [stored_count] has no 16-byte id or an
     * oversized text. A run stops at its first error: messages before it are stored, those after it
     * are not, and other runs go on. members_version and head are those after the run, in the same
     * transaction; both 0 with NOT_FOUND. Repeating a stored run changes nothing (DUPLICATE_SEQ, or
     * DUPLICATE_ID from a back end whose id index speaks first). Body 0 bytes .. the bus limit; 512
     * bytes and more are LZ4-compressed at rest. */
    enum err (*append)(struct store *store, const struct store_append *items, size_t count);
    /* A page of the log. viewer: ERR_NOT_MEMBER unless an active member; sees seq > joined_seq.
     * Service (viewer empty): ERR_NOT_FOUND. At least one message comes even when it exceeds
     * bytes_max. Seqs are dense; a row whose checksum fails is served as a recall of itself (kind
     * RECALL, target_seq = seq, body "{}", no sender) and counted, never as it is. */
    enum err (*history)(struct store *store, const Pipit__HistoryRequest *request,
                        struct arena *arena, Pipit__HistoryReply *reply);
    /* Heads and versions in the order asked; ERR_TOO_LARGE beyond STORE_HEADS_MAX. */
    enum err (*heads)(struct store *store, const Pipit__HeadsRequest *request, struct arena *arena,
                      Pipit__HeadsReply *reply);
    /* ERR_NOT_FOUND: no message of this origin among the newest tail_max at or after since_ms. */
    enum err (*origin)(struct store *store, const Pipit__OriginRequest *request,
                       struct arena *arena, Pipit__OriginReply *reply);

    /* --- cursors. Idempotent and monotonic: never back, never beyond the head, delivered >= read.
     * One result per update: ERR_OK or ERR_NOT_MEMBER (unknown conversations included). changed:
     * a cursor of the user moved (the device's own may move alone). Returns as append does. */
    enum err (*cursors)(struct store *store, const struct store_cursors *items, size_t count);

    /* --- conversations. *changed (arena, or NULL when nothing changed) is what to publish once the
     * write is durable. */

    /* A user's list in the order of ids. Without since_ms: active memberships. With it: what
     * changed at or after it, and also conversations that the user left or that were blocked since
     * (id, kind and self alone). changed_ms is the newest of: last message, membership, own
     * cursors, title, and in direct conversations the peer's cursors. An unknown user has none. */
    enum err (*conversations)(struct store *store, const Pipit__ConversationsRequest *request,
                              struct arena *arena, Pipit__ConversationsReply *reply);
    /* With active and blocked members, longest-standing first. ERR_NOT_FOUND. */
    enum err (*conversation_load)(struct store *store, const Pipit__ConversationLoad *request,
                                  struct arena *arena, Pipit__ConversationReply *reply);
    /* Idempotent as storage.proto says. ERR_INVALID: a direct id that is not derived from its
     * users, more than two users in it. ERR_FULL: more than members_max. */
    enum err (*conversation_create)(struct store *store, const Pipit__ConversationCreate *request,
                                    struct arena *arena, Pipit__ConversationReply *reply,
                                    Pipit__MembersChanged **changed);
    /* Rules in membership.h. Idempotent: repeating it changes nothing (a hand-over of ownership is
     * then ERR_DENIED). ERR_NOT_FOUND (conversation, or a user to add that is unknown or disabled),
     * ERR_NOT_MEMBER (actor), ERR_DENIED, ERR_FULL, ERR_INVALID: nothing changed. */
    enum err (*members_change)(struct store *store, const Pipit__MembersChange *request,
                               struct arena *arena, Pipit__ConversationReply *reply,
                               Pipit__MembersChanged **changed);
    /* Idempotent. ERR_NOT_FOUND: unknown user; ERR_INVALID: oneself. */
    enum err (*block_change)(struct store *store, const Pipit__BlockChange *request,
                             struct arena *arena, Pipit__StatusReply *reply,
                             Pipit__MembersChanged **changed);
    enum err (*blocks)(struct store *store, const Pipit__BlocksRequest *request,
                       struct arena *arena, Pipit__BlocksReply *reply);

    /* --- accounts. Not idempotent unless said: after an unknown outcome the repeated call tells
     * (EXISTS, CONFLICT). */

    /* ERR_DENIED: invite unknown, expired or used up (checked first, so that names cannot be probed
     * without one); ERR_EXISTS: the name is taken, the invite is not consumed; ERR_INVALID: id is
     * not "u_" + name. The account is an administrator when the user or the invite says so. */
    enum err (*user_create)(struct store *store, const Pipit__UserCreate *request,
                            struct arena *arena, Pipit__UserReply *reply);
    enum err (*user_get)(struct store *store, const Pipit__UserGet *request, struct arena *arena,
                         Pipit__UserReply *reply); /* ERR_NOT_FOUND */
    /* Idempotent. ERR_NOT_FOUND. */
    enum err (*user_update)(struct store *store, const Pipit__UserUpdate *request,
                            struct arena *arena, Pipit__UserReply *reply);
    /* In the order of names; ASCII case does not matter. after and next are user ids. */
    enum err (*users)(struct store *store, const Pipit__UsersRequest *request, struct arena *arena,
                      Pipit__UsersReply *reply);
    enum err (*devices)(struct store *store, const Pipit__DevicesRequest *request,
                        struct arena *arena, Pipit__DevicesReply *reply);

    /* ERR_NOT_FOUND: no such user; ERR_DISABLED; ERR_FULL: devices_max (0 = no limit) reached;
     * ERR_EXISTS: the refresh hash is known. */
    enum err (*session_create)(struct store *store, const Pipit__SessionCreate *request,
                               struct arena *arena, Pipit__SessionReply *reply);
    /* ERR_NOT_FOUND: unknown token or ended family; ERR_EXPIRED; ERR_DISABLED; ERR_REUSED: the
     * family is ended, durably; device and user are filled so that access tokens can be revoked.
     * Presenting the same token again while it is current or next is the repetition after a lost
     * answer: every new token handed out for it is valid until a later generation is used. */
    enum err (*session_rotate)(struct store *store, const Pipit__SessionRotate *request,
                               struct arena *arena, Pipit__SessionReply *reply);
    /* Idempotent, except with delete_device. ERR_NOT_FOUND: unknown user or (named) device. */
    enum err (*revoke)(struct store *store, const Pipit__Revoke *request, struct arena *arena,
                       Pipit__StatusReply *reply);
    enum err (*revocations)(struct store *store, const Pipit__RevocationsRequest *request,
                            struct arena *arena, Pipit__RevocationsReply *reply);

    /* ERR_CONFLICT as accounts.proto says; ERR_EXISTS: the hash is known. now = created_ms. */
    enum err (*invite_create)(struct store *store, const Pipit__InviteCreate *request,
                              struct arena *arena, Pipit__StatusReply *reply);
    /* Those that can still be used, oldest first. expires_ms 0 = never. */
    enum err (*invites)(struct store *store, const Pipit__InvitesRequest *request,
                        struct arena *arena, Pipit__InvitesReply *reply);
    enum err (*invite_delete)(struct store *store, const Pipit__InviteDelete *request,
                              struct arena *arena, Pipit__StatusReply *reply); /* ERR_NOT_FOUND */

    /* ERR_CONFLICT: another number of live keys than expected, or a known kid. */
    enum err (*key_put)(struct store *store, const Pipit__KeyPut *request, struct arena *arena,
                        Pipit__StatusReply *reply);
    /* Idempotent. ERR_NOT_FOUND. */
    enum err (*key_retire)(struct store *store, const Pipit__KeyRetire *request,
                           struct arena *arena, Pipit__StatusReply *reply);
    enum err (*keys)(struct store *store, const Pipit__KeysRequest *request, struct arena *arena,
                     Pipit__KeysReply *reply);

    enum err (*stats)(struct store *store, const Pipit__StatsRequest *request, struct arena *arena,
                      Pipit__StatsReply *reply);
    enum err (*audit_append)(struct store *store, const Pipit__AuditAppend *request,
                             struct arena *arena, Pipit__StatusReply *reply);
    /* Newest first, ids below before_id (0 = from the newest). */
    enum err (*audit)(struct store *store, const Pipit__AuditRequest *request, struct arena *arena,
                      Pipit__AuditReply *reply);

    /* No member may run or follow. Flushes; frees the store. */
    void (*close)(struct store *store);
};
struct store {
    const struct store_ops *ops;
};

struct store_config {
    const char *url;      /* "sqlite:DIR": DIR is made (mode 0700) when absent; or a connection
                             string, mongodb:// or mongodb+srv:// */
    uint32_t readers;     /* reads that may run at once, 1..64 */
    uint32_t members_max; /* of one group */
};
/* Opens the store, migrates its schema forward, and takes it for this process alone (SQLite: lock
 * file; MongoDB is shared). Failure: `problem` gets one line that says what is wrong and what to
 * do, without passwords. ERR_EXISTS: another process has it. ERR_UNSUPPORTED: the schema is newer
 * than this program, or an unknown URL scheme. ERR_UNAVAILABLE: no server answers, after some
 * waiting. Blocks. */
enum err store_open(const struct store_config *config, struct store **out,
                    struct buf *problem) MUST_CHECK;
/* Sets *store to NULL; accepts NULL. */
void store_close(struct store **store);
/* ops->health, or ERR_OK where there is none. */
enum err store_health(struct store *store) MUST_CHECK;

#endif
