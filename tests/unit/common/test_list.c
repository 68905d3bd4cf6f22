/* test_list: order, removal anywhere, and the contracts of linked and unlinked nodes. */
#include "common/list.h"
#include "common/contract.h"
#include "tests/unit/common/support_process.h"

struct item {
    int number;
    struct list_node node;
};

static int number_of(struct list_node *node) {
    return CONTAINER_OF(node, struct item, node)->number;
}

static void an_empty_list_has_nothing(void **state) {
    (void)state;
    struct list list;
    list_init(&list);
    assert_null(list_first(&list));
    assert_null(list_pop_front(&list));
    assert_int_equal(list.count, 0);
}

static void order_is_kept(void **state) {
    (void)state;
    struct list list;
    struct item items[5] = {
        {.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}, {.number = 4}};
    list_init(&list);
    for (int i = 1; i < 5; i++) {
        assert_false(list_node_linked(&items[i].node));
        list_push_back(&list, &items[i].node);
        assert_true(list_node_linked(&items[i].node));
    }
    list_push_front(&list, &items[0].node);
    int expected = 0;
    for (struct list_node *node = list_first(&list); node != NULL; node = list_next(&list, node)) {
        assert_int_equal(number_of(node), expected++);
    }
    assert_int_equal(expected, 5);
    assert_int_equal(list.count, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(number_of(list_pop_front(&list)), i);
    }
    assert_null(list_first(&list));
}

static void any_node_can_leave(void **state) {
    (void)state;
    struct list list;
    struct item items[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    list_init(&list);
    for (int removed = 0; removed < 3; removed++) {
        for (int i = 0; i < 3; i++) {
            list_push_back(&list, &items[i].node);
        }
        list_remove(&list, &items[removed].node);
        assert_false(list_node_linked(&items[removed].node));
        assert_int_equal(list.count, 2);
        int first = removed == 0 ? 1 : 0;
        int second = removed == 2 ? 1 : 2;
        assert_int_equal(number_of(list_pop_front(&list)), first);
        assert_int_equal(number_of(list_pop_front(&list)), second);
    }
}

static struct list shared;
static struct item one;

static void push_twice(void) {
    list_init(&shared);
    list_push_back(&shared, &one.node);
    list_push_back(&shared, &one.node);
}
static void remove_unlinked(void) {
    list_init(&shared);
    list_remove(&shared, &one.node);
}

static void misuse_is_a_contract(void **state) {
    (void)state;
    assert_true(support_aborts(push_twice));
    assert_true(support_aborts(remove_unlinked));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_list_has_nothing), cmocka_unit_test(order_is_kept),
        cmocka_unit_test(any_node_can_leave), cmocka_unit_test(misuse_is_a_contract)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
