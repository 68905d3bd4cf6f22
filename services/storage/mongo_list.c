/* mongo_list: a user's conversations with everything a client's list shows, in one call.
 *
 * The documents that name the user are walked in the order of their ids, one batch of a page's size
 * at a time (index on members.u and _id). What is kept elsewhere is read for the whole batch by one
 * command each: heads with the times of last messages, cursors of the user and of the peers of
 * direct conversations, the device's cursors. Only what the page returns costs more: members, one
 * further command for all, and last messages.
 *
 * Filtering by time happens while walking, so a page may look at more than it returns; `next` is
 * set when something was left. There is no snapshot over the commands: what changes meanwhile is
 * news, and the next request with since_ms tells it. Members come from a second reading, and an
 * item whose viewer is no member there any more is left out (I4). */
#include "services/storage/store_mongo.h"

#include "services/storage/mongo_filter.h"

#define DIRECT PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT
#define ACTIVE PIPIT__MEMBER_STATE__MEMBER_ACTIVE
#define LEFT PIPIT__MEMBER_STATE__MEMBER_LEFT
#define LIMIT_DEFAULT 100u
#define CURSORS_AT_ONCE 512u

struct walk {
    struct mongo_session session;
    const Pipit__ConversationsRequest *request;
    struct arena *arena;
    uint32_t limit;
    Pipit__ConversationItem **items;
    size_t count;
    bool more;
    /* the batch: room for limit + 1 */
    Pipit__ConversationItem **batch;
    size_t batch_count; /* that may be listed */
    size_t seen;        /* documents, those passed over included */
    char *last;         /* id of the last document seen */
};

static void keep_newest(uint64_t *changed_ms, uint64_t ms) {
    if (ms > *changed_ms) {
        *changed_ms = ms;
    }
}

/* --- one document */

struct decoding {
    struct walk *walk;
    Pipit__ConversationItem *item;
    bool direct;
};

static enum err decode_self(const bson_t *doc, struct decoding *decoding) {
    Pipit__Member *self = arena_alloc(decoding->walk->arena, sizeof(*self));
    if (self == NULL) {
        return ERR_NO_MEMORY;
    }
    pipit__member__init(self);
    self->user = decoding->walk->request->user;
    self->role = (Pipit__MemberRole)mongo_u64(doc, "role");
    self->state = (Pipit__MemberState)mongo_u64(doc, "state");
    self->joined_seq = mongo_u64(doc, "joined");
    self->muted = mongo_bool(doc, "muted");
    decoding->item->self = self;
    keep_newest(&decoding->item->changed_ms, mongo_u64(doc, "changed"));
    return ERR_OK;
}

static enum err decode_member(const bson_t *doc, void *user) {
    struct decoding *decoding = user;
    if (strcmp(mongo_peek(doc, "u"), decoding->walk->request->user) == 0) {
        return decode_self(doc, decoding);
    }
    if (!decoding->direct) {
        return ERR_OK;
    }
    /* The other user of a direct conversation. */
    keep_newest(&decoding->item->changed_ms, mongo_u64(doc, "changed"));
    decoding->item->peer = mongo_text(doc, "u", decoding->walk->arena);
    return decoding->item->peer == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static enum err decode(const bson_t *doc, struct walk *walk, Pipit__ConversationItem **out) {
    Pipit__ConversationItem *item = arena_alloc(walk->arena, sizeof(*item));
    Pipit__Conversation *conversation = arena_alloc(walk->arena, sizeof(*conversation));
    if (item == NULL || conversation == NULL) {
        return ERR_NO_MEMORY;
    }
    pipit__conversation_item__init(item);
    pipit__conversation__init(conversation);
    item->conversation = conversation;
    conversation->id = mongo_text(doc, "_id", walk->arena);
    if (conversation->id == NULL) {
        return ERR_NO_MEMORY;
    }
    conversation->kind = (Pipit__ConversationKind)mongo_u64(doc, "kind");
    struct decoding decoding = {.walk = walk, .item = item, .direct = conversation->kind == DIRECT};
    enum err error = mongo_each(doc, "members", decode_member, &decoding);
    if (error != ERR_OK) {
        return error;
    }
    *out = item;
    if (decoding.direct && item->peer[0] == '\0') {
        item->peer = walk->request->user; /* notes to oneself */
    }
    if (item->self == NULL || item->self->state != ACTIVE) {
        return ERR_OK; /* who left learns that, and nothing that came later */
    }
    keep_newest(&item->changed_ms, mongo_u64(doc, "changed"));
    conversation->created_ms = mongo_u64(doc, "created");
    conversation->members_version = mongo_u64(doc, "version");
    conversation->title = mongo_text(doc, "title", walk->arena);
    return conversation->title == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static enum err visit(const bson_t *doc, void *user) {
    struct walk *walk = user;
    Pipit__ConversationItem *item = NULL;
    enum err error = decode(doc, walk, &item);
    if (error != ERR_OK) {
        return error;
    }
    walk->seen++;
    walk->last = item->conversation->id;
    bool listed =
        item->self != NULL && (item->self->state == ACTIVE || walk->request->since_ms != 0);
    if (listed) {
        walk->batch[walk->batch_count++] = item;
    }
    return ERR_OK;
}

/* --- one batch */

static enum err read_batch(struct walk *walk) {
    const Pipit__ConversationsRequest *request = walk->request;
    bson_t filter = BSON_INITIALIZER;
    bson_t sort;
    bson_t after;
    mongo_sort_by_id(&sort);
    if (request->conversation[0] != '\0') {
        BSON_APPEND_UTF8(&filter, "_id", request->conversation);
    } else {
        BSON_APPEND_UTF8(&filter, "members.u", request->user);
        BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &after);
        BSON_APPEND_UTF8(&after, "$gt", walk->last);
        bson_append_document_end(&filter, &after);
    }
    struct mongo_find find = {.collection = MONGO_CONVERSATIONS,
                              .filter = &filter,
                              .sort = &sort,
                              .limit = walk->limit + 1};
    walk->seen = walk->batch_count = 0;
    enum err error = mongo_find(&walk->session, &find, visit, walk);
    bson_destroy(&sort);
    bson_destroy(&filter);
    return error;
}

static enum err fill_heads(struct walk *walk, const char *const *ids) {
    size_t count = walk->batch_count;
    uint64_t *heads = arena_alloc(walk->arena, count * sizeof(*heads));
    uint64_t *times_ms = arena_alloc(walk->arena, count * sizeof(*times_ms));
    if (heads == NULL || times_ms == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = mongo_heads_read(&walk->session, ids, count, heads, times_ms);
    for (size_t i = 0; i < count && error == ERR_OK; i++) {
        Pipit__ConversationItem *item = walk->batch[i];
        if (item->self->state != ACTIVE) {
            continue;
        }
        item->conversation->head = heads[i];
        if (heads[i] > item->self->joined_seq) {
            keep_newest(&item->changed_ms, times_ms[i]);
        }
    }
    return error;
}

/* The user's cursors, and behind them the peers' of direct conversations. */
static enum err fill_cursors(struct walk *walk, const char **ids) {
    size_t count = walk->batch_count;
    const char **users = arena_alloc(walk->arena, 2 * count * sizeof(*users));
    struct mongo_cursor *cursors = arena_alloc(walk->arena, 2 * count * sizeof(*cursors));
    if (users == NULL || cursors == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        const char *peer = walk->batch[i]->peer;
        users[i] = walk->request->user;
        users[count + i] = peer[0] != '\0' ? peer : walk->request->user;
        ids[count + i] = ids[i];
    }
    enum err error = mongo_cursors_read(&walk->session, ids, users, 2 * count, cursors);
    for (size_t i = 0; i < count && error == ERR_OK; i++) {
        Pipit__ConversationItem *item = walk->batch[i];
        item->self->read_seq = cursors[i].read_seq;
        item->self->delivered_seq = cursors[i].delivered_seq;
        if (item->self->state == ACTIVE) {
            keep_newest(&item->changed_ms, cursors[i].changed_ms);
            keep_newest(&item->changed_ms, cursors[count + i].changed_ms);
        }
    }
    return error;
}

static void derive_unread(Pipit__ConversationItem *item) {
    const Pipit__Member *self = item->self;
    uint64_t seen = self->read_seq > self->joined_seq ? self->read_seq : self->joined_seq;
    uint64_t head = item->conversation->head;
    item->unread = head > seen ? head - seen : 0;
}

static enum err fill_batch(struct walk *walk) {
    size_t count = walk->batch_count;
    if (count == 0) {
        return ERR_OK;
    }
    const char **ids = arena_alloc(walk->arena, 2 * count * sizeof(*ids));
    if (ids == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        ids[i] = walk->batch[i]->conversation->id;
    }
    enum err error = fill_heads(walk, ids);
    return error != ERR_OK ? error : fill_cursors(walk, ids);
}

/* Takes over what belongs to the page. */
static void take_batch(struct walk *walk) {
    for (size_t i = 0; i < walk->batch_count; i++) {
        Pipit__ConversationItem *item = walk->batch[i];
        if (item->changed_ms < walk->request->since_ms) {
            continue;
        }
        if (walk->count == walk->limit) {
            walk->more = true;
            return;
        }
        derive_unread(item);
        walk->items[walk->count++] = item;
    }
}

static enum err collect(struct walk *walk) {
    bool single = walk->request->conversation[0] != '\0';
    bool end = false;
    enum err error = ERR_OK;
    walk->last = walk->request->after;
    if (!mongo_id_valid(walk->request->user) ||
        (single && (!mongo_id_valid(walk->request->conversation) ||
                    strcmp(walk->request->conversation, walk->request->after) <= 0))) {
        return ERR_OK; /* nobody's, no conversation's, or on the page before */
    }
    while (error == ERR_OK && !walk->more && !end) {
        error = read_batch(walk);
        if (error == ERR_OK) {
            error = fill_batch(walk);
        }
        if (error == ERR_OK) {
            take_batch(walk);
            end = single || walk->seen <= walk->limit;
        }
    }
    return error;
}

/* --- what only the page's items cost */

static const char **list_ids(struct walk *walk) {
    const char **ids = arena_alloc(walk->arena, (walk->count + 1) * sizeof(*ids));
    for (size_t i = 0; i < walk->count && ids != NULL; i++) {
        ids[i] = walk->items[i]->conversation->id;
    }
    return ids;
}

static enum err add_devices(struct walk *walk, Pipit__ConversationsReply *reply) {
    const Pipit__ConversationsRequest *request = walk->request;
    const char **ids = list_ids(walk);
    uint64_t *delivered = arena_alloc(walk->arena, (walk->count + 1) * sizeof(*delivered));
    bool known = false;
    if (ids == NULL || delivered == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = mongo_device_cursors_read(&walk->session, request->user, request->device, ids,
                                               walk->count, delivered, &known);
    for (size_t i = 0; i < walk->count && error == ERR_OK; i++) {
        Pipit__ConversationItem *item = walk->items[i];
        if (item->self->state == ACTIVE && delivered[i] > 0) {
            item->device_known = true;
            item->device_delivered_seq = delivered[i];
        }
    }
    if (error == ERR_OK) {
        reply->device_known = known;
    }
    return error;
}

/* Members whose cursors are still to be read: of many small groups by one command. */
struct pending_cursors {
    const char *ids[CURSORS_AT_ONCE], *users[CURSORS_AT_ONCE];
    Pipit__Member *members[CURSORS_AT_ONCE];
    struct mongo_cursor cursors[CURSORS_AT_ONCE];
    size_t count;
};

static enum err flush_cursors(struct walk *walk, struct pending_cursors *pending) {
    if (pending->count == 0) {
        return ERR_OK;
    }
    enum err error = mongo_cursors_read(&walk->session, pending->ids, pending->users,
                                        pending->count, pending->cursors);
    for (size_t i = 0; i < pending->count && error == ERR_OK; i++) {
        pending->members[i]->read_seq = pending->cursors[i].read_seq;
        pending->members[i]->delivered_seq = pending->cursors[i].delivered_seq;
    }
    pending->count = 0;
    return error;
}

static enum err take_members(struct walk *walk, Pipit__Conversation *to,
                             const Pipit__Conversation *from, struct pending_cursors *pending) {
    size_t kept = 0;
    enum err error = ERR_OK;
    for (size_t i = 0; i < from->n_members && error == ERR_OK; i++) {
        Pipit__Member *member = from->members[i];
        if (member->state == LEFT) {
            continue;
        }
        from->members[kept++] = member;
        pending->ids[pending->count] = to->id;
        pending->users[pending->count] = member->user;
        pending->members[pending->count++] = member;
        if (pending->count == CURSORS_AT_ONCE) {
            error = flush_cursors(walk, pending);
        }
    }
    to->members = from->members;
    to->n_members = kept;
    to->members_version = from->members_version;
    to->title = from->title;
    return error;
}

static enum err add_members(struct walk *walk) {
    const char **ids = list_ids(walk);
    struct mongo_conversation *found = arena_alloc(walk->arena, (walk->count + 1) * sizeof(*found));
    struct pending_cursors *pending = arena_alloc(walk->arena, sizeof(*pending));
    if (ids == NULL || found == NULL || pending == NULL) {
        return ERR_NO_MEMORY;
    }
    pending->count = 0;
    enum err error = mongo_conversations_read(&walk->session, ids, walk->count, walk->arena, found);
    size_t kept = 0;
    for (size_t i = 0; i < walk->count && error == ERR_OK; i++) {
        Pipit__ConversationItem *item = walk->items[i];
        if (item->self->state == ACTIVE) {
            const Pipit__Member *self =
                found[i].proto == NULL ? NULL : mongo_member_of(&found[i], walk->request->user);
            if (self == NULL || self->state != ACTIVE) {
                continue;
            }
            error = take_members(walk, item->conversation, found[i].proto, pending);
        }
        walk->items[kept++] = item;
    }
    walk->count = kept;
    return error != ERR_OK ? error : flush_cursors(walk, pending);
}

static enum err add_last_messages(struct walk *walk) {
    for (size_t i = 0; i < walk->count; i++) {
        Pipit__ConversationItem *item = walk->items[i];
        const Pipit__Conversation *conversation = item->conversation;
        if (item->self->state != ACTIVE || conversation->head <= item->self->joined_seq) {
            continue;
        }
        enum err error = mongo_message_at(&walk->session, conversation->id, conversation->head,
                                          walk->arena, &item->last_message);
        if (error != ERR_OK && error != ERR_NOT_FOUND) {
            return error;
        }
    }
    return ERR_OK;
}

static enum err list(struct walk *walk, Pipit__ConversationsReply *reply) {
    const Pipit__ConversationsRequest *request = walk->request;
    enum err error = collect(walk);
    if (error == ERR_OK && walk->more) {
        reply->next = walk->items[walk->count - 1]->conversation->id;
    }
    if (error == ERR_OK && request->with_members && walk->count > 0) {
        error = add_members(walk);
    }
    if (error == ERR_OK && request->with_last_message) {
        error = add_last_messages(walk);
    }
    if (error == ERR_OK && mongo_id_valid(request->device)) {
        error = add_devices(walk, reply);
    }
    reply->items = walk->items;
    reply->n_items = error == ERR_OK ? walk->count : 0;
    return error;
}

enum err mongo_conversations(struct store *store, const Pipit__ConversationsRequest *request,
                             struct arena *arena, Pipit__ConversationsReply *reply) {
    struct mongo_store *self = mongo_store_of(store);
    struct walk walk = {.request = request, .arena = arena};
    walk.limit = request->limit == 0 ? LIMIT_DEFAULT
                                     : mongo_limit(request->limit, STORE_CONVERSATIONS_LIMIT_MAX);
    walk.items = arena_alloc(arena, walk.limit * sizeof(*walk.items));
    walk.batch = arena_alloc(arena, (walk.limit + 1) * sizeof(*walk.batch));
    reply->epoch = mongo_store_epoch(self, arena);
    if (!mongo_text_valid(request->after)) {
        return ERR_INVALID;
    }
    if (walk.items == NULL || walk.batch == NULL || reply->epoch == NULL) {
        reply->epoch = "";
        return ERR_NO_MEMORY;
    }
    enum err error = mongo_begin(self->db, &walk.session);
    if (error != ERR_OK) {
        return error;
    }
    error = list(&walk, reply);
    mongo_end(&walk.session);
    return error;
}
