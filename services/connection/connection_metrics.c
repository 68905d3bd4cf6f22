/* connection_metrics: what an operator sees of the client side. Labels have few values: protocols,
 * the groups of reason.def, the names of the limits, the packet types of MQTT; never a user,
 * address or client id. Series of one name stand together because the text format wants them so. */
#include "services/connection/connection_metrics.h"

#include "common/metrics.h"

#include <string.h>

#define COUNTER(metric, text, label) {.name = (metric), .help = (text), .labels = (label)}
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char open_help[] = "Open client connections";
static struct metric_gauge connections[] = {
    [CONN_WS] = COUNTER("pipit_connections", open_help, "proto=\"ws\""),
    [CONN_MQTT] = COUNTER("pipit_connections", open_help, "proto=\"mqtt\""),
};
static const char opened_help[] = "Client connections accepted";
static struct metric_counter opened[] = {
    [CONN_WS] = COUNTER("pipit_connections_opened_total", opened_help, "proto=\"ws\""),
    [CONN_MQTT] = COUNTER("pipit_connections_opened_total", opened_help, "proto=\"mqtt\""),
};

/* The groups of reason.def, and "lost" for peers that went without a word. */
#define CLOSED_LOST 7
static const char closed_help[] = "Client connections closed, by group of reasons";
#define CLOSED(group) COUNTER("pipit_connections_closed_total", closed_help, "reason=\"" group "\"")
static struct metric_counter closed[] = {CLOSED("ok"),     CLOSED("auth"),  CLOSED("client"),
                                         CLOSED("denied"), CLOSED("input"), CLOSED("limit"),
                                         CLOSED("server"), CLOSED("lost")};
static const char *const closed_groups[] = {"ok",    "auth",  "client", "denied",
                                            "input", "limit", "server", "lost"};

static const char limit_help[] = "Times a bound was reached";
#define LIMIT(limit) COUNTER("pipit_limit_hits_total", limit_help, "limit=\"" limit "\"")
static struct metric_counter limits[] = {
    [LIMIT_HIT_CONNECTIONS] = LIMIT("connections_max"),
    [LIMIT_HIT_ADDRESS] = LIMIT("connections_per_address_max"),
    [LIMIT_HIT_REFUSALS] = LIMIT("refusals_max"),
    [LIMIT_HIT_FILES] = LIMIT("open_files"),
    [LIMIT_HIT_SEND_QUEUE] = LIMIT("send_queue_bytes_max"),
    [LIMIT_HIT_UNSENT] = LIMIT("unsent_bytes_max"),
    [LIMIT_HIT_INFLIGHT] = LIMIT("reading_paused"),
    [LIMIT_HIT_RATE] = LIMIT("frames_per_second"),
    [LIMIT_HIT_SYNCS] = LIMIT("syncs_per_connection_max"),
    [LIMIT_HIT_SUBSCRIPTIONS] = LIMIT("mqtt_subscriptions_max"),
    [LIMIT_HIT_MEMORY] = LIMIT("memory"),
};
static const char shed_help[] = "Ephemeral events left out for slow readers";
static struct metric_counter sheds[] = {
    [SHED_RECEIPT] = COUNTER("pipit_shed_slow_reader_total", shed_help, "class=\"receipt\""),
    [SHED_TYPING] = COUNTER("pipit_shed_slow_reader_total", shed_help, "class=\"typing\""),
    [SHED_PRESENCE] = COUNTER("pipit_shed_slow_reader_total", shed_help, "class=\"presence\""),
};

static const char packets_help[] = "MQTT packets from clients";
#define PACKET(type) COUNTER("pipit_mqtt_packets_total", packets_help, "type=\"" type "\"")
static struct metric_counter packets[] = {
    PACKET("connect"), PACKET("publish"),    PACKET("puback"),    PACKET("pubrec"),
    PACKET("pubrel"),  PACKET("pubcomp"),    PACKET("subscribe"), PACKET("unsubscribe"),
    PACKET("pingreq"), PACKET("disconnect"), PACKET("auth")};
static const int packet_index[] = {
    [MQTT_CONNECT] = 0,   [MQTT_CONNACK] = -1,    [MQTT_PUBLISH] = 1,   [MQTT_PUBACK] = 2,
    [MQTT_PUBREC] = 3,    [MQTT_PUBREL] = 4,      [MQTT_PUBCOMP] = 5,   [MQTT_SUBSCRIBE] = 6,
    [MQTT_SUBACK] = -1,   [MQTT_UNSUBSCRIBE] = 7, [MQTT_UNSUBACK] = -1, [MQTT_PINGREQ] = 8,
    [MQTT_PINGRESP] = -1, [MQTT_DISCONNECT] = 9,  [MQTT_AUTH] = 10};

static const char rejected_help[] = "Requests of clients refused by the protocol layer";
static struct metric_counter rejected[] = {
    [CONN_WS] = COUNTER("pipit_requests_rejected_total", rejected_help, "proto=\"ws\""),
    [CONN_MQTT] = COUNTER("pipit_requests_rejected_total", rejected_help, "proto=\"mqtt\""),
};
static struct metric_counter slow_readers = COUNTER(
    "pipit_slow_readers_closed_total", "Connections closed because they read too slowly", NULL);
static struct metric_counter tls_failed =
    COUNTER("pipit_tls_handshakes_failed_total", "TLS handshakes that did not finish", NULL);
static struct metric_gauge tls_expiry =
    COUNTER("pipit_tls_cert_expiry_timestamp_seconds",
            "When the certificate of the client ports expires (Unix time); 0 = no TLS", NULL);
static struct metric_gauge send_queue =
    COUNTER("pipit_send_queue_bytes", "Bytes waiting for clients that cannot take them yet", NULL);
static struct metric_histogram loop_lag =
    COUNTER("pipit_loop_lag_seconds",
            "Time one turn of an event loop worked, which is how long a ready socket may wait, "
            "beside the rest of up to 5 ms under load",
            NULL);

static void register_counters(struct metric_counter *counters, size_t count) {
    for (size_t i = 0; i < count; i++) {
        metric_counter_register(&counters[i]);
    }
}

void connection_metrics_register(void) {
    for (size_t i = 0; i < COUNT(connections); i++) {
        metric_gauge_register(&connections[i]);
    }
    register_counters(opened, COUNT(opened));
    register_counters(closed, COUNT(closed));
    register_counters(limits, COUNT(limits));
    register_counters(sheds, COUNT(sheds));
    register_counters(packets, COUNT(packets));
    register_counters(rejected, COUNT(rejected));
    register_counters(&slow_readers, 1);
    register_counters(&tls_failed, 1);
    metric_gauge_register(&tls_expiry);
    metric_gauge_register(&send_queue);
    metric_histogram_register(&loop_lag);
}

void connection_metrics_opened(enum conn_kind kind) {
    metric_shift(&connections[kind], 1);
    metric_add(&opened[kind], 1);
}

void connection_metrics_closed(enum conn_kind kind, enum reason reason, bool lost) {
    metric_shift(&connections[kind], -1);
    size_t index = CLOSED_LOST;
    if (!lost) {
        const char *group = reason_counter(reason);
        for (index = 0; index < CLOSED_LOST && strcmp(closed_groups[index], group) != 0; index++) {
        }
    }
    metric_add(&closed[index], 1);
    if (reason == REASON_SLOW_READER) {
        metric_add(&slow_readers, 1);
    }
}

void connection_metrics_limit(enum limit_hit limit) {
    metric_add(&limits[limit], 1);
}

void connection_metrics_unsent(int64_t difference) {
    metric_shift(&send_queue, difference);
}

void connection_metrics_shed(enum shed_class class) {
    metric_add(&sheds[class], 1);
}

void connection_metrics_mqtt(enum mqtt_type type) {
    if (packet_index[type] >= 0) {
        metric_add(&packets[packet_index[type]], 1);
    }
}

void connection_metrics_rejected(enum conn_kind kind) {
    metric_add(&rejected[kind], 1);
}

void connection_metrics_turn(uint64_t busy_us) {
    metric_observe(&loop_lag, busy_us);
}

void connection_metrics_tls_failed(void) {
    metric_add(&tls_failed, 1);
}

void connection_metrics_tls_expiry(int64_t unix_s) {
    metric_set(&tls_expiry, unix_s);
}
