/* reads: the queue in front of routing for requests that can be repeated.
 *
 * A thousand clients that reconnect together ask a thousand times for their conversations and for
 * history. nng has a fixed number of calls in flight per instance, and submits and interest must
 * not wait behind reads, so reads keep to a share of them and the rest waits here, repairs of live
 * conversations before everything else.
 *
 * An instance that goes away takes its calls with it (ERR_CLOSED); reads change nothing, so they
 * are asked again, of whichever instance is there, after a pause in which the bus has told us which
 * connections are gone. A time-out is told to the asker: after so many seconds the client has asked
 * again or has gone. */
#include "services/connection/reads.h"

#include "common/mem.h"
#include "services/connection/queries.h"
#include <string.h>

#define READ_INLINE_BYTES 224 /* all but comparisons of many heads */
#define READ_ATTEMPTS_MAX 3
#define READ_PAUSE_US 5000u /* a connection that broke may look alive to the end of the turn */

struct hub_read {
    struct list_node node;
    struct hub *hub;
    hub_read_fn fn;
    struct hub_query query;
    enum err failure; /* told from hub_reads_soon */
    uint32_t attempts;
    bool urgent;
    size_t bytes;
    uint8_t *request; /* `small`, or from the heap */
    uint8_t small[READ_INLINE_BYTES];
};
struct hub_reads {
    struct hub_pool pool;
    struct list urgent, normal, flying, failed;
    struct list paused;      /* their instance was lost */
    struct loop_timer again; /* all contexts were in use, or some are paused */
    struct hub *hub;
};

static void free_read(struct hub_reads *reads, struct hub_read *read) {
    if (read->request != read->small) {
        mem_free(read->request);
    }
    hub_pool_give(&reads->pool, read);
}

enum err hub_reads_create(struct hub *hub) {
    struct hub_reads *reads = mem_zalloc(1, sizeof *reads);
    if (reads == NULL) {
        return ERR_NO_MEMORY;
    }
    hub_pool_init(&reads->pool, sizeof(struct hub_read),
                  HUB_READS_QUEUED_MAX + HUB_READS_FLIGHT_MAX);
    list_init(&reads->urgent);
    list_init(&reads->normal);
    list_init(&reads->flying);
    list_init(&reads->failed);
    list_init(&reads->paused);
    reads->hub = hub;
    hub->reads = reads;
    return ERR_OK;
}

static void free_all(struct hub_reads *reads, struct list *list) {
    struct list_node *node = NULL;
    while ((node = list_pop_front(list)) != NULL) {
        free_read(reads, CONTAINER_OF(node, struct hub_read, node));
    }
}

void hub_reads_destroy(struct hub *hub) {
    struct hub_reads *reads = hub->reads;
    if (reads == NULL) {
        return;
    }
    loop_timer_stop(hub->loop, &reads->again);
    free_all(reads, &reads->urgent);
    free_all(reads, &reads->normal);
    free_all(reads, &reads->flying);
    free_all(reads, &reads->failed);
    free_all(reads, &reads->paused);
    hub_pool_finish(&reads->pool);
    mem_free(reads);
    hub->reads = NULL;
}

static void pump(struct hub_reads *reads);

static void finish(struct hub_reads *reads, struct hub_read *read, enum err status,
                   const uint8_t *body, size_t body_bytes) {
    struct hub_query query = read->query;
    hub_read_fn fn = read->fn;
    free_read(reads, read);
    if (!reads->hub->closing) {
        fn(reads->hub, &query, status, body, body_bytes);
    }
}

static void on_again(struct loop_timer *timer) {
    struct hub_reads *reads = CONTAINER_OF(timer, struct hub_reads, again);
    struct list_node *node = NULL;
    while ((node = list_pop_front(&reads->paused)) != NULL) {
        struct hub_read *read = CONTAINER_OF(node, struct hub_read, node);
        list_push_back(read->urgent ? &reads->urgent : &reads->normal, node);
    }
    pump(reads);
}

static void on_reply(enum err status, const uint8_t *body, size_t body_bytes, void *user) {
    struct hub_read *read = user;
    struct hub_reads *reads = read->hub->reads;
    list_remove(&reads->flying, &read->node);
    if (status == ERR_CLOSED && read->attempts < READ_ATTEMPTS_MAX && !read->hub->closing) {
        list_push_back(&reads->paused, &read->node);
        loop_timer_start(read->hub->loop, &reads->again, READ_PAUSE_US, on_again);
    } else {
        finish(reads, read, status, body, body_bytes);
    }
    if (!reads->hub->closing) {
        pump(reads);
    }
}

/* True when the next one may be tried. */
static bool send_next(struct hub_reads *reads) {
    struct hub *hub = reads->hub;
    struct list *from = reads->urgent.count > 0 ? &reads->urgent : &reads->normal;
    struct hub_read *read = CONTAINER_OF(list_first(from), struct hub_read, node);
    enum err error = ERR_UNAVAILABLE;
    if (hub->routing != NULL) {
        error = rpc_call(hub->routing, read->request, read->bytes, on_reply, read);
    }
    if (error == ERR_FULL) {
        loop_timer_start(hub->loop, &reads->again, 1000, on_again);
        return false;
    }
    list_remove(from, &read->node);
    if (error == ERR_OK) {
        read->attempts++;
        list_push_back(&reads->flying, &read->node);
    } else {
        read->failure = error;
        list_push_back(&reads->failed, &read->node);
        hub_soon(hub);
    }
    return true;
}

static void pump(struct hub_reads *reads) {
    while (reads->flying.count < HUB_READS_FLIGHT_MAX &&
           reads->urgent.count + reads->normal.count > 0) {
        if (!send_next(reads)) {
            return;
        }
    }
}

void hub_reads_soon(struct hub *hub) {
    struct hub_reads *reads = hub->reads;
    for (size_t count = reads->failed.count; count > 0 && reads->failed.count > 0; count--) {
        struct list_node *node = list_pop_front(&reads->failed);
        struct hub_read *read = CONTAINER_OF(node, struct hub_read, node);
        finish(reads, read, read->failure, NULL, 0);
    }
}

enum err hub_reads_ask(struct hub *hub, const struct hub_query *query, bool urgent,
                       hub_read_fn fn) {
    struct hub_reads *reads = hub->reads;
    struct hub_read *read = hub_pool_take(&reads->pool);
    if (read == NULL) {
        hub_metrics_limit(HUB_LIMIT_READS);
        return ERR_FULL;
    }
    read->bytes = buf_len(&hub->scratch);
    read->request = read->bytes <= sizeof read->small ? read->small : mem_alloc(read->bytes);
    if (read->request == NULL) {
        hub_pool_give(&reads->pool, read);
        return ERR_NO_MEMORY;
    }
    memcpy(read->request, buf_data(&hub->scratch), read->bytes);
    read->hub = hub;
    read->fn = fn;
    read->query = *query;
    read->urgent = urgent;
    list_push_back(urgent ? &reads->urgent : &reads->normal, &read->node);
    pump(reads);
    return ERR_OK;
}
