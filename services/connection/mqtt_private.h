/* mqtt_private: what the mqtt_*.c files of connection share; nothing else includes it. */
#ifndef PIPIT_CONNECTION_MQTT_PRIVATE_H
#define PIPIT_CONNECTION_MQTT_PRIVATE_H

#include "common/contract.h"
#include "common/rate.h"
#include "proto/mqtt_packet.h"
#include "proto/mqtt_topic.h"
#include "services/connection/conn.h"
#include "services/connection/mqtt_inflight.h"
#include "services/connection/session.h"

#define MQTT_QOS_NONE 0xFF /* no subscription */
#define MQTT_REASON_STRING_BYTES 256

/* One accepted topic filter. */
struct mqtt_subscription {
    struct list_node node;
    uint32_t id; /* MQTT 5 subscription identifier, 0 = none */
    uint8_t qos, feeds;
    uint16_t filter_bytes;
    uint8_t filter[];
};
/* A message to send, from PUBLISH or a will. Pointers are the caller's. */
struct mqtt_message {
    struct slice topic;
    struct mqtt_chat_topic target;
    uint8_t id[ID_UUID_BYTES];
    struct slice body;
    uint64_t reply;
    uint8_t origin_hash[16];
    uint16_t packet_id;
    uint8_t qos;
    bool dup;
};
/* A client's message on its way to the disk, or answered and waiting for its turn: acknowledgements
 * leave in the order of the PUBLISH packets [MQTT-4.6.0-2]. */
struct mqtt_publishing {
    struct list_node node;
    uint64_t request;
    uint64_t retry_us, give_up_us; /* retry_us 0 = not waiting for another try */
    uint64_t turn;                 /* of the newest try; 0 = there is no second one */
    uint8_t id[ID_UUID_BYTES];
    uint16_t packet_id;
    uint8_t qos;
    bool is_will, done;
    bool again; /* refused before: nothing of the session may overtake it */
    /* When done. */
    enum reason reason;
    uint32_t retry_ms;
    uint64_t seq, ts_ms;
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    /* Heap: what it takes to submit it again (MQTT 3.1.1, QoS 0 and wills, which have no answer
     * that says "try again"), and where an MQTT 5 client wants the answer. */
    struct mqtt_message *copy;
    struct mqtt_response *response;
};
struct mqtt_response {
    struct slice topic, correlation;
    uint8_t bytes[];
};
struct mqtt_will_kept {
    struct mqtt_message *message; /* NULL once it is on its way */
    uint64_t delay_us, due_us;    /* due_us 0 = not triggered */
};

struct mqtt_session {
    struct conn conn; /* first: see conn.h */
    struct session session;
    struct rate_bucket rate;
    struct list subscriptions;
    struct list publishings; /* in the order of arrival */
    struct list deferred;    /* struct mqtt_deferred: QoS 1 events that wait for room in flight */
    struct mqtt_inflight inflight;
    struct mqtt_will_kept *will;
    struct slice *aliases; /* LIMIT_MQTT_TOPIC_ALIASES, heap; NULL = none used */
    uint16_t *released;    /* QoS 2 ids between PUBREC and PUBREL; heap */
    uint64_t last_request, last_turn;
    char client_id[LIMIT_MQTT_CLIENT_ID_BYTES + 1];
    uint32_t maximum_packet_bytes; /* the client's */
    uint32_t session_expiry_s;
    uint32_t deferred_bytes;
    uint16_t keep_alive_s;      /* 0 = none */
    uint16_t told_keep_alive_s; /* server keep alive in CONNACK; 0 = the client's own */
    uint16_t released_count;
    uint8_t version; /* enum mqtt_version; 0 until CONNECT */
    uint8_t inbox_qos, events_qos, ctl_qos;
    bool clean, assigned_id, expiry_capped, request_problem, request_response;
    bool connect_seen, connected; /* connected: CONNACK with success was sent */
    bool attached;                /* session_close is due */
    bool waits_for_answers;
    bool wants_room;   /* can_take said no */
    bool disconnected; /* the client's DISCONNECT came: no will, no answer */
};

static inline struct mqtt_session *mqtt_of(struct conn *conn) {
    return CONTAINER_OF(conn, struct mqtt_session, conn);
}
static inline struct mqtt_session *mqtt_of_session(const struct session *session) {
    return CONTAINER_OF(session, struct mqtt_session, session);
}
static inline bool mqtt_is_v5(const struct mqtt_session *ms) {
    return ms->version == MQTT_V5;
}
static inline const struct connection_settings *mqtt_settings(const struct mqtt_session *ms) {
    return ms->conn.table->settings;
}

/* --- mqtt_session.c */
/* Properties with a reason string for a refusal, when the client wants such. */
const struct mqtt_properties *mqtt_reason_properties(const struct mqtt_session *ms,
                                                     enum reason reason,
                                                     struct mqtt_properties *properties);
/* Queues an acknowledgement; properties are left out when the packet would be too large. */
void mqtt_send_ack(struct mqtt_session *ms, enum mqtt_type type, uint16_t packet_id, uint8_t code,
                   const struct mqtt_properties *properties);

/* --- mqtt_connect.c */
void mqtt_on_connect(struct mqtt_session *ms, const struct mqtt_connect *connect);
/* The first packet could not be read: finds out whether it is a CONNECT at all, and of which
 * version, so that the refusal can be told in it. */
void mqtt_on_bad_connect(struct mqtt_session *ms, const uint8_t *bytes, size_t count);
void mqtt_on_opened(struct session *session, enum reason reason);
enum err mqtt_append_refusal(struct mqtt_session *ms, enum reason reason) MUST_CHECK;

/* --- mqtt_message.c: topics and payloads of clients' messages */
/* Reads a send topic and payload. scratch holds a built body. REASON_OK, or why it is refused. */
enum reason mqtt_message_read(const struct connection_settings *settings,
                              const struct mqtt_publish *publish, struct buf *scratch,
                              struct mqtt_message *message) MUST_CHECK;
/* Why a topic may not be published to, or REASON_OK with message->target filled. */
enum reason mqtt_message_target(struct slice topic, struct mqtt_message *message) MUST_CHECK;
/* A copy on the heap that owns its bytes (mem_free); NULL without memory. */
struct mqtt_message *mqtt_message_copy(const struct mqtt_message *message);

/* --- mqtt_publish.c: messages from the client */
/* False: not now; reading is paused and the packet comes again. */
bool mqtt_on_publish(struct mqtt_session *ms, const struct mqtt_publish *publish);
void mqtt_on_pubrel(struct mqtt_session *ms, uint16_t packet_id);

/* --- mqtt_publishing.c: messages on their way to the disk, and their answers */
/* A new entry at the end; NULL without memory. */
struct mqtt_publishing *mqtt_publishing_add(struct mqtt_session *ms, uint8_t qos,
                                            uint16_t packet_id);
void mqtt_publishing_remove(struct mqtt_session *ms, struct mqtt_publishing *publishing);
/* A message waits for another try, and what comes after it waits, too. */
bool mqtt_publishing_waits(const struct mqtt_session *ms);
/* Unanswered entry with this packet id, QoS 1 or 2; NULL. */
struct mqtt_publishing *mqtt_publishing_find(const struct mqtt_session *ms, uint16_t packet_id);
enum err mqtt_publishing_submit(struct mqtt_session *ms, struct mqtt_publishing *publishing,
                                const struct mqtt_message *message, uint32_t *retry_ms) MUST_CHECK;
/* Refused; answers what is due. */
void mqtt_publishing_fail(struct mqtt_session *ms, struct mqtt_publishing *publishing,
                          enum reason reason, uint32_t retry_ms);
void mqtt_on_result(struct session *session, uint64_t request, const struct session_result *result);
/* Submits again what waits for it, one at a time; returns when the next try is due (UINT64_MAX:
 * none). */
uint64_t mqtt_retry(struct mqtt_session *ms, uint64_t now_us);
void mqtt_forget_publishings(struct mqtt_session *ms);

/* --- mqtt_subscribe.c */
/* Session Present: the inbox at QoS 1, and what was missed. */
void mqtt_resume_subscription(struct mqtt_session *ms);
void mqtt_on_subscribe(struct mqtt_session *ms, const struct mqtt_packet *packet);
void mqtt_on_unsubscribe(struct mqtt_session *ms, const struct mqtt_packet *packet);
void mqtt_forget_subscriptions(struct mqtt_session *ms);
/* Quality with which the client subscribed to a topic; MQTT_QOS_NONE. */
uint8_t mqtt_subscribed_qos(const struct mqtt_session *ms, struct slice topic);
/* Identifiers of all subscriptions that match; ids has room for LIMIT_MQTT_SUBSCRIPTIONS. */
size_t mqtt_subscription_ids(const struct mqtt_session *ms, struct slice topic, uint32_t *ids);

/* --- mqtt_outgoing.c: what is published to the client */
void mqtt_on_event(struct session *session, const struct event *event);
bool mqtt_can_take(const struct session *session);
void mqtt_on_puback(struct mqtt_session *ms, uint16_t packet_id);
void mqtt_send_response(struct mqtt_session *ms, const struct mqtt_response *response,
                        struct slice payload);
/* The hub may hand over more, if it was refused before. */
void mqtt_room(struct mqtt_session *ms);
void mqtt_forget_deferred(struct mqtt_session *ms);

/* --- mqtt_will.c */
/* Keeps the CONNECT's will; REASON_OK, or why the CONNECT is refused. */
enum reason mqtt_will_keep(struct mqtt_session *ms, const struct mqtt_connect *connect) MUST_CHECK;
void mqtt_will_forget(struct mqtt_session *ms);
/* The connection ends without a DISCONNECT. True: the will is on its way, the session must stay. */
bool mqtt_will_trigger(struct mqtt_session *ms, enum reason reason);
/* Submits it when its delay is over; ms->will is NULL when nothing is left to do. Returns when to
 * look again. */
uint64_t mqtt_will_check(struct mqtt_session *ms, uint64_t now_us);

extern const struct session_ops mqtt_session_ops;

#endif
