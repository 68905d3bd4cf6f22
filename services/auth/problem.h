/* problem: why a request was refused, as application/problem+json (RFC 9457). `code` is the stable
 * part and comes from proto/reason.h, so REST says the same as WebSocket and MQTT; `status` may be
 * finer than the reason's own (422 for a field, 405 for a method). */
#ifndef PIPIT_AUTH_PROBLEM_H
#define PIPIT_AUTH_PROBLEM_H

#include "common/buf.h"
#include "proto/reason.h"

#define PROBLEM_CONTENT_TYPE "application/problem+json"
#define PROBLEM_DETAIL_BYTES 256

struct problem {
    enum reason reason;                /* REASON_OK = none */
    int status;                        /* HTTP */
    uint32_t retry_ms;                 /* 0 = no Retry-After */
    char detail[PROBLEM_DETAIL_BYTES]; /* UTF-8; "" = left out */
};

/* Both return false, so that a check can end with `return problem_set(...)`. status 0: the reason's
 * own. The text is for people; it is cut at a character when too long. */
bool problem_set(struct problem *problem, enum reason reason, int status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* What an internal error tells a client; no detail beyond the reason's own text. */
bool problem_set_err(struct problem *problem, enum err error);
/* Seconds for Retry-After, at least 1. */
uint32_t problem_retry_s(const struct problem *problem);
/* Appends the document. request_id is plain ASCII. ERR_NO_MEMORY, ERR_TOO_LARGE. */
enum err problem_render(const struct problem *problem, const char *request_id,
                        struct buf *out) MUST_CHECK;

#endif
