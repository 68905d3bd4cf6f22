/* settings: one row per setting of auth. The defaults suit one Raspberry Pi: two password hashes at
 * once cost 38 MiB and two cores, everything else waits in bounded queues. Lifetimes follow the
 * design (15 minutes, 60 days); key_rotation and key_margin only matter to operators who are asked
 * for a rotation policy. */
#include "services/auth/settings.h"

#define ROW(key, type, member, fallback, low, high, help)                                          \
    {"auth", key, type, offsetof(struct auth_settings, member), fallback, low, high, help}

const struct conf_row auth_conf_rows[] = {
    SERVICE_CONF_ROWS("auth", struct auth_settings, "127.0.0.1:9461"),
    BUS_CONF_ROWS(struct auth_settings),
    ROW("listen", CONF_TEXT, listen, "0.0.0.0:8080", NULL, NULL, "Address of the REST API."),
    ROW("bus_listen", CONF_TEXT, bus_listen, "tcp://127.0.0.1:7301", NULL, NULL,
        "Base address of this instance: requests are answered here, revocations published at the "
        "next port."),
    ROW("connections_max", CONF_UINT, connections_max, "1024", "1", "65536",
        "Open HTTP connections; about 12 KiB each."),
    ROW("connections_per_address_max", CONF_UINT, connections_per_address_max, "0", "0", "65536",
        "The same limit for one address; 0 is unlimited, right behind a proxy."),
    ROW("body_bytes_max", CONF_BYTES, body_bytes_max, "256KiB", "4KiB", "4MiB",
        "Largest request body."),
    ROW("request_timeout", CONF_DURATION, request_timeout_us, "10s", "1s", "10m",
        "A whole request must have arrived within this time."),
    ROW("idle_timeout", CONF_DURATION, idle_timeout_us, "30s", "1s", "10m",
        "A connection that is kept open is closed after this pause."),
    ROW("api_threads", CONF_UINT, api_threads, "8", "1", "256",
        "Requests worked on at once, logins apart; they mostly wait for storage."),
    ROW("api_queue_max", CONF_UINT, api_queue_max, "256", "1", "65536",
        "Requests waiting for a thread; more are refused with 503 and Retry-After."),
    ROW("hash_threads", CONF_UINT, hash_threads, "0", "0", "64",
        "Password hashes computed at once, 19 MiB each; 0 chooses two, or one on a single core."),
    ROW("hash_queue_max", CONF_UINT, hash_queue_max, "64", "1", "65536",
        "Logins waiting for a thread; more are refused with 503 and Retry-After."),
    ROW("trusted_proxies", CONF_TEXT, trusted_proxies, "", NULL, NULL,
        "Addresses and CIDR blocks, comma-separated, whose X-Forwarded-For is believed."),
    ROW("issuer", CONF_TEXT, issuer, "pipit", NULL, NULL, "Issuer (iss) of access tokens."),
    ROW("audience", CONF_TEXT, audience, "pipit", NULL, NULL, "Audience (aud) of access tokens."),
    ROW("access_lifetime", CONF_DURATION, access_lifetime_us, "15m", "1s", "24h",
        "How long an access token is valid."),
    ROW("refresh_lifetime", CONF_DURATION, refresh_lifetime_us, "60d", "1m", "3650d",
        "A device that is not used for so long has to log in again."),
    ROW("key_rotation", CONF_DURATION, key_rotation_us, "90d", "2s", "3650d",
        "How long one key signs access tokens."),
    ROW("key_margin", CONF_DURATION, key_margin_us, "6m", "0ms", "24h",
        "Added to access_lifetime: how much earlier than its first use a key is published, and how "
        "much longer than its last token it stays so; above the 5 minutes that /jwks.json may be "
        "cached."),
    ROW("common_passwords_file", CONF_TEXT, common_passwords_file, "/usr/share/john/password.lst",
        NULL, NULL,
        "Passwords that are refused, one a line (Debian package john-data); empty turns it off."),
    ROW("login_failures_per_minute", CONF_UINT, login_failures_per_minute, "10", "1", "1000000",
        "Failed logins from one address for one user, at all auth instances together; a success "
        "does not count."),
    ROW("login_failures_per_address_per_minute", CONF_UINT, login_failures_per_address_per_minute,
        "100", "1", "1000000",
        "Failed logins from one address for all users, at all auth instances together."),
    ROW("rate_entries_max", CONF_UINT, rate_entries_max, "16384", "16", "4000000",
        "Addresses and users whose failures are remembered; the longest silent one is forgotten "
        "first."),
    ROW("devices_max", CONF_UINT, devices_max, "64", "0", "100000",
        "Devices of one user; 0 is unlimited."),
    ROW("open_registration", CONF_BOOL, open_registration, "no", NULL, NULL,
        "Lets anybody register without an invite."),
    ROW("members_may_invite", CONF_BOOL, members_may_invite, "no", NULL, NULL,
        "Lets every user make invites for one person; administrators always may."),
    ROW("server_name", CONF_TEXT, server_name, "Pipit", NULL, NULL,
        "Name of this server, shown by clients."),
    ROW("ws_url", CONF_TEXT, ws_url, "", NULL, NULL,
        "WebSocket address told to clients; empty: ws://, the host of the request and "
        ":8083/v1/ws."),
    ROW("mqtt_url", CONF_TEXT, mqtt_url, "", NULL, NULL,
        "MQTT address told to clients; empty: mqtt://, the host of the request and :1883."),
    ROW("openapi_file", CONF_TEXT, openapi_file, "docs/reference/openapi.yaml", NULL, NULL,
        "Description served at /v1/openapi.yaml; the file beside it that ends in .json at "
        "/v1/openapi.json."),
};
const size_t auth_conf_row_count = sizeof auth_conf_rows / sizeof auth_conf_rows[0];

enum err auth_settings_check(const struct auth_settings *settings, struct buf *problem) {
    enum err said = ERR_OK;
    if (settings->issuer[0] == '\0' || settings->audience[0] == '\0') {
        said = buf_append_text(problem, "[auth] issuer and audience must not be empty");
    } else if (settings->key_rotation_us <
               2 * (settings->access_lifetime_us + settings->key_margin_us)) {
        said = buf_append_text(problem, "[auth] key_rotation: must be at least twice the sum of "
                                        "access_lifetime and key_margin");
    } else if (settings->refresh_lifetime_us < settings->access_lifetime_us) {
        said =
            buf_append_text(problem, "[auth] refresh_lifetime: must not be below access_lifetime");
    } else {
        return ERR_OK;
    }
    return said == ERR_OK ? ERR_INVALID : said;
}
