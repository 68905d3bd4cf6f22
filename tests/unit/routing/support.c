/* support: see the header. Endpoints copy what they see into plain arrays, so that tests read facts
 * instead of unpacked messages whose memory is gone. */
#include "tests/unit/routing/support.h"

#include "common/clock.h"
#include "common/mem.h"
#include "services/routing/metrics.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CALL_TIMEOUT_US 20000000u

static void copy_text(char *to, size_t bytes, const char *from) {
    (void)snprintf(to, bytes, "%s", from != NULL ? from : "");
}

void fresh_id(uint8_t id[ID_UUID_BYTES]) {
    id_uuid7_make(clock_wall_ms(), id);
}

/* --- turning. The deadline is real time, so that a fake clock does not matter. */

static uint64_t real_us(void) {
    struct timespec now = {0};
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

void world_until(struct world *world, bool (*done)(void *arg), void *arg) {
    uint64_t deadline_us = real_us() + WORLD_DEADLINE_US;
    while (!done(arg)) {
        assert_int_equal(loop_turn(world->loop, 10000), ERR_OK);
        if (real_us() > deadline_us) {
            fail_msg("not within the deadline");
        }
    }
}

struct count_wait {
    const unsigned *count;
    const size_t *size;
    size_t at_least;
};

static bool counted(void *arg) {
    const struct count_wait *wait = arg;
    return (wait->count != NULL ? *wait->count : *wait->size) >= wait->at_least;
}

void world_until_count(struct world *world, const unsigned *count, unsigned at_least) {
    struct count_wait wait = {count, NULL, at_least};
    world_until(world, counted, &wait);
}

void world_until_size(struct world *world, const size_t *count, size_t at_least) {
    struct count_wait wait = {NULL, count, at_least};
    world_until(world, counted, &wait);
}

void world_advance(struct world *world, uint64_t us) {
    while (us > 0) {
        uint64_t step = us < 100000 ? us : 100000;
        clock_fake_advance_us(step);
        us -= step;
        for (int i = 0; i < 3; i++) {
            assert_int_equal(loop_turn(world->loop, 1000), ERR_OK);
        }
    }
}

/* --- life */

const char *const world_family[] = {"u_ann", "u_bob", NULL};
static const struct bus_config bus_config = {.message_bytes_max = 8u * 1024u * 1024u};

void world_start_routing(struct world *world, int index) {
    assert_int_equal(
        routing_create(world->loop, &world->settings[index], NULL, &world->routing[index]), ERR_OK);
}

void world_stop_routing(struct world *world, int index) {
    routing_destroy(&world->routing[index]);
}

static void load_settings(struct world *world, int index, world_change_fn change) {
    static const char *const foreign[] = {"auth", "connection", "storage", NULL};
    struct buf problem;
    buf_init(&problem, 4096);
    enum err error = conf_load(routing_conf_rows, routing_conf_row_count, foreign, NULL,
                               &world->settings[index], &world->conf[index], &problem);
    if (error != ERR_OK) {
        fail_msg("%.*s", (int)buf_len(&problem), (const char *)buf_data(&problem));
    }
    buf_finish(&problem);
    world->settings[index].bus_listen = world->address[index];
    world->settings[index].bus.storage = world->storage_address;
    if (change != NULL) {
        change(&world->settings[index], index);
    }
}

static bool storage_up(void *arg) {
    struct world *world = arg;
    for (int i = 0; i < WORLD_ROUTINGS_MAX; i++) {
        if (world->routing[i] != NULL && !routing_storage_up(world->routing[i])) {
            return false;
        }
    }
    return true;
}

struct hearing {
    struct world *world;
    uint64_t enough;
};

/* First contact with storage's stream makes members uncertain, once per routing instance.
 * Heartbeats come each second only, so something harmless is published until it is heard. */
static bool all_heard(void *arg) {
    const struct hearing *hearing = arg;
    if (routing_metrics.members_uncertain.value >= hearing->enough) {
        return true;
    }
    script_publish_version(&hearing->world->storage, "c_nothing", 1);
    return false;
}

void world_start(struct world *world, int routing_count, world_change_fn change) {
    uint64_t heard = routing_metrics.members_uncertain.value;
    memset(world, 0, sizeof *world);
    copy_text(world->folder, sizeof world->folder, "/tmp/pipit-routing-XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    (void)snprintf(world->storage_address, sizeof world->storage_address, "ipc://%s/storage",
                   world->folder);
    arena_init(&world->arena, 65536, 64u * 1024u * 1024u);
    assert_int_equal(loop_create(4096, &world->loop), ERR_OK);
    assert_int_equal(bus_create(world->loop, &bus_config, &world->bus), ERR_OK);
    script_start(&world->storage, world->loop, world->bus, world->storage_address);
    for (int i = 0; i < routing_count; i++) {
        (void)snprintf(world->address[i], sizeof world->address[i], "ipc://%s/routing%d",
                       world->folder, i);
        load_settings(world, i, change);
        world_start_routing(world, i);
    }
    world->next_endpoint = 1000;
    world_until(world, storage_up, world);
    struct hearing hearing = {world, heard + (unsigned)routing_count};
    world_until(world, all_heard, &hearing);
}

void world_start_family(struct world *world, int routing_count, world_change_fn change) {
    world_start(world, routing_count, change);
    (void)script_conversation(&world->storage, "c_family", world_family);
    for (int i = 0; i < routing_count; i++) {
        endpoint_interest(endpoint_open(world, i), "c_family");
    }
}

static void remove_folder(const struct world *world) {
    static const char *const names[] = {"storage", "storage2", "routing0", "routing1"};
    static const char *const ends[] = {"rep", "pub"};
    for (size_t i = 0; i < 8; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s.%s", world->folder, names[i / 2], ends[i % 2]);
        (void)unlink(path); /* nng may have removed it */
    }
    (void)rmdir(world->folder); /* a left-over folder in /tmp harms nobody */
}

void world_finish(struct world *world) {
    for (int i = 0; i < WORLD_ENDPOINTS_MAX; i++) {
        if (world->endpoints[i] != NULL) {
            stream_subscriber_destroy(&world->endpoints[i]->stream);
        }
    }
    for (int i = 0; i < WORLD_ROUTINGS_MAX; i++) {
        routing_destroy(&world->routing[i]);
        conf_destroy(&world->conf[i]);
    }
    for (int i = 0; i < WORLD_ENDPOINTS_MAX; i++) {
        if (world->endpoints[i] != NULL) {
            bus_peer_close(&world->endpoints[i]->peer);
            mem_free(world->endpoints[i]);
        }
    }
    script_finish(&world->storage);
    bus_destroy(&world->bus);
    loop_destroy(&world->loop);
    arena_finish(&world->arena);
    remove_folder(world);
}

/* --- what endpoints see */

static void see_members(struct seen_delivery *seen, const Pipit__MembersChanged *members) {
    copy_text(seen->conversation, sizeof seen->conversation, members->conversation);
    seen->members_version = members->members_version;
    seen->changed_count = members->n_changed;
    if (members->n_changed > 0) {
        copy_text(seen->changed_user, sizeof seen->changed_user, members->changed[0]->user);
        seen->changed_state = members->changed[0]->state;
    }
}

static void see_message(struct seen_delivery *seen, const Pipit__StoredMessage *message) {
    copy_text(seen->conversation, sizeof seen->conversation, message->conversation);
    copy_text(seen->user, sizeof seen->user, message->sender);
    copy_text(seen->device, sizeof seen->device, message->device);
    (void)snprintf(seen->body, sizeof seen->body, "%.*s", (int)message->body.len,
                   (const char *)message->body.data);
    seen->seq = message->seq;
}

static void see(struct seen_delivery *seen, const Pipit__Delivery *delivery) {
    seen->kind = delivery->event_case;
    seen->members_version = delivery->members_version;
    seen->skip_session = delivery->skip_session;
    switch (delivery->event_case) {
    case PIPIT__DELIVERY__EVENT_MESSAGE:
        see_message(seen, delivery->message);
        break;
    case PIPIT__DELIVERY__EVENT_MARK:
        copy_text(seen->conversation, sizeof seen->conversation, delivery->mark->conversation);
        copy_text(seen->user, sizeof seen->user, delivery->mark->user);
        copy_text(seen->device, sizeof seen->device, delivery->mark->device);
        seen->delivered_seq = delivery->mark->delivered_seq;
        seen->read_seq = delivery->mark->read_seq;
        break;
    case PIPIT__DELIVERY__EVENT_SIGNAL:
        copy_text(seen->conversation, sizeof seen->conversation, delivery->signal->conversation);
        copy_text(seen->user, sizeof seen->user, delivery->signal->user);
        copy_text(seen->status, sizeof seen->status, delivery->signal->status);
        seen->active = delivery->signal->active;
        break;
    case PIPIT__DELIVERY__EVENT_MEMBERS:
        see_members(seen, delivery->members);
        break;
    case PIPIT__DELIVERY__EVENT_KICK:
        seen->session = delivery->kick->session;
        seen->reason = delivery->kick->reason;
        break;
    default:
        break;
    }
}

static void on_deliveries(const uint8_t *payload, size_t bytes, void *user) {
    struct endpoint_peer *endpoint = user;
    struct arena *arena = &endpoint->world->arena;
    Pipit__DeliverBatch *batch = NULL;
    assert_int_equal(ENVELOPE_UNPACK(DELIVER_BATCH, payload, bytes, arena, &batch), ERR_OK);
    endpoint->batches++;
    for (size_t i = 0; i < batch->n_deliveries; i++) {
        assert_true(endpoint->delivery_count < ENDPOINT_DELIVERIES_MAX);
        see(&endpoint->deliveries[endpoint->delivery_count++], batch->deliveries[i]);
    }
    arena_reset(arena);
}

static void on_trouble(enum stream_trouble trouble, uint64_t boot_id, void *user) {
    (void)trouble;
    (void)boot_id;
    ((struct endpoint_peer *)user)->troubles++;
}

static void see_results(struct endpoint_peer *endpoint, const Pipit__SubmitReply *reply) {
    endpoint->empty_replies += reply->n_results == 0;
    for (size_t i = 0; i < reply->n_results; i++) {
        const Pipit__SubmitResult *result = reply->results[i];
        assert_true(endpoint->result_count < ENDPOINT_RESULTS_MAX);
        struct seen_result *seen = &endpoint->results[endpoint->result_count++];
        *seen = (struct seen_result){.ref = result->ref,
                                     .seq = result->seq,
                                     .ts_ms = result->ts_ms,
                                     .reason = result->reason,
                                     .retry_ms = result->retry_ms,
                                     .replay = result->replay};
        copy_text(seen->conversation, sizeof seen->conversation, result->conversation);
    }
}

static void see_other(struct endpoint_peer *endpoint, enum message_type type,
                      const ProtobufCMessage *message) {
    endpoint->others++;
    endpoint->other_type = type;
    if (type == MESSAGE_PRESENCE_REPLY) {
        const Pipit__PresenceReply *reply = (const Pipit__PresenceReply *)message;
        endpoint->other_error = reply->error;
        endpoint->online_count = reply->n_online;
        for (size_t i = 0; i < reply->n_online && i < 8; i++) {
            copy_text(endpoint->online[i], sizeof endpoint->online[i], reply->online[i]);
        }
    } else if (type == MESSAGE_HISTORY_REPLY) {
        const Pipit__HistoryReply *reply = (const Pipit__HistoryReply *)message;
        endpoint->other_error = reply->error;
        endpoint->history_head = reply->head;
        endpoint->history_count = reply->n_messages;
    } else if (type == MESSAGE_STATUS_REPLY) {
        endpoint->other_error = ((const Pipit__StatusReply *)message)->error;
    } else if (type == MESSAGE_HEADS_REPLY) {
        endpoint->other_error = ((const Pipit__HeadsReply *)message)->error;
    } else if (type == MESSAGE_ORIGIN_REPLY) {
        endpoint->other_error = ((const Pipit__OriginReply *)message)->error;
    } else if (type == MESSAGE_CONVERSATIONS_REPLY) {
        endpoint->other_error = ((const Pipit__ConversationsReply *)message)->error;
    }
}

static void on_reply(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct endpoint_peer *endpoint = user;
    struct arena *arena = &endpoint->world->arena;
    endpoint->replies++;
    if (status != ERR_OK) {
        return; /* the world ends, or a routing instance was stopped */
    }
    enum message_type type = envelope_type(body, body_bytes);
    ProtobufCMessage *message = NULL;
    assert_int_equal(envelope_unpack(type, body, body_bytes, arena, &message), ERR_OK);
    if (type == MESSAGE_SUBMIT_REPLY) {
        see_results(endpoint, (const Pipit__SubmitReply *)message);
    } else if (type == MESSAGE_INTEREST_REPLY) {
        const Pipit__InterestReply *reply = (const Pipit__InterestReply *)message;
        endpoint->need_snapshot = reply->need_snapshot;
        endpoint->interest_error = reply->error;
        endpoint->boot_id = reply->boot_id;
        endpoint->told_draining = reply->draining;
        endpoint->interest_replies++;
    } else {
        see_other(endpoint, type, message);
    }
    arena_reset(arena);
}

/* --- what endpoints say */

enum err endpoint_try_call(struct endpoint_peer *endpoint, enum message_type type,
                           const ProtobufCMessage *message) {
    struct buf packed;
    buf_init(&packed, 2 * ENVELOPE_RAW_BYTES_MAX);
    assert_int_equal(envelope_pack(type, message, false, &packed), ERR_OK);
    enum err error = bus_call(endpoint->peer, buf_data(&packed), buf_len(&packed),
                              endpoint->timeout_us, on_reply, endpoint);
    buf_finish(&packed);
    return error;
}

void endpoint_call(struct endpoint_peer *endpoint, enum message_type type,
                   const ProtobufCMessage *message) {
    assert_int_equal(endpoint_try_call(endpoint, type, message), ERR_OK);
}

void endpoint_update(struct endpoint_peer *endpoint, Pipit__InterestUpdate *update) {
    if (update->endpoint == 0) {
        update->endpoint = endpoint->id;
    }
    if (update->update_seq == 0) {
        update->update_seq = ++endpoint->update_seq;
    }
    update->address = (char *)"test";
    endpoint_call(endpoint, MESSAGE_INTEREST_UPDATE, &update->base);
}

void endpoint_tell(struct endpoint_peer *endpoint, Pipit__InterestUpdate *update) {
    unsigned before = endpoint->interest_replies;
    endpoint_update(endpoint, update);
    world_until_count(endpoint->world, &endpoint->interest_replies, before + 1);
}

void endpoint_interest(struct endpoint_peer *endpoint, const char *conversation) {
    Pipit__InterestUpdate update = PIPIT__INTEREST_UPDATE__INIT;
    char *conversations[1] = {(char *)conversation};
    update.n_add_conversations = 1;
    update.add_conversations = conversations;
    endpoint_tell(endpoint, &update);
    assert_int_equal(endpoint->interest_error, ERR_OK);
    assert_false(endpoint->need_snapshot);
}

void endpoint_session(struct endpoint_peer *endpoint, uint64_t session, const char *user,
                      const char *device, uint64_t opened_ms, bool exclusive) {
    Pipit__InterestUpdate update = PIPIT__INTEREST_UPDATE__INIT;
    Pipit__EndpointSession told = PIPIT__ENDPOINT_SESSION__INIT;
    Pipit__EndpointSession *sessions[1] = {&told};
    told.session = session;
    told.user = (char *)user;
    told.device = (char *)device;
    told.opened_ms = opened_ms;
    told.exclusive = exclusive;
    update.n_add_sessions = 1;
    update.add_sessions = sessions;
    endpoint_tell(endpoint, &update);
    assert_int_equal(endpoint->interest_error, ERR_OK);
}

static bool peer_up(void *arg) {
    return bus_peer_up(((struct endpoint_peer *)arg)->peer);
}

static bool stream_live(void *arg) {
    return stream_subscriber_live(((struct endpoint_peer *)arg)->stream);
}

struct endpoint_peer *endpoint_open(struct world *world, int index) {
    int slot = 0;
    while (world->endpoints[slot] != NULL) {
        slot++;
    }
    assert_true(slot < WORLD_ENDPOINTS_MAX);
    struct endpoint_peer *endpoint = mem_zalloc(1, sizeof *endpoint);
    assert_non_null(endpoint);
    world->endpoints[slot] = endpoint;
    endpoint->world = world;
    endpoint->id = world->next_endpoint++;
    endpoint->timeout_us = CALL_TIMEOUT_US;
    char url[BUS_URL_BYTES];
    assert_int_equal(bus_url_derive(world->address[index], BUS_URL_REP, url), ERR_OK);
    assert_int_equal(bus_peer_create(world->bus, url, 64, NULL, NULL, &endpoint->peer), ERR_OK);
    assert_int_equal(bus_url_derive(world->address[index], BUS_URL_PUB, url), ERR_OK);
    assert_int_equal(stream_subscriber_create(world->loop, world->bus, url, endpoint->id,
                                              on_deliveries, on_trouble, endpoint,
                                              &endpoint->stream),
                     ERR_OK);
    world_until(world, peer_up, endpoint);
    Pipit__InterestUpdate update = PIPIT__INTEREST_UPDATE__INIT;
    update.snapshot = true;
    endpoint_tell(endpoint, &update);
    assert_int_equal(endpoint->interest_error, ERR_OK);
    world_until(world, stream_live, endpoint); /* a heartbeat of this topic came */
    return endpoint;
}

void endpoint_send(struct endpoint_peer *endpoint, Pipit__SubmitBatch *batch) {
    batch->endpoint = endpoint->id;
    for (size_t i = 0; i < batch->n_submits; i++) {
        if (batch->submits[i]->ref == 0) {
            batch->submits[i]->ref = ++endpoint->world->next_ref;
        }
    }
    endpoint_call(endpoint, MESSAGE_SUBMIT_BATCH, &batch->base);
}

uint64_t endpoint_submit(struct endpoint_peer *endpoint, Pipit__Submit *submit) {
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    batch.n_submits = 1;
    batch.submits = &submit;
    endpoint_send(endpoint, &batch);
    return submit->ref;
}

void endpoint_texts(struct endpoint_peer *endpoint, const char *user, const char *conversation,
                    const char *prefix, unsigned first, size_t count, uint64_t *refs) {
    Pipit__Submit submits[ENDPOINT_BATCH_MAX];
    Pipit__Submit *pointers[ENDPOINT_BATCH_MAX];
    uint8_t ids[ENDPOINT_BATCH_MAX][ID_UUID_BYTES];
    char bodies[ENDPOINT_BATCH_MAX][32];
    assert_true(count <= ENDPOINT_BATCH_MAX);
    for (size_t i = 0; i < count; i++) {
        fresh_id(ids[i]);
        int bytes = snprintf(bodies[i], sizeof bodies[i], "%s-%zu", prefix, first + i);
        pipit__submit__init(&submits[i]);
        submits[i].user = (char *)user;
        submits[i].conversation = (char *)conversation;
        submits[i].id = (ProtobufCBinaryData){ID_UUID_BYTES, ids[i]};
        submits[i].body = (ProtobufCBinaryData){(size_t)bytes, (uint8_t *)bodies[i]};
        pointers[i] = &submits[i];
    }
    Pipit__SubmitBatch batch = PIPIT__SUBMIT_BATCH__INIT;
    batch.n_submits = count;
    batch.submits = pointers;
    endpoint_send(endpoint, &batch);
    for (size_t i = 0; i < count; i++) {
        refs[i] = submits[i].ref;
    }
}

uint64_t endpoint_text(struct endpoint_peer *endpoint, const char *user, const char *conversation,
                       const uint8_t *id, const char *body) {
    uint8_t made[ID_UUID_BYTES];
    fresh_id(made);
    Pipit__Submit submit = PIPIT__SUBMIT__INIT;
    submit.user = (char *)user;
    submit.device = (char *)"d_1";
    submit.session = 7;
    submit.conversation = (char *)conversation;
    submit.id = (ProtobufCBinaryData){ID_UUID_BYTES, id != NULL ? (uint8_t *)id : made};
    submit.body = (ProtobufCBinaryData){strlen(body), (uint8_t *)body};
    return endpoint_submit(endpoint, &submit);
}

const struct seen_result *endpoint_has_result(struct endpoint_peer *endpoint, uint64_t ref) {
    for (size_t i = 0; i < endpoint->result_count; i++) {
        if (endpoint->results[i].ref == ref) {
            return &endpoint->results[i];
        }
    }
    return NULL;
}

struct ref_wait {
    struct endpoint_peer *endpoint;
    uint64_t ref;
};

static bool answered(void *arg) {
    const struct ref_wait *wait = arg;
    return endpoint_has_result(wait->endpoint, wait->ref) != NULL;
}

const struct seen_result *endpoint_result(struct endpoint_peer *endpoint, uint64_t ref) {
    struct ref_wait wait = {endpoint, ref};
    world_until(endpoint->world, answered, &wait);
    return endpoint_has_result(endpoint, ref);
}

/* The messages of world_settle are not the test's. */
static bool counts(const struct seen_delivery *seen, Pipit__Delivery__EventCase kind) {
    return seen->kind == kind && strcmp(seen->conversation, "c_settle") != 0;
}

const struct seen_delivery *endpoint_delivery(struct endpoint_peer *endpoint,
                                              Pipit__Delivery__EventCase kind, size_t index) {
    for (size_t i = 0; i < endpoint->delivery_count; i++) {
        if (counts(&endpoint->deliveries[i], kind) && index-- == 0) {
            return &endpoint->deliveries[i];
        }
    }
    return NULL;
}

size_t endpoint_deliveries(struct endpoint_peer *endpoint, Pipit__Delivery__EventCase kind) {
    size_t count = 0;
    for (size_t i = 0; i < endpoint->delivery_count; i++) {
        count += counts(&endpoint->deliveries[i], kind);
    }
    return count;
}

struct kind_wait {
    struct endpoint_peer *endpoint;
    Pipit__Delivery__EventCase kind;
    size_t count;
};

static bool delivered(void *arg) {
    const struct kind_wait *wait = arg;
    return endpoint_deliveries(wait->endpoint, wait->kind) >= wait->count;
}

void endpoint_until(struct endpoint_peer *endpoint, Pipit__Delivery__EventCase kind, size_t count) {
    struct kind_wait wait = {endpoint, kind, count};
    world_until(endpoint->world, delivered, &wait);
}

struct settle_wait {
    struct endpoint_peer *endpoint;
    uint64_t seq;
};

static bool settled(void *arg) {
    const struct settle_wait *wait = arg;
    for (size_t i = 0; i < wait->endpoint->delivery_count; i++) {
        const struct seen_delivery *seen = &wait->endpoint->deliveries[i];
        if (seen->kind == PIPIT__DELIVERY__EVENT_MESSAGE && seen->seq == wait->seq &&
            strcmp(seen->conversation, "c_settle") == 0) {
            return true;
        }
    }
    return false;
}

/* A message in a conversation of its own: everything published before it comes before it. */
void world_settle(struct world *world, struct endpoint_peer *endpoint) {
    if (script_find(&world->storage, "c_settle") == NULL) {
        (void)script_conversation(&world->storage, "c_settle",
                                  (const char *const[]){"u_settler", NULL});
    }
    endpoint_interest(endpoint, "c_settle");
    uint64_t ref = endpoint_text(endpoint, "u_settler", "c_settle", NULL, "{}");
    uint64_t seq = endpoint_result(endpoint, ref)->seq;
    struct settle_wait wait = {endpoint, seq};
    world_until(world, settled, &wait);
}
