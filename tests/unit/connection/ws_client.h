/* ws_client: the client's side of a socket pair for tests of ws_session. Include in one file of a
 * test program, behind cmocka. */
#ifndef PIPIT_TESTS_WS_CLIENT_H
#define PIPIT_TESTS_WS_CLIENT_H

#include "proto/ws_frame.h"
#include "services/connection/ws_session.h"
#include "tests/unit/connection/fake_net.h"
#include "tests/unit/connection/fake_session.h"

#include <stdio.h>
#include <stdlib.h>

static int client;
static char text[70000]; /* the last frame's payload */

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

/* A UUIDv7 of the frozen clock. */
static inline const char *uuid_now(unsigned number) {
    static char uuid[37];
    (void)snprintf(uuid, sizeof uuid, "%08x-%04x-7000-8000-%012x", (unsigned)(NET_WALL_MS >> 16),
                   (unsigned)(NET_WALL_MS & 0xFFFF), number);
    return uuid;
}

static inline void send_frame(enum ws_opcode opcode, const void *payload, size_t count) {
    uint8_t frame[70000];
    static const uint8_t mask[4] = {1, 2, 3, 4};
    size_t head = ws_header(frame, opcode, count, mask);
    memcpy(frame + head, payload, count);
    ws_mask(frame + head, count, mask, 0);
    net_send(client, frame, head + count);
}

static inline void send_text(const char *json) {
    send_frame(WS_TEXT, json, strlen(json));
}

/* Takes the next frame the server sent; false when there is none. */
static inline bool next_frame(enum ws_opcode *opcode) {
    net_receive(client);
    if (net.read_bytes < 2) {
        return false;
    }
    size_t head = 2;
    size_t count = net.read[1] & 0x7F;
    assert_true((net.read[1] & 0x80) == 0);
    if (count == 126) {
        head = 4;
        count = (size_t)net.read[2] << 8 | net.read[3];
    } else if (count == 127) {
        head = 10;
        count = (size_t)net.read[6] << 24 | (size_t)net.read[7] << 16 | (size_t)net.read[8] << 8 |
                net.read[9];
    }
    assert_true(net.read_bytes >= head + count && count < sizeof text);
    *opcode = net.read[0] & 0x0F;
    memcpy(text, net.read + head, count);
    text[count] = '\0';
    net_drop_read(head + count);
    return true;
}

static inline void expect_text(const char *part) {
    enum ws_opcode opcode;
    assert_true(next_frame(&opcode));
    assert_int_equal(opcode, WS_TEXT);
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" is not in %s", part, text);
    }
}

static inline void expect_close(uint16_t code) {
    enum ws_opcode opcode;
    assert_true(next_frame(&opcode));
    assert_int_equal(opcode, WS_CLOSE);
    assert_int_equal((uint8_t)text[0] << 8 | (uint8_t)text[1], code);
}

static inline void expect_nothing(void) {
    enum ws_opcode opcode;
    if (next_frame(&opcode)) {
        fail_msg("unexpected frame %d: %s", opcode, text);
    }
}

static inline void shake_hands(const char *more) {
    char request[1024];
    (void)snprintf(request, sizeof request,
                   "GET /v1/ws HTTP/1.1\r\nHost: pi.local:8083\r\nUpgrade: websocket\r\n"
                   "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: pipit.v1\r\n%s\r\n",
                   more);
    client = net_connect(&ws_protocol, REASON_OK);
    net_send(client, request, strlen(request));
}

static inline void expect_status(const char *status) {
    net_receive(client);
    assert_true(net.read_bytes > 20);
    assert_memory_equal(net.read, status, strlen(status));
    uint8_t *end = memmem(net.read, net.read_bytes, "\r\n\r\n", 4);
    assert_non_null(end);
    net_drop_read((size_t)(end - net.read) + 4);
}

static inline void connect_ws(void) {
    shake_hands("");
    expect_status("HTTP/1.1 101");
    expect_text("\"t\":\"hello\"");
}

static inline void log_in(void) {
    connect_ws();
    send_text("{\"t\":\"auth\",\"id\":1,\"d\":{\"token\":\"good\"}}");
    assert_int_equal(fake.opens, 1);
    expect_nothing();
    fake.session->ops->on_opened(fake.session, REASON_OK);
    expect_text("{\"t\":\"ok\",\"id\":1,\"d\":{\"user\":\"u_ann\",\"device\":\"d_1\"");
}

static inline void send_message(unsigned id) {
    char json[256];
    (void)snprintf(json, sizeof json,
                   "{\"t\":\"send\",\"id\":%u,\"d\":{\"conversation\":\"c_fam\",\"message\":\"%s\","
                   "\"body\":{\"text\":\"hi\"}}}",
                   id, uuid_now(id));
    send_text(json);
}

#endif
