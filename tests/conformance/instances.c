/* instances: several stores over the same data. SQLite refuses the second; where it is allowed,
 * both stay right whatever the other one did behind their backs. */
#include "tests/conformance/support.h"

#include <pthread.h>

static struct store *open_second(struct fixture *f) {
    struct buf problem;
    struct store *second = NULL;
    buf_init(&problem, 1024);
    enum err error = fixture_open(f, &second, &problem);
    if (!fixture_is_mongodb(f)) {
        assert_int_equal(error, ERR_EXISTS);
        assert_true(buf_len(&problem) > 0);
        assert_null(second);
    } else {
        assert_int_equal(error, ERR_OK);
    }
    buf_finish(&problem);
    return second;
}

static void swap(struct fixture *f, struct store **other) {
    struct store *mine = f->store;
    f->store = *other;
    *other = mine;
}

static Pipit__AppendResult *append_at(struct fixture *f, uint64_t seq) {
    Pipit__StoredMessage *message = message_make(f, "u_ann", "{}", 2);
    return append_run(f, "c_x", seq, &message, 1);
}

static void they_append_in_turn(void **state) {
    struct fixture *f = *state;
    struct store *other = open_second(f);
    if (other == NULL) {
        return;
    }
    user_make(f, "ann");
    group_make(f, "c_x", "u_ann", NULL);
    for (uint64_t seq = 1; seq <= 6; seq++) { /* neither saw the other's */
        assert_int_equal(append_at(f, seq)->error, ERR_OK);
        swap(f, &other);
    }
    assert_int_equal(append_at(f, 7)->error, ERR_OK);
    swap(f, &other); /* whose cache ends at 6 */
    Pipit__AppendResult *taken = append_at(f, 7);
    assert_int_equal(taken->error, ERR_DUPLICATE_SEQ);
    assert_int_equal(taken->head, 7);
    Pipit__AppendResult *hole = append_at(f, 9);
    assert_int_equal(hole->error, ERR_DUPLICATE_SEQ);
    assert_int_equal(hole->head, 7);
    assert_int_equal(append_at(f, 8)->error, ERR_OK);
    swap(f, &other);
    assert_int_equal(append_at(f, 10)->error, ERR_DUPLICATE_SEQ);
    assert_int_equal(append_at(f, 9)->error, ERR_OK);
    assert_int_equal(history_all(f, "c_x")->n_messages, 9);
    store_close(&other);
}

static void an_id_is_known_to_all(void **state) {
    struct fixture *f = *state;
    struct store *other = open_second(f);
    if (other == NULL) {
        return;
    }
    user_make(f, "ann");
    group_make(f, "c_x", "u_ann", NULL);
    Pipit__StoredMessage *message = message_make(f, "u_ann", "{}", 2);
    assert_int_equal(append_run(f, "c_x", 1, &message, 1)->error, ERR_OK);
    swap(f, &other);
    Pipit__AppendResult *result = append_run(f, "c_x", 2, &message, 1);
    assert_int_equal(result->error, ERR_DUPLICATE_ID);
    assert_int_equal(result->existing_seq, 1);
    assert_int_equal(result->head, 1);
    store_close(&other);
}

static void a_removal_by_one_shows_in_the_others_append(void **state) {
    struct fixture *f = *state;
    struct store *other = open_second(f);
    if (other == NULL) {
        return;
    }
    user_make(f, "ann");
    user_make(f, "bob");
    group_make(f, "c_x", "u_ann", "u_bob", NULL);
    uint64_t before = append_at(f, 1)->members_version;
    swap(f, &other);
    struct change removal = {.conversation = "c_x",
                             .actor = "u_ann",
                             .action = PIPIT__MEMBER_ACTION__MEMBERS_REMOVE,
                             .user = "u_bob"};
    assert_int_equal(change_try(f, removal, NULL, NULL), ERR_OK);
    swap(f, &other);
    assert_true(append_at(f, 2)->members_version > before);
    assert_int_equal(cursor_move(f, "u_bob", "", "c_x", 1, 1)->error, ERR_NOT_MEMBER);
    store_close(&other);
}

static void cursors_meet(void **state) {
    struct fixture *f = *state;
    struct store *other = open_second(f);
    if (other == NULL) {
        return;
    }
    user_make(f, "ann");
    group_make(f, "c_x", "u_ann", NULL);
    (void)append_texts(f, "c_x", "u_ann", 5);
    (void)cursor_move(f, "u_ann", "", "c_x", 4, 1);
    swap(f, &other);
    Pipit__CursorResult *result = cursor_move(f, "u_ann", "", "c_x", 2, 2);
    assert_int_equal(result->delivered_seq, 4);
    assert_int_equal(result->read_seq, 2);
    swap(f, &other);
    result = cursor_move(f, "u_ann", "", "c_x", 5, 0);
    assert_int_equal(result->delivered_seq, 5);
    assert_int_equal(result->read_seq, 2);
    store_close(&other);
}

static void they_have_one_epoch(void **state) {
    struct fixture *f = *state;
    struct store *other = open_second(f);
    if (other == NULL) {
        return;
    }
    user_make(f, "ann");
    const char *epoch = list_all(f, "u_ann")->epoch;
    assert_true(epoch[0] != '\0');
    swap(f, &other);
    assert_string_equal(list_all(f, "u_ann")->epoch, epoch);
    store_close(&other);
}

/* --- both at once, the way two owners would: each behind the head that it believes in */

#define RIVAL_MESSAGES 40u

struct rival {
    struct fixture fixture; /* an arena of its own */
    pthread_t thread;
    uint64_t stored;
};

static void *compete(void *argument) {
    struct rival *rival = argument;
    uint64_t head = 0;
    while (rival->stored < RIVAL_MESSAGES) {
        Pipit__AppendResult *result = append_at(&rival->fixture, head + 1);
        if (result->error == ERR_OK) {
            rival->stored++;
        } else if (result->error != ERR_DUPLICATE_SEQ) {
            break; /* the count tells */
        }
        head = result->head;
    }
    return NULL;
}

static void two_owners_make_one_order(void **state) {
    struct fixture *f = *state;
    struct store *other = open_second(f);
    if (other == NULL) {
        return;
    }
    user_make(f, "ann");
    group_make(f, "c_x", "u_ann", NULL);
    struct rival rivals[2] = {{.fixture = *f}, {.fixture = *f}};
    rivals[1].fixture.store = other;
    for (size_t i = 0; i < 2; i++) {
        arena_init(&rivals[i].fixture.arena, 65536, 64u << 20);
        assert_int_equal(pthread_create(&rivals[i].thread, NULL, compete, &rivals[i]), 0);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(rivals[i].thread, NULL), 0);
        arena_finish(&rivals[i].fixture.arena);
        assert_int_equal(rivals[i].stored, RIVAL_MESSAGES);
    }
    Pipit__HistoryReply *all = history_all(f, "c_x");
    assert_int_equal(all->n_messages, 2 * RIVAL_MESSAGES);
    for (size_t i = 0; i < all->n_messages; i++) {
        assert_int_equal(all->messages[i]->seq, i + 1);
    }
    store_close(&other);
}

int instances_tests(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(they_append_in_turn),
        STORE_TEST(an_id_is_known_to_all),
        STORE_TEST(a_removal_by_one_shows_in_the_others_append),
        STORE_TEST(cursors_meet),
        STORE_TEST(they_have_one_epoch),
        STORE_TEST(two_owners_make_one_order),
    };
    return cmocka_run_group_tests_name("instances", tests, NULL, NULL);
}
