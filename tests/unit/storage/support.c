/* support: see support.h. */
#include "tests/unit/storage/support.h"

#include "common/id.h"
#include <ftw.h>
#include <stdio.h>

void support_make_dir(char dir[64]) {
    (void)snprintf(dir, 64, "/tmp/pipit-unit-XXXXXX");
    assert_non_null(mkdtemp(dir));
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place) {
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

void support_remove(const char *dir) {
    assert_int_equal(nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

enum err support_open(const char *dir, struct store **out, struct buf *problem) {
    char url[256];
    struct buf own;
    (void)snprintf(url, sizeof(url), "sqlite:%s", dir);
    struct store_config config = {.url = url, .readers = 2, .members_max = 10};
    buf_init(&own, 1024);
    enum err error = store_open(&config, out, problem != NULL ? problem : &own);
    buf_finish(&own);
    return error;
}

enum err support_user(struct store *store, struct arena *arena, const char *name) {
    char id[64];
    (void)snprintf(id, sizeof(id), "u_%s", name);
    Pipit__User user = PIPIT__USER__INIT;
    user.id = id;
    user.name = (char *)name;
    Pipit__UserCreate request = PIPIT__USER_CREATE__INIT;
    request.user = &user;
    request.now_ms = SUPPORT_NOW_MS;
    Pipit__UserReply reply = PIPIT__USER_REPLY__INIT;
    return store->ops->user_create(store, &request, arena, &reply);
}

enum err support_group(struct store *store, struct arena *arena, const char *id,
                       const char *creator) {
    Pipit__ConversationCreate request = PIPIT__CONVERSATION_CREATE__INIT;
    request.id = (char *)id;
    request.creator = (char *)creator;
    request.now_ms = SUPPORT_NOW_MS;
    Pipit__ConversationReply reply = PIPIT__CONVERSATION_REPLY__INIT;
    Pipit__MembersChanged *changed = NULL;
    return store->ops->conversation_create(store, &request, arena, &reply, &changed);
}

Pipit__AppendBatch *support_batch(struct arena *arena, const char *conversation, uint64_t first_seq,
                                  size_t count, size_t body_bytes) {
    Pipit__AppendBatch *batch = arena_alloc(arena, sizeof(*batch));
    Pipit__AppendRun *run = arena_alloc(arena, sizeof(*run));
    Pipit__AppendRun **runs = arena_alloc(arena, sizeof(*runs));
    Pipit__StoredMessage *messages = arena_alloc(arena, count * sizeof(*messages));
    Pipit__StoredMessage **pointers = arena_alloc(arena, count * sizeof(*pointers));
    uint8_t *ids = arena_alloc(arena, count * ID_UUID_BYTES);
    uint8_t *body = arena_alloc(arena, body_bytes + 1);
    if (batch == NULL || run == NULL || runs == NULL || messages == NULL || pointers == NULL ||
        ids == NULL || body == NULL) {
        return NULL;
    }
    id_random(body, body_bytes); /* does not compress */
    pipit__append_batch__init(batch);
    pipit__append_run__init(run);
    for (size_t i = 0; i < count; i++) {
        pipit__stored_message__init(&messages[i]);
        id_random(ids + i * ID_UUID_BYTES, ID_UUID_BYTES); /* differs in forked children, too */
        messages[i].id = (ProtobufCBinaryData){ID_UUID_BYTES, ids + i * ID_UUID_BYTES};
        messages[i].sender = "u_ann";
        messages[i].device = "d_test";
        messages[i].ts_ms = SUPPORT_NOW_MS;
        messages[i].body = (ProtobufCBinaryData){body_bytes, body};
        pointers[i] = &messages[i];
    }
    run->conversation = (char *)conversation;
    run->first_seq = first_seq;
    run->messages = pointers;
    run->n_messages = count;
    runs[0] = run;
    batch->runs = runs;
    batch->n_runs = 1;
    return batch;
}

enum err support_append(struct store *store, struct arena *arena, const char *conversation,
                        uint64_t seq, size_t body_bytes) {
    Pipit__AppendBatch *batch = support_batch(arena, conversation, seq, 1, body_bytes);
    if (batch == NULL) {
        return ERR_NO_MEMORY;
    }
    Pipit__AppendReply reply = PIPIT__APPEND_REPLY__INIT;
    struct store_append item = {batch, arena, &reply};
    enum err error = store->ops->append(store, &item, 1);
    if (error == ERR_OK) {
        error = (enum err)reply.error;
    }
    return error != ERR_OK ? error : (enum err)reply.results[0]->error;
}

uint64_t support_head(struct store *store, struct arena *arena, const char *conversation) {
    char *names[] = {(char *)conversation};
    Pipit__HeadsRequest request = PIPIT__HEADS_REQUEST__INIT;
    request.conversations = names;
    request.n_conversations = 1;
    Pipit__HeadsReply reply = PIPIT__HEADS_REPLY__INIT;
    enum err error = store->ops->heads(store, &request, arena, &reply);
    return error != ERR_OK ? UINT64_MAX : reply.heads[0]->head;
}

size_t support_count_dense(struct store *store, const char *conversation) {
    struct arena arena;
    arena_init(&arena, 65536, 64u * 1024u * 1024u);
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = (char *)conversation;
    size_t count = 0;
    bool more = true;
    while (more) {
        Pipit__HistoryReply reply = PIPIT__HISTORY_REPLY__INIT;
        request.after_seq = count;
        assert_int_equal(store->ops->history(store, &request, &arena, &reply), ERR_OK);
        for (size_t i = 0; i < reply.n_messages; i++) {
            assert_int_equal(reply.messages[i]->seq, ++count);
        }
        more = reply.has_more;
        arena_reset(&arena);
    }
    arena_finish(&arena);
    return count;
}
