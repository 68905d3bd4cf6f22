/* mongo_claims: taking and returning uses of an invite.
 *
 *   {_id: hex of the hash or "first", hash, by, created, expires, uses, admin, note, rev,
 *    claims: [{u, at}]}
 *
 * Account and invite are two documents, so a use is taken in two steps: the user's name enters
 * `claims` by comparing the revision, which is what bounds the accounts to `uses`; then the account
 * is inserted and remembers the invite. What is left is uses less claims.
 *
 * A crash between the steps leaves a claim without an account. When an invite looks used up, claims
 * older than a minute are held against the accounts: those whose account does not exist, or was
 * made otherwise, go. A process that slept a minute between the two steps could so make one account
 * too many; its request has been given up long before. */
#include "services/storage/mongo_claims.h"

#include "services/storage/mongo_places.h"
#include "services/storage/mongo_swap.h"

const char *mongo_hash_text(char out[MONGO_HASH_TEXT_BYTES], const ProtobufCBinaryData *hash) {
    static const char digits[] = "0123456789abcdef";
    size_t count = hash->len < MONGO_HASH_BYTES_MAX ? hash->len : MONGO_HASH_BYTES_MAX;
    for (size_t i = 0; i < count; i++) {
        out[2 * i] = digits[hash->data[i] >> 4];
        out[2 * i + 1] = digits[hash->data[i] & 15];
    }
    out[2 * count] = '\0';
    return out;
}

struct decoding {
    struct mongo_invite *invite;
    struct arena *arena;
};

static enum err count_item(const bson_t *item, void *user) {
    (void)item;
    ++*(size_t *)user;
    return ERR_OK;
}

static enum err decode_claim(const bson_t *item, void *user) {
    struct decoding *decoding = user;
    struct mongo_claim claim = {.user = mongo_text(item, "u", decoding->arena),
                                .at_ms = mongo_u64(item, "at")};
    if (claim.user == NULL) {
        return ERR_NO_MEMORY;
    }
    decoding->invite->claims[decoding->invite->claim_count++] = claim;
    return ERR_OK;
}

static enum err decode_claims(const bson_t *doc, struct decoding *decoding) {
    size_t count = 0;
    enum err error = mongo_each(doc, "claims", count_item, &count);
    if (error != ERR_OK) {
        return error;
    }
    /* Room for one more: mongo_invite_claim adds it. */
    decoding->invite->claims =
        arena_alloc(decoding->arena, (count + 1) * sizeof(*decoding->invite->claims));
    return decoding->invite->claims == NULL ? ERR_NO_MEMORY
                                            : mongo_each(doc, "claims", decode_claim, decoding);
}

static void count_uses(struct mongo_invite *invite) {
    uint64_t left = invite->uses > invite->claim_count ? invite->uses - invite->claim_count : 0;
    invite->proto->uses_left = (uint32_t)left;
}

enum err mongo_invite_decode(const bson_t *doc, struct arena *arena, struct mongo_invite *out) {
    Pipit__Invite *proto = arena_alloc(arena, sizeof(*proto));
    if (proto == NULL) {
        return ERR_NO_MEMORY;
    }
    pipit__invite__init(proto);
    struct mongo_invite invite = {.proto = proto, .id = mongo_text(doc, "_id", arena)};
    enum err error = mongo_bytes(doc, "hash", arena, &proto->hash);
    proto->created_by = mongo_text(doc, "by", arena);
    proto->note = mongo_text(doc, "note", arena);
    if (invite.id == NULL || proto->created_by == NULL || proto->note == NULL) {
        error = ERR_NO_MEMORY;
    }
    if (error != ERR_OK) {
        return error;
    }
    proto->created_ms = mongo_u64(doc, "created");
    proto->expires_ms = mongo_u64(doc, "expires");
    proto->admin = mongo_bool(doc, "admin");
    invite.uses = mongo_u64(doc, "uses");
    invite.rev = mongo_u64(doc, MONGO_REV);
    struct decoding decoding = {.invite = &invite, .arena = arena};
    error = decode_claims(doc, &decoding);
    if (error == ERR_OK) {
        count_uses(&invite);
        *out = invite;
    }
    return error;
}

static enum err load(struct mongo_session *session, const char *id, struct arena *arena,
                     struct mongo_invite *out) {
    bson_t doc;
    enum err error = mongo_get(session, MONGO_INVITES, id, &doc);
    if (error == ERR_OK) {
        error = mongo_invite_decode(&doc, arena, out);
    }
    bson_destroy(&doc);
    return error;
}

enum err mongo_invite_find(struct mongo_session *session, const ProtobufCBinaryData *hash,
                           struct arena *arena, struct mongo_invite *out) {
    char id[MONGO_HASH_TEXT_BYTES];
    if (!mongo_hash_valid(hash)) {
        return ERR_NOT_FOUND;
    }
    enum err error = load(session, mongo_hash_text(id, hash), arena, out);
    if (error != ERR_NOT_FOUND) {
        return error;
    }
    struct mongo_invite first;
    error = load(session, MONGO_FIRST_INVITE, arena, &first);
    if (error != ERR_OK) {
        return error;
    }
    const ProtobufCBinaryData *its = &first.proto->hash;
    if (its->len != hash->len || memcmp(its->data, hash->data, hash->len) != 0) {
        return ERR_NOT_FOUND;
    }
    *out = first;
    return ERR_OK;
}

bool mongo_invite_usable(const struct mongo_invite *invite, uint64_t now_ms) {
    const Pipit__Invite *proto = invite->proto;
    return proto->uses_left > 0 && (proto->expires_ms == 0 || proto->expires_ms > now_ms);
}

static enum err write_claims(struct mongo_session *session, const struct mongo_invite *invite,
                             bool *lost) {
    bson_t fields = BSON_INITIALIZER;
    bson_t array;
    BSON_APPEND_ARRAY_BEGIN(&fields, "claims", &array);
    for (size_t i = 0; i < invite->claim_count; i++) {
        char room[16];
        const char *place = NULL;
        bson_t item;
        (void)bson_uint32_to_string((uint32_t)i, &place, room, sizeof(room));
        BSON_APPEND_DOCUMENT_BEGIN(&array, place, &item);
        BSON_APPEND_UTF8(&item, "u", invite->claims[i].user);
        BSON_APPEND_INT64(&item, "at", (int64_t)invite->claims[i].at_ms);
        bson_append_document_end(&array, &item);
    }
    bson_append_array_end(&fields, &array);
    enum err error =
        mongo_swap(session, MONGO_INVITES, invite->id, invite->rev, NULL, &fields, lost);
    bson_destroy(&fields);
    return error;
}

/* --- stale claims */

struct settling {
    const struct mongo_invite *invite;
    struct mongo_places places; /* of the claims' users */
    char hash[MONGO_HASH_TEXT_BYTES];
    bool *used; /* beside the claims */
};

static enum err note_account(const bson_t *doc, void *user) {
    struct settling *settling = user;
    bson_iter_t id;
    bson_iter_t invite;
    if (!bson_iter_init_find(&id, doc, "_id") || !BSON_ITER_HOLDS_UTF8(&id)) {
        return ERR_CORRUPT;
    }
    if (!bson_iter_init_find(&invite, doc, "invite") || !BSON_ITER_HOLDS_UTF8(&invite) ||
        strcmp(bson_iter_utf8(&invite, NULL), settling->hash) != 0) {
        return ERR_OK;
    }
    size_t count = 0;
    const struct mongo_place *found =
        mongo_places_find(&settling->places, bson_iter_utf8(&id, NULL), &count);
    for (size_t i = 0; i < count; i++) {
        settling->used[found[i].place] = true;
    }
    return ERR_OK;
}

static enum err find_accounts(struct mongo_session *session, struct settling *settling,
                              struct arena *arena) {
    const struct mongo_invite *invite = settling->invite;
    const char **users = arena_alloc(arena, (invite->claim_count + 1) * sizeof(*users));
    settling->used = arena_alloc(arena, invite->claim_count + 1);
    if (users == NULL || settling->used == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < invite->claim_count; i++) {
        users[i] = invite->claims[i].user;
        settling->used[i] = false;
    }
    enum err error = mongo_places_init(&settling->places, users, invite->claim_count);
    if (error == ERR_OK) {
        error = mongo_users_find(session, users, invite->claim_count, note_account, settling);
        mongo_places_finish(&settling->places);
    }
    return error;
}

enum err mongo_claims_settle(struct mongo_session *session, struct mongo_invite *invite,
                             uint64_t now_ms, struct arena *arena, bool *pending, bool *lost) {
    struct settling settling = {.invite = invite};
    (void)mongo_hash_text(settling.hash, &invite->proto->hash);
    enum err error = find_accounts(session, &settling, arena);
    if (error != ERR_OK) {
        return error;
    }
    *pending = false;
    size_t kept = 0;
    for (size_t i = 0; i < invite->claim_count; i++) {
        bool stale = invite->claims[i].at_ms + MONGO_CLAIM_STALE_MS <= now_ms;
        if (settling.used[i] || !stale) {
            *pending = *pending || !settling.used[i];
            invite->claims[kept++] = invite->claims[i];
        }
    }
    if (kept == invite->claim_count) {
        return ERR_OK;
    }
    invite->claim_count = kept;
    error = write_claims(session, invite, lost);
    if (error == ERR_OK && !*lost) {
        invite->rev++;
        count_uses(invite);
    }
    return error;
}

/* --- taking and returning a use */

static const struct mongo_claim *find_claim(const struct mongo_invite *invite, const char *user) {
    for (size_t i = 0; i < invite->claim_count; i++) {
        if (strcmp(invite->claims[i].user, user) == 0) {
            return &invite->claims[i];
        }
    }
    return NULL;
}

struct claiming {
    const ProtobufCBinaryData *hash;
    const char *user;
    uint64_t now_ms;
    struct arena *arena;
    bool *admin;
};

static enum err claim_once(struct mongo_session *session, const struct claiming *claiming,
                           bool *lost) {
    struct mongo_invite invite;
    uint64_t now_ms = claiming->now_ms;
    bool pending = false;
    enum err error = mongo_invite_find(session, claiming->hash, claiming->arena, &invite);
    if (error != ERR_OK) {
        return error == ERR_NOT_FOUND ? ERR_DENIED : error;
    }
    bool expired = invite.proto->expires_ms != 0 && invite.proto->expires_ms <= now_ms;
    bool own = find_claim(&invite, claiming->user) != NULL;
    if (!expired && !own && invite.proto->uses_left == 0) {
        error = mongo_claims_settle(session, &invite, now_ms, claiming->arena, &pending, lost);
    }
    if (error != ERR_OK || *lost) {
        return error;
    }
    if (expired || (!own && invite.proto->uses_left == 0)) {
        return ERR_DENIED;
    }
    if (!own) {
        invite.claims[invite.claim_count++] =
            (struct mongo_claim){.user = (char *)claiming->user, .at_ms = now_ms};
        error = write_claims(session, &invite, lost);
    }
    if (error == ERR_OK && !*lost && invite.proto->admin) {
        *claiming->admin = true;
    }
    return error;
}

enum err mongo_invite_claim(struct mongo_session *session, const ProtobufCBinaryData *hash,
                            const char *user, uint64_t now_ms, struct arena *arena, bool *admin) {
    struct claiming claiming = {
        .hash = hash, .user = user, .now_ms = now_ms, .arena = arena, .admin = admin};
    enum err error = ERR_OK;
    bool lost = true;
    for (unsigned i = 0; i < MONGO_RETRIES_MAX && lost; i++) {
        lost = false;
        error = claim_once(session, &claiming, &lost);
    }
    return lost ? ERR_UNAVAILABLE : error;
}

static enum err return_once(struct mongo_session *session, const struct claiming *claiming,
                            bool *lost) {
    struct mongo_invite invite;
    enum err error = mongo_invite_find(session, claiming->hash, claiming->arena, &invite);
    if (error != ERR_OK) {
        return error == ERR_NOT_FOUND ? ERR_OK : error;
    }
    size_t kept = 0;
    for (size_t i = 0; i < invite.claim_count; i++) {
        if (strcmp(invite.claims[i].user, claiming->user) != 0) {
            invite.claims[kept++] = invite.claims[i];
        }
    }
    if (kept == invite.claim_count) {
        return ERR_OK;
    }
    invite.claim_count = kept;
    return write_claims(session, &invite, lost);
}

enum err mongo_invite_return(struct mongo_session *session, const ProtobufCBinaryData *hash,
                             const char *user, struct arena *arena) {
    struct claiming claiming = {.hash = hash, .user = user, .arena = arena};
    enum err error = ERR_OK;
    bool lost = true;
    for (unsigned i = 0; i < MONGO_RETRIES_MAX && lost; i++) {
        lost = false;
        error = return_once(session, &claiming, &lost);
    }
    return lost ? ERR_UNAVAILABLE : error;
}
