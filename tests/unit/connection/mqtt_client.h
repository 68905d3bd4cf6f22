/* mqtt_client: the client's side of a socket pair for tests of mqtt_session: packets built byte by
 * byte, the server's packets taken apart. Include in one file of a test program, behind cmocka. */
#ifndef PIPIT_TESTS_MQTT_CLIENT_H
#define PIPIT_TESTS_MQTT_CLIENT_H

#include "services/connection/mqtt_session.h"
#include "tests/unit/connection/fake_net.h"
#include "tests/unit/connection/fake_session.h"

#include <stdio.h>

static int client;

/* --- packets of the client, built byte by byte */

static uint8_t packet[140000];
static size_t packet_bytes;

static inline void put(const void *bytes, size_t count) {
    memcpy(packet + packet_bytes, bytes, count);
    packet_bytes += count;
}
static inline void put8(unsigned value) {
    packet[packet_bytes++] = (uint8_t)value;
}
static inline void put16(unsigned value) {
    put8(value >> 8);
    put8(value & 0xFF);
}
static inline void put_text(const char *text) {
    put16((unsigned)strlen(text));
    put(text, strlen(text));
}

static inline void send_packet(uint8_t first) {
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

static inline void connect_with(const struct connect_options *options) {
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

static inline struct connect_options usual(unsigned version) {
    return (struct connect_options){.version = version,
                                    .client_id = "phone",
                                    .user = "ann",
                                    .password = "good",
                                    .clean = true,
                                    .keep_alive = 60,
                                    .properties = ""};
}

static inline void publish_flags(unsigned first, unsigned packet_id, const char *topic,
                                 const char *payload, const char *properties,
                                 size_t properties_bytes, unsigned version) {
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

static inline void publish(unsigned version, unsigned qos, unsigned packet_id, const char *topic,
                           const char *payload) {
    publish_flags(0x30 | qos << 1, packet_id, topic, payload, "", 0, version);
}

static inline void subscribe(unsigned version, unsigned packet_id, const char *filter,
                             unsigned qos) {
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
static inline unsigned next_packet(void) {
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

static inline void expect(unsigned first, const void *bytes, size_t count) {
    unsigned type = next_packet();
    if (type != first) {
        fail_msg("packet %02x instead of %02x", type, first);
    }
    assert_true(got_bytes >= count);
    assert_memory_equal(got, bytes, count);
}

static inline void expect_nothing(void) {
    unsigned type = next_packet();
    if (type != 0) {
        fail_msg("unexpected packet %02x %02x", type, got[0]);
    }
}

static inline bool has(const char *text) {
    return memmem(got, got_bytes, text, strlen(text)) != NULL;
}

static inline void expect_ended(void) {
    net_receive(client);
    assert_true(net.closed);
    assert_int_equal(net.read_bytes, 0);
}

static inline void log_in_with(const struct connect_options *options) {
    connect_with(options);
    assert_non_null(fake.session);
    expect_nothing();
    fake.session->ops->on_opened(fake.session, REASON_OK);
    assert_int_equal(next_packet(), 0x20);
    assert_int_equal(got[1], 0);
}

static inline void log_in(unsigned version) {
    struct connect_options options = usual(version);
    log_in_with(&options);
}

static inline void log_in_subscribed(unsigned version) {
    log_in(version);
    subscribe(version, 1, "pipit/me/#", 1);
    assert_int_equal(next_packet(), 0x90);
    assert_int_equal(got[got_bytes - 1], 1);
}

static inline int set_up(void **state) {
    (void)state;
    fake_reset();
    net_start();
    return 0;
}

static inline int tear_down(void **state) {
    (void)state;
    net_stop();
    return 0;
}

#endif
