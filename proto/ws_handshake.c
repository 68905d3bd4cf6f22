/* The opening handshake, strictly.
 *
 * The head is looked at only when it is complete (at most 8 KiB), then cut into lines and fields in
 * one pass. What could be read in two ways by us and by a proxy in front of us is refused: bare
 * line feeds, folded lines, spaces before a colon, repeated single fields, a body (RFC 9112
 * sections 2.2, 5, 11.2). X-Forwarded-* is not read: anybody can send it. The first byte is judged
 * at once, so that a TLS hello on the plain port ends immediately instead of waiting for its
 * timeout.
 *
 * Failure is one HTTP status; the caller writes the answer and closes. Nothing is allocated. */
#include "proto/ws_handshake.h"

#include "proto/frame.h"
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <strings.h>

#define KEY_TEXT_BYTES 24                                  /* base64 of 16 bytes */
#define ACCEPT_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455 section 1.3 */

enum field {
    FIELD_HOST,
    FIELD_UPGRADE,
    FIELD_CONNECTION,
    FIELD_KEY,
    FIELD_VERSION,
    FIELD_PROTOCOL,
    FIELD_ORIGIN,
    FIELD_USER_AGENT,
    FIELD_CONTENT_LENGTH,
    FIELD_TRANSFER_ENCODING,
    FIELD_COUNT /* another one */
};
static const struct {
    const char *name;
    bool is_list; /* may be repeated */
} fields[FIELD_COUNT] = {
    [FIELD_HOST] = {"host", false},
    [FIELD_UPGRADE] = {"upgrade", true},
    [FIELD_CONNECTION] = {"connection", true},
    [FIELD_KEY] = {"sec-websocket-key", false},
    [FIELD_VERSION] = {"sec-websocket-version", false},
    [FIELD_PROTOCOL] = {"sec-websocket-protocol", true},
    [FIELD_ORIGIN] = {"origin", false},
    [FIELD_USER_AGENT] = {"user-agent", true},
    [FIELD_CONTENT_LENGTH] = {"content-length", false},
    [FIELD_TRANSFER_ENCODING] = {"transfer-encoding", true},
};

struct head {
    struct slice method, target, version;
    struct slice values[FIELD_COUNT]; /* the last one given */
    unsigned counts[FIELD_COUNT];
    bool upgrades_websocket, connection_upgrades, offers_pipit;
};

/* RFC 9110 section 5.6.2 */
static bool is_token_byte(uint8_t byte) {
    return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= 'a' && byte <= 'z') ||
           (byte != 0 && memchr("!#$%&'*+-.^_`|~", byte, 15) != NULL);
}

static bool is_token(struct slice text) {
    for (size_t i = 0; i < text.count; i++) {
        if (!is_token_byte(text.bytes[i])) {
            return false;
        }
    }
    return text.count > 0;
}

static bool equals_nocase(struct slice slice, const char *text) {
    return slice.count == strlen(text) &&
           strncasecmp((const char *)slice.bytes, text, slice.count) == 0;
}

static struct slice trim(struct slice slice) {
    while (slice.count > 0 && (slice.bytes[0] == ' ' || slice.bytes[0] == '\t')) {
        slice.bytes++;
        slice.count--;
    }
    while (slice.count > 0 &&
           (slice.bytes[slice.count - 1] == ' ' || slice.bytes[slice.count - 1] == '\t')) {
        slice.count--;
    }
    return slice;
}

/* Cuts the part before the separator off *rest; false when nothing is left. */
static bool cut(struct slice *rest, uint8_t separator, struct slice *part) {
    if (rest->bytes == NULL) {
        return false;
    }
    const uint8_t *stop = rest->count > 0 ? memchr(rest->bytes, separator, rest->count) : NULL;
    if (stop == NULL) {
        *part = *rest;
        *rest = (struct slice){0};
        return true;
    }
    *part = slice_make(rest->bytes, (size_t)(stop - rest->bytes));
    *rest = slice_make(stop + 1, rest->count - part->count - 1);
    return true;
}

static bool list_has(struct slice list, const char *item, bool ignores_case) {
    struct slice part;
    while (cut(&list, ',', &part)) {
        part = trim(part);
        if (ignores_case ? equals_nocase(part, item) : slice_is(part, item)) {
            return true;
        }
    }
    return false;
}

static void note_field(struct head *head, enum field field, struct slice value) {
    head->values[field] = value;
    head->counts[field]++;
    if (field == FIELD_UPGRADE) {
        head->upgrades_websocket |= list_has(value, "websocket", true);
    } else if (field == FIELD_CONNECTION) {
        head->connection_upgrades |= list_has(value, "upgrade", true);
    } else if (field == FIELD_PROTOCOL) {
        head->offers_pipit |= list_has(value, FRAME_PROTOCOL, false);
    }
}

/* name: value */
static bool read_field(struct head *head, struct slice line) {
    const uint8_t *colon = memchr(line.bytes, ':', line.count);
    if (colon == NULL) {
        return false;
    }
    struct slice name = slice_make(line.bytes, (size_t)(colon - line.bytes));
    struct slice value = trim(slice_make(colon + 1, line.count - name.count - 1));
    if (!is_token(name)) {
        return false; /* folded lines begin with a space: no token either */
    }
    for (size_t i = 0; i < value.count; i++) {
        if ((value.bytes[i] < 0x20 && value.bytes[i] != '\t') || value.bytes[i] == 0x7F) {
            return false;
        }
    }
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (equals_nocase(name, fields[i].name)) {
            note_field(head, (enum field)i, value);
            return fields[i].is_list || head->counts[i] == 1;
        }
    }
    return true;
}

static bool read_request_line(struct head *head, struct slice line) {
    if (!cut(&line, ' ', &head->method) || !cut(&line, ' ', &head->target) ||
        !cut(&line, ' ', &head->version) || line.bytes != NULL || !is_token(head->method) ||
        head->target.count == 0) {
        return false;
    }
    for (size_t i = 0; i < head->target.count; i++) {
        if (head->target.bytes[i] <= ' ' || head->target.bytes[i] >= 0x7F) {
            return false;
        }
    }
    return head->version.count >= 5 && memcmp(head->version.bytes, "HTTP/", 5) == 0;
}

/* text: the head up to and with the CRLF of its last line. */
static bool read_head(struct head *head, struct slice text) {
    *head = (struct head){0};
    for (size_t lines = 0; text.count > 0; lines++) {
        const uint8_t *stop = memchr(text.bytes, '\n', text.count);
        size_t bytes = stop != NULL ? (size_t)(stop - text.bytes) : 0;
        if (bytes < 2 || text.bytes[bytes - 1] != '\r' || lines > LIMIT_HTTP_HEADERS) {
            return false;
        }
        struct slice line = slice_make(text.bytes, bytes - 1);
        if (!(lines == 0 ? read_request_line(head, line) : read_field(head, line))) {
            return false;
        }
        text = slice_make(stop + 1, text.count - bytes - 1);
    }
    return true;
}

/* Exactly 16 bytes in canonical base64. */
static bool is_key(struct slice key) {
    if (key.count != KEY_TEXT_BYTES || memcmp(key.bytes + 22, "==", 2) != 0) {
        return false;
    }
    for (size_t i = 0; i < 22; i++) {
        uint8_t byte = key.bytes[i];
        if (!((byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
              (byte >= 'a' && byte <= 'z') || byte == '+' || byte == '/')) {
            return false;
        }
    }
    return memchr("AQgw", key.bytes[21], 4) != NULL; /* the last four bits are zero */
}

static struct slice path_of(struct slice target) {
    const uint8_t *query = memchr(target.bytes, '?', target.count);
    return query == NULL ? target : slice_make(target.bytes, (size_t)(query - target.bytes));
}

/* 0 = an upgrade to pipit.v1. */
static int judge(const struct head *head) {
    struct slice path = path_of(head->target);
    const struct slice *length = &head->values[FIELD_CONTENT_LENGTH];
    if (!slice_is(head->version, "HTTP/1.1")) {
        return 505;
    }
    if (head->counts[FIELD_HOST] != 1 || head->values[FIELD_HOST].count == 0 ||
        head->counts[FIELD_TRANSFER_ENCODING] > 0 ||
        (head->counts[FIELD_CONTENT_LENGTH] > 0 && !slice_is(*length, "0"))) {
        return 400;
    }
    if (!slice_is(path, "/v1/ws") && !slice_is(path, "/")) {
        return 404;
    }
    if (!slice_is(head->method, "GET")) {
        return 405;
    }
    if (!head->upgrades_websocket || !head->connection_upgrades ||
        !slice_is(head->values[FIELD_VERSION], "13")) {
        return 426;
    }
    if (!is_key(head->values[FIELD_KEY]) ||
        (head->counts[FIELD_PROTOCOL] > 0 && !head->offers_pipit)) {
        return 400;
    }
    return 0;
}

static void make_accept(struct slice key, char accept[WS_ACCEPT_BYTES + 1]) {
    uint8_t text[KEY_TEXT_BYTES + sizeof ACCEPT_GUID - 1], hash[SHA_DIGEST_LENGTH];
    memcpy(text, key.bytes, KEY_TEXT_BYTES);
    memcpy(text + KEY_TEXT_BYTES, ACCEPT_GUID, sizeof ACCEPT_GUID - 1);
    (void)SHA1(text, sizeof text, hash);                         /* returns hash */
    (void)EVP_EncodeBlock((uint8_t *)accept, hash, sizeof hash); /* always WS_ACCEPT_BYTES */
}

enum err ws_handshake_parse(const uint8_t *bytes, size_t count, struct ws_handshake *handshake,
                            int *status) {
    if (count == 0) {
        return ERR_MORE;
    }
    if (bytes[0] < 'A' || bytes[0] > 'Z') {
        *status = 400;
        return ERR_INVALID;
    }
    size_t looked_at = count < LIMIT_HTTP_HEAD_BYTES ? count : LIMIT_HTTP_HEAD_BYTES;
    const uint8_t *stop = memmem(bytes, looked_at, "\r\n\r\n", 4);
    if (stop == NULL) {
        if (count < LIMIT_HTTP_HEAD_BYTES) {
            return ERR_MORE;
        }
        *status = 413;
        return ERR_INVALID;
    }
    struct head head;
    int judgement = 400;
    if (read_head(&head, slice_make(bytes, (size_t)(stop - bytes) + 2))) {
        judgement = judge(&head);
    }
    if (judgement != 0) {
        *status = judgement;
        return ERR_INVALID;
    }
    *handshake = (struct ws_handshake){.path = path_of(head.target),
                                       .host = head.values[FIELD_HOST],
                                       .origin = head.values[FIELD_ORIGIN],
                                       .user_agent = head.values[FIELD_USER_AGENT],
                                       .protocol_offered = head.offers_pipit,
                                       .head_bytes = (size_t)(stop - bytes) + 4};
    make_accept(head.values[FIELD_KEY], handshake->accept);
    return ERR_OK;
}

enum err ws_handshake_accept(struct buf *out, const struct ws_handshake *handshake) {
    return buf_append_format(
        out,
        "HTTP/1.1 101 Switching Protocols\r\n"
        "Upgrade: websocket\r\n"
        "Connection: Upgrade\r\n"
        "Sec-WebSocket-Accept: %s\r\n"
        "%s\r\n",
        handshake->accept,
        handshake->protocol_offered ? "Sec-WebSocket-Protocol: " FRAME_PROTOCOL "\r\n" : "");
}

enum err ws_handshake_refuse(struct buf *out, int status) {
    static const struct {
        int status;
        const char *phrase, *field, *text;
    } answers[] = {
        {500, "Internal Server Error", "", "The server failed.\n"},
        {400, "Bad Request", "", "Not a correct WebSocket handshake for " FRAME_PROTOCOL ".\n"},
        {403, "Forbidden", "", "Pages of this origin may not connect.\n"},
        {404, "Not Found", "", "The WebSocket is at /v1/ws.\n"},
        {405, "Method Not Allowed", "Allow: GET\r\n", "Only GET opens a WebSocket.\n"},
        {408, "Request Timeout", "", "The request did not arrive in time.\n"},
        {413, "Content Too Large", "", "The request head is limited to 8 KiB.\n"},
        {426, "Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
         "This is a WebSocket endpoint, version 13.\n"},
        {429, "Too Many Requests", "Retry-After: 5\r\n", "Too many connections; try again.\n"},
        {503, "Service Unavailable", "Retry-After: 2\r\n", "The server is busy; try again.\n"},
        {505, "HTTP Version Not Supported", "", "HTTP/1.1 is needed.\n"},
    };
    size_t found = 0;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        if (answers[i].status == status) {
            found = i;
        }
    }
    return buf_append_format(out,
                             "HTTP/1.1 %d %s\r\n"
                             "Content-Type: text/plain; charset=utf-8\r\n"
                             "Content-Length: %zu\r\n"
                             "Connection: %s\r\n"
                             "%s\r\n%s",
                             answers[found].status, answers[found].phrase,
                             strlen(answers[found].text),
                             answers[found].status == 426 ? "close, Upgrade" : "close",
                             answers[found].field, answers[found].text);
}
