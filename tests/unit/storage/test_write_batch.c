/* test_write_batch: group commit over a real SQLite store. A wrapped group_begin waits for the
 * test, so what is in one group is decided here and not by timing. */
#include "tests/unit/storage/support.h"

#include "services/storage/write_batch.h"
#include <pthread.h>
#include <semaphore.h>

#define WAIT_MAX_US 600000000u
#define CALLS 40u

/* A store whose groups begin only when the test lets them, and may be told to fail. */
struct gated {
    struct store store;
    struct store *real;
    sem_t groups_allowed;
    sem_t group_waits; /* posted when the writer stands before a group */
    unsigned groups;
    unsigned poison_groups; /* that many groups fail ... */
    enum err poison;        /* ... with this */
};
struct fixture {
    char dir[64];
    struct arena arena;
    struct gated gated;
    struct store_ops ops;
    struct write_batch *batch;
    struct call calls[CALLS];
    sem_t done;
    enum err last_group_error;
};

static struct gated *gated_of(struct store *store) {
    return (struct gated *)store;
}

static enum err gated_begin(struct store *store) {
    struct gated *gated = gated_of(store);
    (void)sem_post(&gated->group_waits);
    while (sem_wait(&gated->groups_allowed) != 0) {
    }
    gated->groups++;
    if (gated->poison_groups > 0) {
        gated->poison_groups--;
        return gated->poison;
    }
    return gated->real->ops->group_begin(gated->real);
}

static enum err gated_end(struct store *store) {
    struct gated *gated = gated_of(store);
    return gated->real->ops->group_end(gated->real);
}

static void gated_maintain(struct store *store) {
    struct gated *gated = gated_of(store);
    gated->real->ops->maintain(gated->real);
}

static enum err gated_append(struct store *store, const struct store_append *items, size_t count) {
    struct gated *gated = gated_of(store);
    return gated->real->ops->append(gated->real, items, count);
}

static enum err gated_cursors(struct store *store, const struct store_cursors *items,
                              size_t count) {
    struct gated *gated = gated_of(store);
    return gated->real->ops->cursors(gated->real, items, count);
}

static enum err gated_user_create(struct store *store, const Pipit__UserCreate *request,
                                  struct arena *arena, Pipit__UserReply *reply) {
    struct gated *gated = gated_of(store);
    return gated->real->ops->user_create(gated->real, request, arena, reply);
}

static void on_done(struct call *call, void *user) {
    (void)call;
    struct fixture *f = user;
    (void)sem_post(&f->done);
}

static void on_group(enum err error, void *user) {
    struct fixture *f = user;
    f->last_group_error = error;
}

static void start(struct fixture *f, size_t queue_max, size_t messages_max) {
    struct write_batch_config config = {.store = &f->gated.store,
                                        .queue_max = queue_max,
                                        .messages_max = messages_max,
                                        .wait_max_us = WAIT_MAX_US,
                                        .on_done = on_done,
                                        .on_group = on_group,
                                        .user = f};
    assert_int_equal(write_batch_create(&config, &f->batch), ERR_OK);
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    support_make_dir(f->dir);
    arena_init(&f->arena, 65536, 64u * 1024u * 1024u);
    assert_int_equal(support_open(f->dir, &f->gated.real, NULL), ERR_OK);
    assert_int_equal(support_user(f->gated.real, &f->arena, "ann"), ERR_OK);
    assert_int_equal(support_group(f->gated.real, &f->arena, "c_a", "u_ann"), ERR_OK);
    assert_int_equal(support_group(f->gated.real, &f->arena, "c_b", "u_ann"), ERR_OK);
    f->ops = (struct store_ops){.group_begin = gated_begin,
                                .group_end = gated_end,
                                .maintain = gated_maintain,
                                .append = gated_append,
                                .cursors = gated_cursors,
                                .user_create = gated_user_create};
    f->gated.store.ops = &f->ops;
    (void)sem_init(&f->gated.groups_allowed, 0, 0);
    (void)sem_init(&f->gated.group_waits, 0, 0);
    (void)sem_init(&f->done, 0, 0);
    for (size_t i = 0; i < CALLS; i++) {
        arena_init(&f->calls[i].arena, 16384, 1024u * 1024u);
    }
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    for (size_t i = 0; i < CALLS; i++) {
        (void)sem_post(&f->gated.groups_allowed); /* nothing may stand before a group now */
    }
    write_batch_destroy(&f->batch);
    store_close(&f->gated.real);
    support_remove(f->dir);
    for (size_t i = 0; i < CALLS; i++) {
        arena_finish(&f->calls[i].arena);
    }
    arena_finish(&f->arena);
    free(f);
    return 0;
}

static void prepare(struct call *call, enum message_type type, ProtobufCMessage *request) {
    call->handler = dispatch_find(type);
    assert_non_null(call->handler);
    call->request = request;
    assert_int_equal(call_reset_reply(call), ERR_OK);
}

static void prepare_append(struct fixture *f, size_t number, const char *conversation, uint64_t seq,
                           size_t count) {
    Pipit__AppendBatch *batch =
        support_batch(&f->calls[number].arena, conversation, seq, count, 20);
    assert_non_null(batch);
    prepare(&f->calls[number], MESSAGE_APPEND_BATCH, &batch->base);
}

static void prepare_cursor(struct fixture *f, size_t number, uint64_t read_seq) {
    struct arena *arena = &f->calls[number].arena;
    Pipit__CursorsRequest *request = arena_alloc(arena, sizeof(*request));
    Pipit__CursorUpdate *update = arena_alloc(arena, sizeof(*update));
    Pipit__CursorUpdate **updates = arena_alloc(arena, sizeof(*updates));
    assert_true(request != NULL && update != NULL && updates != NULL);
    pipit__cursors_request__init(request);
    pipit__cursor_update__init(update);
    update->user = "u_ann";
    update->conversation = "c_a";
    update->read_seq = read_seq;
    updates[0] = update;
    request->updates = updates;
    request->n_updates = 1;
    prepare(&f->calls[number], MESSAGE_CURSORS_REQUEST, &request->base);
}

static void prepare_user(struct fixture *f, size_t number, const char *id) {
    struct arena *arena = &f->calls[number].arena;
    Pipit__UserCreate *request = arena_alloc(arena, sizeof(*request));
    Pipit__User *user = arena_alloc(arena, sizeof(*user));
    assert_true(request != NULL && user != NULL);
    pipit__user_create__init(request);
    pipit__user__init(user);
    user->id = (char *)id;
    user->name = (char *)id + 2;
    request->user = user;
    prepare(&f->calls[number], MESSAGE_USER_CREATE, &request->base);
}

static void submit(struct fixture *f, size_t number) {
    assert_int_equal(write_batch_submit(f->batch, &f->calls[number]), ERR_OK);
}

/* Submits one call and waits until the writer stands before its group: what follows queues up. */
static void occupy_writer(struct fixture *f, size_t number) {
    submit(f, number);
    assert_int_equal(sem_wait(&f->gated.group_waits), 0);
}

static void let_groups_run(struct fixture *f, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        (void)sem_post(&f->gated.groups_allowed);
    }
}

static void wait_done(struct fixture *f, size_t count) {
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(sem_wait(&f->done), 0);
    }
}

static const Pipit__AppendResult *result_of(const struct call *call) {
    const Pipit__AppendReply *reply = (const Pipit__AppendReply *)call->reply;
    assert_int_equal(call->error, ERR_OK);
    assert_int_equal(reply->error, ERR_OK);
    assert_int_equal(reply->n_results, 1);
    return reply->results[0];
}

static void what_waits_is_one_commit(void **state) {
    struct fixture *f = *state;
    start(f, CALLS, 4096);
    prepare_append(f, 0, "c_a", 1, 1);
    occupy_writer(f, 0);
    for (size_t i = 1; i < CALLS; i++) {
        prepare_append(f, i, "c_a", i + 1, 1);
        submit(f, i);
    }
    uint64_t commits = storage_metrics_commits();
    let_groups_run(f, 2);
    wait_done(f, CALLS);
    assert_int_equal(f->gated.groups, 2);
    assert_int_equal(storage_metrics_commits() - commits, 2); /* 40 calls, two fsyncs */
    for (size_t i = 0; i < CALLS; i++) {
        assert_int_equal(result_of(&f->calls[i])->error, ERR_OK);
        assert_int_equal(result_of(&f->calls[i])->head, i + 1);
    }
    assert_int_equal(support_count_dense(f->gated.real, "c_a"), CALLS);
}

static void nobody_is_told_before_the_commit(void **state) {
    struct fixture *f = *state;
    start(f, CALLS, 4096);
    prepare_append(f, 0, "c_a", 1, 1);
    occupy_writer(f, 0);
    int told = 0;
    assert_int_equal(sem_getvalue(&f->done, &told), 0);
    assert_int_equal(told, 0);
    let_groups_run(f, 1);
    wait_done(f, 1);
    assert_int_equal(support_head(f->gated.real, &f->arena, "c_a"), 1);
}

static void a_bad_call_leaves_the_others_alone(void **state) {
    struct fixture *f = *state;
    start(f, CALLS, 4096);
    prepare_append(f, 0, "c_a", 1, 1);
    occupy_writer(f, 0);
    prepare_append(f, 1, "c_none", 1, 2);
    prepare_append(f, 2, "c_a", 7, 1); /* would leave a hole */
    prepare_append(f, 3, "c_b", 1, 3);
    prepare_user(f, 4, "u_ann"); /* taken */
    prepare_user(f, 5, "u_bob");
    prepare_cursor(f, 6, 99); /* cut to the head this very group stores */
    prepare_append(f, 7, "c_a", 2, 1);
    for (size_t i = 1; i <= 7; i++) {
        submit(f, i);
    }
    let_groups_run(f, 2);
    wait_done(f, 8);
    assert_int_equal(f->gated.groups, 2);
    assert_int_equal(result_of(&f->calls[1])->error, ERR_NOT_FOUND);
    assert_int_equal(result_of(&f->calls[2])->error, ERR_DUPLICATE_SEQ);
    assert_int_equal(result_of(&f->calls[3])->stored_count, 3);
    assert_int_equal(f->calls[4].error, ERR_EXISTS);
    assert_int_equal(f->calls[5].error, ERR_OK);
    assert_string_equal(((Pipit__UserReply *)f->calls[5].reply)->user->id, "u_bob");
    const Pipit__CursorsReply *cursors = (const Pipit__CursorsReply *)f->calls[6].reply;
    assert_int_equal(cursors->results[0]->read_seq, 2);
    assert_int_equal(result_of(&f->calls[7])->head, 2);
}

static void commits_have_a_size_limit(void **state) {
    struct fixture *f = *state;
    start(f, CALLS, 10);
    prepare_append(f, 0, "c_a", 1, 25); /* larger than the limit: goes whole */
    occupy_writer(f, 0);
    for (size_t i = 1; i <= 6; i++) { /* 4 messages each: two calls fit one commit */
        prepare_append(f, i, "c_b", (i - 1) * 4 + 1, 4);
        submit(f, i);
    }
    let_groups_run(f, 4);
    wait_done(f, 7);
    assert_int_equal(f->gated.groups, 4);
    assert_int_equal(support_head(f->gated.real, &f->arena, "c_a"), 25);
    assert_int_equal(support_head(f->gated.real, &f->arena, "c_b"), 24);
}

static void a_full_queue_refuses(void **state) {
    struct fixture *f = *state;
    start(f, 3, 4096);
    prepare_append(f, 0, "c_a", 1, 1);
    occupy_writer(f, 0);
    for (size_t i = 1; i <= 4; i++) {
        prepare_append(f, i, "c_a", i + 1, 1);
    }
    submit(f, 1);
    submit(f, 2);
    submit(f, 3);
    assert_int_equal(write_batch_submit(f->batch, &f->calls[4]), ERR_FULL);
    let_groups_run(f, 2);
    wait_done(f, 4);
    assert_int_equal(support_head(f->gated.real, &f->arena, "c_a"), 4);
    submit(f, 4);
    let_groups_run(f, 1);
    wait_done(f, 1);
    assert_int_equal(result_of(&f->calls[4])->head, 5);
}

static void what_nobody_waits_for_is_not_done(void **state) {
    struct fixture *f = *state;
    start(f, 8, 100);
    prepare_append(f, 0, "c_a", 1, 1);
    occupy_writer(f, 0);
    prepare_append(f, 1, "c_a", 2, 1);
    prepare_append(f, 2, "c_b", 1, 1);
    submit(f, 1);
    submit(f, 2);
    f->calls[1].queued_us -= WAIT_MAX_US + 1; /* the writer is held, so it sees this */
    let_groups_run(f, 2);
    wait_done(f, 3);
    assert_int_equal(f->calls[0].error, ERR_OK);
    assert_int_equal(f->calls[1].error, ERR_UNAVAILABLE);
    assert_int_equal(f->calls[2].error, ERR_OK);
}

static void a_lost_group_is_told_to_all(void **state) {
    struct fixture *f = *state;
    start(f, CALLS, 4096);
    prepare_append(f, 0, "c_a", 1, 1);
    occupy_writer(f, 0);
    for (size_t i = 1; i <= 5; i++) {
        prepare_append(f, i, "c_b", i, 1);
        submit(f, i);
    }
    let_groups_run(f, 1); /* the first is stored */
    wait_done(f, 1);
    assert_int_equal(sem_wait(&f->gated.group_waits), 0);
    f->gated.poison = ERR_NO_SPACE;
    f->gated.poison_groups = 1;
    let_groups_run(f, 1);
    wait_done(f, 5);
    assert_int_equal(f->last_group_error, ERR_NO_SPACE);
    for (size_t i = 1; i <= 5; i++) {
        assert_int_equal(f->calls[i].error, ERR_NO_SPACE);
        call_finish(&f->calls[i]);
        const Pipit__AppendReply *reply = (const Pipit__AppendReply *)f->calls[i].reply;
        assert_int_equal(reply->error, ERR_NO_SPACE);
        assert_int_equal(reply->n_results, 0);
    }
    assert_int_equal(f->gated.groups, 2); /* a full disk is nobody's own fault: no second try */
    assert_int_equal(support_head(f->gated.real, &f->arena, "c_b"), 0);
}

static void one_poisonous_call_does_not_block_the_rest(void **state) {
    struct fixture *f = *state;
    start(f, CALLS, 4096);
    prepare_append(f, 0, "c_a", 1, 1);
    occupy_writer(f, 0);
    for (size_t i = 1; i <= 3; i++) {
        prepare_append(f, i, "c_b", i, 1);
        submit(f, i);
    }
    let_groups_run(f, 1);
    wait_done(f, 1);
    assert_int_equal(sem_wait(&f->gated.group_waits), 0);
    f->gated.poison = ERR_CORRUPT;
    f->gated.poison_groups = 1; /* the group of three; then each runs alone */
    let_groups_run(f, 4);
    wait_done(f, 3);
    assert_int_equal(f->gated.groups, 5);
    for (size_t i = 1; i <= 3; i++) {
        assert_int_equal(result_of(&f->calls[i])->head, i);
    }
}

static void destroying_finishes_what_waits(void **state) {
    struct fixture *f = *state;
    start(f, CALLS, 4096);
    for (size_t i = 0; i < CALLS; i++) {
        prepare_append(f, i, "c_a", i + 1, 1);
        submit(f, i);
    }
    let_groups_run(f, CALLS);
    write_batch_destroy(&f->batch);
    wait_done(f, CALLS);
    assert_int_equal(support_head(f->gated.real, &f->arena, "c_a"), CALLS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_waits_is_one_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_is_told_before_the_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_call_leaves_the_others_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(commits_have_a_size_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_queue_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(what_nobody_waits_for_is_not_done, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_group_is_told_to_all, setup, teardown),
        cmocka_unit_test_setup_teardown(one_poisonous_call_does_not_block_the_rest, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(destroying_finishes_what_waits, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
