/* ws_sync: answers `sync` with pages of history, conversation by conversation.
 *
 * Output is bounded: one page is asked for at a time, and the next one only when the client has
 * taken most of what was written before; of a page that is too much for a slow reader the rest is
 * thrown away and asked for again. So a client that syncs 256 conversations of 100,000 messages
 * costs one page of memory, and messages that arrive meanwhile are not blocked behind it.
 *
 * Each conversation ends with a page that says "more": false. One that the user may not read (any
 * more) gets an empty last page with "err" in it, so that the others go on. The final `ok` has the
 * history epoch; when the client named another one it says "rebuild": true, because its seqs are of
 * a history that is gone (the store was restored from a backup). */
#include "services/connection/ws_private.h"

#include "common/contract.h"
#include "common/mem.h"
#include "proto/json_writer.h"

#include <string.h>

struct sync_item {
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    uint64_t after_seq;
};
struct ws_sync {
    struct list_node node;
    uint64_t id;
    char epoch[LIMIT_EPOCH_BYTES + 1]; /* the client's */
    bool asking;                       /* a page is on its way */
    size_t count, index;
    struct sync_item items[];
};

static struct ws_sync *first_sync(struct ws_session *ws) {
    struct list_node *node = list_first(&ws->syncs);
    return node != NULL ? CONTAINER_OF(node, struct ws_sync, node) : NULL;
}

/* {"t":"sync","id":n,"d":{"conversation":c,"items":[],"head":0,"more":false,"err":{...}}} */
static void send_refusal(struct ws_session *ws, const struct ws_sync *sync, enum reason reason) {
    struct json_writer writer;
    json_write_begin(&writer, ws_scratch(ws), 256);
    json_write_open(&writer);
    json_write_key_text(&writer, "t", "sync");
    json_write_key_u64(&writer, "id", sync->id);
    json_write_key(&writer, "d");
    json_write_open(&writer);
    json_write_key_text(&writer, "conversation", sync->items[sync->index].conversation);
    json_write_key(&writer, "items");
    json_write_open_array(&writer);
    json_write_close_array(&writer);
    json_write_key_u64(&writer, "head", 0);
    json_write_key_bool(&writer, "more", false);
    json_write_key(&writer, "err");
    json_write_open(&writer);
    json_write_key_text(&writer, "code", reason_code(reason));
    json_write_key_bool(&writer, "retryable", reason_retryable(reason));
    json_write_key_text(&writer, "msg", reason_text(reason));
    json_write_close(&writer);
    json_write_close(&writer);
    json_write_close(&writer);
    ws_send_scratch(ws, json_write_end(&writer));
}

static void send_ok(struct ws_session *ws, const struct ws_sync *sync) {
    const char *epoch = hub_epoch(ws->conn.table->hub);
    struct json_writer writer;
    json_write_begin(&writer, ws_scratch(ws), 128);
    json_write_open(&writer);
    json_write_key_text(&writer, "t", "ok");
    json_write_key_u64(&writer, "id", sync->id);
    json_write_key(&writer, "d");
    json_write_open(&writer);
    if (epoch[0] != '\0') {
        json_write_key_text(&writer, "epoch", epoch);
    }
    if (epoch[0] != '\0' && sync->epoch[0] != '\0' && strcmp(epoch, sync->epoch) != 0) {
        json_write_key_bool(&writer, "rebuild", true);
    }
    json_write_close(&writer);
    json_write_close(&writer);
    ws_send_scratch(ws, json_write_end(&writer));
}

/* Asks for the next page of the first sync; true when there is nothing to ask for any more. */
static bool ask(struct ws_session *ws, struct ws_sync *sync) {
    while (sync->index < sync->count && ws->conn.state == CONN_LIVE) {
        if (conn_is_starved(&ws->conn)) {
            return false; /* on_room goes on */
        }
        struct sync_item *item = &sync->items[sync->index];
        enum err error = session_history(&ws->session, sync->id, item->conversation,
                                         item->after_seq, LIMIT_SYNC_PAGE_EVENTS);
        if (error == ERR_OK) {
            sync->asking = true;
            return false;
        }
        send_refusal(ws, sync, reason_from_err(error));
        if (ws->conn.state == CONN_LIVE) {
            sync->index++;
        }
    }
    return ws->conn.state == CONN_LIVE;
}

void ws_sync_go_on(struct ws_session *ws) {
    struct ws_sync *sync = first_sync(ws);
    while (sync != NULL && !sync->asking && ask(ws, sync)) {
        list_remove(&ws->syncs, &sync->node);
        send_ok(ws, sync);
        mem_free(sync);
        sync = first_sync(ws);
    }
}

void ws_sync_begin(struct ws_session *ws, uint64_t id, const struct frame_sync *frame) {
    struct ws_sync *sync = NULL;
    if (ws->syncs.count < WS_SYNCS_MAX) {
        sync = mem_zalloc(1, sizeof *sync + frame->conversation_count * sizeof sync->items[0]);
    }
    if (sync == NULL) {
        connection_metrics_limit(LIMIT_HIT_SYNCS);
        ws_send_err(ws, id, REASON_RATE_LIMITED, NULL, 1000);
        return;
    }
    struct frame_sync_iter iter = {0};
    sync->id = id;
    memcpy(sync->epoch, frame->epoch, sizeof sync->epoch);
    while (sync->count < frame->conversation_count &&
           frame_sync_next(frame, &iter, sync->items[sync->count].conversation,
                           &sync->items[sync->count].after_seq)) {
        sync->count++;
    }
    list_push_back(&ws->syncs, &sync->node);
    if (ws->syncs.count == 1) {
        ws_sync_go_on(ws);
    }
}

/* Sends the page in frames of bounded size; stops early when the client cannot take more. */
static void send_page(struct ws_session *ws, struct ws_sync *sync,
                      const struct session_page *page) {
    struct sync_item *item = &sync->items[sync->index];
    /* A part must fit into what conn_is_starved leaves of the queue, or sync itself would make the
     * client a slow reader. */
    size_t quarter = ws->conn.table->settings->send_queue_bytes_max / 4;
    size_t part_bytes_max = quarter < LIMIT_FRAME_BYTES ? quarter : LIMIT_FRAME_BYTES;
    size_t done = 0;
    do {
        struct frame_page part = {.conversation = item->conversation,
                                  .events = page->events + done,
                                  .event_count = page->event_count - done,
                                  .head = page->head,
                                  .has_more = page->has_more};
        size_t encoded = 0;
        ws_send_scratch(
            ws, frame_encode_page(ws_scratch(ws), sync->id, &part, part_bytes_max, &encoded));
        if (ws->conn.state != CONN_LIVE) {
            return; /* sync is gone */
        }
        done += encoded;
        if (encoded > 0) {
            item->after_seq = page->events[done - 1].seq;
        }
    } while (done < page->event_count && !conn_is_starved(&ws->conn) &&
             ws->conn.state == CONN_LIVE);
    if (ws->conn.state == CONN_LIVE && done == page->event_count &&
        (!page->has_more || page->event_count == 0)) {
        sync->index++;
    }
}

void ws_sync_page(struct ws_session *ws, const struct session_page *page) {
    struct ws_sync *sync = first_sync(ws);
    CONTRACT(sync != NULL && sync->asking);
    sync->asking = false;
    if (page->reason == REASON_OK) {
        send_page(ws, sync, page);
    } else {
        send_refusal(ws, sync, page->reason);
        if (ws->conn.state == CONN_LIVE) {
            sync->index++;
        }
    }
    if (ws->conn.state == CONN_LIVE) {
        ws_sync_go_on(ws);
    }
}

void ws_sync_forget(struct ws_session *ws) {
    struct list_node *node = list_pop_front(&ws->syncs);
    while (node != NULL) {
        mem_free(CONTAINER_OF(node, struct ws_sync, node));
        node = list_pop_front(&ws->syncs);
    }
}
