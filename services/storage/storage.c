/* storage: from a bus message to its reply.
 *
 * The loop's thread takes a request off the bus, unpacks it into its own arena and queues it:
 * writes for the writer thread (write_batch.c), reads for a small pool of workers. Unpacking here
 * overlaps with the commit under way. Whoever finished a request packs its reply and answers
 * directly, bus_reply being callable from any thread; only a request that changed a membership goes
 * back to the loop, because its announcement must be on the stream before the reply, and the stream
 * belongs to the loop.
 *
 * Bounds: open requests (contexts of the bus = size of the pool) and the two queues. A full queue
 * is answered with UNAVAILABLE at once: nothing was stored, try again; FULL would be mistaken for a
 * full group or device list. Damaged requests are answered, not dropped: the asker would wait for
 * its time-out. */
#include "services/storage/storage.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/stream.h"
#include "services/storage/request_pool.h"
#include "services/storage/write_batch.h"

/* The last replies leave the process's sockets: nng sends in the background. */
#define DRAIN_FLUSH_US 50000u
#define STREAM_TOPICS_MAX 1 /* topic 0 alone */
/* Readiness follows a back end that goes and comes while nobody writes. */
#define HEALTH_PERIOD_US 500000u

struct storage {
    struct loop *loop;
    const struct storage_settings *settings;
    struct ops_check *check;
    struct store *store;
    struct bus *bus;
    struct bus_server *server;
    struct stream_publisher *stream;
    struct request_pool *pool;
    struct write_batch *writer;
    struct worker_pool *readers;
    struct loop_call drained;
    struct loop_timer flush;
    struct loop_timer health;
    void (*on_drained)(void *user);
    void *drained_user;
};

/* --- answering */

static void flushed(struct loop_timer *timer) {
    struct storage *storage = CONTAINER_OF(timer, struct storage, flush);
    storage->on_drained(storage->drained_user);
}

static void drained(struct loop_call *call) {
    struct storage *storage = CONTAINER_OF(call, struct storage, drained);
    loop_timer_start(storage->loop, &storage->flush, DRAIN_FLUSH_US, flushed);
}

static void give_back(struct request *request) {
    struct storage *storage = request->storage;
    if (request_pool_return(storage->pool, request)) {
        loop_post_call(storage->loop, &storage->drained, drained);
    }
}

/* Packs the reply; when even that fails, the asker gets an empty body, which it takes for damage.
 */
static void pack_reply(struct request *request) {
    struct call *call = &request->call;
    enum err error = envelope_pack(call->handler->reply_type, call->reply,
                                   request->storage->settings->compress, &request->reply);
    if (error != ERR_OK) {
        call->error = error;
        call_finish(call);
        buf_clear(&request->reply);
        err_ignore(envelope_pack(call->handler->reply_type, call->reply, false, &request->reply));
    }
}

static void send_reply(struct request *request) {
    struct call *call = &request->call;
    storage_metrics_request(call->handler->op, clock_mono_us() - request->started_us, call->error);
    bus_reply(request->bus, buf_data(&request->reply), buf_len(&request->reply));
    give_back(request);
}

static void publish_and_reply(struct loop_call *posted) {
    struct request *request = CONTAINER_OF(posted, struct request, posted);
    struct storage *storage = request->storage;
    enum err error =
        stream_publish(storage->stream, STREAM_TOPIC_ALL, buf_data(&request->publication),
                       buf_len(&request->publication));
    if (error != ERR_OK) {
        /* The number is used up: subscribers see a gap and load afresh. */
        log_event(LOG_WARN, "membership change not published", F_ERR(error));
    }
    send_reply(request);
}

/* Any thread: the call is done. */
static void answer(struct request *request) {
    struct call *call = &request->call;
    call_finish(call);
    pack_reply(request);
    if (call->changed == NULL) {
        send_reply(request);
        return;
    }
    enum err error =
        envelope_pack(MESSAGE_MEMBERS_CHANGED, &call->changed->base, false, &request->publication);
    if (error != ERR_OK) {
        /* An empty publication cannot be read and cannot be missed: subscribers load afresh. */
        log_event(LOG_WARN, "membership change not packed", F_ERR(error));
    }
    loop_post_call(request->storage->loop, &request->posted, publish_and_reply);
}

static void on_written(struct call *call, void *user) {
    (void)user;
    answer(CONTAINER_OF(call, struct request, call));
}

static const char *describe(enum err error) {
    switch (error) {
    case ERR_OK:
        return NULL;
    case ERR_NO_SPACE:
        return "the disk is full: writes are refused";
    case ERR_UNAVAILABLE:
        return "the database is not available; see the log";
    default:
        return "the last write failed; see the log";
    }
}

/* Any thread. error: of a group, or ERR_OK when there was none. */
static void show_health(struct storage *storage, enum err error) {
    bool told = storage->store->ops->health != NULL; /* such a back end logs its own changes */
    if (error == ERR_OK) {
        error = store_health(storage->store);
    }
    const char *detail = describe(error);
    if (told) { /* others may reach the database: requests go to them meanwhile */
        atomic_store(&storage->check->ready, error != ERR_UNAVAILABLE);
    }
    if (atomic_exchange(&storage->check->detail, detail) == detail || told) {
        return;
    }
    if (detail == NULL) {
        log_event(LOG_INFO, "store accepts writes again");
    } else {
        log_event(LOG_ERROR, "store refuses writes", F_ERR(error));
    }
}

static void on_group(enum err error, void *user) {
    show_health(user, error);
}

static void look_at_health(struct loop_timer *timer) {
    struct storage *storage = CONTAINER_OF(timer, struct storage, health);
    show_health(storage, ERR_OK);
    loop_timer_start(storage->loop, timer, HEALTH_PERIOD_US, look_at_health);
}

static void run_read(struct worker_job *job) {
    struct request *request = CONTAINER_OF(job, struct request, job);
    struct storage *storage = request->storage;
    struct call *call = &request->call;
    if (clock_mono_us() - call->queued_us > storage->settings->bus.timeout_us) {
        storage_metrics_limit_hit(STORAGE_LIMIT_READ_WAIT); /* nobody waits for it any more */
        call->error = ERR_UNAVAILABLE;
    } else {
        call->error = call->handler->run(storage->store, call);
    }
    answer(request);
}

/* --- taking requests */

/* Before there is a handler to say how its reply looks. */
static void refuse(struct bus_request *bus, enum err error) {
    Pipit__StatusReply reply = PIPIT__STATUS_REPLY__INIT;
    struct buf out;
    reply.error = (uint32_t)error;
    buf_init(&out, 1024);
    err_ignore(envelope_pack(MESSAGE_STATUS_REPLY, &reply.base, false, &out)); /* else empty */
    bus_reply(bus, buf_data(&out), buf_len(&out));
    buf_finish(&out);
}

static void queue_request(struct storage *storage, struct request *request) {
    struct call *call = &request->call;
    bool reads = call->handler->kind == HANDLER_READ;
    request->job.run = run_read;
    call->queued_us = clock_mono_us();
    enum err error = reads ? worker_submit(storage->readers, &request->job)
                           : write_batch_submit(storage->writer, call);
    if (error == ERR_OK) {
        return;
    }
    storage_metrics_limit_hit(reads ? STORAGE_LIMIT_READ_QUEUE : STORAGE_LIMIT_WRITE_QUEUE);
    static struct log_limit limit;
    if (log_allowed(&limit, 1)) {
        log_event(LOG_WARN, "request refused: its queue is full",
                  F_TEXT("type", message_type_name(call->handler->request_type)), F_ERR(error));
    }
    call->error = ERR_UNAVAILABLE;
    answer(request);
}

static void on_request(struct bus_request *bus, const uint8_t *body, size_t body_bytes,
                       void *user) {
    struct storage *storage = user;
    enum message_type type = envelope_type(body, body_bytes);
    const struct handler *handler = dispatch_find(type);
    if (handler == NULL) {
        refuse(bus, type == MESSAGE_NONE ? ERR_INVALID : ERR_UNSUPPORTED);
        return;
    }
    struct request *request = request_pool_take(storage->pool);
    if (request == NULL) {
        refuse(bus, ERR_UNAVAILABLE); /* closing, or the bus has more contexts than asked for */
        return;
    }
    struct call *call = &request->call;
    call->handler = handler;
    request->bus = bus;
    request->started_us = clock_mono_us();
    enum err error = call_reset_reply(call);
    if (error != ERR_OK) {
        refuse(bus, error);
        give_back(request);
        return;
    }
    call->error = envelope_unpack(type, body, body_bytes, &call->arena, &call->request);
    if (call->error != ERR_OK) {
        answer(request);
        return;
    }
    queue_request(storage, request);
}

/* --- life */

static enum err open_store(struct storage *storage, struct buf *problem) {
    const struct storage_settings *settings = storage->settings;
    struct store_config config = {.url = settings->store,
                                  .readers = (uint32_t)settings->reader_threads,
                                  .members_max = (uint32_t)settings->group_members_max};
    return store_open(&config, &storage->store, problem);
}

static enum err start_threads(struct storage *storage) {
    const struct storage_settings *settings = storage->settings;
    struct write_batch_config config = {.store = storage->store,
                                        .queue_max = settings->write_queue_max,
                                        .messages_max = settings->commit_messages_max,
                                        .wait_max_us = settings->bus.timeout_us,
                                        .on_done = on_written,
                                        .on_group = on_group,
                                        .user = storage};
    enum err error = request_pool_create(settings->requests_max, storage, &storage->pool);
    if (error == ERR_OK) {
        error = write_batch_create(&config, &storage->writer);
    }
    if (error == ERR_OK) {
        error = worker_pool_create("reader", settings->reader_threads, settings->read_queue_max,
                                   &storage->readers);
    }
    return error;
}

static enum err listen_on_bus(struct storage *storage) {
    const struct storage_settings *settings = storage->settings;
    struct bus_config config = {.message_bytes_max = settings->bus.message_bytes_max,
                                .tls_ca_file = settings->bus.tls_ca_file,
                                .tls_cert_file = settings->bus.tls_cert_file,
                                .tls_key_file = settings->bus.tls_key_file};
    char url[BUS_URL_BYTES];
    enum err error = bus_create(storage->loop, &config, &storage->bus);
    if (error == ERR_OK) {
        error = bus_url_derive(settings->bus_listen, BUS_URL_PUB, url);
    }
    if (error == ERR_OK) { /* the stream first: who got a reply may rely on announcements */
        error = stream_publisher_create(storage->loop, storage->bus, url, STREAM_TOPICS_MAX,
                                        &storage->stream);
    }
    if (error == ERR_OK) {
        error = bus_url_derive(settings->bus_listen, BUS_URL_REP, url);
    }
    if (error == ERR_OK) {
        error = bus_server_create(storage->bus, url, (uint32_t)settings->requests_max, on_request,
                                  storage, &storage->server);
    }
    return error;
}

enum err storage_create(struct loop *loop, const struct storage_settings *settings,
                        struct ops_check *check, struct storage **out, struct buf *problem) {
    struct storage *storage = mem_zalloc(1, sizeof(*storage));
    if (storage == NULL) {
        return ERR_NO_MEMORY;
    }
    storage->loop = loop;
    storage->settings = settings;
    storage->check = check;
    enum err error = open_store(storage, problem);
    if (error == ERR_OK) {
        error = start_threads(storage);
    }
    if (error == ERR_OK) {
        error = listen_on_bus(storage);
        if (error != ERR_OK) {
            err_ignore(buf_append_format(problem,
                                         "storage cannot listen at %s: %s; check [storage] "
                                         "bus_listen and the [bus] section",
                                         settings->bus_listen, err_text(error)));
        }
    }
    if (error != ERR_OK) {
        if (buf_len(problem) == 0) {
            err_ignore(buf_append_format(problem, "storage cannot start: %s", err_text(error)));
        }
        storage_destroy(&storage);
        return error;
    }
    atomic_store(&check->detail, NULL);
    atomic_store(&check->ready, true);
    if (storage->store->ops->health != NULL) {
        look_at_health(&storage->health);
    }
    *out = storage;
    return ERR_OK;
}

void storage_drain(struct storage *storage, void (*on_drained)(void *user), void *user) {
    storage->on_drained = on_drained;
    storage->drained_user = user;
    bus_server_close(&storage->server);
    if (request_pool_close(storage->pool)) {
        drained(&storage->drained);
    }
}

void storage_destroy(struct storage **storage) {
    struct storage *old = *storage;
    if (old == NULL) {
        return;
    }
    loop_timer_stop(old->loop, &old->flush);
    loop_timer_stop(old->loop, &old->health);
    if (old->server != NULL) {
        bus_server_close(&old->server);
    }
    write_batch_destroy(&old->writer); /* answers what it had taken */
    worker_pool_destroy(&old->readers);
    stream_publisher_destroy(&old->stream);
    bus_destroy(&old->bus);
    request_pool_destroy(&old->pool);
    atomic_store(&old->check->ready, false);
    store_close(&old->store);
    mem_free(old);
    *storage = NULL;
}
