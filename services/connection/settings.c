/* settings: one row per setting of the connection service. The defaults suit one Raspberry Pi 4
 * that serves people and devices on its own network: plain WebSocket and MQTT on their usual ports,
 * TLS off until a certificate is named. Every limit that is hit shows in pipit_limit_hits_total. */
#include "services/connection/settings.h"

#define ROW(key, type, member, fallback, low, high, help)                                          \
    {"connection", key, type, offsetof(struct connection_settings, member),                        \
     fallback,     low, high, help}

const struct conf_row connection_conf_rows[] = {
    SERVICE_CONF_ROWS("connection", struct connection_settings, "127.0.0.1:9462"),
    BUS_CONF_ROWS(struct connection_settings),
    ROW("ws_listen", CONF_TEXT, ws_listen, "0.0.0.0:8083", NULL, NULL,
        "Address of the WebSocket port, \"[::]:8083\" for both families; empty turns it off."),
    ROW("wss_listen", CONF_TEXT, wss_listen, "", NULL, NULL,
        "Address of the WebSocket port with TLS, usually 0.0.0.0:8443; empty turns it off."),
    ROW("mqtt_listen", CONF_TEXT, mqtt_listen, "0.0.0.0:1883", NULL, NULL,
        "Address of the MQTT port; passwords cross the network in clear here, so keep it inside "
        "trusted networks; empty turns it off."),
    ROW("mqtts_listen", CONF_TEXT, mqtts_listen, "", NULL, NULL,
        "Address of the MQTT port with TLS, usually 0.0.0.0:8883; empty turns it off."),
    ROW("tls_cert_file", CONF_TEXT, tls_cert_file, "", NULL, NULL,
        "Certificate chain (PEM) of wss_listen and mqtts_listen; read again when it changes."),
    ROW("tls_key_file", CONF_TEXT, tls_key_file, "", NULL, NULL,
        "Private key (PEM) of the certificate."),
    ROW("threads", CONF_UINT, threads, "0", "0", "64",
        "Event loops; 0 is one for two processors, at most 4: the other services need some, too, "
        "and each loop sends batches of its own."),
    ROW("connections_max", CONF_UINT, connections_max, "20000", "1", "1000000",
        "Open client connections; more are refused with a reason. Lowered to what the limit of "
        "open "
        "files allows."),
    ROW("connections_per_address_max", CONF_UINT, connections_per_address_max, "20000", "1",
        "1000000",
        "Open connections of one IPv4 address or IPv6 /64 network; lower it where strangers can "
        "connect."),
    ROW("sessions_per_user_max", CONF_UINT, sessions_per_user_max, "5000", "1", "1000000",
        "Open sessions of one user in this process."),
    ROW("login_timeout", CONF_DURATION, login_timeout_us, "10s", "1s", "5m",
        "A connection that has not authenticated by then is closed."),
    ROW("heartbeat", CONF_DURATION, heartbeat_us, "25s", "1s", "10m",
        "An idle WebSocket is pinged this often, and closed when silent for two and a half times "
        "as "
        "long; below the idle time-out of routers and proxies on the way."),
    ROW("send_queue_bytes_max", CONF_BYTES, send_queue_bytes_max, "256KiB", "16KiB", "64MiB",
        "Bytes waiting for one client that reads slowly; from half of it on presence, typing and "
        "receipts are left out, beyond it the connection is closed."),
    ROW("unsent_bytes_max", CONF_BYTES, unsent_bytes_max, "128MiB", "1MiB", "64GiB",
        "Bytes waiting for all clients together; beyond it a slow client is closed at 16 KiB."),
    ROW("inflight_per_session_max", CONF_UINT, inflight_per_session_max, "64", "1", "4096",
        "Messages of one connection that are not yet on disk; more wait in its socket."),
    ROW("messages_per_second", CONF_UINT, messages_per_second, "1000", "0", "1000000",
        "Messages one user may send per second on average; 0 is unlimited."),
    ROW("messages_burst", CONF_UINT, messages_burst, "2000", "1", "1000000",
        "Messages one user may send at once before the average applies."),
    ROW("frame_bytes_max", CONF_BYTES, frame_bytes_max, "64KiB", "4KiB", "1MiB",
        "Largest WebSocket message from a client."),
    ROW("text_bytes_max", CONF_BYTES, text_bytes_max, "16KiB", "256", "16KiB",
        "Longest message text; told to clients in hello."),
    ROW("mqtt_packet_bytes_max", CONF_BYTES, mqtt_packet_bytes_max, "128KiB", "4KiB", "1MiB",
        "Largest MQTT packet from a client."),
    ROW("mqtt_session_expiry_max", CONF_DURATION, mqtt_session_expiry_max_us, "30d", "0", "365d",
        "How long what a device missed may be kept for it; MQTT 5 clients are told."),
    ROW("drain_per_second", CONF_UINT, drain_per_second, "500", "1", "1000000",
        "Clients told to reconnect per second while the service stops, so that they do not all "
        "come at once to the others."),
    ROW("allowed_origins", CONF_TEXT, allowed_origins, "", NULL, NULL,
        "Web pages that may open a WebSocket: a comma-separated list of origins, or *; empty "
        "allows "
        "pages of the same host and port only."),
};
const size_t connection_conf_row_count =
    sizeof connection_conf_rows / sizeof connection_conf_rows[0];
