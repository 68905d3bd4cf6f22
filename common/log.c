/* log: one event, one line, one write(2).
 *
 * A line is built on the stack and written at once, so lines of several threads never mix and
 * logging cannot fail for lack of memory. Values come from peers: everything that could end a line,
 * a quoted value or a terminal's patience (control characters, quotes, bytes that are not UTF-8,
 * direction overrides) is escaped. The text is cut at LOG_LINE_BYTES_MAX; the tail always has room
 * for the closing quote and truncated=true, so a cut line is still well-formed. A failed write is
 * ignored: there is nowhere left to report it, and serving goes on. */
#include "common/log.h"

#include "common/clock.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_TAIL_BYTES 24u /* closing quote, ,"truncated":true}, newline */

struct line {
    char bytes[LOG_LINE_BYTES_MAX];
    size_t length;
    bool truncated; /* a value did not fit; nothing more is added */
};

struct log_state {
    const char *service;
    enum log_format format;
    bool journal;
    atomic_int level;
};
static struct log_state state = {.service = "pipit", .format = LOG_LOGFMT, .level = LOG_INFO};

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static const char journal_priorities[] = "3467"; /* Source: sd-daemon(3), SD_ERR and others */

/* systemd says which device and inode its journal stream is, because a child may have redirected
 * stderr. Source: systemd.exec(5), JOURNAL_STREAM. */
static bool stderr_is_journal(void) {
    const char *stream = getenv("JOURNAL_STREAM");
    uint64_t device = 0;
    uint64_t inode = 0;
    struct stat info;
    return stream != NULL && sscanf(stream, "%" SCNu64 ":%" SCNu64, &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &info) == 0 && (uint64_t)info.st_dev == device &&
           (uint64_t)info.st_ino == inode;
}

void log_init(const char *service, enum log_level level, enum log_format format) {
    state.service = service;
    state.format = format;
    state.journal = stderr_is_journal();
    log_set_level(level);
}

void log_set_level(enum log_level level) {
    atomic_store_explicit(&state.level, (int)level, memory_order_relaxed);
}

/* Adds all of it or marks the line as truncated. */
static void put(struct line *line, const char *bytes, size_t count) {
    if (line->truncated || count > LOG_LINE_BYTES_MAX - LOG_TAIL_BYTES - line->length) {
        line->truncated = true;
        return;
    }
    memcpy(line->bytes + line->length, bytes, count);
    line->length += count;
}

static void put_text(struct line *line, const char *text) {
    put(line, text, strlen(text));
}

/* Length of the well-formed UTF-8 sequence at bytes (Source: RFC 3629 section 4), 0 when there is
 * none. */
static size_t utf8_length(const uint8_t *bytes, size_t left, uint32_t *point) {
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t lead = bytes[0];
    size_t length = lead >= 0xf0 ? 4u : lead >= 0xe0 ? 3u : 2u;
    if (lead < 0xc2 || lead > 0xf4 || length > left) {
        return 0;
    }
    *point = lead & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0u) != 0x80u) {
            return 0;
        }
        *point = *point << 6 | (bytes[i] & 0x3fu);
    }
    bool surrogate = *point >= 0xd800 && *point <= 0xdfff;
    return *point >= smallest[length] && *point <= 0x10ffff && !surrogate ? length : 0;
}

/* C1 controls, line and paragraph separators, direction overrides: they change what a reader sees.
 */
static bool misleading(uint32_t point) {
    return point < 0xa0 || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2066 && point <= 0x2069);
}

static size_t put_multibyte(struct line *line, const uint8_t *bytes, size_t left) {
    char escape[16];
    uint32_t point = 0;
    size_t length = utf8_length(bytes, left, &point);
    if (length > 0 && !misleading(point)) {
        put(line, (const char *)bytes, length);
        return length;
    }
    if (length > 0) {
        (void)snprintf(escape, sizeof(escape), "\\u%04" PRIx32, point);
    } else {
        /* JSON has no byte escapes: there the backslash itself is escaped. */
        const char *backslash = state.format == LOG_JSON ? "\\\\" : "\\";
        (void)snprintf(escape, sizeof(escape), "%sx%02x", backslash, bytes[0]);
    }
    put_text(line, escape);
    return length > 0 ? length : 1;
}

static void put_escaped(struct line *line, const char *text, size_t count) {
    const uint8_t *bytes = (const uint8_t *)text;
    for (size_t i = 0; i < count && !line->truncated;) {
        uint8_t byte = bytes[i];
        char escape[8];
        if (byte >= 0x80) {
            i += put_multibyte(line, bytes + i, count - i);
            continue;
        }
        if (byte == '"' || byte == '\\') {
            (void)snprintf(escape, sizeof(escape), "\\%c", byte);
        } else if (byte == '\n') {
            (void)snprintf(escape, sizeof(escape), "\\n");
        } else if (byte < 0x20 || byte == 0x7f) {
            (void)snprintf(escape, sizeof(escape), "\\u%04x", byte);
        } else {
            (void)snprintf(escape, sizeof(escape), "%c", byte);
        }
        put_text(line, escape);
        i++;
    }
}

static bool plain(const char *text, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (text[i] <= ' ' || text[i] >= 0x7f || strchr("\"=\\", text[i]) != NULL) {
            return false;
        }
    }
    return count > 0;
}

static void put_key(struct line *line, const char *key) {
    if (state.format == LOG_JSON) {
        put_text(line, ",\"");
        put_text(line, key);
        put_text(line, "\":");
    } else {
        put_text(line, " ");
        put_text(line, key);
        put_text(line, "=");
    }
}

static void put_string(struct line *line, const char *text, size_t count, bool always_quoted) {
    if (state.format == LOG_LOGFMT && !always_quoted && plain(text, count)) {
        put(line, text, count);
        return;
    }
    put_text(line, "\"");
    if (line->truncated) {
        return; /* not even the opening quote fits */
    }
    put_escaped(line, text, count);
    line->bytes[line->length++] = '"'; /* the tail has room */
}

static void put_field(struct line *line, const struct log_field *field) {
    char number[24];
    size_t before = line->length;
    put_key(line, field->key);
    bool key_written = !line->truncated;
    switch (field->kind) {
    case LOG_FIELD_INT:
        (void)snprintf(number, sizeof(number), "%" PRId64, field->number);
        put_text(line, number);
        key_written = key_written && !line->truncated;
        break;
    case LOG_FIELD_UINT:
        (void)snprintf(number, sizeof(number), "%" PRIu64, (uint64_t)field->number);
        put_text(line, number);
        key_written = key_written && !line->truncated;
        break;
    case LOG_FIELD_TEXT:
    case LOG_FIELD_BYTES: {
        const char *text = field->text != NULL ? field->text : "";
        size_t count = field->kind == LOG_FIELD_TEXT ? strlen(text) : (size_t)field->number;
        size_t value_start = line->length;
        put_string(line, text, count, false);
        key_written = key_written && line->length > value_start;
        break;
    }
    }
    if (!key_written) {
        line->length = before; /* a key without a value would not be well-formed */
    }
}

static void put_head(struct line *line, enum log_level level, const char *message) {
    char timestamp[CLOCK_RFC3339_BYTES];
    bool json = state.format == LOG_JSON;
    clock_format_rfc3339(clock_wall_ms(), timestamp);
    if (state.journal) {
        char priority[] = {'<', journal_priorities[level], '>', '\0'};
        put_text(line, priority);
    }
    put_text(line, json ? "{\"ts\":\"" : "ts=");
    put_text(line, timestamp);
    put_text(line, json ? "\",\"level\":\"" : " level=");
    put_text(line, level_names[level]);
    put_text(line, json ? "\"" : "");
    put_key(line, "module");
    put_string(line, state.service, strlen(state.service), false);
    put_key(line, "msg");
    put_string(line, message, strlen(message), true);
}

void log_write(enum log_level level, const char *message, const struct log_field *fields) {
    if ((int)level > atomic_load_explicit(&state.level, memory_order_relaxed)) {
        return;
    }
    struct line line;
    line.length = 0;
    line.truncated = false;
    put_head(&line, level, message);
    for (const struct log_field *field = fields; field->key != NULL && !line.truncated; field++) {
        put_field(&line, field);
    }
    const char *tail = state.format == LOG_JSON
                           ? (line.truncated ? ",\"truncated\":true}\n" : "}\n")
                           : (line.truncated ? " truncated=true\n" : "\n");
    size_t tail_bytes = strlen(tail); /* below LOG_TAIL_BYTES with the closing quote */
    memcpy(line.bytes + line.length, tail, tail_bytes);
    ssize_t written = write(STDERR_FILENO, line.bytes, line.length + tail_bytes);
    (void)written; /* see the note above */
}

bool log_allowed(struct log_limit *limit, uint32_t per_second) {
    uint64_t second = (clock_mono_us() / 1000000u) & 0xffffffffu;
    uint64_t old = atomic_load_explicit(&limit->window, memory_order_relaxed);
    uint64_t new = 0;
    do {
        uint64_t count = old >> 32 == second ? old & 0xffffffffu : 0;
        if (count >= per_second) {
            return false;
        }
        new = second << 32 | (count + 1);
    } while (!atomic_compare_exchange_weak(&limit->window, &old, new));
    return true;
}
