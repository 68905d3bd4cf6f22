/* test_storage: the service over a real bus: requests in, replies out, membership changes on the
 * stream before the reply, overload and garbage answered, drain. */
#include "tests/unit/storage/support.h"

#include "common/clock.h"
#include "common/stream.h"
#include "proto/envelope.h"
#include "services/storage/storage.h"
#include <stdatomic.h>
#include <stdio.h>

#define DEADLINE_US 10000000u
#define PEER_CONTEXTS 64u

struct fixture {
    char dir[64];
    char base[96], store_url[96];
    struct loop *loop;
    struct storage_settings settings;
    struct ops_check check;
    struct storage *storage;
    struct bus *bus;
    struct bus_peer *peer;
    struct stream_subscriber *stream;
    struct arena arena;
    unsigned replies;
    enum err status;
    struct buf reply; /* the last one */
    unsigned events;
    unsigned events_at_reply;
    struct buf event; /* the last one */
    bool drained;
};

static void on_event(const uint8_t *payload, size_t bytes, void *user) {
    struct fixture *f = user;
    f->events++;
    buf_clear(&f->event);
    assert_int_equal(buf_append(&f->event, payload, bytes), ERR_OK);
}

static void on_trouble(enum stream_trouble trouble, uint64_t boot_id, void *user) {
    (void)trouble;
    (void)boot_id;
    (void)user;
}

static void on_reply(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct fixture *f = user;
    f->replies++;
    f->status = status;
    f->events_at_reply = f->events;
    buf_clear(&f->reply);
    assert_int_equal(buf_append(&f->reply, body, body_bytes), ERR_OK);
}

static void on_drained(void *user) {
    struct fixture *f = user;
    f->drained = true;
}

#define TURN_UNTIL(f, condition)                                                                   \
    do {                                                                                           \
        uint64_t begin_us = clock_mono_us();                                                       \
        while (!(condition)) {                                                                     \
            assert_int_equal(loop_turn((f)->loop, 20000), ERR_OK);                                 \
            assert_true(clock_mono_us() - begin_us < DEADLINE_US);                                 \
        }                                                                                          \
    } while (0)

static void start_storage(struct fixture *f) {
    struct buf problem;
    buf_init(&problem, 1024);
    if (storage_create(f->loop, &f->settings, &f->check, &f->storage, &problem) != ERR_OK) {
        fail_msg("%.*s", (int)buf_len(&problem), (const char *)buf_data(&problem));
    }
    buf_finish(&problem);
}

/* Anew at the same address; the client finds it by itself. */
static void restart_storage(struct fixture *f) {
    storage_destroy(&f->storage);
    TURN_UNTIL(f, !bus_peer_up(f->peer));
    start_storage(f);
    TURN_UNTIL(f, bus_peer_up(f->peer));
}

static void connect_client(struct fixture *f) {
    struct bus_config config = {.message_bytes_max = 8u * 1024u * 1024u};
    char url[BUS_URL_BYTES];
    assert_int_equal(bus_create(f->loop, &config, &f->bus), ERR_OK);
    assert_int_equal(bus_url_derive(f->base, BUS_URL_REP, url), ERR_OK);
    assert_int_equal(bus_peer_create(f->bus, url, PEER_CONTEXTS, NULL, NULL, &f->peer), ERR_OK);
    assert_int_equal(bus_url_derive(f->base, BUS_URL_PUB, url), ERR_OK);
    assert_int_equal(stream_subscriber_create(f->loop, f->bus, url, STREAM_TOPIC_ALL, on_event,
                                              on_trouble, f, &f->stream),
                     ERR_OK);
    TURN_UNTIL(f, bus_peer_up(f->peer) && stream_subscriber_live(f->stream));
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    support_make_dir(f->dir);
    (void)snprintf(f->base, sizeof(f->base), "ipc://%s/bus", f->dir);
    (void)snprintf(f->store_url, sizeof(f->store_url), "sqlite:%s/store", f->dir);
    f->settings = (struct storage_settings){.bus = {.message_bytes_max = 8u * 1024u * 1024u,
                                                    .timeout_us = 60000000,
                                                    .tls_ca_file = "",
                                                    .tls_cert_file = "",
                                                    .tls_key_file = ""},
                                            .bus_listen = f->base,
                                            .store = f->store_url,
                                            .reader_threads = 2,
                                            .requests_max = 64,
                                            .write_queue_max = 48,
                                            .read_queue_max = 48,
                                            .commit_messages_max = 4096,
                                            .group_members_max = 10};
    f->check.name = "store";
    arena_init(&f->arena, 65536, 64u * 1024u * 1024u);
    buf_init(&f->reply, 16u * 1024u * 1024u);
    buf_init(&f->event, 1024u * 1024u);
    assert_int_equal(loop_create(1024, &f->loop), ERR_OK);
    *state = f;
    start_storage(f);
    connect_client(f);
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    stream_subscriber_destroy(&f->stream);
    bus_peer_close(&f->peer);
    storage_destroy(&f->storage);
    bus_destroy(&f->bus);
    loop_destroy(&f->loop);
    support_remove(f->dir);
    buf_finish(&f->reply);
    buf_finish(&f->event);
    arena_finish(&f->arena);
    free(f);
    return 0;
}

static void send_bytes(struct fixture *f, const void *bytes, size_t count) {
    assert_int_equal(bus_call(f->peer, bytes, count, DEADLINE_US, on_reply, f), ERR_OK);
}

static void send_message(struct fixture *f, enum message_type type,
                         const ProtobufCMessage *message) {
    struct buf out;
    buf_init(&out, 16u * 1024u * 1024u);
    assert_int_equal(envelope_pack(type, message, true, &out), ERR_OK);
    send_bytes(f, buf_data(&out), buf_len(&out));
    buf_finish(&out);
}

/* One request and its reply, which must be of the type. */
static void *call(struct fixture *f, enum message_type type, const ProtobufCMessage *message,
                  enum message_type reply_type) {
    unsigned before = f->replies;
    send_message(f, type, message);
    TURN_UNTIL(f, f->replies > before);
    assert_int_equal(f->status, ERR_OK);
    ProtobufCMessage *reply = NULL;
    assert_int_equal(
        envelope_unpack(reply_type, buf_data(&f->reply), buf_len(&f->reply), &f->arena, &reply),
        ERR_OK);
    return reply;
}

static void make_user(struct fixture *f, const char *id) {
    Pipit__User user = PIPIT__USER__INIT;
    Pipit__UserCreate request = PIPIT__USER_CREATE__INIT;
    user.id = (char *)id;
    user.name = (char *)id + 2;
    request.user = &user;
    Pipit__UserReply *reply = call(f, MESSAGE_USER_CREATE, &request.base, MESSAGE_USER_REPLY);
    assert_int_equal(reply->error, ERR_OK);
    assert_string_equal(reply->user->id, id);
}

static Pipit__ConversationReply *make_group(struct fixture *f, const char *id, char *member) {
    Pipit__ConversationCreate request = PIPIT__CONVERSATION_CREATE__INIT;
    request.id = (char *)id;
    request.creator = "u_ann";
    request.members = &member;
    request.n_members = 1;
    return call(f, MESSAGE_CONVERSATION_CREATE, &request.base, MESSAGE_CONVERSATION_REPLY);
}

static void a_message_goes_in_and_comes_out(void **state) {
    struct fixture *f = *state;
    make_user(f, "u_ann");
    make_user(f, "u_bob");
    assert_int_equal(make_group(f, "c_a", "u_bob")->error, ERR_OK);
    Pipit__AppendBatch *batch = support_batch(&f->arena, "c_a", 1, 3, 2000);
    Pipit__AppendReply *appended =
        call(f, MESSAGE_APPEND_BATCH, &batch->base, MESSAGE_APPEND_REPLY);
    assert_int_equal(appended->error, ERR_OK);
    assert_int_equal(appended->results[0]->stored_count, 3);
    assert_int_equal(appended->results[0]->head, 3);
    Pipit__HistoryRequest request = PIPIT__HISTORY_REQUEST__INIT;
    request.conversation = "c_a";
    request.viewer = "u_bob";
    Pipit__HistoryReply *history =
        call(f, MESSAGE_HISTORY_REQUEST, &request.base, MESSAGE_HISTORY_REPLY);
    assert_int_equal(history->error, ERR_OK);
    assert_int_equal(history->n_messages, 3);
    const Pipit__StoredMessage *sent = batch->runs[0]->messages[2];
    assert_memory_equal(history->messages[2]->id.data, sent->id.data, 16);
    assert_int_equal(history->messages[2]->body.len, 2000);
    assert_memory_equal(history->messages[2]->body.data, sent->body.data, 2000);
    Pipit__CursorUpdate update = PIPIT__CURSOR_UPDATE__INIT;
    Pipit__CursorUpdate *updates[] = {&update};
    Pipit__CursorsRequest cursors = PIPIT__CURSORS_REQUEST__INIT;
    update.user = "u_bob";
    update.conversation = "c_a";
    update.read_seq = 2;
    cursors.updates = updates;
    cursors.n_updates = 1;
    Pipit__CursorsReply *moved =
        call(f, MESSAGE_CURSORS_REQUEST, &cursors.base, MESSAGE_CURSORS_REPLY);
    assert_int_equal(moved->results[0]->read_seq, 2);
    request.viewer = "u_eve";
    history = call(f, MESSAGE_HISTORY_REQUEST, &request.base, MESSAGE_HISTORY_REPLY);
    assert_int_equal(history->error, ERR_NOT_MEMBER);
}

static void changes_are_published(void **state) {
    struct fixture *f = *state;
    make_user(f, "u_ann");
    make_user(f, "u_bob");
    unsigned before = f->events;
    Pipit__ConversationReply *reply = make_group(f, "c_a", "u_bob");
    assert_true(reply->created);
    uint64_t version = reply->conversation->members_version;
    TURN_UNTIL(f, f->events > before);
    Pipit__MembersChanged *event = NULL;
    assert_int_equal(ENVELOPE_UNPACK(MEMBERS_CHANGED, buf_data(&f->event), buf_len(&f->event),
                                     &f->arena, &event),
                     ERR_OK);
    assert_string_equal(event->conversation, "c_a");
    assert_int_equal(event->members_version, version);
    assert_int_equal(event->n_changed, 2);
    before = f->events;
    assert_false(make_group(f, "c_a", "u_bob")->created); /* nothing changed, nothing to tell */
    Pipit__BlockChange block = PIPIT__BLOCK_CHANGE__INIT;
    block.user = "u_ann";
    block.blocked = "u_bob";
    block.on = true;
    Pipit__StatusReply *status = call(f, MESSAGE_BLOCK_CHANGE, &block.base, MESSAGE_STATUS_REPLY);
    assert_int_equal(status->error, ERR_OK);
    Pipit__MembersChange leave = PIPIT__MEMBERS_CHANGE__INIT;
    char *users[] = {"u_bob"};
    leave.conversation = "c_a";
    leave.actor = "u_bob";
    leave.action = PIPIT__MEMBER_ACTION__MEMBERS_REMOVE;
    leave.users = users;
    leave.n_users = 1;
    reply = call(f, MESSAGE_MEMBERS_CHANGE, &leave.base, MESSAGE_CONVERSATION_REPLY);
    assert_int_equal(reply->error, ERR_OK);
    TURN_UNTIL(f, f->events > before);
    assert_int_equal(f->events, before + 1);
    assert_int_equal(ENVELOPE_UNPACK(MEMBERS_CHANGED, buf_data(&f->event), buf_len(&f->event),
                                     &f->arena, &event),
                     ERR_OK);
    assert_int_equal(event->members_version, version + 1);
    assert_string_equal(event->changed[0]->user, "u_bob");
    assert_int_equal(event->changed[0]->state, PIPIT__MEMBER_STATE__MEMBER_LEFT);
}

static void garbage_is_answered(void **state) {
    struct fixture *f = *state;
    static const uint8_t garbage[][16] = {
        {0}, {1, 0, 200, 200, 0, 0, 0, 0}, {1, 0, 16, 0, 8, 0, 0, 0, 255, 255, 255, 255, 255}};
    static const size_t sizes[] = {3, 8, 16};
    static const enum err expected[] = {ERR_INVALID, ERR_INVALID, ERR_INVALID};
    for (size_t i = 0; i < 3; i++) {
        unsigned before = f->replies;
        send_bytes(f, garbage[i], sizes[i]);
        TURN_UNTIL(f, f->replies > before);
        assert_int_equal(f->status, ERR_OK);
        const uint8_t *body = buf_data(&f->reply);
        assert_int_equal(buf_len(&f->reply), ENVELOPE_BYTES + 2);
        assert_int_equal(body[ENVELOPE_BYTES], 8); /* field 1 */
        assert_int_equal(body[ENVELOPE_BYTES + 1], expected[i]);
    }
    Pipit__StatusReply not_a_request = PIPIT__STATUS_REPLY__INIT;
    Pipit__StatusReply *reply =
        call(f, MESSAGE_STATUS_REPLY, &not_a_request.base, MESSAGE_STATUS_REPLY);
    assert_int_equal(reply->error, ERR_UNSUPPORTED);
}

static void overload_is_told(void **state) {
    struct fixture *f = *state;
    make_user(f, "u_ann");
    f->settings.write_queue_max = 1;
    restart_storage(f);
    assert_int_equal(make_group(f, "c_a", "u_ann")->error, ERR_OK);
    /* Many at once: some must find the queue full; each is answered, and none is stored twice. */
    unsigned refused = 0;
    uint64_t stored = 0;
    for (unsigned round = 0; refused == 0 && round < 50; round++) {
        unsigned before = f->replies;
        for (unsigned i = 0; i < 40; i++) {
            Pipit__AppendBatch *batch = support_batch(&f->arena, "c_a", stored + 1, 1, 10);
            send_message(f, MESSAGE_APPEND_BATCH, &batch->base);
        }
        for (unsigned i = 1; i <= 40; i++) {
            Pipit__AppendReply *reply = NULL;
            TURN_UNTIL(f, f->replies >= before + i);
            if (ENVELOPE_UNPACK(APPEND_REPLY, buf_data(&f->reply), buf_len(&f->reply), &f->arena,
                                &reply) == ERR_OK) {
                refused += reply->error == ERR_UNAVAILABLE;
            }
        }
        char *names[] = {"c_a"};
        Pipit__HeadsRequest heads = PIPIT__HEADS_REQUEST__INIT;
        heads.conversations = names;
        heads.n_conversations = 1;
        Pipit__HeadsReply *reply = call(f, MESSAGE_HEADS_REQUEST, &heads.base, MESSAGE_HEADS_REPLY);
        assert_int_equal(reply->heads[0]->head, stored + 1); /* one of forty had the seq */
        stored++;
    }
    assert_true(refused > 0);
}

static void drain_answers_what_was_taken(void **state) {
    struct fixture *f = *state;
    assert_true(atomic_load(&f->check.ready));
    make_user(f, "u_ann");
    assert_int_equal(make_group(f, "c_a", "u_ann")->error, ERR_OK);
    storage_drain(f->storage, on_drained, f);
    TURN_UNTIL(f, f->drained);
    restart_storage(f); /* the same address and directory are free again */
    Pipit__ConversationLoad load = PIPIT__CONVERSATION_LOAD__INIT;
    load.conversation = "c_a";
    Pipit__ConversationReply *reply =
        call(f, MESSAGE_CONVERSATION_LOAD, &load.base, MESSAGE_CONVERSATION_REPLY);
    assert_int_equal(reply->conversation->n_members, 1);
}

static void a_taken_address_is_explained(void **state) {
    struct fixture *f = *state;
    struct storage_settings settings = f->settings;
    char other[96];
    (void)snprintf(other, sizeof(other), "sqlite:%s/other", f->dir);
    settings.store = other;
    struct ops_check check = {.name = "store"};
    struct storage *second = NULL;
    struct buf problem;
    buf_init(&problem, 1024);
    assert_int_equal(storage_create(f->loop, &settings, &check, &second, &problem), ERR_EXISTS);
    assert_null(second);
    assert_int_equal(buf_append(&problem, "", 1), ERR_OK); /* NUL */
    assert_non_null(strstr((const char *)buf_data(&problem), f->base));
    buf_finish(&problem);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_message_goes_in_and_comes_out, setup, teardown),
        cmocka_unit_test_setup_teardown(changes_are_published, setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_is_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(overload_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(drain_answers_what_was_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(a_taken_address_is_explained, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
