/* marks: acknowledgements come per message and device, cursors need to be stored far more seldom.
 *
 * The first one of a quiet conversation waits for HUB_MARKS_INTERVAL_US; what comes meanwhile only
 * raises it. An entry that is on its way stays (its strings are lent to the batch) and may be
 * raised again; when the answer comes it waits anew or goes. Cursors only grow, so sending one
 * twice is harmless, and one that was not taken is simply sent again. Read implies delivered. */
#include "services/connection/marks.h"

#include "common/mem.h"
#include "services/connection/ingress.h"
#include <string.h>

struct hub_marks {
    struct hub *hub;
    struct map map;
    struct hub_pool pool;
    struct list waiting;
    struct loop_timer timer;
};
/* Three strings, each with its NUL. */
struct mark_key {
    size_t count;
    char bytes[LIMIT_USER_ID_BYTES + TOKEN_DEVICE_BYTES + 32 + LIMIT_CONVERSATION_ID_BYTES + 3];
};

static void add_part(struct mark_key *key, const char *text) {
    size_t bytes = strlen(text) + 1;
    memcpy(key->bytes + key->count, text, bytes);
    key->count += bytes;
}

static void make_key(struct mark_key *key, const char *user, const char *device,
                     const char *conversation) {
    key->count = 0;
    add_part(key, user);
    add_part(key, device);
    add_part(key, conversation);
}

static bool match_mark(const struct map_node *node, const void *key, size_t key_bytes) {
    const struct hub_mark *mark = CONTAINER_OF(node, struct hub_mark, map_node);
    struct mark_key own;
    make_key(&own, mark->user, mark->device, mark->conversation);
    return own.count == key_bytes && memcmp(own.bytes, key, key_bytes) == 0;
}

enum err hub_marks_create(struct hub *hub) {
    struct hub_marks *marks = mem_zalloc(1, sizeof *marks);
    if (marks == NULL) {
        return ERR_NO_MEMORY;
    }
    marks->hub = hub;
    hub_pool_init(&marks->pool, sizeof(struct hub_mark), HUB_MARKS_MAX);
    list_init(&marks->waiting);
    hub->marks = marks;
    return map_init(&marks->map, 64, match_mark);
}

void hub_marks_destroy(struct hub *hub) {
    struct hub_marks *marks = hub->marks;
    if (marks != NULL) {
        loop_timer_stop(hub->loop, &marks->timer);
        map_finish(&marks->map);
        hub_pool_finish(&marks->pool);
        mem_free(marks);
        hub->marks = NULL;
    }
}

static void on_timer(struct loop_timer *timer) {
    hub_marks_flush(CONTAINER_OF(timer, struct hub_marks, timer)->hub);
}

static void wait(struct hub_marks *marks, struct hub_mark *mark) {
    mark->is_changed = false;
    list_push_back(&marks->waiting, &mark->node);
    if (!marks->timer.armed) {
        loop_timer_start(marks->hub->loop, &marks->timer, HUB_MARKS_INTERVAL_US, on_timer);
    }
}

static struct hub_mark *make(struct hub_marks *marks, const struct mark_key *key,
                             const struct session *session,
                             const struct hub_conversation *conversation) {
    struct hub_mark *mark = hub_pool_take(&marks->pool);
    if (mark == NULL) {
        return NULL;
    }
    memcpy(mark->user, session->user->id, strlen(session->user->id) + 1);
    memcpy(mark->device, session->device, strlen(session->device) + 1);
    memcpy(mark->conversation, conversation->id, strlen(conversation->id) + 1);
    map_insert(&marks->map, &mark->map_node, key->bytes, key->count);
    wait(marks, mark);
    return mark;
}

enum err hub_marks_add(struct hub *hub, const struct session *session,
                       const struct hub_conversation *conversation, uint64_t delivered_seq,
                       uint64_t read_seq) {
    struct hub_marks *marks = hub->marks;
    delivered_seq = read_seq > delivered_seq ? read_seq : delivered_seq;
    if (delivered_seq == 0) {
        return ERR_OK;
    }
    struct mark_key key;
    make_key(&key, session->user->id, session->device, conversation->id);
    struct map_node *node = map_find(&marks->map, key.bytes, key.count);
    struct hub_mark *mark = node != NULL ? CONTAINER_OF(node, struct hub_mark, map_node) : NULL;
    if (mark == NULL && (mark = make(marks, &key, session, conversation)) == NULL) {
        hub_metrics_limit(HUB_LIMIT_MARKS);
        metric_add(&hub_metrics.shed[HUB_SHED_RECEIPT], 1);
        return ERR_FULL;
    }
    if (delivered_seq > mark->delivered_seq || read_seq > mark->read_seq) {
        mark->delivered_seq =
            delivered_seq > mark->delivered_seq ? delivered_seq : mark->delivered_seq;
        mark->read_seq = read_seq > mark->read_seq ? read_seq : mark->read_seq;
        mark->session = session->id;
        mark->is_changed = true;
    }
    return ERR_OK;
}

void hub_marks_flush(struct hub *hub) {
    struct hub_marks *marks = hub->marks;
    loop_timer_stop(hub->loop, &marks->timer);
    struct list_node *node = NULL;
    while ((node = list_pop_front(&marks->waiting)) != NULL) {
        struct hub_mark *mark = CONTAINER_OF(node, struct hub_mark, node);
        mark->is_changed = false;
        if (hub_ingress_mark(hub, mark) != ERR_OK) {
            list_push_front(&marks->waiting, node); /* the rest will not fit either */
            break;
        }
    }
    if (marks->waiting.count > 0) {
        loop_timer_start(hub->loop, &marks->timer, HUB_MARKS_INTERVAL_US, on_timer);
    }
}

void hub_marks_returned(struct hub *hub, struct list *returned, bool taken) {
    struct hub_marks *marks = hub->marks;
    struct list_node *node = NULL;
    while ((node = list_pop_front(returned)) != NULL) {
        struct hub_mark *mark = CONTAINER_OF(node, struct hub_mark, node);
        if (!taken || mark->is_changed) {
            wait(marks, mark);
        } else {
            map_remove(&marks->map, &mark->map_node);
            hub_pool_give(&marks->pool, mark);
        }
    }
}

bool hub_marks_idle(const struct hub *hub) {
    return hub->marks->pool.used == 0;
}
