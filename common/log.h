/* log: one line an event on stderr, logfmt or JSON. Values are escaped, so input cannot forge
 * lines. Never log a body, password or token. Libraries (`common`, `proto`) return errors; services
 * log. */
#ifndef PIPIT_COMMON_LOG_H
#define PIPIT_COMMON_LOG_H

#include "common/err.h"
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_LOGFMT, LOG_JSON };

struct log_field {
    const char *key; /* NULL ends a list */
    enum { LOG_FIELD_TEXT, LOG_FIELD_INT, LOG_FIELD_UINT, LOG_FIELD_BYTES } kind;
    const char *text; /* TEXT: NUL-terminated, NULL prints as empty; BYTES: with count */
    int64_t number;   /* INT, UINT (cast), BYTES' count */
};
#define F_TEXT(key, value) ((struct log_field){(key), LOG_FIELD_TEXT, (value), 0})
#define F_INT(key, value) ((struct log_field){(key), LOG_FIELD_INT, NULL, (int64_t)(value)})
#define F_UINT(key, value) ((struct log_field){(key), LOG_FIELD_UINT, NULL, (int64_t)(value)})
#define F_BYTES(key, bytes, count)                                                                 \
    ((struct log_field){(key), LOG_FIELD_BYTES, (bytes), (int64_t)(count)})
#define F_ERR(value) ((struct log_field){"err", LOG_FIELD_TEXT, err_name(value), 0})

/* A line is cut at this size, with truncated=true at its end. Source: PIPE_BUF, up to which one
 * write(2) to a pipe is not interleaved with others'. */
#define LOG_LINE_BYTES_MAX 4096

/* service (borrowed, static) appears as module=; call once before threads start. Under systemd
 * (stderr is the stream that JOURNAL_STREAM names) each line gets its <priority>. */
void log_init(const char *service, enum log_level level, enum log_format format);
void log_set_level(enum log_level level); /* any thread */
/* log_event(LOG_INFO, "listening", F_TEXT("addr", a), F_INT("port", p)): any thread; one write(2).
 */
#define log_event(level, ...) LOG_EVENT_PICK((level), __VA_ARGS__, ((struct log_field){0}))
#define LOG_EVENT_PICK(level, message, ...)                                                        \
    log_write((level), (message), (const struct log_field[]){__VA_ARGS__})
void log_write(enum log_level level, const char *message, const struct log_field *fields);
/* log_allowed is true at most `per_second` times a second per site (clock_mono_us): it guards log
 * lines that input can trigger. Any thread. */
struct log_limit {
    atomic_uint_fast64_t window; /* second << 32 | lines in it; static storage starts at zero */
};
bool log_allowed(struct log_limit *limit, uint32_t per_second);

#endif
