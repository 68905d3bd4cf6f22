/* mqtt_publishing: from a message that was understood to its PUBACK or PUBREC.
 *
 * The answer leaves when the message is on disk, in the order in which the packets came. A failure
 * is told where the protocol can tell it: MQTT 5 acknowledgements carry a code >= 0x80 and a
 * sentence. MQTT 3.1.1 has only "stored" and silence, and QoS 0 and wills have no answer at all;
 * for them
 *  - what may succeed later (storage down, rate limit) is submitted again here, with the same id,
 * for up to ten seconds; then the connection is closed, so that the client sends it again with
 * DUP=1. What the client sent behind it waits meanwhile ([MQTT-4.6.0-2]: order is kept): refused
 * messages go again one after the other, and new packets are not read;
 *  - what never will (not a member, malformed) closes the connection at once, with the reason in
 * our log. A QoS 0 message of a lost cause would otherwise vanish in silence.
 *
 * MQTT 5 clients may name a response topic below pipit/me/ that they subscribed to: the answer with
 * the seq is published there, the correlation data beside it. */
#include "services/connection/mqtt_private.h"

#include "common/log.h"
#include "common/mem.h"
#include "proto/frame.h"
#include "proto/json_writer.h"

#include <stdio.h>
#include <string.h>

#define RETRY_US 500000u
#define RETRY_FOR_US 10000000u

struct mqtt_publishing *mqtt_publishing_add(struct mqtt_session *ms, uint8_t qos,
                                            uint16_t packet_id) {
    struct mqtt_publishing *publishing = conn_pool_take(&ms->conn.table->publishings);
    if (publishing == NULL) {
        connection_metrics_limit(LIMIT_HIT_MEMORY);
        return NULL;
    }
    publishing->request = ++ms->last_request;
    publishing->qos = qos;
    publishing->packet_id = packet_id;
    publishing->give_up_us = conn_now_us(&ms->conn) + RETRY_FOR_US;
    list_push_back(&ms->publishings, &publishing->node);
    return publishing;
}

void mqtt_publishing_remove(struct mqtt_session *ms, struct mqtt_publishing *publishing) {
    list_remove(&ms->publishings, &publishing->node);
    mem_free(publishing->copy);
    mem_free(publishing->response);
    conn_pool_give(&ms->conn.table->publishings, publishing);
}

static struct mqtt_publishing *publishing_of(struct list_node *node) {
    return node != NULL ? CONTAINER_OF(node, struct mqtt_publishing, node) : NULL;
}

static struct mqtt_publishing *first(const struct mqtt_session *ms) {
    return publishing_of(list_first(&ms->publishings));
}

static struct mqtt_publishing *after(const struct mqtt_session *ms,
                                     const struct mqtt_publishing *publishing) {
    return publishing_of(list_next(&ms->publishings, &publishing->node));
}

void mqtt_forget_publishings(struct mqtt_session *ms) {
    struct mqtt_publishing *publishing = first(ms);
    while (publishing != NULL) {
        mqtt_publishing_remove(ms, publishing);
        publishing = first(ms);
    }
}

struct mqtt_publishing *mqtt_publishing_find(const struct mqtt_session *ms, uint16_t packet_id) {
    struct mqtt_publishing *publishing = first(ms);
    while (publishing != NULL && (publishing->qos == 0 || publishing->packet_id != packet_id)) {
        publishing = after(ms, publishing);
    }
    return publishing;
}

bool mqtt_publishing_waits(const struct mqtt_session *ms) {
    const struct mqtt_publishing *publishing = first(ms);
    while (publishing != NULL && !publishing->again) {
        publishing = after(ms, publishing);
    }
    return publishing != NULL;
}

static bool same_target(const struct mqtt_message *a, const struct mqtt_message *b) {
    return a->target.kind == b->target.kind && strcmp(a->target.id, b->target.id) == 0;
}

/* The lowest turn to the same conversation that waits for its result. */
static uint64_t oldest_turn(const struct mqtt_session *ms, const struct mqtt_publishing *newest) {
    uint64_t oldest = newest->turn;
    const struct mqtt_publishing *publishing = first(ms);
    for (; publishing != NULL; publishing = after(ms, publishing)) {
        if (publishing->turn != 0 && publishing->turn < oldest && !publishing->done &&
            publishing->retry_us == 0 && same_target(publishing->copy, newest->copy)) {
            oldest = publishing->turn;
        }
    }
    return oldest;
}

enum err mqtt_publishing_submit(struct mqtt_session *ms, struct mqtt_publishing *publishing,
                                const struct mqtt_message *message, uint32_t *retry_ms) {
    bool direct = message->target.kind == MQTT_CHAT_SEND_USER;
    struct session_submit submit = {.request = publishing->request,
                                    .conversation = direct ? NULL : message->target.id,
                                    .to_user = direct ? message->target.id : NULL,
                                    .kind = FRAME_EVENT_MSG,
                                    .id = message->id,
                                    .reply_seq = message->reply,
                                    .body = message->body.bytes,
                                    .body_bytes = message->body.count,
                                    .from_mqtt = message->qos > 0,
                                    .packet_id = message->packet_id,
                                    .maybe_copy = message->dup && message->qos > 0};
    memcpy(submit.origin_hash, message->origin_hash, sizeof submit.origin_hash);
    memcpy(publishing->id, message->id, ID_UUID_BYTES);
    if (publishing->copy != NULL && !publishing->is_will) {
        submit.turn = publishing->turn = ++ms->last_turn;
        submit.oldest_turn = oldest_turn(ms, publishing);
    }
    return session_submit(&ms->session, &submit, retry_ms);
}

/* --- answers */

static void send_stored(struct mqtt_session *ms, const struct mqtt_publishing *publishing) {
    char seq[24];
    char id[ID_UUID_TEXT_BYTES];
    (void)snprintf(seq, sizeof seq, "%llu", (unsigned long long)publishing->seq); /* fits */
    id_uuid_format(publishing->id, id);
    struct mqtt_user_property pairs[] = {{slice_text("seq"), slice_text(seq)},
                                         {slice_text("message"), slice_text(id)}};
    struct mqtt_properties properties;
    mqtt_properties_init(&properties);
    properties.user_properties = pairs;
    properties.user_properties_count = sizeof pairs / sizeof pairs[0];
    mqtt_send_ack(ms, publishing->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, publishing->packet_id, 0,
                  mqtt_is_v5(ms) && ms->request_problem ? &properties : NULL);
}

/* {"t":"ok","d":{"conversation","message","seq","ts"}} or {"t":"err","d":{...}} */
static enum err encode_response(struct buf *out, const struct mqtt_publishing *publishing) {
    if (publishing->reason != REASON_OK) {
        return frame_encode_err(out, 0, publishing->reason, NULL, publishing->retry_ms);
    }
    char id[ID_UUID_TEXT_BYTES];
    id_uuid_format(publishing->id, id);
    struct json_writer writer;
    json_write_begin(&writer, out, 192);
    json_write_open(&writer);
    json_write_key_text(&writer, "t", "ok");
    json_write_key(&writer, "d");
    json_write_open(&writer);
    json_write_key_text(&writer, "conversation", publishing->conversation);
    json_write_key_text(&writer, "message", id);
    json_write_key_u64(&writer, "seq", publishing->seq);
    json_write_key_time(&writer, "ts", publishing->ts_ms);
    json_write_close(&writer);
    json_write_close(&writer);
    return json_write_end(&writer);
}

static void send_response(struct mqtt_session *ms, const struct mqtt_publishing *publishing) {
    struct buf *scratch = &ms->conn.table->scratch;
    buf_clear(scratch);
    if (encode_response(scratch, publishing) == ERR_OK) { /* else the acknowledgement has to do */
        mqtt_send_response(ms, publishing->response,
                           slice_make(buf_data(scratch), buf_len(scratch)));
    }
}

static void add_released(struct mqtt_session *ms, uint16_t packet_id) {
    if (ms->released == NULL) {
        ms->released = mem_alloc(LIMIT_MQTT_RECEIVE_MAXIMUM * sizeof ms->released[0]);
    }
    if (ms->released == NULL || ms->released_count == LIMIT_MQTT_RECEIVE_MAXIMUM) {
        connection_metrics_limit(LIMIT_HIT_MEMORY);
        conn_end(&ms->conn, REASON_OVERLOAD); /* the client sends it again; the id finds it */
        return;
    }
    ms->released[ms->released_count++] = packet_id;
}

/* A refusal that the protocol cannot put into an acknowledgement. */
static bool refusal_closes(const struct mqtt_session *ms,
                           const struct mqtt_publishing *publishing) {
    return publishing->qos == 0 || !mqtt_is_v5(ms);
}

static void answer(struct mqtt_session *ms, const struct mqtt_publishing *publishing) {
    if (publishing->reason == REASON_OK) {
        if (publishing->qos == 2) {
            add_released(ms, publishing->packet_id);
        }
        if (publishing->qos > 0) {
            send_stored(ms, publishing);
        }
    } else if (refusal_closes(ms, publishing)) {
        conn_end(&ms->conn, publishing->reason);
        return;
    } else {
        struct mqtt_properties properties;
        mqtt_send_ack(ms, publishing->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, publishing->packet_id,
                      reason_mqtt5(publishing->reason, REASON_IN_PUBACK),
                      mqtt_reason_properties(ms, publishing->reason, &properties));
    }
    if (publishing->response != NULL) {
        send_response(ms, publishing);
    }
}

static void will_done(struct mqtt_session *ms, const struct mqtt_publishing *publishing) {
    static struct log_limit limit;
    if (publishing->reason != REASON_OK && log_allowed(&limit, 10)) {
        log_event(LOG_WARN, "a will could not be delivered", F_TEXT("client_id", ms->client_id),
                  F_TEXT("reason", reason_code(publishing->reason)));
    }
    mqtt_will_forget(ms);
    if (ms->conn.state == CONN_GHOST) {
        conn_check_by(&ms->conn, conn_now_us(&ms->conn)); /* releases it */
    }
}

/* Answers everything that is done, up to the first acknowledgement that is still due. */
static void answer_due(struct mqtt_session *ms) {
    struct mqtt_publishing *publishing = first(ms);
    bool blocked = false;
    while (publishing != NULL) {
        struct mqtt_publishing *next = after(ms, publishing);
        bool ordered = publishing->qos > 0 && !publishing->is_will;
        if (publishing->done && !(ordered && blocked)) {
            if (publishing->is_will) {
                will_done(ms, publishing);
            } else if (conn_is_open(&ms->conn)) {
                answer(ms, publishing);
                if (!ms->attached) {
                    return; /* the answer ended the connection and all entries are gone */
                }
            }
            mqtt_publishing_remove(ms, publishing);
        } else {
            blocked = blocked || ordered;
        }
        publishing = next;
    }
    if (ms->waits_for_answers && !ms->conn.leaving) {
        ms->waits_for_answers = false;
        conn_resume(&ms->conn);
    }
}

void mqtt_publishing_fail(struct mqtt_session *ms, struct mqtt_publishing *publishing,
                          enum reason reason, uint32_t retry_ms) {
    connection_metrics_rejected(CONN_MQTT);
    publishing->done = true;
    publishing->again = false;
    publishing->reason = reason;
    publishing->retry_ms = retry_ms;
    answer_due(ms);
}

/* --- results and second tries */

static bool try_again(struct mqtt_session *ms, struct mqtt_publishing *publishing,
                      enum reason reason, uint32_t retry_ms) {
    uint64_t now_us = conn_now_us(&ms->conn);
    if (publishing->copy == NULL || !reason_retryable(reason) || now_us >= publishing->give_up_us) {
        return false;
    }
    uint64_t wait_us = (uint64_t)retry_ms * 1000;
    publishing->again = !publishing->is_will;
    publishing->retry_us = now_us + (wait_us > RETRY_US ? wait_us : RETRY_US);
    conn_check_by(&ms->conn, publishing->retry_us);
    return true;
}

/* False: it failed for good, and entries are gone. */
static bool submit_again(struct mqtt_session *ms, struct mqtt_publishing *publishing) {
    uint32_t retry_ms = 0;
    publishing->retry_us = 0;
    enum err error = mqtt_publishing_submit(ms, publishing, publishing->copy, &retry_ms);
    enum reason reason = error == ERR_FULL ? REASON_OVERLOAD : reason_from_err(error);
    if (error != ERR_OK && !try_again(ms, publishing, reason, retry_ms)) {
        mqtt_publishing_fail(ms, publishing, reason, retry_ms);
        return false;
    }
    return true;
}

/* One that was tried again is stored: the next that waits goes at once. */
static void next_turn(struct mqtt_session *ms) {
    struct mqtt_publishing *publishing = first(ms);
    while (publishing != NULL && !publishing->again) {
        publishing = after(ms, publishing);
    }
    if (publishing != NULL && publishing->retry_us != 0) {
        (void)submit_again(ms, publishing); /* failures are answered */
    }
}

void mqtt_on_result(struct session *session, uint64_t request,
                    const struct session_result *result) {
    struct mqtt_session *ms = mqtt_of_session(session);
    struct mqtt_publishing *publishing = first(ms);
    while (publishing != NULL && publishing->request != request) {
        publishing = after(ms, publishing);
    }
    CONTRACT(publishing != NULL && !publishing->done);
    if (result->reason != REASON_OK) {
        if (!try_again(ms, publishing, result->reason, result->retry_ms)) {
            mqtt_publishing_fail(ms, publishing, result->reason, result->retry_ms);
        }
        return;
    }
    bool freed = publishing->again;
    publishing->again = false;
    publishing->done = true;
    publishing->reason = REASON_OK;
    publishing->seq = result->seq;
    publishing->ts_ms = result->ts_ms;
    if (result->conversation != NULL) {
        (void)snprintf(publishing->conversation, sizeof publishing->conversation, "%s",
                       result->conversation); /* ids fit */
    }
    if (freed) {
        next_turn(ms); /* before answers let new packets in */
    }
    if (ms->attached) {
        answer_due(ms);
    }
}

uint64_t mqtt_retry(struct mqtt_session *ms, uint64_t now_us) {
    uint64_t next_us = UINT64_MAX;
    bool blocked = false; /* an earlier one waits or is on its way */
    struct mqtt_publishing *publishing = first(ms);
    while (publishing != NULL) {
        struct mqtt_publishing *next = after(ms, publishing);
        bool may = !(blocked && publishing->again);
        if (may && publishing->retry_us != 0 && publishing->retry_us <= now_us &&
            !submit_again(ms, publishing)) {
            return now_us; /* others may be gone: look again */
        }
        if (may && publishing->retry_us != 0 && publishing->retry_us < next_us) {
            next_us = publishing->retry_us;
        }
        blocked = blocked || publishing->again;
        publishing = next;
    }
    return next_us;
}
