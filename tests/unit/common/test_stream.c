/* stream: frames made by hand show each trouble alone; the real publisher shows loss, restarts,
 * silence and many topics over real sockets. Time is the fake clock, so no test waits a second. */
#include "common/stream.h"

#include "common/clock.h"
#include "common/mem.h"
#include "tests/unit/common/support_bus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct loop *loop;
static struct bus *bus;
static char url[BUS_URL_BYTES];

static int setup(void **state) {
    (void)state;
    char base[BUS_URL_BYTES];
    struct bus_config config = {.message_bytes_max = 65536};
    clock_fake_on(1000000000u, 0);
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
    clock_fake_off();
    return 0;
}

struct listener {
    struct stream_subscriber *subscriber;
    unsigned messages, gaps, boots, silences;
    unsigned heard; /* messages and troubles */
    uint32_t last;  /* number in the last message */
    bool told;      /* of a trouble since the last message */
    unsigned unannounced, needless;
    uint64_t boot_id;
    bool destroy_on_trouble, destroy_on_message;
};

static void on_trouble(enum stream_trouble trouble, uint64_t boot_id, void *user) {
    struct listener *listener = user;
    listener->heard++;
    listener->gaps += trouble == STREAM_GAP;
    listener->boots += trouble == STREAM_NEW_BOOT;
    listener->silences += trouble == STREAM_SILENT;
    listener->told = true;
    listener->boot_id = boot_id;
    if (listener->destroy_on_trouble) {
        stream_subscriber_destroy(&listener->subscriber);
    }
}

/* Payloads are numbered: a jump must have been announced, and nothing else. Number 0 is a hello
 * that is sent until somebody hears it. */
static void on_message(const uint8_t *payload, size_t bytes, void *user) {
    struct listener *listener = user;
    uint32_t number;
    assert_true(bytes >= sizeof number);
    memcpy(&number, payload, sizeof number);
    if (number == 0) {
        return;
    }
    bool jump = number != listener->last + 1;
    listener->unannounced += jump && !listener->told;
    listener->needless += !jump && listener->told && listener->messages > 0;
    listener->told = false;
    listener->last = number;
    listener->messages++;
    listener->heard++;
    if (listener->destroy_on_message) {
        stream_subscriber_destroy(&listener->subscriber);
    }
}

static void listen_to(struct listener *listener, uint64_t topic) {
    memset(listener, 0, sizeof *listener);
    assert_int_equal(stream_subscriber_create(loop, bus, url, topic, on_message, on_trouble,
                                              listener, &listener->subscriber),
                     ERR_OK);
    assert_false(stream_subscriber_live(listener->subscriber));
}

/* --- frames made by hand */

static struct bus_publisher *raw;

static void send_raw(uint64_t topic, uint64_t boot_id, uint64_t seq, uint32_t number,
                     size_t payload_bytes) {
    uint8_t frame[28];
    uint64_t words[3] = {topic, boot_id, seq};
    for (int i = 0; i < 24; i++) {
        frame[i] = (uint8_t)(words[i / 8] >> (56 - i % 8 * 8));
    }
    memcpy(frame + 24, &number, sizeof number);
    assert_int_equal(bus_publish(raw, frame, 24 + payload_bytes), ERR_OK);
}

static void message(uint64_t boot_id, uint64_t seq) {
    send_raw(7, boot_id, seq, (uint32_t)seq, 4);
}

static void heartbeat(uint64_t boot_id, uint64_t seq) {
    send_raw(7, boot_id, seq, 0, 0);
}

static bool first_contact(void *arg) {
    struct listener *listener = arg;
    if (listener->boots > 0) {
        return true;
    }
    heartbeat(1, 10); /* until the connection is there */
    return false;
}

static void begin_raw(struct listener *listener) {
    assert_int_equal(bus_publisher_create(bus, url, &raw), ERR_OK);
    listen_to(listener, 7);
    assert_true(support_turn_until(loop, first_contact, listener));
    assert_int_equal(listener->boots, 1);
    assert_int_equal(listener->boot_id, 1);
    assert_true(stream_subscriber_live(listener->subscriber));
}

/* nng 1.5 loses a message or a connection that is closed in the middle (common/bus.c): the leak
 * checker would report it. */
static void let_quiet(void) {
    support_turn_for(loop, 50000);
}

static void end_raw(struct listener *listener) {
    let_quiet();
    stream_subscriber_destroy(&listener->subscriber);
    stream_subscriber_destroy(&listener->subscriber); /* NULL */
    bus_publisher_close(&raw);
}

static void expect(struct listener *listener, unsigned messages, unsigned gaps, unsigned boots) {
    assert_true(support_turn_until_count(loop, &listener->heard, messages + gaps + boots));
    assert_int_equal(listener->messages, messages);
    assert_int_equal(listener->gaps, gaps);
    assert_int_equal(listener->boots, boots);
}

static void each_trouble_is_told_once_and_first(void **state) {
    (void)state;
    struct listener listener;
    begin_raw(&listener); /* heartbeats with 10 */
    message(1, 11);
    message(1, 12);
    heartbeat(1, 12);
    expect(&listener, 2, 0, 1);
    message(1, 15); /* 13 and 14 are lost */
    message(1, 16);
    expect(&listener, 4, 1, 1);
    heartbeat(1, 18); /* the last ones are lost: the heartbeat tells */
    heartbeat(1, 18);
    message(1, 19);
    expect(&listener, 5, 2, 1);
    message(1, 19); /* a publisher that goes back is wrong as well */
    expect(&listener, 6, 3, 1);
    message(2, 1); /* a new life, noticed by its first message */
    message(2, 2);
    expect(&listener, 8, 3, 2);
    assert_int_equal(listener.boot_id, 2);
    heartbeat(3, 0); /* or by its heartbeat */
    message(3, 1);
    expect(&listener, 9, 3, 3);
    clock_fake_advance_us(STREAM_SILENCE_US - 1);
    heartbeat(4, 0);
    expect(&listener, 9, 3, 4);
    clock_fake_advance_us(STREAM_SILENCE_US - 1); /* it counts as life */
    support_turn_for(loop, 1000);
    assert_true(stream_subscriber_live(listener.subscriber));
    assert_int_equal(listener.unannounced, 0);
    assert_int_equal(listener.silences, 0);
    end_raw(&listener);
}

static void foreign_frames_are_ignored(void **state) {
    (void)state;
    struct listener listener;
    begin_raw(&listener);
    static const uint8_t prefix[24] = {0, 0, 0, 0, 0, 0, 0, 7};
    for (size_t bytes = 0; bytes < sizeof prefix; bytes++) {
        assert_int_equal(bus_publish(raw, prefix, bytes), ERR_OK); /* too short */
    }
    send_raw(8, 1, 50, 1, 4); /* another topic */
    send_raw(0, 1, 60, 1, 4); /* everybody's is a topic of its own */
    message(1, 11);
    expect(&listener, 1, 0, 1);
    end_raw(&listener);
}

static void callbacks_may_destroy_the_subscriber(void **state) {
    (void)state;
    struct listener listener;
    begin_raw(&listener);
    listener.destroy_on_message = true;
    message(1, 11);
    message(1, 12);
    expect(&listener, 1, 0, 1);
    support_turn_for(loop, 2000);
    assert_int_equal(listener.messages, 1);
    end_raw(&listener);
    begin_raw(&listener);
    listener.destroy_on_trouble = true;
    message(1, 13);
    expect(&listener, 0, 1, 1);
    support_turn_for(loop, 2000);
    assert_int_equal(listener.messages, 0); /* the message after the trouble had nobody left */
    assert_null(listener.subscriber);
    end_raw(&listener);
}

static void silence_is_told_once_and_dialled_afresh(void **state) {
    (void)state;
    struct listener listener;
    begin_raw(&listener);
    clock_fake_advance_us(STREAM_SILENCE_US - 1);
    support_turn_for(loop, 2000);
    assert_int_equal(listener.silences, 0);
    assert_true(stream_subscriber_live(listener.subscriber));
    clock_fake_advance_us(1);
    assert_true(support_turn_until_count(loop, &listener.silences, 1));
    assert_false(stream_subscriber_live(listener.subscriber));
    assert_int_equal(listener.boot_id, 1);
    for (int i = 0; i < 3; i++) { /* it goes on: told once, dialled each time */
        clock_fake_advance_us(STREAM_SILENCE_US);
        support_turn_for(loop, 2000);
    }
    assert_int_equal(listener.silences, 1);
    listener.told = false;
    while (listener.messages == 0) { /* on a new connection; nothing was lost: no other trouble */
        message(1, 11);
        support_turn_for(loop, 2000);
    }
    assert_int_equal(listener.boots, 1);
    assert_true(stream_subscriber_live(listener.subscriber));
    unsigned gaps = listener.gaps;            /* of repeating 11 above */
    clock_fake_advance_us(STREAM_SILENCE_US); /* a second silence is told again */
    assert_true(support_turn_until_count(loop, &listener.silences, 2));
    assert_int_equal(listener.gaps, gaps);
    end_raw(&listener);
}

/* What was published meanwhile waits in the socket: nobody may be called silent before it is read.
 */
static void a_subscriber_that_slept_gives_time(void **state) {
    (void)state;
    struct listener listener;
    begin_raw(&listener);
    clock_fake_advance_us(10 * STREAM_SILENCE_US); /* this process was frozen */
    support_turn_for(loop, 2000);
    assert_int_equal(listener.silences, 0);
    assert_false(stream_subscriber_live(listener.subscriber)); /* yet nothing here is fresh */
    clock_fake_advance_us(STREAM_SILENCE_US - 1);
    support_turn_for(loop, 2000);
    assert_int_equal(listener.silences, 0);
    clock_fake_advance_us(1);
    assert_true(support_turn_until_count(loop, &listener.silences, 1));
    end_raw(&listener);
}

static void a_publisher_never_heard_is_silent_too(void **state) {
    (void)state;
    struct listener listener;
    listen_to(&listener, 7);
    clock_fake_advance_us(STREAM_SILENCE_US);
    assert_true(support_turn_until_count(loop, &listener.silences, 1));
    assert_int_equal(listener.boot_id, 0);
    listener.destroy_on_trouble = true;
    stream_subscriber_destroy(&listener.subscriber);
    listen_to(&listener, 7);
    listener.destroy_on_trouble = true;
    clock_fake_advance_us(STREAM_SILENCE_US);
    assert_true(support_turn_until_count(loop, &listener.silences, 1));
    assert_null(listener.subscriber);
}

/* --- the real publisher */

static struct stream_publisher *open_publisher(size_t topics_max) {
    struct stream_publisher *publisher;
    assert_int_equal(stream_publisher_create(loop, bus, url, topics_max, &publisher), ERR_OK);
    assert_int_not_equal(stream_publisher_boot_id(publisher), 0);
    return publisher;
}

static void publish(struct stream_publisher *publisher, uint64_t topic, uint32_t number) {
    assert_int_equal(stream_publish(publisher, topic, &number, sizeof number), ERR_OK);
}

struct greeting {
    struct stream_publisher *publisher;
    struct listener *listener;
    uint64_t topic;
    unsigned boots;
};

static bool contacted(void *arg) {
    struct greeting *greeting = arg;
    if (greeting->listener->boots >= greeting->boots) {
        return true;
    }
    publish(greeting->publisher, greeting->topic, 0);
    return false;
}

/* Until the listener has told of that many boots. */
static void greet(struct stream_publisher *publisher, struct listener *listener, uint64_t topic,
                  unsigned boots) {
    struct greeting greeting = {publisher, listener, topic, boots};
    assert_true(support_turn_until(loop, contacted, &greeting));
    assert_int_equal(listener->boot_id, stream_publisher_boot_id(publisher));
    support_turn_for(loop, 5000); /* the other hellos */
    listener->told = false;
}

/* A subscriber of everything: counts frames, also those in bundles. */
struct tally {
    struct stream_publisher *publisher;
    unsigned publications, messages, heartbeats;
};

static void count_frame(struct tally *tally, size_t bytes) {
    tally->messages += bytes > 24;
    tally->heartbeats += bytes == 24;
}

static void on_tally(const uint8_t *bytes, size_t count, void *user) {
    struct tally *tally = user;
    static const uint8_t bundle[8] = {255, 255, 255, 255, 255, 255, 255, 255};
    tally->publications++;
    if (memcmp(bytes, bundle, sizeof bundle) != 0) {
        count_frame(tally, count);
        return;
    }
    for (size_t at = 8; at < count;) {
        size_t part = (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        count_frame(tally, part);
        at += 4 + part;
        assert_true(at <= count);
    }
}

static bool tallied(void *arg) {
    struct tally *tally = arg;
    if (tally->messages > 0) {
        return true;
    }
    publish(tally->publisher, 90, 0);
    return false;
}

/* Tallies everything from now on. */
static struct bus_subscriber *begin_tally(struct tally *tally, struct stream_publisher *publisher) {
    struct bus_subscriber *everything;
    *tally = (struct tally){.publisher = publisher};
    assert_int_equal(bus_subscriber_create(bus, url, on_tally, tally, &everything), ERR_OK);
    assert_int_equal(bus_subscribe(everything, "", 0), ERR_OK);
    assert_true(support_turn_until(loop, tallied, tally));
    return everything;
}

static void heartbeats_reach_all_topics(void **state) {
    (void)state;
    struct stream_publisher *publisher = open_publisher(20);
    struct listener all, one, other;
    listen_to(&all, STREAM_TOPIC_ALL);
    listen_to(&one, 80);
    listen_to(&other, 99);
    for (uint64_t topic = 80; topic <= 99; topic++) {
        assert_int_equal(stream_topic_open(publisher, topic), ERR_OK);
        assert_int_equal(stream_topic_open(publisher, topic), ERR_OK); /* idempotent */
    }
    assert_int_equal(stream_topic_open(publisher, 101), ERR_FULL);
    uint32_t number = 1;
    assert_int_equal(stream_publish(publisher, 101, &number, sizeof number), ERR_FULL);
    assert_int_equal(stream_publish(publisher, 80, &number, 0), ERR_INVALID);
    greet(publisher, &all, STREAM_TOPIC_ALL, 1);
    greet(publisher, &one, 80, 1);
    greet(publisher, &other, 99, 1);
    struct tally tally;
    struct bus_subscriber *everything = begin_tally(&tally, publisher);
    for (unsigned second = 1; second <= 2; second++) { /* 20 topics and everybody's */
        unsigned heartbeats = tally.heartbeats;
        clock_fake_advance_us(STREAM_HEARTBEAT_US);
        assert_true(support_turn_until_count(loop, &tally.heartbeats, heartbeats + 21));
        assert_int_equal(tally.heartbeats, heartbeats + 21);
    }
    for (number = 1; number <= 50; number++) {
        publish(publisher, STREAM_TOPIC_ALL, number);
        publish(publisher, 80, number);
        publish(publisher, 90, number);
        publish(publisher, 99, number);
    }
    assert_true(support_turn_until_count(loop, &all.messages, 50));
    assert_true(support_turn_until_count(loop, &one.messages, 50));
    assert_true(support_turn_until_count(loop, &other.messages, 50));
    assert_int_equal(all.gaps + one.gaps + other.gaps, 0);
    assert_int_equal(all.unannounced + one.unannounced + other.unannounced, 0);
    stream_topic_close(publisher, 80);
    stream_topic_close(publisher, 80);               /* closed already */
    stream_topic_close(publisher, STREAM_TOPIC_ALL); /* always open */
    publish(publisher, 80, 51);                      /* opened again, still counting: no trouble */
    assert_true(support_turn_until_count(loop, &one.messages, 51));
    assert_int_equal(one.gaps, 0);
    let_quiet();
    bus_subscriber_close(&everything);
    stream_subscriber_destroy(&all.subscriber);
    stream_subscriber_destroy(&one.subscriber);
    stream_subscriber_destroy(&other.subscriber);
    stream_publisher_destroy(&publisher);
    stream_publisher_destroy(&publisher);
}

static void one_turn_is_one_publication(void **state) {
    (void)state;
    struct stream_publisher *publisher = open_publisher(20);
    struct listener one, other;
    listen_to(&one, 80);
    listen_to(&other, 99);
    greet(publisher, &one, 80, 1);
    greet(publisher, &other, 99, 1);
    struct tally tally;
    struct bus_subscriber *everything = begin_tally(&tally, publisher);
    let_quiet();
    unsigned publications = tally.publications, messages = tally.messages;
    for (uint32_t number = 1; number <= 10; number++) {
        publish(publisher, 80, number);
        publish(publisher, 99, number);
    }
    assert_true(support_turn_until_count(loop, &tally.messages, messages + 20));
    assert_int_equal(tally.publications, publications + 1);
    assert_true(support_turn_until_count(loop, &other.messages, 10));
    /* Larger than a bundle: behind what waits, before what follows. */
    static uint8_t large[61 * 1024];
    memcpy(large, &(uint32_t){12}, sizeof(uint32_t));
    publish(publisher, 80, 11);
    assert_int_equal(stream_publish(publisher, 80, large, sizeof large), ERR_OK);
    publish(publisher, 80, 13);
    assert_true(support_turn_until_count(loop, &one.messages, 13));
    assert_int_equal(one.last, 13);
    assert_int_equal(one.gaps + other.gaps, 0);
    other.destroy_on_message = true; /* in the middle of a bundle */
    publish(publisher, 99, 11);
    publish(publisher, 99, 12);
    publish(publisher, 80, 14);
    assert_true(support_turn_until_count(loop, &one.messages, 14));
    assert_true(support_turn_until_count(loop, &other.messages, 11));
    assert_null(other.subscriber);
    let_quiet();
    assert_int_equal(other.messages, 11);
    bus_subscriber_close(&everything);
    stream_subscriber_destroy(&one.subscriber);
    stream_publisher_destroy(&publisher);
}

/* Whoever flushes hears of it, also of a bundle that was full before; subscribers notice. */
static void a_bundle_that_is_lost_is_told(void **state) {
    (void)state;
    struct bus *narrow;
    struct bus_config config = {.message_bytes_max = 4096};
    assert_int_equal(bus_create(loop, &config, &narrow), ERR_OK);
    struct stream_publisher *publisher;
    assert_int_equal(stream_publisher_create(loop, narrow, url, 4, &publisher), ERR_OK);
    struct listener listener;
    listen_to(&listener, 80);
    greet(publisher, &listener, 80, 1);
    static uint8_t payload[3000];
    memcpy(payload, &(uint32_t){1}, sizeof(uint32_t));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(stream_publish(publisher, 80, payload, sizeof payload), ERR_OK);
    }
    assert_int_equal(stream_flush(publisher), ERR_TOO_LARGE);
    assert_int_equal(stream_flush(publisher), ERR_OK); /* told once */
    for (int i = 0; i < 21; i++) {                     /* 20 of them fill a bundle */
        assert_int_equal(stream_publish(publisher, 80, payload, sizeof payload), ERR_OK);
    }
    assert_int_equal(stream_flush(publisher), ERR_TOO_LARGE);
    assert_true(support_turn_until_count(loop, &listener.gaps, 1));
    let_quiet();
    stream_subscriber_destroy(&listener.subscriber);
    stream_publisher_destroy(&publisher);
    bus_destroy(&narrow);
}

/* A part that says it is longer than the bundle, or too short for a frame, ends it. */
static void broken_bundles_are_ignored(void **state) {
    (void)state;
    struct listener listener;
    begin_raw(&listener);
    static const uint8_t lengths[][4] = {
        {0, 0, 0, 29}, {0, 0, 0, 23}, {255, 255, 255, 255}, {0, 0, 0, 0}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        uint8_t bundle[8 + 4 + 28] = {255, 255, 255, 255, 255, 255, 255, 255};
        memcpy(bundle + 8, lengths[i], 4);
        bundle[8 + 4 + 7] = 7; /* topic 7, boot 0 */
        for (size_t bytes = 8; bytes <= sizeof bundle; bytes++) {
            assert_int_equal(bus_publish(raw, bundle, bytes), ERR_OK);
        }
    }
    message(1, 11);
    expect(&listener, 1, 0, 1);
    end_raw(&listener);
}

static void a_flood_loses_and_every_loss_is_told(void **state) {
    (void)state;
    struct stream_publisher *publisher = open_publisher(1);
    struct listener listener;
    listen_to(&listener, STREAM_TOPIC_ALL);
    greet(publisher, &listener, STREAM_TOPIC_ALL, 1);
    uint32_t number = 0;
    /* More than all buffers hold, without turning the loop. How much is lost depends on the
     * machine; that each loss is told exactly once does not. */
    for (int burst = 0; burst < 10 && listener.gaps == 0; burst++) {
        for (int i = 0; i < 50000; i++) {
            publish(publisher, STREAM_TOPIC_ALL, ++number);
        }
        support_turn_for(loop, 20000);
    }
    while (listener.last != number) { /* the last ones may be lost, too */
        publish(publisher, STREAM_TOPIC_ALL, ++number);
        support_turn_for(loop, 20000);
    }
    assert_true(listener.gaps > 0);
    assert_true(listener.messages < number);
    assert_int_equal(listener.unannounced, 0);
    assert_int_equal(listener.needless, 0);
    assert_int_equal(listener.boots, 1);
    let_quiet();
    stream_subscriber_destroy(&listener.subscriber);
    stream_publisher_destroy(&publisher);
}

static void a_restarted_publisher_is_a_new_boot(void **state) {
    (void)state;
    struct listener listener;
    listen_to(&listener, 5);
    for (unsigned life = 1; life <= 3; life++) {
        struct stream_publisher *publisher = open_publisher(4);
        assert_int_equal(stream_topic_open(publisher, 5), ERR_OK);
        greet(publisher, &listener, 5, life);
        assert_int_equal(listener.boots, life);
        publish(publisher, 5, listener.last + 1);
        assert_true(support_turn_until_count(loop, &listener.messages, life));
        let_quiet();
        stream_publisher_destroy(&publisher);
    }
    assert_int_equal(listener.gaps, 0);
    stream_subscriber_destroy(&listener.subscriber);
}

static void creation_survives_lack_of_memory(void **state) {
    (void)state;
    for (uint64_t nth = 1; nth <= 3; nth++) {
        struct stream_publisher *publisher = NULL;
        struct stream_subscriber *subscriber = NULL;
        (void)mem_fault_set(nth, 1);
        enum err error = stream_publisher_create(loop, bus, url, 4, &publisher);
        (void)mem_fault_set(0, 0);
        assert_int_equal(error, ERR_NO_MEMORY);
        assert_null(publisher);
        if (nth <= 2) {
            (void)mem_fault_set(nth, 1);
            error = stream_subscriber_create(loop, bus, url, 1, on_message, on_trouble, NULL,
                                             &subscriber);
            (void)mem_fault_set(0, 0);
            assert_int_equal(error, ERR_NO_MEMORY);
            assert_null(subscriber);
        }
    }
    struct stream_publisher *publisher = open_publisher(4);
    (void)mem_fault_set(1, 1);
    assert_int_equal(stream_topic_open(publisher, 1), ERR_NO_MEMORY);
    (void)mem_fault_set(0, 0);
    assert_int_equal(stream_topic_open(publisher, 1), ERR_OK);
    struct stream_publisher *second = NULL;
    assert_int_equal(stream_publisher_create(loop, bus, url, 4, &second), ERR_EXISTS);
    assert_null(second);
    stream_publisher_destroy(&publisher);
}

#define STREAM_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    /* The test that relies on nng's own redialling comes first: see common/bus.c. */
    const struct CMUnitTest tests[] = {
        STREAM_TEST(a_restarted_publisher_is_a_new_boot),
        STREAM_TEST(each_trouble_is_told_once_and_first),
        STREAM_TEST(foreign_frames_are_ignored),
        STREAM_TEST(silence_is_told_once_and_dialled_afresh),
        STREAM_TEST(a_subscriber_that_slept_gives_time),
        STREAM_TEST(a_publisher_never_heard_is_silent_too),
        STREAM_TEST(heartbeats_reach_all_topics),
        STREAM_TEST(one_turn_is_one_publication),
        STREAM_TEST(a_bundle_that_is_lost_is_told),
        STREAM_TEST(broken_bundles_are_ignored),
        STREAM_TEST(callbacks_may_destroy_the_subscriber),
        STREAM_TEST(a_flood_loses_and_every_loss_is_told),
        STREAM_TEST(creation_survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
