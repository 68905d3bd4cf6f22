/* settings: the configuration of the connection service; the table itself is settings.c. */
#ifndef PIPIT_CONNECTION_SETTINGS_H
#define PIPIT_CONNECTION_SETTINGS_H

#include "common/bus_settings.h"
#include "common/service.h"

struct connection_settings {
    struct service_settings service; /* first: see common/service.h */
    struct bus_settings bus;
    const char *ws_listen, *wss_listen, *mqtt_listen, *mqtts_listen; /* "" = off */
    const char *tls_cert_file, *tls_key_file;                        /* for wss and mqtts */
    uint64_t threads;         /* event loops; 0 = one for two CPUs, at most 4 */
    uint64_t connections_max; /* of the whole process */
    uint64_t connections_per_address_max;
    uint64_t sessions_per_user_max;    /* in this process */
    uint64_t login_timeout_us;         /* connected and not authenticated */
    uint64_t heartbeat_us;             /* told in hello; a socket silent for 2.5 x is closed */
    uint64_t send_queue_bytes_max;     /* slow reader: closed with a reason beyond this */
    uint64_t unsent_bytes_max;         /* the same over all connections of the process */
    uint64_t inflight_per_session_max; /* submits not yet answered; more waits in the socket */
    uint64_t messages_per_second;      /* per user */
    uint64_t messages_burst;
    uint64_t frame_bytes_max, text_bytes_max;
    uint64_t mqtt_packet_bytes_max;
    uint64_t mqtt_session_expiry_max_us;
    uint64_t drain_per_second;   /* sockets told to reconnect, per second */
    const char *allowed_origins; /* browsers: "*" or a comma-separated list; "" = same host */
};
extern const struct conf_row connection_conf_rows[];
extern const size_t connection_conf_row_count;

#endif
