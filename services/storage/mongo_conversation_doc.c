/* mongo_conversation_doc: a conversation as one document, members embedded:
 *
 *   {_id, kind, title, creator, created, changed, version, rev,
 *    members: [{u, role, state, joined, muted, changed}]}
 *
 * One document is what MongoDB changes atomically, and the rules of membership.h look at all
 * members at once, so they live together: a group of 1000 is about 100 KiB, changed seldom. Members
 * stand in the order in which they (last) joined; who left stays in place until joining again, and
 * those who left longest ago are forgotten beyond a bound. `version` is what routing and clients
 * know and grows with every change of members or title; `rev` is compared by each write. */
#include "services/storage/mongo_members.h"

#include "services/storage/mongo_places.h"
#include "services/storage/mongo_swap.h"

#define LEFT PIPIT__MEMBER_STATE__MEMBER_LEFT

struct decoding {
    struct mongo_conversation *conversation;
    struct arena *arena;
};

static enum err count_item(const bson_t *item, void *user) {
    (void)item;
    size_t *count = user;
    ++*count;
    return ERR_OK;
}

static enum err decode_member(const bson_t *item, void *user) {
    struct decoding *decoding = user;
    Pipit__Conversation *proto = decoding->conversation->proto;
    Pipit__Member *member = arena_alloc(decoding->arena, sizeof(*member));
    if (member == NULL) {
        return ERR_NO_MEMORY;
    }
    pipit__member__init(member);
    member->user = mongo_text(item, "u", decoding->arena);
    if (member->user == NULL) {
        return ERR_NO_MEMORY;
    }
    member->role = (Pipit__MemberRole)mongo_u64(item, "role");
    member->state = (Pipit__MemberState)mongo_u64(item, "state");
    member->joined_seq = mongo_u64(item, "joined");
    member->muted = mongo_bool(item, "muted");
    decoding->conversation->member_changed_ms[proto->n_members] = mongo_u64(item, "changed");
    proto->members[proto->n_members++] = member;
    return ERR_OK;
}

static enum err decode_members(const bson_t *doc, struct decoding *decoding) {
    struct mongo_conversation *conversation = decoding->conversation;
    size_t count = 0;
    enum err error = mongo_each(doc, "members", count_item, &count);
    if (error != ERR_OK || count == 0) {
        return error;
    }
    struct arena *arena = decoding->arena;
    conversation->proto->members =
        arena_alloc(arena, count * sizeof(*conversation->proto->members));
    conversation->member_changed_ms =
        arena_alloc(arena, count * sizeof(*conversation->member_changed_ms));
    if (conversation->proto->members == NULL || conversation->member_changed_ms == NULL) {
        return ERR_NO_MEMORY;
    }
    return mongo_each(doc, "members", decode_member, decoding);
}

static enum err decode(const bson_t *doc, struct arena *arena, struct mongo_conversation *out) {
    Pipit__Conversation *proto = arena_alloc(arena, sizeof(*proto));
    if (proto == NULL) {
        return ERR_NO_MEMORY;
    }
    pipit__conversation__init(proto);
    struct mongo_conversation conversation = {.proto = proto};
    proto->id = mongo_text(doc, "_id", arena);
    proto->title = mongo_text(doc, "title", arena);
    conversation.creator = mongo_text(doc, "creator", arena);
    if (proto->id == NULL || proto->title == NULL || conversation.creator == NULL) {
        return ERR_NO_MEMORY;
    }
    proto->kind = (Pipit__ConversationKind)mongo_u64(doc, "kind");
    proto->created_ms = mongo_u64(doc, "created");
    proto->members_version = mongo_u64(doc, "version");
    conversation.changed_ms = mongo_u64(doc, "changed");
    conversation.rev = mongo_u64(doc, MONGO_REV);
    struct decoding decoding = {.conversation = &conversation, .arena = arena};
    enum err error = decode_members(doc, &decoding);
    if (error == ERR_OK) {
        *out = conversation;
    }
    return error;
}

enum err mongo_conversation_read(struct mongo_session *session, const char *id, struct arena *arena,
                                 struct mongo_conversation *out) {
    bson_t doc;
    if (!mongo_id_valid(id)) {
        return ERR_NOT_FOUND;
    }
    enum err error = mongo_get(session, MONGO_CONVERSATIONS, id, &doc);
    if (error == ERR_OK) {
        error = decode(&doc, arena, out);
    }
    bson_destroy(&doc);
    return error;
}

/* --- several at once */

struct lookup {
    struct mongo_places places;
    struct arena *arena;
    struct mongo_conversation *conversations; /* one of the two is NULL */
    uint64_t *versions;
};

static enum err place_found(const bson_t *doc, void *user) {
    struct lookup *lookup = user;
    bson_iter_t iter;
    if (!bson_iter_init_find(&iter, doc, "_id") || !BSON_ITER_HOLDS_UTF8(&iter)) {
        return ERR_CORRUPT;
    }
    size_t count = 0;
    const struct mongo_place *found =
        mongo_places_find(&lookup->places, bson_iter_utf8(&iter, NULL), &count);
    enum err error = ERR_OK;
    for (size_t i = 0; i < count && error == ERR_OK; i++) {
        if (lookup->versions != NULL) {
            lookup->versions[found[i].place] = mongo_u64(doc, "version");
        } else {
            error = decode(doc, lookup->arena, &lookup->conversations[found[i].place]);
        }
    }
    return error;
}

static enum err look_up(struct mongo_session *session, const char *const *ids, size_t count,
                        struct lookup *lookup) {
    if (count == 0) {
        return ERR_OK;
    }
    enum err error = mongo_places_init(&lookup->places, ids, count);
    if (error != ERR_OK) {
        return error;
    }
    bson_t filter = BSON_INITIALIZER;
    bson_t projection = BSON_INITIALIZER;
    mongo_append_in(&filter, "_id", ids, count);
    BSON_APPEND_INT32(&projection, "version", 1);
    struct mongo_find find = {.collection = MONGO_CONVERSATIONS, .filter = &filter};
    if (lookup->versions != NULL) {
        find.projection = &projection;
    }
    error = mongo_find(session, &find, place_found, lookup);
    bson_destroy(&projection);
    bson_destroy(&filter);
    mongo_places_finish(&lookup->places);
    return error;
}

enum err mongo_conversations_read(struct mongo_session *session, const char *const *ids,
                                  size_t count, struct arena *arena,
                                  struct mongo_conversation *out) {
    struct lookup lookup = {.arena = arena, .conversations = out};
    for (size_t i = 0; i < count; i++) {
        out[i] = (struct mongo_conversation){.proto = NULL};
    }
    return look_up(session, ids, count, &lookup);
}

enum err mongo_versions(struct mongo_session *session, const char *const *ids, size_t count,
                        uint64_t *versions) {
    struct lookup lookup = {.versions = versions};
    for (size_t i = 0; i < count; i++) {
        versions[i] = 0;
    }
    return look_up(session, ids, count, &lookup);
}

Pipit__Member *mongo_member_of(const struct mongo_conversation *conversation, const char *user) {
    for (size_t i = 0; i < conversation->proto->n_members; i++) {
        if (strcmp(conversation->proto->members[i]->user, user) == 0) {
            return conversation->proto->members[i];
        }
    }
    return NULL;
}

/* --- writing */

static void encode_members(const struct mongo_conversation *conversation, bson_t *fields) {
    const Pipit__Conversation *proto = conversation->proto;
    bson_t array;
    BSON_APPEND_ARRAY_BEGIN(fields, "members", &array);
    for (size_t i = 0; i < proto->n_members; i++) {
        const Pipit__Member *member = proto->members[i];
        char room[16];
        const char *place = NULL;
        bson_t item;
        (void)bson_uint32_to_string((uint32_t)i, &place, room, sizeof(room));
        BSON_APPEND_DOCUMENT_BEGIN(&array, place, &item);
        BSON_APPEND_UTF8(&item, "u", member->user);
        BSON_APPEND_INT64(&item, "role", (int64_t)member->role);
        BSON_APPEND_INT64(&item, "state", (int64_t)member->state);
        BSON_APPEND_INT64(&item, "joined", (int64_t)member->joined_seq);
        BSON_APPEND_BOOL(&item, "muted", member->muted != 0);
        BSON_APPEND_INT64(&item, "changed", (int64_t)conversation->member_changed_ms[i]);
        bson_append_document_end(&array, &item);
    }
    bson_append_array_end(fields, &array);
}

/* What a change may touch. */
static void encode_mutable(const struct mongo_conversation *conversation, bson_t *fields) {
    BSON_APPEND_UTF8(fields, "title", conversation->proto->title);
    BSON_APPEND_INT64(fields, "version", (int64_t)conversation->proto->members_version);
    BSON_APPEND_INT64(fields, "changed", (int64_t)conversation->changed_ms);
    encode_members(conversation, fields);
}

void mongo_conversation_encode(const struct mongo_conversation *conversation, bson_t *doc) {
    const Pipit__Conversation *proto = conversation->proto;
    BSON_APPEND_UTF8(doc, "_id", proto->id);
    BSON_APPEND_INT64(doc, "kind", (int64_t)proto->kind);
    BSON_APPEND_UTF8(doc, "creator", conversation->creator);
    BSON_APPEND_INT64(doc, "created", (int64_t)proto->created_ms);
    BSON_APPEND_INT64(doc, MONGO_REV, (int64_t)conversation->rev);
    encode_mutable(conversation, doc);
}

enum err mongo_conversation_write(struct mongo_session *session,
                                  const struct mongo_conversation *conversation, bool *lost) {
    bson_t fields = BSON_INITIALIZER;
    encode_mutable(conversation, &fields);
    enum err error = mongo_swap(session, MONGO_CONVERSATIONS, conversation->proto->id,
                                conversation->rev, NULL, &fields, lost);
    bson_destroy(&fields);
    return error;
}

/* How many of those who left changed after this one: its rank among the kept. */
static size_t former_rank(const struct mongo_member *order, size_t count, size_t place) {
    size_t rank = 0;
    for (size_t i = 0; i < count; i++) {
        bool later = order[i].changed_ms > order[place].changed_ms ||
                     (order[i].changed_ms == order[place].changed_ms && i > place);
        rank += order[i].member->state == LEFT && later;
    }
    return rank;
}

enum err mongo_conversation_set_members(struct mongo_conversation *conversation,
                                        const struct mongo_member *order, size_t count,
                                        size_t former_max, struct arena *arena) {
    Pipit__Member **members = arena_alloc(arena, (count + 1) * sizeof(*members));
    uint64_t *changed_ms = arena_alloc(arena, (count + 1) * sizeof(*changed_ms));
    if (members == NULL || changed_ms == NULL) {
        return ERR_NO_MEMORY;
    }
    size_t former = 0;
    for (size_t i = 0; i < count; i++) {
        former += order[i].member->state == LEFT;
    }
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        bool left = order[i].member->state == LEFT;
        if (left && former > former_max && former_rank(order, count, i) >= former_max) {
            continue;
        }
        members[used] = order[i].member;
        changed_ms[used++] = order[i].changed_ms;
    }
    conversation->proto->members = members;
    conversation->proto->n_members = used;
    conversation->member_changed_ms = changed_ms;
    return ERR_OK;
}
