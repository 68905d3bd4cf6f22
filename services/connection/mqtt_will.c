/* mqtt_will: the message that speaks for a client that went without a word.
 *
 * A will is a chat message like any other, so its topic must be a send topic and its payload is
 * checked when the client connects; it is submitted through the client's own session, with the
 * rights the user has then. The object lives on as a ghost, without a socket, until the delay is
 * over and the message is on disk (at most ten seconds of trying, see mqtt_publishing.c).
 *
 * It is not sent when the client said DISCONNECT; when its login ended (the user may not speak any
 * more); when the same client id takes over (the device is back; with a delay [MQTT-3.1.3-9] asks
 * for that); and when this server drains (it is we who go, and the client comes back). A machine
 * that dies takes its wills with it. */
#include "services/connection/mqtt_private.h"

#include "common/clock.h"
#include "common/mem.h"

#define WILL_DELAY_MAX_S 300u /* ghosts hold memory and a session */

enum reason mqtt_will_keep(struct mqtt_session *ms, const struct mqtt_connect *connect) {
    if (!connect->has_will) {
        return REASON_OK;
    }
    const struct mqtt_will *will = &connect->will;
    if (will->retain && connect->version == MQTT_V5) {
        return REASON_RETAIN_NOT_SUPPORTED; /* [MQTT-3.2.2-13] */
    }
    struct mqtt_publish publish = {
        .qos = 0, .topic = will->topic, .payload = will->payload, .properties = will->properties};
    struct mqtt_message message;
    enum reason reason =
        mqtt_message_read(mqtt_settings(ms), &publish, &ms->conn.table->scratch2, &message);
    if (reason != REASON_OK) {
        return reason;
    }
    ms->will = mem_zalloc(1, sizeof *ms->will);
    if (ms->will != NULL) {
        ms->will->message = mqtt_message_copy(&message);
    }
    if (ms->will == NULL || ms->will->message == NULL) {
        connection_metrics_limit(LIMIT_HIT_MEMORY);
        mqtt_will_forget(ms);
        return REASON_OVERLOAD;
    }
    if ((will->properties.present & MQTT_HAS_WILL_DELAY) != 0) {
        uint32_t delay_s = will->properties.will_delay_s;
        delay_s = delay_s < ms->session_expiry_s ? delay_s : ms->session_expiry_s;
        ms->will->delay_us = (delay_s < WILL_DELAY_MAX_S ? delay_s : WILL_DELAY_MAX_S) * 1000000ull;
    }
    return REASON_OK;
}

void mqtt_will_forget(struct mqtt_session *ms) {
    if (ms->will != NULL) {
        mem_free(ms->will->message);
        mem_free(ms->will);
        ms->will = NULL;
    }
}

/* Hands the message to the session; retried by mqtt_publishing.c. */
static void submit(struct mqtt_session *ms) {
    struct mqtt_publishing *publishing = mqtt_publishing_add(ms, 0, 0);
    if (publishing == NULL) {
        mqtt_will_forget(ms);
        return;
    }
    /* A new id: the message is of now, and ids older than a day are refused. */
    struct mqtt_message *message = ms->will->message;
    ms->will->message = NULL;
    id_uuid7_make(clock_wall_ms(), message->id);
    publishing->is_will = true;
    publishing->copy = message;
    uint32_t retry_ms = 0;
    enum err error = mqtt_publishing_submit(ms, publishing, message, &retry_ms);
    if (error != ERR_OK && (err_retryable(error) || error == ERR_RATE_LIMITED)) {
        publishing->retry_us = conn_now_us(&ms->conn) + (uint64_t)retry_ms * 1000 + 1;
        conn_check_by(&ms->conn, publishing->retry_us);
    } else if (error != ERR_OK) {
        mqtt_publishing_fail(ms, publishing, reason_from_err(error), 0);
    }
}

static bool is_silenced(enum reason reason) {
    switch (reason) {
    case REASON_TOKEN_EXPIRED:
    case REASON_TOKEN_REVOKED:
    case REASON_BAD_TOKEN:
    case REASON_DISABLED:
    case REASON_DRAIN:
    case REASON_SESSION_TAKEN_OVER:
        return true;
    default:
        return false;
    }
}

bool mqtt_will_trigger(struct mqtt_session *ms, enum reason reason) {
    if (ms->will == NULL) {
        return false;
    }
    if (!ms->connected || !ms->attached || is_silenced(reason)) {
        mqtt_will_forget(ms);
        return false;
    }
    if (ms->will->due_us == 0) {
        ms->will->due_us = conn_now_us(&ms->conn) + ms->will->delay_us;
        if (ms->will->delay_us == 0) {
            submit(ms);
        }
    }
    return ms->will != NULL;
}

uint64_t mqtt_will_check(struct mqtt_session *ms, uint64_t now_us) {
    if (ms->will == NULL || ms->will->message == NULL) {
        return UINT64_MAX;
    }
    if (now_us >= ms->will->due_us) {
        submit(ms);
        return UINT64_MAX;
    }
    return ms->will->due_us;
}
