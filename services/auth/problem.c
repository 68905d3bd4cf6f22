/* problem: rendering of refusals. The title is the reason's sentence, the same for every occurrence
 * as RFC 9457 section 3.1.4 wants; the detail says what was wrong this time. Details quote what the
 * client sent (a field's name), so they are cut at character boundaries and escaped; they never
 * quote a value, which could be a password. */
#include "services/auth/problem.h"

#include "proto/json_writer.h"
#include "proto/utf8.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PROBLEM_BYTES_EXPECTED 512u

bool problem_set(struct problem *problem, enum reason reason, int status, const char *format, ...) {
    va_list arguments;
    problem->reason = reason;
    problem->status = status != 0 ? status : reason_http_status(reason);
    va_start(arguments, format);
    int length = vsnprintf(problem->detail, sizeof problem->detail, format, arguments);
    va_end(arguments);
    size_t held = length < 0 ? 0 : strlen(problem->detail);
    while (held > 0 && !utf8_valid((const uint8_t *)problem->detail, held)) {
        held--; /* at most three times when the cut was within a character */
    }
    problem->detail[held] = '\0';
    return false;
}

bool problem_set_err(struct problem *problem, enum err error) {
    enum reason reason = reason_from_err(error);
    problem->reason = reason != REASON_OK ? reason : REASON_SERVER_ERROR;
    problem->status = reason_http_status(problem->reason);
    problem->retry_ms = reason_retryable(problem->reason) ? 1000 : 0;
    problem->detail[0] = '\0';
    return false;
}

uint32_t problem_retry_s(const struct problem *problem) {
    uint32_t seconds = problem->retry_ms / 1000 + (problem->retry_ms % 1000 != 0);
    return seconds > 0 ? seconds : 1;
}

enum err problem_render(const struct problem *problem, const char *request_id, struct buf *out) {
    struct json_writer writer;
    char type[64];
    (void)snprintf(type, sizeof type, "/docs/errors/%.48s", reason_code(problem->reason));
    json_write_begin(&writer, out, PROBLEM_BYTES_EXPECTED);
    json_write_open(&writer);
    json_write_key_text(&writer, "type", type);
    json_write_key_text(&writer, "title", reason_text(problem->reason));
    json_write_key_u64(&writer, "status", (uint64_t)problem->status);
    json_write_key_text(&writer, "code", reason_code(problem->reason));
    if (problem->detail[0] != '\0') {
        json_write_key_text(&writer, "detail", problem->detail);
    }
    json_write_key_bool(&writer, "retryable", reason_retryable(problem->reason));
    json_write_key_text(&writer, "request_id", request_id);
    json_write_close(&writer);
    return json_write_end(&writer);
}
