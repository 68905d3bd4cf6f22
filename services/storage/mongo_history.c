/* mongo_history: reading the log: pages, heads, and the search for an MQTT publication's origin.
 *
 * There is no snapshot over several reads, so their order makes the answer right. First the stored
 * head: what is not below it is not read. Then the viewer's membership: who was removed before a
 * message of this page was stored is seen to be removed. Then the messages, which never change.
 * A removal in between is as good as one right after the answer.
 *
 * seq is dense, so whether there is more follows from the last seq and the head, and a hole can
 * only be damage (ERR_CORRUPT). Only the end may be missing for a moment, when a failover comes
 * between the head and the messages: another server answers, which does not know yet how much is
 * durable. */
#include "services/storage/mongo_log.h"

/* Messages that travel at once: a page of large bodies ends after a few of the 256 it may have. */
#define PAGE_BATCH 64u

/* --- pages */

struct page {
    const char *id;
    struct arena *arena;
    bool backwards;
    uint64_t expected; /* seq of the next document */
    uint32_t limit;
    size_t bytes_max, bytes;
    Pipit__StoredMessage **messages;
    size_t count;
};

static enum err take_message(const bson_t *doc, void *user) {
    struct page *page = user;
    uint64_t seq = mongo_u64(doc, MONGO_LOG_SEQ);
    if (seq != page->expected || page->count == page->limit) {
        bool behind = page->backwards && page->count == 0 && seq < page->expected;
        return behind ? ERR_UNAVAILABLE : ERR_CORRUPT; /* the log has no holes */
    }
    Pipit__StoredMessage *message = NULL;
    enum err error = mongo_log_decode(doc, page->id, page->arena, &message);
    if (error != ERR_OK) {
        return error;
    }
    if (page->count > 0 && page->bytes + message->body.len > page->bytes_max) {
        return ERR_EXISTS; /* enough */
    }
    page->bytes += message->body.len;
    page->messages[page->count++] = message;
    page->expected = page->backwards ? page->expected - 1 : page->expected + 1;
    return ERR_OK;
}

/* Messages above..to, from the end that the page begins with. */
static enum err read_page(struct mongo_session *session, uint64_t above, uint64_t to,
                          struct page *page) {
    if (above >= to) {
        return ERR_OK;
    }
    bson_t filter;
    bson_t sort = BSON_INITIALIZER;
    mongo_log_range(&filter, page->id, above, to);
    BSON_APPEND_INT32(&sort, MONGO_LOG_SEQ, page->backwards ? -1 : 1);
    struct mongo_find find = {.collection = MONGO_MESSAGES,
                              .filter = &filter,
                              .sort = &sort,
                              .limit = page->limit,
                              .batch = PAGE_BATCH};
    page->expected = page->backwards ? to : above + 1;
    enum err error = mongo_find(session, &find, take_message, page);
    bson_destroy(&sort);
    bson_destroy(&filter);
    return error == ERR_OK && page->count == 0 ? ERR_UNAVAILABLE : error;
}

static void reverse(Pipit__StoredMessage **messages, size_t count) {
    for (size_t i = 0; i < count / 2; i++) {
        Pipit__StoredMessage *message = messages[i];
        messages[i] = messages[count - 1 - i];
        messages[count - 1 - i] = message;
    }
}

static enum err read_head(struct mongo_session *session, const char *id, uint64_t *head) {
    uint64_t ts_ms = 0;
    return mongo_heads_read(session, &id, 1, head, &ts_ms);
}

/* May this page be read, and from where on? */
static enum err admit(struct mongo_session *session, const Pipit__HistoryRequest *request,
                      uint64_t head, struct arena *arena, uint64_t *joined_seq) {
    struct mongo_conversation conversation;
    uint64_t version = 0;
    const char *id = request->conversation;
    if (request->viewer[0] == '\0') {
        enum err error = head > 0 ? ERR_OK : mongo_versions(session, &id, 1, &version);
        return error == ERR_OK && head == 0 && version == 0 ? ERR_NOT_FOUND : error;
    }
    enum err error = mongo_conversation_read(session, id, arena, &conversation);
    if (error != ERR_OK) {
        return error == ERR_NOT_FOUND ? ERR_NOT_MEMBER : error;
    }
    const Pipit__Member *member = mongo_member_of(&conversation, request->viewer);
    if (member == NULL || member->state != PIPIT__MEMBER_STATE__MEMBER_ACTIVE) {
        return ERR_NOT_MEMBER;
    }
    *joined_seq = member->joined_seq;
    return ERR_OK;
}

static uint64_t smallest(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static uint64_t largest(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static enum err history(struct mongo_session *session, const Pipit__HistoryRequest *request,
                        struct arena *arena, Pipit__HistoryReply *reply) {
    uint64_t head = 0;
    uint64_t floor = 0;
    enum err error = read_head(session, request->conversation, &head);
    if (error == ERR_OK) {
        error = admit(session, request, head, arena, &floor);
    }
    if (error != ERR_OK) {
        return error;
    }
    struct page page = {.id = request->conversation,
                        .arena = arena,
                        .backwards = request->before_seq != 0,
                        .limit = mongo_limit(request->limit, STORE_HISTORY_LIMIT_MAX),
                        .bytes_max = STORE_HISTORY_BYTES_DEFAULT};
    if (request->bytes_max != 0) {
        page.bytes_max = mongo_limit(request->bytes_max, STORE_HISTORY_BYTES_MAX);
    }
    page.messages = arena_alloc(arena, page.limit * sizeof(struct Pipit__StoredMessage *));
    if (page.messages == NULL) {
        return ERR_NO_MEMORY;
    }
    error = page.backwards
                ? read_page(session, floor, smallest(request->before_seq - 1, head), &page)
                : read_page(session, largest(request->after_seq, floor), head, &page);
    if (error != ERR_OK) {
        return error;
    }
    if (page.backwards) {
        reverse(page.messages, page.count);
        reply->has_more = page.count > 0 && page.messages[0]->seq > floor + 1;
    } else {
        reply->has_more = page.count > 0 && page.messages[page.count - 1]->seq < head;
    }
    reply->messages = page.messages;
    reply->n_messages = page.count;
    reply->head = head;
    reply->joined_seq = floor;
    return ERR_OK;
}

enum err mongo_history(struct store *store, const Pipit__HistoryRequest *request,
                       struct arena *arena, Pipit__HistoryReply *reply) {
    struct mongo_session session;
    if (!mongo_id_valid(request->conversation)) {
        return request->viewer[0] == '\0' ? ERR_NOT_FOUND : ERR_NOT_MEMBER;
    }
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error == ERR_OK) {
        error = history(&session, request, arena, reply);
        mongo_end(&session);
    }
    return error;
}

/* --- one message */

enum err mongo_message_at(struct mongo_session *session, const char *conversation, uint64_t seq,
                          struct arena *arena, Pipit__StoredMessage **message) {
    bson_t filter;
    bson_t doc;
    if (seq == 0) {
        return ERR_NOT_FOUND;
    }
    mongo_log_range(&filter, conversation, seq - 1, seq);
    struct mongo_find find = {.collection = MONGO_MESSAGES, .filter = &filter};
    enum err error = mongo_find_one(session, &find, &doc);
    if (error == ERR_OK) {
        error = mongo_log_decode(&doc, conversation, arena, message);
    }
    bson_destroy(&doc);
    bson_destroy(&filter);
    return error;
}

/* --- heads */

/* numbers: heads, times, versions of `count` each. Heads first, so that a version is not older. */
static enum err read_heads(struct store *store, const Pipit__HeadsRequest *request,
                           uint64_t *numbers) {
    struct mongo_session session;
    size_t count = request->n_conversations;
    const char *const *ids = (const char *const *)request->conversations;
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    error = mongo_heads_read(&session, ids, count, numbers, numbers + count);
    if (error == ERR_OK) {
        error = mongo_versions(&session, ids, count, numbers + 2 * count);
    }
    mongo_end(&session);
    return error;
}

enum err mongo_heads(struct store *store, const Pipit__HeadsRequest *request, struct arena *arena,
                     Pipit__HeadsReply *reply) {
    size_t count = request->n_conversations;
    if (count == 0) {
        return ERR_OK;
    }
    if (count > STORE_HEADS_MAX) {
        return ERR_TOO_LARGE;
    }
    for (size_t i = 0; i < count; i++) {
        if (!mongo_id_valid(request->conversations[i])) {
            return ERR_INVALID;
        }
    }
    Pipit__ConversationHead *found = arena_alloc(arena, count * sizeof(*found));
    uint64_t *numbers = arena_alloc(arena, 3 * count * sizeof(*numbers));
    reply->heads = arena_alloc(arena, count * sizeof(*reply->heads));
    if (found == NULL || numbers == NULL || reply->heads == NULL) {
        return ERR_NO_MEMORY;
    }
    enum err error = read_heads(store, request, numbers);
    if (error != ERR_OK) {
        return error;
    }
    for (size_t i = 0; i < count; i++) {
        pipit__conversation_head__init(&found[i]);
        found[i].head = numbers[i];
        found[i].members_version = numbers[2 * count + i];
        reply->heads[i] = &found[i];
    }
    reply->n_heads = count;
    return ERR_OK;
}

/* --- origin */

struct search {
    const Pipit__OriginRequest *request;
    struct arena *arena;
    Pipit__OriginReply *reply;
    bool found;
};

static bool same_origin(const bson_t *doc, const Pipit__OriginRequest *request) {
    const Pipit__Origin *origin = request->origin;
    bson_t item;
    if (!mongo_document(doc, "origin", &item) ||
        strcmp(mongo_peek(doc, "sender"), request->sender) != 0) {
        return false;
    }
    ProtobufCBinaryData hash = mongo_peek_bytes(&item, "hash");
    return hash.len == origin->hash.len && hash.len > 0 &&
           memcmp(hash.data, origin->hash.data, hash.len) == 0 &&
           mongo_u64(&item, "packet") == origin->packet_id &&
           strcmp(mongo_peek(&item, "device"), origin->device) == 0;
}

static enum err look_at(const bson_t *doc, void *user) {
    struct search *search = user;
    uint64_t ts_ms = mongo_u64(doc, MONGO_LOG_TS);
    if (ts_ms < search->request->since_ms) {
        return ERR_EXISTS; /* older ones are not wanted */
    }
    if (!same_origin(doc, search->request)) {
        return ERR_OK;
    }
    search->found = true;
    search->reply->seq = mongo_u64(doc, MONGO_LOG_SEQ);
    search->reply->ts_ms = ts_ms;
    enum err error = mongo_bytes(doc, "_id", search->arena, &search->reply->id);
    return error != ERR_OK ? error : ERR_EXISTS;
}

static enum err find_origin(struct mongo_session *session, struct search *search) {
    static const char *const fields[] = {MONGO_LOG_SEQ, MONGO_LOG_TS, "sender", "origin"};
    bson_t filter = BSON_INITIALIZER;
    bson_t projection = BSON_INITIALIZER;
    bson_t sort = BSON_INITIALIZER;
    BSON_APPEND_UTF8(&filter, MONGO_LOG_CONVERSATION, search->request->conversation);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        BSON_APPEND_INT32(&projection, fields[i], 1);
    }
    BSON_APPEND_INT32(&sort, MONGO_LOG_SEQ, -1);
    struct mongo_find find = {.collection = MONGO_MESSAGES,
                              .filter = &filter,
                              .projection = &projection,
                              .sort = &sort,
                              .limit =
                                  mongo_limit(search->request->tail_max, STORE_ORIGIN_TAIL_MAX)};
    enum err error = mongo_find(session, &find, look_at, search);
    bson_destroy(&sort);
    bson_destroy(&projection);
    bson_destroy(&filter);
    return error;
}

/* What is told to be stored must be visible: its head may lag when who stored it died. */
static enum err show(struct mongo_session *session, const char *conversation,
                     const Pipit__OriginReply *reply) {
    uint64_t head = 0;
    enum err error = read_head(session, conversation, &head);
    if (error != ERR_OK || head >= reply->seq) {
        return error;
    }
    struct mongo_head raised = {conversation, reply->seq, reply->ts_ms};
    return mongo_heads_raise(session, &raised, 1);
}

enum err mongo_origin(struct store *store, const Pipit__OriginRequest *request, struct arena *arena,
                      Pipit__OriginReply *reply) {
    struct mongo_session session;
    struct search search = {.request = request, .arena = arena, .reply = reply};
    if (request->origin == NULL) {
        return ERR_INVALID;
    }
    if (!mongo_id_valid(request->conversation)) {
        return ERR_NOT_FOUND;
    }
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    error = find_origin(&session, &search);
    if (error == ERR_OK && search.found) {
        error = show(&session, request->conversation, reply);
    }
    mongo_end(&session);
    return error == ERR_OK && !search.found ? ERR_NOT_FOUND : error;
}
