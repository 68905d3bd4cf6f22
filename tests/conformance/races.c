/* races: several threads, over two stores where the back end allows that, ask for the same thing at
 * the same moment. Whatever the order, a single use makes one account, one key wins, no member is
 * lost, and nobody who is blocked can talk. */
#include "tests/conformance/support.h"

#include <pthread.h>
#include <stdio.h>

#define RACERS 6u

struct racer {
    struct fixture fixture; /* an arena of its own, one of the stores */
    pthread_t thread;
    pthread_barrier_t *start;
    unsigned number;
    void (*act)(struct racer *racer); /* asserts nothing: cmocka does so on its own thread alone */
    enum err result;
    bool made;
};

static void *run_racer(void *argument) {
    struct racer *racer = argument;
    (void)pthread_barrier_wait(racer->start); /* who is released first is told; nobody minds */
    racer->act(racer);
    return NULL;
}

static struct store *open_second(struct fixture *f) {
    struct store *second = NULL;
    struct buf problem;
    buf_init(&problem, 1024);
    if (fixture_is_mongodb(f)) {
        assert_int_equal(fixture_open(f, &second, &problem), ERR_OK);
    }
    buf_finish(&problem);
    return second;
}

static void race(struct fixture *f, struct racer racers[RACERS], void (*act)(struct racer *racer)) {
    struct store *second = open_second(f);
    pthread_barrier_t start;
    assert_int_equal(pthread_barrier_init(&start, NULL, RACERS), 0);
    for (unsigned i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){.fixture = *f, .start = &start, .number = i, .act = act};
        racers[i].fixture.store = second != NULL && i % 2 == 1 ? second : f->store;
        arena_init(&racers[i].fixture.arena, 65536, 16u << 20);
        assert_int_equal(pthread_create(&racers[i].thread, NULL, run_racer, &racers[i]), 0);
    }
    for (unsigned i = 0; i < RACERS; i++) {
        assert_int_equal(pthread_join(racers[i].thread, NULL), 0);
        arena_finish(&racers[i].fixture.arena);
    }
    assert_int_equal(pthread_barrier_destroy(&start), 0);
    store_close(&second);
}

/* How many got this result; all others must have got `otherwise`. */
static unsigned count(const struct racer racers[RACERS], enum err result, enum err otherwise) {
    unsigned found = 0;
    for (unsigned i = 0; i < RACERS; i++) {
        if (racers[i].result != result && racers[i].result != otherwise) {
            fail_msg("racer %u: %s", i, err_name(racers[i].result));
        }
        found += racers[i].result == result;
    }
    return found;
}

/* --- accounts */

static enum err make_invite(struct fixture *f, const char *code, uint32_t uses, bool first) {
    Pipit__Invite invite = PIPIT__INVITE__INIT;
    invite.hash = hash_make(f, code);
    invite.created_ms = f->now_ms;
    invite.uses_left = uses;
    invite.admin = first;
    Pipit__InviteCreate request = PIPIT__INVITE_CREATE__INIT;
    request.invite = &invite;
    request.only_if_empty = first;
    Pipit__StatusReply reply = PIPIT__STATUS_REPLY__INIT;
    return f->store->ops->invite_create(f->store, &request, &f->arena, &reply);
}

static enum err make_account(struct fixture *f, const char *id, const char *code) {
    Pipit__User user = PIPIT__USER__INIT;
    user.id = (char *)id;
    user.name = (char *)id + 2;
    Pipit__UserCreate request = PIPIT__USER_CREATE__INIT;
    request.user = &user;
    request.invite_hash = hash_make(f, code);
    request.now_ms = f->now_ms;
    Pipit__UserReply reply = PIPIT__USER_REPLY__INIT;
    return f->store->ops->user_create(f->store, &request, &f->arena, &reply);
}

static uint32_t uses_left(struct fixture *f) {
    Pipit__InvitesRequest request = PIPIT__INVITES_REQUEST__INIT;
    request.now_ms = f->now_ms;
    Pipit__InvitesReply reply = PIPIT__INVITES_REPLY__INIT;
    assert_int_equal(f->store->ops->invites(f->store, &request, &f->arena, &reply), ERR_OK);
    return reply.n_invites == 0 ? 0 : reply.invites[0]->uses_left;
}

static void register_own_name(struct racer *racer) {
    char id[16];
    (void)snprintf(id, sizeof(id), "u_r%u", racer->number);
    racer->result = make_account(&racer->fixture, id, "code");
}

static void an_invite_has_its_uses(void **state) {
    struct fixture *f = *state;
    struct racer racers[RACERS];
    assert_int_equal(make_invite(f, "code", 2, false), ERR_OK);
    race(f, racers, register_own_name);
    assert_int_equal(count(racers, ERR_OK, ERR_DENIED), 2);
    assert_int_equal(uses_left(f), 0);
}

static void register_same_name(struct racer *racer) {
    racer->result = make_account(&racer->fixture, "u_same", "code");
}

static void a_name_is_taken_once(void **state) {
    struct fixture *f = *state;
    struct racer racers[RACERS];
    assert_int_equal(make_invite(f, "code", 10, false), ERR_OK);
    race(f, racers, register_same_name);
    assert_int_equal(count(racers, ERR_OK, ERR_EXISTS), 1);
    assert_int_equal(uses_left(f), 9);
}

static void make_first_invite(struct racer *racer) {
    char code[16];
    (void)snprintf(code, sizeof(code), "first %u", racer->number);
    racer->result = make_invite(&racer->fixture, code, 1, true);
}

static void there_is_one_first_invite(void **state) {
    struct fixture *f = *state;
    struct racer racers[RACERS];
    race(f, racers, make_first_invite);
    assert_int_equal(count(racers, ERR_OK, ERR_CONFLICT), 1);
    assert_int_equal(uses_left(f), 1);
}

static void put_key(struct racer *racer) {
    static uint8_t coordinate[32];
    char kid[16];
    (void)snprintf(kid, sizeof(kid), "k%u", racer->number);
    Pipit__SigningKey key = PIPIT__SIGNING_KEY__INIT;
    key.kid = kid;
    key.x = key.y = (ProtobufCBinaryData){32, coordinate};
    Pipit__KeyPut request = PIPIT__KEY_PUT__INIT;
    request.key = &key;
    request.now_ms = racer->fixture.now_ms;
    Pipit__StatusReply reply = PIPIT__STATUS_REPLY__INIT;
    struct store *store = racer->fixture.store;
    racer->result = store->ops->key_put(store, &request, &racer->fixture.arena, &reply);
}

static void one_key_wins(void **state) {
    struct fixture *f = *state;
    struct racer racers[RACERS];
    race(f, racers, put_key);
    assert_int_equal(count(racers, ERR_OK, ERR_CONFLICT), 1);
    Pipit__KeysRequest request = PIPIT__KEYS_REQUEST__INIT;
    Pipit__KeysReply reply = PIPIT__KEYS_REPLY__INIT;
    assert_int_equal(f->store->ops->keys(f->store, &request, &f->arena, &reply), ERR_OK);
    assert_int_equal(reply.n_keys, 1);
}

/* --- sessions */

#define DEVICES_MAX 3u

/* The first refresh token is called as the device. */
static enum err log_in(struct fixture *f, const char *id) {
    Pipit__Device device = PIPIT__DEVICE__INIT;
    device.user = "u_ann";
    device.id = (char *)id;
    Pipit__SessionCreate request = PIPIT__SESSION_CREATE__INIT;
    request.device = &device;
    request.refresh_hash = hash_make(f, id);
    request.now_ms = f->now_ms;
    request.expires_ms = f->now_ms + 1000;
    request.devices_max = DEVICES_MAX;
    Pipit__SessionReply reply = PIPIT__SESSION_REPLY__INIT;
    return f->store->ops->session_create(f->store, &request, &f->arena, &reply);
}

static void log_in_own_device(struct racer *racer) {
    char id[16];
    (void)snprintf(id, sizeof(id), "d_%u", racer->number);
    racer->result = log_in(&racer->fixture, id);
}

static void devices_stay_within_their_limit(void **state) {
    struct fixture *f = *state;
    struct racer racers[RACERS];
    user_make(f, "ann");
    race(f, racers, log_in_own_device);
    unsigned logged_in = count(racers, ERR_OK, ERR_FULL);
    Pipit__DevicesRequest request = PIPIT__DEVICES_REQUEST__INIT;
    request.user = "u_ann";
    Pipit__DevicesReply reply = PIPIT__DEVICES_REPLY__INIT;
    assert_int_equal(f->store->ops->devices(f->store, &request, &f->arena, &reply), ERR_OK);
    assert_int_equal(reply.n_devices, logged_in);
    assert_true(logged_in >= 1 && logged_in <= DEVICES_MAX);
}

static void rotate_the_same(struct racer *racer) {
    char successor[16];
    (void)snprintf(successor, sizeof(successor), "s%u", racer->number);
    racer->result = session_rotate(&racer->fixture, "d_0", successor);
}

static void tabs_that_refresh_at_once_all_live(void **state) {
    struct fixture *f = *state;
    struct racer racers[RACERS];
    user_make(f, "ann");
    assert_int_equal(log_in(f, "d_0"), ERR_OK);
    race(f, racers, rotate_the_same);
    assert_int_equal(count(racers, ERR_OK, ERR_OK), RACERS);
    for (unsigned i = 0; i < RACERS; i++) {
        char token[16];
        char next[16];
        (void)snprintf(token, sizeof(token), "s%u", i);
        (void)snprintf(next, sizeof(next), "n%u", i);
        assert_int_equal(session_rotate(f, token, next), ERR_OK);
    }
}

/* --- conversations */

static void add_one(struct racer *racer) {
    char user[16];
    (void)snprintf(user, sizeof(user), "u_r%u", racer->number);
    struct change change = {.conversation = "c_x",
                            .actor = "u_ann",
                            .action = PIPIT__MEMBER_ACTION__MEMBERS_ADD,
                            .user = user};
    racer->result = change_try(&racer->fixture, change, NULL, NULL);
}

static void no_member_is_lost(void **state) {
    struct fixture *f = *state;
    struct racer racers[RACERS];
    user_make(f, "ann");
    for (unsigned i = 0; i < RACERS; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "r%u", i);
        user_make(f, name);
    }
    group_make(f, "c_x", "u_ann", NULL);
    uint64_t version = conversation_load(f, "c_x")->members_version;
    race(f, racers, add_one);
    assert_int_equal(count(racers, ERR_OK, ERR_OK), RACERS);
    Pipit__Conversation *conversation = conversation_load(f, "c_x");
    assert_int_equal(conversation->n_members, RACERS + 1);
    assert_int_equal(conversation->members_version, version + RACERS);
}

static void talk_or_block(struct racer *racer) {
    struct fixture *f = &racer->fixture;
    if (racer->number == 0) {
        Pipit__BlockChange request = PIPIT__BLOCK_CHANGE__INIT;
        request.user = "u_ann";
        request.blocked = "u_bob";
        request.on = true;
        request.now_ms = f->now_ms;
        Pipit__StatusReply reply = PIPIT__STATUS_REPLY__INIT;
        Pipit__MembersChanged *changed = NULL;
        racer->result =
            f->store->ops->block_change(f->store, &request, &f->arena, &reply, &changed);
        return;
    }
    char *id = NULL;
    Pipit__ConversationReply *reply = NULL;
    Pipit__MembersChanged *changed = NULL;
    racer->result = direct_try(f, "u_bob", "u_ann", &id, &reply, &changed);
    racer->made = racer->result == ERR_OK && reply->created;
}

static void a_block_wins_over_a_new_conversation(void **state) {
    struct fixture *f = *state;
    struct racer racers[RACERS];
    user_make(f, "ann");
    user_make(f, "bob");
    race(f, racers, talk_or_block);
    (void)count(racers, ERR_OK, ERR_BLOCKED);
    assert_int_equal(racers[0].result, ERR_OK);
    unsigned made = 0;
    for (unsigned i = 1; i < RACERS; i++) {
        made += racers[i].made;
    }
    assert_true(made <= 1);
    char *id = NULL;
    Pipit__ConversationReply *reply = NULL;
    Pipit__MembersChanged *changed = NULL;
    assert_int_equal(direct_try(f, "u_bob", "u_ann", &id, &reply, &changed), ERR_BLOCKED);
    Pipit__ConversationLoad load = PIPIT__CONVERSATION_LOAD__INIT;
    Pipit__ConversationReply loaded = PIPIT__CONVERSATION_REPLY__INIT;
    load.conversation = id;
    if (f->store->ops->conversation_load(f->store, &load, &f->arena, &loaded) == ERR_OK) {
        assert_int_equal(loaded.conversation->n_members, 2);
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(loaded.conversation->members[i]->state,
                             PIPIT__MEMBER_STATE__MEMBER_BLOCKED);
        }
    }
}

/* --- audit */

#define ACTS 5u

static void act_often(struct racer *racer) {
    struct fixture *f = &racer->fixture;
    for (unsigned i = 0; i < ACTS && racer->result == ERR_OK; i++) {
        Pipit__AuditAppend request = PIPIT__AUDIT_APPEND__INIT;
        request.action = "act";
        request.now_ms = f->now_ms;
        Pipit__StatusReply reply = PIPIT__STATUS_REPLY__INIT;
        racer->result = f->store->ops->audit_append(f->store, &request, &f->arena, &reply);
    }
}

static void no_act_is_lost(void **state) {
    struct fixture *f = *state;
    struct racer racers[RACERS];
    race(f, racers, act_often);
    assert_int_equal(count(racers, ERR_OK, ERR_OK), RACERS);
    Pipit__AuditRequest request = PIPIT__AUDIT_REQUEST__INIT;
    Pipit__AuditReply reply = PIPIT__AUDIT_REPLY__INIT;
    assert_int_equal(f->store->ops->audit(f->store, &request, &f->arena, &reply), ERR_OK);
    assert_int_equal(reply.n_entries, RACERS * ACTS);
    for (size_t i = 1; i < reply.n_entries; i++) {
        assert_true(reply.entries[i]->id < reply.entries[i - 1]->id);
    }
}

int races_tests(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(an_invite_has_its_uses),
        STORE_TEST(a_name_is_taken_once),
        STORE_TEST(there_is_one_first_invite),
        STORE_TEST(one_key_wins),
        STORE_TEST(devices_stay_within_their_limit),
        STORE_TEST(tabs_that_refresh_at_once_all_live),
        STORE_TEST(no_member_is_lost),
        STORE_TEST(a_block_wins_over_a_new_conversation),
        STORE_TEST(no_act_is_lost),
    };
    return cmocka_run_group_tests_name("races", tests, NULL, NULL);
}
