/* reason: why a request was refused or a connection ended. One table (reason.def) gives the JSON
 * code, the metric label, the WebSocket close code, the MQTT codes, the HTTP status and the
 * sentence that tells the person or program what to do, so all protocols say the same thing. */
#ifndef PIPIT_PROTO_REASON_H
#define PIPIT_PROTO_REASON_H

#include "common/err.h"
#include <stdint.h>

/* Values travel on the bus as uint32. */
enum reason {
#define REASON_ROW(name, number, code, counter, ws, mqtt5, mqtt5_ack, mqtt3, http, retryable,      \
                   text)                                                                           \
    REASON_##name = (number),
#include "proto/reason.def"
#undef REASON_ROW
};

/* What a client does after a connection ended for this reason. */
enum reason_class {
    REASON_CLASS_RECONNECT, /* back off, reconnect, sync */
    REASON_CLASS_LOGIN,     /* get a new token first */
    REASON_CLASS_STOP       /* tell the user; do not reconnect by yourself */
};

/* Which MQTT 5 packet carries the code; each allows other values (MQTT 5.0
 * sections 3.2.2.2, 3.4.2.1, 3.9.3, 3.14.2.1). */
enum reason_packet {
    REASON_IN_CONNACK,
    REASON_IN_DISCONNECT, /* sent by a server */
    REASON_IN_PUBACK,     /* and PUBREC */
    REASON_IN_SUBACK
};

/* A number from the bus becomes a reason; one this version does not know becomes
 * REASON_SERVER_ERROR (a newer peer's reason must not crash an older process). Any thread, as all
 * functions here; unknown values passed to them count as REASON_SERVER_ERROR too. */
enum reason reason_from_number(uint32_t number);
/* The reason that tells a client about an internal error. ERR_OK becomes REASON_OK. */
enum reason reason_from_err(enum err error);

/* Stable text for JSON `code` and logs ("not_member"). Never NULL. */
const char *reason_code(enum reason reason);
/* Metric label of few values: ok, auth, client, denied, input, limit, server. Never NULL. */
const char *reason_counter(enum reason reason);
/* English sentence without a full stop: what to do. Never NULL. */
const char *reason_text(enum reason reason);
/* Close code of RFC 6455 section 7.4. */
uint16_t reason_ws_close(enum reason reason);
enum reason_class reason_class(enum reason reason);
/* MQTT 5 reason code that is allowed in that packet; 0x80 (unspecified error) when none fits. */
uint8_t reason_mqtt5(enum reason reason, enum reason_packet packet);
/* MQTT 3.1.1 CONNACK return code 0..5 (section 3.2.2.3). */
uint8_t reason_mqtt3_connack(enum reason reason);
int reason_http_status(enum reason reason);
/* True when the same request, with the same message id, may succeed later. */
bool reason_retryable(enum reason reason);

#endif
