/* call: the accessors that handlers share. Query parameters come from the HTTP library decoded but
 * unchecked, so they are validated here once; numbers are decimal digits alone ("+1", " 1" and
 * "1e3" are refused), and a number too large for its parameter is refused rather than cut, so
 * nobody takes a short page for the whole. */
#include "services/auth/call.h"

#include "common/clock.h"
#include "common/contract.h"
#include "common/log.h"
#include "proto/utf8.h"
#include "services/auth/attempt_feed.h"
#include "services/auth/metrics.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define INVALID 422

const char *call_param(const struct call *call, size_t index) {
    CONTRACT(index < ROUTE_PARAMS_MAX);
    return call->match.params[index];
}

static bool parse_u64(const char *text, uint64_t max, uint64_t *number) {
    uint64_t value = 0;
    if (*text == '\0' || strlen(text) > 19) {
        return false;
    }
    for (; *text >= '0' && *text <= '9'; text++) {
        value = value * 10 + (uint64_t)(*text - '0');
    }
    if (*text != '\0' || value > max) {
        return false;
    }
    *number = value;
    return true;
}

bool call_query_u64(struct call *call, const char *name, uint64_t min, uint64_t max,
                    uint64_t *number, bool *present) {
    const char *text = http_query(call->http, name);
    uint64_t value = 0;
    if (text == NULL) {
        return true;
    }
    if (!parse_u64(text, max, &value) || value < min) {
        return call_fail(call, REASON_MALFORMED, INVALID,
                         "\"%s\" must be an integer from %llu to %llu.", name,
                         (unsigned long long)min, (unsigned long long)max);
    }
    *number = value;
    if (present != NULL) {
        *present = true;
    }
    return true;
}

bool call_query_text(struct call *call, const char *name, size_t bytes_max, const char **text) {
    const char *value = http_query(call->http, name);
    *text = value != NULL ? value : "";
    if (strlen(*text) > bytes_max || !utf8_valid((const uint8_t *)*text, strlen(*text))) {
        return call_fail(call, REASON_MALFORMED, INVALID,
                         "\"%s\" must be UTF-8 of at most %zu bytes.", name, bytes_max);
    }
    return true;
}

bool call_body_known(struct call *call, const char *const *names) {
    return json_in_known(call->body, names, &call->problem);
}

bool call_body_none(struct call *call) {
    static const char *const none[] = {NULL};
    return call_body_known(call, none);
}

bool call_param_user(struct call *call, size_t index, char id[LIMIT_USER_ID_BYTES + 1]) {
    const char *text = call_param(call, index);
    if (strcmp(text, "me") == 0) {
        (void)snprintf(id, LIMIT_USER_ID_BYTES + 1, "%.34s", call->self.user); /* ours: it fits */
        return true;
    }
    if (names_user_id_accept(text, strlen(text), id) != ERR_OK) {
        return call_fail(call, REASON_NOT_FOUND, 0, "There is no such user.");
    }
    return true;
}

bool call_param_conversation(struct call *call, size_t index,
                             char id[LIMIT_CONVERSATION_ID_BYTES + 1]) {
    const char *text = call_param(call, index);
    if (names_conversation_id_accept(text, strlen(text), id) != ERR_OK) {
        return call_fail(call, REASON_NOT_FOUND, 0, "There is no such conversation.");
    }
    return true;
}

bool call_param_u64(struct call *call, size_t index, uint64_t max, uint64_t *number) {
    if (!parse_u64(call_param(call, index), max, number)) {
        return call_fail(call, REASON_NOT_FOUND, 0, "There is no such message.");
    }
    return true;
}

bool call_fail(struct call *call, enum reason reason, int status, const char *format, ...) {
    char detail[PROBLEM_DETAIL_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    return problem_set(&call->problem, reason, status, "%s", length < 0 ? "" : detail);
}

bool call_fail_err(struct call *call, enum err error) {
    if (error == ERR_INTERNAL || error == ERR_CORRUPT || error == ERR_IO) {
        log_event(LOG_ERROR, "request failed", F_TEXT("req", call->request_id),
                  F_TEXT("route", call->route->path), F_ERR(error));
    }
    return problem_set_err(&call->problem, error);
}

bool call_check(struct call *call, enum err error) {
    return error == ERR_OK ? true : call_fail_err(call, error);
}

struct json_writer *call_answer(struct call *call, int status) {
    CONTRACT(!call->json_open);
    call->status = status;
    call->type = "application/json";
    call->json_open = true;
    json_write_begin(&call->json, &call->out, 512);
    return &call->json;
}

void call_answer_empty(struct call *call) {
    call->status = 204;
    call->type = NULL;
}

void call_answer_bytes(struct call *call, const char *type, const void *bytes, size_t count) {
    call->status = 200;
    call->type = type;
    enum err error = buf_append(&call->out, bytes, count);
    if (error != ERR_OK) {
        (void)call_fail_err(call, error);
    }
}

void call_header(struct call *call, const char *name, const char *format, ...) {
    va_list arguments;
    CONTRACT(call->header_count < CALL_HEADERS_MAX);
    char *text = call->header_text[call->header_count];
    va_start(arguments, format);
    (void)vsnprintf(text, CALL_HEADER_BYTES, format, arguments); /* a longer one is cut */
    va_end(arguments);
    call->headers[call->header_count++] = (struct http_reply_header){name, text};
}

bool call_attempt(struct call *call, const char *user) {
    char bucket[ADDRESS_BYTES];
    struct rate_refusal refusal;
    address_bucket(call->address, bucket);
    CONTRACT(!call->attempt_open);
    if (rate_limits_take(call->auth->limits, bucket, user, clock_mono_us(), &refusal)) {
        call->attempt_open = true;
        (void)snprintf(call->attempt_user, sizeof call->attempt_user, "%s", user); /* an id: fits */
        return true;
    }
    bool own = strcmp(refusal.bucket, "login") == 0;
    metric_add(own ? &auth_metrics.limited_login : &auth_metrics.limited_address, 1);
    (void)call_fail(call, REASON_RATE_LIMITED, 0, "Too many failed attempts; wait %u s.",
                    refusal.retry_ms / 1000 + 1);
    call->problem.retry_ms = refusal.retry_ms;
    call_header(call, "RateLimit-Policy", "\"%s\";q=%u;w=%u", refusal.bucket, refusal.quota,
                RATE_LIMITS_WINDOW_S);
    call_header(call, "RateLimit", "\"%s\";r=0;t=%u", refusal.bucket,
                problem_retry_s(&call->problem));
    return false;
}

void call_attempt_succeeded(struct call *call) {
    char bucket[ADDRESS_BYTES];
    CONTRACT(call->attempt_open);
    call->attempt_open = false;
    address_bucket(call->address, bucket);
    rate_limits_give_back(call->auth->limits, bucket, call->attempt_user, clock_mono_us());
}

void call_attempt_end(struct call *call) {
    char bucket[ADDRESS_BYTES];
    if (!call->attempt_open) {
        return;
    }
    call->attempt_open = false;
    address_bucket(call->address, bucket);
    rate_limits_failed(call->auth->limits, bucket, call->attempt_user);
    attempt_feed_wake(call->auth->attempts);
}

void call_audit(struct call *call, const char *actor, const char *action, const char *subject,
                const char *detail) {
    Pipit__AuditAppend request = PIPIT__AUDIT_APPEND__INIT;
    Pipit__StatusReply *reply = NULL;
    request.actor = ask_text(actor);
    request.action = ask_text(action);
    request.subject = ask_text(subject);
    request.detail = ask_text(detail);
    request.address = call->address;
    request.now_ms = clock_wall_ms();
    enum err error = ASK(&call->ask, AUDIT_APPEND, &request, STATUS_REPLY, &reply);
    if (error != ERR_OK) {
        log_event(LOG_WARN, "audit entry lost", F_TEXT("action", action), F_TEXT("actor", actor),
                  F_TEXT("subject", subject), F_TEXT("address", call->address), F_ERR(error));
    }
}
