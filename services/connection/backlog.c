/* backlog: catching a session up, one conversation after the other.
 *
 * A conversation that is being caught up gets no live messages: history has them as well, so the
 * backlog reads until it has passed what the conversation handed out (`last`), and only then is the
 * session live in it. When history was ahead of the deliveries, the entry stays until they have
 * caught up, so nothing comes twice or out of order.
 *
 * Flow control: can_take is asked before each message. A session that cannot take more keeps its
 * page as long as nobody needs the place; then the page is dropped and read again later. So memory
 * is a fixed number of pages, whoever reads slowly, and nobody waits for a slow reader.
 *
 * Reading as the user, storage checks membership for each page; leaving drops what is held.
 * Messages of the same device are left out: it has sent them. */
#include "services/connection/backlog.h"

#include "common/log.h"
#include "common/mem.h"
#include "services/connection/marks.h"
#include "services/connection/queries.h"
#include <string.h>

enum backlog_state {
    BACKLOG_SEED,    /* the session is not live yet */
    BACKLOG_IDLE,    /* behind another conversation of the session */
    BACKLOG_QUEUED,  /* waits for a run */
    BACKLOG_BLOCKED, /* waits for session_writable */
    BACKLOG_RUNNING, /* has a run: reading, or handing over its page */
    BACKLOG_FAILED,  /* waits for the next attempt */
    BACKLOG_AHEAD    /* handed over more than `last`; goes when deliveries catch up */
};
struct run;
struct backlog {
    struct list_node node;       /* session->backlogs */
    struct list_node queue_node; /* QUEUED, FAILED */
    struct session *session;
    struct hub_conversation *conversation; /* pinned */
    struct run *run;
    uint64_t after; /* handed over up to here; SEED: the device's cursor */
    uint64_t retry_us;
    uint8_t state;
    bool known; /* SEED: the device has a cursor */
};
struct run {
    struct backlog *backlog; /* NULL while reading: dropped meanwhile */
    struct arena arena;
    const Pipit__HistoryReply *page; /* NULL: reading */
    size_t next;
    bool used, giving;
};
struct hub_backlogs {
    struct hub_pool pool;
    struct list queued, failed;
    struct run runs[HUB_BACKLOG_RUNS_MAX];
};

enum err hub_backlogs_create(struct hub *hub) {
    struct hub_backlogs *backlogs = mem_zalloc(1, sizeof *backlogs);
    if (backlogs == NULL) {
        return ERR_NO_MEMORY;
    }
    hub_pool_init(&backlogs->pool, sizeof(struct backlog), HUB_BACKLOGS_MAX);
    list_init(&backlogs->queued);
    list_init(&backlogs->failed);
    for (size_t i = 0; i < HUB_BACKLOG_RUNS_MAX; i++) {
        arena_init(&backlogs->runs[i].arena, 16u * 1024u,
                   2u * hub->settings->bus.message_bytes_max);
    }
    hub->backlogs = backlogs;
    return ERR_OK;
}

void hub_backlogs_destroy(struct hub *hub) {
    struct hub_backlogs *backlogs = hub->backlogs;
    if (backlogs == NULL) {
        return;
    }
    for (size_t i = 0; i < HUB_BACKLOG_RUNS_MAX; i++) {
        arena_finish(&backlogs->runs[i].arena);
    }
    hub_pool_finish(&backlogs->pool);
    mem_free(backlogs);
    hub->backlogs = NULL;
}

/* --- entries */

static struct backlog *find(const struct session *session,
                            const struct hub_conversation *conversation) {
    for (struct list_node *node = list_first(&session->backlogs); node != NULL;
         node = list_next(&session->backlogs, node)) {
        struct backlog *backlog = CONTAINER_OF(node, struct backlog, node);
        if (backlog->conversation == conversation) {
            return backlog;
        }
    }
    return NULL;
}

static struct backlog *add(struct hub *hub, struct session *session,
                           struct hub_conversation *conversation, enum backlog_state state,
                           uint64_t after) {
    struct backlog *backlog = hub_pool_take(&hub->backlogs->pool);
    if (backlog == NULL) {
        hub_metrics_limit(HUB_LIMIT_BACKLOGS);
        return NULL;
    }
    backlog->session = session;
    backlog->conversation = conversation;
    backlog->state = (uint8_t)state;
    backlog->after = after;
    hub_conversation_pin(conversation);
    list_push_back(&session->backlogs, &backlog->node);
    return backlog;
}

static void free_run(struct hub *hub, struct run *run) {
    run->used = false;
    run->page = NULL;
    run->backlog = NULL;
    arena_reset(&run->arena);
    if (hub->backlogs->queued.count > 0) {
        hub_soon(hub);
    }
}

static void leave_run(struct hub *hub, struct backlog *backlog) {
    struct run *run = backlog->run;
    backlog->run = NULL;
    run->backlog = NULL;
    if (run->page != NULL && !run->giving) {
        free_run(hub, run);
    } /* else its reader or giver notices */
}

static void set_state(struct hub *hub, struct backlog *backlog, enum backlog_state state) {
    struct hub_backlogs *backlogs = hub->backlogs;
    if (backlog->state == BACKLOG_QUEUED) {
        list_remove(&backlogs->queued, &backlog->queue_node);
    } else if (backlog->state == BACKLOG_FAILED) {
        list_remove(&backlogs->failed, &backlog->queue_node);
    } else if (backlog->state == BACKLOG_RUNNING && backlog->run != NULL) {
        leave_run(hub, backlog);
    }
    backlog->state = (uint8_t)state;
    if (state == BACKLOG_QUEUED) {
        list_push_back(&backlogs->queued, &backlog->queue_node);
        hub_soon(hub);
    } else if (state == BACKLOG_FAILED) {
        backlog->retry_us = hub_now_us(hub) + HUB_RETRY_US;
        list_push_back(&backlogs->failed, &backlog->queue_node);
    }
}

/* One conversation of a session at a time. */
static void start_next(struct hub *hub, struct session *session) {
    struct backlog *idle = NULL;
    for (struct list_node *node = list_first(&session->backlogs); node != NULL;
         node = list_next(&session->backlogs, node)) {
        struct backlog *backlog = CONTAINER_OF(node, struct backlog, node);
        if (backlog->state == BACKLOG_IDLE) {
            idle = idle != NULL ? idle : backlog;
        } else if (backlog->state != BACKLOG_AHEAD) {
            return;
        }
    }
    if (idle != NULL && session->state == SESSION_LIVE) {
        set_state(hub, idle, BACKLOG_QUEUED);
    }
}

static void end(struct hub *hub, struct backlog *backlog) {
    struct session *session = backlog->session;
    set_state(hub, backlog, BACKLOG_IDLE);
    list_remove(&session->backlogs, &backlog->node);
    hub_conversation_unpin(hub, backlog->conversation);
    hub_pool_give(&hub->backlogs->pool, backlog);
}

/* --- opening */

enum err hub_backlog_seed(struct hub *hub, struct session *session,
                          struct hub_conversation *conversation, bool known,
                          uint64_t delivered_seq) {
    if (find(session, conversation) != NULL) {
        return ERR_OK; /* named on two pages: it changed between them */
    }
    struct backlog *backlog = add(hub, session, conversation, BACKLOG_SEED, delivered_seq);
    if (backlog == NULL) {
        return ERR_FULL;
    }
    backlog->known = known;
    return ERR_OK;
}

/* True when the session must be given something. */
static bool decide(struct hub *hub, struct session *session, struct backlog *backlog) {
    struct hub_conversation *conversation = backlog->conversation;
    const struct hub_membership *membership = hub_membership_find(session->user, conversation);
    if (membership == NULL) {
        return false; /* left while the session was opened */
    }
    if (session->new_backlog || !session->resumed) {
        /* a limit, counted: the device begins here again next time */
        err_ignore(hub_marks_add(hub, session, conversation, conversation->last, 0));
        return false;
    }
    /* A conversation the device does not know is newer than its last visit. */
    uint64_t after = backlog->known ? backlog->after : 0;
    backlog->after = after > membership->joined_seq ? after : membership->joined_seq;
    backlog->state = BACKLOG_IDLE;
    return backlog->after < conversation->last;
}

void hub_backlog_begin(struct hub *hub, struct session *session) {
    struct list_node *node = list_first(&session->backlogs);
    while (node != NULL) {
        struct list_node *next = list_next(&session->backlogs, node);
        struct backlog *backlog = CONTAINER_OF(node, struct backlog, node);
        if (!decide(hub, session, backlog)) {
            end(hub, backlog);
        }
        node = next;
    }
    start_next(hub, session);
}

/* --- beside live messages */

bool hub_backlog_covers(struct hub *hub, struct session *session,
                        struct hub_conversation *conversation, uint64_t seq) {
    if (session->backlogs.count == 0) {
        return false;
    }
    struct backlog *backlog = find(session, conversation);
    if (backlog == NULL) {
        return false;
    }
    if (backlog->state == BACKLOG_AHEAD && seq > backlog->after) {
        end(hub, backlog);
        return false;
    }
    return true;
}

void hub_backlog_fall_behind(struct hub *hub, struct session *session,
                             struct hub_conversation *conversation, uint64_t after_seq) {
    if (add(hub, session, conversation, BACKLOG_IDLE, after_seq) == NULL) {
        session_end(session, REASON_SLOW_READER);
        return;
    }
    start_next(hub, session);
}

/* --- runs */

static void on_page(struct hub *hub, const struct hub_query *query, enum err status,
                    const Pipit__HistoryReply *reply);

static enum err read_page(struct hub *hub, struct run *run) {
    struct backlog *backlog = run->backlog;
    run->page = NULL;
    struct hub_history_ask ask = {.viewer = backlog->session->user->id,
                                  .after_seq = backlog->after,
                                  .limit = HUB_BACKLOG_PAGE_MESSAGES,
                                  .bytes_max = HUB_BACKLOG_PAGE_BYTES};
    struct hub_query query = {.object = run, .arena = &run->arena, .answer.history = on_page};
    memcpy(query.conversation, backlog->conversation->id, sizeof query.conversation);
    return hub_query_history(hub, &ask, &query);
}

/* The run is over; the entry takes another state or ends. */
static void stop_run(struct hub *hub, struct run *run, enum backlog_state state) {
    struct backlog *backlog = run->backlog;
    backlog->run = NULL;
    backlog->state = BACKLOG_IDLE;
    free_run(hub, run);
    set_state(hub, backlog, state);
}

static void complete(struct hub *hub, struct run *run) {
    struct backlog *backlog = run->backlog;
    struct session *session = backlog->session;
    bool is_ahead = backlog->after > backlog->conversation->last;
    stop_run(hub, run, is_ahead ? BACKLOG_AHEAD : BACKLOG_IDLE);
    if (!is_ahead) {
        end(hub, backlog);
    }
    start_next(hub, session);
}

static void hand_over(struct hub *hub, struct backlog *backlog,
                      const Pipit__StoredMessage *message) {
    struct session *session = backlog->session;
    struct frame_event row;
    uint64_t seq = message->seq;
    if (!hub_event_of(message, &row) || (strcmp(message->device, session->device) == 0 &&
                                         strcmp(message->sender, session->user->id) == 0)) {
        backlog->after = seq;
        return;
    }
    row.conversation = backlog->conversation->id;
    buf_clear(&hub->frame);
    enum err error = frame_encode_event(&hub->frame, &row);
    if (error == ERR_NO_MEMORY) {
        session_end(session, REASON_OVERLOAD); /* it comes back and begins at its cursor */
        return;
    }
    backlog->after = seq;
    if (error != ERR_OK) {
        return; /* not well-formed: logged where it was handed out live */
    }
    struct event event = {.class = EVENT_MESSAGE,
                          .kind = row.kind,
                          .conversation = row.conversation,
                          .seq = seq,
                          .id = row.id,
                          .frame = buf_data(&hub->frame),
                          .frame_bytes = buf_len(&hub->frame)};
    metric_add(&hub_metrics.backlog_messages, 1);
    metric_add(&hub_metrics.handed_out, 1);
    session->ops->on_event(session, &event);
}

/* Hands over what the session takes; the callbacks may end session, entry and run. */
static void give(struct hub *hub, struct run *run) {
    const Pipit__HistoryReply *page = run->page;
    run->giving = true;
    while (run->backlog != NULL && run->next < page->n_messages) {
        struct session *session = run->backlog->session;
        if (session->ops->can_take != NULL && !session->ops->can_take(session)) {
            break;
        }
        const Pipit__StoredMessage *message = page->messages[run->next++];
        if (message->seq > run->backlog->after) {
            hand_over(hub, run->backlog, message);
        }
    }
    run->giving = false;
    struct backlog *backlog = run->backlog;
    if (backlog == NULL) {
        free_run(hub, run);
    } else if (run->next < page->n_messages) {
        if (hub->backlogs->queued.count > 0) {
            stop_run(hub, run, BACKLOG_BLOCKED);
        } /* else the page is kept */
    } else if (page->n_messages == 0 ||
               (!page->has_more && backlog->after >= backlog->conversation->last)) {
        complete(hub, run);
    } else if (read_page(hub, run) != ERR_OK) {
        stop_run(hub, run, BACKLOG_FAILED);
    }
}

static void on_page(struct hub *hub, const struct hub_query *query, enum err status,
                    const Pipit__HistoryReply *reply) {
    struct run *run = query->object;
    if (run->backlog == NULL) {
        free_run(hub, run);
        return;
    }
    if (status == ERR_NOT_MEMBER || status == ERR_NOT_FOUND) {
        struct backlog *backlog = run->backlog;
        struct session *session = backlog->session;
        stop_run(hub, run, BACKLOG_IDLE);
        end(hub, backlog);
        start_next(hub, session);
        return;
    }
    if (status != ERR_OK) {
        stop_run(hub, run, BACKLOG_FAILED);
        return;
    }
    run->page = reply;
    run->next = 0;
    give(hub, run);
}

static struct run *free_place(struct hub *hub) {
    struct run *blocked = NULL;
    for (size_t i = 0; i < HUB_BACKLOG_RUNS_MAX; i++) {
        struct run *run = &hub->backlogs->runs[i];
        if (!run->used) {
            return run;
        }
        if (run->page != NULL && !run->giving && run->backlog != NULL && blocked == NULL) {
            blocked = run; /* holds a page for a client that does not read */
        }
    }
    if (blocked != NULL) {
        stop_run(hub, blocked, BACKLOG_BLOCKED);
    }
    return blocked;
}

void hub_backlogs_soon(struct hub *hub) {
    struct hub_backlogs *backlogs = hub->backlogs;
    struct list_node *node = NULL;
    if (!hub_can_ask(hub)) {
        return;
    }
    while ((node = list_first(&backlogs->failed)) != NULL) {
        struct backlog *backlog = CONTAINER_OF(node, struct backlog, queue_node);
        if (hub_now_us(hub) < backlog->retry_us) {
            break;
        }
        set_state(hub, backlog, BACKLOG_QUEUED);
    }
    for (size_t count = backlogs->queued.count; count > 0; count--) {
        struct run *run = backlogs->queued.count > 0 ? free_place(hub) : NULL;
        if (run == NULL) {
            return;
        }
        struct backlog *backlog =
            CONTAINER_OF(list_first(&backlogs->queued), struct backlog, queue_node);
        struct session *session = backlog->session;
        if (session->ops->can_take != NULL && !session->ops->can_take(session)) {
            set_state(hub, backlog, BACKLOG_BLOCKED);
            continue;
        }
        set_state(hub, backlog, BACKLOG_RUNNING);
        backlog->run = run;
        run->used = true;
        run->backlog = backlog;
        if (read_page(hub, run) != ERR_OK) {
            stop_run(hub, run, BACKLOG_FAILED);
        }
    }
}

void hub_backlog_writable(struct hub *hub, struct session *session) {
    for (struct list_node *node = list_first(&session->backlogs); node != NULL;
         node = list_next(&session->backlogs, node)) {
        struct backlog *backlog = CONTAINER_OF(node, struct backlog, node);
        if (backlog->state == BACKLOG_BLOCKED) {
            set_state(hub, backlog, BACKLOG_QUEUED);
            return;
        }
        if (backlog->state == BACKLOG_RUNNING) {
            if (backlog->run->page != NULL && !backlog->run->giving) {
                give(hub, backlog->run);
            }
            return;
        }
    }
}

/* --- ends */

void hub_backlog_close(struct hub *hub, struct session *session) {
    struct list_node *node = NULL;
    while ((node = list_first(&session->backlogs)) != NULL) {
        end(hub, CONTAINER_OF(node, struct backlog, node));
    }
}

void hub_backlog_drop(struct hub *hub, struct hub_user *user,
                      struct hub_conversation *conversation) {
    for (struct list_node *node = list_first(&user->sessions); node != NULL;
         node = list_next(&user->sessions, node)) {
        struct session *session = CONTAINER_OF(node, struct session, user_node);
        struct backlog *backlog = find(session, conversation);
        if (backlog != NULL) {
            end(hub, backlog);
            start_next(hub, session);
        }
    }
}
