/* call: one REST request on its way: what the client sent, who it is, what is answered. Handlers
 * use this and nothing of HTTP. A helper that returns false has recorded the problem to answer
 * with; the handler then just returns. */
#ifndef PIPIT_AUTH_CALL_H
#define PIPIT_AUTH_CALL_H

#include "common/id.h"
#include "proto/json_writer.h"
#include "proto/names.h"
#include "services/auth/auth.h"
#include "services/auth/json_in.h"
#include "services/auth/route.h"

#define CALL_REQUEST_ID_BYTES 65
#define CALL_HEADERS_MAX 10
#define CALL_HEADER_BYTES 128
#define CALL_OUT_BYTES_MAX (8u * 1024u * 1024u)

struct call {
    struct worker_job job;
    struct auth *auth;
    struct http_call *http;
    const struct route *route;
    struct route_match match;
    uint64_t started_us;
    char request_id[CALL_REQUEST_ID_BYTES];
    char address[ADDRESS_BYTES]; /* the client's */
    bool attempt_open;           /* call_attempt allowed one that has not succeeded */
    char attempt_user[LIMIT_USER_ID_BYTES + 1];
    struct token_claims self; /* who asks; zero on public routes */
    struct ask ask;
    struct json_t *body; /* an object; NULL unless ROUTE_JSON */
    struct problem problem;
    int status;       /* of the answer; 0 = none written yet */
    const char *type; /* Content-Type of the answer */
    struct buf out;   /* the answer's body */
    struct json_writer json;
    bool json_open; /* json writes to out */
    size_t header_count;
    struct http_reply_header headers[CALL_HEADERS_MAX + 1];
    char header_text[CALL_HEADERS_MAX][CALL_HEADER_BYTES];
};

/* --- what was sent */
/* The index-th {..} of the path; NUL-terminated, decoded, perhaps not UTF-8. */
const char *call_param(const struct call *call, size_t index);
/* Query parameter as a number within min..max; absent: *number and *present stay untouched. */
bool call_query_u64(struct call *call, const char *name, uint64_t min, uint64_t max,
                    uint64_t *number, bool *present) MUST_CHECK;
/* Query parameter as UTF-8 text of at most bytes_max; absent: "". */
bool call_query_text(struct call *call, const char *name, size_t bytes_max,
                     const char **text) MUST_CHECK;
/* All fields of the body are among these (NULL ends). */
bool call_body_known(struct call *call, const char *const *names) MUST_CHECK;
bool call_body_none(struct call *call) MUST_CHECK; /* no field at all */
/* Path parameters that name a user ("ann", "u_ann", "me") or a conversation, as ids. Anything else
 * is 404. */
bool call_param_user(struct call *call, size_t index, char id[LIMIT_USER_ID_BYTES + 1]) MUST_CHECK;
bool call_param_conversation(struct call *call, size_t index,
                             char id[LIMIT_CONVERSATION_ID_BYTES + 1]) MUST_CHECK;
bool call_param_u64(struct call *call, size_t index, uint64_t max, uint64_t *number) MUST_CHECK;

/* --- refusals: all return false */
bool call_fail(struct call *call, enum reason reason, int status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool call_fail_err(struct call *call, enum err error); /* an internal error, or storage's answer */
/* True for ERR_OK, else call_fail_err. */
bool call_check(struct call *call, enum err error) MUST_CHECK;

/* --- the answer */
/* Begins a JSON document with this status; the caller writes one value into it. */
struct json_writer *call_answer(struct call *call, int status);
void call_answer_empty(struct call *call); /* 204 */
/* Bytes that are a document already. */
void call_answer_bytes(struct call *call, const char *type, const void *bytes, size_t count);
/* Adds a header; the formatted value is cut at CALL_HEADER_BYTES. */
void call_header(struct call *call, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* --- shared by several concepts */
/* Takes one attempt for (address, user) and (address), to be given back when it succeeds; user "" =
 * the address alone. At most once a call. False: 429 with the RateLimit fields. */
bool call_attempt(struct call *call, const char *user) MUST_CHECK;
void call_attempt_succeeded(struct call *call);
/* At the end of every call: an attempt that did not succeed has failed, here and at all other auth
 * instances. */
void call_attempt_end(struct call *call);
/* Writes an entry of the audit log; a failure is logged, not answered. detail: no secrets. */
void call_audit(struct call *call, const char *actor, const char *action, const char *subject,
                const char *detail);

#endif
