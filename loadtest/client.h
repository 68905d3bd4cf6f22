/* client: one chat connection of the load generator, MQTT 3.1.1 or pipit.v1 over WebSocket. It
 * knows just enough of the protocol to log in, send, acknowledge and find the generator's mark in
 * what arrives. */
#ifndef PIPIT_LOADTEST_CLIENT_H
#define PIPIT_LOADTEST_CLIENT_H

#include "common/buf.h"
#include "common/loop.h"

struct client;
struct client_events {
    void (*on_ready)(struct client *client);
    /* One of our sends was acknowledged as durable; `count` at once, oldest first. */
    void (*on_acked)(struct client *client, uint32_t count);
    /* The generator's mark inside a received message. */
    void (*on_message)(struct client *client, uint32_t sender, uint32_t number, uint64_t sent_us);
    void (*on_refused)(struct client *client, const char *text, size_t bytes);
    void (*on_closed)(struct client *client);
};
struct client_protocol {
    void (*greet)(struct client *client); /* after connect */
    /* Consumes whole packets from client->in. False: protocol error, close. */
    bool (*parse)(struct client *client);
    /* Appends one message of `text` to client->out. */
    void (*send)(struct client *client, const char *text, size_t bytes);
    void (*ping)(struct client *client);
};
extern const struct client_protocol client_mqtt, client_ws;

#define LOAD_NAME_BYTES 64

struct engine;
struct client {
    struct loop_fd watch;
    struct loop *loop;
    struct engine *engine;
    const struct client_protocol *protocol;
    const struct client_events *events;
    struct buf in, out;
    char id[16]; /* of the MQTT client */
    char name[LOAD_NAME_BYTES], token[1024];
    char target[160];     /* MQTT: topic to publish to; WebSocket: user or conversation */
    bool target_is_group; /* WebSocket */
    char inbox[96];       /* MQTT: subscribed topic; "": none */
    uint8_t inbox_qos;
    uint16_t port; /* at 127.0.0.1 */
    uint32_t index, packet_id;
    bool connected, ready, upgraded;
    /* chat.c */
    uint32_t sent, acked, in_flight;
    uint64_t *sent_at_us; /* ring: when unanswered sends were due */
    /* the scenario's */
    uint64_t next_due_us;
    struct loop_timer retry;
    uint32_t retries;
};

/* Connects in the background. Exits the process when sockets run out. */
void client_open(struct client *client);
void client_close(struct client *client);
void client_flush(struct client *client); /* one write of what was appended */
/* Finds "~sender.number.sent_us~" and reports it. */
void client_report_mark(struct client *client, const uint8_t *payload, size_t bytes);

#endif
