#include "tests/unit/routing/support.h"

#include "common/mem.h"
#include "services/routing/directory.h"
#include <stdio.h>
#include <string.h>

static const struct directory_limits limits = {
    .interests_max = 20, .interests_per_endpoint_max = 10, .sessions_max = 4};

static size_t interested(struct directory *directory, const char *conversation, size_t *slots) {
    struct endpoint_set set = {{0}};
    size_t count = 0;
    directory_interested(directory, conversation, &set);
    size_t slot = endpoint_set_next(&set, 0);
    for (; slot < ENDPOINTS_MAX; slot = endpoint_set_next(&set, slot + 1)) {
        slots[count++] = slot;
    }
    return count;
}

static void sets_walk_all_words(void **state) {
    (void)state;
    static const size_t in[] = {0, 1, 63, 64, 127, 128, 200, 255};
    struct endpoint_set set = {{0}};
    assert_true(endpoint_set_empty(&set));
    for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
        endpoint_set_add(&set, in[i]);
    }
    size_t found = 0;
    size_t slot = endpoint_set_next(&set, 0);
    for (; slot < ENDPOINTS_MAX; slot = endpoint_set_next(&set, slot + 1)) {
        assert_int_equal(slot, in[found++]);
    }
    assert_int_equal(found, sizeof in / sizeof in[0]);
    endpoint_set_remove(&set, 64);
    assert_false(endpoint_set_has(&set, 64));
    assert_true(endpoint_set_has(&set, 63));
}

static void interest_is_a_set_of_endpoints(void **state) {
    (void)state;
    struct directory *directory = NULL;
    struct endpoint *one = NULL;
    struct endpoint *two = NULL;
    size_t slots[ENDPOINTS_MAX];
    assert_int_equal(directory_create(&limits, &directory), ERR_OK);
    assert_int_equal(directory_open(directory, 11, "a", &one), ERR_OK);
    assert_int_equal(directory_open(directory, 12, "b", &two), ERR_OK);
    assert_int_equal(directory_add_interest(directory, one, "c_x"), ERR_OK);
    assert_int_equal(directory_add_interest(directory, one, "c_x"), ERR_OK); /* idempotent */
    assert_int_equal(directory_add_interest(directory, two, "c_x"), ERR_OK);
    assert_int_equal(directory_add_interest(directory, two, "c_y"), ERR_OK);
    assert_int_equal(interested(directory, "c_x", slots), 2);
    assert_int_equal(interested(directory, "c_y", slots), 1);
    assert_int_equal(slots[0], two->slot);
    assert_int_equal(interested(directory, "c_z", slots), 0);
    directory_remove_interest(directory, two, "c_x");
    directory_remove_interest(directory, two, "c_z");
    assert_int_equal(interested(directory, "c_x", slots), 1);
    directory_clear(directory, two);
    assert_int_equal(interested(directory, "c_y", slots), 0);
    assert_int_equal(directory_interest_count(directory), 1);
    directory_close(directory, one);
    assert_int_equal(directory_interest_count(directory), 0);
    assert_null(directory_find(directory, 11));
    assert_ptr_equal(directory_find(directory, 12), two);
    assert_int_equal(directory_open(directory, 13, "c", &one), ERR_OK);
    assert_int_equal(one->slot, 0); /* the free slot is used again */
    directory_destroy(&directory);
}

static void limits_are_refusals(void **state) {
    (void)state;
    struct directory *directory = NULL;
    struct endpoint *endpoints[ENDPOINTS_MAX + 1];
    assert_int_equal(directory_create(&limits, &directory), ERR_OK);
    for (uint64_t i = 0; i < ENDPOINTS_MAX; i++) {
        assert_int_equal(directory_open(directory, i + 1, "x", &endpoints[i]), ERR_OK);
    }
    assert_int_equal(directory_open(directory, 9999, "x", &endpoints[ENDPOINTS_MAX]), ERR_FULL);
    char id[32];
    for (int i = 0; i < 10; i++) {
        (void)snprintf(id, sizeof id, "c_%d", i);
        assert_int_equal(directory_add_interest(directory, endpoints[0], id), ERR_OK);
    }
    assert_int_equal(directory_add_interest(directory, endpoints[0], "c_more"), ERR_FULL);
    for (int i = 10; i < 20; i++) {
        (void)snprintf(id, sizeof id, "c_%d", i);
        assert_int_equal(directory_add_interest(directory, endpoints[1], id), ERR_OK);
    }
    assert_int_equal(directory_add_interest(directory, endpoints[2], "c_more"), ERR_FULL);
    assert_int_equal(directory_add_interest(directory, endpoints[2], "c_0"), ERR_OK); /* shared */
    directory_destroy(&directory);
}

static struct session_facts facts(const struct endpoint *endpoint, uint64_t session,
                                  const char *user) {
    return (struct session_facts){.endpoint = endpoint->id,
                                  .session = session,
                                  .slot = (uint16_t)endpoint->slot,
                                  .user = user,
                                  .device = "d_1"};
}

static void sessions_make_users_online(void **state) {
    (void)state;
    struct directory *directory = NULL;
    struct endpoint *one = NULL;
    struct endpoint *two = NULL;
    assert_int_equal(directory_create(&limits, &directory), ERR_OK);
    assert_int_equal(directory_open(directory, 11, "a", &one), ERR_OK);
    assert_int_equal(directory_open(directory, 12, "b", &two), ERR_OK);
    struct sessions *sessions = directory_sessions(directory);
    struct known_session *added = NULL;
    struct session_facts ann = facts(one, 1, "u_ann");
    struct session_facts ann_too = facts(two, 1, "u_ann"); /* the same id at another endpoint */
    struct session_facts bob = facts(two, 2, "u_bob");
    assert_int_equal(sessions_add(sessions, &ann, &one->sessions, &added), ERR_OK);
    assert_non_null(added);
    assert_int_equal(sessions_add(sessions, &ann, &one->sessions, &added), ERR_OK);
    assert_null(added); /* known already */
    assert_int_equal(sessions_add(sessions, &ann_too, &two->sessions, &added), ERR_OK);
    assert_int_equal(sessions_add(sessions, &bob, &two->sessions, &added), ERR_OK);
    assert_true(sessions_online(sessions, "u_ann"));
    struct endpoint_set set = {{0}};
    sessions_endpoints(sessions, "u_ann", &set);
    assert_true(endpoint_set_has(&set, one->slot) && endpoint_set_has(&set, two->slot));
    sessions_remove(sessions, &one->sessions, sessions_find(sessions, 11, 1));
    assert_true(sessions_online(sessions, "u_ann"));
    directory_close(directory, two);
    assert_false(sessions_online(sessions, "u_ann"));
    assert_false(sessions_online(sessions, "u_bob"));
    assert_int_equal(sessions_count(sessions), 0);
    for (uint64_t i = 0; i < 4; i++) {
        struct session_facts more = facts(one, 10 + i, "u_cem");
        assert_int_equal(sessions_add(sessions, &more, &one->sessions, &added), ERR_OK);
    }
    struct session_facts beyond = facts(one, 20, "u_dan");
    assert_int_equal(sessions_add(sessions, &beyond, &one->sessions, &added), ERR_FULL);
    directory_destroy(&directory);
}

/* Each allocation of a small life fails once: an error, no leak, no harm. */
static void every_allocation_may_fail(void **state) {
    (void)state;
    for (uint64_t nth = 1; nth < 16; nth++) {
        struct directory *directory = NULL;
        struct endpoint *endpoint = NULL;
        struct known_session *added = NULL;
        (void)mem_fault_set(nth, 1);
        enum err error = directory_create(&limits, &directory);
        if (error == ERR_OK) {
            error = directory_open(directory, 1, "a", &endpoint);
        }
        if (error == ERR_OK) {
            error = directory_add_interest(directory, endpoint, "c_x");
        }
        if (error == ERR_OK) {
            struct session_facts ann = facts(endpoint, 1, "u_ann");
            error = sessions_add(directory_sessions(directory), &ann, &endpoint->sessions, &added);
        }
        (void)mem_fault_set(0, 0);
        assert_true(error == ERR_NO_MEMORY || (error == ERR_OK && nth > 8));
        directory_destroy(&directory);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_walk_all_words),
        cmocka_unit_test(interest_is_a_set_of_endpoints),
        cmocka_unit_test(limits_are_refusals),
        cmocka_unit_test(sessions_make_users_online),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
