/* mqtt_session: MQTT 3.1.1 and 5 through a socket pair, against a scripted hub. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/connection/fake_net.h"
#include "tests/unit/connection/fake_session.h"
#include "services/connection/mqtt_session.h"

#include <stdio.h>

static int client;

/* --- packets of the client, built byte by byte */

static uint8_t packet[140000];
static size_t packet_bytes;

static void put(const void *bytes, size_t count) {
    memcpy(packet + packet_bytes, bytes, count);
    packet_bytes += count;
}
static void put8(unsigned value) {
    packet[packet_bytes++] = (uint8_t)value;
}
static void put16(unsigned value) {
    put8(value >> 8);
    put8(value & 0xFF);
}
static void put_text(const char *text) {
    put16((unsigned)strlen(text));
    put(text, strlen(text));
}

static void send_packet(uint8_t first) {
    uint8_t whole[140010];
    size_t head = 1;
    size_t left = packet_bytes;
    whole[0] = first;
    do {
        whole[head++] = (uint8_t)((left & 0x7F) | (left > 127 ? 0x80 : 0));
        left >>= 7;
    } while (left > 0);
    memcpy(whole + head, packet, packet_bytes);
    size_t count = head + packet_bytes;
    packet_bytes = 0;
    net_send(client, whole, count);
}

struct connect_options {
    unsigned version; /* 4 or 5 */
    const char *client_id, *user, *password;
    bool clean;
    unsigned keep_alive;
    const char *properties;
    size_t properties_bytes;
    const char *will_topic, *will_payload;
    unsigned will_delay_s;
    bool will_retain;
    enum reason refusal;
};

static void connect_with(const struct connect_options *options) {
    client = net_connect(&mqtt_protocol, options->refusal);
    put_text("MQTT");
    put8(options->version);
    unsigned flags = 0xC0u | (options->clean ? 2 : 0);
    if (options->will_topic != NULL) {
        flags |= 4 | (options->will_retain ? 0x20 : 0);
    }
    put8(flags);
    put16(options->keep_alive);
    if (options->version == 5) {
        put8((unsigned)options->properties_bytes);
        put(options->properties, options->properties_bytes);
    }
    put_text(options->client_id);
    if (options->will_topic != NULL) {
        if (options->version == 5) {
            put8(5);
            put8(0x18);
            put16(options->will_delay_s >> 16);
            put16(options->will_delay_s & 0xFFFF);
        }
        put_text(options->will_topic);
        put_text(options->will_payload);
    }
    put_text(options->user);
    put_text(options->password);
    send_packet(0x10);
}

static struct connect_options usual(unsigned version) {
    return (struct connect_options){.version = version,
                                    .client_id = "phone",
                                    .user = "ann",
                                    .password = "good",
                                    .clean = true,
                                    .keep_alive = 60,
                                    .properties = ""};
}

static void publish_flags(unsigned first, unsigned packet_id, const char *topic,
                          const char *payload, const char *properties, size_t properties_bytes,
                          unsigned version) {
    put_text(topic);
    if ((first & 6) != 0) {
        put16(packet_id);
    }
    if (version == 5) {
        put8((unsigned)properties_bytes);
        put(properties, properties_bytes);
    }
    put(payload, strlen(payload));
    send_packet((uint8_t)first);
}

static void publish(unsigned version, unsigned qos, unsigned packet_id, const char *topic,
                    const char *payload) {
    publish_flags(0x30 | qos << 1, packet_id, topic, payload, "", 0, version);
}

static void subscribe(unsigned version, unsigned packet_id, const char *filter, unsigned qos) {
    put16(packet_id);
    if (version == 5) {
        put8(0);
    }
    put_text(filter);
    put8(qos);
    send_packet(0x82);
}

/* --- packets of the server */

static uint8_t got[140000];
static size_t got_bytes;

/* Takes the next packet into got (without its fixed header) and returns its first byte; 0 = none.
 */
static unsigned next_packet(void) {
    net_receive(client);
    if (net.read_bytes < 2) {
        return 0;
    }
    size_t remaining = 0;
    size_t at = 1;
    for (unsigned shift = 0; at < 5; shift += 7) {
        uint8_t byte = net.read[at++];
        remaining |= (size_t)(byte & 0x7F) << shift;
        if ((byte & 0x80) == 0) {
            break;
        }
    }
    assert_true(net.read_bytes >= at + remaining);
    unsigned first = net.read[0];
    memcpy(got, net.read + at, remaining);
    got[remaining] = 0;
    got_bytes = remaining;
    net_drop_read(at + remaining);
    return first;
}

static void expect(unsigned first, const void *bytes, size_t count) {
    unsigned type = next_packet();
    if (type != first) {
        fail_msg("packet %02x instead of %02x", type, first);
    }
    assert_true(got_bytes >= count);
    assert_memory_equal(got, bytes, count);
}

static void expect_nothing(void) {
    unsigned type = next_packet();
    if (type != 0) {
        fail_msg("unexpected packet %02x %02x", type, got[0]);
    }
}

static bool has(const char *text) {
    return memmem(got, got_bytes, text, strlen(text)) != NULL;
}

static void expect_ended(void) {
    net_receive(client);
    assert_true(net.closed);
    assert_int_equal(net.read_bytes, 0);
}

static void log_in_with(const struct connect_options *options) {
    connect_with(options);
    assert_non_null(fake.session);
    expect_nothing();
    fake.session->ops->on_opened(fake.session, REASON_OK);
    assert_int_equal(next_packet(), 0x20);
    assert_int_equal(got[1], 0);
}

static void log_in(unsigned version) {
    struct connect_options options = usual(version);
    log_in_with(&options);
}

static void log_in_subscribed(unsigned version) {
    log_in(version);
    subscribe(version, 1, "pipit/me/#", 1);
    assert_int_equal(next_packet(), 0x90);
    assert_int_equal(got[got_bytes - 1], 1);
}

static int set_up(void **state) {
    (void)state;
    fake_reset();
    net_start();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    net_stop();
    return 0;
}

/* --- CONNECT */

static void test_connect_opens_an_exclusive_session(void **state) {
    (void)state;
    struct connect_options options = usual(4);
    options.clean = false;
    log_in_with(&options);
    assert_string_equal(fake.device, "m:phone");
    assert_true(fake.exclusive && fake.wants_backlog && !fake.new_backlog);
    assert_int_equal(got[0], 0); /* no session present: it was never here */
    net_hang_up(client);
    assert_int_equal(fake.closes, 1);
    fake.resumed = true;
    log_in_with(&options);
    assert_int_equal(got[0], 1);
    net_hang_up(client);
    log_in(4);
    assert_true(fake.new_backlog);
    assert_int_equal(got[0], 0); /* clean: whatever there was */
    net_hang_up(client);
}

static void test_connack_tells_what_the_client_may_do(void **state) {
    (void)state;
    struct connect_options options = usual(5);
    options.client_id = "";
    options.keep_alive = 0;
    options.properties = "\x11\xFF\xFF\xFF\xFF"; /* session expiry: never */
    options.properties_bytes = 5;
    log_in_with(&options);
    assert_true(has("auto-"));
    assert_non_null(memmem(got, got_bytes, "\x21\x00\x40", 3));         /* receive maximum 64 */
    assert_non_null(memmem(got, got_bytes, "\x22\x00\x10", 3));         /* topic aliases 16 */
    assert_non_null(memmem(got, got_bytes, "\x25\x00", 2));             /* nothing is retained */
    assert_non_null(memmem(got, got_bytes, "\x27\x00\x02\x00\x00", 5)); /* packets of 128 KiB */
    assert_non_null(memmem(got, got_bytes, "\x11\x00\x01\x51\x80", 5)); /* kept for a day */
    assert_non_null(memmem(got, got_bytes, "\x13\x0E\x10", 3));         /* keep alive 3600 s */
    net_hang_up(client);
}

static void test_refused_logins(void **state) {
    (void)state;
    static const struct {
        const char *user, *password, *client_id;
        unsigned v3, v5;
    } cases[] = {
        {"ann", "evil", "phone", 4, 0x86},
        {"bob", "good", "phone", 4, 0x86},
        {"u_ann", "nope", "phone", 4, 0x86},
        {"ann", "", "phone", 4, 0x86},
        {"a/#", "good", "phone", 4, 0x86},
        {"ann", "good", "   ", 2, 0x85},
        {"ann", "good", "0123456789012345678901234567890123456789012345678901234567890123456789", 2,
         0x85},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (unsigned version = 4; version <= 5; version++) {
            struct connect_options options = usual(version);
            options.user = cases[i].user;
            options.password = cases[i].password;
            options.client_id = cases[i].client_id;
            connect_with(&options);
            assert_int_equal(next_packet(), 0x20);
            assert_int_equal(got[0], 0);
            assert_int_equal(got[1], version == 4 ? cases[i].v3 : cases[i].v5);
            expect_ended();
            net_hang_up(client);
            net.closed = false;
            net.read_bytes = 0;
        }
    }
    assert_int_equal(fake.opens, 0);
}

static void test_user_id_is_a_user_name_too(void **state) {
    (void)state;
    struct connect_options options = usual(4);
    options.user = "u_ann";
    log_in_with(&options);
    net_hang_up(client);
}

static void test_limits_are_refused_in_the_clients_words(void **state) {
    (void)state;
    for (unsigned version = 4; version <= 5; version++) {
        struct connect_options options = usual(version);
        options.refusal = REASON_TOO_MANY_SESSIONS;
        connect_with(&options);
        assert_int_equal(next_packet(), 0x20);
        assert_int_equal(got[1], version == 4 ? 3 : 0x97);
        net_hang_up(client);
        net.closed = false;
    }
    fake.open_error = ERR_FULL;
    struct connect_options options = usual(5);
    connect_with(&options);
    assert_int_equal(next_packet(), 0x20);
    assert_int_equal(got[1], 0x97);
    net_hang_up(client);
}

static void test_empty_client_id_needs_a_clean_session(void **state) {
    (void)state;
    struct connect_options options = usual(4);
    options.client_id = "";
    options.clean = false;
    connect_with(&options);
    assert_int_equal(next_packet(), 0x20);
    assert_int_equal(got[1], 2);
    net_hang_up(client);
}

static void test_old_version_gets_connack_1(void **state) {
    (void)state;
    client = net_connect(&mqtt_protocol, REASON_OK);
    put_text("MQIsdp");
    put8(3);
    put8(2);
    put16(60);
    put_text("x");
    send_packet(0x10);
    assert_int_equal(next_packet(), 0x20);
    assert_int_equal(got[1], 1);
    net_hang_up(client);
}

static void test_anything_before_connect_closes(void **state) {
    (void)state;
    client = net_connect(&mqtt_protocol, REASON_OK);
    net_send(client, "\xC0\x00", 2);
    expect_ended();
    net_hang_up(client);
}

static void test_second_connect_is_an_error(void **state) {
    (void)state;
    log_in(5);
    put_text("MQTT");
    put8(5);
    put8(0xC2);
    put16(60);
    put8(0);
    put_text("phone");
    put_text("ann");
    put_text("good");
    send_packet(0x10);
    expect(0xE0, "\x82", 1);
    expect_ended();
    net_hang_up(client);
}

static void test_packets_behind_connect_wait_for_the_session(void **state) {
    (void)state;
    struct connect_options options = usual(4);
    connect_with(&options);
    publish(4, 1, 9, "pipit/u/bob/send", "early");
    assert_int_equal(fake.submit_count, 0);
    fake.session->ops->on_opened(fake.session, REASON_OK);
    assert_int_equal(next_packet(), 0x20);
    assert_int_equal(fake.submit_count, 1);
    net_hang_up(client);
}

static void test_silent_socket_is_closed(void **state) {
    (void)state;
    client = net_connect(&mqtt_protocol, REASON_OK);
    net_send(client, "\x10", 1);
    net_advance(10500000);
    expect_ended();
    net_advance(2500000);
    assert_int_equal(conn_table_count(net.table), 0);
    net_hang_up(client);
}

static void test_enhanced_authentication_is_not_offered(void **state) {
    (void)state;
    struct connect_options options = usual(5);
    options.properties = "\x15\x00\x05SCRAM";
    options.properties_bytes = 8;
    connect_with(&options);
    assert_int_equal(next_packet(), 0x20);
    assert_int_equal(got[1], 0x8C);
    net_hang_up(client);
}

/* --- PUBLISH from the client */

static void test_puback_means_stored(void **state) {
    (void)state;
    log_in(4);
    publish(4, 1, 0x1234, "pipit/c/fam/send", "七点");
    assert_int_equal(fake.submit_count, 1);
    assert_string_equal(fake.submits[0].conversation, "c_fam");
    assert_string_equal(fake.submits[0].body, "{\"text\":\"七点\"}");
    assert_true(fake.submits[0].from_mqtt && !fake.submits[0].maybe_copy);
    assert_int_equal(fake.submits[0].packet_id, 0x1234);
    expect_nothing();
    fake_result(0, REASON_OK, 5);
    expect(0x40, "\x12\x34", 2);
    assert_int_equal(got_bytes, 2);
    net_hang_up(client);
}

static void test_direct_topic_and_payload_forms(void **state) {
    (void)state;
    static const struct {
        const char *payload, *body;
        uint64_t reply;
    } cases[] = {
        {"plain", "{\"text\":\"plain\"}", 0},
        {"{\"temperature\":21}", "{\"text\":\"{\\\"temperature\\\":21}\"}", 0},
        {"{\"text\":\"short\",\"reply\":4}", "{\"text\":\"short\"}", 4},
        {"{\"text\":\"x\",\"more\":1}", "{\"text\":\"{\\\"text\\\":\\\"x\\\",\\\"more\\\":1}\"}",
         0},
        {"{\"body\":{\"text\":\"b\",\"k\":1},\"reply\":2}", "{\"text\":\"b\",\"k\":1}", 2},
    };
    net.settings.inflight_per_session_max = 64;
    log_in(4);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        publish(4, 1, (unsigned)i + 1, "pipit/u/bob/send", cases[i].payload);
        assert_int_equal(fake.submit_count, i + 1);
        assert_string_equal(fake.submits[i].to_user, "u_bob");
        assert_string_equal(fake.submits[i].body, cases[i].body);
        assert_int_equal(fake.submits[i].reply_seq, cases[i].reply);
    }
    net_hang_up(client);
}

static void test_message_id_from_payload_or_correlation(void **state) {
    (void)state;
    char payload[100];
    char properties[60];
    char id[37];
    (void)snprintf(id, sizeof id, "%08x-%04x-7000-8000-000000000001", (unsigned)(NET_WALL_MS >> 16),
                   (unsigned)(NET_WALL_MS & 0xFFFF));
    uint8_t expected[16];
    assert_int_equal(id_uuid7_parse(id, 36, expected), ERR_OK);
    log_in(5);
    (void)snprintf(payload, sizeof payload, "{\"text\":\"x\",\"message\":\"%s\"}", id);
    publish(5, 1, 1, "pipit/u/bob/send", payload);
    assert_memory_equal(fake.submits[0].id, expected, 16);
    memcpy(properties, "\x09\x00\x24", 3);
    memcpy(properties + 3, id, 36);
    publish_flags(0x32, 2, "pipit/u/bob/send", "x", properties, 39, 5);
    assert_memory_equal(fake.submits[1].id, expected, 16);
    memcpy(properties, "\x09\x00\x10", 3);
    memcpy(properties + 3, expected, 16);
    publish_flags(0x32, 3, "pipit/u/bob/send", "x", properties, 19, 5);
    assert_memory_equal(fake.submits[2].id, expected, 16);
    publish_flags(0x32, 4, "pipit/u/bob/send", "x", "\x09\x00\x01k", 4, 5);
    assert_memory_not_equal(fake.submits[3].id, expected, 16);
    net_hang_up(client);
}

static void test_acknowledgement_tells_seq_on_version_5(void **state) {
    (void)state;
    log_in(5);
    publish(5, 1, 7, "pipit/u/bob/send", "x");
    fake_result(0, REASON_OK, 42);
    expect(0x40, "\x00\x07\x00", 3);
    assert_true(has("seq") && has("42") && has("message"));
    net_hang_up(client);
}

static void test_answers_keep_the_order_of_the_packets(void **state) {
    (void)state;
    log_in(4);
    publish(4, 1, 1, "pipit/c/a/send", "x");
    publish(4, 1, 2, "pipit/c/b/send", "x");
    publish(4, 0, 0, "pipit/c/b/send", "x");
    fake_result(1, REASON_OK, 1);
    fake_result(2, REASON_OK, 2);
    expect_nothing();
    fake_result(0, REASON_OK, 1);
    expect(0x40, "\x00\x01", 2);
    expect(0x40, "\x00\x02", 2);
    expect_nothing();
    net_hang_up(client);
}

static void test_duplicate_carries_its_origin(void **state) {
    (void)state;
    log_in(4);
    publish(4, 1, 7, "pipit/u/bob/send", "x");
    fake_result(0, REASON_OK, 1);
    expect(0x40, "\x00\x07", 2);
    publish_flags(0x3A, 7, "pipit/u/bob/send", "x", "", 0, 4);
    assert_int_equal(fake.submit_count, 2);
    assert_true(fake.submits[1].maybe_copy);
    assert_memory_equal(fake.submits[0].origin_hash, fake.submits[1].origin_hash, 16);
    /* Again while its answer is due: the same packet, not another message. */
    publish_flags(0x3A, 7, "pipit/u/bob/send", "x", "", 0, 4);
    assert_int_equal(fake.submit_count, 2);
    fake_result(1, REASON_OK, 1);
    expect(0x40, "\x00\x07", 2);
    expect_nothing();
    net_hang_up(client);
}

static void test_qos_2_stores_once(void **state) {
    (void)state;
    for (unsigned version = 4; version <= 5; version++) {
        fake_reset();
        log_in(version);
        publish(version, 2, 9, "pipit/u/bob/send", "x");
        fake_result(0, REASON_OK, 1);
        expect(0x50, "\x00\x09", 2);
        publish_flags(0x3C, 9, "pipit/u/bob/send", "x", "", 0, version);
        expect(0x50, "\x00\x09", 2);
        assert_int_equal(fake.submit_count, 1);
        net_send(client, "\x62\x02\x00\x09", 4);
        expect(0x70, "\x00\x09", 2);
        net_send(client, "\x62\x02\x00\x09", 4); /* unknown now */
        expect(0x70, version == 5 ? "\x00\x09\x92" : "\x00\x09", version == 5 ? 3 : 2);
        publish(version, 2, 9, "pipit/u/bob/send", "x"); /* a new one with the same id */
        assert_int_equal(fake.submit_count, 2);
        net_hang_up(client);
    }
}

static void test_refusal_has_a_code_on_version_5(void **state) {
    (void)state;
    log_in(5);
    publish(5, 1, 7, "pipit/c/fam/send", "x");
    fake_result(0, REASON_NOT_MEMBER, 0);
    expect(0x40, "\x00\x07\x87", 3);
    assert_true(has("Only members"));
    publish(5, 2, 8, "some/other/topic", "x");
    expect(0x50, "\x00\x08\x87", 3);
    publish(5, 1, 9, "$SYS/broker", "x");
    expect(0x40, "\x00\x09\x87", 3);
    publish(5, 1, 10, "pipit/u/NO WAY/send", "x");
    expect(0x40, "\x00\x0A\x90", 3);
    publish(5, 1, 11, "pipit/me/inbox", "x");
    expect(0x40, "\x00\x0B\x87", 3);
    publish(5, 1, 12, "pipit/u/bob/send", "");
    expect(0x40, "\x00\x0C\x99", 3);
    publish(5, 1, 13, "pipit/u/bob/send", "\xFF");
    expect(0x40, "\x00\x0D\x99", 3);
    assert_false(net.closed);
    assert_int_equal(fake.submit_count, 1);
    net_hang_up(client);
}

static void test_refusal_closes_on_version_3(void **state) {
    (void)state;
    log_in(4);
    publish(4, 1, 7, "pipit/c/fam/send", "x");
    fake_result(0, REASON_NOT_MEMBER, 0);
    expect_ended();
    assert_int_equal(fake.closes, 1);
    net_hang_up(client);
}

static void test_retryable_failure_is_tried_again_on_version_3(void **state) {
    (void)state;
    log_in(4);
    publish(4, 1, 7, "pipit/c/fam/send", "x");
    fake_result(0, REASON_UNAVAILABLE, 0);
    expect_nothing();
    net_advance(1000000);
    assert_int_equal(fake.submit_count, 2);
    assert_memory_equal(fake.submits[0].id, fake.submits[1].id, 16);
    assert_string_equal(fake.submits[1].body, "{\"text\":\"x\"}");
    fake_result(1, REASON_OK, 3);
    expect(0x40, "\x00\x07", 2);
    /* For ten seconds, then the client has to. */
    publish(4, 1, 8, "pipit/c/fam/send", "x");
    size_t answered = 2;
    for (int i = 0; i < 60 && fake.session != NULL; i++) {
        while (fake.session != NULL && answered < fake.submit_count) {
            fake_result(answered++, REASON_UNAVAILABLE, 0);
        }
        net_advance(250000);
    }
    assert_in_range(answered, 10, 24);
    expect_ended();
    net_hang_up(client);
}

static void test_retryable_failure_is_told_on_version_5(void **state) {
    (void)state;
    log_in(5);
    publish(5, 1, 7, "pipit/c/fam/send", "x");
    fake_result(0, REASON_RATE_LIMITED, 0);
    expect(0x40, "\x00\x07\x97", 3);
    net_hang_up(client);
}

static void test_rate_limit_pauses_reading(void **state) {
    (void)state;
    log_in(4);
    fake.submit_error = ERR_RATE_LIMITED;
    fake.submit_retry_ms = 300;
    publish(4, 1, 7, "pipit/c/fam/send", "x");
    expect_nothing();
    fake.submit_error = ERR_OK;
    net_turn();
    assert_int_equal(fake.submit_count, 0);
    net_advance(350000);
    assert_int_equal(fake.submit_count, 1);
    fake_result(0, REASON_OK, 1);
    expect(0x40, "\x00\x07", 2);
    net_hang_up(client);
}

static void test_full_batches_pause_reading_for_moments(void **state) {
    (void)state;
    for (unsigned version = 4; version <= 5; version++) {
        fake_reset();
        log_in(version);
        fake.submit_error = ERR_UNAVAILABLE;
        publish(version, 1, 7, "pipit/c/fam/send", "x");
        expect_nothing();
        fake.submit_error = ERR_OK;
        net_advance(10000);
        assert_int_equal(fake.submit_count, 1);
        net_hang_up(client);
    }
}

static void test_no_routing_is_told_on_version_5(void **state) {
    (void)state;
    log_in(5);
    fake.submit_error = ERR_UNAVAILABLE;
    fake.no_routing = true;
    publish(5, 1, 7, "pipit/c/fam/send", "x");
    expect(0x40, "\x00\x07", 2);
    assert_true(got[2] >= 0x80);
    net_hang_up(client);
    net.closed = false;
    fake_reset();
    log_in(4);
    fake.submit_error = ERR_UNAVAILABLE;
    fake.no_routing = true;
    publish(4, 1, 7, "pipit/c/fam/send", "x");
    net_advance(2000000);
    expect_nothing();
    fake.submit_error = ERR_OK;
    net_advance(1000000);
    assert_int_equal(fake.submit_count, 1);
    net_hang_up(client);
}

static void test_reading_pauses_until_answers_come(void **state) {
    (void)state;
    log_in(4);
    for (unsigned id = 1; id <= 10; id++) {
        publish(4, 1, id, "pipit/c/fam/send", "x");
    }
    assert_int_equal(fake.submit_count, 4);
    for (size_t i = 0; i < 10; i++) {
        fake_result(i, REASON_OK, i + 1);
        net_turn();
    }
    assert_int_equal(fake.submit_count, 10);
    for (unsigned id = 1; id <= 10; id++) {
        uint8_t expected[2] = {0, (uint8_t)id};
        expect(0x40, expected, 2);
    }
    net_hang_up(client);
}

static void test_topic_aliases(void **state) {
    (void)state;
    log_in(5);
    publish_flags(0x32, 1, "pipit/u/bob/send", "a", "\x23\x00\x10", 3, 5);
    publish_flags(0x32, 2, "", "b", "\x23\x00\x10", 3, 5);
    assert_int_equal(fake.submit_count, 2);
    assert_string_equal(fake.submits[1].to_user, "u_bob");
    publish_flags(0x32, 3, "", "c", "\x23\x00\x02", 3, 5); /* unknown */
    expect(0xE0, "\x94", 1);
    net_hang_up(client);
    net.closed = false;
    net.read_bytes = 0;
    log_in(5);
    publish_flags(0x32, 1, "pipit/u/bob/send", "a", "\x23\x00\x11", 3, 5); /* above the maximum */
    expect(0xE0, "\x94", 1);
    net_hang_up(client);
}

static void test_retained_messages_are_refused(void **state) {
    (void)state;
    log_in(5);
    publish_flags(0x33, 1, "pipit/u/bob/send", "a", "", 0, 5);
    expect(0xE0, "\x9A", 1);
    net_hang_up(client);
    net.closed = false;
    log_in(4);
    publish_flags(0x33, 1, "pipit/u/bob/send", "a", "", 0, 4);
    assert_int_equal(fake.submit_count, 1);
    net_hang_up(client);
}

static void test_answer_on_the_response_topic(void **state) {
    (void)state;
    static const char properties[] = "\x08\x00\x0Fpipit/me/events\x09\x00\x02hi";
    log_in_subscribed(5);
    publish_flags(0x32, 7, "pipit/c/fam/send", "x", properties, sizeof properties - 1, 5);
    fake_result(0, REASON_OK, 9);
    expect(0x40, "\x00\x07\x00", 3);
    assert_int_equal(next_packet() & 0xF0, 0x30);
    assert_true(has("pipit/me/events") && has("\x09\x00\x02hi"));
    assert_true(has("{\"t\":\"ok\",\"d\":{\"conversation\":\"c_fam\",\"message\":\""));
    assert_true(has("\"seq\":9"));
    net_hang_up(client);
}

static void test_foreign_response_topics_are_ignored(void **state) {
    (void)state;
    static const char properties[] = "\x08\x00\x10pipit/u/bob/send";
    log_in_subscribed(5);
    publish_flags(0x32, 7, "pipit/c/fam/send", "x", properties, sizeof properties - 1, 5);
    fake_result(0, REASON_OK, 9);
    expect(0x40, "\x00\x07\x00", 3);
    expect_nothing();
    net_hang_up(client);
}

/* --- SUBSCRIBE and what is published to the client */

static void test_subscriptions_granted_and_refused(void **state) {
    (void)state;
    log_in(5);
    put16(5);
    put8(0);
    static const char *const filters[] = {
        "pipit/me/inbox",          "pipit/me/+",      "#", "homeassistant/#",
        "$share/g/pipit/me/inbox", "pipit/me/answers"};
    for (size_t i = 0; i < 6; i++) {
        put_text(filters[i]);
        put8(i == 0 ? 2 : 1);
    }
    send_packet(0x82);
    assert_int_equal(next_packet(), 0x90);
    assert_memory_equal(got + got_bytes - 6, "\x01\x01\x01\x87\x9E\x01", 6);
    put16(6);
    put8(0);
    put_text("#");
    put_text("nothing");
    send_packet(0xA2);
    expect(0xB0, "\x00\x06\x00\x00\x11", 5);
    net_hang_up(client);
    log_in(4);
    subscribe(4, 5, "homeassistant/#", 1);
    expect(0x90, "\x00\x05\x80", 3);
    net_hang_up(client);
}

static void test_inbox_waits_for_its_subscription(void **state) {
    (void)state;
    struct connect_options options = usual(4);
    options.clean = false;
    log_in_with(&options);
    assert_false(fake.session->ops->can_take(fake.session));
    subscribe(4, 1, "pipit/me/events", 1);
    assert_int_equal(next_packet(), 0x90);
    assert_false(fake.session->ops->can_take(fake.session));
    unsigned before = fake.writables;
    subscribe(4, 2, "pipit/me/inbox", 1);
    assert_int_equal(next_packet(), 0x90);
    assert_int_equal(fake.writables, before + 1);
    assert_true(fake.session->ops->can_take(fake.session));
    net_hang_up(client);
}

static void test_cursor_moves_with_puback(void **state) {
    (void)state;
    log_in_subscribed(4);
    fake_message(fake.session, "c_fam", 5, "{\"t\":\"msg\"}");
    expect(0x32, "\x00\x0Epipit/me/inbox\x00\x01{\"t\":\"msg\"}", 29);
    assert_int_equal(fake.mark_count, 0);
    net_send(client, "\x40\x02\x00\x01", 4);
    assert_int_equal(fake.mark_count, 1);
    assert_string_equal(fake.marks[0].conversation, "c_fam");
    assert_int_equal(fake.marks[0].delivered, 5);
    assert_int_equal(fake.marks[0].read, 0);
    net_hang_up(client);
}

static void test_qos_0_inbox_moves_the_cursor_at_once(void **state) {
    (void)state;
    log_in(4);
    subscribe(4, 1, "pipit/me/inbox", 0);
    assert_int_equal(next_packet(), 0x90);
    fake_message(fake.session, "c_fam", 5, "{}");
    expect(0x30, "\x00\x0Epipit/me/inbox{}", 18);
    assert_int_equal(fake.marks[0].delivered, 5);
    net_hang_up(client);
}

static void test_window_stops_the_hub_and_opens_again(void **state) {
    (void)state;
    struct connect_options options = usual(5);
    options.properties = "\x21\x00\x02"; /* receive maximum 2 */
    options.properties_bytes = 3;
    log_in_with(&options);
    subscribe(5, 1, "pipit/me/inbox", 1);
    assert_int_equal(next_packet(), 0x90);
    fake_message(fake.session, "c_fam", 1, "{}");
    assert_true(fake.session->ops->can_take(fake.session));
    fake_message(fake.session, "c_fam", 2, "{}");
    assert_false(fake.session->ops->can_take(fake.session));
    /* Events without a cursor wait, too: the client would call more a protocol error. */
    unsigned before = fake.writables;
    fake_event(fake.session, EVENT_CONVERSATION, "{\"t\":\"conv\"}");
    subscribe(5, 2, "pipit/me/events", 1);
    assert_int_equal(next_packet(), 0x32);
    assert_int_equal(next_packet(), 0x32);
    assert_int_equal(next_packet(), 0x90);
    fake_event(fake.session, EVENT_CONVERSATION, "{\"t\":\"conv\"}");
    fake_event(fake.session, EVENT_CONVERSATION, "{\"t\":\"conv2\"}");
    expect_nothing();
    net_send(client, "\x40\x02\x00\x01", 4);
    assert_int_equal(next_packet(), 0x32);
    assert_true(has("\"conv\""));
    assert_false(fake.session->ops->can_take(fake.session));
    net_send(client, "\x40\x02\x00\x02", 4);
    assert_int_equal(next_packet(), 0x32);
    assert_true(has("\"conv2\""));
    net_send(client, "\x40\x02\x00\x03", 4);
    assert_true(fake.writables > before);
    assert_true(fake.session->ops->can_take(fake.session));
    assert_int_equal(fake.mark_count, 2);
    net_hang_up(client);
}

static void test_feeds(void **state) {
    (void)state;
    log_in_subscribed(4);
    fake_event(fake.session, EVENT_RECEIPT, "{\"t\":\"mark\"}");
    assert_int_equal(next_packet(), 0x32);
    assert_true(has("pipit/me/events"));
    fake_event(fake.session, EVENT_TYPING, "{\"t\":\"typing\"}");
    assert_int_equal(next_packet(), 0x30);
    assert_true(has("pipit/me/ctl"));
    struct event edit = {.class = EVENT_MESSAGE,
                         .kind = FRAME_EVENT_EDIT,
                         .conversation = "c_fam",
                         .seq = 3,
                         .id = (const uint8_t *)"0123456789abcdef",
                         .frame = (const uint8_t *)"{}",
                         .frame_bytes = 2};
    fake.session->ops->on_event(fake.session, &edit);
    assert_int_equal(next_packet(), 0x32);
    assert_true(has("pipit/me/events"));
    net_send(client, "\x40\x02\x00\x02", 4);
    assert_int_equal(fake.marks[0].delivered, 3);
    net_hang_up(client);
}

static void test_too_large_for_the_client_is_passed_over(void **state) {
    (void)state;
    static char frame[400];
    memset(frame, 'x', sizeof frame - 1);
    struct connect_options options = usual(5);
    options.properties = "\x27\x00\x00\x00\x64"; /* packets of 100 bytes */
    options.properties_bytes = 5;
    log_in_with(&options);
    subscribe(5, 1, "pipit/me/inbox", 1);
    assert_int_equal(next_packet(), 0x90);
    fake_message(fake.session, "c_fam", 1, frame);
    expect_nothing();
    assert_int_equal(fake.marks[0].delivered, 1);
    fake_message(fake.session, "c_fam", 2, "{}");
    assert_int_equal(next_packet(), 0x32);
    net_hang_up(client);
}

static void test_subscription_identifiers_are_returned(void **state) {
    (void)state;
    log_in(5);
    put16(1);
    put(("\x02\x0B\x2A"), 3); /* identifier 42 */
    put_text("pipit/me/inbox");
    put8(1);
    send_packet(0x82);
    assert_int_equal(next_packet(), 0x90);
    fake_message(fake.session, "c_fam", 1, "{}");
    assert_int_equal(next_packet(), 0x32);
    assert_non_null(memmem(got, got_bytes, "\x02\x0B\x2A", 3));
    net_hang_up(client);
}

/* --- life and end */

static void test_ping_and_keep_alive(void **state) {
    (void)state;
    struct connect_options options = usual(5);
    options.keep_alive = 10;
    log_in_with(&options);
    net_advance(14000000);
    net_send(client, "\xC0\x00", 2);
    expect(0xD0, "", 0);
    net_advance(14500000);
    expect_nothing();
    assert_false(net.closed);
    net_advance(1000000);
    expect(0xE0, "\x8D", 1);
    net_hang_up(client);
}

static void test_no_keep_alive_on_version_3_means_none(void **state) {
    (void)state;
    struct connect_options options = usual(4);
    options.keep_alive = 0;
    log_in_with(&options);
    net_advance(120000000);
    assert_int_equal(net.table->states[CONN_LIVE].count, 1);
    net_hang_up(client);
}

static void test_hub_ends_the_session(void **state) {
    (void)state;
    log_in(5);
    fake.session->ops->on_end(fake.session, REASON_SESSION_TAKEN_OVER);
    expect(0xE0, "\x8E", 1);
    assert_true(has("took over"));
    net_hang_up(client);
    net.closed = false;
    log_in(4);
    fake.session->ops->on_end(fake.session, REASON_TOKEN_EXPIRED);
    expect_ended();
    net_hang_up(client);
}

static void test_goodbye_on_the_control_topic(void **state) {
    (void)state;
    log_in_subscribed(4);
    conn_end(CONTAINER_OF(list_first(&net.table->states[CONN_LIVE]), struct conn, state_node),
             REASON_DRAIN);
    expect(0x30, "\x00\x0Cpipit/me/ctl{\"t\":\"bye\",\"d\":{\"code\":\"drain\",\"retry_ms\":[", 57);
    expect_ended();
    net_hang_up(client);
}

static struct connect_options with_will(unsigned version, unsigned delay_s) {
    struct connect_options options = usual(version);
    options.will_topic = "pipit/u/bob/send";
    options.will_payload = "gone";
    options.will_delay_s = delay_s;
    if (version == 5) {
        options.properties = "\x11\x00\x00\x0E\x10";
        options.properties_bytes = 5;
    }
    return options;
}

static void test_will_is_sent_when_the_client_is_lost(void **state) {
    (void)state;
    struct connect_options options = with_will(4, 0);
    log_in_with(&options);
    struct session *session = fake.session;
    net_hang_up(client);
    assert_int_equal(fake.submit_count, 1);
    assert_string_equal(fake.submits[0].to_user, "u_bob");
    assert_string_equal(fake.submits[0].body, "{\"text\":\"gone\"}");
    assert_int_equal(fake.closes, 0); /* the session waits for the answer */
    assert_int_equal(conn_table_count(net.table), 0);
    assert_int_equal(net.table->states[CONN_GHOST].count, 1);
    assert_false(session->ops->can_take(session));
    fake_result(0, REASON_UNAVAILABLE, 0);
    net_advance(1000000);
    assert_int_equal(fake.submit_count, 2);
    fake_result(1, REASON_OK, 1);
    net_advance(500000);
    assert_int_equal(fake.closes, 1);
    assert_int_equal(net.table->states[CONN_GHOST].count, 0);
}

static void test_will_is_not_sent_after_disconnect(void **state) {
    (void)state;
    struct connect_options options = with_will(4, 0);
    log_in_with(&options);
    net_send(client, "\xE0\x00", 2);
    expect_ended();
    net_hang_up(client);
    assert_int_equal(fake.submit_count, 0);
    assert_int_equal(fake.closes, 1);
    net.closed = false;
    options = with_will(5, 0);
    log_in_with(&options);
    net_send(client, "\xE0\x01\x04", 3); /* with will message */
    net_hang_up(client);
    assert_int_equal(fake.submit_count, 1);
    fake_result(0, REASON_OK, 1);
    net_advance(500000);
    assert_int_equal(fake.closes, 2);
}

static void test_will_delay_and_return(void **state) {
    (void)state;
    struct connect_options options = with_will(5, 20);
    log_in_with(&options);
    net_hang_up(client);
    net_advance(19000000);
    assert_int_equal(fake.submit_count, 0);
    net_advance(2000000);
    assert_int_equal(fake.submit_count, 1);
    fake_result(0, REASON_OK, 1);
    net_advance(500000);
    assert_int_equal(fake.closes, 1);
    /* The device is back before: the hub says so, and there is no will. */
    log_in_with(&options);
    struct session *session = fake.session;
    net_hang_up(client);
    net_advance(5000000);
    session->ops->on_end(session, REASON_SESSION_TAKEN_OVER);
    net_advance(30000000);
    assert_int_equal(fake.submit_count, 1);
    assert_int_equal(fake.closes, 2);
    assert_int_equal(net.table->states[CONN_GHOST].count, 0);
}

static void test_will_on_another_topic_is_refused(void **state) {
    (void)state;
    struct connect_options options = with_will(5, 0);
    options.will_topic = "home/status";
    connect_with(&options);
    assert_int_equal(next_packet(), 0x20);
    assert_int_equal(got[1], 0x87);
    net_hang_up(client);
    net.closed = false;
    options = with_will(5, 0);
    options.will_retain = true;
    connect_with(&options);
    assert_int_equal(next_packet(), 0x20);
    assert_int_equal(got[1], 0x9A);
    net_hang_up(client);
}

static void test_ghosts_go_with_the_table(void **state) {
    (void)state;
    struct connect_options options = with_will(5, 100);
    log_in_with(&options);
    net_hang_up(client);
    assert_int_equal(net.table->states[CONN_GHOST].count, 1);
    /* tear_down destroys the table: nothing may leak */
}

static void test_packets_cut_anywhere(void **state) {
    (void)state;
    log_in(4);
    static const char bytes[] = "\x32\x16\x00\x10pipit/u/bob/send\x00\x07"
                                "ab\xC0\x00";
    for (size_t i = 0; i < sizeof bytes - 1; i++) {
        net_send(client, bytes + i, 1);
    }
    assert_int_equal(fake.submit_count, 1);
    fake_result(0, REASON_OK, 1);
    expect(0xD0, "", 0);
    expect(0x40, "\x00\x07", 2);
    net_hang_up(client);
}

static void test_large_packets_and_too_large_ones(void **state) {
    (void)state;
    static char payload[131000];
    memset(payload, 'x', sizeof payload - 1);
    log_in(5);
    publish(5, 1, 7, "pipit/u/bob/send", payload); /* a packet, but too long a text */
    expect(0x40, "\x00\x07", 2);
    assert_true(got[2] >= 0x80);
    net_send(client, "\x32\xFF\xFF\xFF\x7F", 5);
    expect(0xE0, "\x95", 1);
    net_hang_up(client);
}

static void test_memory_of_an_idle_connection(void **state) {
    (void)state;
    log_in_subscribed(5);
    struct conn *conn =
        CONTAINER_OF(list_first(&net.table->states[CONN_LIVE]), struct conn, state_node);
    assert_null(conn->in.bytes);
    assert_null(conn->out.bytes);
    assert_true(mqtt_protocol.object_bytes <= 1024 + sizeof(struct session));
    net_hang_up(client);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_connect_opens_an_exclusive_session),
        T(test_connack_tells_what_the_client_may_do),
        T(test_refused_logins),
        T(test_user_id_is_a_user_name_too),
        T(test_limits_are_refused_in_the_clients_words),
        T(test_empty_client_id_needs_a_clean_session),
        T(test_old_version_gets_connack_1),
        T(test_anything_before_connect_closes),
        T(test_second_connect_is_an_error),
        T(test_packets_behind_connect_wait_for_the_session),
        T(test_silent_socket_is_closed),
        T(test_enhanced_authentication_is_not_offered),
        T(test_puback_means_stored),
        T(test_direct_topic_and_payload_forms),
        T(test_message_id_from_payload_or_correlation),
        T(test_acknowledgement_tells_seq_on_version_5),
        T(test_answers_keep_the_order_of_the_packets),
        T(test_duplicate_carries_its_origin),
        T(test_qos_2_stores_once),
        T(test_refusal_has_a_code_on_version_5),
        T(test_refusal_closes_on_version_3),
        T(test_retryable_failure_is_tried_again_on_version_3),
        T(test_retryable_failure_is_told_on_version_5),
        T(test_rate_limit_pauses_reading),
        T(test_full_batches_pause_reading_for_moments),
        T(test_no_routing_is_told_on_version_5),
        T(test_reading_pauses_until_answers_come),
        T(test_topic_aliases),
        T(test_retained_messages_are_refused),
        T(test_answer_on_the_response_topic),
        T(test_foreign_response_topics_are_ignored),
        T(test_subscriptions_granted_and_refused),
        T(test_inbox_waits_for_its_subscription),
        T(test_cursor_moves_with_puback),
        T(test_qos_0_inbox_moves_the_cursor_at_once),
        T(test_window_stops_the_hub_and_opens_again),
        T(test_feeds),
        T(test_too_large_for_the_client_is_passed_over),
        T(test_subscription_identifiers_are_returned),
        T(test_ping_and_keep_alive),
        T(test_no_keep_alive_on_version_3_means_none),
        T(test_hub_ends_the_session),
        T(test_goodbye_on_the_control_topic),
        T(test_will_is_sent_when_the_client_is_lost),
        T(test_will_is_not_sent_after_disconnect),
        T(test_will_delay_and_return),
        T(test_will_on_another_topic_is_refused),
        T(test_ghosts_go_with_the_table),
        T(test_packets_cut_anywhere),
        T(test_large_packets_and_too_large_ones),
        T(test_memory_of_an_idle_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
