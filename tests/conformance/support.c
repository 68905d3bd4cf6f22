/* support: a fresh store per test, and short forms of the calls that every suite needs. What a
 * short form does not test itself it asserts, so a test's own assertions stay about its subject. */
#include "tests/conformance/support.h"

#include "common/id.h"
#include "common/mem.h"
#include "proto/names.h"
#include "services/storage/mongo_db.h"
#include "tests/conformance/commands.h"
#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

#define ARENA_BLOCK_BYTES (64u * 1024u)
#define ARENA_CAP_BYTES (256u * 1024u * 1024u)
#define START_MS 1700000000000u

enum err fixture_open(const struct fixture *fixture, struct store **store, struct buf *problem) {
    struct store_config config = {.url = fixture->url, .readers = 3, .members_max = MEMBERS_MAX};
    return store_open(&config, store, problem);
}

static void open_store(struct fixture *fixture) {
    struct buf problem;
    buf_init(&problem, 1024);
    enum err error = fixture_open(fixture, &fixture->store, &problem);
    if (error != ERR_OK) {
        fail_msg("%s: %.*s", err_name(error), (int)buf_len(&problem),
                 (const char *)buf_data(&problem));
    }
    buf_finish(&problem);
}

int fixture_setup(void **state) {
    struct fixture *fixture = mem_zalloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    arena_init(&fixture->arena, ARENA_BLOCK_BYTES, ARENA_CAP_BYTES);
    fixture->now_ms = START_MS;
    char name[32];
    id_random_text("t_", name, sizeof(name));
    const char *template = getenv("PIPIT_TEST_STORE");
    const char *place = template != NULL ? strstr(template, "%s") : NULL;
    if (template == NULL) {
        (void)snprintf(fixture->url, sizeof(fixture->url), "sqlite:/tmp/pipit-%s", name);
    } else {
        assert_non_null(place); /* tests must not share a store */
        (void)snprintf(fixture->url, sizeof(fixture->url), "%.*s%s%s", (int)(place - template),
                       template, name, place + 2);
    }
    open_store(fixture);
    *state = fixture;
    return 0;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place) {
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

bool fixture_is_mongodb(const struct fixture *fixture) {
    return strncmp(fixture->url, "mongodb", 7) == 0;
}

void fixture_session(const struct fixture *fixture, struct mongo_db **db,
                     struct mongo_session *session) {
    struct buf problem;
    struct mongo_db_config config = {.uri = fixture->url, .clients_max = 2};
    mongo_db_observe(NULL, NULL); /* its commands are the test's, not the store's */
    buf_init(&problem, 1024);
    assert_int_equal(mongo_db_open(&config, db, &problem), ERR_OK);
    assert_int_equal(mongo_begin(*db, session), ERR_OK);
    buf_finish(&problem);
    commands_watch();
}

void fixture_session_end(struct mongo_db **db, struct mongo_session *session) {
    mongo_end(session);
    mongo_db_close(db);
}

/* A server of the tests would otherwise grow from test to test, and some scan. */
static void drop_database(const struct fixture *fixture) {
    struct mongo_db *db = NULL;
    struct mongo_session session;
    bson_t command = BSON_INITIALIZER;
    bson_t reply;
    fixture_session(fixture, &db, &session);
    BSON_APPEND_INT32(&command, "dropDatabase", 1);
    assert_int_equal(mongo_command(&session, &command, &reply), ERR_OK);
    bson_destroy(&reply);
    bson_destroy(&command);
    fixture_session_end(&db, &session);
}

int fixture_teardown(void **state) {
    struct fixture *fixture = *state;
    store_close(&fixture->store);
    if (fixture_is_mongodb(fixture)) {
        drop_database(fixture);
    } else if (strncmp(fixture->url, "sqlite:/tmp/", 12) == 0) {
        assert_int_equal(nftw(fixture->url + 7, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
    }
    arena_finish(&fixture->arena);
    mem_free(fixture);
    return 0;
}

void fixture_reopen(struct fixture *fixture) {
    store_close(&fixture->store);
    assert_null(fixture->store);
    open_store(fixture);
}

static void *need(struct fixture *fixture, size_t bytes) {
    void *room = arena_alloc(&fixture->arena, bytes);
    assert_non_null(room);
    memset(room, 0, bytes);
    return room;
}

static char *copy(struct fixture *fixture, const char *text) {
    char *room = arena_copy(&fixture->arena, text, strlen(text));
    assert_non_null(room);
    return room;
}

void user_make(struct fixture *fixture, const char *name) {
    char id[64];
    (void)snprintf(id, sizeof(id), "u_%s", name);
    Pipit__User user = PIPIT__USER__INIT;
    user.id = id;
    user.name = (char *)name;
    user.display_name = (char *)name;
    user.password_hash = "$argon2id$fake";
    Pipit__UserCreate request = PIPIT__USER_CREATE__INIT;
    request.user = &user;
    request.now_ms = fixture->now_ms;
    Pipit__UserReply reply = PIPIT__USER_REPLY__INIT;
    assert_int_equal(
        fixture->store->ops->user_create(fixture->store, &request, &fixture->arena, &reply),
        ERR_OK);
}

void user_disable(struct fixture *fixture, const char *id, bool disabled) {
    Pipit__UserUpdate request = PIPIT__USER_UPDATE__INIT;
    request.id = (char *)id;
    request.set_disabled = true;
    request.disabled = disabled;
    request.now_ms = fixture->now_ms;
    Pipit__UserReply reply = PIPIT__USER_REPLY__INIT;
    assert_int_equal(
        fixture->store->ops->user_update(fixture->store, &request, &fixture->arena, &reply),
        ERR_OK);
}

void group_make(struct fixture *fixture, const char *id, const char *creator, ...) {
    char *members[64];
    Pipit__ConversationCreate request = PIPIT__CONVERSATION_CREATE__INIT;
    va_list arguments;
    va_start(arguments, creator);
    const char *member = NULL;
    while ((member = va_arg(arguments, const char *)) != NULL) {
        members[request.n_members++] = (char *)member;
    }
    va_end(arguments);
    request.id = (char *)id;
    request.title = "a group";
    request.creator = (char *)creator;
    request.members = members;
    request.now_ms = fixture->now_ms;
    Pipit__ConversationReply reply = PIPIT__CONVERSATION_REPLY__INIT;
    Pipit__MembersChanged *changed = NULL;
    assert_int_equal(fixture->store->ops->conversation_create(fixture->store, &request,
                                                              &fixture->arena, &reply, &changed),
                     ERR_OK);
    assert_true(reply.created);
}

enum err direct_try(struct fixture *fixture, const char *user, const char *other, char **id,
                    Pipit__ConversationReply **reply, Pipit__MembersChanged **changed) {
    char derived[LIMIT_CONVERSATION_ID_BYTES + 1];
    assert_int_equal(names_direct_conversation(user, other, derived), ERR_OK);
    *id = copy(fixture, derived);
    char *members[] = {(char *)other};
    Pipit__ConversationCreate request = PIPIT__CONVERSATION_CREATE__INIT;
    request.id = *id;
    request.kind = PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT;
    request.creator = (char *)user;
    request.members = members;
    request.n_members = 1;
    request.now_ms = fixture->now_ms;
    *reply = need(fixture, sizeof(**reply));
    pipit__conversation_reply__init(*reply);
    return fixture->store->ops->conversation_create(fixture->store, &request, &fixture->arena,
                                                    *reply, changed);
}

char *direct_make(struct fixture *fixture, const char *user, const char *other) {
    char *id = NULL;
    Pipit__ConversationReply *reply = NULL;
    Pipit__MembersChanged *changed = NULL;
    assert_int_equal(direct_try(fixture, user, other, &id, &reply, &changed), ERR_OK);
    return id;
}

Pipit__Conversation *conversation_load(struct fixture *fixture, const char *id) {
    Pipit__ConversationLoad request = PIPIT__CONVERSATION_LOAD__INIT;
    request.conversation = (char *)id;
    Pipit__ConversationReply reply = PIPIT__CONVERSATION_REPLY__INIT;
    assert_int_equal(
        fixture->store->ops->conversation_load(fixture->store, &request, &fixture->arena, &reply),
        ERR_OK);
    assert_non_null(reply.conversation);
    return reply.conversation;
}

const Pipit__Member *member_of(const Pipit__Conversation *conversation, const char *user) {
    for (size_t i = 0; i < conversation->n_members; i++) {
        if (strcmp(conversation->members[i]->user, user) == 0) {
            return conversation->members[i];
        }
    }
    return NULL;
}

Pipit__StoredMessage *message_make(struct fixture *fixture, const char *sender, const void *body,
                                   size_t body_bytes) {
    Pipit__StoredMessage *message = need(fixture, sizeof(*message));
    pipit__stored_message__init(message);
    message->id.data = need(fixture, ID_UUID_BYTES);
    message->id.len = ID_UUID_BYTES;
    id_uuid7_make(fixture->now_ms, message->id.data);
    message->sender = copy(fixture, sender);
    message->device = "d_test";
    message->ts_ms = fixture->now_ms;
    message->body.data = (uint8_t *)arena_copy(&fixture->arena, body, body_bytes);
    message->body.len = body_bytes;
    return message;
}

Pipit__AppendResult *append_run(struct fixture *fixture, const char *conversation,
                                uint64_t first_seq, Pipit__StoredMessage **messages, size_t count) {
    Pipit__AppendRun run = PIPIT__APPEND_RUN__INIT;
    run.conversation = copy(fixture, conversation);
    run.first_seq = first_seq;
    run.messages = messages;
    run.n_messages = count;
    Pipit__AppendRun *runs[] = {&run};
    Pipit__AppendBatch batch = PIPIT__APPEND_BATCH__INIT;
    batch.runs = runs;
    batch.n_runs = 1;
    Pipit__AppendReply reply = PIPIT__APPEND_REPLY__INIT;
    struct store_append item = {&batch, &fixture->arena, &reply};
    assert_int_equal(fixture->store->ops->append(fixture->store, &item, 1), ERR_OK);
    assert_int_equal(reply.error, ERR_OK);
    assert_int_equal(reply.n_results, 1);
    return reply.results[0];
}

uint64_t append_texts(struct fixture *fixture, const char *conversation, const char *sender,
                      size_t count) {
    uint64_t head = conversation_load(fixture, conversation)->head;
    Pipit__StoredMessage **messages = need(fixture, count * sizeof(*messages));
    for (size_t i = 0; i < count; i++) {
        char text[64];
        int bytes =
            snprintf(text, sizeof(text), "{\"text\":\"%s %zu\"}", sender, (size_t)head + i + 1);
        messages[i] = message_make(fixture, sender, text, (size_t)bytes);
    }
    Pipit__AppendResult *result = append_run(fixture, conversation, head + 1, messages, count);
    assert_int_equal(result->error, ERR_OK);
    assert_int_equal(result->stored_count, count);
    assert_int_equal(result->head, head + count);
    return result->head;
}

Pipit__HistoryReply *history_page(struct fixture *fixture, Pipit__HistoryRequest request,
                                  enum err *error) {
    Pipit__HistoryReply *reply = need(fixture, sizeof(*reply));
    pipit__history_reply__init(reply);
    Pipit__HistoryRequest *kept = need(fixture, sizeof(*kept)); /* replies may point into it */
    *kept = request;
    *error = fixture->store->ops->history(fixture->store, kept, &fixture->arena, reply);
    return reply;
}

Pipit__HistoryReply *history_all(struct fixture *fixture, const char *conversation) {
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = (char *)conversation;
    request.bytes_max = STORE_HISTORY_BYTES_MAX;
    enum err error = ERR_OK;
    Pipit__HistoryReply *reply = history_page(fixture, request, &error);
    assert_int_equal(error, ERR_OK);
    return reply;
}

enum err change_try(struct fixture *fixture, struct change change, Pipit__ConversationReply **reply,
                    Pipit__MembersChanged **changed) {
    Pipit__MembersChange *request = need(fixture, sizeof(*request));
    pipit__members_change__init(request);
    request->conversation = copy(fixture, change.conversation);
    request->actor = copy(fixture, change.actor);
    request->action = change.action;
    request->users = need(fixture, 2 * sizeof(*request->users));
    if (change.user != NULL) {
        request->users[request->n_users++] = copy(fixture, change.user);
    }
    if (change.second_user != NULL) {
        request->users[request->n_users++] = copy(fixture, change.second_user);
    }
    request->role = change.role;
    request->muted = change.muted;
    request->title = copy(fixture, change.title != NULL ? change.title : "");
    request->now_ms = fixture->now_ms;
    Pipit__ConversationReply *own = need(fixture, sizeof(*own));
    pipit__conversation_reply__init(own);
    Pipit__MembersChanged *event = NULL;
    enum err error =
        fixture->store->ops->members_change(fixture->store, request, &fixture->arena, own, &event);
    if (reply != NULL) {
        *reply = own;
    }
    if (changed != NULL) {
        *changed = event;
    }
    return error;
}

Pipit__CursorResult *cursor_move(struct fixture *fixture, const char *user, const char *device,
                                 const char *conversation, uint64_t delivered_seq,
                                 uint64_t read_seq) {
    Pipit__CursorUpdate update = PIPIT__CURSOR_UPDATE__INIT;
    update.user = (char *)user;
    update.device = (char *)device;
    update.conversation = (char *)conversation;
    update.delivered_seq = delivered_seq;
    update.read_seq = read_seq;
    Pipit__CursorUpdate *updates[] = {&update};
    Pipit__CursorsRequest request = PIPIT__CURSORS_REQUEST__INIT;
    request.updates = updates;
    request.n_updates = 1;
    Pipit__CursorsReply reply = PIPIT__CURSORS_REPLY__INIT;
    struct store_cursors item = {&request, &fixture->arena, &reply};
    assert_int_equal(fixture->store->ops->cursors(fixture->store, &item, 1), ERR_OK);
    assert_int_equal(reply.n_results, 1);
    return reply.results[0];
}

Pipit__ConversationsReply *list_all(struct fixture *fixture, const char *user) {
    Pipit__ConversationsRequest *request = need(fixture, sizeof(*request));
    pipit__conversations_request__init(request);
    request->user = copy(fixture, user);
    request->limit = STORE_CONVERSATIONS_LIMIT_MAX;
    request->with_last_message = true;
    Pipit__ConversationsReply *reply = need(fixture, sizeof(*reply));
    pipit__conversations_reply__init(reply);
    assert_int_equal(
        fixture->store->ops->conversations(fixture->store, request, &fixture->arena, reply),
        ERR_OK);
    return reply;
}

ProtobufCBinaryData hash_make(struct fixture *fixture, const char *text) {
    ProtobufCBinaryData hash = {32, need(fixture, 32)};
    memcpy(hash.data, text, strnlen(text, 32));
    return hash;
}

enum err session_rotate(struct fixture *fixture, const char *token, const char *successor) {
    Pipit__SessionRotate request = PIPIT__SESSION_ROTATE__INIT;
    request.refresh_hash = hash_make(fixture, token);
    request.new_refresh_hash = hash_make(fixture, successor);
    request.now_ms = fixture->now_ms;
    request.expires_ms = fixture->now_ms + 1000;
    Pipit__SessionReply reply = PIPIT__SESSION_REPLY__INIT;
    return fixture->store->ops->session_rotate(fixture->store, &request, &fixture->arena, &reply);
}
