/* attempt_feed: instances with publishers, discovery and sockets of their own, on one loop. What
 * fails at one counts at all; own messages, messages that come on two ways and messages that make
 * no sense count nowhere. The clock moves only as far as it must, so that no quota refills. */
#include "services/auth/attempt_feed.h"

#include "common/clock.h"
#include "common/mem.h"
#include "proto/accounts.pb-c.h"
#include "proto/envelope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define INSTANCES 3
#define QUOTA 100
#define TURNS_MAX 20000 /* of up to 1 ms */

struct instance {
    struct stream_publisher *publisher;
    struct rate_limits *limits;
    struct attempt_feed *feed;
    struct instance_streams *streams;
};
static struct loop *loop;
static struct bus *bus;
static char folder[] = "/tmp/pipit-attempts-XXXXXX";
static struct instance instances[INSTANCES];

static void start(struct instance *instance, const char *name, const char *known) {
    const struct rate_limits_config config = {
        .per_user = QUOTA, .per_address = 100 * QUOTA, .entries_max = 1024};
    char base[BUS_URL_BYTES];
    char url[BUS_URL_BYTES];
    (void)snprintf(base, sizeof base, "ipc://%s/%s", folder, name);
    assert_int_equal(bus_url_derive(base, BUS_URL_PUB, url), ERR_OK);
    assert_int_equal(rate_limits_create(&config, &instance->limits), ERR_OK);
    assert_int_equal(stream_publisher_create(loop, bus, url, 1, &instance->publisher), ERR_OK);
    assert_int_equal(
        attempt_feed_create(loop, instance->publisher, instance->limits, &instance->feed), ERR_OK);
    const struct instance_topic topic = attempt_feed_topic(instance->feed);
    assert_int_equal(instance_streams_create(loop, bus, known, &topic, 1, &instance->streams),
                     ERR_OK);
}

static void stop(struct instance *instance) {
    instance_streams_destroy(&instance->streams);
    instance_streams_destroy(&instance->streams);
    attempt_feed_destroy(&instance->feed);
    attempt_feed_destroy(&instance->feed);
    stream_publisher_destroy(&instance->publisher);
    rate_limits_destroy(&instance->limits);
}

static int setup(void **state) {
    (void)state;
    const struct bus_config config = {.message_bytes_max = 1u << 20};
    clock_fake_on(1000000000u, 0);
    (void)snprintf(folder, sizeof folder, "/tmp/pipit-attempts-XXXXXX");
    return mkdtemp(folder) != NULL && loop_create(64, &loop) == ERR_OK &&
                   bus_create(loop, &config, &bus) == ERR_OK
               ? 0
               : -1;
}

static int teardown(void **state) {
    (void)state;
    char path[128];
    for (size_t i = 0; i < INSTANCES; i++) {
        stop(&instances[i]);
        (void)snprintf(path, sizeof path, "%s/%c.pub", folder, (char)('a' + i));
        (void)unlink(path); /* perhaps gone with its socket */
    }
    bus_destroy(&bus);
    loop_destroy(&loop);
    clock_fake_off();
    return rmdir(folder);
}

static void turn(uint64_t advance_us) {
    clock_fake_advance_us(advance_us);
    assert_int_equal(loop_turn(loop, 1000), ERR_OK);
}

/* Failures that one instance could still have without a refusal; leaves the table as it was. */
static unsigned room(const struct instance *instance, const char *user) {
    struct rate_refusal refusal;
    unsigned taken = 0;
    while (rate_limits_take(instance->limits, "192.0.2.1", user, clock_mono_us(), &refusal)) {
        taken++;
    }
    for (unsigned i = 0; i < taken; i++) {
        rate_limits_give_back(instance->limits, "192.0.2.1", user, clock_mono_us());
    }
    return taken;
}

static void fail_at(const struct instance *instance, const char *user) {
    struct rate_refusal refusal;
    assert_true(rate_limits_take(instance->limits, "192.0.2.1", user, clock_mono_us(), &refusal));
    rate_limits_failed(instance->limits, "192.0.2.1", user);
    attempt_feed_wake(instance->feed);
}

/* Publications before the connection stands are lost by design, so failures are repeated until each
 * instance hears each other one; each pair has a user of its own. */
static void connect_all(void) {
    bool connected = false;
    for (unsigned turns = 0; turns < TURNS_MAX && !connected; turns++) {
        connected = true;
        for (size_t i = 0; i < INSTANCES; i++) {
            char user[8];
            (void)snprintf(user, sizeof user, "u_%zu", i);
            bool heard = true;
            for (size_t j = 0; j < INSTANCES; j++) {
                heard = heard &&
                        (i == j || instances[j].feed == NULL || room(&instances[j], user) < QUOTA);
            }
            if (!heard && instances[i].feed != NULL && turns % 50 == 0 &&
                room(&instances[i], user) > 0) {
                fail_at(&instances[i], user);
            }
            connected = connected && (heard || instances[i].feed == NULL);
        }
        turn(1000);
    }
    assert_true(connected);
}

static bool turn_until_room(const struct instance *instance, const char *user, unsigned expected) {
    for (unsigned turns = 0; turns < TURNS_MAX; turns++) {
        if (room(instance, user) == expected) {
            return true;
        }
        turn(turns < 200 ? 1000 : 0); /* enough for ATTEMPT_FEED_DELAY_US */
    }
    return false;
}

static void start_all(void) {
    char known[3 * BUS_URL_BYTES];
    (void)snprintf(known, sizeof known, "ipc://%s/a, ipc://%s/b, ipc://%s/c", folder, folder,
                   folder);
    start(&instances[0], "a", known);
    start(&instances[1], "b", known);
    start(&instances[2], "c", known);
    connect_all();
}

static void test_all_instances_count(void **state) {
    (void)state;
    start_all();
    for (unsigned i = 0; i < 30; i++) {
        fail_at(&instances[i % 3], "u_ann");
    }
    for (size_t i = 0; i < INSTANCES; i++) {
        assert_true(turn_until_room(&instances[i], "u_ann", QUOTA - 30));
    }
    /* A little later still: nothing is counted twice and nothing goes round in circles. */
    for (unsigned turns = 0; turns < 400; turns++) {
        turn(turns < 200 ? 1000 : 0);
    }
    for (size_t i = 0; i < INSTANCES; i++) {
        assert_int_equal(room(&instances[i], "u_ann"), QUOTA - 30);
    }
}

static void test_an_instance_cut_off_keeps_its_limit(void **state) {
    (void)state;
    start_all();
    instance_streams_destroy(&instances[2].streams); /* hears nobody, is heard */
    for (unsigned i = 0; i < 10; i++) {
        fail_at(&instances[0], "u_ann");
        fail_at(&instances[2], "u_ann");
    }
    assert_true(turn_until_room(&instances[1], "u_ann", QUOTA - 20));
    assert_int_equal(room(&instances[2], "u_ann"), QUOTA - 10);
    stop(&instances[0]); /* and without the first, the others go on */
    fail_at(&instances[2], "u_ann");
    assert_true(turn_until_room(&instances[1], "u_ann", QUOTA - 21));
}

static void test_more_buckets_than_a_message_holds(void **state) {
    (void)state;
    start_all();
    for (unsigned i = 0; i < 900; i++) { /* 900 users of one address */
        char user[16];
        (void)snprintf(user, sizeof user, "u_%u", 1000 + i);
        fail_at(&instances[0], user);
    }
    assert_true(turn_until_room(&instances[1], "u_1899", QUOTA - 1));
    assert_true(turn_until_room(&instances[1], "u_1000", QUOTA - 1));
}

/* Messages made by hand, given to the feed as its subscriber would. */

static void give(const struct instance *instance, uint64_t from, uint64_t number, size_t key_bytes,
                 uint32_t count) {
    static uint8_t key[64];
    Pipit__AttemptCount row = PIPIT__ATTEMPT_COUNT__INIT;
    Pipit__AttemptCount *rows[] = {&row};
    Pipit__AuthAttempts message = PIPIT__AUTH_ATTEMPTS__INIT;
    struct rate_count counts[2];
    struct buf packed;
    fail_at(instance, "u_ann"); /* what is its key? */
    assert_int_equal(rate_limits_untold(instance->limits, counts, 2), 2);
    memcpy(key, counts[1].key, RATE_KEY_BYTES);
    rate_limits_give_back(instance->limits, "192.0.2.1", "u_ann", clock_mono_us());
    row.key = (ProtobufCBinaryData){.data = key, .len = key_bytes};
    row.of_login = true;
    row.count = count;
    message.instance = from;
    message.number = number;
    message.counts = rows;
    message.n_counts = 1;
    buf_init(&packed, 4096);
    assert_int_equal(envelope_pack(MESSAGE_AUTH_ATTEMPTS, &message.base, false, &packed), ERR_OK);
    const struct instance_topic topic = attempt_feed_topic(instance->feed);
    topic.on_message(buf_data(&packed), buf_len(&packed), topic.user);
    buf_finish(&packed);
}

static void test_what_comes_twice_counts_once(void **state) {
    (void)state;
    start(&instances[0], "a", "ipc:///nonexistent/x");
    give(&instances[0], 7, 1, RATE_KEY_BYTES, 5);
    assert_int_equal(room(&instances[0], "u_ann"), QUOTA - 5);
    give(&instances[0], 7, 1, RATE_KEY_BYTES, 5);
    assert_int_equal(room(&instances[0], "u_ann"), QUOTA - 5);
    give(&instances[0], 8, 1, RATE_KEY_BYTES, 5); /* another instance */
    assert_int_equal(room(&instances[0], "u_ann"), QUOTA - 10);
    give(&instances[0], 7, 4, RATE_KEY_BYTES, 5); /* two were lost */
    assert_int_equal(room(&instances[0], "u_ann"), QUOTA - 15);
    give(&instances[0], 7, 3, RATE_KEY_BYTES, 5); /* and come late: counted as lost */
    assert_int_equal(room(&instances[0], "u_ann"), QUOTA - 15);
    for (uint64_t i = 100; i < 300; i++) { /* more instances than are remembered */
        give(&instances[0], i, 1, RATE_KEY_BYTES, 0);
    }
    assert_int_equal(room(&instances[0], "u_ann"), QUOTA - 15);
}

static void test_nonsense_counts_nowhere(void **state) {
    (void)state;
    start(&instances[0], "a", "ipc:///nonexistent/x");
    give(&instances[0], 0, 1, RATE_KEY_BYTES, 5);     /* no instance */
    give(&instances[0], 7, 1, RATE_KEY_BYTES - 1, 5); /* no key of ours */
    give(&instances[0], 7, 2, 0, 5);
    give(&instances[0], 7, 3, RATE_KEY_BYTES + 1, 5);
    const struct instance_topic topic = attempt_feed_topic(instances[0].feed);
    topic.on_message((const uint8_t *)"?", 1, topic.user);
    topic.on_trouble(STREAM_GAP, 1, topic.user);
    assert_int_equal(room(&instances[0], "u_ann"), QUOTA);
    give(&instances[0], 9, 1, RATE_KEY_BYTES, UINT32_MAX);
    assert_int_equal(room(&instances[0], "u_ann"), 0);
}

static void test_out_of_memory(void **state) {
    (void)state;
    start(&instances[0], "a", "ipc:///nonexistent/x");
    struct attempt_feed *feed = NULL;
    (void)mem_fault_set(1, 1);
    assert_int_equal(attempt_feed_create(loop, instances[0].publisher, instances[0].limits, &feed),
                     ERR_NO_MEMORY);
    struct instance_streams *streams = NULL;
    const struct instance_topic topic = attempt_feed_topic(instances[0].feed);
    (void)mem_fault_set(1, 1);
    assert_int_equal(
        instance_streams_create(loop, bus, "ipc:///nonexistent/x", &topic, 1, &streams),
        ERR_NO_MEMORY);
    (void)mem_fault_set(0, 0);
    assert_null(feed);
    assert_null(streams);
    assert_int_equal(instance_streams_create(loop, bus, "http://x", &topic, 1, &streams),
                     ERR_INVALID);
    assert_null(streams);
    /* What could not be published is lost, and the next goes out. */
    fail_at(&instances[0], "u_ann");
    turn(0);
    (void)mem_fault_set(1, 1000);
    for (unsigned turns = 0; turns < 50; turns++) {
        turn(1000);
    }
    (void)mem_fault_set(0, 0);
    struct rate_count counts[2];
    assert_int_equal(rate_limits_untold(instances[0].limits, counts, 2), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_all_instances_count),
                                       TEST(test_an_instance_cut_off_keeps_its_limit),
                                       TEST(test_more_buckets_than_a_message_holds),
                                       TEST(test_what_comes_twice_counts_once),
                                       TEST(test_nonsense_counts_nowhere),
                                       TEST(test_out_of_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
