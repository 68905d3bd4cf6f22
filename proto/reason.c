/* One reason, every protocol's words for it. A refusal decided in routing reaches a WebSocket
 * client as an `err` frame, an MQTT client as a PUBACK code and a script as an HTTP status; the
 * table keeps the three from drifting apart.
 *
 * MQTT 5 allows each packet its own set of codes, and a client may treat another value as a
 * protocol error, so a code that the packet does not know is replaced: by the acknowledgement's
 * column first, else by 0x80 (unspecified error), which all of them know. Numbers come from the bus
 * and may be a newer peer's: an unknown one reads as server_error, which is retryable and blames
 * nobody. */
#include "proto/reason.h"

#include <stddef.h>

#define MQTT_UNSPECIFIED 0x80

struct reason_row {
    const char *code, *counter, *text;
    uint16_t ws_close, http_status;
    uint8_t mqtt5, mqtt5_ack, mqtt3;
    bool known, retryable;
};

static const struct reason_row rows[] = {
#define REASON_ROW(name, number, code_, counter_, ws_, mqtt5_, mqtt5_ack_, mqtt3_, http_, retry_,  \
                   text_)                                                                          \
    [number] = {.code = (code_),                                                                   \
                .counter = (counter_),                                                             \
                .text = (text_),                                                                   \
                .ws_close = (ws_),                                                                 \
                .http_status = (http_),                                                            \
                .mqtt5 = (mqtt5_),                                                                 \
                .mqtt5_ack = (mqtt5_ack_),                                                         \
                .mqtt3 = (mqtt3_),                                                                 \
                .known = true,                                                                     \
                .retryable = (retry_)},
#include "proto/reason.def"
#undef REASON_ROW
};
#define ROW_COUNT (sizeof rows / sizeof rows[0])

/* Failure codes each packet may carry, as bits above 0x80. Source: MQTT 5.0
 * sections 3.2.2.2, 3.14.2.1 (those a server may send), 3.4.2.1, 3.9.3. */
#define BIT(code) (UINT64_C(1) << ((code) - 0x80))
static const uint64_t allowed_codes[] = {
    [REASON_IN_CONNACK] = BIT(0x80) | BIT(0x81) | BIT(0x82) | BIT(0x83) | BIT(0x84) | BIT(0x85) |
                          BIT(0x86) | BIT(0x87) | BIT(0x88) | BIT(0x89) | BIT(0x8A) | BIT(0x8C) |
                          BIT(0x90) | BIT(0x95) | BIT(0x97) | BIT(0x99) | BIT(0x9A) | BIT(0x9B) |
                          BIT(0x9C) | BIT(0x9D) | BIT(0x9F),
    [REASON_IN_DISCONNECT] = BIT(0x80) | BIT(0x81) | BIT(0x82) | BIT(0x83) | BIT(0x87) | BIT(0x89) |
                             BIT(0x8B) | BIT(0x8D) | BIT(0x8E) | BIT(0x8F) | BIT(0x90) | BIT(0x93) |
                             BIT(0x94) | BIT(0x95) | BIT(0x96) | BIT(0x97) | BIT(0x98) | BIT(0x99) |
                             BIT(0x9A) | BIT(0x9B) | BIT(0x9C) | BIT(0x9D) | BIT(0x9E) | BIT(0x9F) |
                             BIT(0xA0) | BIT(0xA1) | BIT(0xA2),
    [REASON_IN_PUBACK] =
        BIT(0x80) | BIT(0x83) | BIT(0x87) | BIT(0x90) | BIT(0x91) | BIT(0x97) | BIT(0x99),
    [REASON_IN_SUBACK] = BIT(0x80) | BIT(0x83) | BIT(0x87) | BIT(0x8F) | BIT(0x91) | BIT(0x97) |
                         BIT(0x9E) | BIT(0xA1) | BIT(0xA2),
};

static const struct reason_row *row_of(enum reason reason) {
    uint32_t number = (uint32_t)reason;
    if (number < ROW_COUNT && rows[number].known) {
        return &rows[number];
    }
    return &rows[REASON_SERVER_ERROR];
}

enum reason reason_from_number(uint32_t number) {
    if (number < ROW_COUNT && rows[number].known) {
        return (enum reason)number;
    }
    return REASON_SERVER_ERROR;
}

enum reason reason_from_err(enum err error) {
    switch (error) {
    case ERR_OK:
        return REASON_OK;
    case ERR_NO_MEMORY:
    case ERR_FULL:
        return REASON_OVERLOAD;
    case ERR_INVALID:
    case ERR_MORE:
        return REASON_MALFORMED;
    case ERR_TOO_LARGE:
        return REASON_TOO_LARGE;
    case ERR_NOT_FOUND:
        return REASON_NOT_FOUND;
    case ERR_EXISTS:
    case ERR_CONFLICT:
    case ERR_DUPLICATE_ID:
        return REASON_CONFLICT;
    case ERR_TIMEOUT:
        return REASON_TIMEOUT;
    case ERR_CLOSED:
    case ERR_UNAVAILABLE:
    case ERR_DUPLICATE_SEQ:
        return REASON_UNAVAILABLE;
    case ERR_DENIED:
        return REASON_FORBIDDEN;
    case ERR_NO_SPACE:
        return REASON_STORAGE_FULL;
    case ERR_EXPIRED:
        return REASON_TOKEN_EXPIRED;
    case ERR_REUSED:
        return REASON_TOKEN_REVOKED;
    case ERR_NOT_MEMBER:
        return REASON_NOT_MEMBER;
    case ERR_BLOCKED:
        return REASON_BLOCKED;
    case ERR_DISABLED:
        return REASON_DISABLED;
    case ERR_RATE_LIMITED:
        return REASON_RATE_LIMITED;
    case ERR_UNSUPPORTED:
        return REASON_UNSUPPORTED;
    case ERR_IO:
    case ERR_CORRUPT:
    case ERR_INTERNAL:
        return REASON_SERVER_ERROR;
    }
    return REASON_SERVER_ERROR;
}

const char *reason_code(enum reason reason) {
    return row_of(reason)->code;
}

const char *reason_counter(enum reason reason) {
    return row_of(reason)->counter;
}

const char *reason_text(enum reason reason) {
    return row_of(reason)->text;
}

uint16_t reason_ws_close(enum reason reason) {
    return row_of(reason)->ws_close;
}

enum reason_class reason_class(enum reason reason) {
    const struct reason_row *row = row_of(reason);
    if (row->ws_close >= 4000) {
        return row->ws_close < 4100   ? REASON_CLASS_RECONNECT
               : row->ws_close < 4200 ? REASON_CLASS_LOGIN
                                      : REASON_CLASS_STOP;
    }
    return row->retryable ? REASON_CLASS_RECONNECT : REASON_CLASS_STOP;
}

static bool code_allowed(uint8_t code, enum reason_packet packet) {
    return code == 0 || (code >= 0x80 && code < 0xC0 && (allowed_codes[packet] & BIT(code)) != 0);
}

uint8_t reason_mqtt5(enum reason reason, enum reason_packet packet) {
    const struct reason_row *row = row_of(reason);
    bool is_ack = packet == REASON_IN_PUBACK || packet == REASON_IN_SUBACK;
    uint8_t first = is_ack ? row->mqtt5_ack : row->mqtt5;
    uint8_t second = is_ack ? row->mqtt5 : row->mqtt5_ack;
    if (code_allowed(first, packet)) {
        return first;
    }
    return code_allowed(second, packet) ? second : MQTT_UNSPECIFIED;
}

uint8_t reason_mqtt3_connack(enum reason reason) {
    return row_of(reason)->mqtt3;
}

int reason_http_status(enum reason reason) {
    return row_of(reason)->http_status;
}

bool reason_retryable(enum reason reason) {
    return row_of(reason)->retryable;
}
