/* address: X-Forwarded-For is believed from trusted proxies alone, from the right, and never
 * further than the first address that is not one. */
#include "services/auth/address.h"

#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct address_proxies *proxies;
static struct buf text;

static enum err make(const char *list) {
    address_proxies_destroy(&proxies);
    buf_clear(&text);
    return address_proxies_create(list, &proxies, &text);
}

static int setup(void **state) {
    (void)state;
    buf_init(&text, 1024);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    address_proxies_destroy(&proxies);
    buf_finish(&text);
    return 0;
}

static void expect(const char *peer, const char *forwarded, const char *client) {
    char found[ADDRESS_BYTES];
    address_client(proxies, peer, forwarded, found);
    assert_string_equal(found, client);
}

static void test_nobody_is_trusted_by_default(void **state) {
    (void)state;
    assert_int_equal(make(""), ERR_OK);
    expect("192.0.2.1", NULL, "192.0.2.1");
    expect("192.0.2.1", "203.0.113.9", "192.0.2.1");
    expect("127.0.0.1", "203.0.113.9", "127.0.0.1");
    expect("::1", "203.0.113.9", "::1");
}

static void test_one_proxy(void **state) {
    (void)state;
    assert_int_equal(make("10.0.0.0/8, 2001:db8::7"), ERR_OK);
    expect("10.1.2.3", "203.0.113.9", "203.0.113.9");
    expect("2001:db8::7", "203.0.113.9", "203.0.113.9");
    expect("2001:db8::8", "203.0.113.9", "2001:db8::8");
    expect("11.1.2.3", "203.0.113.9", "11.1.2.3");
    expect("10.1.2.3", NULL, "10.1.2.3");
    expect("10.1.2.3", "", "10.1.2.3");
    expect("::ffff:10.1.2.3", "203.0.113.9", "203.0.113.9");
    expect("10.1.2.3", "2001:db8:1::5", "2001:db8:1::5");
}

static void test_spoofed_entries_are_not_reached(void **state) {
    (void)state;
    assert_int_equal(make("10.0.0.0/8"), ERR_OK);
    expect("10.1.2.3", "1.1.1.1, 203.0.113.9", "203.0.113.9");
    expect("10.1.2.3", "1.1.1.1,203.0.113.9 , 10.9.9.9", "203.0.113.9");
    expect("10.1.2.3", "10.5.5.5, 10.9.9.9", "10.5.5.5");
    expect("10.1.2.3", "1.1.1.1, garbage", "10.1.2.3");
    expect("10.1.2.3", "1.1.1.1, garbage, 10.9.9.9", "10.9.9.9");
    expect("10.1.2.3", ", ,,", "10.1.2.3");
    expect("10.1.2.3", "203.0.113.9:4711", "10.1.2.3");
    char many[4096] = "1.1.1.1";
    for (int i = 0; i < 200; i++) {
        (void)strcat(many, ",10.0.0.1");
    }
    expect("10.1.2.3", many, "10.0.0.1"); /* bounded walk */
    char wide[200];
    memset(wide, '1', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    expect("10.1.2.3", wide, "10.1.2.3");
}

static void test_prefixes(void **state) {
    (void)state;
    assert_int_equal(make("192.0.2.128/25 fd00::/9 0.0.0.0/32"), ERR_OK);
    expect("192.0.2.128", "1.1.1.1", "1.1.1.1");
    expect("192.0.2.255", "1.1.1.1", "1.1.1.1");
    expect("192.0.2.127", "1.1.1.1", "192.0.2.127");
    expect("fd7f::1", "1.1.1.1", "1.1.1.1");
    expect("fd80::1", "1.1.1.1", "fd80::1");
    assert_int_equal(make("0.0.0.0/0"), ERR_OK);
    expect("8.8.8.8", "1.1.1.1", "1.1.1.1");
    expect("2001:db8::1", "1.1.1.1", "2001:db8::1"); /* all of IPv4 is not all of IPv6 */
    assert_int_equal(make("::/0"), ERR_OK);
    expect("2001:db8::1", "1.1.1.1", "1.1.1.1");
}

static void test_bad_lists(void **state) {
    (void)state;
    static const char *const bad[] = {"proxy.example", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1",
                                      "10.0.0.0/8x",   "::/129",      "10.0.0/8",  "10.0.0.0/ 8"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(make(bad[i]), ERR_INVALID);
        assert_true(buf_len(&text) > 0);
    }
    char many[ADDRESS_PROXIES_MAX * 12] = "";
    for (int i = 0; i < ADDRESS_PROXIES_MAX; i++) {
        (void)strcat(many, "10.0.0.1,");
    }
    assert_int_equal(make(many), ERR_OK);
    (void)strcat(many, "10.0.0.1");
    assert_int_equal(make(many), ERR_FULL);
}

static void test_buckets(void **state) {
    (void)state;
    char bucket[ADDRESS_BYTES];
    address_bucket("192.0.2.7", bucket);
    assert_string_equal(bucket, "192.0.2.7");
    address_bucket("2001:db8:1:2:3:4:5:6", bucket);
    assert_string_equal(bucket, "2001:db8:1:2::");
    address_bucket("2001:db8:1:2:ffff::1", bucket);
    assert_string_equal(bucket, "2001:db8:1:2::");
    address_bucket("", bucket);
    assert_string_equal(bucket, "");
}

static void test_out_of_memory(void **state) {
    (void)state;
    struct address_proxies *none = NULL;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        (void)mem_fault_set(nth, 1);
        assert_int_equal(address_proxies_create("10.0.0.0/8", &none, &text), ERR_NO_MEMORY);
        (void)mem_fault_set(0, 0);
        assert_null(none);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_nobody_is_trusted_by_default),
                                       TEST(test_one_proxy),
                                       TEST(test_spoofed_entries_are_not_reached),
                                       TEST(test_prefixes),
                                       TEST(test_bad_lists),
                                       TEST(test_buckets),
                                       TEST(test_out_of_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
