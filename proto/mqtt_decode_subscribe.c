/* SUBSCRIBE and UNSUBSCRIBE (5.0 sections 3.8, 3.10).
 *
 * All filters are checked before the first is handed out, because a packet with a malformed one
 * ends the connection and must not have subscribed to anything. They stay in the packet; the walk
 * that follows reads the same bytes again without checks. */
#include "proto/mqtt_wire.h"

#include "proto/mqtt_topic.h"

#define OPTION_QOS 0x03
#define OPTION_NO_LOCAL 0x04
#define OPTION_RETAIN_AS_PUBLISHED 0x08
#define OPTION_RETAIN_HANDLING 0x30

static enum reason check_options(uint8_t options, enum mqtt_version version, struct slice filter) {
    struct slice share, inner;
    if ((options & OPTION_QOS) == 3) {
        return REASON_MALFORMED; /* v3 [MQTT-3.8.3-4]; 5.0 section 3.8.3.1 */
    }
    if (version == MQTT_V3) {
        return (options & ~OPTION_QOS) == 0 ? REASON_OK : REASON_MALFORMED; /* v3 [MQTT-3-8.3-4] */
    }
    if ((options & 0xC0) != 0) {
        return REASON_MALFORMED; /* [MQTT-3.8.3-5] */
    }
    if ((options & OPTION_RETAIN_HANDLING) == OPTION_RETAIN_HANDLING) {
        return REASON_PROTOCOL_ERROR;
    }
    if ((options & OPTION_NO_LOCAL) != 0 && mqtt_filter_shared(filter, &share, &inner)) {
        return REASON_PROTOCOL_ERROR; /* [MQTT-3.8.3-4] */
    }
    return REASON_OK;
}

static enum reason check_filter(struct mqtt_cursor *cursor, const struct mqtt_packet *packet) {
    struct slice filter;
    uint8_t options;
    enum reason reason = mqtt_take_string(cursor, &filter);
    if (reason != REASON_OK) {
        return reason;
    }
    if (!mqtt_filter_valid(filter)) {
        return REASON_FILTER_INVALID;
    }
    if (packet->type == MQTT_UNSUBSCRIBE) {
        return REASON_OK;
    }
    if (mqtt_take_u8(cursor, &options) != REASON_OK) {
        return REASON_MALFORMED;
    }
    return check_options(options, packet->version, filter);
}

enum reason mqtt_decode_subscribe(struct mqtt_cursor *cursor, struct mqtt_packet *packet) {
    struct mqtt_subscribe *subscribe = &packet->subscribe;
    enum reason reason = mqtt_take_packet_id(cursor, &subscribe->packet_id);
    mqtt_properties_init(&subscribe->properties);
    if (reason == REASON_OK && packet->version == MQTT_V5) {
        reason = mqtt_take_properties(cursor, packet->type, &subscribe->properties);
    }
    if (reason != REASON_OK) {
        return reason;
    }
    if (mqtt_left(cursor) == 0) {
        return REASON_PROTOCOL_ERROR; /* [MQTT-3.8.3-2] [MQTT-3.10.3-2] */
    }
    subscribe->filters = slice_make(cursor->at, mqtt_left(cursor));
    while (mqtt_left(cursor) > 0) {
        reason = check_filter(cursor, packet);
        if (reason == REASON_OK && ++subscribe->filter_count > LIMIT_MQTT_FILTERS) {
            reason = REASON_TOO_LARGE;
        }
        if (reason != REASON_OK) {
            return reason;
        }
    }
    return REASON_OK;
}

bool mqtt_filter_next(const struct mqtt_packet *packet, size_t *offset,
                      struct mqtt_filter *filter) {
    const struct slice *filters = &packet->subscribe.filters;
    if (*offset >= filters->count) {
        return false;
    }
    struct mqtt_cursor cursor = {.at = filters->bytes + *offset,
                                 .end = filters->bytes + filters->count};
    uint8_t options = 0;
    *filter = (struct mqtt_filter){0};
    if (mqtt_take_binary(&cursor, &filter->filter) != REASON_OK ||
        (packet->type == MQTT_SUBSCRIBE && mqtt_take_u8(&cursor, &options) != REASON_OK)) {
        return false; /* cannot be: the packet was checked */
    }
    filter->qos = options & OPTION_QOS;
    filter->no_local = (options & OPTION_NO_LOCAL) != 0;
    filter->retain_as_published = (options & OPTION_RETAIN_AS_PUBLISHED) != 0;
    filter->retain_handling = (uint8_t)((options & OPTION_RETAIN_HANDLING) >> 4);
    *offset = (size_t)(cursor.at - filters->bytes);
    return true;
}
