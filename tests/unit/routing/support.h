/* support: a small world for the tests of routing: one loop, a scripted storage instance, up to two
 * routing instances and a few endpoints that stand in for connection, all over a real ipc bus.
 * Nothing sleeps: tests turn the loop until what they wait for has happened, or fail at a deadline.
 */
#ifndef PIPIT_TESTS_ROUTING_SUPPORT_H
#define PIPIT_TESTS_ROUTING_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/id.h"
#include "common/rpc.h"
#include "common/stream.h"
#include "proto/deliver.pb-c.h"
#include "proto/directory.pb-c.h"
#include "proto/envelope.h"
#include "proto/reason.h"
#include "proto/storage.pb-c.h"
#include "proto/submit.pb-c.h"
#include "services/routing/routing.h"
#include "tests/unit/routing/support_storage.h"

#define WORLD_DEADLINE_US 20000000u
#define ENDPOINT_RESULTS_MAX 4096
#define ENDPOINT_DELIVERIES_MAX 8192

struct seen_result {
    uint64_t ref, seq, ts_ms;
    uint32_t reason, retry_ms;
    bool replay;
    char conversation[64];
};
struct seen_delivery {
    Pipit__Delivery__EventCase kind;
    char conversation[64], user[64], device[128], body[64], status[32];
    uint64_t seq, members_version, skip_session, session, delivered_seq, read_seq;
    uint32_t reason;
    size_t changed_count;
    char changed_user[64];
    Pipit__MemberState changed_state;
    bool active;
};

/* One endpoint of a connection instance, talking to one routing instance. */
struct endpoint_peer {
    struct world *world;
    struct bus_peer *peer;
    struct stream_subscriber *stream;
    uint64_t id, update_seq;
    uint64_t boot_id; /* of the last InterestReply */
    unsigned replies, interest_replies, troubles, empty_replies;
    uint64_t timeout_us; /* of its calls */
    bool need_snapshot, told_draining;
    uint32_t interest_error;
    size_t result_count, delivery_count, batches;
    struct seen_result results[ENDPOINT_RESULTS_MAX];
    struct seen_delivery deliveries[ENDPOINT_DELIVERIES_MAX];
    /* last answers of other kinds */
    unsigned others;
    enum message_type other_type;
    uint32_t other_error;
    size_t online_count;
    char online[8][64];
    uint64_t history_head;
    size_t history_count;
};

#define WORLD_ROUTINGS_MAX 2
#define WORLD_ENDPOINTS_MAX 4
struct world {
    struct loop *loop;
    struct bus *bus;
    struct scripted_storage storage;
    struct routing_settings settings[WORLD_ROUTINGS_MAX];
    struct conf *conf[WORLD_ROUTINGS_MAX];
    struct routing *routing[WORLD_ROUTINGS_MAX];
    struct endpoint_peer *endpoints[WORLD_ENDPOINTS_MAX];
    struct arena arena;
    char folder[64];
    char address[WORLD_ROUTINGS_MAX][BUS_URL_BYTES];
    char storage_address[BUS_URL_BYTES];
    uint64_t next_ref, next_endpoint;
};

/* --- life. change may adjust the settings of instance `index` before it starts; NULL = defaults.
 */
typedef void (*world_change_fn)(struct routing_settings *settings, int index);
void world_start(struct world *world, int routing_count, world_change_fn change);
extern const char *const world_family[]; /* u_ann, u_bob, NULL */
/* world_start with the conversation c_family of world_family and, for each instance, an endpoint
 * that is interested in it; fails the test at the deadline. */
void world_start_family(struct world *world, int routing_count, world_change_fn change);
void world_finish(struct world *world);
/* Ends one routing instance and all endpoints that talk to it stay dialling. */
void world_stop_routing(struct world *world, int index);
/* Starts it again at the same address. */
void world_start_routing(struct world *world, int index);

/* Turns until done(arg) is true; fails the test at the deadline. */
void world_until(struct world *world, bool (*done)(void *arg), void *arg);
void world_until_count(struct world *world, const unsigned *count, unsigned at_least);
void world_until_size(struct world *world, const size_t *count, size_t at_least);
/* Turns until storage has answered everything that was sent before: a round trip on every path, so
 * that what has not been published by then will not be. */
void world_settle(struct world *world, struct endpoint_peer *endpoint);
/* With the fake clock on: advances in small steps and turns the loop in between. */
void world_advance(struct world *world, uint64_t us);

/* --- endpoints */
/* Connects to routing instance `index`, subscribes, and waits until both work: a first snapshot is
 * acknowledged and a delivery was seen. */
struct endpoint_peer *endpoint_open(struct world *world, int index);
/* Sends an update; fills endpoint and update_seq when 0. */
void endpoint_update(struct endpoint_peer *endpoint, Pipit__InterestUpdate *update);
/* update + waits for the acknowledgement. */
void endpoint_tell(struct endpoint_peer *endpoint, Pipit__InterestUpdate *update);
void endpoint_interest(struct endpoint_peer *endpoint, const char *conversation);
void endpoint_session(struct endpoint_peer *endpoint, uint64_t session, const char *user,
                      const char *device, uint64_t opened_ms, bool exclusive);
/* Sends a batch; refs are filled in when 0. */
void endpoint_send(struct endpoint_peer *endpoint, Pipit__SubmitBatch *batch);
void endpoint_call(struct endpoint_peer *endpoint, enum message_type type,
                   const ProtobufCMessage *message);
/* The same while the connection may be down. */
enum err endpoint_try_call(struct endpoint_peer *endpoint, enum message_type type,
                           const ProtobufCMessage *message) MUST_CHECK;
/* One text message; returns its ref. id NULL = a new one. */
uint64_t endpoint_text(struct endpoint_peer *endpoint, const char *user, const char *conversation,
                       const uint8_t *id, const char *body);
uint64_t endpoint_submit(struct endpoint_peer *endpoint, Pipit__Submit *submit);
/* `count` (<= ENDPOINT_BATCH_MAX) text messages in one batch, so that their order is certain
 * (requests may overtake each other); bodies are "<prefix>-<first + i>"; fills refs. */
#define ENDPOINT_BATCH_MAX 64
void endpoint_texts(struct endpoint_peer *endpoint, const char *user, const char *conversation,
                    const char *prefix, unsigned first, size_t count, uint64_t *refs);
/* Waits for and returns the result of a ref. */
const struct seen_result *endpoint_result(struct endpoint_peer *endpoint, uint64_t ref);
const struct seen_result *endpoint_has_result(struct endpoint_peer *endpoint, uint64_t ref);
/* The index-th delivery of a kind, or NULL. */
const struct seen_delivery *endpoint_delivery(struct endpoint_peer *endpoint,
                                              Pipit__Delivery__EventCase kind, size_t index);
size_t endpoint_deliveries(struct endpoint_peer *endpoint, Pipit__Delivery__EventCase kind);
/* Waits until that many of a kind have come. */
void endpoint_until(struct endpoint_peer *endpoint, Pipit__Delivery__EventCase kind, size_t count);

void fresh_id(uint8_t id[ID_UUID_BYTES]);

#endif
