/* pipit.v1 over WebSocket for the load generator: handshake, auth, send with a fresh UUIDv7, ok,
 * msg. Frames are masked with zero, which is a valid mask and costs nothing. */
#include "loadtest/client.h"

#include "common/clock.h"
#include "common/id.h"
#include <stdio.h>
#include <string.h>

static void put(struct client *client, const void *bytes, size_t count) {
    if (buf_append(&client->out, bytes, count) != ERR_OK) {
        __builtin_trap(); /* the generator has no memory: the run is void */
    }
}

static void put_frame(struct client *client, uint8_t opcode, const char *text, size_t bytes) {
    uint8_t head[8] = {(uint8_t)(0x80 | opcode)};
    size_t length = 2;
    if (bytes < 126) {
        head[1] = (uint8_t)(0x80 | bytes);
    } else {
        head[1] = 0x80 | 126;
        head[2] = (uint8_t)(bytes >> 8);
        head[3] = (uint8_t)(bytes & 0xff);
        length = 4;
    }
    put(client, head, length + 4); /* a mask of four zero bytes */
    put(client, text, bytes);
}

static void greet(struct client *client) {
    static const char request[] =
        "GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: pipit.v1\r\n\r\n";
    put(client, request, sizeof request - 1);
}

static void login(struct client *client) {
    char text[1200];
    int bytes = snprintf(text, sizeof text, "{\"t\":\"auth\",\"id\":1,\"d\":{\"token\":\"%s\"}}",
                         client->token);
    put_frame(client, 1, text, (size_t)bytes);
}

static void send_message(struct client *client, const char *payload, size_t payload_bytes) {
    uint8_t uuid[ID_UUID_BYTES];
    char id[ID_UUID_TEXT_BYTES], text[4096];
    id_uuid7_make(clock_wall_ms(), uuid);
    id_uuid_format(uuid, id);
    client->packet_id++;
    int bytes = snprintf(text, sizeof text,
                         "{\"t\":\"send\",\"id\":%u,\"d\":{\"%s\":\"%s\",\"message\":\"%s\","
                         "\"body\":{\"text\":\"%.*s\"}}}",
                         client->packet_id + 1, client->target_is_group ? "conversation" : "to",
                         client->target, id, (int)payload_bytes, payload);
    put_frame(client, 1, text, (size_t)bytes);
}

static bool starts(const uint8_t *text, size_t bytes, const char *prefix) {
    size_t length = strlen(prefix);
    return bytes >= length && memcmp(text, prefix, length) == 0;
}

static bool text_frame(struct client *client, const uint8_t *text, size_t bytes) {
    if (starts(text, bytes, "{\"t\":\"hello\"")) {
        login(client);
    } else if (starts(text, bytes, "{\"t\":\"ok\"")) {
        if (client->ready) {
            client->events->on_acked(client, 1);
        } else {
            client->ready = true;
            client->events->on_ready(client);
        }
    } else if (starts(text, bytes, "{\"t\":\"msg\"")) {
        client_report_mark(client, text, bytes);
    } else if (starts(text, bytes, "{\"t\":\"err\"")) {
        client->events->on_refused(client, (const char *)text, bytes);
    }
    return true;
}

static bool parse(struct client *client) {
    if (!client->upgraded) { /* the handshake's answer comes first */
        const uint8_t *bytes = buf_data(&client->in);
        size_t count = buf_len(&client->in);
        const uint8_t *end = memmem(bytes, count, "\r\n\r\n", 4);
        if (end == NULL) {
            return count < 4096;
        }
        if (!starts(bytes, count, "HTTP/1.1 101")) {
            client->events->on_refused(client, (const char *)bytes, count);
            return false;
        }
        client->upgraded = true;
        buf_consume(&client->in, (size_t)(end - bytes) + 4);
    }
    while (buf_len(&client->in) >= 2) {
        const uint8_t *bytes = buf_data(&client->in);
        size_t available = buf_len(&client->in), head = 2, length = bytes[1] & 0x7f;
        if (length == 126) {
            head = 4;
            length = available >= 4 ? (size_t)bytes[2] << 8 | bytes[3] : 0;
        } else if (length == 127) {
            return false; /* the server's frames are at most 64 KiB */
        }
        if (available < head + length || available < head) {
            return true;
        }
        uint8_t opcode = bytes[0] & 0x0f;
        if (opcode == 8 || (opcode == 1 && !text_frame(client, bytes + head, length))) {
            return false;
        }
        if (opcode == 9) {
            put_frame(client, 10, (const char *)bytes + head, length);
        }
        buf_consume(&client->in, head + length);
    }
    return true;
}

static void ping(struct client *client) {
    static const char text[] = "{\"t\":\"ping\"}";
    put_frame(client, 1, text, sizeof text - 1);
}

const struct client_protocol client_ws = {greet, parse, send_message, ping};
