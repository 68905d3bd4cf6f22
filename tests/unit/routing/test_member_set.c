#include "tests/unit/routing/support.h"

#include "common/mem.h"
#include "services/routing/member_set.h"
#include <stdio.h>
#include <string.h>

static Pipit__Member make(const char *user, Pipit__MemberState state, Pipit__MemberRole role) {
    Pipit__Member member = PIPIT__MEMBER__INIT;
    member.user = (char *)user;
    member.state = state;
    member.role = role;
    member.joined_seq = 5;
    return member;
}
#define ACTIVE PIPIT__MEMBER_STATE__MEMBER_ACTIVE
#define LEFT PIPIT__MEMBER_STATE__MEMBER_LEFT
#define BLOCKED PIPIT__MEMBER_STATE__MEMBER_BLOCKED
#define MEMBER PIPIT__MEMBER_ROLE__ROLE_MEMBER
#define ADMIN PIPIT__MEMBER_ROLE__ROLE_ADMIN

static void finds_every_member_of_any_size(void **state) {
    (void)state;
    for (size_t count = 0; count <= 40; count++) {
        char names[40][16];
        Pipit__Member members[40];
        Pipit__Member *pointers[40] = {NULL};
        for (size_t i = 0; i < count; i++) {
            (void)snprintf(names[i], sizeof names[i], "u_%zu", (i * 17) % 41); /* not sorted */
            members[i] = make(names[i], ACTIVE, MEMBER);
            pointers[i] = &members[i];
        }
        struct member_set *set = NULL;
        assert_int_equal(member_set_change(NULL, pointers, count, &set), ERR_OK);
        assert_int_equal(set->count, count);
        for (size_t i = 0; i < count; i++) {
            const struct member_entry *found = member_set_find(set, names[i]);
            assert_non_null(found);
            assert_string_equal(found->user, names[i]);
        }
        assert_null(member_set_find(set, "u_stranger"));
        assert_null(member_set_find(set, ""));
        member_set_destroy(&set);
        assert_null(set);
    }
    assert_null(member_set_find(NULL, "u_ann"));
}

static void changes_replace_add_and_remove(void **state) {
    (void)state;
    Pipit__Member first[] = {make("u_ann", ACTIVE, ADMIN), make("u_bob", ACTIVE, MEMBER),
                             make("u_cem", BLOCKED, MEMBER)};
    Pipit__Member *before[] = {&first[0], &first[1], &first[2]};
    struct member_set *old = NULL;
    assert_int_equal(member_set_change(NULL, before, 3, &old), ERR_OK);
    assert_true(old->any_blocked);
    Pipit__Member second[] = {make("u_bob", LEFT, MEMBER),   make("u_dan", ACTIVE, MEMBER),
                              make("u_cem", ACTIVE, MEMBER), make("u_ann", ACTIVE, MEMBER),
                              make("u_ann", ACTIVE, ADMIN),  make("u_eve", LEFT, MEMBER)};
    Pipit__Member *changed[] = {&second[0], &second[1], &second[2],
                                &second[3], &second[4], &second[5]};
    struct member_set *fresh = NULL;
    assert_int_equal(member_set_change(old, changed, 6, &fresh), ERR_OK);
    assert_int_equal(fresh->count, 3);
    assert_false(fresh->any_blocked);
    assert_null(member_set_find(fresh, "u_bob"));
    assert_null(member_set_find(fresh, "u_eve"));
    assert_non_null(member_set_find(fresh, "u_dan"));
    assert_int_equal(member_set_find(fresh, "u_ann")->role, ADMIN); /* the last one counts */
    assert_int_equal(old->count, 3);                                /* untouched */

    struct arena arena;
    arena_init(&arena, 4096, 65536);
    Pipit__Member **difference = NULL;
    size_t count = 0;
    assert_int_equal(member_set_diff(old, fresh, &arena, &difference, &count), ERR_OK);
    assert_int_equal(count, 3); /* bob left, cem unblocked, dan new; ann as before */
    assert_string_equal(difference[0]->user, "u_bob");
    assert_int_equal(difference[0]->state, LEFT);
    assert_string_equal(difference[1]->user, "u_cem");
    assert_int_equal(difference[1]->state, ACTIVE);
    assert_string_equal(difference[2]->user, "u_dan");
    assert_int_equal(member_set_diff(NULL, fresh, &arena, &difference, &count), ERR_OK);
    assert_int_equal(count, 3);
    arena_finish(&arena);
    member_set_destroy(&old);
    member_set_destroy(&fresh);
}

static void a_failed_change_leaves_the_old_set(void **state) {
    (void)state;
    Pipit__Member one = make("u_ann", ACTIVE, MEMBER);
    Pipit__Member *members[] = {&one};
    struct member_set *set = NULL;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        (void)mem_fault_set(nth, 1);
        assert_int_equal(member_set_change(NULL, members, 1, &set), ERR_NO_MEMORY);
        (void)mem_fault_set(0, 0);
        assert_null(set);
    }
    struct arena arena;
    arena_init(&arena, 64, 64);
    assert_int_equal(member_set_change(NULL, members, 1, &set), ERR_OK);
    Pipit__Member **difference = NULL;
    size_t count = 9;
    assert_int_equal(member_set_diff(NULL, set, &arena, &difference, &count), ERR_NO_MEMORY);
    assert_int_equal(count, 9);
    arena_finish(&arena);
    member_set_destroy(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_every_member_of_any_size),
        cmocka_unit_test(changes_replace_add_and_remove),
        cmocka_unit_test(a_failed_change_leaves_the_old_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
