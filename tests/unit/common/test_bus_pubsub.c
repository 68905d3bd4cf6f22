/* bus publications: topics, order under a burst, redialling, several subscribers, closing. */
#include "common/bus.h"

#include "common/mem.h"
#include "tests/unit/common/support_bus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#define MESSAGE_BYTES_MAX 4096u

static struct loop *loop;
static struct bus *bus;
static char url[BUS_URL_BYTES];

static int setup(void **state) {
    (void)state;
    char base[BUS_URL_BYTES];
    struct bus_config config = {.message_bytes_max = MESSAGE_BYTES_MAX};
    support_tcp_address(base);
    return bus_url_derive(base, BUS_URL_PUB, url) == ERR_OK && loop_create(64, &loop) == ERR_OK &&
                   bus_create(loop, &config, &bus) == ERR_OK
               ? 0
               : -1;
}

static int teardown(void **state) {
    (void)state;
    bus_destroy(&bus);
    loop_destroy(&loop);
    support_remove_folders();
    return 0;
}

struct listener {
    struct bus_subscriber *subscriber;
    unsigned count, disorder, hellos;
    uint32_t last;
    unsigned close_at; /* closes itself with this message; 0: never */
    uint8_t topic;
};

/* A message: topic byte, number. Number 0 is a hello: sent until somebody hears it. */
static void on_message(const uint8_t *bytes, size_t count, void *user) {
    struct listener *listener = user;
    uint32_t number;
    assert_int_equal(count, 1 + sizeof number);
    assert_int_equal(bytes[0], listener->topic);
    memcpy(&number, bytes + 1, sizeof number);
    if (number == 0) {
        listener->hellos++;
        return;
    }
    listener->count++;
    listener->disorder += number <= listener->last;
    listener->last = number;
    if (listener->count == listener->close_at) {
        bus_subscriber_close(&listener->subscriber);
    }
}

static void publish(struct bus_publisher *publisher, uint8_t topic, uint32_t number) {
    uint8_t bytes[1 + sizeof number];
    bytes[0] = topic;
    memcpy(bytes + 1, &number, sizeof number);
    assert_int_equal(bus_publish(publisher, bytes, sizeof bytes), ERR_OK);
}

static void subscribe(struct listener *listener, uint8_t topic) {
    memset(listener, 0, sizeof *listener);
    listener->topic = topic;
    assert_int_equal(bus_subscriber_create(bus, url, on_message, listener, &listener->subscriber),
                     ERR_OK);
    assert_int_equal(bus_subscribe(listener->subscriber, &topic, 1), ERR_OK);
}

struct greeting {
    struct bus_publisher *publisher;
    struct listener *listener;
    unsigned wanted;
};

static bool heard(void *arg) {
    struct greeting *greeting = arg;
    if (greeting->listener->hellos >= greeting->wanted) {
        return true;
    }
    publish(greeting->publisher, greeting->listener->topic, 0);
    return false;
}

static void greet(struct bus_publisher *publisher, struct listener *listener) {
    struct greeting greeting = {publisher, listener, listener->hellos + 1};
    assert_true(support_turn_until(loop, heard, &greeting));
}

static void subscribers_hear_their_topics(void **state) {
    (void)state;
    struct bus_publisher *publisher;
    assert_int_equal(bus_publisher_create(bus, url, &publisher), ERR_OK);
    publish(publisher, 'a', 1); /* nobody is there: not an error */
    struct listener a, b, other;
    subscribe(&a, 'a');
    subscribe(&b, 'b');
    subscribe(&other, 'a');
    greet(publisher, &a);
    greet(publisher, &b);
    greet(publisher, &other);
    for (uint32_t i = 1; i <= 300; i++) { /* fewer than any buffer holds: none is lost */
        publish(publisher, 'a', i);
        publish(publisher, 'b', i);
        publish(publisher, 'c', i);
    }
    assert_true(support_turn_until_count(loop, &a.count, 300));
    assert_true(support_turn_until_count(loop, &b.count, 300));
    assert_true(support_turn_until_count(loop, &other.count, 300));
    assert_int_equal(a.disorder + b.disorder + other.disorder, 0);
    bus_subscriber_close(&a.subscriber);
    bus_subscriber_close(&b.subscriber);
    bus_subscriber_close(&other.subscriber);
    bus_publisher_close(&publisher);
}

static void a_burst_may_lose_but_keeps_the_order(void **state) {
    (void)state;
    struct bus_publisher *publisher;
    assert_int_equal(bus_publisher_create(bus, url, &publisher), ERR_OK);
    struct listener a;
    subscribe(&a, 'a');
    greet(publisher, &a);
    for (uint32_t i = 1; i <= 50000; i++) { /* the loop does not turn meanwhile */
        publish(publisher, 'a', i);
    }
    struct greeting last = {publisher, &a, a.hellos + 1};
    assert_true(support_turn_until(loop, heard, &last)); /* comes after all of them */
    assert_true(a.count > 1000);
    assert_int_equal(a.disorder, 0);
    support_turn_for(loop, 20000); /* the other hellos, too, before closing */
    bus_subscriber_close(&a.subscriber);
    bus_publisher_close(&publisher);
}

static void redialling_makes_a_new_connection(void **state) {
    (void)state;
    struct bus_publisher *publisher;
    assert_int_equal(bus_publisher_create(bus, url, &publisher), ERR_OK);
    struct listener a;
    subscribe(&a, 'a');
    bus_subscriber_redial(a.subscriber); /* not connected: nothing to drop */
    for (int round = 0; round < 3; round++) {
        greet(publisher, &a);
        bus_subscriber_redial(a.subscriber);
    }
    greet(publisher, &a);
    bus_subscriber_close(&a.subscriber);
    bus_publisher_close(&publisher);
}

static void a_publisher_may_come_back(void **state) {
    (void)state;
    struct listener a;
    subscribe(&a, 'a'); /* before there is a publisher */
    for (int round = 0; round < 3; round++) {
        struct bus_publisher *publisher;
        assert_int_equal(bus_publisher_create(bus, url, &publisher), ERR_OK);
        greet(publisher, &a);
        bus_publisher_close(&publisher);
        assert_null(publisher);
    }
    bus_subscriber_close(&a.subscriber);
}

/* Closing while messages arrive: nng 1.5 may lose one of them for good (common/bus.c), which the
 * leak checker would report, so these run in a process of its own, which ends as services do. */
static void close_itself(void) {
    struct bus_publisher *publisher;
    assert_int_equal(bus_publisher_create(bus, url, &publisher), ERR_OK);
    for (unsigned round = 1; round <= 10; round++) { /* the socket goes to the next one, clean */
        struct listener a;
        subscribe(&a, (uint8_t)('a' + round));
        greet(publisher, &a);
        a.close_at = round;
        for (uint32_t i = 1; i <= 100; i++) {
            publish(publisher, a.topic, i);
        }
        assert_true(support_turn_until_count(loop, &a.count, round));
        support_turn_for(loop, 5000);
        assert_null(a.subscriber);
        assert_int_equal(a.count, round);
    }
    bus_publisher_close(&publisher);
}

static void topics_are_bounded(void **state) {
    (void)state;
    struct listener a;
    subscribe(&a, 'a');
    enum err error = ERR_OK;
    unsigned added = 1;
    for (uint32_t topic = 0; error == ERR_OK; topic++) {
        error = bus_subscribe(a.subscriber, &topic, sizeof topic);
        added += error == ERR_OK;
    }
    assert_int_equal(error, ERR_FULL);
    assert_int_equal(added, 64);
    bus_subscriber_close(&a.subscriber);
}

static void limits_and_bad_addresses_are_refused(void **state) {
    (void)state;
    struct bus_publisher *publisher, *second = NULL;
    struct bus_subscriber *subscriber = NULL;
    assert_int_equal(bus_publisher_create(bus, url, &publisher), ERR_OK);
    static const uint8_t bytes[MESSAGE_BYTES_MAX + 1];
    assert_int_equal(bus_publish(publisher, bytes, sizeof bytes), ERR_TOO_LARGE);
    assert_int_equal(bus_publisher_create(bus, url, &second), ERR_EXISTS);
    assert_null(second);
    assert_int_equal(bus_subscriber_create(bus, "tls+tcp://h:1", on_message, NULL, &subscriber),
                     ERR_INVALID);
    assert_null(subscriber);
    (void)mem_fault_set(1, 1);
    enum err error = bus_subscriber_create(bus, url, on_message, NULL, &subscriber);
    (void)mem_fault_set(1, 1);
    enum err publisher_error = bus_publisher_create(bus, url, &second);
    (void)mem_fault_set(0, 0);
    assert_int_equal(error, ERR_NO_MEMORY);
    assert_int_equal(publisher_error, ERR_NO_MEMORY);
    bus_publisher_close(&publisher);
    bus_publisher_close(&publisher); /* NULL */
    bus_subscriber_close(&subscriber);
}

static void destroy_bus_first(void) {
    struct bus *other;
    struct bus_config config = {.message_bytes_max = MESSAGE_BYTES_MAX};
    assert_int_equal(bus_create(loop, &config, &other), ERR_OK);
    struct bus_publisher *publisher;
    assert_int_equal(bus_publisher_create(other, url, &publisher), ERR_OK);
    struct listener a = {.topic = 'a'};
    assert_int_equal(bus_subscriber_create(other, url, on_message, &a, &a.subscriber), ERR_OK);
    assert_int_equal(bus_subscribe(a.subscriber, "a", 1), ERR_OK);
    greet(publisher, &a);
    for (uint32_t i = 1; i <= 200; i++) {
        publish(publisher, 'a', i);
    }
    bus_destroy(&other);
    unsigned count = a.count;
    support_turn_for(loop, 5000);
    assert_int_equal(a.count, count);
}

static int close_under_traffic(void) {
    if (setup(NULL) != 0) {
        return 1;
    }
    support_child_ready();
    close_itself();
    destroy_bus_first();
    return 0;
}

static void closing_works_while_messages_arrive(void **state) {
    (void)state;
    assert_true(support_ended_well(support_spawn((const char *const[]){"close", NULL})));
}

#define BUS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "close") == 0) {
        _exit(close_under_traffic());
    }
    /* nng 1.5 may stop redialling by itself once a connection was closed under traffic (bus.c), so
     * the test that relies on it comes first. */
    const struct CMUnitTest tests[] = {
        BUS_TEST(a_publisher_may_come_back),
        BUS_TEST(subscribers_hear_their_topics),
        BUS_TEST(a_burst_may_lose_but_keeps_the_order),
        BUS_TEST(redialling_makes_a_new_connection),
        BUS_TEST(topics_are_bounded),
        BUS_TEST(limits_and_bad_addresses_are_refused),
        cmocka_unit_test(closing_works_while_messages_arrive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
