/* fake_session: a scripted hub for tests of the protocol state machines: it takes the place of
 * session.c and hub.c at link time, remembers what a protocol asked for and lets the test answer.
 * Include in one file of a test program, behind cmocka. */
#ifndef PIPIT_TESTS_FAKE_SESSION_H
#define PIPIT_TESTS_FAKE_SESSION_H

#include "common/contract.h"
#include "services/connection/session.h"
#include <string.h>

#define FAKE_MAX 256
struct fake_submit {
    struct session *session;
    uint64_t request;
    char conversation[64], to_user[64], body[1024];
    enum frame_event_kind kind;
    uint8_t id[16];
    uint64_t target_seq, reply_seq, turn, oldest_turn;
    bool from_mqtt, maybe_copy;
    uint8_t origin_hash[16];
    uint16_t packet_id;
};
struct fake_mark {
    char conversation[64];
    uint64_t delivered, read;
};
static struct {
    enum reason token_reason;
    char token_user[TOKEN_USER_BYTES];
    char epoch[41];
    enum err open_error, submit_error;
    uint32_t submit_retry_ms;
    struct session *session; /* the last one opened */
    bool exclusive, wants_backlog, new_backlog;
    bool no_routing;
    bool resumed; /* what the session tells */
    char device[128];
    unsigned opens, closes, renewals, writables, left;
    struct fake_submit submits[FAKE_MAX];
    size_t submit_count;
    struct fake_mark marks[FAKE_MAX];
    size_t mark_count;
    char history_conversation[64];
    uint64_t history_request, history_after;
    unsigned histories, typings, presences, queries;
} fake;

static void fake_reset(void) {
    memset(&fake, 0, sizeof fake);
    strcpy(fake.token_user, "u_ann");
    strcpy(fake.epoch, "e1");
}

const char *hub_epoch(const struct hub *hub) {
    (void)hub;
    return fake.epoch;
}

bool hub_has_routing(const struct hub *hub) {
    (void)hub;
    return !fake.no_routing;
}

enum reason hub_check_token(struct hub *hub, const char *token, size_t token_bytes,
                            struct token_claims *claims) {
    (void)hub;
    if (fake.token_reason != REASON_OK) {
        return fake.token_reason;
    }
    if (token_bytes != 4 || memcmp(token, "good", 4) != 0) {
        return REASON_BAD_TOKEN;
    }
    memset(claims, 0, sizeof *claims);
    strcpy(claims->user, fake.token_user);
    strcpy(claims->device, "d_1");
    claims->expires_ms = 5000;
    return REASON_OK;
}

enum err session_open(struct hub *hub, struct session *session, const struct session_ops *ops,
                      const struct session_open *open) {
    if (fake.open_error != ERR_OK) {
        return fake.open_error;
    }
    memset(session, 0, sizeof *session);
    session->ops = ops;
    session->hub = hub;
    session->id = 7;
    session->resumed = fake.resumed;
    strcpy(session->device, open->device);
    strcpy(session->token_device, open->claims->device);
    session->token_expires_ms = open->claims->expires_ms;
    strcpy(fake.device, open->device);
    fake.exclusive = open->exclusive;
    fake.wants_backlog = open->wants_backlog;
    fake.new_backlog = open->new_backlog;
    fake.session = session;
    fake.opens++;
    return ERR_OK;
}

enum reason session_renew(struct session *session, const struct token_claims *claims) {
    (void)session;
    fake.renewals++;
    return strcmp(claims->user, "u_ann") == 0 ? REASON_OK : REASON_BAD_TOKEN;
}

void session_close(struct session *session) {
    if (fake.session == session) {
        fake.session = NULL;
    }
    fake.closes++;
}

enum err session_submit(struct session *session, const struct session_submit *submit,
                        uint32_t *retry_ms) {
    if (fake.submit_error != ERR_OK) {
        *retry_ms = fake.submit_retry_ms;
        return fake.submit_error;
    }
    CONTRACT(fake.submit_count < FAKE_MAX);
    struct fake_submit *kept = &fake.submits[fake.submit_count++];
    memset(kept, 0, sizeof *kept);
    kept->session = session;
    kept->request = submit->request;
    kept->kind = submit->kind;
    strcpy(kept->conversation, submit->conversation != NULL ? submit->conversation : "");
    strcpy(kept->to_user, submit->to_user != NULL ? submit->to_user : "");
    CONTRACT(submit->body_bytes < sizeof kept->body);
    memcpy(kept->body, submit->body, submit->body_bytes);
    memcpy(kept->id, submit->id, 16);
    memcpy(kept->origin_hash, submit->origin_hash, 16);
    kept->target_seq = submit->target_seq;
    kept->reply_seq = submit->reply_seq;
    kept->from_mqtt = submit->from_mqtt;
    kept->maybe_copy = submit->maybe_copy;
    kept->turn = submit->turn;
    kept->oldest_turn = submit->oldest_turn;
    kept->packet_id = submit->packet_id;
    session->unanswered++;
    return ERR_OK;
}

enum err session_mark(struct session *session, const char *conversation, uint64_t delivered_seq,
                      uint64_t read_seq) {
    (void)session;
    if (strcmp(conversation, "c_other") == 0) {
        return ERR_NOT_MEMBER;
    }
    CONTRACT(fake.mark_count < FAKE_MAX);
    struct fake_mark *mark = &fake.marks[fake.mark_count++];
    strcpy(mark->conversation, conversation);
    mark->delivered = delivered_seq;
    mark->read = read_seq;
    return ERR_OK;
}

enum err session_typing(struct session *session, const char *conversation, bool active) {
    (void)session;
    (void)conversation;
    (void)active;
    fake.typings++;
    return ERR_OK;
}

enum err session_presence(struct session *session, const char *status) {
    (void)session;
    (void)status;
    fake.presences++;
    return ERR_OK;
}

enum err session_presence_query(struct session *session, uint64_t request,
                                const char *conversation) {
    (void)session;
    (void)request;
    (void)conversation;
    fake.queries++;
    return ERR_OK;
}

enum err session_history(struct session *session, uint64_t request, const char *conversation,
                         uint64_t after_seq, uint32_t limit) {
    (void)session;
    (void)limit;
    strcpy(fake.history_conversation, conversation);
    fake.history_request = request;
    fake.history_after = after_seq;
    fake.histories++;
    return ERR_OK;
}

void session_writable(struct session *session) {
    (void)session;
    fake.writables++;
}

const char *session_user_id(const struct session *session) {
    (void)session;
    return fake.token_user;
}

void hub_leave(struct hub *hub, uint64_t timeout_us, void (*on_left)(void *user), void *user) {
    (void)hub;
    (void)timeout_us;
    fake.left++;
    on_left(user);
}

/* --- the test's side */

static inline void fake_result(size_t index, enum reason reason, uint64_t seq) {
    struct fake_submit *submit = &fake.submits[index];
    struct session_result result = {
        .reason = reason,
        .seq = seq,
        .ts_ms = 1000,
        .conversation = submit->conversation[0] != '\0' ? submit->conversation : "c_dm-x",
        .retry_ms = reason == REASON_RATE_LIMITED ? 700 : 0};
    submit->session->unanswered--;
    submit->session->ops->on_result(submit->session, submit->request, &result);
}

static inline void fake_message(struct session *session, const char *conversation, uint64_t seq,
                                const char *frame) {
    static const uint8_t id[16] = {1};
    struct event event = {.class = EVENT_MESSAGE,
                          .kind = FRAME_EVENT_MSG,
                          .conversation = conversation,
                          .seq = seq,
                          .id = id,
                          .frame = (const uint8_t *)frame,
                          .frame_bytes = strlen(frame)};
    session->ops->on_event(session, &event);
}

static inline void fake_event(struct session *session, enum event_class class, const char *frame) {
    struct event event = {
        .class = class, .frame = (const uint8_t *)frame, .frame_bytes = strlen(frame)};
    session->ops->on_event(session, &event);
}

#endif
