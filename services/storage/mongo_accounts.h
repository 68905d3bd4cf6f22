/* mongo_accounts: what the MongoDB back end's files about accounts share. */
#ifndef PIPIT_STORAGE_MONGO_ACCOUNTS_H
#define PIPIT_STORAGE_MONGO_ACCOUNTS_H

#include "services/storage/mongo_filter.h"

#define MONGO_HASH_BYTES_MAX 64u /* of a refresh token or an invite's code */
#define MONGO_HASH_TEXT_BYTES (2u * MONGO_HASH_BYTES_MAX + 1u)

/* Lower-case hexadecimal, the form of a hash as an _id. hash->len <= MONGO_HASH_BYTES_MAX. */
const char *mongo_hash_text(char out[MONGO_HASH_TEXT_BYTES], const ProtobufCBinaryData *hash);
static inline bool mongo_hash_valid(const ProtobufCBinaryData *hash) {
    return hash->len > 0 && hash->len <= MONGO_HASH_BYTES_MAX;
}

/* --- whole documents, each in the file of its collection: for its own inserts, and for moving a
 * store here. */
void mongo_user_encode(const Pipit__User *user, const char *invite,
                       bson_t *doc); /* invite or NULL */
void mongo_device_encode(const Pipit__Device *device, bson_t *doc);
struct mongo_token {
    ProtobufCBinaryData hash;
    uint64_t generation, expires_ms;
};
/* Without _id and revision. */
void mongo_family_encode(const char *user, const char *device, uint64_t current,
                         const struct mongo_token *tokens, size_t count, bson_t *fields);
void mongo_invite_encode(const Pipit__Invite *invite, const char *id, bson_t *doc);
void mongo_keys_encode(Pipit__SigningKey *const *keys, size_t count, bson_t *doc); /* all */
void mongo_revocation_encode(const Pipit__Revocation *revocation, bson_t *doc);
void mongo_block_encode(const char *user, const char *blocked, uint64_t since_ms, bson_t *doc);
void mongo_audit_encode(const Pipit__AuditEntry *entry, bson_t *doc);

/* --- mongo_users.c */
/* NULL: no memory. */
Pipit__User *mongo_user_decode(const bson_t *doc, bool with_secret, struct arena *arena);
/* The account without its password hash, or with. ERR_NOT_FOUND. */
enum err mongo_user_load(struct mongo_session *session, const char *id, bool with_secret,
                         struct arena *arena, Pipit__User **user) MUST_CHECK;
/* ERR_NOT_FOUND: one of them is unknown or disabled. One command. */
enum err mongo_users_usable(struct mongo_session *session, const char *const *ids,
                            size_t count) MUST_CHECK;
/* Calls back for each of these accounts that exists, with _id, disabled and invite alone. */
enum err mongo_users_find(struct mongo_session *session, const char *const *ids, size_t count,
                          enum err (*each)(const bson_t *doc, void *user), void *user) MUST_CHECK;

/* --- mongo_claims.c: uses of invites */
/* Takes a use of the invite for this user, or finds the one it took before. *admin becomes true
 * when the invite makes administrators. ERR_DENIED: unknown, expired or used up. */
enum err mongo_invite_claim(struct mongo_session *session, const ProtobufCBinaryData *hash,
                            const char *user, uint64_t now_ms, struct arena *arena,
                            bool *admin) MUST_CHECK;
/* Gives the use back; it need not exist any more. */
enum err mongo_invite_return(struct mongo_session *session, const ProtobufCBinaryData *hash,
                             const char *user, struct arena *arena) MUST_CHECK;

/* --- mongo_devices.c */
/* ERR_NOT_FOUND. */
enum err mongo_device_load(struct mongo_session *session, const char *user, const char *id,
                           struct arena *arena, Pipit__Device **device) MUST_CHECK;
/* Adds the device of the request or renews it. ERR_FULL: *created would exceed devices_max. */
enum err mongo_device_put(struct mongo_session *session, const Pipit__SessionCreate *request,
                          struct arena *arena, bool *created) MUST_CHECK;
enum err mongo_device_seen(struct mongo_session *session, const char *user, const char *id,
                           uint64_t now_ms) MUST_CHECK;

/* --- mongo_audit.c */
/* Whether the collection has a document. */
enum err mongo_has_any(struct mongo_session *session, enum mongo_collection collection,
                       bool *any) MUST_CHECK;

#endif
