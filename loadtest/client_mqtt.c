/* MQTT 3.1.1 for the load generator: CONNECT, SUBSCRIBE to the inbox, PUBLISH at QoS 1, PUBACK both
 * ways. The same client drives Pipit and, with other topics, an ordinary broker beside it. */
#include "loadtest/client.h"

#include <string.h>

static void put(struct client *client, const void *bytes, size_t count) {
    if (buf_append(&client->out, bytes, count) != ERR_OK) {
        __builtin_trap(); /* the generator has no memory: the run is void */
    }
}

static void put_header(struct client *client, uint8_t first, size_t remaining) {
    uint8_t head[5] = {first};
    size_t length = 1;
    do {
        head[length] = (uint8_t)(remaining & 0x7f);
        remaining >>= 7;
        head[length] |= remaining > 0 ? 0x80 : 0;
        length++;
    } while (remaining > 0);
    put(client, head, length);
}

static void put_text(struct client *client, const char *text) {
    size_t length = strlen(text);
    uint8_t head[2] = {(uint8_t)(length >> 8), (uint8_t)(length & 0xff)};
    put(client, head, 2);
    put(client, text, length);
}

static void greet(struct client *client) {
    bool login = client->token[0] != '\0';
    size_t bytes = 10 + 2 + strlen(client->id);
    bytes += login ? 4 + strlen(client->name) + strlen(client->token) : 0;
    put_header(client, 0x10, bytes);
    put_text(client, "MQTT");
    const uint8_t rest[4] = {4, login ? 0xc2 : 0x02, 0x02, 0x58}; /* clean, keep-alive 600 s */
    put(client, rest, 4);
    put_text(client, client->id);
    if (login) {
        put_text(client, client->name);
        put_text(client, client->token);
    }
}

static void subscribe(struct client *client) {
    put_header(client, 0x82, 2 + 2 + strlen(client->inbox) + 1);
    put(client, "\x00\x01", 2);
    put_text(client, client->inbox);
    put(client, &client->inbox_qos, 1);
}

static void send_message(struct client *client, const char *text, size_t bytes) {
    client->packet_id = client->packet_id >= 0xfffe ? 1 : client->packet_id + 1;
    put_header(client, 0x32, 2 + strlen(client->target) + 2 + bytes);
    put_text(client, client->target);
    uint8_t id[2] = {(uint8_t)(client->packet_id >> 8), (uint8_t)(client->packet_id & 0xff)};
    put(client, id, 2);
    put(client, text, bytes);
}

static void received_publish(struct client *client, uint8_t first, const uint8_t *body,
                             size_t bytes) {
    size_t topic = bytes >= 2 ? (size_t)body[0] << 8 | body[1] : 0;
    size_t offset = 2 + topic;
    unsigned qos = (first >> 1) & 3u;
    if (qos > 0 && bytes >= offset + 2) {
        uint8_t ack[4] = {0x40, 2, body[offset], body[offset + 1]};
        put(client, ack, 4);
        offset += 2;
    }
    if (offset <= bytes) {
        client_report_mark(client, body + offset, bytes - offset);
    }
}

static bool packet(struct client *client, uint8_t first, const uint8_t *body, size_t bytes) {
    switch (first >> 4) {
    case 2:
        if (bytes < 2 || body[1] != 0) {
            client->events->on_refused(client, "CONNACK", 7);
            return false;
        }
        if (client->inbox[0] != '\0') {
            subscribe(client);
            return true;
        }
        client->ready = true;
        client->events->on_ready(client);
        return true;
    case 9:
        client->ready = true;
        client->events->on_ready(client);
        return true;
    case 4:
        client->events->on_acked(client, 1);
        return true;
    case 3:
        received_publish(client, first, body, bytes);
        return true;
    default:
        return true;
    }
}

static bool parse(struct client *client) {
    while (buf_len(&client->in) >= 2) {
        const uint8_t *bytes = buf_data(&client->in);
        size_t available = buf_len(&client->in), remaining = 0, position = 1;
        unsigned shift = 0;
        bool whole = false;
        while (position < available && position < 5) {
            remaining |= (size_t)(bytes[position] & 0x7f) << shift;
            shift += 7;
            whole = (bytes[position++] & 0x80) == 0;
            if (whole) {
                break;
            }
        }
        if (!whole) {
            return position < 5;
        }
        if (available < position + remaining) {
            return true;
        }
        if (!packet(client, bytes[0], bytes + position, remaining)) {
            return false;
        }
        buf_consume(&client->in, position + remaining);
    }
    return true;
}

static void ping(struct client *client) {
    put(client, "\xc0\x00", 2);
}

const struct client_protocol client_mqtt = {greet, parse, send_message, ping};
