/* hub_routing_life: how the scripted routing instance of hub_routing.h starts, dies like a process
 * and ends. Include behind cmocka. */
#ifndef PIPIT_TESTS_HUB_ROUTING_LIFE_H
#define PIPIT_TESTS_HUB_ROUTING_LIFE_H

#include "tests/unit/connection/hub_routing.h"

static inline void routing_open(struct routing_script *routing) {
    assert_int_equal(stream_publisher_create(routing->loop, routing->bus, routing->pub_url, 16,
                                             &routing->publisher),
                     ERR_OK);
    assert_int_equal(bus_server_create(routing->bus, routing->rep_url, 64, routing_on_request,
                                       routing, &routing->server),
                     ERR_OK);
}

/* As a process that dies: what it knew is gone. */
static inline void routing_kill(struct routing_script *routing) {
    routing_spoil_held(routing);
    if (routing->server != NULL) {
        bus_server_close(&routing->server);
    }
    stream_publisher_destroy(&routing->publisher);
    routing->endpoint = routing->update_seq = 0;
    routing->conversation_count = routing->session_count = 0;
}

static inline void routing_start(struct routing_script *routing, struct loop *loop, struct bus *bus,
                                 struct hub_store *store, const char *address) {
    routing->loop = loop;
    routing->bus = bus;
    routing->store = store;
    arena_init(&routing->arena, 65536, 64u << 20);
    buf_init(&routing->out, 8u << 20);
    assert_int_equal(bus_url_derive(address, BUS_URL_REP, routing->rep_url), ERR_OK);
    assert_int_equal(bus_url_derive(address, BUS_URL_PUB, routing->pub_url), ERR_OK);
    routing_open(routing);
}

static inline void routing_finish(struct routing_script *routing) {
    if (routing->publisher != NULL) {
        routing_kill(routing);
    }
    arena_finish(&routing->arena);
    buf_finish(&routing->out);
}

#endif
