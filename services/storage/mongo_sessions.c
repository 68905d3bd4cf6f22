/* mongo_sessions: refresh-token families, one document per device:
 *
 *   {_id: user 0x1f device, user, device, current, rev, tokens: [{h, g, e}]}
 *
 * h is a token's hash (multikey index), g its generation, e when it expires. `current` is the
 * highest generation that was ever presented. A token of generation current or current + 1 gets a
 * successor of the next generation and becomes current; an older one was stolen or copied, and the
 * family ends (RFC 9700 section 4.14.2). Because the answer to a rotation can be lost, the former
 * token works until its successor is first used, and several successors of one token may live side
 * by side (two tabs that refresh at once).
 *
 * All of that is in one document, so a rotation is one comparison, and a login replaces the family
 * whole. The filter names the presented token, too: a family that was replaced meanwhile has it no
 * more, whatever its revision is.
 *
 * Bounds: old generations are remembered for STORE_GENERATIONS_KEPT rotations, so that a stolen
 * token is noticed; older ones are merely unknown. Expired tokens go at each rotation; at most
 * SUCCESSORS_MAX of one generation are kept, those that expire first go first. */
#include "services/storage/mongo_accounts.h"

#include "services/storage/mongo_swap.h"

#define SUCCESSORS_MAX 8u /* tabs of one browser that refresh at the same moment */

struct family {
    char *id, *user, *device;
    uint64_t current, rev;
    struct mongo_token *tokens; /* with room for one more */
    size_t count;
};

static bool same_hash(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b) {
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static void append_token(bson_t *array, size_t index, const struct mongo_token *token) {
    char room[16];
    const char *place = NULL;
    bson_t item;
    (void)bson_uint32_to_string((uint32_t)index, &place, room, sizeof(room));
    BSON_APPEND_DOCUMENT_BEGIN(array, place, &item);
    BSON_APPEND_BINARY(&item, "h", BSON_SUBTYPE_BINARY, token->hash.data,
                       (uint32_t)token->hash.len);
    BSON_APPEND_INT64(&item, "g", (int64_t)token->generation);
    BSON_APPEND_INT64(&item, "e", (int64_t)token->expires_ms);
    bson_append_document_end(array, &item);
}

static void append_hash(bson_t *filter, const ProtobufCBinaryData *hash) {
    BSON_APPEND_BINARY(filter, "tokens.h", BSON_SUBTYPE_BINARY, hash->data, (uint32_t)hash->len);
}

/* --- reading */

struct decoding {
    struct family *family;
    struct arena *arena;
};

static enum err count_item(const bson_t *item, void *user) {
    (void)item;
    ++*(size_t *)user;
    return ERR_OK;
}

static enum err decode_token(const bson_t *item, void *user) {
    struct decoding *decoding = user;
    struct mongo_token token = {.generation = mongo_u64(item, "g"),
                                .expires_ms = mongo_u64(item, "e")};
    enum err error = mongo_bytes(item, "h", decoding->arena, &token.hash);
    if (error == ERR_OK) {
        decoding->family->tokens[decoding->family->count++] = token;
    }
    return error;
}

static enum err decode(const bson_t *doc, struct arena *arena, struct family *family) {
    size_t count = 0;
    *family = (struct family){.id = mongo_text(doc, "_id", arena),
                              .user = mongo_text(doc, "user", arena),
                              .device = mongo_text(doc, "device", arena),
                              .current = mongo_u64(doc, "current"),
                              .rev = mongo_u64(doc, MONGO_REV)};
    enum err error = mongo_each(doc, "tokens", count_item, &count);
    if (error != ERR_OK) {
        return error;
    }
    family->tokens = arena_alloc(arena, (count + 1) * sizeof(*family->tokens));
    if (family->id == NULL || family->user == NULL || family->device == NULL ||
        family->tokens == NULL) {
        return ERR_NO_MEMORY;
    }
    struct decoding decoding = {.family = family, .arena = arena};
    return mongo_each(doc, "tokens", decode_token, &decoding);
}

/* The family that knows this token; ERR_NOT_FOUND. */
static enum err find_family(struct mongo_session *session, const ProtobufCBinaryData *hash,
                            struct arena *arena, struct family *family) {
    bson_t filter = BSON_INITIALIZER;
    bson_t doc;
    append_hash(&filter, hash);
    struct mongo_find find = {.collection = MONGO_FAMILIES, .filter = &filter};
    enum err error = mongo_find_one(session, &find, &doc);
    if (error == ERR_OK) {
        error = decode(&doc, arena, family);
    }
    bson_destroy(&doc);
    bson_destroy(&filter);
    return error;
}

/* --- login */

void mongo_family_encode(const char *user, const char *device, uint64_t current,
                         const struct mongo_token *tokens, size_t count, bson_t *fields) {
    bson_t array;
    BSON_APPEND_UTF8(fields, "user", user);
    BSON_APPEND_UTF8(fields, "device", device);
    BSON_APPEND_INT64(fields, "current", (int64_t)current);
    BSON_APPEND_ARRAY_BEGIN(fields, "tokens", &array);
    for (size_t i = 0; i < count; i++) {
        append_token(&array, i, &tokens[i]);
    }
    bson_append_array_end(fields, &array);
}

static enum err begin_family(struct mongo_session *session, const Pipit__SessionCreate *request) {
    const Pipit__Device *device = request->device;
    char id[MONGO_JOINED_BYTES];
    struct mongo_token token = {
        .hash = request->refresh_hash, .generation = 1, .expires_ms = request->expires_ms};
    bson_t update = BSON_INITIALIZER;
    bson_t part;
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$set", &part);
    mongo_family_encode(device->user, device->id, 1, &token, 1, &part);
    bson_append_document_end(&update, &part);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$inc", &part);
    BSON_APPEND_INT64(&part, MONGO_REV, 1);
    bson_append_document_end(&update, &part);
    size_t matched = 0;
    (void)mongo_join(id, device->user, device->id, NULL);
    mongo_swap_lock(id); /* not between a rotation's comparison and its write */
    enum err error = mongo_update_by_id(session, MONGO_FAMILIES, id, &update, true, &matched);
    mongo_swap_unlock(id);
    bson_destroy(&update);
    return error;
}

static enum err check_login(struct mongo_session *session, const Pipit__SessionCreate *request,
                            struct arena *arena) {
    struct family family;
    enum err error = mongo_user_usable(session, request->device->user);
    if (error != ERR_OK) {
        return error;
    }
    error = find_family(session, &request->refresh_hash, arena, &family);
    return error == ERR_OK ? ERR_EXISTS : error == ERR_NOT_FOUND ? ERR_OK : error;
}

static enum err create(struct mongo_session *session, const Pipit__SessionCreate *request,
                       struct arena *arena, Pipit__SessionReply *reply) {
    const Pipit__Device *device = request->device;
    bool created = false;
    enum err error = check_login(session, request, arena);
    if (error == ERR_OK) {
        error = mongo_device_put(session, request, arena, &created);
    }
    if (error == ERR_OK) {
        error = begin_family(session, request);
    }
    if (error == ERR_OK) {
        error = mongo_device_load(session, device->user, device->id, arena, &reply->device);
    }
    if (error == ERR_OK) {
        error = mongo_user_load(session, device->user, false, arena, &reply->user);
    }
    if (error == ERR_OK) {
        reply->device_created = created;
    }
    return error;
}

enum err mongo_session_create(struct store *store, const Pipit__SessionCreate *request,
                              struct arena *arena, Pipit__SessionReply *reply) {
    const Pipit__Device *device = request->device;
    if (device == NULL || !mongo_id_valid(device->id) ||
        !mongo_hash_valid(&request->refresh_hash) || !mongo_text_valid(device->name) ||
        !mongo_text_valid(device->platform)) {
        return ERR_INVALID;
    }
    if (!mongo_id_valid(device->user)) {
        return ERR_NOT_FOUND;
    }
    struct mongo_session session;
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    error = create(&session, request, arena, reply);
    mongo_end(&session);
    return error;
}

/* --- rotation */

static const struct mongo_token *find_token(const struct family *family,
                                            const ProtobufCBinaryData *hash) {
    for (size_t i = 0; i < family->count; i++) {
        if (same_hash(&family->tokens[i].hash, hash)) {
            return &family->tokens[i];
        }
    }
    return NULL;
}

/* Of this generation, all but the SUCCESSORS_MAX - 1 that expire last: room for a new one. */
static bool crowded_out(const struct family *family, size_t place, uint64_t generation) {
    const struct mongo_token *token = &family->tokens[place];
    size_t better = 0;
    for (size_t i = 0; i < family->count; i++) {
        const struct mongo_token *other = &family->tokens[i];
        bool later = other->expires_ms > token->expires_ms ||
                     (other->expires_ms == token->expires_ms && i > place);
        better += other->generation == generation && later;
    }
    return token->generation == generation && better >= SUCCESSORS_MAX - 1;
}

static void prune(const struct family *family, uint64_t next, uint64_t now_ms, bson_t *array,
                  size_t *count) {
    uint64_t oldest = next > STORE_GENERATIONS_KEPT ? next - STORE_GENERATIONS_KEPT : 0;
    for (size_t i = 0; i < family->count; i++) {
        const struct mongo_token *token = &family->tokens[i];
        if (token->generation >= oldest && token->expires_ms > now_ms &&
            !crowded_out(family, i, next)) {
            append_token(array, (*count)++, token);
        }
    }
}

/* The successor of a good token. A repeated request finds its own successor stored. */
static enum err succeed(struct mongo_session *session, const Pipit__SessionRotate *request,
                        const struct family *family, uint64_t generation, bool *lost) {
    const struct mongo_token *known = find_token(family, &request->new_refresh_hash);
    if (known != NULL) {
        return known->generation == generation + 1 ? ERR_OK : ERR_EXISTS;
    }
    bson_t guard = BSON_INITIALIZER;
    bson_t fields = BSON_INITIALIZER;
    bson_t array;
    size_t count = 0;
    struct mongo_token token = {.hash = request->new_refresh_hash,
                                .generation = generation + 1,
                                .expires_ms = request->expires_ms};
    append_hash(&guard, &request->refresh_hash);
    BSON_APPEND_INT64(&fields, "current", (int64_t)generation);
    BSON_APPEND_ARRAY_BEGIN(&fields, "tokens", &array);
    prune(family, generation + 1, request->now_ms, &array, &count);
    append_token(&array, count, &token);
    bson_append_array_end(&fields, &array);
    enum err error =
        mongo_swap(session, MONGO_FAMILIES, family->id, family->rev, &guard, &fields, lost);
    bson_destroy(&fields);
    bson_destroy(&guard);
    return error;
}

static enum err end_family(struct mongo_session *session, const Pipit__SessionRotate *request,
                           const struct family *family, bool *lost) {
    bson_t guard = BSON_INITIALIZER;
    append_hash(&guard, &request->refresh_hash);
    enum err error =
        mongo_swap_delete(session, MONGO_FAMILIES, family->id, family->rev, &guard, lost);
    bson_destroy(&guard);
    return error;
}

struct rotation {
    struct mongo_session session;
    const Pipit__SessionRotate *request;
    struct arena *arena;
    Pipit__SessionReply *reply;
    bool reused; /* the family was ended, and the request is refused */
};

static enum err decide(struct rotation *rotation, const struct family *family,
                       const Pipit__User *user, bool *lost) {
    const Pipit__SessionRotate *request = rotation->request;
    struct mongo_session *session = &rotation->session;
    const struct mongo_token *token = find_token(family, &request->refresh_hash);
    if (token == NULL) {
        return ERR_CORRUPT; /* the server found it by this hash */
    }
    if (token->generation < family->current) {
        rotation->reused = true;
        return end_family(session, request, family, lost);
    }
    if (token->expires_ms <= request->now_ms) {
        return ERR_EXPIRED;
    }
    if (user->disabled) {
        return ERR_DISABLED;
    }
    enum err error = succeed(session, request, family, token->generation, lost);
    return error != ERR_OK || *lost
               ? error
               : mongo_device_seen(session, family->user, family->device, request->now_ms);
}

static enum err rotate_once(struct rotation *rotation, bool *lost) {
    struct mongo_session *session = &rotation->session;
    struct family family;
    Pipit__User *user = NULL;
    enum err error =
        find_family(session, &rotation->request->refresh_hash, rotation->arena, &family);
    if (error == ERR_OK) {
        error = mongo_user_load(session, family.user, false, rotation->arena, &user);
    }
    if (error != ERR_OK) {
        return error;
    }
    rotation->reused = false;
    error = decide(rotation, &family, user, lost);
    if (error != ERR_OK || *lost) {
        return error;
    }
    error = mongo_device_load(session, family.user, family.device, rotation->arena,
                              &rotation->reply->device);
    if (error == ERR_OK) {
        rotation->reply->user = user;
    }
    return error;
}

enum err mongo_session_rotate(struct store *store, const Pipit__SessionRotate *request,
                              struct arena *arena, Pipit__SessionReply *reply) {
    struct rotation rotation = {.request = request, .arena = arena, .reply = reply};
    if (!mongo_hash_valid(&request->refresh_hash) ||
        !mongo_hash_valid(&request->new_refresh_hash)) {
        return ERR_INVALID;
    }
    enum err error = mongo_begin(mongo_store_of(store)->db, &rotation.session);
    if (error != ERR_OK) {
        return error;
    }
    bool lost = true;
    for (unsigned i = 0; i < MONGO_RETRIES_MAX && lost; i++) {
        lost = false;
        error = rotate_once(&rotation, &lost);
    }
    mongo_end(&rotation.session);
    if (lost) {
        return ERR_UNAVAILABLE;
    }
    return error == ERR_OK && rotation.reused ? ERR_REUSED : error;
}
