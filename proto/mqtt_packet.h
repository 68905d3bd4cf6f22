/* mqtt_packet: MQTT 3.1.1 and 5.0 control packets between bytes and structs. Decoding hands out
 * slices of the input and allocates nothing; encoding appends whole packets to a buffer. No session
 * state here: what may follow what is the session's business (mqtt_session.c of connection).
 *
 * Sources: "MQTT Version 3.1.1" (OASIS, 2014-10-29) and "MQTT Version 5.0" (OASIS, 2019-03-07);
 * clause numbers in the code are of 5.0 unless marked v3. */
#ifndef PIPIT_PROTO_MQTT_PACKET_H
#define PIPIT_PROTO_MQTT_PACKET_H

#include "common/buf.h"
#include "proto/limits.h"
#include "proto/reason.h"
#include "proto/slice.h"

enum mqtt_type {
    MQTT_CONNECT = 1,
    MQTT_CONNACK = 2,
    MQTT_PUBLISH = 3,
    MQTT_PUBACK = 4,
    MQTT_PUBREC = 5,
    MQTT_PUBREL = 6,
    MQTT_PUBCOMP = 7,
    MQTT_SUBSCRIBE = 8,
    MQTT_SUBACK = 9,
    MQTT_UNSUBSCRIBE = 10,
    MQTT_UNSUBACK = 11,
    MQTT_PINGREQ = 12,
    MQTT_PINGRESP = 13,
    MQTT_DISCONNECT = 14,
    MQTT_AUTH = 15
};
/* "PUBLISH"; never NULL. */
const char *mqtt_type_name(enum mqtt_type type);

/* The protocol level byte of CONNECT. */
enum mqtt_version { MQTT_V3 = 4, MQTT_V5 = 5 };

/* --- properties (MQTT 5, section 2.2.2)
 * ------------------------------------------------------------ */

/* Bits of mqtt_properties.present. */
enum mqtt_property {
    MQTT_HAS_PAYLOAD_FORMAT = 1 << 0,
    MQTT_HAS_MESSAGE_EXPIRY = 1 << 1,
    MQTT_HAS_CONTENT_TYPE = 1 << 2,
    MQTT_HAS_RESPONSE_TOPIC = 1 << 3,
    MQTT_HAS_CORRELATION_DATA = 1 << 4,
    MQTT_HAS_SUBSCRIPTION_ID = 1 << 5,
    MQTT_HAS_SESSION_EXPIRY = 1 << 6,
    MQTT_HAS_ASSIGNED_CLIENT_ID = 1 << 7,
    MQTT_HAS_SERVER_KEEP_ALIVE = 1 << 8,
    MQTT_HAS_AUTH_METHOD = 1 << 9,
    MQTT_HAS_AUTH_DATA = 1 << 10,
    MQTT_HAS_REQUEST_PROBLEM = 1 << 11,
    MQTT_HAS_WILL_DELAY = 1 << 12,
    MQTT_HAS_REQUEST_RESPONSE = 1 << 13,
    MQTT_HAS_RESPONSE_INFORMATION = 1 << 14,
    MQTT_HAS_SERVER_REFERENCE = 1 << 15,
    MQTT_HAS_REASON_STRING = 1 << 16,
    MQTT_HAS_RECEIVE_MAXIMUM = 1 << 17,
    MQTT_HAS_TOPIC_ALIAS_MAXIMUM = 1 << 18,
    MQTT_HAS_TOPIC_ALIAS = 1 << 19,
    MQTT_HAS_MAXIMUM_QOS = 1 << 20,
    MQTT_HAS_RETAIN_AVAILABLE = 1 << 21,
    MQTT_HAS_MAXIMUM_PACKET_BYTES = 1 << 22,
    MQTT_HAS_WILDCARD_AVAILABLE = 1 << 23,
    MQTT_HAS_SUBSCRIPTION_ID_AVAILABLE = 1 << 24,
    MQTT_HAS_SHARED_AVAILABLE = 1 << 25
};

struct mqtt_user_property {
    struct slice name, value;
};

/* Properties of one packet or will. A member counts only when its bit is set in `present`; the
 * decoder fills absent ones with the default of the specification where there is one. */
struct mqtt_properties {
    uint32_t present;
    uint8_t payload_format; /* 1 = UTF-8 text */
    uint8_t maximum_qos;    /* 0 or 1 */
    bool request_problem;   /* default true */
    bool request_response;  /* default false */
    bool retain_available, wildcard_available, subscription_id_available, shared_available;
    uint16_t server_keep_alive_s;
    uint16_t receive_maximum;     /* default 65535; never 0 */
    uint16_t topic_alias_maximum; /* default 0 */
    uint16_t topic_alias;         /* never 0 */
    uint32_t message_expiry_s;
    uint32_t session_expiry_s; /* 0xFFFFFFFF = never */
    uint32_t will_delay_s;
    uint32_t maximum_packet_bytes; /* never 0 */
    uint32_t subscription_id;      /* SUBSCRIBE; 1..268435455 */
    struct slice content_type, response_topic, correlation_data;
    struct slice assigned_client_id, auth_method, auth_data;
    struct slice response_information, server_reference, reason_string;

    /* User properties, order kept. Decoded: the raw block, walked by mqtt_user_property_next; the
     * encoder copies the pairs of the block (so a broker forwards what it received,
     * [MQTT-3.3.2-17]), then those of the array. */
    struct slice block;
    size_t user_property_count;                       /* in block */
    const struct mqtt_user_property *user_properties; /* encoding only */
    size_t user_properties_count;
    /* Encoding a PUBLISH to a subscriber: ids of all matching subscriptions ([MQTT-3.3.4-3]). */
    const uint32_t *subscription_ids;
    size_t subscription_ids_count;
};
/* Empty, with the defaults. */
void mqtt_properties_init(struct mqtt_properties *properties);
/* Walks the user properties of a decoded block; *offset begins at 0. False at the end. */
bool mqtt_user_property_next(const struct mqtt_properties *properties, size_t *offset,
                             struct mqtt_user_property *property);

/* --- packets
 * --------------------------------------------------------------------------------------- */

struct mqtt_will {
    struct slice topic, payload;
    uint8_t qos;
    bool retain;
    struct mqtt_properties properties;
};
struct mqtt_connect {
    enum mqtt_version version;
    bool clean_start; /* v3: clean session */
    bool has_will, has_user_name, has_password;
    uint16_t keep_alive_s;  /* 0 = off */
    struct slice client_id; /* may be empty */
    struct slice user_name, password;
    struct mqtt_will will;
    struct mqtt_properties properties;
};
struct mqtt_publish {
    bool dup, retain;
    uint8_t qos;        /* 0..2 */
    uint16_t packet_id; /* 0 with QoS 0 */
    struct slice topic; /* empty only with a topic alias (v5) */
    struct slice payload;
    struct mqtt_properties properties;
};
/* PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT, AUTH. */
struct mqtt_ack {
    uint16_t packet_id; /* 0 in DISCONNECT and AUTH */
    uint8_t code;       /* reason code; 0 when the packet has none */
    struct mqtt_properties properties;
};
/* SUBSCRIBE and UNSUBSCRIBE. */
struct mqtt_subscribe {
    uint16_t packet_id;
    size_t filter_count;  /* 1..LIMIT_MQTT_FILTERS */
    struct slice filters; /* raw; walked by mqtt_filter_next */
    struct mqtt_properties properties;
};
struct mqtt_packet {
    enum mqtt_type type;
    enum mqtt_version version;
    union {
        struct mqtt_connect connect;
        struct mqtt_publish publish;
        struct mqtt_ack ack;
        struct mqtt_subscribe subscribe;
    };
};

/* --- decoding (mqtt_decode*.c)
 * --------------------------------------------------------------------- */

/* Decodes the packet a client sent at the front of bytes[count]. version is of the session and
 * ignored by CONNECT, which brings its own. *packet_bytes: the packet's size, to drop from the
 * front. ERR_MORE: incomplete; *packet_bytes is then what it needs in all (2..5 while unknown).
 * ERR_INVALID: *reason is MALFORMED (0x81), PROTOCOL_ERROR (0x82), TOO_LARGE (packet_bytes_max, or
 * a LIMIT_MQTT_* of one packet), PROTOCOL_TOO_OLD (CONNECT of another version), TOPIC_INVALID,
 * FILTER_INVALID, TOPIC_ALIAS_INVALID, BAD_UTF8 (v3 and v5: close; no answer but CONNACK). Types
 * that only servers send are PROTOCOL_ERROR. *packet borrows the bytes; on failure only
 * packet->version counts: of a CONNECT it is the dialect for a refusing CONNACK, 0 when none could
 * be told (close without an answer). */
enum err mqtt_decode(const uint8_t *bytes, size_t count, enum mqtt_version version,
                     size_t packet_bytes_max, struct mqtt_packet *packet, size_t *packet_bytes,
                     enum reason *reason) MUST_CHECK;

struct mqtt_filter {
    struct slice filter;
    uint8_t qos; /* SUBSCRIBE: 0..2 */
    bool no_local;
    bool retain_as_published;
    uint8_t retain_handling; /* 0..2 */
};
/* Walks the topic filters of a decoded SUBSCRIBE or UNSUBSCRIBE; *offset begins at 0. The filters
 * passed mqtt_filter_valid. False at the end. */
bool mqtt_filter_next(const struct mqtt_packet *packet, size_t *offset, struct mqtt_filter *filter);

/* --- encoding (mqtt_encode*.c)
 * --------------------------------------------------------------------- */
/* All append one packet or nothing: ERR_NO_MEMORY, ERR_TOO_LARGE (the buffer's cap or the
 * protocol's 268,435,455 bytes). properties may be NULL; they are ignored for MQTT_V3. The client's
 * Maximum Packet Size is the caller's to mind ([MQTT-3.1.2-24]): mqtt_publish_bytes tells in
 * advance. */

/* code: reason_mqtt5(..., REASON_IN_CONNACK) or reason_mqtt3_connack. session_present is forced to
 * false with a code other than 0 ([MQTT-3.2.2-6]). */
enum err mqtt_encode_connack(struct buf *out, enum mqtt_version version, bool session_present,
                             uint8_t code, const struct mqtt_properties *properties) MUST_CHECK;
/* publish->properties count for v5 only. */
enum err mqtt_encode_publish(struct buf *out, enum mqtt_version version,
                             const struct mqtt_publish *publish) MUST_CHECK;
/* Size of that packet, headers included; SIZE_MAX when it cannot be encoded. */
size_t mqtt_publish_bytes(enum mqtt_version version, const struct mqtt_publish *publish);
/* PUBACK, PUBREC, PUBREL or PUBCOMP; v3 has no code and leaves it out. */
enum err mqtt_encode_ack(struct buf *out, enum mqtt_version version, enum mqtt_type type,
                         uint16_t packet_id, uint8_t code,
                         const struct mqtt_properties *properties) MUST_CHECK;
/* One code per filter, in the order of the SUBSCRIBE ([MQTT-3.8.4-6]). v3 takes 0, 1, 2 and 0x80;
 * other failures are written as 0x80 there. */
enum err mqtt_encode_suback(struct buf *out, enum mqtt_version version, uint16_t packet_id,
                            const uint8_t *codes, size_t count,
                            const struct mqtt_properties *properties) MUST_CHECK;
/* v3 has no codes: they are left out. */
enum err mqtt_encode_unsuback(struct buf *out, enum mqtt_version version, uint16_t packet_id,
                              const uint8_t *codes, size_t count,
                              const struct mqtt_properties *properties) MUST_CHECK;
enum err mqtt_encode_pingresp(struct buf *out) MUST_CHECK;
/* v5 only: a 3.1.1 server has no DISCONNECT and just closes. */
enum err mqtt_encode_disconnect(struct buf *out, uint8_t code,
                                const struct mqtt_properties *properties) MUST_CHECK;

#endif
