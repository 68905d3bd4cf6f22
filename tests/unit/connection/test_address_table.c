/* address_table: who counts as one address, and that nothing stays behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/contract.h"
#include "common/mem.h"
#include "services/connection/address_table.h"
#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>

static struct address_table *table;

static int set_up(void **state) {
    (void)state;
    return address_table_create(&table) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    address_table_destroy(&table);
    assert_null(table);
    address_table_destroy(&table);
    return 0;
}

static struct sockaddr_storage address_of(const char *text) {
    struct sockaddr_storage address = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
    } else {
        CONTRACT(inet_pton(AF_INET6, text, &v6->sin6_addr) == 1);
        v6->sin6_family = AF_INET6;
    }
    return address;
}

static enum err enter(const char *text, uint64_t max, struct address_entry **entry) {
    struct sockaddr_storage address = address_of(text);
    return address_table_enter(table, (struct sockaddr *)&address, max, entry);
}

static void test_count_to_the_limit_and_back(void **state) {
    (void)state;
    struct address_entry *one = NULL, *two = NULL, *three = NULL;
    assert_int_equal(enter("192.0.2.1", 2, &one), ERR_OK);
    assert_int_equal(enter("192.0.2.1", 2, &two), ERR_OK);
    assert_int_equal(enter("192.0.2.1", 2, &three), ERR_FULL);
    assert_null(three);
    assert_int_equal(enter("192.0.2.2", 2, &three), ERR_OK); /* others are not concerned */
    assert_int_equal(address_table_count(table), 2);
    address_table_leave(table, &one);
    assert_null(one);
    assert_int_equal(enter("192.0.2.1", 2, &one), ERR_OK);
    address_table_leave(table, &one);
    address_table_leave(table, &two);
    address_table_leave(table, &three);
    address_table_leave(table, &three); /* NULL is fine */
    assert_int_equal(address_table_count(table), 0);
}

static void test_what_is_one_address(void **state) {
    (void)state;
    static const struct {
        const char *one, *other;
        bool same;
    } cases[] = {
        {"192.0.2.1", "::ffff:192.0.2.1", true}, /* a dual-stack socket's view */
        {"2001:db8:1:2::1", "2001:db8:1:2:ffff::7", true},
        {"2001:db8:1:2::1", "2001:db8:1:3::1", false},
        {"192.0.2.1", "192.0.2.129", false},
        {"::1", "127.0.0.1", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct address_entry *one = NULL, *other = NULL;
        assert_int_equal(enter(cases[i].one, 5, &one), ERR_OK);
        assert_int_equal(enter(cases[i].other, 5, &other), ERR_OK);
        assert_int_equal(one == other, cases[i].same);
        address_table_leave(table, &one);
        address_table_leave(table, &other);
    }
}

static void test_without_memory_nothing_is_counted(void **state) {
    (void)state;
    struct address_entry *entry = NULL;
    (void)mem_fault_set(1, 1);
    enum err error = enter("192.0.2.1", 5, &entry);
    (void)mem_fault_set(0, 0);
    assert_int_equal(error, ERR_NO_MEMORY);
    assert_null(entry);
    assert_int_equal(address_table_count(table), 0);
    struct address_table *other = NULL;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        (void)mem_fault_set(nth, 1);
        error = address_table_create(&other);
        (void)mem_fault_set(0, 0);
        assert_int_equal(error, ERR_NO_MEMORY);
        assert_null(other);
    }
}

static void *come_and_go(void *argument) {
    for (int i = 0; i < 5000; i++) {
        struct address_entry *entry = NULL;
        if (enter(argument, 3, &entry) == ERR_OK) {
            address_table_leave(table, &entry);
        }
    }
    return NULL;
}

static void test_several_threads(void **state) {
    (void)state;
    static char addresses[4][16] = {"192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1"};
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, addresses[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(address_table_count(table), 0);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_count_to_the_limit_and_back),
        T(test_what_is_one_address),
        T(test_without_memory_nothing_is_counted),
        T(test_several_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
