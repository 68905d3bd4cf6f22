/* test_conversation_shape: who is in a new conversation, and what it may be called. */
#include "tests/unit/storage/support.h"

#include "proto/names.h"
#include "services/storage/conversation_shape.h"

#define DIRECT PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT

struct world {
    struct arena arena;
    Pipit__ConversationCreate request;
    struct conversation_shape shape;
};

static int setup(void **state) {
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    arena_init(&world->arena, 4096, 1u << 20);
    pipit__conversation_create__init(&world->request);
    world->request.id = "c_group";
    world->request.creator = "u_ann";
    *state = world;
    return 0;
}

static int teardown(void **state) {
    struct world *world = *state;
    arena_finish(&world->arena);
    free(world);
    return 0;
}

static enum err read_shape(struct world *world, char **members, size_t count, size_t members_max) {
    world->request.members = members;
    world->request.n_members = count;
    return conversation_shape_read(&world->request, members_max, &world->arena, &world->shape);
}

static void everybody_counts_once(void **state) {
    struct world *world = *state;
    char *members[] = {"u_bob", "u_ann", "u_bob", "u_eve"};
    assert_int_equal(read_shape(world, members, 4, 3), ERR_OK);
    assert_int_equal(world->shape.count, 3);
    assert_string_equal(world->shape.users[0], "u_ann"); /* the creator first */
    assert_string_equal(world->shape.users[1], "u_bob");
    assert_string_equal(world->shape.users[2], "u_eve");
    assert_int_equal(read_shape(world, members, 4, 2), ERR_FULL);
    assert_int_equal(read_shape(world, NULL, 0, 1), ERR_OK);
    assert_int_equal(world->shape.count, 1);
}

static void malformed_requests_are_refused(void **state) {
    struct world *world = *state;
    static char longest[STORE_TEXT_BYTES_MAX + 2];
    memset(longest, 'x', sizeof(longest) - 1);
    char *empty[] = {""};
    char *too_long[] = {longest};
    assert_int_equal(read_shape(world, empty, 1, 9), ERR_INVALID);
    assert_int_equal(read_shape(world, too_long, 1, 9), ERR_INVALID);
    world->request.title = longest;
    assert_int_equal(read_shape(world, NULL, 0, 9), ERR_INVALID);
    longest[STORE_TEXT_BYTES_MAX] = '\0';
    assert_int_equal(read_shape(world, NULL, 0, 9), ERR_OK);
    world->request.title = "";
    world->request.id = "";
    assert_int_equal(read_shape(world, NULL, 0, 9), ERR_INVALID);
    world->request.id = NAMES_DIRECT_PREFIX "abc"; /* reserved */
    assert_int_equal(read_shape(world, NULL, 0, 9), ERR_INVALID);
}

static void direct_ids_are_derived(void **state) {
    struct world *world = *state;
    char id[LIMIT_CONVERSATION_ID_BYTES + 1];
    char *bob[] = {"u_bob"};
    char *two[] = {"u_bob", "u_eve"};
    char *nobody[] = {"no user id"};
    assert_int_equal(names_direct_conversation("u_ann", "u_bob", id), ERR_OK);
    world->request.kind = DIRECT;
    world->request.id = id;
    assert_int_equal(read_shape(world, bob, 1, 1), ERR_OK); /* members_max is for groups */
    assert_int_equal(world->shape.count, 2);
    assert_int_equal(read_shape(world, two, 2, 9), ERR_INVALID);
    assert_int_equal(read_shape(world, nobody, 1, 9), ERR_INVALID);
    assert_int_equal(read_shape(world, NULL, 0, 9), ERR_INVALID); /* that is ann's with herself */
    assert_int_equal(names_direct_conversation("u_ann", "u_ann", id), ERR_OK);
    assert_int_equal(read_shape(world, NULL, 0, 9), ERR_OK);
    assert_int_equal(world->shape.count, 1);
}

static void no_memory_is_told(void **state) {
    struct world *world = *state;
    struct arena none;
    arena_init(&none, 1, 1);
    assert_int_equal(conversation_shape_read(&world->request, 9, &none, &world->shape),
                     ERR_NO_MEMORY);
    arena_finish(&none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everybody_counts_once, setup, teardown),
        cmocka_unit_test_setup_teardown(malformed_requests_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(direct_ids_are_derived, setup, teardown),
        cmocka_unit_test_setup_teardown(no_memory_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
