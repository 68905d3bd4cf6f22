/* mongo_claims: an invite as a document, and the uses taken of it. For mongo_invites.c; accounts
 * use mongo_accounts.h. */
#ifndef PIPIT_STORAGE_MONGO_CLAIMS_H
#define PIPIT_STORAGE_MONGO_CLAIMS_H

#include "services/storage/mongo_accounts.h"

/* The invite that the first start makes has this _id instead of its hash, so that two auth
 * instances that start at once make one. No hash reads like it. */
#define MONGO_FIRST_INVITE "first"
/* A use whose account does not exist after this long was lost in a crash. Much longer than any
 * request lives. */
#define MONGO_CLAIM_STALE_MS 60000u

struct mongo_claim {
    char *user;
    uint64_t at_ms;
};
struct mongo_invite {
    char *id;             /* _id */
    Pipit__Invite *proto; /* uses_left = uses less claims */
    uint64_t uses, rev;
    struct mongo_claim *claims;
    size_t claim_count;
};

/* Everything in the arena. ERR_NO_MEMORY. */
enum err mongo_invite_decode(const bson_t *doc, struct arena *arena,
                             struct mongo_invite *out) MUST_CHECK;
/* By the hash of its code; ERR_NOT_FOUND. */
enum err mongo_invite_find(struct mongo_session *session, const ProtobufCBinaryData *hash,
                           struct arena *arena, struct mongo_invite *out) MUST_CHECK;
/* Not expired, and a use is left. */
bool mongo_invite_usable(const struct mongo_invite *invite, uint64_t now_ms);
/* Drops the stale claims of an invite that looks used up, in `invite` and in the database. *lost as
 * mongo_swap.h. *pending: a claim is neither stale nor known to be an account's. */
enum err mongo_claims_settle(struct mongo_session *session, struct mongo_invite *invite,
                             uint64_t now_ms, struct arena *arena, bool *pending,
                             bool *lost) MUST_CHECK;

#endif
