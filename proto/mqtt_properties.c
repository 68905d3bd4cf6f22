/* MQTT 5 properties, both ways, by one table: identifier, type, the packets that may carry it, and
 * where it lives in struct mqtt_properties (5.0 table 2-4).
 *
 * A property that is given twice, in a packet that does not know it, or with a value outside its
 * range ends the connection: the specification calls each of these a protocol error. User
 * properties are counted and left where they are, as part of the raw block, so a packet full of
 * them costs one pass and no memory (CVE-2021-41039 spent seconds on them). The encoder leaves out
 * what the packet may not carry, so that a will's or a publisher's properties can be handed on as
 * they are. */
#include "proto/mqtt_wire.h"

#include "proto/mqtt_topic.h"

#define USER_PROPERTY 0x26
#define SUBSCRIPTION_ID 0x0B
#define ID_COUNT 0x2B

enum type {
    TYPE_NONE,
    TYPE_BOOL,
    TYPE_U8,
    TYPE_U16,
    TYPE_U32,
    TYPE_VARINT,
    TYPE_STRING,
    TYPE_BINARY
};

enum {
    IN_WILL = 1 << MQTT_IN_WILL,
    IN_CONNECT = 1 << MQTT_CONNECT,
    IN_CONNACK = 1 << MQTT_CONNACK,
    IN_PUBLISH = 1 << MQTT_PUBLISH,
    IN_ACKS = 1 << MQTT_PUBACK | 1 << MQTT_PUBREC | 1 << MQTT_PUBREL | 1 << MQTT_PUBCOMP,
    IN_SUBSCRIBE = 1 << MQTT_SUBSCRIBE,
    IN_SUBACKS = 1 << MQTT_SUBACK | 1 << MQTT_UNSUBACK,
    IN_DISCONNECT = 1 << MQTT_DISCONNECT,
    IN_AUTH = 1 << MQTT_AUTH
};

struct row {
    uint32_t bit; /* enum mqtt_property */
    enum type type;
    uint32_t packets;
    size_t offset;
};
#define ROW(bit_, type_, packets_, member)                                                         \
    {.bit = MQTT_HAS_##bit_,                                                                       \
     .type = TYPE_##type_,                                                                         \
     .packets = (packets_),                                                                        \
     .offset = offsetof(struct mqtt_properties, member)}
static const struct row rows[ID_COUNT] = {
    [0x01] = ROW(PAYLOAD_FORMAT, U8, IN_PUBLISH | IN_WILL, payload_format),
    [0x02] = ROW(MESSAGE_EXPIRY, U32, IN_PUBLISH | IN_WILL, message_expiry_s),
    [0x03] = ROW(CONTENT_TYPE, STRING, IN_PUBLISH | IN_WILL, content_type),
    [0x08] = ROW(RESPONSE_TOPIC, STRING, IN_PUBLISH | IN_WILL, response_topic),
    [0x09] = ROW(CORRELATION_DATA, BINARY, IN_PUBLISH | IN_WILL, correlation_data),
    [SUBSCRIPTION_ID] = ROW(SUBSCRIPTION_ID, VARINT, IN_SUBSCRIBE, subscription_id),
    [0x11] = ROW(SESSION_EXPIRY, U32, IN_CONNECT | IN_CONNACK | IN_DISCONNECT, session_expiry_s),
    [0x12] = ROW(ASSIGNED_CLIENT_ID, STRING, IN_CONNACK, assigned_client_id),
    [0x13] = ROW(SERVER_KEEP_ALIVE, U16, IN_CONNACK, server_keep_alive_s),
    [0x15] = ROW(AUTH_METHOD, STRING, IN_CONNECT | IN_CONNACK | IN_AUTH, auth_method),
    [0x16] = ROW(AUTH_DATA, BINARY, IN_CONNECT | IN_CONNACK | IN_AUTH, auth_data),
    [0x17] = ROW(REQUEST_PROBLEM, BOOL, IN_CONNECT, request_problem),
    [0x18] = ROW(WILL_DELAY, U32, IN_WILL, will_delay_s),
    [0x19] = ROW(REQUEST_RESPONSE, BOOL, IN_CONNECT, request_response),
    [0x1A] = ROW(RESPONSE_INFORMATION, STRING, IN_CONNACK, response_information),
    [0x1C] = ROW(SERVER_REFERENCE, STRING, IN_CONNACK | IN_DISCONNECT, server_reference),
    [0x1F] = ROW(REASON_STRING, STRING, IN_CONNACK | IN_ACKS | IN_SUBACKS | IN_DISCONNECT | IN_AUTH,
                 reason_string),
    [0x21] = ROW(RECEIVE_MAXIMUM, U16, IN_CONNECT | IN_CONNACK, receive_maximum),
    [0x22] = ROW(TOPIC_ALIAS_MAXIMUM, U16, IN_CONNECT | IN_CONNACK, topic_alias_maximum),
    [0x23] = ROW(TOPIC_ALIAS, U16, IN_PUBLISH, topic_alias),
    [0x24] = ROW(MAXIMUM_QOS, U8, IN_CONNACK, maximum_qos),
    [0x25] = ROW(RETAIN_AVAILABLE, BOOL, IN_CONNACK, retain_available),
    [0x27] = ROW(MAXIMUM_PACKET_BYTES, U32, IN_CONNECT | IN_CONNACK, maximum_packet_bytes),
    [0x28] = ROW(WILDCARD_AVAILABLE, BOOL, IN_CONNACK, wildcard_available),
    [0x29] = ROW(SUBSCRIPTION_ID_AVAILABLE, BOOL, IN_CONNACK, subscription_id_available),
    [0x2A] = ROW(SHARED_AVAILABLE, BOOL, IN_CONNACK, shared_available),
};

void mqtt_properties_init(struct mqtt_properties *properties) {
    *properties = (struct mqtt_properties){.request_problem = true, .receive_maximum = UINT16_MAX};
}

/* --- reading -----------------------------------------------------------------------------------
 */

static enum reason take_value(struct mqtt_cursor *cursor, enum type type, void *into) {
    uint8_t byte = 0;
    enum reason reason;
    switch (type) {
    case TYPE_BOOL:
        reason = mqtt_take_u8(cursor, &byte);
        if (reason == REASON_OK && byte > 1) {
            return REASON_PROTOCOL_ERROR;
        }
        *(bool *)into = byte != 0;
        return reason;
    case TYPE_U8:
        return mqtt_take_u8(cursor, into);
    case TYPE_U16:
        return mqtt_take_u16(cursor, into);
    case TYPE_U32:
        return mqtt_take_u32(cursor, into);
    case TYPE_VARINT:
        return mqtt_take_varint(cursor, into);
    case TYPE_STRING:
        return mqtt_take_string(cursor, into);
    case TYPE_BINARY:
        return mqtt_take_binary(cursor, into);
    case TYPE_NONE:
        break;
    }
    return REASON_MALFORMED;
}

/* Ranges of values, 5.0 sections 2.2.2, 3.1.2.11, 3.3.2.3, 3.8.2.1. */
static enum reason check_value(uint32_t bit, const struct mqtt_properties *properties) {
    bool is_wrong = false;
    switch (bit) {
    case MQTT_HAS_PAYLOAD_FORMAT:
        is_wrong = properties->payload_format > 1;
        break;
    case MQTT_HAS_SUBSCRIPTION_ID:
        is_wrong = properties->subscription_id == 0;
        break;
    case MQTT_HAS_RECEIVE_MAXIMUM:
        is_wrong = properties->receive_maximum == 0;
        break;
    case MQTT_HAS_MAXIMUM_PACKET_BYTES:
        is_wrong = properties->maximum_packet_bytes == 0;
        break;
    case MQTT_HAS_MAXIMUM_QOS:
        is_wrong = properties->maximum_qos > 1;
        break;
    case MQTT_HAS_TOPIC_ALIAS: /* [MQTT-3.3.2-8] */
        return properties->topic_alias == 0 ? REASON_TOPIC_ALIAS_INVALID : REASON_OK;
    case MQTT_HAS_RESPONSE_TOPIC: /* [MQTT-3.3.2-14] */
        return mqtt_topic_valid(properties->response_topic) ? REASON_OK : REASON_TOPIC_INVALID;
    default:
        break;
    }
    return is_wrong ? REASON_PROTOCOL_ERROR : REASON_OK;
}

static enum reason take_user_property(struct mqtt_cursor *cursor,
                                      struct mqtt_properties *properties) {
    struct mqtt_user_property pair;
    enum reason reason = mqtt_take_string(cursor, &pair.name);
    if (reason == REASON_OK) {
        reason = mqtt_take_string(cursor, &pair.value);
    }
    if (reason == REASON_OK && ++properties->user_property_count > LIMIT_MQTT_USER_PROPERTIES) {
        reason = REASON_TOO_LARGE;
    }
    return reason;
}

static enum reason take_property(struct mqtt_cursor *cursor, unsigned packet,
                                 struct mqtt_properties *properties) {
    uint32_t id;
    if (mqtt_take_varint(cursor, &id) != REASON_OK) {
        return REASON_MALFORMED;
    }
    if (id == USER_PROPERTY) {
        return take_user_property(cursor, properties);
    }
    if (id >= ID_COUNT || rows[id].type == TYPE_NONE) {
        return REASON_MALFORMED;
    }
    const struct row *row = &rows[id];
    if ((row->packets & 1u << packet) == 0 || (properties->present & row->bit) != 0) {
        return REASON_PROTOCOL_ERROR;
    }
    enum reason reason = take_value(cursor, row->type, (char *)properties + row->offset);
    if (reason != REASON_OK) {
        return reason;
    }
    properties->present |= row->bit;
    return check_value(row->bit, properties);
}

enum reason mqtt_take_properties(struct mqtt_cursor *cursor, unsigned packet,
                                 struct mqtt_properties *properties) {
    uint32_t bytes;
    mqtt_properties_init(properties);
    if (mqtt_take_varint(cursor, &bytes) != REASON_OK || bytes > mqtt_left(cursor)) {
        return REASON_MALFORMED;
    }
    struct mqtt_cursor block = {.at = cursor->at, .end = cursor->at + bytes};
    properties->block = slice_make(cursor->at, bytes);
    cursor->at += bytes;
    while (mqtt_left(&block) > 0) {
        enum reason reason = take_property(&block, packet, properties);
        if (reason != REASON_OK) {
            return reason;
        }
    }
    bool has_data = (properties->present & MQTT_HAS_AUTH_DATA) != 0;
    bool has_method = (properties->present & MQTT_HAS_AUTH_METHOD) != 0;
    return has_data && !has_method ? REASON_PROTOCOL_ERROR : REASON_OK; /* 3.1.2.11.10 */
}

bool mqtt_user_property_next(const struct mqtt_properties *properties, size_t *offset,
                             struct mqtt_user_property *property) {
    const struct slice *block = &properties->block;
    if (*offset >= block->count) {
        return false;
    }
    struct mqtt_cursor cursor = {.at = block->bytes + *offset, .end = block->bytes + block->count};
    bool is_found = false;
    uint32_t id;
    while (!is_found && mqtt_left(&cursor) > 0 && mqtt_take_varint(&cursor, &id) == REASON_OK) {
        struct mqtt_properties ignored;
        if (id == USER_PROPERTY) {
            is_found = mqtt_take_binary(&cursor, &property->name) == REASON_OK &&
                       mqtt_take_binary(&cursor, &property->value) == REASON_OK;
        } else if (id >= ID_COUNT || take_value(&cursor, rows[id].type,
                                                (char *)&ignored + rows[id].offset) != REASON_OK) {
            break; /* cannot be: the block was checked */
        }
    }
    *offset = (size_t)(cursor.at - block->bytes);
    return is_found;
}

/* --- writing -----------------------------------------------------------------------------------
 */

static size_t value_bytes(enum type type, const void *from) {
    switch (type) {
    case TYPE_BOOL:
    case TYPE_U8:
        return 1;
    case TYPE_U16:
        return 2;
    case TYPE_U32:
        return 4;
    case TYPE_VARINT:
        return mqtt_varint_bytes(*(const uint32_t *)from);
    case TYPE_STRING:
    case TYPE_BINARY:
        return 2 + ((const struct slice *)from)->count;
    case TYPE_NONE:
        break;
    }
    return 0;
}

static uint8_t *put_value(uint8_t *at, enum type type, const void *from) {
    switch (type) {
    case TYPE_BOOL:
        *at++ = *(const bool *)from ? 1 : 0;
        return at;
    case TYPE_U8:
        *at++ = *(const uint8_t *)from;
        return at;
    case TYPE_U16:
        return mqtt_put_u16(at, *(const uint16_t *)from);
    case TYPE_U32:
        return mqtt_put_u32(at, *(const uint32_t *)from);
    case TYPE_VARINT:
        return mqtt_put_varint(at, *(const uint32_t *)from);
    case TYPE_STRING:
    case TYPE_BINARY:
        return mqtt_put_binary(at, *(const struct slice *)from);
    case TYPE_NONE:
        break;
    }
    return at;
}

static bool is_carried(const struct row *row, unsigned packet, uint32_t present) {
    return (row->packets & 1u << packet) != 0 && (present & row->bit) != 0;
}

/* SIZE_MAX when one of the strings is too long. */
static size_t user_property_bytes(const struct mqtt_user_property *property) {
    if (property->name.count > UINT16_MAX || property->value.count > UINT16_MAX) {
        return SIZE_MAX;
    }
    return 5 + property->name.count + property->value.count;
}

static uint8_t *put_user_property(uint8_t *at, const struct mqtt_user_property *property) {
    *at++ = USER_PROPERTY;
    at = mqtt_put_binary(at, property->name);
    return mqtt_put_binary(at, property->value);
}

static bool carries_subscription_ids(unsigned packet) {
    return packet == MQTT_PUBLISH; /* only the server's, [MQTT-3.3.4-6] */
}

size_t mqtt_properties_bytes(unsigned packet, const struct mqtt_properties *properties) {
    size_t total = 0, offset = 0;
    struct mqtt_user_property pair;
    if (properties == NULL) {
        return 0;
    }
    for (size_t id = 0; id < ID_COUNT; id++) {
        const void *from = (const char *)properties + rows[id].offset;
        if (is_carried(&rows[id], packet, properties->present)) {
            size_t bytes = value_bytes(rows[id].type, from);
            bool is_slice = rows[id].type == TYPE_STRING || rows[id].type == TYPE_BINARY;
            if (is_slice && bytes > UINT16_MAX + 2u) {
                return SIZE_MAX;
            }
            total += 1 + bytes;
        }
    }
    while (mqtt_user_property_next(properties, &offset, &pair)) {
        total += user_property_bytes(&pair);
    }
    for (size_t i = 0; i < properties->user_properties_count; i++) {
        size_t bytes = user_property_bytes(&properties->user_properties[i]);
        if (bytes == SIZE_MAX) {
            return SIZE_MAX;
        }
        total += bytes;
    }
    for (size_t i = 0; carries_subscription_ids(packet) && i < properties->subscription_ids_count;
         i++) {
        total += 1 + mqtt_varint_bytes(properties->subscription_ids[i]);
    }
    return total;
}

uint8_t *mqtt_put_properties(uint8_t *at, unsigned packet,
                             const struct mqtt_properties *properties) {
    size_t offset = 0;
    struct mqtt_user_property pair;
    if (properties == NULL) {
        return at;
    }
    for (size_t id = 0; id < ID_COUNT; id++) {
        if (is_carried(&rows[id], packet, properties->present)) {
            *at++ = (uint8_t)id;
            at = put_value(at, rows[id].type, (const char *)properties + rows[id].offset);
        }
    }
    while (mqtt_user_property_next(properties, &offset, &pair)) {
        at = put_user_property(at, &pair);
    }
    for (size_t i = 0; i < properties->user_properties_count; i++) {
        at = put_user_property(at, &properties->user_properties[i]);
    }
    for (size_t i = 0; carries_subscription_ids(packet) && i < properties->subscription_ids_count;
         i++) {
        *at++ = SUBSCRIPTION_ID;
        at = mqtt_put_varint(at, properties->subscription_ids[i]);
    }
    return at;
}
