/* interest: the asking side of the directory.
 *
 * Updates are deltas numbered without gaps per endpoint; a number out of order, an endpoint we do
 * not know (we were restarted, its lease ran out) or a limit that was hit is answered with
 * need_snapshot, and the endpoint sends everything again. So the directory never drifts in silence:
 * either an update was applied and acknowledged, or the endpoint knows it was not. A repeated
 * update (its answer was lost) is acknowledged again; applying it twice changes nothing.
 *
 * What an endpoint sent before its last snapshot may arrive behind it (the bus keeps requests it
 * could not send for the next connection): updates name the era of their snapshot.
 *
 * Drain: endpoints are told, stop giving us messages, wait for the answers to those they gave us,
 * and say that we are released; they go on listening. A repetition for those who did not hear it is
 * in every answer.
 *
 * Take-over: of two sessions of one (user, device) the one opened later stays when it is exclusive
 * (an MQTT client id); the other is told to go through its own endpoint's stream. Every routing
 * instance says so; endings are idempotent there. Equal times are decided by session id, so that
 * all instances decide alike. */
#include "services/routing/interest.h"

#include "common/log.h"
#include "proto/directory.pb-c.h"
#include "proto/envelope.h"
#include "proto/names.h"
#include "services/routing/directory.h"
#include "services/routing/fanout.h"
#include "services/routing/offline.h"
#include <string.h>

static void reply(struct routing *routing, struct bus_request *request, enum err error,
                  bool need_snapshot) {
    Pipit__InterestReply answer = PIPIT__INTEREST_REPLY__INIT;
    answer.error = (uint32_t)error;
    answer.boot_id = stream_publisher_boot_id(routing->publisher);
    answer.need_snapshot = need_snapshot;
    answer.draining = routing->draining;
    fanout_answer(routing, request, MESSAGE_INTEREST_REPLY, &answer.base);
}

static void update_gauges(struct routing *routing) {
    struct directory *directory = routing->directory;
    metric_set(&routing_metrics.endpoints, (int64_t)directory_endpoint_count(directory));
    metric_set(&routing_metrics.interests, (int64_t)directory_interest_count(directory));
    metric_set(&routing_metrics.sessions, (int64_t)sessions_count(directory_sessions(directory)));
}

static void forget(struct routing *routing, struct endpoint *endpoint, const char *why) {
    log_event(LOG_INFO, "endpoint forgotten", F_TEXT("why", why), F_TEXT("addr", endpoint->address),
              F_UINT("endpoint", endpoint->id), F_UINT("interests", endpoint->interest_count),
              F_UINT("sessions", endpoint->sessions.count));
    fanout_forget(routing, endpoint);
    stream_topic_close(routing->publisher, endpoint->id);
    directory_close(routing->directory, endpoint);
    update_gauges(routing);
}

void interest_tick(struct routing *routing) {
    uint64_t now_us = loop_now_us(routing->loop);
    for (size_t slot = 0; slot < ENDPOINTS_MAX; slot++) {
        struct endpoint *endpoint = directory_at(routing->directory, slot);
        if (endpoint != NULL &&
            now_us - endpoint->heard_us > routing->settings->endpoint_lease_us) {
            struct offline offline;
            offline_begin(routing, endpoint, &offline);
            forget(routing, endpoint, "lease");
            offline_tell(routing, &offline);
        }
    }
}

void interest_prolong(struct routing *routing, uint64_t us) {
    for (size_t slot = 0; slot < ENDPOINTS_MAX; slot++) {
        struct endpoint *endpoint = directory_at(routing->directory, slot);
        if (endpoint != NULL) {
            endpoint->heard_us += us;
        }
    }
}

void interest_drain(struct routing *routing) {
    struct endpoint_set to = {{0}};
    directory_all(routing->directory, &to);
    Pipit__Delivery delivery = PIPIT__DELIVERY__INIT;
    delivery.event_case = PIPIT__DELIVERY__EVENT_DRAINING;
    delivery.draining = true;
    fanout_event(routing, &delivery, &to);
}

bool interest_released(const struct routing *routing) {
    for (size_t slot = 0; slot < ENDPOINTS_MAX; slot++) {
        const struct endpoint *endpoint = directory_at(routing->directory, slot);
        if (endpoint != NULL && !endpoint->released) {
            return false;
        }
    }
    return true;
}

static bool update_valid(const Pipit__InterestUpdate *update) {
    if (update->endpoint == STREAM_TOPIC_ALL) {
        return false;
    }
    for (size_t i = 0; i < update->n_add_conversations; i++) {
        const char *id = update->add_conversations[i];
        if (!names_conversation_id_valid(id, strlen(id))) {
            return false;
        }
    }
    for (size_t i = 0; i < update->n_add_sessions; i++) {
        const Pipit__EndpointSession *session = update->add_sessions[i];
        if (session->session == 0 || !names_user_id_valid(session->user, strlen(session->user)) ||
            strlen(session->device) > ROUTING_DEVICE_BYTES_MAX) {
            return false;
        }
    }
    return true;
}

static enum err open_endpoint(struct routing *routing, const Pipit__InterestUpdate *update,
                              struct endpoint **out) {
    enum err error = stream_topic_open(routing->publisher, update->endpoint);
    if (error == ERR_OK) {
        error = directory_open(routing->directory, update->endpoint, update->address, out);
        if (error != ERR_OK) {
            stream_topic_close(routing->publisher, update->endpoint);
        }
    }
    if (error != ERR_OK) {
        routing_limit_hit(LIMIT_HIT_ENDPOINTS);
        return error;
    }
    log_event(LOG_INFO, "endpoint known", F_TEXT("addr", update->address),
              F_UINT("endpoint", update->endpoint));
    return ERR_OK;
}

static void kick(struct routing *routing, struct known_session *session) {
    if (session->kicked) {
        return;
    }
    session->kicked = true;
    metric_add(&routing_metrics.kicks, 1);
    Pipit__Kick body = PIPIT__KICK__INIT;
    body.session = session->session;
    body.reason = (uint32_t)REASON_SESSION_TAKEN_OVER;
    Pipit__Delivery delivery = PIPIT__DELIVERY__INIT;
    delivery.event_case = PIPIT__DELIVERY__EVENT_KICK;
    delivery.kick = &body;
    struct endpoint_set to = {{0}};
    endpoint_set_add(&to, session->slot);
    fanout_event(routing, &delivery, &to);
}

/* True when `a` was opened after `b`. */
static bool newer(const struct known_session *a, const struct known_session *b) {
    return a->opened_ms != b->opened_ms ? a->opened_ms > b->opened_ms : a->session > b->session;
}

static void take_over(struct routing *routing, struct known_session *added) {
    struct sessions *sessions = directory_sessions(routing->directory);
    const char *user = sessions_user(added);
    struct known_session *other = sessions_of_user(sessions, user, NULL);
    for (; other != NULL; other = sessions_of_user(sessions, user, other)) {
        if (other == added || strcmp(other->device, added->device) != 0) {
            continue;
        }
        if (added->exclusive && newer(added, other)) {
            kick(routing, other);
        } else if (other->exclusive && newer(other, added)) {
            kick(routing, added);
        }
    }
}

static enum err add_sessions(struct routing *routing, struct endpoint *endpoint,
                             const Pipit__InterestUpdate *update) {
    for (size_t i = 0; i < update->n_add_sessions; i++) {
        const Pipit__EndpointSession *told = update->add_sessions[i];
        struct session_facts facts = {
            .endpoint = endpoint->id,
            .session = told->session,
            .opened_ms = told->opened_ms,
            .slot = (uint16_t)endpoint->slot,
            .exclusive = told->exclusive,
            .user = told->user,
            .device = told->device,
        };
        struct known_session *added = NULL;
        enum err error = sessions_add(directory_sessions(routing->directory), &facts,
                                      &endpoint->sessions, &added);
        if (error != ERR_OK) {
            routing_limit_hit(LIMIT_HIT_SESSIONS);
            return error;
        }
        if (added != NULL) {
            take_over(routing, added);
        }
    }
    return ERR_OK;
}

/* Additions come before removals only across the two lists' own order: an endpoint names a
 * conversation in one of them. */
static enum err apply(struct routing *routing, struct endpoint *endpoint,
                      const Pipit__InterestUpdate *update) {
    struct directory *directory = routing->directory;
    for (size_t i = 0; i < update->n_remove_conversations; i++) {
        directory_remove_interest(directory, endpoint, update->remove_conversations[i]);
    }
    for (size_t i = 0; i < update->n_remove_sessions; i++) {
        struct sessions *sessions = directory_sessions(directory);
        struct known_session *session =
            sessions_find(sessions, endpoint->id, update->remove_sessions[i]);
        if (session != NULL) {
            sessions_remove(sessions, &endpoint->sessions, session);
        }
    }
    for (size_t i = 0; i < update->n_add_conversations; i++) {
        enum err error = directory_add_interest(directory, endpoint, update->add_conversations[i]);
        if (error != ERR_OK) {
            routing_limit_hit(LIMIT_HIT_INTERESTS);
            return error;
        }
    }
    return add_sessions(routing, endpoint, update);
}

/* Finds or opens the endpoint and checks the number; *known is NULL when a snapshot is needed. */
static enum err admit_update(struct routing *routing, const Pipit__InterestUpdate *update,
                             struct endpoint **known) {
    struct endpoint *endpoint = directory_find(routing->directory, update->endpoint);
    *known = NULL;
    if (update->snapshot) {
        if (endpoint != NULL) {
            directory_clear(routing->directory, endpoint);
        } else {
            enum err error = open_endpoint(routing, update, &endpoint);
            if (error != ERR_OK) {
                return error;
            }
        }
        endpoint->era = update->era;
    } else if (endpoint == NULL || !endpoint->in_step || update->era != endpoint->era ||
               (update->update_seq != endpoint->update_seq + 1 &&
                update->update_seq != endpoint->update_seq)) {
        return ERR_OK;
    }
    endpoint->in_step = true;
    endpoint->update_seq = update->update_seq;
    endpoint->released = update->released;
    endpoint->heard_us = loop_now_us(routing->loop);
    *known = endpoint;
    return ERR_OK;
}

void interest_receive(struct routing *routing, struct bus_request *request, const uint8_t *body,
                      size_t body_bytes) {
    Pipit__InterestUpdate *update = NULL;
    enum err error = ENVELOPE_UNPACK(INTEREST_UPDATE, body, body_bytes, &routing->turn, &update);
    if (error != ERR_OK || !update_valid(update)) {
        reply(routing, request, error == ERR_OK ? ERR_INVALID : error, false);
        return;
    }
    struct endpoint *endpoint = NULL;
    if (update->leaving) {
        endpoint = directory_find(routing->directory, update->endpoint);
        if (endpoint != NULL) {
            forget(routing, endpoint, "leaving");
        }
        reply(routing, request, ERR_OK, false);
        return;
    }
    error = admit_update(routing, update, &endpoint);
    if (error == ERR_OK && endpoint != NULL) {
        error = apply(routing, endpoint, update);
    }
    bool need_snapshot = endpoint == NULL && error == ERR_OK;
    if (endpoint != NULL && error != ERR_OK) {
        endpoint->in_step = false; /* half applied: only a snapshot helps */
        need_snapshot = true;
    }
    update_gauges(routing);
    reply(routing, request, error, need_snapshot);
}
