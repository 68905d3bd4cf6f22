/* hub_world: a hub on a loop, with scripted routing and auth instances, and clients that remember
 * what a session was given. Everything runs on one thread (the bus's own threads aside); waiting is
 * turning the loop until something is true. Include in one file of a test program, behind cmocka.
 */
#ifndef PIPIT_TESTS_HUB_WORLD_H
#define PIPIT_TESTS_HUB_WORLD_H

#include "common/clock.h"
#include "services/connection/hub.h"
#include "services/connection/hub_metrics.h"
#include "services/connection/session.h"
#include "tests/unit/connection/hub_auth.h"
#include "tests/unit/connection/hub_routing_life.h"
#include <time.h>
#include <unistd.h>

#define WORLD_ROUTINGS 2
#define WORLD_DEADLINE_US 20000000u
#define CLIENT_EVENTS 2048

struct client_event {
    enum event_class class;
    enum frame_event_kind kind;
    char conversation[48];
    uint64_t seq;
    uint8_t id[16];
    char frame[256];
};
struct client_result {
    uint64_t request, seq;
    enum reason reason;
    char conversation[48];
};
struct client {
    struct session session; /* first */
    struct client_event events[CLIENT_EVENTS];
    size_t event_count, message_count;
    struct client_result results[512];
    size_t result_count;
    unsigned opened, ended, pages, onlines;
    enum reason opened_reason, end_reason, page_reason, online_reason;
    size_t page_events, online_count;
    uint64_t page_head, page_first;
    bool page_more;
    bool limited;          /* can_take looks at window */
    size_t window;         /* messages it can still take */
    bool close_on_event;   /* closes itself inside on_event */
    struct client *closes; /* closes this one inside on_event */
};
struct world {
    struct loop *loop;
    struct bus *bus; /* of the scripts */
    struct hub_store store;
    struct routing_script routing[WORLD_ROUTINGS];
    struct auth_script auth;
    int routing_count;
    struct connection_settings settings;
    struct hub *hub;
    char folder[64], address[WORLD_ROUTINGS][128], auth_address[128], routing_spec[300];
};

/* --- turning */

static inline uint64_t world_real_us(void) {
    struct timespec now = {0};
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}
static inline void world_turn(struct world *world) {
    assert_int_equal(loop_turn(world->loop, 2000), ERR_OK);
}
/* Turns until the condition holds; the deadline is real time, so a fake clock does not matter. */
#define UNTIL(world, condition)                                                                    \
    do {                                                                                           \
        uint64_t until_us = world_real_us() + WORLD_DEADLINE_US;                                   \
        while (!(condition)) {                                                                     \
            world_turn(world);                                                                     \
            if (world_real_us() > until_us) {                                                      \
                fail_msg("not within the deadline: %s", #condition);                               \
            }                                                                                      \
        }                                                                                          \
    } while (0)
/* Moves the fake clock in steps, turning in between. */
static inline void world_advance(struct world *world, uint64_t us) {
    while (us > 0) {
        uint64_t step = us < 50000 ? us : 50000;
        clock_fake_advance_us(step);
        us -= step;
        for (int i = 0; i < 4; i++) {
            assert_int_equal(loop_turn(world->loop, 500), ERR_OK);
        }
    }
}
/* What was published before by this instance has been handed out when this returns: a typing signal
 * comes behind it. The client must be live and a member of the conversation. */
struct client;
static inline void world_fence(struct world *world, int routing, struct client *client,
                               const char *conversation);

/* --- clients */

static inline struct client *client_of(struct session *session) {
    return (struct client *)session;
}
static inline void client_on_opened(struct session *session, enum reason reason) {
    client_of(session)->opened++;
    client_of(session)->opened_reason = reason;
}
static inline void client_on_result(struct session *session, uint64_t request,
                                    const struct session_result *result) {
    struct client *client = client_of(session);
    struct client_result *seen = &client->results[client->result_count++ % 512];
    seen->request = request;
    seen->seq = result->seq;
    seen->reason = result->reason;
    (void)snprintf(seen->conversation, sizeof seen->conversation, "%s", result->conversation);
}
static inline void client_on_page(struct session *session, uint64_t request,
                                  const struct session_page *page) {
    struct client *client = client_of(session);
    (void)request;
    client->pages++;
    client->page_reason = page->reason;
    client->page_events = page->event_count;
    client->page_head = page->head;
    client->page_more = page->has_more;
    client->page_first = page->event_count > 0 ? page->events[0].seq : 0;
}
static inline void client_on_online(struct session *session, uint64_t request, enum reason reason,
                                    const char *conversation, const char *const *users,
                                    size_t count) {
    (void)request, (void)conversation, (void)users;
    client_of(session)->onlines++;
    client_of(session)->online_reason = reason;
    client_of(session)->online_count = count;
}
static inline void client_on_event(struct session *session, const struct event *event) {
    struct client *client = client_of(session);
    assert_true(client->event_count < CLIENT_EVENTS);
    assert_int_equal(client->ended, 0);
    struct client_event *seen = &client->events[client->event_count++];
    seen->class = event->class;
    seen->kind = event->kind;
    seen->seq = event->seq;
    (void)snprintf(seen->conversation, sizeof seen->conversation, "%s", event->conversation);
    (void)snprintf(seen->frame, sizeof seen->frame, "%.*s", (int)event->frame_bytes,
                   (const char *)event->frame);
    if (event->class == EVENT_MESSAGE) {
        client->message_count++;
        memcpy(seen->id, event->id, 16);
        if (client->limited) {
            assert_true(client->window > 0);
            client->window--;
        }
    }
    if (client->close_on_event) {
        session_close(session);
    }
    if (client->closes != NULL) {
        session_close(&client->closes->session);
    }
}
static inline bool client_can_take(const struct session *session) {
    const struct client *client = (const struct client *)session;
    return !client->limited || client->window > 0;
}
static inline void client_on_end(struct session *session, enum reason reason) {
    client_of(session)->ended++;
    client_of(session)->end_reason = reason;
}
static const struct session_ops ws_ops = {"ws",           client_on_opened, client_on_result,
                                          client_on_page, client_on_online, client_on_event,
                                          NULL,           client_on_end};
static const struct session_ops mqtt_ops = {"mqtt",          client_on_opened, client_on_result,
                                            client_on_page,  client_on_online, client_on_event,
                                            client_can_take, client_on_end};

static inline struct token_claims claims_of(const char *user, const char *device) {
    struct token_claims claims = {.issued_ms = clock_wall_ms(),
                                  .expires_ms = clock_wall_ms() + 900000u};
    (void)snprintf(claims.user, sizeof claims.user, "%s", user);
    (void)snprintf(claims.device, sizeof claims.device, "%s", device);
    return claims;
}
/* Opens without waiting. */
static inline struct client *client_begin(struct world *world, const char *user, const char *device,
                                          bool mqtt, bool new_backlog) {
    struct client *client = calloc(1, sizeof *client);
    struct token_claims claims = claims_of(user, device);
    struct session_open open = {.claims = &claims,
                                .device = device,
                                .exclusive = mqtt,
                                .wants_backlog = mqtt,
                                .new_backlog = new_backlog};
    assert_int_equal(session_open(world->hub, &client->session, mqtt ? &mqtt_ops : &ws_ops, &open),
                     ERR_OK);
    assert_int_equal(client->opened, 0);
    return client;
}
static inline struct client *client_open(struct world *world, const char *user,
                                         const char *device) {
    struct client *client = client_begin(world, user, device, false, false);
    UNTIL(world, client->opened > 0);
    assert_int_equal(client->opened_reason, REASON_OK);
    return client;
}
static inline struct client *client_open_mqtt(struct world *world, const char *user,
                                              const char *device) {
    struct client *client = client_begin(world, user, device, true, false);
    UNTIL(world, client->opened > 0);
    assert_int_equal(client->opened_reason, REASON_OK);
    return client;
}
static inline void client_close(struct client *client) {
    session_close(&client->session);
    free(client);
}
static inline enum err client_send(struct client *client, const char *conversation,
                                   uint64_t request, uint8_t id[16]) {
    uint8_t fresh[16];
    id_uuid7_make(clock_wall_ms(), fresh);
    if (id != NULL) {
        memcpy(id, fresh, 16);
    }
    struct session_submit submit = {.request = request,
                                    .conversation = conversation,
                                    .id = fresh,
                                    .body = (const uint8_t *)"{\"text\":\"hi\"}",
                                    .body_bytes = 13};
    uint32_t retry_ms = 0;
    return session_submit(&client->session, &submit, &retry_ms);
}
/* The messages of a conversation it was given are exactly first, first + 1 ... last, in order. */
static inline void assert_dense(const struct client *client, const char *conversation,
                                uint64_t first, uint64_t last) {
    uint64_t next = first;
    for (size_t i = 0; i < client->event_count; i++) {
        const struct client_event *event = &client->events[i];
        if (event->class == EVENT_MESSAGE && strcmp(event->conversation, conversation) == 0) {
            assert_int_equal(event->seq, next);
            next++;
        }
    }
    assert_int_equal(next, last + 1);
}

static inline size_t client_count(const struct client *client, enum event_class class) {
    size_t count = 0;
    for (size_t i = 0; i < client->event_count; i++) {
        count += client->events[i].class == class;
    }
    return count;
}
static inline void world_fence(struct world *world, int routing, struct client *client,
                               const char *conversation) {
    size_t before = client_count(client, EVENT_TYPING);
    Pipit__Signal signal = PIPIT__SIGNAL__INIT;
    signal.conversation = (char *)conversation;
    signal.user = (char *)"u_fence";
    signal.kind = PIPIT__SIGNAL_KIND__SIGNAL_TYPING;
    Pipit__Delivery delivery = PIPIT__DELIVERY__INIT;
    delivery.event_case = PIPIT__DELIVERY__EVENT_SIGNAL;
    delivery.signal = &signal;
    routing_publish(&world->routing[routing], &delivery);
    UNTIL(world, client_count(client, EVENT_TYPING) > before);
}

/* --- life */

typedef void (*world_change_fn)(struct connection_settings *settings);
static inline void world_prepare(struct world *world, int routing_count) {
    (void)snprintf(world->folder, sizeof world->folder, "/tmp/pipit-hub-XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    world->routing_count = routing_count;
    assert_int_equal(loop_create(4096, &world->loop), ERR_OK);
    static const struct bus_config config = {.message_bytes_max = 8u << 20};
    assert_int_equal(bus_create(world->loop, &config, &world->bus), ERR_OK);
    (void)snprintf(world->store.epoch, sizeof world->store.epoch, "e1");
    for (int i = 0; i < routing_count; i++) {
        (void)snprintf(world->address[i], sizeof world->address[i], "ipc://%s/routing%d",
                       world->folder, i);
        routing_start(&world->routing[i], world->loop, world->bus, &world->store,
                      world->address[i]);
    }
    (void)snprintf(world->routing_spec, sizeof world->routing_spec, "%s%s%s", world->address[0],
                   routing_count > 1 ? "," : "", routing_count > 1 ? world->address[1] : "");
    (void)snprintf(world->auth_address, sizeof world->auth_address, "ipc://%s/auth", world->folder);
    auth_start(&world->auth, world->loop, world->bus, world->auth_address);
}
static inline struct world *world_start(int routing_count, world_change_fn change) {
    struct world *world = calloc(1, sizeof *world);
    world_prepare(world, routing_count);
    world->settings = (struct connection_settings){
        .bus = {.routing = world->routing_spec,
                .auth = world->auth_address,
                .message_bytes_max = 8u << 20,
                .timeout_us = 2000000u,
                .tls_ca_file = "",
                .tls_cert_file = "",
                .tls_key_file = ""},
        .sessions_per_user_max = 8,
        .inflight_per_session_max = 64,
        .messages_per_second = 1000,
        .messages_burst = 1000,
    };
    if (change != NULL) {
        change(&world->settings);
    }
    uint64_t boots = hub_metrics.troubles[HUB_TROUBLE_BOOT].value;
    assert_int_equal(hub_create(world->loop, &world->settings, &world->hub), ERR_OK);
    for (int i = 0; i < routing_count; i++) {
        UNTIL(world, world->routing[i].snapshots > 0);
    }
    UNTIL(world, hub_ready(world->hub));
    /* All streams flow; else the first contact comes in the middle of a test. */
    UNTIL(world, hub_metrics.troubles[HUB_TROUBLE_BOOT].value >= boots + (uint64_t)routing_count);
    return world;
}
static inline void world_finish(struct world *world) {
    hub_destroy(&world->hub);
    for (int i = 0; i < world->routing_count; i++) {
        routing_finish(&world->routing[i]);
    }
    auth_finish(&world->auth);
    bus_destroy(&world->bus);
    loop_destroy(&world->loop);
    static const char *const names[] = {"routing0", "routing1", "auth"};
    for (size_t i = 0; i < 6; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s.%s", world->folder, names[i / 2],
                       i % 2 == 0 ? "rep" : "pub");
        (void)unlink(path); /* nng may have removed it */
    }
    (void)rmdir(world->folder); /* a left-over folder in /tmp harms nobody */
    store_finish(&world->store);
    free(world);
    clock_fake_off();
}

#endif
