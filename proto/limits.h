/* limits: every bound of the client protocols, with its unit in its name and the reason beside it
 * (invariant I8: nothing a peer can make us hold, copy or repeat is without a limit). Settings may
 * lower some of them; the ones called a default may also be raised there. */
#ifndef PIPIT_PROTO_LIMITS_H
#define PIPIT_PROTO_LIMITS_H

/* --- names --------------------------------------------------------------------------------- */
#define LIMIT_USER_NAME_BYTES 32       /* fits a chat list column and an MQTT topic level */
#define LIMIT_USER_ID_BYTES 34         /* "u_" + name; TOKEN_USER_BYTES holds it and a NUL */
#define LIMIT_CONVERSATION_ID_BYTES 42 /* "c_" + 40: room for a slug a person can type */
#define LIMIT_DEVICE_ID_BYTES 39       /* "d_" + 37; with its NUL it fills TOKEN_DEVICE_BYTES */
#define LIMIT_DEVICE_NAME_BYTES 64     /* "Ann's phone"; shown in the list of sessions */
#define LIMIT_TITLE_BYTES 128          /* conversation title: one line on a phone, CJK included */
#define LIMIT_EMOJI_BYTES 64           /* the longest ZWJ family sequence takes 41 bytes */
#define LIMIT_EPOCH_BYTES 40           /* history epoch: opaque text of storage */
#define LIMIT_TRACEPARENT_BYTES 55     /* W3C trace-context version 00 is exactly this long */

/* --- JSON ---------------------------------------------------------------------------------- */
#define LIMIT_JSON_DEPTH 32          /* nesting; our frames need 3, bodies of bots perhaps 10 */
#define LIMIT_JSON_KEY_BYTES 256     /* unescaped; bounds the duplicate-key comparison */
#define LIMIT_JSON_MEMBERS 512       /* of one object; a sync page request needs the most */
#define LIMIT_JSON_OPEN_MEMBERS 1024 /* of all objects open at one point: 12 KiB of stack */
#define LIMIT_JSON_NUMBER_BYTES 64   /* longest literal; a double needs 24 */

/* --- pipit.v1 ------------------------------------------------------------------------------ */
#define LIMIT_FRAME_BYTES 65536                /* OWASP WebSocket cheat sheet: message <= 64 KiB */
#define LIMIT_FRAME_LOGIN_BYTES 8192           /* before auth: a token (4 KiB) and its wrapping */
#define LIMIT_TEXT_BYTES 16384                 /* body.text after unescaping: about 8 typed pages */
#define LIMIT_BODY_BYTES 32768                 /* raw body: text with escapes, and what bots add */
#define LIMIT_REQUEST_ID_MAX 9007199254740992u /* 2^53: exact in JavaScript */
#define LIMIT_SEQ_MAX 9007199254740991u        /* 2^53 - 1, Number.MAX_SAFE_INTEGER */
#define LIMIT_SYNC_CONVERSATIONS 256 /* in one sync frame; clients with more send several */
#define LIMIT_SYNC_PAGE_EVENTS 100   /* events in one page; the frame limit may cut earlier */
#define LIMIT_ID_WINDOW_MS 86400000u /* UUIDv7 time may be 24 h off (design section 4) */

/* --- WebSocket ----------------------------------------------------------------------------- */
#define LIMIT_HTTP_HEAD_BYTES 8192       /* browsers with cookies send 1-2 KiB */
#define LIMIT_HTTP_HEADERS 64            /* header fields in one head */
#define LIMIT_HANDSHAKE_TIMEOUT_MS 10000 /* connected and silent: S4 of the goals, <= 10 s */
#define LIMIT_HEARTBEAT_S 25             /* below the 30-60 s of home routers and mobile NAT */
#define LIMIT_SEND_QUEUE_BYTES 262144    /* slow reader: A4 of the goals, <= 256 KiB */
#define LIMIT_SEND_QUEUE_FRAMES 256
#define LIMIT_CLOSE_REASON_BYTES 123 /* RFC 6455 section 5.5: control payload <= 125 */

/* --- MQTT ---------------------------------------------------------------------------------- */
#define LIMIT_MQTT_PACKET_BYTES                                                                    \
    131072 /* default: a frame and its MQTT 5 properties, twice over                               \
            */
#define LIMIT_MQTT_LOGIN_PACKET_BYTES 16384   /* CONNECT: token, client id, a will */
#define LIMIT_MQTT_TOPIC_BYTES 512            /* home automation stays below 200 */
#define LIMIT_MQTT_TOPIC_LEVELS 16            /* bounds matching; CVE-2023-28366 class */
#define LIMIT_MQTT_CLIENT_ID_BYTES 64         /* must also be a session key: "m:" + client id */
#define LIMIT_MQTT_USER_PROPERTIES 16         /* CVE-2021-41039: CPU by user properties */
#define LIMIT_MQTT_TOPIC_ALIASES 16           /* inbound, told in CONNACK */
#define LIMIT_MQTT_RECEIVE_MAXIMUM 64         /* inbound QoS 1/2 in flight, told in CONNACK */
#define LIMIT_MQTT_FILTERS 64                 /* in one SUBSCRIBE or UNSUBSCRIBE */
#define LIMIT_MQTT_SUBSCRIPTIONS 128          /* of one session */
#define LIMIT_MQTT_SESSION_EXPIRY_S 2592000u  /* 30 days: a phone in a drawer */
#define LIMIT_MQTT_KEEP_ALIVE_MIN_S 5         /* anything faster drains batteries */
#define LIMIT_MQTT_KEEP_ALIVE_MAX_S 3600      /* 0 (off) is answered with this, MQTT 5 tells it */
#define LIMIT_MQTT_REMAINING_BYTES 268435455u /* MQTT 5.0 section 1.5.5: four bytes of 7 bits */

#endif
